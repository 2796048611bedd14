"""How many draws are kept, how many at a time: memory is planned before a run begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bayesmf.validation import Described, fail

if TYPE_CHECKING:
    from bayesmf.model import BPMF
    from bayesmf.ratings import Ratings

STORED_DRAWS = 1000
"""Factor draws of each chain that a store keeps unless told otherwise."""

DRAWS_TOGETHER = 64
"""Most factor draws of a chunk of a store: one user's predictions read little else."""

FEW, MANY = 256, 2048
"""Least and most draws of a chunk of what is identified."""


class Keeping(NamedTuple):
    """Which draws are kept, and how many wait in memory for the next write to a store.

    Attributes
    ----------
    thin : int
        Factors of every `thin`-th draw are kept; 0 keeps none.
    block : int
        Factor draws of each chain in memory: all that are kept, or those of a chunk of a store.
    every : int
        Draws of what is identified in memory, likewise.
    """

    thin: int
    block: int
    every: int

    def kept(self, draws: int) -> int:
        """Factor draws that are kept of so many draws."""
        return -(-draws // self.thin) if self.thin else 0


def bytes_per_draw(ratings: Ratings, model: BPMF) -> int:
    """Bytes of one factor draw with all that prediction needs."""
    d, k = model.n_coordinates, model.n_factors
    rows = ratings.n_users + ratings.n_items
    return 4 * rows * d + 8 * (2 * (d * (d + 1) + k) + 1)


def plan_keeping(
    ratings: Ratings,
    model: BPMF,
    *,
    chains: int,
    draws: int,
    keep: int | None,
    memory_budget: int,
    stored: bool,
    function: str,
) -> Keeping:
    """Thin factor draws to the memory budget, or, where they are stored, to what is to be kept.

    Raises
    ------
    ValueError
        If the budget does not hold one draw of each chain.
    """
    every = draws
    if keep == 0:
        return Keeping(0, 0, min(draws, FEW) if stored else draws)
    need = bytes_per_draw(ratings, model) * chains
    room = memory_budget // need
    if room < 1:
        must = f"at least {need / 1e6:.3g}MB, what one draw of each of {chains} chains takes"
        fail("memory_budget", function, must, Described(f"{memory_budget / 1e6:g}MB"))
    most = min(room if not stored else STORED_DRAWS, draws) if keep is None else keep
    if not stored:
        most = min(most, room)
    thin = -(-draws // most)
    block = -(-draws // thin)
    if stored:
        block = min(DRAWS_TOGETHER, room, block)
        every = min(draws, MANY, max(FEW, block * thin))
    return Keeping(thin, block, every)
