"""Two engines for the parts of a sweep that touch every rating: NumPy to read, Numba to run.

Both work on blocks of rows, and may be given a thread pool. The blocks, and so the random numbers
and the order of every sum, depend on the data alone: the bits are the same for any number of
threads, and the two engines agree to rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayesmf.gibbs import conditionals
from bayesmf.kernels import rows as kernels
from bayesmf.kernels.blocks import over_blocks

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


class Engine(NamedTuple):
    """The parts that differ between engines, and the pool that blocks of rows go to.

    Attributes
    ----------
    update : callable(block, task, normals, out)
        Draw the rows of a block from standard normals (len(block), D), writing into `out`.
    error : callable(block, data, rows, partner_rows, has_bias) -> float
        Sum of squared residuals of the ratings of a block of rows.
    moments : callable(rows) -> (mean, scatter)
        Mean (D,) and centred scatter (D, D) of rows.
    executor : Executor or None
    """

    update: Callable[[range, RowTask, np.ndarray, np.ndarray], None]
    error: Callable[[range, SideData, np.ndarray, np.ndarray, bool], float]
    moments: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    executor: Executor | None = None

    def draw_rows(
        self, task: RowTask, streams: Streams, sweep: int, purpose: Purpose
    ) -> np.ndarray:
        """Draw all rows of a side, (n_rows, D)."""
        d = task.partner_rows.shape[1]
        out = np.empty((task.data.side.n_rows, d))

        def update(number: int, block: range) -> None:
            rng = streams.generator(sweep, purpose, number)
            self.update(block, task, rng.standard_normal((len(block), d)), out)

        over_blocks(update, task.data.blocks, self.executor)
        return out

    def squared_error(
        self, data: SideData, rows: np.ndarray, partner_rows: np.ndarray, has_bias: bool
    ) -> float:
        """Sum of squared residuals on the working scale."""

        def error(_: int, block: range) -> float:
            return self.error(block, data, rows, partner_rows, has_bias)

        return sum(over_blocks(error, data.blocks, self.executor))


def _numpy_update(block: range, task: RowTask, normals: np.ndarray, out: np.ndarray) -> None:
    conditionals.draw_rows(
        block,
        task.data.side,
        task.data.targets,
        task.partner_rows,
        task.has_bias,
        task.alpha,
        task.hyper,
        normals,
        out,
    )


def _numpy_error(
    block: range, data: SideData, rows: np.ndarray, partner_rows: np.ndarray, has_bias: bool
) -> float:
    errors = conditionals.residuals(block, data.side, data.targets, rows, partner_rows, has_bias)
    return float(np.einsum("n,n->", errors, errors))


def _numba_update(block: range, task: RowTask, normals: np.ndarray, out: np.ndarray) -> None:
    side, precision = task.data.side, task.hyper.precision
    failed = kernels.update_rows(
        block.start,
        block.stop,
        side.indptr,
        side.partners,
        task.data.targets,
        task.partner_rows,
        task.has_bias,
        precision,
        precision @ task.hyper.mean,
        False,
        task.alpha,
        normals,
        out,
    )
    if failed >= 0:
        raise np.linalg.LinAlgError(f"the precision of row {failed} is not positive definite")


def _numba_error(
    block: range, data: SideData, rows: np.ndarray, partner_rows: np.ndarray, has_bias: bool
) -> float:
    side = data.side
    return float(
        kernels.squared_error(
            block.start,
            block.stop,
            side.indptr,
            side.partners,
            data.targets,
            rows,
            partner_rows,
            has_bias,
        )
    )


ENGINES: dict[str, Engine] = {
    "numba": Engine(_numba_update, _numba_error, kernels.moments),
    "numpy": Engine(_numpy_update, _numpy_error, conditionals.moments),
}
