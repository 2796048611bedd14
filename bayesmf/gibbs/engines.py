"""Two engines for the parts of a sweep that touch every rating: NumPy to read, Numba to run.

An engine works on blocks of rows, and may be given a thread pool. The blocks, and so the random
numbers and the order of every sum, depend on the data alone: the bits are the same for any number
of threads, and the two engines agree to rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from bayesmf.gibbs import conditionals
from bayesmf.kernels import rows as kernels
from bayesmf.kernels.blocks import over_blocks

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from bayesmf.gibbs.conditionals import Hyper
    from bayesmf.kernels.blocks import SideData
    from bayesmf.kernels.streams import Purpose, Streams


class Engine(Protocol):
    """What a sweep needs of an engine."""

    def draw_rows(
        self,
        data: SideData,
        partner_rows: np.ndarray,
        has_bias: bool,
        alpha: float,
        hyper: Hyper,
        streams: Streams,
        sweep: int,
        purpose: Purpose,
    ) -> np.ndarray:
        """Draw all rows of a side, (n_rows, D)."""

    def squared_error(
        self, data: SideData, rows: np.ndarray, partner_rows: np.ndarray, has_bias: bool
    ) -> float:
        """Sum of squared residuals on the working scale."""

    def moments(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and centred scatter of rows."""


class NumpyEngine:
    """The reference engine, row by row."""

    def __init__(self, executor: Executor | None = None) -> None:
        self.executor = executor

    def draw_rows(
        self,
        data: SideData,
        partner_rows: np.ndarray,
        has_bias: bool,
        alpha: float,
        hyper: Hyper,
        streams: Streams,
        sweep: int,
        purpose: Purpose,
    ) -> np.ndarray:
        """Draw all rows of a side, (n_rows, D)."""
        out = np.empty((data.side.n_rows, partner_rows.shape[1]))

        def update(number: int, block: range) -> None:
            normals = streams.generator(sweep, purpose, number).standard_normal(
                (len(block), out.shape[1])
            )
            self._update_block(block, data, partner_rows, has_bias, alpha, hyper, normals, out)

        over_blocks(update, data.blocks, self.executor)
        return out

    def _update_block(
        self,
        block: range,
        data: SideData,
        partner_rows: np.ndarray,
        has_bias: bool,
        alpha: float,
        hyper: Hyper,
        normals: np.ndarray,
        out: np.ndarray,
    ) -> None:
        conditionals.draw_rows(
            block, data.side, data.targets, partner_rows, has_bias, alpha, hyper, normals, out
        )

    def squared_error(
        self, data: SideData, rows: np.ndarray, partner_rows: np.ndarray, has_bias: bool
    ) -> float:
        """Sum of squared residuals, block by block."""

        def block_error(_: int, block: range) -> float:
            return self._block_error(block, data, rows, partner_rows, has_bias)

        return sum(over_blocks(block_error, data.blocks, self.executor))

    def _block_error(
        self,
        block: range,
        data: SideData,
        rows: np.ndarray,
        partner_rows: np.ndarray,
        has_bias: bool,
    ) -> float:
        errors = conditionals.residuals(
            block, data.side, data.targets, rows, partner_rows, has_bias
        )
        return float(np.einsum("n,n->", errors, errors))

    def moments(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and centred scatter of rows."""
        return conditionals.moments(rows)


class NumbaEngine(NumpyEngine):
    """The compiled engine: the same blocks and normals, the kernels of `kernels/rows.py`."""

    def _update_block(
        self,
        block: range,
        data: SideData,
        partner_rows: np.ndarray,
        has_bias: bool,
        alpha: float,
        hyper: Hyper,
        normals: np.ndarray,
        out: np.ndarray,
    ) -> None:
        side = data.side
        failed = kernels.update_rows(
            block.start,
            block.stop,
            side.indptr,
            side.partners,
            data.targets,
            partner_rows,
            has_bias,
            hyper.precision,
            hyper.precision @ hyper.mean,
            False,
            alpha,
            normals,
            out,
        )
        if failed >= 0:
            raise np.linalg.LinAlgError(f"the precision of row {failed} is not positive definite")

    def _block_error(
        self,
        block: range,
        data: SideData,
        rows: np.ndarray,
        partner_rows: np.ndarray,
        has_bias: bool,
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

    def moments(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and centred scatter of rows."""
        mean, scatter = kernels.moments(rows)
        return mean, scatter


ENGINES: dict[str, type[NumpyEngine]] = {"numba": NumbaEngine, "numpy": NumpyEngine}
