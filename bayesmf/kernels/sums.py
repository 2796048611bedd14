"""Sums over ratings and over rows: squared residuals, moments."""

from __future__ import annotations

import numpy as np

from bayesmf.kernels import lookup, simd
from bayesmf.kernels.compiling import compiled
from bayesmf.kernels.dense import buffer
from bayesmf.kernels.vectors import VECTOR_BYTES


@compiled
def squared_error(start, stop, indptr, partners, targets, rows, packed, offsets, k, has_bias):
    """Sum of squared residuals over the ratings of rows start..stop, in float64.

    `packed` are the partners' factors, padded with zeros to whole vectors.
    """
    width = packed.shape[1]
    lanes = VECTOR_BYTES // packed.itemsize
    n_vectors = width // lanes
    flat = packed.reshape(-1)
    own = buffer(width, packed)
    total = 0.0
    for row in range(start, stop):
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
    return total


@compiled
def chunk_moments(start, stop, rows, mean, scatter):
    """Write the mean (D,) and centred scatter (D, D) of rows start..stop, in float64.

    Plain loops: rows are few beside ratings. Four rows at a time share the loads of the sums.
    """
    d = rows.shape[1]
    n = stop - start
    for a in range(d):
        mean[a] = 0.0
        for b in range(d):
            scatter[a, b] = 0.0
    for i in range(start, stop):
        for a in range(d):
            mean[a] += rows[i, a]
    for a in range(d):
        mean[a] /= n
    centred = np.zeros((4, d))
    for first in range(start, stop, 4):
        for r in range(4):
            for a in range(d):
                centred[r, a] = rows[first + r, a] - mean[a] if first + r < stop else 0.0
        x0, x1, x2, x3 = centred[0], centred[1], centred[2], centred[3]
        for a in range(d):
            own = scatter[a]
            for b in range(a + 1):
                own[b] += x0[a] * x0[b] + x1[a] * x1[b] + x2[a] * x2[b] + x3[a] * x3[b]
    for a in range(d):
        for b in range(a):
            scatter[b, a] = scatter[a, b]
