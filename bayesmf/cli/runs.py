"""Commands that sample: `fit` and `resume`."""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

import bayesmf
from bayesmf.cli import options
from bayesmf.cli.messages import INTERRUPTED, say
from bayesmf.cli.tables import Names, cells_from, put_comparison, ratings_from

if TYPE_CHECKING:
    from bayesmf.results import Posterior


def fit(
    ratings: options.RatingsFile,
    store: Annotated[
        Path, Option("--store", "-s", metavar="STORE", help="Folder to write the run to.")
    ],
    factors: options.Factors = 10,
    *,
    biases: Annotated[bool, Option(help="Whether users and items have biases.")] = True,
    test: options.TestFile = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace a store of that name.")] = False,
    draws: options.Draws = 2500,
    tune: options.Tune = 500,
    chains: options.Chains = 4,
    cores: options.Cores = None,
    seed: options.Seed = None,
    keep: Annotated[
        int | None,
        Option(
            help="Most draws of the factors to keep of each chain, by default 1,000.",
            rich_help_panel="The run",
        ),
    ] = None,
    user_col: options.UserCol = None,
    item_col: options.ItemCol = None,
    rating_col: options.RatingCol = None,
    duplicates: options.DuplicatesOption = options.Duplicates.error,
) -> None:
    """Fit Bayesian matrix factorization to a table of ratings, and store the run.

    Draws are written as they are made: after Ctrl-C or a crash `bayesmf resume` goes on where the
    run was. At the end stands the verdict, whether the chains have converged; with `--test` the
    scores of held-out ratings, on standard output.

    **Examples**

    - `bayesmf fit ratings.csv --store run.zarr`
    - `bayesmf fit ratings.csv --store run.zarr --factors 16 --seed 1 --test test.csv`
    - `bayesmf fit u.data --store run.zarr --draws 5000 --chains 8`
    - `bayesmf fit sales.parquet --store run.zarr --user-col customer --item-col sku`
    """
    names = Names(user_col, item_col, rating_col)
    data = ratings_from(ratings, names, duplicates.value)
    held_out = None if test is None else cells_from(test, names, data, with_rating=True)
    say(f"Fitting {factors} factors to {data!r}.")
    with _interruptible(store, new=True):
        post = bayesmf.fit_bpmf(
            data, n_factors=factors, biases=biases, tune=tune, draws=draws, chains=chains,
            cores=cores, random_seed=seed, test=held_out, keep=keep, store=store,
            overwrite=overwrite, progressbar=sys.stderr.isatty(),
        )  # fmt: skip
    _end(post, store)
    if held_out is not None:
        put_comparison(bayesmf.compare({"BPMF": post}, held_out))


def resume(
    store: options.StoreArgument,
    draws: Annotated[int, Option(help="Draws of each chain beyond those that were planned.")] = 0,
    cores: options.Cores = None,
) -> None:
    """Go on with a stored run: after Ctrl-C, after a crash, or for more draws.

    Ratings, settings and the state of every chain stand in the store. A run that was interrupted
    and resumed has the very numbers of one that never was.

    **Examples**

    - `bayesmf resume run.zarr`
    - `bayesmf resume run.zarr --draws 1000`
    """
    with _interruptible(store, new=False):
        post = bayesmf.resume(store, draws=draws, cores=cores, progressbar=sys.stderr.isatty())
    _end(post, store)


@contextmanager
def _interruptible(store: Path, *, new: bool) -> Iterator[None]:
    # For an interrupt before every chain has a draw; later ones are part of the result, and `_end`
    # tells of them.
    before = _identity(store)
    try:
        yield
    except KeyboardInterrupt:
        if new and _identity(store) == before:
            say("Interrupted before the first sweep: nothing was stored.")
        else:
            say(
                f"Interrupted before every chain had a draw; {store} keeps its last checkpoint. "
                f"To go on: {_resume_command(store)}"
            )
        raise SystemExit(INTERRUPTED) from None


def _identity(store: Path) -> tuple[int, int] | None:
    # A store that is replaced is another folder under the same name.
    if not store.exists():
        return None
    found = store.stat()
    return found.st_dev, found.st_ino


def _end(post: "Posterior", store: Path) -> None:
    drawn = post.data["posterior"].sizes["draw"]
    if post.data.attrs["interrupted"]:
        planned = json.loads(post.data.attrs["run"])["draws"]
        say(
            f"Interrupted: kept {drawn:,} of {planned:,} draws of each chain in {store}. "
            f"To go on: {_resume_command(store)}"
        )
        raise SystemExit(INTERRUPTED)
    say(f"{drawn:,} draws of each chain are in {store}, after {post.fit_seconds:,.0f} s.")
    say(post.diagnose().verdict)


def _resume_command(store: Path) -> str:
    return f"bayesmf resume {shlex.quote(str(store))}"
