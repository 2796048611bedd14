"""How large the tastes of each row are, in a draw and on average: shrinkage in numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayesmf.indexing import evenly

MOST_DRAWS = 50
"""Draws, evenly spaced; fewer where `MOST_COLUMNS` factors are reached, but never below ten."""
MOST_COLUMNS = 500
"""Factors of all draws side by side: the cost of a row is the square of their number."""
BLOCK_BYTES = 16_000_000
"""Bytes of rows, with all their draws, at a time."""


class TasteSizes(NamedTuple):
    """Sizes (n_rows,) of the rows of the interaction: sds over the other side's rows.

    `mean`, `lower` and `upper` are of the size in a draw: posterior mean and central interval.
    `of_mean` is the size of the posterior mean of the row.
    """

    mean: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    of_mean: np.ndarray


def taste_sizes(rows: np.ndarray, partners: np.ndarray, prob: float) -> TasteSizes:
    """Sizes of the rows of the centred interaction, never built.

    Parameters
    ----------
    rows, partners : ndarray, shapes (n_chains, n_draws, n_rows, K) and (..., n_partners, K)
        Raw factors of the side, and of the other one.
    prob : float
        Of the interval.

    Notes
    -----
    In draw s the squared size of row i is x_s' S_ss x_s, with x_s the centred factors of the row
    and S_st the covariance over partners of their factors in draws s and t. That of the mean over
    draws is the mean of x_s' S_st x_t over pairs of draws s != t: with s = t, the variance between
    draws would come in as if it were tastes.
    """
    left, right = (side.reshape(-1, *side.shape[2:]) for side in (rows, partners))
    total, n, k = left.shape
    kept = min(total, max(10, min(MOST_DRAWS, MOST_COLUMNS // k)))
    picked = evenly(total, kept)
    centre, middle = (
        np.array([side[s].mean(axis=0, dtype=np.float64) for s in picked]) for side in (left, right)
    )
    columns = kept * k
    size = max(1, BLOCK_BYTES // (8 * columns))
    # Covariances (columns, columns) of the partners' factors of all draws, laid side by side.
    covariance = np.zeros((columns, columns))
    for first in range(0, right.shape[1], size):
        block = _beside(right, picked, middle, first, size)
        covariance += block.T @ block
    covariance /= right.shape[1]
    out = np.empty((4, n))
    tails = [(1 - prob) / 2, (1 + prob) / 2]
    within = np.zeros_like(covariance)
    for s in range(kept):
        own = slice(s * k, (s + 1) * k)
        within[own, own] = covariance[own, own]
    for first in range(0, n, size):
        block = _beside(left, picked, centre, first, size)
        part = slice(first, first + len(block))
        squares = ((block @ within) * block).reshape(len(block), kept, k).sum(axis=2)
        in_draw = np.sqrt(np.maximum(squares, 0.0))
        out[0, part] = in_draw.mean(axis=1)
        out[1:3, part] = np.quantile(in_draw, tails, axis=1)
        pairs = ((block @ covariance) * block).sum(axis=1) - squares.sum(axis=1)
        out[3, part] = np.sqrt(np.maximum(pairs, 0.0) / max(1, kept * (kept - 1)))
    return TasteSizes(*out)


def _beside(
    draws: np.ndarray, picked: np.ndarray, means: np.ndarray, first: int, size: int
) -> np.ndarray:
    # Some rows (n, n_draws * K), centred: the factors of all draws side by side.
    some = draws[picked, first : first + size].astype(np.float64) - means[:, None, :]
    found: np.ndarray = some.transpose(1, 0, 2).reshape(some.shape[1], -1)
    return found
