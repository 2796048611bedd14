"""The face: `Posterior` and `PointEstimate`, thin classes whose methods delegate down."""

from bayesmf.results.point_estimate import PointEstimate
from bayesmf.results.posterior import Posterior

__all__ = ["PointEstimate", "Posterior"]
