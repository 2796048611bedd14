"""ML-1M: users whom a fit has never seen, what it expects of them, and how their answers tell.

What `bandit` and `questions` share. A user's row is updated by its exact Gaussian conditional in
each draw of the items; items and hyperparameters stay as the other users' ratings have them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import bayesmf
from bayesmf.draws.reading import KeptDraws
from benchmarks.fits import one_chain

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from benchmarks.common import Settings


class Prior(NamedTuple):
    """What is known before anything is heard of a user, in each draw.

    Attributes
    ----------
    mean : ndarray, shape (n_draws, D)
    covariance : ndarray, shape (n_draws, D, D)
    rows : ndarray, shape (n_draws, n_items, D)
        Rows x = (v, 1) of the items.
    offset : ndarray, shape (n_draws, n_items)
        Centre and bias of the items.
    alpha : ndarray, shape (n_draws,)
    """

    mean: np.ndarray
    covariance: np.ndarray
    rows: np.ndarray
    offset: np.ndarray
    alpha: np.ndarray


class Learner:
    """What is known of one user, who may be asked for some items (codes).

    `x` (n_draws, n_items, D) are the items' rows, `covariance` (n_draws, D, D) that of the row of
    the user. The expected ratings `means` and their variances (n_draws, n_items) are kept up by
    the rank-one update of a Gaussian: an answer moves them along one direction.
    """

    def __init__(self, prior: Prior, items: np.ndarray) -> None:
        self.x = prior.rows[:, items]
        self._offset = prior.offset[:, items]
        self.alpha = prior.alpha
        self._row, self.covariance = prior.mean.copy(), prior.covariance.copy()
        self.means = self._offset + np.matmul(self.x, self._row[:, :, None])[:, :, 0]
        self.variances = np.einsum("snd,snd->sn", self.x @ self.covariance, self.x)

    def answer(self, item: int, rating: float) -> None:
        """Learn the rating of an item (its place)."""
        x = self.x[:, item]
        shared = np.einsum("sde,se->sd", self.covariance, x)
        weight = self.alpha / (1 + self.alpha * np.einsum("sd,sd->s", shared, x))
        step = weight * (rating - self.means[:, item])
        moved = np.matmul(self.x, shared[:, :, None])[:, :, 0]
        self.means += step[:, None] * moved
        self.variances -= weight[:, None] * moved**2
        self._row += step[:, None] * shared
        self.covariance -= np.einsum("s,sd,se->sde", weight, shared, shared)

    def mean(self) -> np.ndarray:
        """Posterior means of the expected ratings (n_items,)."""
        return self.means.mean(axis=0)

    def sd(self) -> np.ndarray:
        """Posterior standard deviations of the expected ratings (n_items,)."""
        inner = np.maximum(self.variances, 0).mean(axis=0)
        return np.sqrt(inner + self.means.var(axis=0))

    def drawn(self, rng: np.random.Generator) -> np.ndarray:
        """Expected ratings (n_items,) in one draw of everything."""
        s = rng.integers(len(self.means))
        root = np.linalg.cholesky(self.covariance[s])
        row = self._row[s] + root @ rng.standard_normal(len(root))
        return self._offset[s] + self.x[s] @ row


def newcomers(
    settings: Settings,
) -> tuple[bayesmf.Ratings, Prior, list[tuple[np.ndarray, np.ndarray]]]:
    """Ratings of the others, what a fit to them expects of a user, and each newcomer's ratings.

    These are codes of items and ratings.
    """
    train, held = _hold_out(settings["users"], settings["least_ratings"])
    post = one_chain(train, settings)
    return train, _prior_of(post, settings["kept"]), list(_by_user(held, train))


def _hold_out(users: int, least_ratings: int) -> tuple[bayesmf.Ratings, pd.DataFrame]:
    """Ratings of all others, and those of some users, drawn from those with many."""
    everything = bayesmf.load_movielens("1m")
    counts = everything["user"].value_counts()
    many = np.sort(counts.index[counts >= least_ratings])
    held = np.random.default_rng(0).choice(many, users, replace=False)
    out = everything["user"].isin(held)
    return bayesmf.Ratings(everything[~out]), everything[out]


def _prior_of(post: bayesmf.Posterior, kept: int) -> Prior:
    """The prior of a user in some of the draws."""
    draws = KeptDraws(post.data, kept)
    mean, precision = draws.hyper("user")
    items = np.arange(post.ratings.n_items)
    (block,) = draws.blocks(items[:0], items)
    rows = np.ones((draws.n_draws, len(items), mean.shape[1]))
    rows[:, :, : draws.n_factors] = block.item_factors
    offset = draws.center + block.item_bias.astype(np.float64)
    return Prior(mean, np.linalg.inv(precision), rows, offset, 1 / draws.noise_sd**2)


def _by_user(
    table: pd.DataFrame, train: bayesmf.Ratings
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Codes of the items and ratings of each user, of items that others have rated."""
    for _, own in table.groupby("user"):
        codes = train.item_ids.get_indexer(own["item"])
        yield codes[codes >= 0], own["rating"].to_numpy(np.float64)[codes >= 0]
