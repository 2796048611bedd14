"""Reading one file of ratings, in a folder or in a zip, and naming it when it is damaged."""

from __future__ import annotations

import csv
import gzip
import io
import os
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import pandas as pd

from bayesmf.validation import fail

if TYPE_CHECKING:
    from collections.abc import Iterator

type File = Path | zipfile.Path  # both answer `/`, is_file(), open() and name

_COLUMNS = ["user", "item", "rating", "timestamp"]
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_SUFFIXES = (*_SEPARATORS, ".dat", ".data", ".base", ".test", ".parquet")
_DAMAGE = (ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile)


def existing(path: object, function: str) -> Path:
    """Return a path that exists."""
    if not isinstance(path, (str, os.PathLike)):
        fail("path", function, "a text or a path", path, TypeError)
    found = Path(path).expanduser()
    if not found.exists():
        fail("path", function, "a path that exists", str(found), FileNotFoundError)
    return found


@contextmanager
def damage_named(file: File, function: str) -> Iterator[None]:
    """Turn whatever a reader raises on a damaged file into one error that names the file."""
    try:
        yield
    except _DAMAGE as error:
        fail("path", function, f"a sound file ({str(error).strip()})", str(file))


def read_table(file: File, function: str) -> pd.DataFrame:
    """Read a table by its suffix; one without names of columns gets the usual ones."""
    name = file.name.lower()
    suffix = PurePath(name.removesuffix(".gz")).suffix
    if not file.is_file() or suffix not in _SUFFIXES:
        fail("path", function, f"a file ending in {', '.join(_SUFFIXES)}", str(file))
    with damage_named(file, function):
        content = gzip.decompress(file.read_bytes()) if name.endswith(".gz") else file.read_bytes()
        if suffix == ".parquet":
            frame = pd.read_parquet(io.BytesIO(content))
        elif suffix in _SEPARATORS:
            frame = pd.read_csv(io.BytesIO(content), sep=_SEPARATORS[suffix], low_memory=False)
            if all(str(column).replace(".", "").isdecimal() for column in frame.columns):
                raise ValueError("its first line holds numbers, not the names of columns")
            # Given more fields than names, pandas makes an index of the first and shifts the rest.
            if not isinstance(frame.index, pd.RangeIndex):
                raise ValueError("its lines have more fields than its first line has names")
        else:
            frame = read_nameless(content, "::", "utf-8")
            frame = frame.set_axis(_COLUMNS[: frame.shape[1]], axis=1)
        if frame.shape[1] < 3 or frame.empty:
            raise ValueError("it has no rows" if frame.empty else "it has fewer than three columns")
    return frame


def read_nameless(content: bytes, sep: str, encoding: str) -> pd.DataFrame:
    """Read a table whose first line is a row, with any separator."""
    content = content.replace(sep.encode(), b"\t")  # pandas' fast parser takes one character
    return pd.read_csv(
        io.BytesIO(content),
        sep="\t",
        header=None,
        quoting=csv.QUOTE_NONE,
        encoding=encoding,
        low_memory=False,
    )
