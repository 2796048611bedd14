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
Functions take one draw: factors (n, K), biases (n,) or None.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Effects(NamedTuple):
    """Intercept, user effects (n_users,) and item effects (n_items,), each with mean zero."""

    intercept: float
    user_effect: np.ndarray
    item_effect: np.ndarray


def effects(
    user_factors: np.ndarray,
    item_factors: np.ndarray,
    user_bias: np.ndarray | None,
    item_bias: np.ndarray | None,
    center: float = 0.0,
) -> Effects:
    """Split biases and factors into intercept and effects."""
    user_mean, item_mean = user_factors.mean(axis=0), item_factors.mean(axis=0)
    # einsum, not BLAS: these are kept for every draw and must not depend on a number of threads.
    user_effect = np.einsum("nk,k->n", user_factors - user_mean, item_mean)
    item_effect = np.einsum("nk,k->n", item_factors - item_mean, user_mean)
    intercept = center + float(np.einsum("k,k->", user_mean, item_mean))
    if user_bias is not None:
        intercept += float(user_bias.mean())
        user_effect = user_effect + (user_bias - user_bias.mean())
    if item_bias is not None:
        intercept += float(item_bias.mean())
        item_effect = item_effect + (item_bias - item_bias.mean())
    return Effects(intercept, user_effect, item_effect)


def singular_values(user_scatter: np.ndarray, item_scatter: np.ndarray) -> np.ndarray:
    """Singular values (K,), decreasing, of the centred interaction from the scatter matrices.

    With U'U = A A' and V'V = B B' those of U V' are those of A' B.
    """
    left, right = (_root(scatter) for scatter in (user_scatter, item_scatter))
    values: np.ndarray = np.linalg.svd(left.T @ right, compute_uv=False)
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
