"""What both forms of ADVI share: the Gaussian, when its fit has settled, and whether it is good."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from arviz_stats.base.array import array_stats

if TYPE_CHECKING:
    from collections.abc import Callable

    type LogDensity = Callable[[np.ndarray], tuple[float, np.ndarray]]

RATIOS = 500
"""Draws that the Pareto k is worked out from."""


class Gaussian(NamedTuple):
    """A mean and a root of the covariance.

    Attributes
    ----------
    mean : ndarray, shape (n,)
    root : ndarray, shape (n,) or (n, n)
        Standard deviations of independent parameters, or a lower triangle L of covariance L L'.
    """

    mean: np.ndarray
    root: np.ndarray

    def transform(self, z: np.ndarray) -> np.ndarray:
        """Give standard normals (..., n) this mean and covariance."""
        return self.mean + (z * self.root if self.root.ndim == 1 else z @ self.root.T)

    @property
    def entropy(self) -> float:
        """Mean of minus the log density."""
        diagonal = self.root if self.root.ndim == 1 else np.diag(self.root)
        return float(np.log(diagonal).sum() + 0.5 * len(self.mean) * (1 + np.log(2 * np.pi)))

    def log_density(self, z: np.ndarray) -> float:
        """Log density at what z (n,) is transformed into."""
        return float(0.5 * (len(z) - z @ z)) - self.entropy


class Fitted(NamedTuple):
    """What ADVI has found.

    Attributes
    ----------
    gaussian : Gaussian
    elbo : ndarray, shape (iterations,)
        Its estimate in each.
    settled, interrupted : bool
    """

    gaussian: Gaussian
    elbo: np.ndarray
    settled: bool
    interrupted: bool


class Windows:
    """Estimates of the ELBO in windows, which tell when a stage of a fit has settled.

    It has when the mean of a window is not above that of the window before by `tol`.

    Attributes
    ----------
    elbo : list of float
        All estimates so far.
    last : float
        Mean of the last window.
    stage : int
        The stage that the fit is in; those before have settled.
    settled : bool
        Whether all stages have.
    """

    def __init__(self, size: int, tol: float, stages: int) -> None:
        self._size, self._tol, self._stages = size, tol, stages
        self._bar = -np.inf
        self.elbo: list[float] = []
        self.last, self.stage, self.settled = -np.inf, 0, False

    def add(self, value: float) -> bool:
        """Take one more value; return whether it ends a window.

        Raises
        ------
        FloatingPointError
            If it is not finite.
        """
        if not math.isfinite(value):
            message = (
                f"ADVI's ELBO is {value} after {len(self.elbo):,} iterations: the prior, centre or "
                "scale is too far from the ratings."
            )
            raise FloatingPointError(message)
        self.elbo.append(value)
        if len(self.elbo) % self._size:
            return False
        self.last = float(np.mean(self.elbo[-self._size :]))
        if self.last >= self._bar + self._tol:
            self._bar = self.last
        else:
            self.settled = self.stage + 1 == self._stages
            self.stage += not self.settled
            self._bar = -np.inf
        return True


class Recent:
    """Mean of the last iterates: once there are so many, of half a window to a whole one."""

    def __init__(self, start: np.ndarray, size: int) -> None:
        self._half = max(1, size // 2)
        self._start = start
        self._sums = [np.zeros_like(start), np.zeros_like(start)]
        self._counts = [0, 0]

    def add(self, values: np.ndarray) -> None:
        """Take one more iterate."""
        if self._counts[1] == self._half:
            self._sums, self._counts = [self._sums[1], np.zeros_like(values)], [self._half, 0]
        self._sums[1] += values
        self._counts[1] += 1

    @property
    def mean(self) -> np.ndarray:
        """The mean; the start, before there is an iterate."""
        count = sum(self._counts)
        return (self._sums[0] + self._sums[1]) / count if count else self._start


def pareto_k(density: LogDensity, gaussian: Gaussian, rng: np.random.Generator) -> float:
    """Shape of the tail of the importance ratios p / q of draws from the Gaussian q.

    Below 0.7 the draws can be weighted to be the posterior's; above, q is not near p (Yao, Vehtari,
    Simpson & Gelman 2018, ICML; Vehtari, Simpson, Gelman, Yao & Gabry 2024, JMLR 25).
    """
    ratios = np.empty(RATIOS)
    for number in range(RATIOS):
        z = rng.standard_normal(len(gaussian.mean))
        ratios[number] = density(gaussian.transform(z))[0] - gaussian.log_density(z)
    # ArviZ takes the logarithms of what the ratios are one over, as leave-one-out has them.
    return float(array_stats.psislw(ratios.max() - ratios)[1])
