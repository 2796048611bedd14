"""A point estimate as a tree, to be saved, and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from bayesmf.draws.schema import describe_data, rated
from bayesmf.results.factor_estimate import FactorEstimate
from bayesmf.results.folded_estimate import FoldedEstimate
from bayesmf.results.map_estimate import MapEstimate
from bayesmf.results.neighbor_estimate import NeighborEstimate
from bayesmf.results.network_estimate import NetworkEstimate
from bayesmf.results.point_estimate import PointEstimate, Steps

if TYPE_CHECKING:
    from bayesmf.ratings import Ratings

ESTIMATES: dict[str, type[PointEstimate]] = {
    one.__name__: one
    for one in (FactorEstimate, FoldedEstimate, MapEstimate, NeighborEstimate, NetworkEstimate)
}
"""The classes by what `kind` may be."""


def tree_of(estimate: PointEstimate) -> xr.DataTree:
    """Everything that an estimate holds."""
    held = estimate._held()  # noqa: SLF001 - its other half
    attributes: dict[str, Any] = {
        "kind": type(estimate).__name__,
        "sigma": estimate.sigma,
        "fit_seconds": estimate.fit_seconds,
        "settings": json.dumps(estimate.settings),
        "steps": json.dumps(estimate.steps),
        "details": estimate.details,
        **held.attributes,
    }
    tried = {str(name): ("trial", column.to_numpy()) for name, column in estimate.tried.items()}
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs=describe_data(estimate.ratings) | attributes),
            "estimate": xr.Dataset({"loss": ("step", estimate.loss), **held.arrays}),
            # A store gives variables back by name: the order of the columns is kept beside them.
            "tried": xr.Dataset(tried, attrs={"columns": json.dumps(list(tried))}),
            **rated(estimate.ratings),
        }
    )


def estimate_of(tree: xr.DataTree, ratings: Ratings) -> PointEstimate:
    """Make an estimate of a tree that `tree_of` made."""
    arrays = {str(name): one.to_numpy() for name, one in tree["estimate"].data_vars.items()}
    columns = json.loads(tree["tried"].attrs["columns"])
    tried = {name: tree["tried"][name].to_numpy() for name in columns}
    common: dict[str, Any] = {
        "ratings": ratings,
        "loss": arrays.pop("loss"),
        "settings": json.loads(tree.attrs["settings"]),
        "tried": pd.DataFrame(tried),
        "steps": Steps(*json.loads(tree.attrs["steps"])),
        **{name: float(tree.attrs[name]) for name in ("sigma", "fit_seconds")},
        "details": str(tree.attrs["details"]),
    }
    attributes = {str(name): value for name, value in tree.attrs.items()}
    return ESTIMATES[attributes["kind"]]._made(arrays, attributes, common)  # noqa: SLF001
