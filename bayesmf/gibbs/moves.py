"""Moves of many coordinates at once, along directions that a sweep walks slowly.

Given everything else, the rows of one side and their hyperparameters change together, so that no
single rating holds them back. Each is a draw from the conditional over a group of transformations
(Liu & Sabatti 2000, "Generalised Gibbs sampler and multigrid Monte Carlo for Bayesian computation",
Biometrika 87, theorem 1), and leaves the posterior invariant by itself.

**Shift.** With a row x = (u, b) of one side and (v, c) of the other, no rating sees

    u_i -> u_i + e,   b_i -> b_i + t,   c_j -> c_j - e . v_j - t

Means and precisions of both sides go along, so that the densities of the rows stay as they are, and
what is left over e and t is Gaussian.

**Scale of the biases.** Where the other side's factors are far from zero, c_j and v_j tell nearly
the same: the spread of c is known badly, and takes hundreds of sweeps to change, since the biases
hold it and it holds them. So biases, their spread, and what factors must give way for it change
together, by one number s:

    c_j -> m + s r_j,   v_j -> v_j - (s - 1) r_j g,   r_j = c_j - m

with m the prior mean of c and g the vector whose product with the other side's factors is nearest
to one: expected ratings change by z_ij (s - 1) with z_ij = r_j (1 - u_i . g). Interweaving of Yu &
Meng (2011), JCGS 20, for one direction.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayesmf import lapack

if TYPE_CHECKING:
    from collections.abc import Callable

    from bayesmf.gibbs.conditionals import Hyper, Moments
    from bayesmf.model import SidePrior

RIDGE = 1e-9
"""Share of the trace that is added to the Gram matrix of factors."""
WIDTH = 0.3
"""First width of the slice over log s."""
MOST_STEPS = 64
"""Widths that a slice may have."""


def shift_conditional(
    own: Hyper, other: Hyper, own_prior: SidePrior, other_prior: SidePrior
) -> tuple[np.ndarray, np.ndarray]:
    """Precision (D, D) of the shift (e, t) of one side's rows, and precision times mean (D,).

    The last coordinate of rows is their bias. Three terms: the prior of the own mean, the Wishart
    prior of the other side's precision, and the prior of the other side's mean around mu0.
    """
    k = len(own.mean) - 1
    below = other.precision[k, k]
    # What the distance of the other side's mean from mu0 becomes in its last coordinate.
    lever = np.append(other_prior.mu0[:k], 1.0)
    sheared = np.append(other.strength[:k], 0.0)
    precision = own_prior.beta0 * own.precision + np.diag(sheared * below)
    precision += other_prior.beta0 * below * np.outer(lever, lever)
    pull = own_prior.beta0 * own.precision @ (own_prior.mu0 - own.mean)
    pull -= sheared * other.precision[:, k]
    pull += other_prior.beta0 * lever * (other.precision[k] @ (other.mean - other_prior.mu0))
    return precision, pull


def draw_shift(
    own: Hyper,
    other: Hyper,
    own_prior: SidePrior,
    other_prior: SidePrior,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw a shift (e, t) of one side's rows from its conditional."""
    precision, pull = shift_conditional(own, other, own_prior, other_prior)
    root = lapack.cholesky(precision)
    z = rng.standard_normal(len(pull))
    return lapack.solve_transposed(root, lapack.solve(root, pull) + z)


