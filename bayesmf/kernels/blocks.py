"""The ratings as the kernels read them, cut into blocks of rows that threads can take.

The way a row is drawn, its place in the stream of random numbers, and the order of every sum depend
on the data and the model alone.
"""

from __future__ import annotations

import math
from itertools import batched, count, pairwise
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayesmf.indexing import chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor, Future

    from bayesmf.indexing import Side
    from bayesmf.ratings import Ratings
    from bayesmf.scales import WorkingScale

RATINGS_PER_BLOCK = 50_000
"""Enough work (half a millisecond and more) to make the cost of handing out a block invisible."""

FEW_BLOCKS, SMALL_BLOCK = 4, 20_000
"""A small table is cut into four all the same, unless the blocks would be too small to pay."""

BLOCKS_ALONE = 4
"""Blocks that a lone thread takes at a time: fewer calls, in memory that stays small."""

ROW_WORK = 40
"""What a row costs beside its ratings, in ratings: at K = 32 its system takes about so long."""

ROWS_PER_CHUNK = 4096
"""Rows that a thread takes at a time where their ratings do not matter."""

LOW_DEGREE = {"float32": 1 / 3, "float64": 1 / 2}
"""Rows with at most so many ratings a coordinate are drawn in the space of their ratings
(`low_degree.py`), where that is less work."""

LOW_FROM = 40
"""Rows of fewer coordinates are not: side by side (`lanes.py`) their systems take as little."""

WHITEN_COST = 1.0
"""What whitening one partner counts for, in units of D^2 operations; they must be saved first."""

LOOK_UP = True
"""Whether partners of one vector are looked up one by one (`lookup.py`), not gathered in tiles as
wider ones are: always, but in tests of tiles."""

HEAVY_RATINGS, HEAVY_SHARE = 8192, 1 / 64
"""A row with more ratings than this, and than this share of all, is summed up by several threads:
there are at most 64 such rows, in 128 segments."""


class Segment(NamedTuple):
    """Ratings lo..hi of a heavy row."""

    row: int
    lo: int
    hi: int


class SideData(NamedTuple):
    """One side of the data: its index, targets, and how its rows are cut up and drawn.

    Attributes
    ----------
    side : Side
        Its index.
    targets : ndarray of float32 or float64, shape (n_ratings,)
        Ratings on the working scale; their type is the type that rows are computed in.
    blocks : tuple of range
        Runs of rows that a thread takes at a time.
    normal_starts : ndarray of int64, shape (n_rows + 1,)
        Where each row's standard normals begin, all rows laid end to end: D for a row, and one
        more for each rating of a row that is drawn in the space of its ratings.
    segments : tuple of Segment
        The ratings of heavy rows, in order.
    look_up : bool
        Whether partners of one vector are looked up one by one.
    """

    side: Side
    targets: np.ndarray
    blocks: tuple[range, ...]
    normal_starts: np.ndarray
    segments: tuple[Segment, ...]
    look_up: bool

    @classmethod
    def build(
        cls, side: Side, targets: np.ndarray, n_coordinates: int, n_partners: int
    ) -> SideData:
        """Cut a side up; `targets` are in the order of the side."""
        degrees = np.diff(side.indptr)
        limit = low_degree_limit(degrees, n_coordinates, n_partners, targets.dtype)
        normals = n_coordinates + np.where(degrees <= limit, degrees, 0)
        starts = np.concatenate([[0], np.cumsum(normals)]).astype(np.int64)
        # Kernels are compiled apart for arrays that can be written: here all are read-only.
        partners = side.partners.view()
        partners.flags.writeable = False
        side = side._replace(partners=partners)
        return cls(side, targets, row_blocks(side), starts, heavy_segments(side), LOOK_UP)

    def normals_of(self, block: range) -> tuple[int, int]:
        """Which of the standard normals of all rows those of a block are drawn from."""
        return int(self.normal_starts[block.start]), int(self.normal_starts[block.stop])


class Data(NamedTuple):
    """The ratings as the sampler reads them, shared by all chains."""

    users: SideData
    items: SideData
    has_bias: bool

    @property
    def n_ratings(self) -> int:
        """Number of ratings."""
        return len(self.users.targets)

    @property
    def dtype(self) -> np.dtype:
        """Type that rows are computed and kept in."""
        return self.users.targets.dtype

    @classmethod
    def build(
        cls,
        ratings: Ratings,
        scale: WorkingScale,
        n_factors: int,
        has_bias: bool,
        dtype: str = "float64",
    ) -> Data:
        """Put ratings on the working scale, once for each side."""
        targets = np.empty(len(ratings), dtype)
        for part in chunks(len(ratings)):
            targets[part] = scale.to_working(ratings.values[part])
        d = n_factors + has_bias
        by_user, by_item = ratings.by_user, ratings.by_item
        return cls(
            SideData.build(by_user, targets, d, by_item.n_rows),
            SideData.build(by_item, ratings.in_item_order(targets), d, by_user.n_rows),
            has_bias,
        )


