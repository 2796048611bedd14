"""A store: a folder in Zarr's format that grows draw by draw and can be read at any moment.

Arrays are laid out in full when a run begins. What counts as drawn stands in one file, the root's
`zarr.json`, which holds the metadata of all arrays ("consolidated") with the number of draws that
every chain has; it is replaced as a whole, after the draws are on the disk. So a reader finds
finished draws, and whoever comes after a crash does.

The folder `.bayesmf` holds what only a run needs: a checkpoint of each chain, and the lock.
"""

from __future__ import annotations

import asyncio
import errno
import json
import shutil
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import filelock
import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import LocalStore

from bayesmf.atomic import (
    OLD,
    PARTIAL,
    free_name,
    hidden_beside,
    make_all_durable,
    make_durable,
    put_back,
    write_atomically,
)
from bayesmf.draws.root import METADATA, read_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import xarray as xr
    from zarr.core.buffer import Buffer

ROWS_TOGETHER = 512
"""Rows of users or items in a chunk: one user's predictions do not read everybody's."""

LABELS_TOGETHER = 4096
"""Labels of draws in a chunk."""

EVERY_CHUNK: Any = {"write_empty_chunks": True}
"""Every chunk has its file, that of missing numbers too, so that one that is not there is seen."""

PRIVATE = ".bayesmf"


class DurableFiles(LocalStore):
    """A folder whose files are on the disk before they take the place of older ones.

    A chunk that is not full is written again with more draws, while the metadata count some of them
    already: after a power cut the old file or the new one must be there.
    """

    async def set(self, key: str, value: Buffer) -> None:
        """Write one file; its name is made durable by whoever writes."""
        self._check_writable()
        await asyncio.to_thread(_write, self.root / key, value)


def _write(path: Path, value: Buffer) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, value.as_buffer_like(), name_too=False)


class Store:
    """The folder of a run.

    Parameters
    ----------
    path : Path
        An existing store.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._arrays: dict[tuple[str, str], zarr.Array[Any]] = {}
        self._metadata: dict[str, Any] = {}
        self.attributes: dict[str, Any] = read_metadata(path)["attributes"]

    @property
    def private(self) -> Path:
        """Folder of checkpoints and the lock."""
        return self.path / PRIVATE

    def checkpoint(self, chain: int) -> Path:
        """File of a chain's checkpoint."""
        return self.private / f"chain-{chain}.npz"

    def lock(self) -> filelock.BaseFileLock:
        """Take the store for this process, until it ends or releases it.

        The operating system holds the lock, so that a killed run leaves none.

        Raises
        ------
        filelock.Timeout
            If another process has it.
        """
        return take_lock(self.path)

    @classmethod
    def begin(cls, place: Path) -> tuple[Path, filelock.BaseFileLock]:
        """Make a hidden folder for a store that will go to `place`, and lock it for this process.

        What killed processes have left there is swept out.
        """
        sweep_beside(place)
        path = free_name(place, PARTIAL)
        (path / PRIVATE).mkdir(parents=True)
        return path, take_lock(path)

    @classmethod
    def create(cls, path: Path, fixed: xr.DataTree, groups: Mapping[str, GroupPlan]) -> Store:
        """Lay out a store in a folder that `begin` has made: what is fixed, and room for draws."""
        fixed.attrs["store_id"] = uuid.uuid4().hex
        # In a folder of its own, since Zarr would wonder at ours.
        layout = path / "layout"
        fixed.to_zarr(layout, zarr_format=3, consolidated=False, mode="w-")
        for part in layout.iterdir():
            part.rename(path / part.name)
        layout.rmdir()
        for name, plan in groups.items():
            group = zarr.open_group(path / name, mode="r+", use_consolidated=False)
            lay_out(group, plan)
            _write_labels(group, plan.labels)
        store = cls(path)
        store.open_arrays()
        return store

    def open_arrays(self) -> None:
        """Open all arrays with draws for writing, and learn the metadata of everything."""
        files = DurableFiles(self.path)
        for file in sorted(self.path.rglob(METADATA)):
            if file.parent != self.path:
                name = file.parent.relative_to(self.path).as_posix()
                self._metadata[name] = read_metadata(file.parent)
        for name, found in self._metadata.items():
            group, _, variable = name.rpartition("/")
            if {"chain", "draw"} <= set(found.get("dimension_names") or ()):
                self._arrays[group, variable] = zarr.open_array(
                    files, path=name, mode="r+", config=EVERY_CHUNK
                )

    def extend(self, labels: Mapping[str, np.ndarray]) -> None:
        """Make room for more draws, with these labels of all in each group."""
        for (group, _), array in self._arrays.items():
            array.resize((array.shape[0], len(labels[group]), *array.shape[2:]))
        for name in sorted({owner for owner, _ in self._arrays}):
            opened = zarr.open_group(self.path / name, mode="r+", use_consolidated=False)
            _write_labels(opened, labels[name])
        self.open_arrays()

    def write_tracked(self, values: Mapping[str, np.ndarray]) -> None:
        """Write the moments (chain, cell) of tracked cells."""
        for variable, array in values.items():
            zarr.open_array(self.path / "tracked" / variable, mode="r+")[:] = array

    def write(self, group: str, chain: int, start: int, values: Mapping[str, np.ndarray]) -> None:
        """Write draws start, start + 1, ... (n, ...) of one chain, and wait until they are safe."""
        folders = set()
        for variable, array in values.items():
            if array.size:
                self._arrays[group, variable][chain, start : start + len(array)] = array
                folders.add(self.path / group / variable)
        make_durable(folders)

    def read(self, group: str, chain: int, start: int, stop: int) -> dict[str, np.ndarray]:
        """Read draws start..stop of one chain."""
        return {
            variable: np.asarray(array[chain, start:stop])
            for (owner, variable), array in self._arrays.items()
            if owner == group
        }

    def commit(self, n_draws: Mapping[str, int], attributes: Mapping[str, Any]) -> None:
        """Say that so many draws of every chain are there, with new values of attributes."""
        self.attributes |= attributes
        metadata: dict[str, Any] = {}
        for name, found in self._metadata.items():
            dims, group = found.get("dimension_names") or (), name.partition("/")[0]
            metadata[name] = found
            if "draw" in dims and group in n_draws:
                shape = list(found["shape"])
                shape[dims.index("draw")] = n_draws[group]
                metadata[name] = found | {"shape": shape}
        root = {
            "zarr_format": 3,
            "node_type": "group",
            "attributes": self.attributes,
            "consolidated_metadata": {
                "kind": "inline", "must_understand": False, "metadata": metadata,
            },
        }  # fmt: skip
        write_atomically(self.path / METADATA, json.dumps(root, indent=1).encode())

    def settle(self, place: Path, *, replace: bool) -> None:
        """Move the folder to its place, where an older one gives way if it may.

        Raises
        ------
        FileExistsError
            If the place was taken meanwhile.
        """
        make_all_durable(self.path)
        old = None
        if place.exists():
            if not replace:
                message = "It was made by another process meanwhile"
                raise FileExistsError(errno.EEXIST, message, str(place))
            old = free_name(place, OLD)
            place.rename(old)
        try:
            self.path.rename(place)
        except BaseException:
            if old is not None:
                old.rename(place)
            raise
        make_durable([place.parent])
        self.path = place
        self.open_arrays()
        if old is not None:
            # What cannot be deleted now, the next run sweeps out.
            shutil.rmtree(old, ignore_errors=True)

    def sweep_out(self) -> None:
        """Delete what writes that were cut off have left."""
        for file in self.path.rglob("*.partial"):
            file.unlink()