def shift_rows(
    shift: np.ndarray, rows: np.ndarray, partners: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both sides' rows after a shift of the first."""
    move = shift.astype(rows.dtype)
    moved = partners.copy()
    # einsum, not BLAS: rows must not depend on a number of threads.
    moved[:, -1] -= np.einsum("nk,k->n", partners[:, :-1], move[:-1]) + move[-1]
    return rows + move, moved


def shift_hypers(shift: np.ndarray, own: Hyper, other: Hyper) -> tuple[Hyper, Hyper]:
    """Both sides' hyperparameters after a shift of the first side's rows."""
    d = len(shift)
    shear, back = np.eye(d), np.eye(d)
    shear[-1, :-1], back[-1, :-1] = -shift[:-1], shift[:-1]
    mean = shear @ other.mean
    mean[-1] -= shift[-1]
    precision = back.T @ other.precision @ back
    return own._replace(mean=own.mean + shift), other._replace(mean=mean, precision=precision)


class Parabola(NamedTuple):
    """Sum of squared residuals at s less that at 1: curve (s - 1)^2 + slope (s - 1)."""

    curve: float
    slope: float

    @classmethod
    def through(cls, curve: float, at_one: float, at_two: float) -> Parabola:
        """Find it from its curvature, the sum of z_ij^2, and the sums at s = 1 and 2."""
        return cls(curve, at_two - at_one - curve)

    def at(self, s: float) -> float:
        """Change of the sum of squares."""
        return self.curve * (s - 1) ** 2 + self.slope * (s - 1)


def constant_direction(n: int, moments: Moments) -> np.ndarray:
    """Vector g (K,) whose product with n rows' factors is nearest to one, from their moments."""
    mean, scatter = moments[0][:-1], moments[1][:-1, :-1]
    gram = scatter + n * np.outer(mean, mean)
    # Few rows span fewer directions than there are factors: any g that is near will do.
    gram[np.diag_indices(len(gram))] += RIDGE * np.trace(gram) + np.finfo(float).tiny
    return lapack.solve(gram, n * mean) if len(gram) else mean


def levers(
    rows: np.ndarray, mean: float, partners: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both factors of z_ij: r of one side's rows, and 1 - u . g of the other's, in float64."""
    own = rows[:, -1].astype(np.float64) - mean
    # einsum, not BLAS: rows must not depend on a number of threads.
    return own, 1.0 - np.einsum("nk,k->n", partners[:, :-1], direction)


def scale_rows(s: float, rows: np.ndarray, mean: float, direction: np.ndarray) -> np.ndarray:
    """Rows whose biases are s times as far from their prior mean, their factors giving way."""
    step = np.append(-direction, 1.0).astype(rows.dtype)
    apart = (s - 1) * (rows[:, -1] - rows.dtype.type(mean))
    moved: np.ndarray = rows + apart[:, None].astype(rows.dtype) * step
    return moved


class ScaledPrecision:
    """Precision of the rows as a function of s.

    Rows become T x with T = I + (s - 1) d a', a the last unit vector and d = (-g, 1), so that the
    precision becomes T^-T Lambda T^-1 with T^-1 = I + q d a' and q = 1 / s - 1: only its last row
    and column change.
    """

    def __init__(self, precision: np.ndarray, direction: np.ndarray) -> None:
        step = np.append(-direction, 1.0)
        self._precision, self._along = precision, precision @ step
        self._curve = float(step @ self._along)

    def last(self, q: float) -> float:
        """Last number on the diagonal."""
        return float(self._precision[-1, -1] + 2 * q * self._along[-1] + q * q * self._curve)

    def distance(self, q: float, shift: np.ndarray) -> float:
        """Quadratic form of a vector, less that at q = 0."""
        last = float(shift[-1])
        return 2 * q * last * float(self._along @ shift) + q * q * self._curve * last**2

    def at(self, s: float) -> np.ndarray:
        """The whole matrix."""
        q = 1 / s - 1
        found = self._precision.copy()
        found[-1] += q * self._along
        found[:, -1] += q * self._along
        found[-1, -1] += q * q * self._curve
        return found


def log_scale_density(
    alpha: float, error: Parabola, scaled: ScaledPrecision, hyper: Hyper, prior: SidePrior
) -> Callable[[float], float]:
    """Log density of log s, up to a constant; w of the biases is integrated out if it is learned.

    The Jacobian of the rows cancels the determinant in their density. What is left of determinants
    is s^-(nu0 - D - 1) of the Wishart, s^-(D + 1) of its Jacobian and s^-1 of the mean's density.
    """
    shift = hyper.mean - prior.mu0
    shape, rate, strength = (float(x[-1]) for x in (prior.shape, prior.rate, hyper.strength))

    def log_density(log_s: float) -> float:
        s, q = math.exp(log_s), math.expm1(-log_s)
        total = -0.5 * alpha * error.at(s) - (prior.dof + 1) * log_s
        total -= 0.5 * prior.beta0 * scaled.distance(q, shift)
        if prior.learned:
            return total - (shape + prior.dof / 2) * math.log(rate + scaled.last(q) / 2)
        return total - 0.5 * strength * scaled.last(q)

    return log_density


def draw_slice(log_density: Callable[[float], float], rng: np.random.Generator) -> float:
    """Leave a density invariant from 0 by one slice, stepped out and shrunk.

    Neal (2003), "Slice sampling", Annals of Statistics 31(3), figures 3 and 5.
    """
    level = log_density(0.0) - rng.exponential()
    if not math.isfinite(level):
        return 0.0  # where the sweep looks at its state, it says what is wrong
    low = -WIDTH * rng.random()
    high = low + WIDTH
    left = int(MOST_STEPS * rng.random())
    right = MOST_STEPS - 1 - left
    while left > 0 and log_density(low) > level:
        low, left = low - WIDTH, left - 1
    while right > 0 and log_density(high) > level:
        high, right = high + WIDTH, right - 1
    while True:
        found = low + (high - low) * rng.random()
        if log_density(found) > level:
            return found
        if found < 0:
            low = found
        else:
            high = found
