"""The face: `Posterior`, `PointEstimate` and their kinds, whose methods delegate down."""

from bayesmf.results.factor_estimate import FactorEstimate
from bayesmf.results.folded import FoldedPosterior
from bayesmf.results.map_estimate import MapEstimate
from bayesmf.results.neighbor_estimate import NeighborEstimate
from bayesmf.results.network_estimate import NetworkEstimate
from bayesmf.results.point_estimate import PointEstimate
from bayesmf.results.posterior import Posterior

__all__ = [
    "FactorEstimate",
    "FoldedPosterior",
    "MapEstimate",
    "NeighborEstimate",
    "NetworkEstimate",
    "PointEstimate",
    "Posterior",
]
