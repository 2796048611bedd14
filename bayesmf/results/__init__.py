"""The face: `Posterior`, `PointEstimate`, `MapEstimate`, whose methods delegate down."""

from bayesmf.results.folded import FoldedPosterior
from bayesmf.results.map_estimate import MapEstimate
from bayesmf.results.point_estimate import PointEstimate
from bayesmf.results.posterior import Posterior

__all__ = ["FoldedPosterior", "MapEstimate", "PointEstimate", "Posterior"]
