"""Two engines for the parts of a sweep that touch every rating: NumPy to read, Numba to run.

Both work on blocks of rows, and may be given a thread pool. Random numbers belong to rows and the
order of every sum depends on the data alone: the bits are the same for any number of threads, and
the two engines agree to rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayesmf.gibbs import conditionals
from bayesmf.indexing import chunks
from bayesmf.kernels.blocks import ROWS_PER_CHUNK, groups, over_blocks, summed
from bayesmf.kernels.residuals import squared_errors
from bayesmf.kernels.updates import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from bayesmf.gibbs.conditionals import Hyper, Moments
    from bayesmf.kernels.blocks import SideData
    from bayesmf.kernels.streams import Purpose, Streams


class RowTask(NamedTuple):
    """What the rows of one side are drawn given.

    Attributes
    ----------
    data : SideData
        The ratings of this side.
    partner_rows : ndarray, shape (n_partners, D)
        Rows of the other side.
    has_bias : bool
        Whether the last coordinate is a bias.
    alpha : float
        Noise precision.
    hyper : Hyper
        Mean and precision of this side's rows.
    """

    data: SideData
    partner_rows: np.ndarray
    has_bias: bool
    alpha: float
    hyper: Hyper


class Residuals(NamedTuple):
    """What residuals are taken of: one side's ratings, and the rows of both sides."""

    data: SideData
    rows: np.ndarray
    partner_rows: np.ndarray
    has_bias: bool


type DrawBlock = Callable[[range, np.ndarray, np.ndarray], None]
"""Draw the rows of a block from its standard normals, writing into an array of all rows."""

type SumErrors = Callable[[Sequence[range]], Sequence[float]]
"""Sums of squared residuals of blocks that follow each other, one for each."""


class Engine(NamedTuple):
    """The parts that differ between engines, and the pool that blocks of rows go to.

    Attributes
    ----------
    drawer : callable(task, executor) -> DrawBlock
        Make ready the draw of one side's rows.
    errors : callable(residuals) -> SumErrors
        Make ready the sums of squared residuals of blocks of rows.
    executor : Executor or None
    """

    drawer: Callable[[RowTask, Executor | None], DrawBlock]
    errors: Callable[[Residuals], SumErrors]
    executor: Executor | None = None

    def draw_rows(
        self, task: RowTask, streams: Streams, sweep: int, purpose: Purpose
    ) -> np.ndarray:
        """Draw all rows of a side, (n_rows, D)."""
        data = task.data
        out = np.empty((data.side.n_rows, task.partner_rows.shape[1]), data.targets.dtype)
        draw = self.drawer(task, self.executor)

        def draw_group(_: int, group: Sequence[range]) -> None:
            run = range(group[0].start, group[-1].stop)
            normals = streams.normals(*data.normals_of(run), sweep, purpose, data.targets.dtype)
            draw(run, normals, out)

        over_blocks(draw_group, groups(data.blocks, self.executor), self.executor)
        return out

    def squared_error(self, of: Residuals) -> float:
        """Sum of squared residuals on the working scale."""
        return summed(self.errors(of), of.data.blocks, self.executor)

    def moments(self, rows: np.ndarray) -> Moments:
        """Moments of rows (n, D), by chunks that threads can take.

        Parts of the rows are put together by the formula of Chan, Golub & LeVeque (1983).
        """
        blocks = tuple(chunks(len(rows), ROWS_PER_CHUNK))
        parts = over_blocks(
            lambda _, block: conditionals.moments(rows[block]), blocks, self.executor
        )
        if len(parts) == 1:
            return parts[0]
        sizes = np.array([block.stop - block.start for block in blocks]) / len(rows)
        means = np.array([mean for mean, _ in parts])
        # einsum without BLAS: the order of summation must not depend on a number of threads.
        mean = np.einsum("p,pa->a", sizes, means)
        between = np.einsum("p,pa,pb->ab", sizes * len(rows), means - mean, means - mean)
        return mean, sum((scatter for _, scatter in parts), between)


def _numpy_drawer(task: RowTask, executor: Executor | None) -> DrawBlock:  # noqa: ARG001
    def draw(block: range, normals: np.ndarray, out: np.ndarray) -> None:
        conditionals.draw_rows(
            block, task.data, task.partner_rows, task.has_bias, task.alpha, task.hyper, normals, out
        )

    return draw


def _numpy_errors(of: Residuals) -> SumErrors:
    def error(block: range) -> float:
        errors = conditionals.residuals(
            block, of.data.side, of.data.targets, of.rows, of.partner_rows, of.has_bias
        )
        return float(np.einsum("n,n->", errors, errors, dtype=np.float64))

    return lambda blocks: [error(block) for block in blocks]


def _numba_drawer(task: RowTask, executor: Executor | None) -> DrawBlock:
    update = prepare(
        task.data, task.partner_rows, task.has_bias, task.alpha, task.hyper.mean,
        task.hyper.precision, executor,
    )  # fmt: skip

    def draw(block: range, normals: np.ndarray, out: np.ndarray) -> None:
        failed = update.block(block, normals, out)
        if failed >= 0:
            hint = " in float32: try dtype='float64'" if out.dtype == np.float32 else ""
            raise np.linalg.LinAlgError(
                f"the precision of row {failed} is not positive definite{hint}"
            )

    return draw


def _numba_errors(of: Residuals) -> SumErrors:
    return squared_errors(of.data, of.rows, of.partner_rows, of.has_bias)


ENGINES: dict[str, Engine] = {
    "numba": Engine(_numba_drawer, _numba_errors),
    "numpy": Engine(_numpy_drawer, _numpy_errors),
}
