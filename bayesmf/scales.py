"""The working scale, on which engines compute, and the rating scale, on which draws are kept.

y = (rating - center) / scale. A cell's u.v has the scale of a rating, so that each factor has the
root of it, a bias all of it, and a precision its inverse. Whatever goes from one scale to the other
goes through here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class WorkingScale(NamedTuple):
    """What is taken from a rating, and what it is then divided by."""

    center: float
    scale: float

    def units(self, n_factors: int, biases: bool) -> np.ndarray:
        """What takes coordinates (D,) to the rating scale: a factor has half of it, a bias all."""
        return np.array([np.sqrt(self.scale)] * n_factors + [self.scale] * biases)

    def to_working[T: (float, np.ndarray)](self, ratings: T) -> T:
        """Ratings, or expected ratings, on the working scale."""
        return (ratings - self.center) / self.scale

    def to_ratings[T: (float, np.ndarray)](self, values: T) -> T:
        """Ratings, or expected ratings, of their values on the working scale."""
        return self.center + self.scale * values

    def alpha_to_working[T: (float, np.ndarray)](self, alpha: T) -> T:
        """Noise precision on the working scale."""
        return alpha * self.scale**2

    def alpha_to_ratings[T: (float, np.ndarray)](self, alpha: T) -> T:
        """Noise precision on the rating scale."""
        return alpha / self.scale**2

    def prior_to_working(
        self, mean: np.ndarray, precision: np.ndarray, biases: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Means (..., D) and precisions (..., D, D) of rows, on the working scale."""
        units = self.units(mean.shape[-1] - biases, biases)
        return mean / units, precision * np.outer(units, units)

    def prior_to_ratings(
        self, mean: np.ndarray, precision: np.ndarray, biases: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Means (..., D) and precisions (..., D, D) of rows, on the rating scale."""
        units = self.units(mean.shape[-1] - biases, biases)
        return mean * units, precision / np.outer(units, units)


def rows_to_ratings(
    rows: np.ndarray, units: np.ndarray, factors: np.ndarray, bias: np.ndarray | None
) -> None:
    """Write rows (n, D) on the rating scale into factors (n, K) and bias (n,).

    `units` are those of a working scale in the rows' own type, so that NumPy need not go through
    float64.
    """
    k = factors.shape[1]
    np.multiply(rows[:, :k], units[:k], out=factors, casting="same_kind")
    if bias is not None:
        np.multiply(rows[:, k], units[k], out=bias, casting="same_kind")
