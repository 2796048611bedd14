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
    from bayesmf.ratings import Ratings

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
    model, probes = recorder.model, recorder.probes
    chains, kept = factors["alpha"].shape
    coordinate = [str(k) for k in range(model.n_factors)] + ["bias"] * model.biases
    users, items = ratings.user_ids.to_numpy(), ratings.item_ids.to_numpy()
    coords: dict[str, Any] = {
        "chain": np.arange(chains),
        "user": users,
        "item": items,
        "factor": np.arange(model.n_factors),
        "coordinate": coordinate,
        "coordinate_2": coordinate,
        "component": np.arange(model.n_factors),
        "cell": np.arange(len(probes.users)),
        "effect_user": users[probes.effect_users],
        "effect_item": items[probes.effect_items],
    }
    every = coords | {"draw": np.arange(draws)}
    # Thinned draws keep the numbers that they had among all draws.
    thinned = coords | {"draw": np.arange(kept) * recorder.thin}
    attributes = {
        "schema_version": SCHEMA_VERSION,
        "bayesmf_version": version("bayesmf"),
        "inference_library": "bayesmf",
        "numpy_version": version("numpy"),
        "numba_version": version("numba"),
        "model": json.dumps(model.as_dict()),
        "center": recorder.scale.center,
        "scale": recorder.scale.scale,
        "thin": recorder.thin,
        "data_fingerprint": ratings.fingerprint,
        **attributes,
    }
    constant = {
        "center": xr.DataArray(recorder.scale.center),
        "scale": xr.DataArray(recorder.scale.scale),
        "probe_user": xr.DataArray(users[probes.users], dims="cell"),
        "probe_item": xr.DataArray(items[probes.items], dims="cell"),
        "user_code": xr.DataArray(ratings.users, dims="rating_id"),
        "item_code": xr.DataArray(ratings.items, dims="rating_id"),
    }
    fixed = {name: coords[name] for name in ("user", "item", "cell")}
    groups: dict[str, xr.Dataset] = {}
    if traces:
        groups["iterations"] = xr.Dataset(
            {name: ("iteration", values) for name, values in traces.items()}
        )
    return xr.DataTree.from_dict(
        groups
        | {
            "/": xr.Dataset(attrs=attributes),
            "posterior": _dataset(posterior, every),
            "factors": _dataset(factors, thinned),
            "sample_stats": _dataset(stats, every),
            "constant_data": xr.Dataset(constant, coords=fixed),
            "observed_data": xr.Dataset({"rating": ("rating_id", ratings.values)}),
        }
    )


def _dataset(arrays: dict[str, np.ndarray], coords: dict[str, Any]) -> xr.Dataset:
    variables = {
        name: (("chain", "draw", *DIMS.get(name, ())), array) for name, array in arrays.items()
    }
    used = {dim for dims, _ in variables.values() for dim in dims}
    return xr.Dataset(variables, coords={name: coords[name] for name in coords if name in used})
