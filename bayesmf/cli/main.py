"""The program `bayesmf`: its commands, and what becomes of errors and of Ctrl-C."""

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.main import get_command

import bayesmf
from bayesmf.cli import answers, judgements, runs
from bayesmf.cli.messages import FINE, INTERRUPTED, say, spoken_warnings, tell

_DEBUG = "--debug"

app = typer.Typer(rich_markup_mode="markdown", no_args_is_help=True)


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"bayesmf {bayesmf.__version__}\n")
        raise typer.Exit


@app.callback()
def _program(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option(_DEBUG, help="Show where an error comes from; anywhere in the line.")
    ] = False,
) -> None:
    """Bayesian matrix factorization: from a table of ratings to predictions with intervals.

    **A first session**

    - `bayesmf fit ratings.csv --store run.zarr` samples, and writes as it goes
    - `bayesmf diagnose run.zarr` says whether that is enough
    - `bayesmf recommend run.zarr --user 42` asks what to show to a user
    - `bayesmf predict run.zarr pairs.csv > predictions.csv` predicts any cells

    Tables are .csv, .tsv or .parquet with the columns user, item and rating, or named by
    `--user-col`, `--item-col` and `--rating-col`. Data go to standard output, all else to
    standard error.

    **Exit codes**

    - 0: done
    - 1: a run failed, or has not converged (`diagnose`)
    - 2: wrong usage: an option, a file or a table
    - 130: interrupted by Ctrl-C
    """
    del version, debug  # the one has been acted on, the other is looked for in `main`


for _module, _names in (
    (runs, ("fit", "resume")),
    (answers, ("predict", "recommend")),
    (judgements, ("diagnose", "report", "compare", "demo")),
):
    for _name in _names:
        app.command(_name)(getattr(_module, _name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        0: done; 1: a run failed, or has not converged; 2: wrong usage; 130: interrupted.

    Examples
    --------
    >>> from bayesmf.cli.main import main
    >>> main(["--version"])
    bayesmf ...
    0
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    # An error is met wherever it comes up, so the option may stand anywhere.
    debug = _DEBUG in given
    given = [one for one in given if one != _DEBUG] or ["--help"]
    with spoken_warnings():
        try:
            code = get_command(app).main(given, prog_name="bayesmf", standalone_mode=False)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else FINE
        except Exception as error:  # noqa: BLE001 - whatever it is, one line is said of it
            if debug:
                traceback.print_exc()
            return tell(error)
    if code == INTERRUPTED:
        say("Interrupted.")
    return code or FINE
