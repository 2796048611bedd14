"""A side's update made ready for the kernels: partners packed, prior laid out, heavy rows summed.

Both Gibbs draws and ALS go through `prepare`, once for each side and sweep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayesmf.indexing import chunks
from bayesmf.kernels import low_degree, rows
from bayesmf.kernels.blocks import ROWS_PER_CHUNK, over_blocks
from bayesmf.kernels.dense import padded_rows, whole

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from bayesmf.kernels.blocks import Segment, SideData

NO_ROWS = np.zeros(0, dtype=np.int64)


class Partners(NamedTuple):
    """The rows of the other side as the kernels read them.

    Attributes
    ----------
    packed : ndarray, shape (n_partners, whole(K))
        Factors times a number, padded with zeros to whole vectors.
    offsets : ndarray, shape (n_partners,)
        Biases, or zeros.
    n_factors : int
        K.
    """

    packed: np.ndarray
    offsets: np.ndarray
    n_factors: int

    @classmethod
    def of(cls, partner_rows: np.ndarray, has_bias: bool, times: float = 1.0) -> Partners:
        """Pack rows (n_partners, D)."""
        n, d = partner_rows.shape
        k, dtype = d - has_bias, partner_rows.dtype
        packed = np.zeros((n, whole(k, dtype.itemsize)), dtype)
        np.multiply(partner_rows[:, :k], dtype.type(times), out=packed[:, :k])
        offsets = np.ascontiguousarray(partner_rows[:, k]) if has_bias else np.zeros(n, dtype)
        return cls(packed, offsets, k)


class LowDegree(NamedTuple):
    """What rows that are drawn in the space of their ratings need (`low_degree.py`)."""

    whitened: np.ndarray
    expected: np.ndarray
    mean: np.ndarray
    turn_back: np.ndarray


class Update(NamedTuple):
    """The update of one side's rows, ready for any block of them."""

    data: SideData
    partners: Partners
    root: float
    has_bias: bool
    prior: np.ndarray
    weigh_prior: bool
    heavy: np.ndarray
    heavy_sums: np.ndarray
    low: LowDegree | None

    def block(self, block: range, normals: np.ndarray, out: np.ndarray) -> int:
        """Update the rows of a block from its standard normals, or to their conditional means.

        Returns the first row that has no solution, or -1.
        """
        data = self.data
        ratings = block.start, block.stop, data.side.indptr, data.side.partners, data.targets
        failed = rows.update_rows(
            *ratings, data.look_up, *self.partners[:2], self.root, self.partners.n_factors,
            self.has_bias, self.prior, self.weigh_prior, self.heavy,
            self.heavy_sums, normals, data.normal_starts, out,
        )  # fmt: skip
        if self.low is None:
            return int(failed)
        low = self.low
        other = low_degree.draw_low_rows(
            *ratings, low.whitened, low.expected, self.root, low.mean, low.turn_back, normals,
            data.normal_starts, out,
        )  # fmt: skip
        return int(min((row for row in (failed, other) if row >= 0), default=-1))


def prepare(
    data: SideData,
    partner_rows: np.ndarray,
    has_bias: bool,
    alpha: float,
    mean: np.ndarray,
    precision: np.ndarray,
    executor: Executor | None,
    *,
    weigh_prior: bool = False,
    means_only: bool = False,
) -> Update:
    """Lay out all that a side's rows are updated given.

    Parameters
    ----------
    data : SideData
    partner_rows : ndarray, shape (n_partners, D)
        Rows of the other side, in the type of the targets.
    has_bias : bool
    alpha : float
        Noise precision.
    mean, precision : ndarray, shapes (D,) and (D, D)
        Of this side's rows.
    executor : Executor or None
    weigh_prior : bool
        Whether the prior counts as often as the row has ratings.
    means_only : bool
        Whether rows will be updated without normals. Then none is drawn in the space of its
        ratings, and the prior's precision need not be positive definite.
    """
    dtype, d = data.targets.dtype, len(mean)
    root = dtype.type(np.sqrt(alpha))
    partners = Partners.of(partner_rows, has_bias, float(root))
    prior = np.zeros((padded_rows(d), whole(d + 1, dtype.itemsize)), dtype)
    prior[:d, :d], prior[:d, d] = precision, precision @ mean
    heavy, sums = _heavy_sums(data, partners, root, has_bias, prior, executor)
    if means_only or data.normal_starts[-1] == d * data.side.n_rows:
        low = None
    else:
        low = _low_degree(data, partners, partner_rows, has_bias, root, mean, precision, executor)
    return Update(data, partners, root, has_bias, prior, weigh_prior, heavy, sums, low)


def _heavy_sums(
    data: SideData,
    partners: Partners,
    root: float,
    has_bias: bool,
    prior: np.ndarray,
    executor: Executor | None,
) -> tuple[np.ndarray, np.ndarray]:
    # Segments are summed up by any thread and added in their order by this one.
    if not data.segments:
        return NO_ROWS, np.zeros((0, prior.size), prior.dtype)
    parts = np.zeros((len(data.segments), prior.size), prior.dtype)

    def add(number: int, segment: Segment) -> None:
        rows.sum_segment(
            segment.lo, segment.hi, data.side.partners, data.targets, data.look_up,
            *partners[:2], root, partners.n_factors, has_bias, prior.shape[1], parts[number],
        )  # fmt: skip

    over_blocks(add, data.segments, executor)
    of_row = np.array([segment.row for segment in data.segments], dtype=np.int64)
    heavy, first = np.unique(of_row, return_index=True)
    return heavy, np.add.reduceat(parts, first, axis=0)


def _low_degree(
    data: SideData,
    partners: Partners,
    partner_rows: np.ndarray,
    has_bias: bool,
    root: float,
    mean: np.ndarray,
    precision: np.ndarray,
    executor: Executor | None,
) -> LowDegree:
    dtype, d = data.targets.dtype, len(mean)
    # L^-1 by rows: the prior's precision is L L'.
    inverse_root = np.linalg.inv(np.linalg.cholesky(precision))
    k, width = partners.n_factors, whole(d, dtype.itemsize)
    turn, turn_back = np.zeros((2, d, width), dtype)
    turn[:, :d], turn_back[:, :d] = inverse_root.T, inverse_root
    whitened = np.empty((len(partner_rows), width), dtype)

    def whiten(_: int, chunk: slice) -> None:
        # phi_j = L^-1 sqrt(alpha) x_j; the packed factors have the root already.
        np.matmul(partners.packed[chunk, :k], turn[:k], out=whitened[chunk])
        if has_bias:
            whitened[chunk] += root * turn[k]

    over_blocks(whiten, tuple(chunks(len(whitened), ROWS_PER_CHUNK)), executor)
    means = mean.astype(dtype)
    expected = partner_rows[:, :k] @ means[:k] + partners.offsets
    if has_bias:
        expected += means[k]
    return LowDegree(whitened, expected, means, turn_back)
