"""What the likelihood identifies: the canonical form of factors and biases.

The likelihood does not change under u -> A u, v -> A^-T v, nor when a constant moves between the
factors and the biases, so raw factors and biases have no meaning of their own. With the means over
rows ubar, vbar, a cell's mean splits uniquely into

    intercept + user_effect_i + item_effect_j + interaction_ij
    intercept      = center + mean(b) + mean(c) + ubar . vbar
    user_effect_i  = b_i - mean(b) + (u_i - ubar) . vbar
    item_effect_j  = c_j - mean(c) + ubar . (v_j - vbar)
    interaction_ij = (u_i - ubar) . (v_j - vbar)

and the singular values of the interaction come from K x K products, never the dense matrix.
Functions take one draw.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayesmf import lapack


class Effects(NamedTuple):
    """Intercept, and effects (n,) of users and of items, which have mean zero over all rows."""

    intercept: float
    user_effect: np.ndarray
    item_effect: np.ndarray


def effects(
    user_rows: np.ndarray,
    item_rows: np.ndarray,
    user_mean: np.ndarray,
    item_mean: np.ndarray,
    has_bias: bool,
) -> Effects:
    """Intercept, less the centre, and effects of some rows (n, D), given both mean rows (D,).

    A row is its factors, and its bias as last coordinate where there is one.
    """
    # What a row is multiplied by in its effect: the other side's mean factors, and 1 for the bias.
    for_users, for_items = item_mean.copy(), user_mean.copy()
    intercept = 0.0
    if has_bias:
        intercept += float(user_mean[-1] + item_mean[-1])
        for_users[-1] = for_items[-1] = 1.0
    k = len(user_mean) - has_bias
    # einsum, not BLAS: these are kept for every draw and must not depend on a number of threads.
    intercept += float(np.einsum("k,k->", user_mean[:k], item_mean[:k]))
    return Effects(
        intercept,
        np.einsum("nd,d->n", user_rows - user_mean, for_users),
        np.einsum("nd,d->n", item_rows - item_mean, for_items),
    )


def singular_values(user_scatter: np.ndarray, item_scatter: np.ndarray) -> np.ndarray:
    """Singular values (K,), decreasing, of the centred interaction from the scatter matrices.

    With U'U = A A' the squares of those of U V' are the eigenvalues of A' V'V A.
    """
    try:
        root = lapack.cholesky(user_scatter)
    except np.linalg.LinAlgError:
        root = _root(user_scatter)
    squares = lapack.eigenvalues(root.T @ item_scatter @ root)[::-1]
    values: np.ndarray = np.sqrt(np.maximum(squares, 0.0))
    return values


def _root(scatter: np.ndarray) -> np.ndarray:
    # By eigenvalues, since with few rows or K > n the scatter is singular and has no Cholesky.
    values, vectors = np.linalg.eigh(scatter)
    return vectors * np.sqrt(np.maximum(values, 0.0))


def canonical_factors(
    user_factors: np.ndarray, item_factors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Centred factors, rotated and balanced so that U V' = P diag(s) Q' with U = P s^1/2.

    The columns come in decreasing order of their singular value; the sign of a column makes the
    item with the largest loading positive.
    """
    left, right = user_factors - user_factors.mean(axis=0), item_factors - item_factors.mean(axis=0)
    q_left, r_left = np.linalg.qr(left)
    q_right, r_right = np.linalg.qr(right)
    inner_left, values, inner_right = np.linalg.svd(r_left @ r_right.T)
    rank = len(values)
    root = np.sqrt(values)
    users = q_left @ inner_left[:, :rank] * root
    items = q_right @ inner_right[:rank].T * root
    signs = np.sign(items[np.abs(items).argmax(axis=0), np.arange(rank)])
    signs[signs == 0] = 1.0
    return users * signs, items * signs


def nearest_rotation(matrix: np.ndarray) -> np.ndarray:
    """Orthogonal matrix (K, K) for which the trace of R' matrix is largest.

    Of `draw.T @ reference` it is the turn that brings a draw nearest to a reference (Schoenemann
    1966, Psychometrika 31(1)).
    """
    left, _, right = np.linalg.svd(matrix)
    rotation: np.ndarray = left @ right
    return rotation


def canonical_row(
    row: np.ndarray, own_factors: np.ndarray, other_factors: np.ndarray, other: np.ndarray
) -> np.ndarray:
    """One more row (K,) of a side, in the canonical coordinates of a draw that it has no part in.

    The draw is given by the factors of its own side and of the other side, whose canonical form is
    `other`.
    """
    # A centred row's products with the other side are the same in both forms, and the columns of
    # the canonical other side are orthogonal.
    left, right = row - own_factors.mean(axis=0), other_factors - other_factors.mean(axis=0)
    lengths = np.square(other).sum(axis=0)
    turned: np.ndarray = left @ (right.T @ other) / np.where(lengths > 0, lengths, 1.0)
    return turned
