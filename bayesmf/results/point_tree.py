"""A point estimate as a tree, to be saved, and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesmf.draws.schema import describe_data, rated
from bayesmf.pmf import PMF, Link, Spreads
from bayesmf.results.map_estimate import MapEstimate
from bayesmf.results.point_estimate import PointEstimate

if TYPE_CHECKING:
    from bayesmf.ratings import Ratings

ESTIMATES = (PointEstimate.__name__, MapEstimate.__name__)
"""What `kind` may be."""

_NUMBERS = ("center", "sigma", "reg", "reg_bias", "fit_seconds")
_ARRAYS = {
    "user_factors": ("user", "factor"),
    "item_factors": ("item", "factor"),
    "user_bias": ("user",),
    "item_bias": ("item",),
    "loss": ("half_sweep",),
    "log_posteriors": ("start",),
    "prior_mean_user": ("factor",),
    "prior_mean_item": ("factor",),
}


def tree_of(estimate: PointEstimate) -> xr.DataTree:
    """Everything that an estimate holds."""
    arrays: dict[str, Any] = {name: getattr(estimate, name, None) for name in _ARRAYS}
    attributes: dict[str, Any] = {name: getattr(estimate, name) for name in _NUMBERS}
    attributes["kind"] = type(estimate).__name__
    attributes["settings"] = json.dumps(estimate.settings)
    if isinstance(estimate, MapEstimate):
        arrays["prior_mean_user"], arrays["prior_mean_item"] = estimate.prior_means
        model = estimate.model
        parts = {"link": model.link._asdict(), "spreads": model.spreads._asdict()}
        attributes["model"] = json.dumps(model._asdict() | parts)
    variables = {
        name: (_ARRAYS[name], values) for name, values in arrays.items() if values is not None
    }
    tried = {str(name): ("trial", column.to_numpy()) for name, column in estimate.tried.items()}
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs=describe_data(estimate.ratings) | attributes),
            "estimate": xr.Dataset(variables),
            "tried": xr.Dataset(tried),
            **rated(estimate.ratings),
        }
    )


def estimate_of(tree: xr.DataTree, ratings: Ratings) -> PointEstimate:
    """Make an estimate of a tree that `tree_of` made."""
    found = tree["estimate"]
    arrays = {name: found[name].to_numpy() if name in found else None for name in _ARRAYS}
    means = arrays.pop("prior_mean_user"), arrays.pop("prior_mean_item")
    log_posteriors = arrays.pop("log_posteriors")
    tried = {name: column.to_numpy() for name, column in tree["tried"].data_vars.items()}
    fields: dict[str, Any] = {
        "ratings": ratings,
        "settings": json.loads(tree.attrs["settings"]),
        "tried": pd.DataFrame(tried),
        **{name: float(tree.attrs[name]) for name in _NUMBERS},
        **arrays,
    }
    if tree.attrs["kind"] == PointEstimate.__name__:
        return PointEstimate(**fields)
    model = json.loads(tree.attrs["model"])
    parts = {"link": Link(**model["link"]), "spreads": Spreads(**model["spreads"])}
    assert isinstance(log_posteriors, np.ndarray)  # noqa: S101 - a MAP estimate has them
    return MapEstimate(
        **fields, model=PMF(**{**model, **parts}), prior_means=means, log_posteriors=log_posteriors
    )
