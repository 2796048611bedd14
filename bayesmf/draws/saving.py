"""Saving a tree: as a Zarr store or a netCDF file that is there whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bayesmf.atomic import free_name, make_durable
from bayesmf.draws.keeping import DRAWS_TOGETHER
from bayesmf.draws.opening import NETCDF
from bayesmf.draws.store import ArrayPlan, GroupPlan, Store
from bayesmf.validation import fail

if TYPE_CHECKING:
    import xarray as xr

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
    if found.exists() and not overwrite:
        must = "a path that does not exist yet, or overwrite=True with it"
        fail("path", function, must, str(found), FileExistsError)
    if found.is_dir() != (found.suffix.lower() == ".zarr") and found.exists():
        must = "a store, if it is to be replaced by one, or a file by a file"
        fail("path", function, must, str(found), FileExistsError)
    if found.is_dir() and not (found / "zarr.json").exists():
        must = "a store of bayesmf, if it is to be replaced"
        fail("path", function, must, str(found), FileExistsError)
    return found


def save_tree(tree: xr.DataTree, path: Path) -> None:
    """Write a tree under another name and rename it; draws that lie in a store pass by in blocks.

    netCDF takes each variable as a whole.
    """
    partial = free_name(path)
    try:
        if path.suffix.lower() == ".zarr":
            _write_zarr(tree, partial).settle(path)
        else:
            tree.to_netcdf(partial, engine="h5netcdf")
            make_durable([partial])
            partial.replace(path)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        partial.unlink(missing_ok=True)


def _write_zarr(tree: xr.DataTree, path: Path) -> Store:
    groups = {
        name: node.to_dataset()
        for name, node in tree.children.items()
        if {"chain", "draw"} <= set(node.sizes)
    }
    fixed = tree.copy()
    for name, found in groups.items():
        drawn = [variable for variable in found.variables if "draw" in found[variable].dims]
        fixed[name] = type(tree)(found.drop_vars(drawn))
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
    together = min(n_draws, DRAWS_TOGETHER if size > SMALL else n_draws)
    return GroupPlan(arrays, found.sizes["chain"], np.asarray(found["draw"]), together)
