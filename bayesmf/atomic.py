"""Files and folders that are there whole or not at all, whenever a process is killed."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import Any

PARTIAL, OLD = "partial", "old"
"""Endings of what is not complete yet, and of what gives way to something new."""


def write_atomically(path: Path, content: Any, *, name_too: bool = True) -> None:
    """Write a file under another name, make it durable, and rename it over `path`.

    A reader, and whoever comes after a crash, finds the old content or the new one. With
    `name_too` the folder is made durable as well, without which a power cut may undo the renaming.
    """
    partial = free_name(path, PARTIAL)
    try:
        # As `open` would have it: readable for whom the umask lets.
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if name_too:
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


def make_all_durable(folder: Path) -> None:
    """Make a folder durable with everything in it."""
    make_durable([folder, *folder.rglob("*")])


def free_name(path: Path, ending: str) -> Path:
    """Return a hidden name beside `path` that nobody else has."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.{ending}")


def hidden_beside(path: Path, ending: str) -> list[Path]:
    """Names that `free_name` has given to what a killed process has left, or another still uses."""
    prefix, suffix = f".{path.name}.", f".{ending}"
    found = path.parent.iterdir() if path.parent.is_dir() else ()
    return sorted(one for one in found if one.name.startswith(prefix) and one.name.endswith(suffix))


def put_back(path: Path) -> None:
    """Give a path back what had made room for something new that never came."""
    given_way = hidden_beside(path, OLD)
    if len(given_way) == 1 and not path.exists():
        given_way[0].rename(path)
