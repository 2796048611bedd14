"""Turning draws of factors: varimax of both sides, and signed matching.

Functions take the two sides of one draw in balanced form (`bayesmf.canonical.canonical_factors`):
centred, and U'U = V'V. What turns both sides by the same rotation keeps that, and every u.v.
"""

from __future__ import annotations

import numpy as np

from bayesmf.canonical import nearest_rotation
from bayesmf.seeds import generator

STARTS = 10
"""Random starts of varimax where there is nothing to start from: it has local maxima."""
TOLERANCE = 1e-6
MAX_STEPS = 1000
BLOCK_BYTES = 16_000_000
"""Bytes of products of loadings at a time."""


def simplicity(users: np.ndarray, items: np.ndarray) -> float:
    """Varimax criterion of both sides: the variances of squared loadings, summed over factors.

    Parameters
    ----------
    users, items : ndarray, shapes (n_users, K) and (n_items, K)
        Balanced loadings.

    Notes
    -----
    Kaiser (1958, Psychometrika 23(3)), raw: rows are not brought to one length first, since the
    short ones are those of which little is known. Each side's loadings are taken times the root of
    its number of rows, and its variance over its own rows: so both sides weigh the same, however
    long they are.
    """
    return sum(float((len(side) * side**2).var(axis=0).sum()) for side in (users, items))


def varimax(users: np.ndarray, items: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """Rotation (K, K) for which `simplicity(users @ R, items @ R)` is largest.

    Parameters
    ----------
    users, items : ndarray, shapes (n_users, K) and (n_items, K)
        Balanced loadings.
    start : ndarray, shape (K, K), optional
        Rotation to climb from, to the next maximum. Without one the best of several starts is
        taken: no turn, and ten random ones, the same each time.

    Notes
    -----
    The squared loading of a row x on a column r is linear in the products x_a x_b, so that the
    criterion needs their covariance alone, and a step costs the same for any number of rows. Each
    step goes to the rotation nearest to the gradient (Jennrich 2001, Psychometrika 66(2)).
    """
    k = users.shape[1]
    covariance = _products_covariance(users) + _products_covariance(items)
    # A table of mere zeros has no scale, nor needs one.
    covariance /= np.trace(covariance) or 1.0
    if start is not None:
        return _climb(covariance, start)[0]
    rng = generator(0, "varimax")
    starts = [np.eye(k), *(random_rotation(rng, k) for _ in range(STARTS))]
    return max((_climb(covariance, one) for one in starts), key=lambda found: found[1])[0]


def random_rotation(rng: np.random.Generator, k: int) -> np.ndarray:
    """Orthogonal matrix (k, k), uniform."""
    q, r = np.linalg.qr(rng.standard_normal((k, k)))
    rotation: np.ndarray = q * np.sign(np.diag(r))
    return rotation


def _pairs(k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # Each pair a <= b once; one that stands for two has weight sqrt(2).
    a, b = np.triu_indices(k)
    return a, b, np.where(a == b, 1.0, np.sqrt(2.0))


def _products_covariance(side: np.ndarray) -> np.ndarray:
    # Covariance (D, D), D = K (K + 1) / 2, of the products n x_a x_b over the n rows.
    n, k = side.shape
    a, b, weights = _pairs(k)
    weights = n * weights
    mean = (side.T @ side)[a, b] * weights / n
    total = np.zeros((len(a), len(a)))
    size = max(1, BLOCK_BYTES // (8 * len(a)))
    for first in range(0, n, size):
        rows = side[first : first + size]
        products = rows[:, a] * rows[:, b] * weights - mean
        total += products.T @ products
    return total / n


def _climb(covariance: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, float]:
    k = len(start)
    a, b, weights = _pairs(k)

    def slope(rotation: np.ndarray) -> tuple[float, np.ndarray]:
        # The criterion sum_k p_k' C p_k, p_k the products of column k, and a quarter of its slope.
        products = rotation[a] * rotation[b] * weights[:, None]
        pulls = covariance @ products
        value = float(np.vdot(products, pulls))
        pulls /= weights[:, None]
        square = np.empty((k, k, k))
        square[a, b] = square[b, a] = pulls
        return value, np.einsum("abk,bk->ak", square, rotation)

    rotation, shift = start, 0.0
    value, gradient = slope(rotation)
    for _ in range(MAX_STEPS):
        following = nearest_rotation(gradient + shift * rotation)
        if np.abs(following - rotation).max() < TOLERANCE:
            break
        reached, ahead = slope(following)
        if reached < value:
            # A pull towards where we are shortens the step, until it climbs.
            shift = max(2 * shift, 0.1 * float(np.linalg.norm(gradient, 2)))
            continue
        rotation, value, gradient = following, reached, ahead
    return rotation, value


def signed_matching(products: np.ndarray, lengths: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Signed permutation (K, K) that brings the columns of a draw nearest to a reference.

    Parameters
    ----------
    products : ndarray, shape (K, K)
        Of each column of the draw with each column of the reference.
    lengths, reference : ndarray, shape (K,)
        Squared lengths of the columns of the draw, and of the reference.

    Notes
    -----
    Greedy: the longest column of the reference chooses first, the nearest of those that are left
    and of their opposites (Poworoznek, Anceschi, Ferrari & Dunson 2021, arXiv:2107.13783).
    """
    # |p -+ x|^2 = |p|^2 + |x|^2 - 2 |p.x| with the better sign; |p| is the same for all x.
    far = lengths[:, None] - 2 * np.abs(products)
    turn = np.zeros_like(products)
    for k in np.argsort(-reference, kind="stable"):
        column = far[:, k].argmin()
        turn[column, k] = -1.0 if products[column, k] < 0 else 1.0
        far[column] = np.inf
    return turn
