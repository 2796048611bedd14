"""Opening what was stored: the tree of draws, and the ratings and the model that stand in it.

Nothing that is read is ever executed: netCDF and Zarr's third format hold numbers and texts, and a
store whose metadata asks for any other codec than those that bayesmf writes is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesmf.draws.reading import IN_MEMORY
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
    found = existing(path, function)
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


def root_attributes(store: Path, function: str) -> dict[str, Any]:
    """Attributes of a Zarr store, which is sound as far as its metadata tell."""
    try:
        root = json.loads((store / "zarr.json").read_text("utf-8"))
        attributes: dict[str, Any] = root["attributes"]
        arrays = root["consolidated_metadata"]["metadata"].values()
        used = {codec["name"] for array in arrays for codec in array.get("codecs", ())}
        _check_version(attributes)
        if not used <= CODECS:
            raise ValueError(f"codecs {', '.join(sorted(used - CODECS))} are not bayesmf's")
    except (*_DAMAGE, RecursionError) as error:
        _damaged(store, error, function)
    return attributes


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
        factors = tree["factors"].nbytes if "factors" in tree else 0
        for name, group in tree.children.items():
            if name != "factors" or factors <= IN_MEMORY:
                group.load()
        if factors <= IN_MEMORY:
            tree.close()
    except _DAMAGE as error:
        _damaged(path, error, function)
    return tree


def ratings_of(tree: xr.DataTree, path: Path, function: str) -> Ratings:
    """Ratings that stored draws belong to."""
    try:
        constant = tree["constant_data"]
        columns: dict[str, str] = json.loads(tree.attrs["columns"])
        times = constant["timestamp"].to_numpy() if "timestamp" in constant else None
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
