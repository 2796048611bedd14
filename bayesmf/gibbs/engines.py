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
from bayesmf.kernels import sums
from bayesmf.kernels.blocks import over_blocks, runs
from bayesmf.kernels.updates import Partners, prepare

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from bayesmf.gibbs.conditionals import Hyper
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


ROWS_PER_CHUNK = 4096
"""Rows whose moments one thread adds up at a time."""

type DrawBlock = Callable[[range, np.ndarray, np.ndarray], None]
"""Draw the rows of a block from its standard normals, writing into an array of all rows."""


class Engine(NamedTuple):
    """The parts that differ between engines, and the pool that blocks of rows go to.

    Attributes
    ----------
    drawer : callable(task, executor) -> DrawBlock
        Make ready the draw of one side's rows.
    errors : callable(residuals) -> callable(block) -> float
        Make ready the sum of squared residuals of a block of rows.
    add_up : callable(block, rows) -> (mean, scatter)
        Mean (D,) and centred scatter (D, D) of a block of rows, in float64.
    executor : Executor or None
    """

    drawer: Callable[[RowTask, Executor | None], DrawBlock]
    errors: Callable[[Residuals], Callable[[range], float]]
    add_up: Callable[[slice, np.ndarray], tuple[np.ndarray, np.ndarray]]
    executor: Executor | None = None

    def draw_rows(
        self, task: RowTask, streams: Streams, sweep: int, purpose: Purpose
    ) -> np.ndarray:
        """Draw all rows of a side, (n_rows, D)."""
        data = task.data
        out = np.empty((data.side.n_rows, task.partner_rows.shape[1]), data.targets.dtype)
        draw = self.drawer(task, self.executor)

        def draw_run(_: int, run: range) -> None:
            normals = streams.normals(*data.normals_of(run), sweep, purpose, data.targets.dtype)
            draw(run, normals, out)

        over_blocks(draw_run, runs(data.blocks, self.executor), self.executor)
        return out

    def squared_error(self, of: Residuals) -> float:
        """Sum of squared residuals on the working scale."""
        error = self.errors(of)
        return sum(over_blocks(lambda _, block: error(block), of.data.blocks, self.executor))

    def moments(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (D,) of rows (n, D) and their centred scatter, the sum of (x - mean)(x - mean)'.

        Parts of the rows are put together by the formula of Chan, Golub & LeVeque (1983).
        """
        blocks = tuple(chunks(len(rows), ROWS_PER_CHUNK))
        parts = over_blocks(lambda _, block: self.add_up(block, rows), blocks, self.executor)
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


def _numpy_errors(of: Residuals) -> Callable[[range], float]:
    def error(block: range) -> float:
        errors = conditionals.residuals(
            block, of.data.side, of.data.targets, of.rows, of.partner_rows, of.has_bias
        )
        return float(np.einsum("n,n->", errors, errors, dtype=np.float64))

    return error


def _numpy_add_up(block: slice, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return conditionals.moments(rows[block])


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


def _numba_errors(of: Residuals) -> Callable[[range], float]:
    partners, side = Partners.of(of.partner_rows, of.has_bias), of.data.side

    def error(block: range) -> float:
        return float(
            sums.squared_error(
                block.start, block.stop, side.indptr, side.partners, of.data.targets, of.rows,
                *partners, of.has_bias,
            )
        )  # fmt: skip

    return error


def _numba_add_up(block: slice, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    d = rows.shape[1]
    mean, scatter = np.empty(d), np.empty((d, d))
    sums.chunk_moments(block.start, block.stop, rows, mean, scatter)
    return mean, scatter


ENGINES: dict[str, Engine] = {
    "numba": Engine(_numba_drawer, _numba_errors, _numba_add_up),
    "numpy": Engine(_numpy_drawer, _numpy_errors, _numpy_add_up),
}
