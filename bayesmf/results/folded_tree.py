"""A folded posterior as a tree, to be saved, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from bayesmf.draws.schema import describe_data
from bayesmf.folding.planning import Known
from bayesmf.indexing import Side
from bayesmf.results.folded import FoldedPosterior

if TYPE_CHECKING:
    from bayesmf.model import BPMF
    from bayesmf.ratings import Ratings


def tree_of(folded: FoldedPosterior) -> xr.DataTree:
    """Draws of the folded rows with all that it holds but its parent."""
    tree = folded.data.copy()
    before = folded.before
    tree["before"] = xr.DataTree(
        xr.Dataset(
            {
                "indptr": ("edge", before.side.indptr),
                "partner": ("earlier", before.side.partners),
                "rating": ("earlier", before.values),
            }
        )
    )
    low, high = folded.bounds
    own = {"low": low, "high": high, "sampling_time": folded.fit_seconds}
    tree.attrs |= describe_data(folded.ratings) | own
    return tree


def folded_of(tree: xr.DataTree, ratings: Ratings, model: BPMF, cores: int) -> FoldedPosterior:
    """Make a folded posterior of a tree that `tree_of` made; its parent is not known."""
    found, attributes = tree["before"], tree.attrs
    side = Side(found["indptr"].to_numpy(), found["partner"].to_numpy().astype(np.int32))
    return FoldedPosterior(
        tree, ratings, model, cores, float(attributes["sampling_time"]),
        side=str(attributes["folded"]),
        bounds=(float(attributes["low"]), float(attributes["high"])),
        before=Known(side, found["rating"].to_numpy()),
    )  # fmt: skip
