"""What lists are sorted by: scores of whole rows of the rating matrix, by each strategy.

A cell's expected rating in a draw is a product of two laid rows, (u, b, 1) and (v, 1, c). Users are
taken some at a time, with a sum over draws for each of their cells; draws come in blocks, also from
a store, and tiles of cells go through one matrix product a draw.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from bayesmf.indexing import chunks
from bayesmf.kernels import scoring as kernels
from bayesmf.seeds import generator

if TYPE_CHECKING:
    from bayesmf.draws.reading import KeptDraws
    from bayesmf.predictive import FactorDraws, Mixture
    from bayesmf.sources import Source
    from bayesmf.strategies import Strategy

PASS_BYTES = 64_000_000
"""Bytes of sums over draws that one pass through the draws fills."""
FAR_PASS_BYTES = 256_000_000
"""The same where draws lie in a store, which each pass reads again."""
LAID_BYTES = 16_000_000
"""Bytes of items' draws laid side by side."""
USERS_AT_ONCE = 256
"""Users of one matrix product over draws laid side by side, where there is room for it."""
TILE = (64, 512, 4)
"""Users, items and draws of a tile: its products, 512 KB of float32, stay in the cache until they
are added up."""


def users_at_once(source: Source, strategy: Strategy, n_items: int) -> int:
    """Users whose sums one pass has room for."""
    sums = 16 if strategy.name == "ucb" else 8
    room = PASS_BYTES if source.in_memory else FAR_PASS_BYTES
    return max(1, room // (sums * max(n_items, 1)))


def scores(
    source: Source, users: np.ndarray, items: np.ndarray, strategy: Strategy, *, cores: int
) -> np.ndarray:
    """Scores (n_users, n_items) of known rows, given by codes, in one pass through the draws."""
    if not len(users) or not len(items):
        return np.empty((len(users), len(items)))
    taste = strategy.name == "affinity"
    with_bias = source.has_bias and not taste
    centers = [source.center_of(side) for side in ("user", "item")] if taste else []
    sums = _SUMS.get(strategy.name, _Means)(source, strategy, len(users), len(items))
    width = source.n_factors + 2 * with_bias
    at_once = max(1, LAID_BYTES // (8 * len(items) * width))
    # Slices of users do not depend on the threads, nor do products in them: the same bits always.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(cores) as pool:
        for block in source.blocks(users, items):
            for part in chunks(len(block.user_factors), at_once):
                draws = slice(block.draws.start + part.start, block.draws.start + part.stop)
                shifts: list[Any] = [center[draws] for center in centers] or [None] * 2
                own, partners = (
                    _Laid(factors[part], bias[part] if with_bias else None, place, shift)
                    for factors, bias, place, shift in (
                        (block.user_factors, block.user_bias, 0, shifts[0]),
                        (block.item_factors, block.item_bias, 1, shifts[1]),
                    )
                )
                right = partners.rows(block.items)

                def add(
                    rows: slice,
                    own: _Laid = own,
                    at: np.ndarray = block.users,
                    right: np.ndarray = right,
                    draws: slice = draws,
                ) -> None:
                    sums.add(rows, own.rows(at[rows]), right, draws)

                list(pool.map(add, chunks(len(users), sums.users_at_once)))
    return sums.scores(0.0 if taste else source.center)


class _Laid(NamedTuple):
    """One side's factors and biases in some draws, to be laid out as rows of a product."""

    factors: np.ndarray
    bias: np.ndarray | None
    place: int
    shift: np.ndarray | None

    def rows(self, at: np.ndarray) -> np.ndarray:
        """Rows (n, n_draws, K + 2): the factors, then the bias and a one, or the other way round.

        Without biases (n, n_draws, K), less the shift (n_draws, K) where there is one.
        """
        n_draws, _, k = self.factors.shape
        width = k if self.bias is None else k + 2
        laid = np.empty((len(at), n_draws, width), dtype=self.factors.dtype)
        laid[:, :, :k] = self.factors[:, at].transpose(1, 0, 2)
        if self.shift is not None:
            laid -= self.shift
        if self.bias is not None:
            laid[:, :, k + self.place] = self.bias[:, at].T
            laid[:, :, k + 1 - self.place] = 1.0
        return laid


class _Means:
    """Means over draws."""

    @property
    def users_at_once(self) -> int:
        """Users that one call of `add` takes."""
        return min(USERS_AT_ONCE, max(1, LAID_BYTES // (8 * self.total.shape[1])))

    def __init__(self, source: Source, strategy: Strategy, n_users: int, n_items: int) -> None:
        self.n_draws, self.strategy = source.n_draws, strategy
        self.center, self.noise_sd = source.center, source.noise_sd
        self.total = np.zeros((n_users, n_items))

    def add(self, users: slice, left: np.ndarray, right: np.ndarray, draws: slice) -> None:
        """Add some draws of some users."""
        del draws
        # E[x . y] over draws as one product of the draws laid side by side.
        self.total[users] += left.reshape(len(left), -1) @ right.reshape(len(right), -1).T

    def scores(self, center: float) -> np.ndarray:
        """Turn the sums into scores, in place."""
        self.total /= self.n_draws
        self.total += center
        return self.total


class _Tiled(_Means, ABC):
    """What takes more of each draw than its sum."""

    @property
    def users_at_once(self) -> int:
        """Users of a tile."""
        return TILE[0]

    def add(self, users: slice, left: np.ndarray, right: np.ndarray, draws: slice) -> None:
        """Add some draws of some users, tile by tile."""
        _, items_at_once, draws_at_once = TILE
        flat = np.empty(draws_at_once * len(left) * items_at_once, dtype=left.dtype)
        for few in chunks(left.shape[1], draws_at_once):
            own = left[:, few].transpose(1, 0, 2)
            for some in chunks(len(right), items_at_once):
                partners = right[some, few].transpose(1, 2, 0)
                shape = (len(own), len(left), partners.shape[2])
                products = flat[: math.prod(shape)].reshape(shape)
                np.matmul(own, partners, out=products)
                self.add_tile(
                    products,
                    slice(draws.start + few.start, draws.start + few.stop),
                    users.start,
                    some.start,
                )

    @abstractmethod
    def add_tile(self, products: np.ndarray, draws: slice, row: int, column: int) -> None:
        """Add products (n_draws, n_rows, n_columns) from a cell on."""


class _Moments(_Tiled):
    """Means, and standard deviations over draws."""

    def __init__(self, source: Source, strategy: Strategy, n_users: int, n_items: int) -> None:
        super().__init__(source, strategy, n_users, n_items)
        self.squares = np.zeros_like(self.total)

    def add_tile(self, products: np.ndarray, draws: slice, row: int, column: int) -> None:
        """Add products and their squares."""
        del draws
        kernels.add_moments(products, row, column, self.total, self.squares)

    def scores(self, center: float) -> np.ndarray:
        """Mean and some standard deviations."""
        self.total /= self.n_draws
        self.squares /= self.n_draws
        self.squares -= self.total**2
        np.sqrt(np.maximum(self.squares, 0.0, out=self.squares), out=self.squares)
        self.squares *= self.strategy.width
        self.total += self.squares
        self.total += center
        return self.total


class _Tails(_Tiled):
    """Probabilities of a rating, noise included, of at least the threshold."""

    def add_tile(self, products: np.ndarray, draws: slice, row: int, column: int) -> None:
        """Add probabilities."""
        above = self.strategy.threshold - self.center
        kernels.add_tails(products, above, 1 / self.noise_sd[draws], row, column, self.total)

    def scores(self, center: float) -> np.ndarray:
        """Means over draws."""
        del center
        self.total /= self.n_draws
        return self.total


_SUMS: dict[str, type[_Means]] = {"ucb": _Moments, "probability": _Tails}


def scores_of_unknown(
    draws: FactorDraws, items: np.ndarray, strategy: Strategy, *, cores: int
) -> np.ndarray:
    """Scores (n_items,) for a user who was never seen, the row integrated over its prior.

    For "mean", "ucb" and "probability"; exact, from each item's mixture over draws.
    """
    nobody = np.full(len(items), -1)

    def score(_: slice, mixture: Mixture) -> np.ndarray:
        if strategy.name == "probability":
            return 1 - mixture.cdf(np.full(len(mixture.means), strategy.threshold))
        mean, sd = mixture.moments()
        return mean + strategy.width * sd if strategy.name == "ucb" else mean

    noise = strategy.name == "probability"
    parts = draws.over_chunks(nobody, items, score, noise=noise, cores=cores)
    return np.concatenate([*parts, np.empty(0)])


def drawn_for_unknown(
    source: KeptDraws, items: np.ndarray, ids: list[Any], strategy: Strategy
) -> np.ndarray:
    """Expected ratings (n_users, n_items) of users who were never seen, in the one draw there is.

    Each user's row is drawn from the prior of the draw, and is the same in any company.
    """
    (mean,), (precision,) = source.hyper("user")
    root = np.linalg.cholesky(precision)
    z = np.array([_normals(strategy.seed, str(one), len(mean)) for one in ids])
    rows = mean + np.linalg.solve(root.T, z.T).T
    (block,) = source.blocks(items[:0], items)
    k = source.n_factors
    found = source.center + rows[:, :k] @ block.item_factors[0, block.items].T.astype(np.float64)
    if source.has_bias:
        found += rows[:, k:] + block.item_bias[0, block.items]
    return found


def _normals(seed: int, name: str, n: int) -> np.ndarray:
    return generator(seed, f"unknown user {name}").standard_normal(n)
