"""One file of ratings: read, in a folder or in a zip, and named when it is damaged; written."""

from __future__ import annotations

import csv
import gzip
import io
import os
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Literal

import pandas as pd

from bayesmf.atomic import write_atomically
from bayesmf.validation import fail

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


def read_table(
    file: File, function: str, *, least: int = 3, texts: Sequence[str] = ()
) -> pd.DataFrame:
    """Read a table by its suffix; one without names of columns gets the usual ones.

    It must have `least` columns. Columns in `texts` are read as they stand: "007" is not 7.
    """
    name = file.name.lower()
    suffix = PurePath(name.removesuffix(".gz")).suffix
    if not file.is_file() or suffix not in _SUFFIXES:
        fail("path", function, f"a file ending in {', '.join(_SUFFIXES)}", str(file))
    with damage_named(file, function):
        content = gzip.decompress(file.read_bytes()) if name.endswith(".gz") else file.read_bytes()
        if suffix == ".parquet":
            frame = pd.read_parquet(io.BytesIO(content))
        elif suffix in _SEPARATORS:
            frame = pd.read_csv(
                io.BytesIO(content), sep=_SEPARATORS[suffix], low_memory=False,
                dtype=dict.fromkeys(texts, "str"),
            )  # fmt: skip
            if all(str(column).replace(".", "").isdecimal() for column in frame.columns):
                raise ValueError("its first line holds numbers, not the names of columns")
            # Given more fields than names, pandas makes an index of the first and shifts the rest.
            if not isinstance(frame.index, pd.RangeIndex):
                raise ValueError("its lines have more fields than its first line has names")
        else:
            frame = read_nameless(content, "::", "utf-8")
            frame = frame.set_axis(_COLUMNS[: frame.shape[1]], axis=1)
        if frame.empty:
            raise ValueError("it has no rows")
        if frame.shape[1] < least:
            raise ValueError(f"it has fewer than {('two', 'three')[least - 2]} columns")
    return frame


def read_nameless(
    content: bytes, sep: str, encoding: str, dtype: Literal["str"] | None = None
) -> pd.DataFrame:
    """Read a table whose first line is a row, with any separator; of a type if one is given."""
    content = content.replace(sep.encode(), b"\t")  # pandas' fast parser takes one character
    return pd.read_csv(
        io.BytesIO(content),
        sep="\t",
        header=None,
        quoting=csv.QUOTE_NONE,
        encoding=encoding,
        low_memory=False,
        dtype=dtype,
    )


def check_output(path: Path, argument: str, function: str) -> None:
    """Refuse to write a table where it cannot be, before it is worked out."""
    suffix = PurePath(path.name.lower().removesuffix(".gz")).suffix
    if suffix not in (*_SEPARATORS, ".parquet"):
        known = ", ".join((*_SEPARATORS, ".parquet"))
        fail(argument, function, f"a file ending in {known}", str(path))
    if not path.parent.is_dir():
        fail(argument, function, "a path in a folder that exists", str(path), FileNotFoundError)
    if path.is_dir():
        fail(argument, function, "a path of a file", f"the folder {path}", IsADirectoryError)


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table by its suffix; it is there whole or not at all."""
    zipped = path.name.lower().endswith(".gz")
    suffix = PurePath(path.name.lower().removesuffix(".gz")).suffix
    if suffix == ".parquet":
        held = io.BytesIO()
        frame.to_parquet(held, index=False)
        content = held.getvalue()
    else:
        content = frame.to_csv(sep=_SEPARATORS[suffix], index=False, lineterminator="\n").encode()
    write_atomically(path, gzip.compress(content) if zipped else content)
