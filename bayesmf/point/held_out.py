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


def hold_out(ratings: Ratings, share: float, seed: int) -> HeldOut:
    """Take a share of the ratings out at random: the same ones for every kind of fit of a seed."""
    order = generator(seed, "validation").permutation(len(ratings))
    n_held = min(max(round(share * len(ratings)), 1), len(ratings) - 1)
    train = ratings.take(order[n_held:])
    held = np.sort(order[:n_held])
    return HeldOut(
        train,
        train.user_ids.get_indexer(ratings.user_ids[ratings.users[held]]),
        train.item_ids.get_indexer(ratings.item_ids[ratings.items[held]]),
        ratings.values[held],
    )
