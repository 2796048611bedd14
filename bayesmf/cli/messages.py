"""What is said on standard error: notes, and errors in one line of the command line's own words.

Standard output is for data alone, so that it can go into a file.
"""

from __future__ import annotations

import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

FINE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: done; a run that failed or has not converged; wrong usage; Ctrl-C."""

_FORM = re.compile(r"The '(\w+)' argument of [\w.]+ must be ")
_SPOKEN = {
    "n_factors": "--factors",
    "random_seed": "--seed",
    "users": "--user",
    "path": "the path",
    "pairs": "the table of pairs",
    "ratings": "the table of ratings",
    "table": "the table",
    "test": "the table of test ratings",
}
"""Arguments of the library that have another name here; the others are options of their name."""
_HINTS = (
    (re.compile(r"Ratings\(table, (\w+)_col=\.\.\.\)"), r"--\1-col"),
    (re.compile(r"build it with Ratings\(\.\.\., duplicates='mean'\)"), "give --duplicates mean"),
    (re.compile(r"overwrite=True"), "--overwrite"),
    (re.compile(r"bayesmf\.(resume|load)\b"), r"bayesmf \1"),
)
_FILES = (
    *(FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError),
    ImportError,
)
_EXPECTED = (ValueError, TypeError, OSError, ArithmeticError, ImportError, MemoryError)


class Refused(Exception):  # noqa: N818 - it says what happened, as `typer.Exit` does
    """What was asked for cannot be done, for a reason that is said in one sentence."""


def say(text: object) -> None:
    """Say something on standard error."""
    typer.echo(str(text), err=True)


@contextmanager
def naming(name: object) -> Iterator[None]:
    """Name the file in the errors of the table that was read from it."""
    try:
        yield
    except (ValueError, TypeError) as error:
        found = _FORM.match(str(error))
        if found is None:
            raise
        raise Refused(f"{name} must be {str(error)[found.end() :]}") from error


def tell(error: Exception) -> int:
    """Say in one line what went wrong, and return the exit code."""
    usage = getattr(error, "format_message", None)  # of whichever Click typer is made of
    text = " ".join(str(usage() if usage else error).split())
    if usage is not None:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "bayesmf"
        say(f"bayesmf: error: {text.removesuffix('.')}. See: {command} --help")
        return WRONG
    if not isinstance(error, (Refused, *_EXPECTED)):
        text = f"{type(error).__name__}: {text} (--debug shows where)"
    formed = _FORM.match(text)
    say(f"bayesmf: error: {_in_options(text) or type(error).__name__}")
    return WRONG if formed or isinstance(error, (Refused, *_FILES)) else FAILED


def _in_options(text: str) -> str:
    # Of arguments as the options that they are here.
    text = _FORM.sub(lambda m: f"{_SPOKEN.get(m[1], _option(m[1]))} must be ", text, count=1)
    for pattern, words in _HINTS:
        text = pattern.sub(words, text)
    return text


def _option(argument: str) -> str:
    return f"--{argument.replace('_', '-')}"


@contextmanager
def spoken_warnings() -> Iterator[None]:
    """Say the library's warnings as notes; those of other packages are for their developers."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        del category, filename, lineno, file, line
        say(f"bayesmf: note: {' '.join(str(message).split())}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning, module="bayesmf")
        # A run that was interrupted says so itself, with the way to go on.
        warnings.filterwarnings("ignore", message="Interrupted: kept")
        warnings.showwarning = show
        yield
