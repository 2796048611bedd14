"""Files that are there whole or not at all, whenever a process is killed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under another name, make it durable, and rename it over `path`.

    A reader, and whoever comes after a crash, finds the old content or the new one.
    """
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".partial", dir=path.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    make_durable([path.parent])


def make_durable(paths: Iterable[Path]) -> None:
    """Wait until files, or the names in folders, are on the disk and would survive a power cut."""
    for path in paths:
        if os.name == "nt" and path.is_dir():
            continue  # folders cannot be opened there, and renames are durable by themselves
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def free_name(path: Path) -> Path:
    """Return a name beside `path` that nobody else uses, for what is not complete yet."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")
