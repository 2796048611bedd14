"""Sums over ratings: of squared residuals, by blocks of rows, and of products of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesmf.kernels import lookup, simd
from bayesmf.kernels.compiling import compiled
from bayesmf.kernels.dense import buffer
from bayesmf.kernels.updates import Partners
from bayesmf.kernels.vectors import VECTOR_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bayesmf.kernels.blocks import SideData


@compiled
def add_up(edges, indptr, partners, targets, rows, packed, offsets, k, has_bias, out):
    """Write the sum of squared residuals of the rows between each two edges, in float64.

    `packed` are the partners' factors, padded with zeros to whole vectors.
    """
    width = packed.shape[1]
    lanes = VECTOR_BYTES // packed.itemsize
    n_vectors = width // lanes
    flat = packed.reshape(-1)
    own = buffer(width, packed)
    for block in range(out.size):
        total = 0.0
        for row in range(edges[block], edges[block + 1]):
            for a in range(k):
                own[a] = rows[row, a]
            bias = rows[row, k] if has_bias else rows.dtype.type(0)
            lo, hi = indptr[row], indptr[row + 1]
            groups = (hi - lo) // lanes
            total += lookup.squared_errors(
                targets, partners, lo, groups, own, bias, flat, offsets, n_vectors
            )
            for t in range(lo + groups * lanes, hi):
                j = np.intp(partners[t])
                explained = simd.dot(flat, j * width, own, 0, n_vectors) + offsets[j] + bias
                error = np.float64(targets[t] - explained)
                total += error * error
        out[block] = total


@compiled
def sum_products(indptr, partners, row_weights, partner_weights):
    """Sum of a_i b_j over ratings, of weights of rows (n_rows,) and of partners (n_partners,)."""
    total = 0.0
    for row in range(row_weights.size):
        own = 0.0
        for t in range(indptr[row], indptr[row + 1]):
            own += partner_weights[partners[t]]
        total += row_weights[row] * own
    return total


def squared_errors(
    data: SideData, rows: np.ndarray, partner_rows: np.ndarray, has_bias: bool
) -> Callable[[Sequence[range]], list[float]]:
    """Make ready the sums of squared residuals of blocks of rows that follow each other.

    Rows (n_rows, D) and partners (n_partners, D) have their bias, if they have one, last.
    """
    partners, side = Partners.of(partner_rows, has_bias), data.side

    def errors(blocks: Sequence[range]) -> list[float]:
        edges = np.array([blocks[0].start, *(block.stop for block in blocks)])
        out = np.empty(len(blocks))
        add_up(edges, side.indptr, side.partners, data.targets, rows, *partners, has_bias, out)
        return out.tolist()

    return errors
