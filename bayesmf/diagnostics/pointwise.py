"""Log densities of single ratings in every draw, with a row integrated out or with both given.

Given both rows a rating of a user with few others pulls its own row so far that leaving it out by
importance weights fails. Given everything but that row, the row is a Gaussian regression and is
integrated out exactly: a rating's density is then its predictive given the row's other ratings,
whose draws differ little from those without it. Merkle, Furr & Rabe-Hesketh (2019), Psychometrika
84(3), compare the two likelihoods; Vehtari, Mononen, Tolvanen, Sivula & Winther (2016), JMLR
17(103), integrate latent values out for leave-one-out in the same way. Of a rating's two rows that
with fewer ratings is integrated, the user's where they have equally many.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayesmf.diagnostics import measures
from bayesmf.indexing import evenly
from bayesmf.kernels import leave_out
from bayesmf.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bayesmf.diagnostics.identified import Judged
    from bayesmf.indexing import Side
    from bayesmf.ratings import Ratings

BLOCK_BYTES = 32_000_000
"""Bytes of log densities that are worked on at a time, where they are not all kept."""

ROWS_AT_ONCE = 16
"""Rows that a thread takes at a time."""

FEWEST_DRAWS = 25
"""Draws with five in the tail to which the Pareto distribution is fitted, a fifth of all: with
fewer ArviZ does not fit it."""

FOR_REFF = 200
"""Ratings, evenly spaced, whose effective sample sizes are averaged."""


class _Part(NamedTuple):
    # Some of the ratings, by the side whose row is integrated: places among its compressed rows,
    # the row of each, and where each stands among the ratings asked for.
    side: str
    entries: np.ndarray
    rows: np.ndarray
    places: np.ndarray


class PointwiseDensities:
    """Log densities of single ratings, block by block.

    Parameters
    ----------
    posterior : Posterior
    ratings : ndarray of int, shape (n,)
        Row numbers of the ratings in canonical order, increasing.
    draws : int
        Most draws to use, the same number of each chain and evenly spaced.
    integrated : bool
        Whether to integrate out a row.

    Attributes
    ----------
    kept : ndarray of int, shape (n_draws,)
        Which of the kept draws of each chain are used.
    draw : ndarray of int, shape (n_draws,)
        The numbers that these had among all draws.
    """

    def __init__(
        self, posterior: Judged, ratings: np.ndarray, *, draws: int, integrated: bool
    ) -> None:
        self._group = posterior.data["factors"]
        self._center = float(posterior.data["constant_data"]["center"])
        self._table, self._cores = posterior.ratings, posterior.cores
        self.ratings, self.integrated = ratings, integrated
        self.chains, kept = self._group.sizes["chain"], self._group.sizes["draw"]
        per_chain = -(-draws // self.chains)
        self.kept = evenly(kept, per_chain)
        self.draw = self._group["draw"].to_numpy()[self.kept]
        # Places of the draws where those of all chains stand in one row.
        self._flat = (np.arange(self.chains)[:, None] * kept + self.kept).ravel()

    @property
    def n_draws(self) -> int:
        """Number of draws of all chains together."""
        return len(self._flat)

    def blocks(self, most_bytes: int = BLOCK_BYTES) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Give places among the ratings (n,), and log densities (n_chains, n_draws, n) there."""
        size = max(1, most_bytes // (8 * self.n_draws))
        with ThreadPoolExecutor(self._cores) as pool:
            if not self.integrated:
                for start in range(0, len(self.ratings), size):
                    places = np.arange(start, min(start + size, len(self.ratings)))
                    yield places, self._conditional(pool, places)
                return
            for side in ("user", "item"):
                yield from self._of_side(pool, side, size)

    def whole(self) -> np.ndarray:
        """Log densities (n_chains, n_draws, n_ratings) of all the ratings, in their order."""
        out = np.empty((self.chains, len(self.draw), len(self.ratings)))
        for places, block in self.blocks():
            out[:, :, places] = block
        return out

    def _of_side(
        self, pool: ThreadPoolExecutor, side: str, size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        table, codes = self._table, self.ratings
        of_user = integrates_user(table, codes)
        if side == "user":
            places = np.flatnonzero(of_user)
            entries = ids = codes[places]
            rows, values = table.users[ids], table.values
        else:
            asked = np.zeros(len(table), dtype=bool)
            asked[codes[~of_user]] = True
            order = table.in_item_order(np.arange(len(table), dtype=np.int32))
            entries = np.flatnonzero(asked[order])
            ids = order[entries]
            places = np.searchsorted(codes, ids)
            rows, values = table.items[ids], table.in_item_order(table.values)
        for start in range(0, len(entries), size):
            some = slice(start, start + size)
            part = _Part(side, entries[some], rows[some], places[some])
            yield part.places, self._without_row(pool, part, values)

    def _without_row(self, pool: ThreadPoolExecutor, part: _Part, values: np.ndarray) -> np.ndarray:
        compressed: Side = getattr(self._table, f"by_{part.side}")
        partner = "item" if part.side == "user" else "user"
        rows, edges = np.unique(part.rows, return_index=True)
        edges = np.append(edges, len(part.entries))
        out = np.empty((self.n_draws, len(part.entries)))
        fixed = (
            rows, edges, part.entries, *compressed, values, self._flattened(f"{partner}_factors"),
            self._biases(partner), self._flattened(f"mu_{part.side}"),
            self._flattened(f"precision_{part.side}"), self._flattened("alpha"), self._center, out,
        )  # fmt: skip

        def some(first: int) -> None:
            leave_out.integrated(self._flat, first, min(first + ROWS_AT_ONCE, len(rows)), *fixed)

        # Each row is one thread's, from its first number to its last: the same bits with any.
        list(pool.map(some, range(0, len(rows), ROWS_AT_ONCE)))
        return self._shaped(out)

    def _conditional(self, pool: ThreadPoolExecutor, places: np.ndarray) -> np.ndarray:
        table, codes = self._table, self.ratings[places]
        out = np.empty((self.n_draws, len(codes)))
        fixed = (
            table.users[codes], table.items[codes], table.values[codes],
            self._flattened("user_factors"), self._flattened("item_factors"),
            self._biases("user"), self._biases("item"), self._flattened("alpha"), self._center,
        )  # fmt: skip

        def some(draws: range) -> None:
            part = slice(draws.start, draws.stop)
            leave_out.conditional(self._flat[part], *fixed, out[part])

        list(pool.map(some, (range(s, s + 1) for s in range(self.n_draws))))
        return self._shaped(out)

    def _shaped(self, out: np.ndarray) -> np.ndarray:
        if not np.isfinite(out).all():
            raise np.linalg.LinAlgError(
                "The precision of a row is lost to rounding: the prior or the noise is too extreme."
            )
        return out.reshape(self.chains, -1, out.shape[1])

    def _flattened(self, name: str) -> np.ndarray:
        # Of all chains in one row of draws; arrays that came from memory are not copied.
        values = self._group[name].to_numpy()
        return values.reshape(values.shape[0] * values.shape[1], *values.shape[2:])

    def _biases(self, side: str) -> np.ndarray:
        if "user_bias" in self._group:
            return self._flattened(f"{side}_bias")
        return np.empty((self._group.sizes["chain"] * self._group.sizes["draw"], 0), np.float32)


def integrates_user(table: Ratings, codes: np.ndarray) -> np.ndarray:
    """Whether of each rating (n,) the user's row is integrated, not the item's."""
    of_user, of_item = counts(table, codes)
    return of_user <= of_item


def counts(table: Ratings, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of ratings of each rating's user, and of its item, itself among them: two (n,)."""
    by_user, by_item = np.diff(table.by_user.indptr), np.diff(table.by_item.indptr)
    return by_user[table.users[codes]], by_item[table.items[codes]]


def sample_ratings(table: Ratings, n_ratings: int | None, seed: int) -> np.ndarray:
    """Row numbers of a simple random sample of ratings, increasing; of all for None."""
    if n_ratings is None or n_ratings >= len(table):
        return np.arange(len(table))
    rng = generator(seed, "leave one out")
    return np.sort(rng.choice(len(table), n_ratings, replace=False))


def relative_efficiency(values: np.ndarray) -> float:
    """Effective draws a draw of exp(log density), at most 1: the mean over some ratings.

    Parameters
    ----------
    values : ndarray, shape (n_chains, n_draws, n)
        Log densities of ratings; of more than `FOR_REFF` some are taken.

    Notes
    -----
    It sets how many draws count as the tail (Vehtari, Gelman & Gabry 2017, section 2.1). ArviZ's
    own default divides the effective sample size of all draws of the posterior by the number of
    draws of the densities, which is too large where these are fewer.
    """
    chains, draws, n = values.shape
    if draws < measures.FEWEST_DRAWS:
        return 1.0
    some = values[:, :, evenly(n, FOR_REFF)]
    found = measures.ess(np.exp(some - some.max(axis=(0, 1))), "mean")
    return min(1.0, float(found.mean()) / (chains * draws))
