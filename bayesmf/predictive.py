"""The distribution of any cell: a mixture over draws, known rows or not.

In each draw a cell's mean is one number when both rows are known. A row that was never seen is
drawn from its side's Normal(mu, Lambda^-1) of the same draw; with the other row known the cell is
then exactly Gaussian, and only where both are unknown is one of them drawn at random.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import ndtri

from bayesmf.kernels import mixtures
from bayesmf.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

CHUNK_BYTES = 16_000_000
"""Bytes of component means that one thread works on at a time."""


class Mixture(NamedTuple):
    """Equal-weight Gaussian components: means (n_cells, n_draws), sds the same or (1, n_draws).

    A cell whose sds are all zero is a sample of points: it has a mean, an sd and quantiles, but no
    density; `cdf`, `log_density` and `crps` ask for positive sds.
    """

    means: np.ndarray
    sds: np.ndarray

    def mean(self) -> np.ndarray:
        """Expected value (n_cells,)."""
        return self.moments()[0]

    def sd(self) -> np.ndarray:
        """Standard deviation (n_cells,): between components and within them."""
        return self.moments()[1]

    def moments(self) -> np.ndarray:
        """Expected values and standard deviations (2, n_cells)."""
        out = np.empty((len(self.means), 2))
        mixtures.mixture_moments(self.means, self.sds, out)
        return out.T

    def quantiles(self, probs: np.ndarray) -> np.ndarray:
        """Quantiles (n_cells, n_probs) of the mixture itself, whatever its shape."""
        points = np.broadcast_to(~self.sds.any(axis=1), len(self.means))
        out = np.empty((len(self.means), len(probs)))
        if points.all():
            mixtures.sample_quantiles(self.means, probs, ndtri(probs), out)
        elif points.any():
            for some in (points, ~points):
                out[some] = Mixture(self.means[some], self.sds[some]).quantiles(probs)
        else:
            mixtures.mixture_quantiles(self.means, self.sds, probs, ndtri(probs), out)
        return out

    def cdf(self, values: np.ndarray) -> np.ndarray:
        """Distribution function at one value a cell."""
        out = np.empty(len(self.means))
        mixtures.mixture_cdf(self.means, self.sds, values, out)
        return out

    def log_density(self, values: np.ndarray) -> np.ndarray:
        """Log density at one value a cell."""
        out = np.empty(len(self.means))
        mixtures.mixture_log_density(self.means, self.sds, values, out)
        return out

    def crps(self, values: np.ndarray) -> np.ndarray:
        """Continuous ranked probability score at one value a cell, in closed form."""
        out = np.empty(len(self.means))
        mixtures.mixture_crps(self.means, self.sds, values, out)
        return out


class FactorDraws:
    """The kept factor draws of all chains, in one row of draws.

    Parameters
    ----------
    tree : xarray.DataTree
        Draws in the schema of `bayesmf.draws`.
    seed : int
        For the rows of cells whose user and item are both unknown.
    limit : int, optional
        Use at most so many draws, evenly spaced.

    Attributes
    ----------
    user_factors, item_factors : ndarray of float32, shapes (n_draws, n_rows, K)
    user_bias, item_bias : ndarray of float32, shapes (n_draws, n_rows), or (n_draws, 0)
    noise_sd : ndarray, shape (n_draws,)
    center : float
    """

    def __init__(self, tree: xr.DataTree, seed: int, limit: int | None = None) -> None:
        group = tree["factors"]
        total = group.sizes["chain"] * group.sizes["draw"]
        picked: slice | np.ndarray = slice(None)
        if limit is not None and limit < total:
            picked = np.linspace(0, total - 1, limit).round().astype(int)

        def flat(name: str) -> np.ndarray:
            values = group[name].to_numpy()
            return np.ascontiguousarray(values.reshape(total, *values.shape[2:])[picked])

        self.user_factors, self.item_factors = flat("user_factors"), flat("item_factors")
        self.n_draws = len(self.user_factors)
        self.has_bias = "user_bias" in group
        none = np.empty((self.n_draws, 0), dtype=np.float32)
        self.user_bias = flat("user_bias") if self.has_bias else none
        self.item_bias = flat("item_bias") if self.has_bias else none
        self.noise_sd = 1 / np.sqrt(flat("alpha"))
        self.center = float(tree["constant_data"]["center"])
        self._hyper = {
            side: (
                flat(f"mu_{side}"),
                flat(f"precision_{side}"),
            )
            for side in ("user", "item")
        }
        self._seed = seed

    @cached_property
    def _covariances(self) -> dict[str, np.ndarray]:
        return {side: np.linalg.inv(precision) for side, (_, precision) in self._hyper.items()}

    @cached_property
    def _unknown_users(self) -> np.ndarray:
        # One new user's row (n_draws, D) from the prior of each draw.
        mean, _ = self._hyper["user"]
        roots = np.linalg.cholesky(self._covariances["user"])
        z = generator(self._seed, "unknown rows").standard_normal(mean.shape)
        rows: np.ndarray = mean + np.einsum("sab,sb->sa", roots, z)
        return rows

    def mixture(self, users: np.ndarray, items: np.ndarray, *, noise: bool) -> Mixture:
        """Mixture of cells given by codes, -1 for unknown; `noise` adds that of a rating."""
        known = (users >= 0) & (items >= 0)
        means = np.empty((len(users), self.n_draws))
        noise_sd = self.noise_sd if noise else np.zeros(self.n_draws)
        if known.all():
            self._latent_means(users, items, means)
            return Mixture(means, noise_sd[None, :])
        inner = np.empty((int(known.sum()), self.n_draws))
        self._latent_means(users[known], items[known], inner)
        means[known] = inner
        variances = np.zeros_like(means)
        for p in np.flatnonzero(~known):
            means[p], variances[p] = self._unknown_cell(int(users[p]), int(items[p]))
        return Mixture(means, np.sqrt(variances + noise_sd**2))

    def _latent_means(self, users: np.ndarray, items: np.ndarray, out: np.ndarray) -> None:
        mixtures.latent_means(
            self.user_factors, self.item_factors, self.user_bias, self.item_bias,
            users, items, self.center, out,
        )  # fmt: skip

    def _unknown_cell(self, user: int, item: int) -> tuple[np.ndarray, np.ndarray]:
        # Mean and variance (n_draws,) of x . theta + offset, theta ~ N(mu, Lambda^-1) unknown.
        if user < 0 and item < 0:
            side, partner = "item", self._unknown_users
        elif user < 0:
            side, partner = "user", self._row("item", item)
        else:
            side, partner = "item", self._row("user", user)
        mean, _ = self._hyper[side]
        x, offset = partner, np.zeros(self.n_draws)
        if self.has_bias:
            x, offset = partner.copy(), partner[:, -1]
            x[:, -1] = 1.0
        return (
            self.center + offset + np.einsum("sa,sa->s", x, mean),
            np.einsum("sa,sab,sb->s", x, self._covariances[side], x),
        )

    def _row(self, side: str, code: int) -> np.ndarray:
        factors = getattr(self, f"{side}_factors")[:, code].astype(np.float64)
        if not self.has_bias:
            return factors
        return np.column_stack([factors, getattr(self, f"{side}_bias")[:, code]])

    @property
    def cells_at_once(self) -> int:
        """Cells in a chunk."""
        return max(1, CHUNK_BYTES // (8 * self.n_draws))

    def over_chunks[R](
        self,
        users: np.ndarray,
        items: np.ndarray,
        function: Callable[[slice, Mixture], R],
        *,
        noise: bool,
        cores: int,
    ) -> list[R]:
        """Call `function(cells, mixture)` over chunks of cells in threads, results in order."""
        size = self.cells_at_once

        def one(start: int) -> R:
            cells = slice(start, min(start + size, len(users)))
            return function(cells, self.mixture(users[cells], items[cells], noise=noise))

        with ThreadPoolExecutor(cores) as pool:
            return list(pool.map(one, range(0, len(users), size)))


class Prediction(NamedTuple):
    """Mean, sd, lower and upper end of an interval, each (n_cells,); no ends without one."""

    mean: np.ndarray
    sd: np.ndarray
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None


def predict(
    draws: FactorDraws,
    users: np.ndarray,
    items: np.ndarray,
    *,
    prob: float | None,
    noise: bool,
    cores: int,
) -> Prediction:
    """Summaries of cells given by codes; the interval is central, from the mixture's quantiles."""
    tails = None if prob is None else np.array([(1 - prob) / 2, (1 + prob) / 2])

    def summarise(_: slice, mixture: Mixture) -> np.ndarray:
        moments = mixture.moments()
        return moments if tails is None else np.vstack([moments, mixture.quantiles(tails).T])

    first, places = _distinct(users, items, draws.cells_at_once)
    parts = draws.over_chunks(users[first], items[first], summarise, noise=noise, cores=cores)
    if not parts:
        parts = [np.empty((2 if tails is None else 4, 0))]
    return Prediction(*np.hstack(parts)[:, places])


def _distinct(users: np.ndarray, items: np.ndarray, at_once: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each distinct cell comes first, and which of these each cell is.

    The order is one in which neighbours share rows, so that these stay in the cache: blocks of
    users, by item within, such that `at_once` cells have about as many users as items. All unknown
    rows are one row. Cells that have one stand together, since a chunk with any is slower.
    """
    rows, columns = (codes.astype(np.int64) + 1 for codes in (users, items))
    n_rows, n_columns = (int(codes.max(initial=0)) + 1 for codes in (rows, columns))
    size = 1 + math.isqrt(at_once * n_rows * n_columns // max(1, len(rows)))
    block, row = np.divmod(rows, size)
    known = (rows > 0) & (columns > 0)
    n_blocks = n_rows // size + 1
    key = ((known * n_blocks + block) * n_columns + columns) * size + row
    _, first, places = np.unique(key, return_index=True, return_inverse=True)
    return first, places
