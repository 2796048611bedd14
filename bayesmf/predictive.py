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

from bayesmf.draws.reading import KeptDraws
from bayesmf.indexing import chunks
from bayesmf.kernels import mixtures
from bayesmf.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from bayesmf.draws.reading import Block

CHUNK_BYTES = 16_000_000
"""Bytes of component means that one thread works on at a time."""
PASS_BYTES = 128_000_000
"""Bytes of component means that one pass through a store fills."""


class Mixture(NamedTuple):
    """Equal-weight Gaussian components: means (n_cells, n_draws), sds the same or (1, n_draws).

    A cell whose sds are all zero is a sample of points: it has a mean, an sd and quantiles, but no
    density; `cdf`, `log_density` and `crps` ask for positive sds.
    """

    means: np.ndarray
    sds: np.ndarray

    def some(self, cells: slice) -> Mixture:
        """Mixtures of some of the cells."""
        return Mixture(self.means[cells], self.sds if len(self.sds) == 1 else self.sds[cells])

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


class FactorDraws(KeptDraws):
    """The kept factor draws of all chains as mixtures, one component a draw.

    Parameters
    ----------
    tree : xarray.DataTree
        Draws in the schema of `bayesmf.draws`.
    seed : int
        For the rows of cells whose user and item are both unknown.
    limit : int, optional
        Use at most so many draws.
    """

    def __init__(self, tree: xr.DataTree, seed: int, limit: int | None = None) -> None:
        super().__init__(tree, limit)
        self._seed = seed

    @cached_property
    def _hyper(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        # Means (n_draws, D) and covariances (n_draws, D, D).
        both = {side: self.hyper(side) for side in ("user", "item")}
        return {side: (mean, np.linalg.inv(precision)) for side, (mean, precision) in both.items()}

    @cached_property
    def _unknown_users(self) -> np.ndarray:
        # One new user's row (n_draws, D) from the prior of each draw.
        mean, covariance = self._hyper["user"]
        z = generator(self._seed, "unknown rows").standard_normal(mean.shape)
        rows: np.ndarray = mean + np.einsum("sab,sb->sa", np.linalg.cholesky(covariance), z)
        return rows

    def mixture(self, users: np.ndarray, items: np.ndarray, *, noise: bool) -> Mixture:
        """Mixture of cells given by codes, -1 for unknown; `noise` adds that of a rating."""
        means = np.empty((len(users), self.n_draws))
        noise_sd = self.noise_sd if noise else np.zeros(self.n_draws)
        known = (users >= 0) & (items >= 0)
        if known.all():
            for block in self.blocks(users, items):
                self._latent_means(block, means)
            return Mixture(means, noise_sd[None, :])
        inner = np.empty((int(known.sum()), self.n_draws))
        for block in self.blocks(users[known], items[known]):
            self._latent_means(block, inner)
        means[known] = inner
        variances = np.zeros_like(means)
        for side, own, partners in (("user", users, items), ("item", items, users)):
            new = (own < 0) & (partners >= 0)
            if new.any():
                means[new], variances[new] = self._unknown_rows(side, partners[new])
        neither = (users < 0) & (items < 0)
        if neither.any():
            # Of two unknown rows the user's is drawn and the item's integrated.
            means[neither], variances[neither] = (
                found[0] for found in self._integrated("item", self._unknown_users[:, None])
            )
        return Mixture(means, np.sqrt(variances + noise_sd**2))

    def _latent_means(self, block: Block, out: np.ndarray) -> None:
        # The kernel is compiled for an array that lies in one piece.
        part = np.ascontiguousarray(out[:, block.draws])
        mixtures.latent_means(
            block.user_factors, block.item_factors, block.user_bias, block.item_bias,
            block.users, block.items, self.center, part,
        )  # fmt: skip
        if part is not out:
            out[:, block.draws] = part

    def _unknown_rows(self, side: str, partners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # Means and variances (n, n_draws) of cells with an unknown row of `side`, by partner.
        codes, places = np.unique(partners, return_inverse=True)
        means, variances = (np.empty((len(codes), self.n_draws)) for _ in range(2))
        other, nobody = ("item", "user")[side == "item"], codes[:0]
        asked = (nobody, codes) if side == "user" else (codes, nobody)
        for block in self.blocks(*asked):
            at = block.items if side == "user" else block.users
            factors, bias = getattr(block, f"{other}_factors"), getattr(block, f"{other}_bias")
            d = self.n_factors + self.has_bias
            for part in chunks(len(factors), max(1, CHUNK_BYTES // (8 * d * len(at)))):
                rows = np.empty((len(factors[part]), len(at), d))
                rows[:, :, : self.n_factors] = factors[part][:, at]
                if self.has_bias:
                    rows[:, :, -1] = bias[part][:, at]
                draws = slice(block.draws.start + part.start, block.draws.start + part.stop)
                means[:, draws], variances[:, draws] = self._integrated(side, rows, draws)
        return means[places], variances[places]

    def _integrated(
        self, side: str, partners: np.ndarray, draws: slice = slice(None)
    ) -> tuple[np.ndarray, np.ndarray]:
        # Mean and variance (n, n_draws) of x . theta + offset, theta ~ N(mu, Lambda^-1) unknown,
        # given partner rows (n_draws, n, D).
        mean, covariance = (part[draws] for part in self._hyper[side])
        x, offset = partners, np.zeros(partners.shape[:2])
        if self.has_bias:
            x, offset = partners.copy(), partners[:, :, -1]
            x[:, :, -1] = 1.0
        means = self.center + offset + np.einsum("sna,sa->sn", x, mean)
        return means.T, np.einsum("sna,sna->ns", x @ covariance, x)

    @property
    def cells_at_once(self) -> int:
        """Cells in a chunk; of a store as many as one pass through it serves."""
        size = CHUNK_BYTES if self.in_memory else PASS_BYTES
        return max(1, size // (8 * self.n_draws))

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
            if self.in_memory:
                return list(pool.map(one, range(0, len(users), size)))
            # One pass through the store at a time; threads share its cells.
            found: list[R] = []
            for start in range(0, len(users), size):
                cells = slice(start, min(start + size, len(users)))
                whole = self.mixture(users[cells], items[cells], noise=noise)
                parts = list(chunks(len(whole.means), max(1, CHUNK_BYTES // (8 * self.n_draws))))
                moved = [slice(start + part.start, start + part.stop) for part in parts]
                found += pool.map(function, moved, [whole.some(part) for part in parts])
            return found


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
