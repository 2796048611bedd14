"""Every conditional of the model in plain NumPy: the reference, and the text to read.

References are to Salakhutdinov & Mnih (2008), "Bayesian probabilistic matrix factorization using
Markov chain Monte Carlo", ICML, with two additions: a bias as one more coordinate of each row, and
a learned strength w of the Wishart prior. `w` is a vector (D,) with W0 = diag(1 / w).

A function ends in `_conditional` when it gives the parameters of a distribution and starts with
`draw_` when it draws from one, so that the closed forms can be tested apart from the draws.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayesmf import lapack

if TYPE_CHECKING:
    from bayesmf.kernels.blocks import SideData
    from bayesmf.model import GammaPrior, SidePrior
    from bayesmf.ratings import Side


class NormalWishartParameters(NamedTuple):
    """Normal-Wishart: Lambda ~ Wishart(W, dof), mu | Lambda ~ Normal(mean, (beta Lambda)^-1).

    The Wishart is given by its inverse scale W^-1 (D, D), which is what the data add to.
    """

    mean: np.ndarray
    beta: float
    inverse_scale: np.ndarray
    dof: float


class Hyper(NamedTuple):
    """Mean (D,), precision (D, D) and prior strength w (D,) of the rows of one side."""

    mean: np.ndarray
    precision: np.ndarray
    strength: np.ndarray


type Moments = tuple[np.ndarray, np.ndarray]
"""Mean (D,) of some rows, and their centred scatter (D, D), in float64."""


def moments(rows: np.ndarray) -> Moments:
    """Mean of rows (n, D) and their centred scatter, the sum of (x - mean)(x - mean)'."""
    centred = rows.astype(np.float64)
    # A product: along the first axis NumPy's own sums take several times as long.
    mean = np.ones(len(rows)) @ centred / len(rows)
    centred -= mean
    return mean, centred.T @ centred


def hyper_conditional(
    n: int, mean: np.ndarray, scatter: np.ndarray, prior: SidePrior, strength: np.ndarray
) -> NormalWishartParameters:
    """Conditional of (mu, Lambda) given n rows by their moments: eq. 14 of the paper."""
    beta = prior.beta0 + n
    shift = mean - prior.mu0
    inverse_scale = np.diag(strength) + scatter + prior.beta0 * n / beta * np.outer(shift, shift)
    return NormalWishartParameters(
        (prior.beta0 * prior.mu0 + n * mean) / beta, beta, inverse_scale, prior.dof + n
    )