def low_degree_limit(
    degrees: np.ndarray, n_coordinates: int, n_partners: int, dtype: np.dtype
) -> int:
    """Most ratings of rows that are drawn in the space of their ratings; 0 for none.

    None, too, where the partners' whitening costs more than such rows save.
    """
    if n_coordinates < LOW_FROM:
        return 0
    d = float(n_coordinates)
    share = LOW_DEGREE[np.dtype(dtype).name]
    limit = int(min(share * d, degrees.max(initial=0)))
    n = degrees[degrees <= limit].astype(np.float64)
    saved = (n * d**2 + d**3 / 3) - (n**2 * d + n**3 / 3 + 2 * d**2)
    return limit if saved.sum() >= WHITEN_COST * n_partners * d**2 else 0


def row_blocks(side: Side, ratings_per_block: int | None = None) -> tuple[range, ...]:
    """Cut rows into runs of about equal work."""
    work = np.cumsum(np.diff(side.indptr) + ROW_WORK)
    usual = min(RATINGS_PER_BLOCK, max(SMALL_BLOCK, float(work[-1]) / FEW_BLOCKS))
    n_blocks = max(1, round(float(work[-1]) / (ratings_per_block or usual)))
    cuts = np.searchsorted(work, work[-1] * np.arange(1, n_blocks) / n_blocks, side="right")
    edges = np.unique(np.concatenate([[0], cuts, [side.n_rows]]))
    return tuple(range(int(a), int(b)) for a, b in pairwise(edges))


def heavy_segments(side: Side) -> tuple[Segment, ...]:
    """Cut the ratings of heavy rows into equal runs."""
    longest = max(HEAVY_RATINGS, HEAVY_SHARE * float(side.indptr[-1]))
    segments = []
    for row in np.flatnonzero(np.diff(side.indptr) > longest):
        lo, hi = int(side.indptr[row]), int(side.indptr[row + 1])
        edges = np.linspace(lo, hi, math.ceil((hi - lo) / longest) + 1).astype(int)
        segments += [Segment(int(row), int(a), int(b)) for a, b in pairwise(edges)]
    return tuple(segments)


def groups(blocks: Sequence[range], executor: Executor | None) -> Sequence[Sequence[range]]:
    """What a thread takes at a time: a block, or a few where no other thread waits for work."""
    return tuple(batched(blocks, BLOCKS_ALONE if executor is None else 1))


def summed(
    errors: Callable[[Sequence[range]], Sequence[float]],
    blocks: Sequence[range],
    executor: Executor | None,
) -> float:
    """Add up one number for each block, in the order of blocks, whoever works them out."""
    found = over_blocks(lambda _, group: errors(group), groups(blocks, executor), executor)
    return float(sum(error for group in found for error in group))


def over_blocks[B, R](
    function: Callable[[int, B], R], blocks: Sequence[B], executor: Executor | None
) -> list[R]:
    """Call `function(number, block)` for every block; results in the order of blocks.

    The calling thread works too. Threads take the next block when they are done with one, so that
    no thread waits for another but at the end. After an error no new block is begun; of several
    errors the one that comes out depends on the threads.
    """
    if executor is None or len(blocks) <= 1:
        return [function(number, block) for number, block in enumerate(blocks)]
    results: list[R] = [None] * len(blocks)  # type: ignore[list-item]
    numbers, failed = count(), Event()  # next() of a count is atomic

    def work() -> None:
        while not failed.is_set() and (number := next(numbers)) < len(blocks):
            try:
                results[number] = function(number, blocks[number])
            except BaseException:
                failed.set()
                raise

    helpers = min(executor._max_workers, len(blocks) - 1)  # type: ignore[attr-defined]  # noqa: SLF001
    futures: list[Future[None]] = []
    try:
        futures += [executor.submit(work) for _ in range(helpers)]
        work()
    except BaseException:
        failed.set()
        raise
    finally:
        # Also after an error: no thread may still write when the caller goes on. One that has not
        # begun, since other chains use the pool, has nothing left to do.
        errors = [future.exception() for future in futures if not future.cancel()]
    for error in errors:
        if error is not None:
            raise error
    return results
