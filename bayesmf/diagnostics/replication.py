"""Replicated ratings at the training cells, draw by draw, and what is kept of each: a few sums.

A draw's ratings go through in blocks of cells; sums by user, by item, by level of the scale and by
predicted mean are all that is held, never ratings x draws, nor even all ratings of one draw.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayesmf.diagnostics.grids import half_way
from bayesmf.indexing import chunks, evenly
from bayesmf.kernels import mixtures
from bayesmf.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

    from bayesmf.ratings import Ratings

BLOCK = 1 << 15
"""Cells that a thread works on at a time: about ten arrays of 256 KB."""
N_BINS = 20
"""Bins of ratings that have no grid, and of predicted means."""
CELLS_PER_BIN = 50
"""Training cells that a bin of predicted means holds at least."""
DECILES = np.arange(1, 10) / 10
FEWEST = 5
"""Ratings without which a user's sd says nothing."""


class Edges(NamedTuple):
    """Inner edges of the bins of ratings, and of those of predicted means."""

    rating: np.ndarray
    predicted: np.ndarray

    @classmethod
    def of(cls, ratings: np.ndarray, means: np.ndarray, grid: np.ndarray | None) -> Edges:
        """Choose bins around the levels of the grid, or of equal shares, as those of means are."""
        n_predicted = min(N_BINS, max(1, len(means) // CELLS_PER_BIN))
        return cls(
            _equal_shares(ratings, N_BINS) if grid is None else half_way(grid),
            _equal_shares(means, n_predicted),
        )


class Sums(NamedTuple):
    """Sums over cells, where d is a rating less the mean of the observed ones.

    Attributes
    ----------
    user : ndarray, shape (2, n_users)
        Of d and d².
    item : ndarray, shape (n_items,)
        Of d.
    cubes : ndarray, shape (1,)
        Of d³.
    bins : ndarray, shape (n_bins,)
        Number of ratings in each bin.
    """

    user: np.ndarray
    item: np.ndarray
    cubes: np.ndarray
    bins: np.ndarray

    @classmethod
    def zeros(cls, n_users: int, n_items: int, n_bins: int) -> Sums:
        """Sums over no cells."""
        return cls(np.zeros((2, n_users)), np.zeros(n_items), np.zeros(1), np.zeros(n_bins))


class Residuals(NamedTuple):
    """Sums over cells by bin of the mean that a draw predicts.

    Attributes
    ----------
    cells : ndarray, shape (2, n_bins)
        Number of cells, and their means summed up.
    observed, replicated : ndarray, shape (2, n_bins)
        Ratings less means, and squared.
    """

    cells: np.ndarray
    observed: np.ndarray
    replicated: np.ndarray


class Features(NamedTuple):
    """What is compared of one set of ratings; deciles are over users or items."""

    mean: float
    sd: float
    skew: float
    shares: np.ndarray
    user_mean: np.ndarray
    user_sd: np.ndarray
    item_mean: np.ndarray
    sd_user_mean: float
    sd_user_sd: float
    sd_item_mean: float


class Replicator:
    """Replicates of the training ratings from a tree in the schema of `bayesmf.draws`."""

    def __init__(self, tree: xr.DataTree, ratings: Ratings, seed: int, cores: int) -> None:
        self.group = tree["factors"].dataset
        self.ratings, self.cores = ratings, cores
        self.center = float(tree["constant_data"]["center"])
        self.n_kept = self.group.sizes["chain"] * self.group.sizes["draw"]
        self._root = generator(seed, "predictive check")
        self._counts = [np.diff(side.indptr) for side in (ratings.by_user, ratings.by_item)]

    def some_means(self, n: int) -> np.ndarray:
        """Expected ratings of at most n training cells, evenly spaced, in the middle draw."""
        return self._means(self._rows(self.n_kept // 2), evenly(len(self.ratings), n))

    def observed(self, edges: Edges) -> Features:
        """Features of the observed ratings."""
        total = self._zeros(edges)
        for cells in chunks(len(self.ratings), BLOCK):
            self._add(total, self._sums(self.ratings.values[cells], cells, edges), cells)
        return self._features(total)

    def replicates(self, n: int, edges: Edges) -> Iterator[tuple[Features, Residuals]]:
        """Features of the ratings of n draws, evenly spaced over all kept draws of all chains."""
        parts = list(chunks(len(self.ratings), BLOCK))
        with ThreadPoolExecutor(self.cores) as pool:
            for number in evenly(self.n_kept, n):
                rows = self._rows(int(number))
                noise_sd = float(1 / np.sqrt(self.group["alpha"].to_numpy().ravel()[number]))

                def block(
                    cells: slice,
                    stream: np.random.Generator,
                    rows: tuple[np.ndarray, ...] = rows,
                    noise_sd: float = noise_sd,
                ) -> tuple[slice, Sums, Residuals]:
                    means = self._means(rows, cells)
                    noise = noise_sd * stream.standard_normal(len(means))
                    residuals = _residuals(means, self.ratings.values[cells], noise, edges)
                    return cells, self._sums(means + noise, cells, edges), residuals

                total, by_mean = self._zeros(edges), np.zeros((3, 2, len(edges.predicted) + 1))
                # A stream for each block and sums in the order of blocks give the same bits
                # whatever the number of threads; a few blocks at a time bound what waits.
                for first in range(0, len(parts), 4 * self.cores):
                    some = parts[first : first + 4 * self.cores]
                    for cells, sums, residuals in pool.map(
                        block, some, self._root.spawn(len(some))
                    ):
                        self._add(total, sums, cells)
                        by_mean += residuals
                yield self._features(total), Residuals(*by_mean)

    def _rows(self, number: int) -> tuple[np.ndarray, ...]:
        # Factors (1, n, K) and biases (1, n), or (1, 0), of one of all kept draws.
        chain, draw = divmod(number, self.group.sizes["draw"])
        none = np.empty((1, 0), dtype=np.float32)
        names = ("user_factors", "item_factors", "user_bias", "item_bias")
        return tuple(
            np.ascontiguousarray(self.group[name][chain, draw].to_numpy())[None]
            if name in self.group
            else none
            for name in names
        )

    def _means(self, rows: tuple[np.ndarray, ...], cells: slice | np.ndarray) -> np.ndarray:
        users, items = self.ratings.users[cells], self.ratings.items[cells]
        out = np.empty((len(users), 1))
        mixtures.latent_means(*rows, users, items, self.center, out)
        return out[:, 0]

    def _zeros(self, edges: Edges) -> Sums:
        return Sums.zeros(self.ratings.n_users, self.ratings.n_items, len(edges.rating) + 1)

    def _sums(self, y: np.ndarray, cells: slice, edges: Edges) -> Sums:
        # Sums by user cover the users of these cells alone, who stand together.
        users, items = self.ratings.users[cells], self.ratings.items[cells]
        own = users - users[0]
        d = y - self.ratings.mean
        squares = d * d
        return Sums(
            np.stack([np.bincount(own, d), np.bincount(own, squares)]),
            np.bincount(items, d, self.ratings.n_items),
            np.einsum("n,n->", squares, d)[None],  # not BLAS: its bits depend on its threads
            np.bincount(np.searchsorted(edges.rating, y), minlength=len(edges.rating) + 1),
        )

    def _add(self, total: Sums, part: Sums, cells: slice) -> None:
        first = self.ratings.users[cells.start]
        total.user[:, first : first + part.user.shape[1]] += part.user
        for name in ("item", "cubes", "bins"):
            getattr(total, name)[:] += getattr(part, name)

    def _features(self, sums: Sums) -> Features:
        n, center = len(self.ratings), self.ratings.mean
        of_users, of_items = self._counts
        first, second = sums.user.sum(axis=1) / n
        variance = second - first**2
        third = sums.cubes[0] / n - 3 * first * second + 2 * first**3
        user_mean, item_mean = sums.user[0] / of_users, sums.item / of_items
        some = of_users >= FEWEST
        within = (sums.user[1] - of_users * user_mean**2)[some] / (of_users[some] - 1)
        user_sd = np.sqrt(np.maximum(within, 0.0))
        return Features(
            mean=center + first,
            sd=float(np.sqrt(variance)),
            skew=float(third / variance**1.5),
            shares=sums.bins / n,
            user_mean=center + np.quantile(user_mean, DECILES),
            user_sd=_deciles(user_sd),
            item_mean=center + np.quantile(item_mean, DECILES),
            sd_user_mean=float(user_mean.std()),
            sd_user_sd=float(user_sd.std()) if len(user_sd) > 1 else float("nan"),
            sd_item_mean=float(item_mean.std()),
        )


def _equal_shares(values: np.ndarray, n_bins: int) -> np.ndarray:
    edges = np.unique(np.quantile(values, np.arange(1, n_bins) / n_bins))
    # Above the largest value would be a bin for nothing.
    return edges[edges < values.max()]


def _deciles(values: np.ndarray) -> np.ndarray:
    return np.quantile(values, DECILES) if len(values) else np.full(len(DECILES), np.nan)


def _residuals(means: np.ndarray, y: np.ndarray, noise: np.ndarray, edges: Edges) -> Residuals:
    n_bins = len(edges.predicted) + 1
    bins = np.searchsorted(edges.predicted, means)

    def both(first: np.ndarray | None, second: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(bins, first, n_bins), np.bincount(bins, second, n_bins)])

    observed = y - means
    return Residuals(both(None, means), both(observed, observed**2), both(noise, noise**2))