def draw_wishart_root(
    inverse_scale: np.ndarray, dof: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw B (D, D) with B B' ~ Wishart(W, dof), W = inverse_scale^-1.

    Bartlett's decomposition (Smith & Hocking 1972, AS 53): A is lower triangular with standard
    normals below the diagonal and A_kk^2 ~ chi^2 with dof - k (k from 0), and B = R A for any R
    with R R' = W. From the Cholesky factor C of W^-1, R = C^-T needs no inverse.
    """
    d = len(inverse_scale)
    bartlett = rng.standard_normal((d, d)) * _below_diagonal(d)
    bartlett[np.diag_indices(d)] = np.sqrt(rng.chisquare(dof - np.arange(d)))
    return lapack.solve_transposed(lapack.cholesky(inverse_scale), bartlett)


@cache
def _below_diagonal(d: int) -> np.ndarray:
    return np.tri(d, k=-1)


def draw_hyper_given(
    parameters: NormalWishartParameters, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw (mu, Lambda) from a Normal-Wishart."""
    root = draw_wishart_root(parameters.inverse_scale, parameters.dof, rng)
    z = rng.standard_normal(len(root))
    # Lambda = B B', so B^-T z has covariance Lambda^-1; B is a product, not triangular.
    mean = parameters.mean + lapack.solve(root.T, z) / np.sqrt(parameters.beta)
    return mean, root @ root.T


def strength_conditional(precision: np.ndarray, prior: SidePrior) -> tuple[np.ndarray, np.ndarray]:
    """Shapes and rates (D,) of the Gamma conditional of w given Lambda.

    The Wishart density is proportional to prod_k w_k^(dof/2) exp(-w_k Lambda_kk / 2) in w.
    """
    return prior.shape + prior.dof / 2, prior.rate + np.diag(precision) / 2


def draw_strength(precision: np.ndarray, prior: SidePrior, rng: np.random.Generator) -> np.ndarray:
    """Draw w (D,) given Lambda."""
    shapes, rates = strength_conditional(precision, prior)
    return rng.gamma(shapes, 1 / rates)


def draw_hyper(
    rows_moments: Moments,
    n: int,
    current: Hyper,
    prior: SidePrior,
    rng: np.random.Generator,
) -> Hyper:
    """Draw w given Lambda where it is learned, then (mu, Lambda) given w and the rows."""
    strength = current.strength
    if prior.learned:
        strength = draw_strength(current.precision, prior, rng)
    parameters = hyper_conditional(n, *rows_moments, prior, strength)
    return Hyper(*draw_hyper_given(parameters, rng), strength)


def regression(
    partner_rows: np.ndarray, targets: np.ndarray, has_bias: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Regressors X (n, D) of one row and what they explain (n,).

    With biases the regressors are the partners' factors and a 1, and the partners' biases are
    taken from the targets (n,).
    """
    X, y = partner_rows, targets
    if has_bias:
        X, y = partner_rows.copy(), targets - partner_rows[:, -1]
        X[:, -1] = 1.0
    return X, y


def row_conditional(
    partner_rows: np.ndarray,
    targets: np.ndarray,
    has_bias: bool,
    alpha: float,
    mean: np.ndarray,
    precision: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and precision (D, D) of one row given its partners' rows (n, D): eqs. 11-13."""
    X, y = regression(partner_rows, targets, has_bias)
    row_precision = precision + alpha * X.T @ X
    row_mean = np.linalg.solve(row_precision, precision @ mean + alpha * X.T @ y)
    return row_mean, row_precision


def draw_low_row(
    partner_rows: np.ndarray,
    targets: np.ndarray,
    has_bias: bool,
    alpha: float,
    mean: np.ndarray,
    precision: np.ndarray,
    normals: np.ndarray,
) -> np.ndarray:
    """Draw one row of n ratings from D + n normals by an n x n system.

    Bhattacharya, Chakraborty & Mallick (2016), "Fast sampling with Gaussian scale mixture priors
    in high-dimensional regression", section 2: the same distribution as `row_conditional`, in
    coordinates in which the prior is standard normal.
    """
    d = len(mean)
    z, delta = normals[:d], normals[d:]
    X, y = regression(partner_rows, targets, has_bias)
    root = np.linalg.cholesky(precision)
    phi = np.sqrt(alpha) * np.linalg.solve(root, X.T).T
    rho = np.sqrt(alpha) * (y - X @ mean)
    t = np.linalg.solve(phi @ phi.T + np.eye(len(y)), rho - phi @ z - delta)
    drawn: np.ndarray = mean + np.linalg.solve(root.T, z + phi.T @ t)
    return drawn


def draw_rows(
    block: range,
    data: SideData,
    partner_rows: np.ndarray,
    has_bias: bool,
    alpha: float,
    hyper: Hyper,
    normals: np.ndarray,
    out: np.ndarray,
) -> None:
    """Draw the rows of a block from its standard normals, laid end to end, writing into `out`."""
    side, d = data.side, partner_rows.shape[1]
    for row in block:
        own = slice(side.indptr[row], side.indptr[row + 1])
        at = data.normal_starts[row : row + 2] - data.normal_starts[block.start]
        z = normals[at[0] : at[1]]
        given = partner_rows[side.partners[own]], data.targets[own], has_bias, alpha
        if len(z) > d:
            out[row] = draw_low_row(*given, hyper.mean, hyper.precision, z)
            continue
        try:
            mean, precision = row_conditional(*given, hyper.mean, hyper.precision)
            chol = np.linalg.cholesky(precision)
        except np.linalg.LinAlgError as error:
            raise np.linalg.LinAlgError(
                f"the precision of row {row} is not positive definite"
            ) from error
        # A general solver: for one small row SciPy's triangular one is mostly overhead.
        out[row] = mean + np.linalg.solve(chol.T, z)


def residuals(
    block: range,
    side: Side,
    targets: np.ndarray,
    rows: np.ndarray,
    partner_rows: np.ndarray,
    has_bias: bool,
) -> np.ndarray:
    """Target minus u.v + b + c for the ratings of a block of rows."""
    own = slice(side.indptr[block.start], side.indptr[block.stop])
    codes = np.repeat(np.asarray(block), np.diff(side.indptr[block.start : block.stop + 1]))
    left, right = rows[codes], partner_rows[side.partners[own]]
    if has_bias:
        k = rows.shape[1] - 1
        interaction = np.einsum("nk,nk->n", left[:, :k], right[:, :k])
        return targets[own] - interaction - left[:, k] - right[:, k]
    return targets[own] - np.einsum("nk,nk->n", left, right)


def alpha_conditional(squared_error: float, n: int, prior: GammaPrior) -> tuple[float, float]:
    """Shape and rate of the Gamma conditional of the noise precision."""
    return prior.shape + n / 2, prior.rate + squared_error / 2


def draw_alpha(
    squared_error: float, n: int, prior: GammaPrior | float, rng: np.random.Generator
) -> float:
    """Draw the noise precision, or return it if it is fixed."""
    if isinstance(prior, (int, float)):
        return float(prior)
    shape, rate = alpha_conditional(squared_error, n, prior)
    return float(rng.gamma(shape, 1 / rate))
