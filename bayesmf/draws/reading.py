"""The kept factor draws of all chains in one row, in memory or read from a store block by block.

What is small (noise, means and precisions of rows) is always in memory. Rows are where they fit;
where they do not, they are read for the cells that are asked for, some draws at a time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayesmf.draws.root import read_metadata
from bayesmf.indexing import evenly

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

IN_MEMORY = 512_000_000
"""Bytes of stored factor draws that are read at once and kept; more are read as they are needed."""

ORIGIN = "bayesmf_store"
"""Where an array's encoding says which store it is read from."""

DRAWS_PER_READ = 64
"""Draws read at a time where the store does not say how many lie together."""

ROWS = ("user_factors", "item_factors", "user_bias", "item_bias")


class Block(NamedTuple):
    """Some draws of some rows.

    Attributes
    ----------
    draws : slice
        Which of all draws.
    user_factors, item_factors : ndarray of float32, shapes (n_draws, n_rows, K)
    user_bias, item_bias : ndarray of float32, shapes (n_draws, n_rows), or (n_draws, 0)
    users, items : ndarray
        Where in these arrays the rows stand that were asked for.
    """

    draws: slice
    user_factors: np.ndarray
    item_factors: np.ndarray
    user_bias: np.ndarray
    item_bias: np.ndarray
    users: np.ndarray
    items: np.ndarray


class Segment(NamedTuple):
    """Consecutive draws of one chain, and where they stand in the row of all."""

    chain: int
    draws: slice
    at: slice