class ArrayPlan(NamedTuple):
    """Sizes after (chain, draw), their names, and the type of an array."""

    sizes: tuple[int, ...]
    dims: tuple[str, ...]
    dtype: np.dtype


class GroupPlan(NamedTuple):
    """A group with draws: its arrays, chains, labels of draws, and how many lie in a chunk."""

    arrays: dict[str, ArrayPlan]
    chains: int
    labels: np.ndarray
    together: int


def lay_out(group: zarr.Group, plan: GroupPlan) -> None:
    """Create the arrays of a group."""
    for name, (sizes, dims, dtype) in plan.arrays.items():
        chunk = [
            min(size, ROWS_TOGETHER) if dim in ("user", "item") else size
            for size, dim in zip(sizes, dims, strict=True)
        ]
        shuffled = BloscCodec(
            # Bits of one place of all numbers stand together: signs and exponents are alike.
            cname="lz4", clevel=1, shuffle="bitshuffle", typesize=dtype.itemsize
        )  # fmt: skip
        group.create_array(
            name,
            shape=(plan.chains, len(plan.labels), *sizes),
            chunks=(1, max(1, plan.together), *(max(1, n) for n in chunk)),
            dtype=dtype,
            compressors=[shuffled, Crc32cCodec()],
            fill_value=np.nan,
            dimension_names=["chain", "draw", *dims],
            # All files in one folder, which is made durable with one call.
            chunk_key_encoding={"name": "default", "separator": "."},
            config=EVERY_CHUNK,
        )


def take_lock(path: Path) -> filelock.BaseFileLock:
    """Lock a store for this process."""
    lock = filelock.FileLock(path / PRIVATE / "lock")
    lock.acquire(blocking=False)
    return lock


def sweep_beside(place: Path) -> None:
    """Put back a store that was to be replaced, and delete what killed processes have left."""
    put_back(place)
    for left in [*hidden_beside(place, OLD), *hidden_beside(place, PARTIAL)]:
        if not left.is_dir():
            continue
        try:
            lock = take_lock(left)
        except (filelock.Timeout, OSError):
            continue  # somebody is at it
        shutil.rmtree(left, ignore_errors=True)
        lock.release()


def _write_labels(group: zarr.Group, labels: np.ndarray) -> None:
    if "draw" in group:
        array = zarr.open_array(group.store_path / "draw", mode="r+")
        array.resize(labels.shape)
    else:
        array = group.create_array(
            "draw", shape=labels.shape, chunks=(LABELS_TOGETHER,), dtype=np.int64,
            dimension_names=["draw"],
        )  # fmt: skip
    array[:] = labels
