"""Opening what was stored: the tree of draws, and the ratings and the model that stand in it.

Nothing that is read is ever executed: netCDF and Zarr's third format hold numbers and texts, and a
store whose metadata asks for any other codec than those that bayesmf writes is refused.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesmf.atomic import put_back
from bayesmf.draws.reading import ORIGIN, fits_in_memory
from bayesmf.draws.root import read_metadata
from bayesmf.draws.schema import SCHEMA_VERSION
from bayesmf.files import existing
from bayesmf.model import BPMF
from bayesmf.ratings import Ratings
from bayesmf.validation import Described, fail

if TYPE_CHECKING:
    from typing import NoReturn

NETCDF = (".nc", ".netcdf", ".h5")
CODECS = {"bytes", "blosc", "crc32c", "zstd", "vlen-utf8", "gzip"}
_DAMAGE = (ValueError, KeyError, TypeError, OSError, RuntimeError, IndexError, AttributeError)


def open_tree(path: object, function: str) -> tuple[Path, xr.DataTree]:
    """Open stored draws: in memory where they are few, else read when they are needed.

    Raises
    ------
    FileNotFoundError, TypeError
        If there is no such path.
    ValueError
        If it is not what bayesmf stores, damaged, or of a newer format.
    """
    found = stored_at(path, function)
    if found.is_dir():
        return found, _open(found, "zarr", root_attributes(found, function), function)
    if found.suffix.lower() not in NETCDF:
        must = f"the folder of a Zarr store, or a file ending in {', '.join(NETCDF)}"
        fail("path", function, must, str(found))
    try:
        with xr.open_dataset(found, engine="h5netcdf") as root:
            attributes = dict(root.attrs)
        _check_version(attributes)
    except _DAMAGE as error:
        _damaged(found, error, function)
    return found, _open(found, "h5netcdf", attributes, function)


def stored_at(path: object, function: str) -> Path:
    """Return a path that exists; an old store that had begun to give way is put back."""
    if isinstance(path, (str, os.PathLike)):
        put_back(Path(path).expanduser())
    return existing(path, function)


def root_attributes(store: Path, function: str) -> dict[str, Any]:
    """Attributes of a Zarr store, which is sound as far as its metadata tell."""
    try:
        root = read_metadata(store)
        attributes: dict[str, Any] = root["attributes"]
        _check_version(attributes)
        for name, entry in root["consolidated_metadata"]["metadata"].items():
            _check_entry(store, name, entry)
    except (*_DAMAGE, RecursionError) as error:
        _damaged(store, error, function)
    return attributes


def _check_entry(store: Path, name: str, entry: dict[str, Any]) -> None:
    # Only what this format has, so that nothing else is decoded; and no chunk of draws missing,
    # since Zarr reads one that is not there as missing numbers.
    if entry["zarr_format"] != 3 or entry.get("consolidated_metadata"):
        raise ValueError(f"{name} is not of Zarr's third format")
    if entry["node_type"] == "group":
        return
    used = {codec["name"] for codec in entry["codecs"]}
    if not used or not used <= CODECS:
        raise ValueError(f"codecs {', '.join(sorted(used - CODECS))} are not bayesmf's")
    dims = entry.get("dimension_names") or ()
    if {"chain", "draw"} <= set(dims):
        grid = entry["chunk_grid"]["configuration"]["chunk_shape"]
        counts = [-(-n // size) for n, size in zip(entry["shape"], grid, strict=True)]
        there = {file.name for file in (store / name).iterdir()}
        for at in np.ndindex(*counts):
            if f"c.{'.'.join(map(str, at))}" not in there:
                raise ValueError(f"chunk {at} of {name} is missing")


def _check_version(attributes: dict[Any, Any]) -> None:
    found = int(attributes["schema_version"])
    if found > SCHEMA_VERSION:
        raise ValueError(
            f"its format is version {found}, newer than {SCHEMA_VERSION}: install a newer bayesmf"
        )


def _damaged(path: Path, error: Exception, function: str) -> NoReturn:
    why = str(error).strip() or type(error).__name__
    if isinstance(error, (FileNotFoundError, KeyError)):
        name = Path(error.filename).name if isinstance(error, FileNotFoundError) else error
        why = f"{name} is missing"
    fail("path", function, "a sound store of bayesmf", Described(f"{path}: {why}"))


def _open(path: Path, engine: str, attributes: dict[str, Any], function: str) -> xr.DataTree:
    # Dates come back in the unit that they had, as most are out of reach in nanoseconds.
    times = xr.coders.CFDatetimeCoder(time_unit=attributes.get("time_unit", "ns"))
    try:
        tree = xr.open_datatree(path, engine=engine, decode_times=times)
        large = "factors" in tree and not fits_in_memory(tree["factors"].to_dataset())
        for name, group in tree.children.items():
            if name != "factors" or not large:
                group.load()
        if not large:
            tree.close()
        elif engine == "zarr":
            # Whoever reads later sees whether it is still the same store.
            origin = str(path.resolve()), attributes["store_id"]
            for name in ("user_factors", "item_factors"):
                tree["factors"][name].encoding[ORIGIN] = origin
    except _DAMAGE as error:
        _damaged(path, error, function)
    return tree


def ratings_of(tree: xr.DataTree, path: Path, function: str) -> Ratings:
    """Ratings that stored draws belong to."""
    try:
        constant = tree["constant_data"]
        columns: dict[str, str] = json.loads(tree.attrs["columns"])
        times = plain_ids(constant["timestamp"].to_numpy()) if "timestamp" in constant else None
        users, items = (_ids(constant[side].to_numpy(), columns[side]) for side in ("user", "item"))
        ratings = Ratings.from_codes(
            constant["user_code"].to_numpy().astype(np.int32),
            constant["item_code"].to_numpy().astype(np.int32),
            tree["observed_data"]["rating"].to_numpy(),
            users, items, columns=columns, timestamps=times, note=tree.attrs["note"],
        )  # fmt: skip
        if ratings.fingerprint != tree.attrs["data_fingerprint"]:
            raise ValueError("its ratings are not those that it was fitted to")
    except _DAMAGE as error:
        _damaged(path, error, function)
    return ratings


def _ids(values: np.ndarray, name: str) -> pd.Index[Any]:
    return pd.Index(plain_ids(values), name=name)


def plain_ids(values: np.ndarray) -> np.ndarray:
    """Stored ids as an array of integers, dates or Python's texts."""
    return values.astype(object) if values.dtype.kind in "TU" else values


def model_of(tree: xr.DataTree, path: Path, function: str) -> BPMF:
    """Model that stored draws belong to."""
    try:
        return BPMF.from_dict(json.loads(tree.attrs["model"]))
    except _DAMAGE as error:
        _damaged(path, error, function)
