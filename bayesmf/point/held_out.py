"""A random part of the ratings that a fit does not see, and the error on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayesmf.seeds import generator

if TYPE_CHECKING:
    from bayesmf.ratings import Ratings


class HeldOut(NamedTuple):
    """What is trained on, and the cells that were taken out.

    Attributes
    ----------
    train : Ratings
        The rest of the ratings, with the ids that occur in it.
    users, items : ndarray, shapes (n_held,)
        Codes of `train`, -1 for ids that it does not know.
    values : ndarray of float64, shape (n_held,)
    """

    train: Ratings
    users: np.ndarray
    items: np.ndarray
    values: np.ndarray

    def rmse(self, means: np.ndarray) -> float:
        """Root mean squared error of expected ratings (n_held,)."""
        return float(np.sqrt(np.mean((means - self.values) ** 2)))


def parts(n_ratings: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which ratings to fit and which to hold out: the same ones for every kind of fit of a seed."""
    order = generator(seed, "validation").permutation(n_ratings)
    n_held = min(max(round(share * n_ratings), 1), n_ratings - 1)
    return np.sort(order[n_held:]), np.sort(order[:n_held])


def hold_out(ratings: Ratings, share: float, seed: int) -> HeldOut:
    """Take a share of the ratings out at random."""
    kept, held = parts(len(ratings), share, seed)
    train = ratings.take(kept)
    return HeldOut(
        train,
        train.user_ids.get_indexer(ratings.user_ids[ratings.users[held]]),
        train.item_ids.get_indexer(ratings.item_ids[ratings.items[held]]),
        ratings.values[held],
    )
