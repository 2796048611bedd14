"""Top-N lists: best items for users, nearest rows, items that load on a factor.

Scores for whole rows of the rating matrix go through matrix products over draws; intervals are
computed only for the few cells that a list shows.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from bayesmf.canonical import canonical_factors

if TYPE_CHECKING:
    from bayesmf.ratings import Ratings

SCORES_BYTES = 16_000_000
"""Bytes of scores that one thread works on at a time, and of items' draws laid side by side."""
MAX_DRAWS = 100
"""Draws used for similarities and loadings, evenly spaced: enough for a mean and an interval."""


class Rows(NamedTuple):
    """Factors (n_draws, n_rows, K) and biases (n_draws, n_rows), or (n_draws, 0), of both sides."""

    user_factors: np.ndarray
    item_factors: np.ndarray
    user_bias: np.ndarray
    item_bias: np.ndarray
    center: float

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Means over draws (n_users, n_items) for some users (codes) and all items."""
        n_draws, n_items, k = self.item_factors.shape
        rows = max(n_items, len(users))
        draws_at_once = max(1, SCORES_BYTES // (self.item_factors.itemsize * rows * max(k, 1)))
        total = np.zeros((len(users), n_items))
        for first in range(0, n_draws, draws_at_once):
            part = slice(first, min(first + draws_at_once, n_draws))
            # E[u . v] over draws as one product of the draws laid side by side.
            left = self.user_factors[part, users].transpose(1, 0, 2)
            right = self.item_factors[part].transpose(1, 0, 2)
            total += left.reshape(len(users), -1) @ right.reshape(n_items, -1).T
        total /= n_draws
        total += self.center
        if self.item_bias.size:
            total += self.item_bias.mean(axis=0, dtype=np.float64)
        if self.user_bias.size:
            total += self.user_bias[:, users].mean(axis=0, dtype=np.float64)[:, None]
        return total


def top_n(scores: np.ndarray, n: int) -> np.ndarray:
    """Columns of the n largest scores of each row, best first; ties go to the lower column."""
    n = min(n, scores.shape[1])
    part = np.argpartition(-scores, n - 1, axis=1)[:, :n] if n < scores.shape[1] else None
    if part is None:
        return np.argsort(-scores, axis=1, kind="stable")
    part.sort(axis=1)
    order = np.argsort(-np.take_along_axis(scores, part, axis=1), axis=1, kind="stable")
    best: np.ndarray = np.take_along_axis(part, order, axis=1)
    return best


def recommend(
    rows: Rows, ratings: Ratings, users: np.ndarray, n: int, *, exclude_seen: bool, cores: int
) -> list[np.ndarray]:
    """Codes of the best items of each user (code); shorter where a user has seen the rest."""
    side = ratings.by_user
    size = max(1, SCORES_BYTES // (8 * ratings.n_items))

    def best(start: int) -> list[np.ndarray]:
        some = users[start : start + size]
        scores = rows.scores(some)
        available = np.full(len(some), ratings.n_items)
        if exclude_seen:
            for r, user in enumerate(some):
                seen = side.partners[side.indptr[user] : side.indptr[user + 1]]
                scores[r, seen] = -np.inf
                available[r] -= len(seen)
        lists = top_n(scores, n)
        return [items[:count] for items, count in zip(lists, available, strict=True)]

    # Slices of users do not depend on the threads, nor do products in them: the same bits always.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(cores) as pool:
        parts = list(pool.map(best, range(0, len(users), size)))
    return [items for part in parts for items in part]


def similarities(rows: Rows, side: str, code: int) -> np.ndarray:
    """Cosines (n_draws, n_rows) of one row with all rows of its side, in canonical coordinates."""
    cosines = []
    for s in _some(len(rows.user_factors)):
        users, items = canonical_factors(rows.user_factors[s], rows.item_factors[s])
        own = users if side == "user" else items
        norms = np.linalg.norm(own, axis=1)
        # A row at the centre has no direction: its cosines are zero.
        unit = own / np.where(norms > 0, norms, 1.0)[:, None]
        cosines.append(unit @ unit[code])
    return np.array(cosines)


def loadings(rows: Rows) -> np.ndarray:
    """Items' canonical loadings (n_draws, n_items, K), each draw turned towards the last one.

    The turn is the rotation that brings both sides nearest to the last draw's (orthogonal
    Procrustes, Schoenemann 1966), which leaves every u . v as it is.
    """
    pairs = [
        canonical_factors(rows.user_factors[s], rows.item_factors[s])
        for s in _some(len(rows.user_factors))
    ]
    reference = np.vstack(pairs[-1])
    turned = []
    for users, items in pairs:
        left, _, right = np.linalg.svd(np.vstack([users, items]).T @ reference)
        turned.append(items @ (left @ right))
    return np.array(turned)


def _some(n_draws: int) -> np.ndarray:
    return np.linspace(0, n_draws - 1, min(n_draws, MAX_DRAWS)).round().astype(int)
