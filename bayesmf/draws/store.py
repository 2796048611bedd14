"""A store: a folder in Zarr's format that grows draw by draw and can be read at any moment.

Arrays are laid out in full when a run begins. What counts as drawn stands in one file, the root's
`zarr.json`, which holds the metadata of all arrays ("consolidated") with the number of draws that
every chain has; it is replaced as a whole, after the draws are on the disk. So a reader finds
finished draws, and whoever comes after a crash does.

The folder `.bayesmf` holds what only a run needs: a checkpoint of each chain, and the lock.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

import filelock
import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from bayesmf.atomic import free_name, make_durable, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import xarray as xr

ROWS_TOGETHER = 512
"""Rows of users or items in a chunk: one user's predictions do not read everybody's."""

LABELS_TOGETHER = 4096
"""Labels of draws in a chunk."""

EVERY_CHUNK: Any = {"write_empty_chunks": True}
"""Every chunk has its file, that of missing numbers too."""

PRIVATE = ".bayesmf"


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
        root = json.loads((path / "zarr.json").read_text("utf-8"))
        self.attributes: dict[str, Any] = root["attributes"]

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
        lock = filelock.FileLock(self.private / "lock")
        lock.acquire(blocking=False)
        return lock

    @classmethod
    def create(cls, path: Path, fixed: xr.DataTree, groups: Mapping[str, GroupPlan]) -> Store:
        """Lay out a store in a folder that does not exist: what is fixed, and room for draws."""
        fixed.to_zarr(path, zarr_format=3, consolidated=False, mode="w-")
        (path / PRIVATE).mkdir()
        for name, plan in groups.items():
            group = zarr.open_group(path / name, mode="r+", use_consolidated=False)
            lay_out(group, plan)
            _write_labels(group, plan.labels)
        store = cls(path)
        store.open_arrays()
        return store

    def open_arrays(self) -> None:
        """Open all arrays with draws for writing, and learn the metadata of everything."""
        for file in sorted(self.path.rglob("zarr.json")):
            if file.parent != self.path:
                name = file.parent.relative_to(self.path).as_posix()
                self._metadata[name] = json.loads(file.read_text("utf-8"))
        for name, found in self._metadata.items():
            group, _, variable = name.rpartition("/")
            if {"chain", "draw"} <= set(found.get("dimension_names") or ()):
                self._arrays[group, variable] = zarr.open_array(
                    self.path / name, mode="r+", config=EVERY_CHUNK
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
        files: set[Path] = set()
        folders: set[Path] = set()
        for variable, array in values.items():
            if array.size:
                target = self._arrays[group, variable]
                target[chain, start : start + len(array)] = array
                folder = self.path / group / variable
                names = chunk_names(target, chain, start, start + len(array))
                files.update(folder / name for name in names)
                folders.add(folder)
        make_durable(files)
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
        write_atomically(self.path / "zarr.json", json.dumps(root, indent=1).encode())

    def settle(self, path: Path) -> None:
        """Move the folder to its place, where an older one gives way."""
        old = None
        if path.exists():
            old = free_name(path.with_name(f"{path.name}.old"))
            path.rename(old)
        self.path.rename(path)
        make_durable([path.parent])
        self.path = path
        self.open_arrays()
        if old is not None:
            shutil.rmtree(old)

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


def chunk_names(array: zarr.Array[Any], chain: int, start: int, stop: int) -> Iterator[str]:
    """Names of the files that hold draws start..stop of a chain."""
    together = array.chunks
    draws = range(start // together[1], -(-stop // together[1]))
    rows = zip(array.shape[2:], together[2:], strict=True)
    metadata: Any = array.metadata
    for rest in np.ndindex(*(-(-n // size) for n, size in rows)):
        for draw in draws:
            yield metadata.encode_chunk_key((chain, draw, *rest))


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
