"""Saving a tree: as a Zarr store or a netCDF file that is there whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import xarray as xr

from bayesmf.atomic import PARTIAL, free_name, make_durable
from bayesmf.draws.keeping import DRAWS_TOGETHER
from bayesmf.draws.opening import NETCDF, root_attributes
from bayesmf.draws.store import PRIVATE, ArrayPlan, GroupPlan, Store
from bayesmf.validation import fail

SMALL = 4096
"""Most bytes of a draw for which more draws than usual lie in a chunk."""


def check_target(path: object, overwrite: bool, function: str) -> Path:
    """Return the path to save under; one that is taken needs leave to be replaced."""
    if not isinstance(path, (str, os.PathLike)):
        fail("path", function, "a text or a path", path, TypeError)
    found = Path(path).expanduser()
    if not found.parent.is_dir():
        fail("path", function, "a path in a folder that exists", str(found), FileNotFoundError)
    if found.suffix.lower() not in (".zarr", *NETCDF):
        fail("path", function, f"a path ending in .zarr, {', '.join(NETCDF)}", str(found))
    found = found.resolve() if found.is_symlink() else found
    if not found.exists():
        return found
    if not overwrite:
        must = "a path that does not exist yet, or overwrite=True with it"
        fail("path", function, must, str(found), FileExistsError)
    if found.is_dir() != (found.suffix.lower() == ".zarr"):
        must = "a store, if it is to be replaced by one, or a file by a file"
        fail("path", function, must, str(found), FileExistsError)
    if found.is_dir():
        root_attributes(found, function)
        if any((found / PRIVATE).glob("*.npz")):
            must = "another path than that of a run, which could not be gone on from then"
            fail("path", function, must, str(found), FileExistsError)
    return found


def save_tree(tree: xr.DataTree, path: Path) -> None:
    """Write a tree under another name and rename it; draws that lie in a store pass by in blocks.

    netCDF takes each variable as a whole.
    """
    tree = tree.copy()
    for name in ("run", "status", "store_id"):  # of the run, which is not saved
        tree.attrs.pop(name, None)
    if path.suffix.lower() == ".zarr":
        partial, lock = Store.begin(path)
        try:
            _write_zarr(tree, partial).settle(path, replace=True)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            lock.release()
        return
    partial = free_name(path, PARTIAL)
    try:
        tree.to_netcdf(partial, engine="h5netcdf")
        make_durable([partial])
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    make_durable([path.parent])


def _write_zarr(tree: xr.DataTree, path: Path) -> Store:
    groups = {
        name: node.to_dataset()
        for name, node in tree.children.items()
        if {"chain", "draw"} <= set(node.sizes)
    }
    fixed = tree
    for name, found in groups.items():
        drawn = [variable for variable in found.variables if "draw" in found[variable].dims]
        fixed[name] = xr.DataTree(found.drop_vars(drawn))
    store = Store.create(path, fixed, {name: _plan(found) for name, found in groups.items()})
    for name, found in groups.items():
        together = _plan(found).together
        for chain in range(found.sizes["chain"]):
            for start in range(0, found.sizes["draw"], together):
                part = found.isel(chain=chain, draw=slice(start, start + together))
                values = {str(variable): part[variable].to_numpy() for variable in part.data_vars}
                store.write(name, chain, start, values)
    store.commit({name: found.sizes["draw"] for name, found in groups.items()}, {})
    return store


def _plan(found: xr.Dataset) -> GroupPlan:
    arrays = {
        str(name): ArrayPlan(array.shape[2:], tuple(map(str, array.dims[2:])), array.dtype)
        for name, array in found.data_vars.items()
    }
    n_draws = found.sizes["draw"]
    size = found.nbytes / max(1, found.sizes["chain"] * n_draws)
    together = max(1, min(n_draws, DRAWS_TOGETHER if size > SMALL else n_draws))
    return GroupPlan(arrays, found.sizes["chain"], np.asarray(found["draw"]), together)
