"""The exact posterior of a small world of rank 1, by quadrature: nothing in it is sampled.

    y_ij = u_i v_j + b_i + c_j + e_ij,   e_ij ~ Normal(0, 1 / alpha)     (i, j) observed
    (u_i, b_i) ~ Normal(mu_U, Lambda_U^-1)      (v_j, c_j) ~ Normal(mu_V, Lambda_V^-1)

with the hyperparameters and alpha known; without biases the rows have one coordinate. Given the
items' factors v the model is linear in all that is left, theta = (u_1, b_1, u_2, b_2, ..., c_1,
c_2, ...), whose prior given v is Normal(m0(v), P0^-1). So theta integrates out in closed form (the
Gaussian linear model: Bishop 2006, "Pattern Recognition and Machine Learning", section 2.3.3), for
the rows A of regressors of the observed cells:

    theta | v, y ~ Normal(m, P^-1),   P = P0 + alpha A'A,   P m = P0 m0 + alpha A'y
    2 log p(y | v) = n log(alpha / 2 pi) + log|P0| - log|P| - m0' P0 m0 - alpha y'y + m' P m

What remains is an integral over one number an item. The trapezoid rule on a product grid does it:
for a smooth integrand that vanishes at both ends its error falls faster than any power of the
step (Trefethen & Weideman 2014, SIAM Review 56), which `test_quadrature.py` checks.

The mode is found the same way: given v the best theta is m, so that a search over v remains.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
import scipy.optimize


class World(NamedTuple):
    """A table and everything that the sampler is told; rows have D = 1 or, with biases, 2 numbers.

    Attributes
    ----------
    table : ndarray, shape (n, m)
        Ratings on the working scale, NaN where there is none.
    alpha : float
    user_mean, item_mean : ndarray, shape (D,)
    user_precision, item_precision : ndarray, shape (D, D)
    """

    table: np.ndarray
    alpha: float
    user_mean: np.ndarray
    user_precision: np.ndarray
    item_mean: np.ndarray
    item_precision: np.ndarray

    @property
    def biases(self) -> bool:
        return len(self.user_mean) == 2

    def transposed(self) -> World:
        """The same model with the sides in each other's place."""
        return World(
            self.table.T,
            self.alpha,
            self.item_mean,
            self.item_precision,
            self.user_mean,
            self.user_precision,
        )


class Linear(NamedTuple):
    """theta given v at each point of a grid of G points, and the log density of (y, v) there."""

    log_density: np.ndarray  # (G,)
    mean: np.ndarray  # (G, p)
    covariance: np.ndarray  # (G, p, p)
    regressors: np.ndarray  # (G, n, m, p), of every cell, observed or not


class Moments(NamedTuple):
    """Posterior mean and sd of each named quantity, and the log marginal likelihood."""

    mean: dict[str, float]
    sd: dict[str, float]
    log_evidence: float


def regressors(world: World, factors: np.ndarray) -> np.ndarray:
    """Rows a_ij with E y_ij = a_ij . theta for items' factors (G, m): (G, n, m, p)."""
    n, m = world.table.shape
    d = len(world.user_mean)
    rows = np.zeros((len(factors), n, m, n * d + m * world.biases))
    for i, j in product(range(n), range(m)):
        rows[:, i, j, i * d] = factors[:, j]
        if world.biases:
            rows[:, i, j, [i * d + 1, n * d + j]] = 1.0
    return rows


def given_factors(world: World, factors: np.ndarray) -> Linear:
    """Integrate all but the items' factors (G, m) out."""
    n, m = world.table.shape
    g, d = len(factors), len(world.user_mean)
    A_all = regressors(world, factors)
    p = A_all.shape[-1]
    prior_mean, prior_precision = np.zeros((g, p)), np.zeros((p, p))
    prior_mean[:, : n * d] = np.tile(world.user_mean, n)
    prior_precision[: n * d, : n * d] = np.kron(np.eye(n), world.user_precision)
    item = world.item_precision
    shift = factors - world.item_mean[0]
    spread = np.linalg.inv(item)[0, 0]
    log_prior = -0.5 * (shift**2 / spread + np.log(2 * np.pi * spread)).sum(axis=1)
    if world.biases:
        # c_j given v_j: the last coordinate of a Gaussian row given its first.
        prior_mean[:, n * d :] = world.item_mean[1] - item[1, 0] / item[1, 1] * shift
        prior_precision[n * d :, n * d :] = item[1, 1] * np.eye(m)

    observed = np.isfinite(world.table)
    A, y = A_all[:, observed], world.table[observed]
    precision = prior_precision + world.alpha * np.swapaxes(A, 1, 2) @ A
    prior_pull = prior_mean @ prior_precision
    pull = prior_pull + world.alpha * np.einsum("gnp,n->gp", A, y)
    covariance = np.linalg.inv(precision)
    mean = np.einsum("gpq,gq->gp", covariance, pull)
    quadratic = (prior_pull * prior_mean).sum(1) + world.alpha * y @ y - (pull * mean).sum(1)
    log_det = np.linalg.slogdet(prior_precision)[1] - np.linalg.slogdet(precision)[1]
    log_likelihood = 0.5 * (len(y) * np.log(world.alpha / (2 * np.pi)) + log_det - quadratic)
    return Linear(log_prior + log_likelihood, mean, covariance, A_all)


