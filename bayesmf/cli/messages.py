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
"""Advice of the library's errors, in the words of the command line."""
_ASKED_FOR = (
    FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError,
    ImportError,
)  # fmt: skip
"""Errors about what was asked for: a wrong path, or a kind of file that needs another package."""
_EXPECTED = (ValueError, TypeError, OSError, ArithmeticError, ImportError, MemoryError)
"""Errors that the library explains itself; any other is shown with its type."""


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
    usage = getattr(error, "format_message", None)
    if usage is not None:  # of Click, which typer may bring along under a name of its own
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "bayesmf"
        say(f"bayesmf: error: {_one_line(usage()).removesuffix('.')}. See: {command} --help")
        return WRONG
    text = _one_line(error)
    if not isinstance(error, (Refused, *_EXPECTED)):
        text = f"{type(error).__name__}: {text} (--debug shows where)"
    say(f"bayesmf: error: {_in_options(text) or type(error).__name__}")
    return WRONG if _FORM.match(text) or isinstance(error, (Refused, *_ASKED_FOR)) else FAILED


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _in_options(text: str) -> str:
    # Arguments of the library, as the options that they are here.
    def spoken(found: re.Match[str]) -> str:
        argument = found[1]
        return f"{_SPOKEN.get(argument, f'--{argument.replace("_", "-")}')} must be "

    text = _FORM.sub(spoken, text, count=1)
    for pattern, words in _HINTS:
        text = pattern.sub(words, text)
    return text


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
        say(f"bayesmf: note: {_one_line(message)}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning, module="bayesmf")
        # A run that was interrupted says so itself, with the way to go on.
        warnings.filterwarnings("ignore", message="Interrupted: kept")
        warnings.showwarning = show
        yield
