"""Where a run may write: a free path, a store that no other process has, and a disk with room."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from bayesmf.draws.opening import root_attributes
from bayesmf.draws.root import METADATA
from bayesmf.validation import Described, fail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bayesmf.draws.store import Store
    from bayesmf.ratings import Ratings


@contextmanager
def locked(store: Store, function: str) -> Iterator[None]:
    """Hold a store for this process.

    Raises
    ------
    BlockingIOError
        If another process has it.
    """
    try:
        lock = store.lock()
    except filelock.Timeout:
        message = f"{function} cannot have {store.path}: another process is running on it."
        raise BlockingIOError(errno.EWOULDBLOCK, message) from None
    try:
        yield
    finally:
        lock.release()


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def explained(path: Path, function: str, stored: Callable[[], bool]) -> Iterator[None]:
    """Say what a failed write means; `stored` tells whether there is a run to go on from."""
    try:
        yield
    except OSError as error:
        if isinstance(error, (BlockingIOError, FileExistsError)) or error.errno is None:
            raise
        rest = "nothing was stored"
        if stored():
            room = "with room for more " if error.errno in NO_ROOM else ""
            rest = f"bayesmf.load opens what it holds, and {room}bayesmf.resume goes on"
        message = f"{function} could not write to {path} ({error.strerror}): {rest}."
        raise OSError(error.errno, message) from error


def check_free(path: object, overwrite: bool, ratings: Ratings, function: str) -> Path:
    """Return the path of a new store; one that is taken must be a store that may be replaced."""
    if not isinstance(path, (str, os.PathLike)):
        fail("store", function, "None, a text or a path", path, TypeError)
    found = Path(path).expanduser()
    if not found.parent.is_dir():
        fail("store", function, "a path in a folder that exists", str(found), FileNotFoundError)
    found = found.resolve() if found.is_symlink() else found
    if not found.exists():
        return found
    must = "a path that does not exist yet"
    if not found.is_dir() or not (found / METADATA).exists():
        fail("store", function, must, str(found), FileExistsError)
    attributes = root_attributes(found, function)
    if not overwrite:
        same = attributes["data_fingerprint"] == ratings.fingerprint
        got = f"{found}, the store of a run on {'the same' if same else 'other'} ratings"
        must += ", or overwrite=True with it (bayesmf.resume goes on with a stored run)"
        fail("store", function, must, Described(got), FileExistsError)
    return found