def grid(world: World, points: int, reach: float) -> tuple[np.ndarray, float]:
    """Grid of items' factors (points^m, m), `reach` prior sds to each side, and a point's volume.

    Beyond the prior's reach the posterior has nothing: p(y | v) is bounded in v.
    """
    sd = np.sqrt(np.linalg.inv(world.item_precision)[0, 0])
    axis = world.item_mean[0] + sd * np.linspace(-reach, reach, points)
    m = world.table.shape[1]
    mesh = np.meshgrid(*[axis] * m, indexing="ij")
    return np.stack([one.ravel() for one in mesh], axis=1), float((axis[1] - axis[0]) ** m)


def exact(world: World, points: int = 129, reach: float = 8.0) -> Moments:
    """Posterior means and sds of what `quantities` names, from a grid of points^m."""
    factors, volume = grid(world, points, reach)
    n, m = world.table.shape
    d = len(world.user_mean)
    at = given_factors(world, factors)
    highest = at.log_density.max()
    density = np.exp(at.log_density - highest)
    weights = density / density.sum()

    # Mean and variance given v of each quantity, then both over v.
    given: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for i, j in product(range(n), range(m)):
        a = at.regressors[:, i, j]
        variance = np.einsum("gp,gpq,gq->g", a, at.covariance, a)
        given[f"cell[{i},{j}]"] = (a * at.mean).sum(axis=1), variance
    for k, name in enumerate(_names_of_theta(n, m, d)):
        given[name] = at.mean[:, k], at.covariance[:, k, k]
    for j in range(m):
        given[f"v[{j}]"] = factors[:, j], np.zeros(len(factors))
    mean = {name: float(weights @ centre) for name, (centre, _) in given.items()}
    sd = {
        name: float(np.sqrt(weights @ (variance + (centre - mean[name]) ** 2)))
        for name, (centre, variance) in given.items()
    }
    return Moments(mean, sd, float(highest + np.log(volume * density.sum())))


def _names_of_theta(n: int, m: int, d: int) -> list[str]:
    users = [f"{kind}[{i}]" for i in range(n) for kind in "ub"[:d]]
    return users + [f"c[{j}]" for j in range(m)] * (d == 2)


def quantities(user_rows: np.ndarray, item_rows: np.ndarray) -> dict[str, np.ndarray]:
    """Values of all quantities at rows (..., n, D) and (..., m, D), under the names of `exact`."""
    (n, d), m = user_rows.shape[-2:], item_rows.shape[-2]
    cells = np.einsum("...i,...j->...ij", user_rows[..., 0], item_rows[..., 0])
    values: dict[str, np.ndarray] = {}
    if d == 2:
        cells = cells + user_rows[..., 1][..., None] + item_rows[..., None, :, 1]
        values |= {f"b[{i}]": user_rows[..., i, 1] for i in range(n)}
        values |= {f"c[{j}]": item_rows[..., j, 1] for j in range(m)}
    values |= {f"u[{i}]": user_rows[..., i, 0] for i in range(n)}
    values |= {f"v[{j}]": item_rows[..., j, 0] for j in range(m)}
    values |= {f"cell[{i},{j}]": cells[..., i, j] for i, j in product(range(n), range(m))}
    return values


def loss(world: World, user_rows: np.ndarray, item_rows: np.ndarray) -> float:
    """Squared error plus the rows' prior quadratics over alpha.

    It is -2 / alpha times the log density of rows and ratings, up to a constant; with means of
    zero and Lambda = diag(lambda, lambda_b) the loss of ALS with reg = lambda / alpha and
    reg_bias = lambda_b / alpha (Salakhutdinov & Mnih 2007, "Probabilistic matrix factorization").
    """
    values = quantities(user_rows, item_rows)
    total = sum(
        (world.table[i, j] - values[f"cell[{i},{j}]"]) ** 2
        for i, j in np.argwhere(np.isfinite(world.table))
    )
    for rows, mean, precision in (
        (user_rows, world.user_mean, world.user_precision),
        (item_rows, world.item_mean, world.item_precision),
    ):
        total += np.einsum("ia,ab,ib->", rows - mean, precision, rows - mean) / world.alpha
    return float(total)


def best_rows(world: World, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows with the least loss among those with the items' factors (m,)."""
    n, d = len(world.table), len(world.user_mean)
    theta = given_factors(world, factors[None]).mean[0]
    item_rows = np.column_stack([factors, theta[n * d :]]) if d == 2 else factors[:, None]
    return theta[: n * d].reshape(n, d), item_rows


def mode(world: World, points: int = 41, reach: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Rows with the least loss of all: the best point of a grid, then a simplex search from it."""

    def profile(factors: np.ndarray) -> float:
        return loss(world, *best_rows(world, factors))

    factors = grid(world, points, reach)[0]
    start = min(factors, key=profile)
    found = scipy.optimize.minimize(
        profile, start, method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-15}
    )
    return best_rows(world, found.x)