class KeptDraws:
    """The kept factor draws of all chains, in one row of draws.

    Parameters
    ----------
    tree : xarray.DataTree
        Draws in the schema of `bayesmf.draws`.
    limit : int, optional
        Use at most so many draws, evenly spaced; of a store, so many that lie in evenly spaced
        chunks, since a chunk is read as a whole.
    only : int, optional
        Use this draw alone, counted through all chains; it is read when its rows are asked for.

    Attributes
    ----------
    n_draws, n_factors : int
    has_bias : bool
    center : float
    noise_sd : ndarray, shape (n_draws,)
    in_memory : bool
        Whether all rows are in memory, and `blocks` gives one block.

    Raises
    ------
    ValueError
        If no factors were kept.
    """

    def __init__(
        self, tree: xr.DataTree, limit: int | None = None, *, only: int | None = None
    ) -> None:
        group = self._group = kept_factors(tree)
        self._chains, self._kept = group.sizes["chain"], group.sizes["draw"]
        self.center = float(tree["constant_data"]["center"])
        self.has_bias = "user_bias" in group
        self.n_factors = group.sizes["factor"]
        lies_in = draws_together(group)
        self.in_memory = only is None and (lies_in is None or fits_in_memory(group))
        if limit is not None and limit >= self._chains * self._kept:
            limit = None
        if self.in_memory:
            self._picked = (
                slice(None) if limit is None else evenly(self._chains * self._kept, limit)
            )
            self._arrays = [self._flat(name) for name in ROWS]
            self.n_draws = len(self._arrays[0])
        else:
            if only is None:
                self._segments = self._cut(min(lies_in or 1, DRAWS_PER_READ), limit)
            else:
                chain, draw = divmod(only, self._kept)
                self._segments = [Segment(chain, slice(draw, draw + 1), slice(0, 1))]
            self._picked = np.concatenate(
                [
                    s.chain * self._kept + np.arange(s.draws.start, s.draws.stop)
                    for s in self._segments
                ]
            )
            self.n_draws = len(self._picked)
        self.noise_sd = 1 / np.sqrt(self._flat("alpha"))

    def _flat(self, name: str) -> np.ndarray:
        if name not in self._group:  # a model without biases
            return np.empty((self._chains * self._kept, 0), dtype=np.float32)[self._picked]
        values = self._group[name].to_numpy()
        flat = values.reshape(self._chains * self._kept, *values.shape[2:])[self._picked]
        return np.ascontiguousarray(flat)

    def _cut(self, together: int, limit: int | None) -> list[Segment]:
        found, at = [], 0
        of_chain = np.full(self._chains, self._kept)
        if limit is not None:
            of_chain = np.diff(np.arange(self._chains + 1) * limit // self._chains)
        for chain, n_draws in enumerate(of_chain.tolist()):
            for run in runs_of(self._kept, n_draws, together):
                n = run.stop - run.start
                found.append(Segment(chain, run, slice(at, at + n)))
                at += n
        return found

    def _check_origin(self) -> None:
        for name in ("user_factors", "item_factors"):
            origin = self._group[name].encoding.get(ORIGIN)
            if origin is not None and current_id(Path(origin[0])) != origin[1]:
                raise ValueError(
                    f"The store {origin[0]}, from which this posterior reads its draws, was "
                    "replaced or removed since it was opened: load it again."
                )

    def number_of(self, index: int) -> int:
        """Which of all kept draws, counted through the chains, is the one at an index of these."""
        return int(np.arange(self._chains * self._kept)[self._picked][index])

    def hyper(self, side: str) -> tuple[np.ndarray, np.ndarray]:
        """Means (n_draws, D) and precisions (n_draws, D, D) of the rows of a side."""
        return self._flat(f"mu_{side}"), self._flat(f"precision_{side}")

    def center_of(self, side: str) -> np.ndarray:
        """Mean factors (n_draws, K) of all rows of a side that were fitted."""
        return self._flat(f"{side}_center")

    def blocks(self, users: np.ndarray, items: np.ndarray) -> Iterator[Block]:
        """All draws of the rows of these users and items (codes, in any order, also repeated).

        In memory that is one block of whole arrays, without a copy.
        """
        if self.in_memory:
            u, v, b, c = self._arrays
            yield Block(slice(0, self.n_draws), u, v, b, c, users, items)
            return
        self._check_origin()
        (own, user_at), (partners, item_at) = (
            np.unique(codes, return_inverse=True) for codes in (users, items)
        )
        for segment in self._segments:
            rows = self._group.isel(chain=segment.chain, draw=segment.draws)
            user_rows, item_rows = rows.isel(user=_run(own)), rows.isel(item=_run(partners))
            none = np.empty((segment.draws.stop - segment.draws.start, 0), dtype=np.float32)
            u, v, b, c = (
                np.ascontiguousarray(own_rows[name].to_numpy()) if name in own_rows else none
                for own_rows, name in zip((user_rows, item_rows) * 2, ROWS, strict=True)
            )
            yield Block(segment.at, u, v, b, c, user_at, item_at)


def current_id(store: Path) -> str | None:
    """Which store is at a path now; None if there is none."""
    try:
        return str(read_metadata(store)["attributes"]["store_id"])
    except (OSError, ValueError, KeyError):
        return None


def kept_factors(tree: xr.DataTree) -> xr.Dataset:
    """Draws of factors and all that prediction needs, or why there are none."""
    if "factors" not in tree:
        raise ValueError(
            "This posterior keeps no draws of factors (keep=0): it knows the cells that it has "
            "tracked, and no others."
        )
    if tree["factors"].sizes["draw"] == 0:
        raise ValueError("This posterior has no draws yet: its run was still tuning.")
    return tree["factors"].to_dataset()


def draws_together(group: xr.Dataset) -> int | None:
    """How many draws lie together in the store that a side's factors are in; None in memory."""
    # Of rows that were folded in one side is in memory, and the other where it was.
    found = (
        group[name].encoding.get("preferred_chunks", {}).get("draw")
        for name in ("user_factors", "item_factors")
    )
    return next((int(one) for one in found if one is not None), None)


def spread(group: xr.Dataset, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Chains, and the same draws of each, that come to at most `limit`: evenly spaced.

    Of a store that does not fit into memory these are runs of draws that lie together, since they
    are read together; the runs are evenly spaced.
    """
    n_chains, kept = group.sizes["chain"], group.sizes["draw"]
    of_chain = min(kept, max(1, limit // n_chains))
    chains = evenly(n_chains, limit)
    together = draws_together(group) or 1
    if together == 1 or fits_in_memory(group):
        return chains, evenly(kept, of_chain)
    return chains, np.concatenate([np.r_[run] for run in runs_of(kept, of_chain, together)])


def runs_of(kept: int, n: int, together: int) -> list[slice]:
    """Cut `n` of a chain's draws into runs that lie together, evenly spaced among its chunks."""
    if n >= kept:
        return [slice(a, min(a + together, kept)) for a in range(0, kept, together)]
    if n == 0:
        return []
    n_all, n_runs = -(-kept // together), -(-n // together)
    sizes = np.diff(np.arange(n_runs + 1) * n // n_runs).tolist()
    starts = np.floor((np.arange(n_runs) + 0.5) * n_all / n_runs).astype(int) * together
    runs: list[slice] = []
    stop = kept
    # From the last one on: where the last chunk holds few draws, its run begins in the one before.
    for start, size in zip(reversed(starts.tolist()), reversed(sizes), strict=True):
        first = min(start, stop - size)
        runs.append(slice(first, first + size))
        stop = first
    return runs[::-1]


def fits_in_memory(group: xr.Dataset) -> bool:
    """Whether the rows of both sides are read at once and kept."""
    return int(group.nbytes) <= IN_MEMORY


def _run(codes: np.ndarray) -> slice | np.ndarray:
    # A store reads a run of rows faster than rows one by one.
    if len(codes) and codes[-1] - codes[0] + 1 == len(codes):
        return slice(int(codes[0]), int(codes[-1]) + 1)
    return codes
