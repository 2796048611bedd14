"""The schema: what a posterior looks like as an `xarray.DataTree` that ArviZ reads.

Groups: `posterior` (every draw of what is identified), `factors` (thinned factor draws and all
that prediction needs), `sample_stats`, `constant_data`, `observed_data`; see docs/architecture.md.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from bayesmf.draws.recorder import Recorder
    from bayesmf.ratings import Pairs, Ratings

SCHEMA_VERSION = 3

DIMS: dict[str, tuple[str, ...]] = {
    "singular_value": ("component",),
    "probe": ("cell",),
    "user_effect": ("effect_user",),
    "item_effect": ("effect_item",),
    "user_factors": ("user", "factor"),
    "item_factors": ("item", "factor"),
    "user_bias": ("user",),
    "item_bias": ("item",),
    "user_center": ("factor",),
    "item_center": ("factor",),
    "mu_user": ("coordinate",),
    "mu_item": ("coordinate",),
    "precision_user": ("coordinate", "coordinate_2"),
    "precision_item": ("coordinate", "coordinate_2"),
}
"""Dimensions after (chain, draw); a variable that is not named has none."""


def dims_of(name: str) -> tuple[str, ...]:
    """Dimensions of a variable after (chain, draw)."""
    return DIMS.get(name, ())


def build_tree(
    ratings: Ratings,
    recorder: Recorder,
    draws: int,
    attributes: dict[str, Any],
    traces: dict[str, np.ndarray] | None = None,
) -> xr.DataTree:
    """Put the first `draws` draws of a recorder under names and coordinates.

    `traces` are what an engine leaves of its iterations, such as ADVI's ELBO.
    """
    posterior, factors, stats = recorder.trimmed(draws)
    coords = coordinates(ratings, recorder)
    every = coords | {"draw": np.arange(draws)}
    # Thinned draws keep the numbers that they had among all draws.
    keeping = recorder.keeping
    thinned = coords | {"draw": np.arange(keeping.kept(draws)) * keeping.thin}
    groups: dict[str, xr.Dataset] = {}
    if traces:
        groups["iterations"] = xr.Dataset(
            {name: ("iteration", values) for name, values in traces.items()}
        )
    if factors:
        groups["factors"] = _dataset(factors, thinned)
    tracked = recorder.watched.tracked
    if tracked is not None:
        groups["tracked"] = tracked_cells(tracked, recorder.sums, recorder.recorded)
    return xr.DataTree.from_dict(
        groups
        | {
            "/": xr.Dataset(attrs=describe(ratings, recorder) | attributes),
            "posterior": _dataset(posterior, every),
            "sample_stats": _dataset(stats, every),
            **observed(ratings, recorder),
        }
    )


def fixed_tree(ratings: Ratings, recorder: Recorder, attributes: dict[str, Any]) -> xr.DataTree:
    """Everything of a run but its draws."""
    arrays = {
        "posterior": recorder.posterior,
        "factors": recorder.factors,
        "sample_stats": recorder.stats,
    }
    coords = coordinates(ratings, recorder)
    groups = {}
    for group, variables in arrays.items():
        dims = {"chain"}.union(*(dims_of(name) for name in variables))
        if variables:
            used = {name: labels for name, labels in coords.items() if name in dims}
            groups[group] = xr.Dataset(coords=used)
    tracked = recorder.watched.tracked
    if tracked is not None:
        groups["tracked"] = tracked_cells(tracked, recorder.sums, recorder.recorded)
    root = {"/": xr.Dataset(attrs=describe(ratings, recorder) | attributes)}
    return xr.DataTree.from_dict(root | groups | observed(ratings, recorder))


def coordinates(ratings: Ratings, recorder: Recorder) -> dict[str, Any]:
    """Labels of all dimensions but that of draws."""
    model, probes = recorder.model, recorder.watched.probes
    coordinate = [str(k) for k in range(model.n_factors)] + ["bias"] * model.biases
    labels = np.array(coordinate, dtype=object)
    users, items = ratings.user_ids.to_numpy(), ratings.item_ids.to_numpy()
    return {
        "chain": np.arange(recorder.chains),
        "user": users,
        "item": items,
        "factor": np.arange(model.n_factors),
        "coordinate": labels,
        "coordinate_2": labels,
        "component": np.arange(model.n_factors),
        "cell": np.arange(len(probes.users)),
        "effect_user": users[probes.effect_users],
        "effect_item": items[probes.effect_items],
    }


def describe(ratings: Ratings, recorder: Recorder) -> dict[str, Any]:
    """Attributes of all draws: versions, model and data."""
    return {
        **describe_data(ratings),
        "inference_library": "bayesmf",
        "model": json.dumps(recorder.model.as_dict()),
        "center": recorder.scale.center,
        "scale": recorder.scale.scale,
        "thin": recorder.keeping.thin,
    }


def describe_data(ratings: Ratings) -> dict[str, Any]:
    """Attributes of whatever was fitted: versions and data."""
    return {
        "schema_version": SCHEMA_VERSION,
        "bayesmf_version": version("bayesmf"),
        "numpy_version": version("numpy"),
        "numba_version": version("numba"),
        "data_fingerprint": ratings.fingerprint,
        "columns": json.dumps(ratings.columns),
        "note": ratings.note,
        "time_unit": time_unit(ratings),
    }


def time_unit(ratings: Ratings) -> str:
    """Finest unit of dates among ids and timestamps; nanoseconds where there are none."""
    arrays = [ratings.user_ids.to_numpy(), ratings.item_ids.to_numpy(), ratings.timestamps]
    units = {
        np.datetime_data(values.dtype)[0]
        for values in arrays
        if values is not None and values.dtype.kind == "M"
    }
    return next((unit for unit in ("ns", "us", "ms", "s") if unit in units), "ns")


def check_timestamps(times: np.ndarray) -> None:
    """Refuse timestamps that no file can hold."""
    if times.dtype.kind == "O" and not all(isinstance(one, str) for one in times):
        kinds = ", ".join(sorted({type(one).__name__ for one in times}))
        raise TypeError(
            "Timestamps must be numbers, datetimes or texts to be stored. These are objects of the "
            f"types {kinds}: make them datetimes with pandas.to_datetime, or leave them out."
        )


def rated(ratings: Ratings) -> dict[str, xr.Dataset]:
    """Groups of the ratings, by code, and the ids that the codes stand for."""
    constant = {
        "user_code": xr.DataArray(ratings.users, dims="rating_id"),
        "item_code": xr.DataArray(ratings.items, dims="rating_id"),
    }
    if ratings.timestamps is not None:
        check_timestamps(ratings.timestamps)
        constant["timestamp"] = xr.DataArray(ratings.timestamps, dims="rating_id")
    ids = {"user": ratings.user_ids.to_numpy(), "item": ratings.item_ids.to_numpy()}
    return {
        "constant_data": xr.Dataset(constant, coords=ids),
        "observed_data": xr.Dataset({"rating": ("rating_id", ratings.values)}),
    }


def observed(ratings: Ratings, recorder: Recorder) -> dict[str, xr.Dataset]:
    """Groups of what was given: ratings, and the cells that are watched."""
    users, items = ratings.user_ids.to_numpy(), ratings.item_ids.to_numpy()
    probes, test = recorder.watched.probes, recorder.watched.test
    groups = rated(ratings)
    groups["constant_data"] = groups["constant_data"].assign(
        center=recorder.scale.center,
        scale=recorder.scale.scale,
        probe_user=("cell", users[probes.users]),
        probe_item=("cell", items[probes.items]),
        cell=np.arange(len(probes.users)),
    )
    if test is not None:
        columns = {"user": test.user_ids, "item": test.item_ids, "rating": test.ratings}
        groups["held_out"] = xr.Dataset(
            {name: ("test_id", values) for name, values in columns.items()}
        )
    return groups


def tracked_cells(cells: Pairs, sums: dict[str, np.ndarray], draws: np.ndarray) -> xr.Dataset:
    """Means and variances (chain, tracked_cell) of expected ratings, of so many draws a chain."""
    variances = sums["tracked_squares"] / np.maximum(draws, 1)[:, None]
    dims = ("chain", "tracked_cell")
    return xr.Dataset(
        {
            "mean": (dims, sums["tracked_mean"]),
            "variance": (dims, variances),
            "user": ("tracked_cell", cells.user_ids),
            "item": ("tracked_cell", cells.item_ids),
        },
        coords={"chain": np.arange(len(draws))},
    )


def _dataset(arrays: dict[str, np.ndarray], coords: dict[str, Any]) -> xr.Dataset:
    variables = {name: (("chain", "draw", *dims_of(name)), array) for name, array in arrays.items()}
    used = {dim for dims, _ in variables.values() for dim in dims}
    return xr.Dataset(variables, coords={name: coords[name] for name in coords if name in used})
