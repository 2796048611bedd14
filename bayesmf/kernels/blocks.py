"""The ratings as the kernels read them, cut into blocks of rows that threads can take.

The blocks, and so the random numbers and the order of every sum, depend on the data alone.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from bayesmf.model import WorkingScale
    from bayesmf.ratings import Ratings, Side

RATINGS_PER_BLOCK = 20_000
"""Enough work (about a millisecond) to make the cost of handing out a block invisible."""


class SideData(NamedTuple):
    """One side of the data: its index, targets on the working scale, and blocks of rows."""

    side: Side
    targets: np.ndarray
    blocks: tuple[range, ...]


class Data(NamedTuple):
    """The ratings as the sampler reads them, shared by all chains."""

    users: SideData
    items: SideData
    has_bias: bool

    @property
    def n_ratings(self) -> int:
        """Number of ratings."""
        return len(self.users.targets)

    @classmethod
    def build(cls, ratings: Ratings, scale: WorkingScale, has_bias: bool) -> Data:
        """Put ratings on the working scale, once for each side."""
        targets = (ratings.values - scale.center) / scale.scale
        sides = [
            SideData(side, np.ascontiguousarray(targets[side.order]), row_blocks(side))
            for side in (ratings.by_user, ratings.by_item)
        ]
        return cls(sides[0], sides[1], has_bias)


def row_blocks(side: Side, ratings_per_block: int | None = None) -> tuple[range, ...]:
    """Cut rows into runs of about equal work; a row without its share of ratings still costs."""
    work = np.cumsum(np.diff(side.indptr) + 8)
    n_blocks = max(1, round(float(work[-1]) / (ratings_per_block or RATINGS_PER_BLOCK)))
    cuts = np.searchsorted(work, work[-1] * np.arange(1, n_blocks) / n_blocks, side="right")
    edges = np.unique(np.concatenate([[0], cuts, [side.n_rows]]))
    return tuple(range(int(a), int(b)) for a, b in pairwise(edges))


def over_blocks[R](
    function: Callable[[int, range], R], blocks: tuple[range, ...], executor: Executor | None
) -> list[R]:
    """Call `function(number, block)` for every block; results in the order of blocks."""
    if executor is None or len(blocks) == 1:
        return [function(number, block) for number, block in enumerate(blocks)]
    return list(executor.map(function, range(len(blocks)), blocks))
