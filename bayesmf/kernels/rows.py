"""The row update: one fused function for Gibbs draws and for ALS, and the residual sums.

A row's conditional is Gaussian with precision P = s Lambda + alpha X'X and mean
P^-1 (s Lambda mu + alpha X'(y - c)), where the rows of X are the partners' factors (and a 1 when
there are biases) and c are the partners' biases (Salakhutdinov & Mnih 2008, eqs. 11-13; the bias
is one more coordinate). With normals z the row is drawn as mean + L^-T z, P = L L'; without them it
is the mean, which is the ALS solution for ridge weights Lambda.

Rows are arrays of shape (n_rows, D): the factors, then the bias as last coordinate if there is one.
"""

from __future__ import annotations

import math

import numpy as np

from bayesmf.kernels.compiling import compiled

TILE = 128
"""Ratings gathered at a time: a tile of 128 x 32 doubles fits the first-level cache."""


@compiled
def _gather(lo, m, width, partners, targets, partner_rows, has_bias, tile, y):
    # Transposed, so that the Gram sums run along contiguous ratings; zeros up to a multiple of 8
    # add nothing and leave the vectorised loops without a tail.
    d = partner_rows.shape[1]
    k = d - 1 if has_bias else d
    for t in range(m):
        j = partners[lo + t]
        for a in range(k):
            tile[a, t] = partner_rows[j, a]
        if has_bias:
            tile[k, t] = 1.0
            y[t] = targets[lo + t] - partner_rows[j, k]
        else:
            y[t] = targets[lo + t]
    for t in range(m, width):
        for a in range(d):
            tile[a, t] = 0.0
        y[t] = 0.0


@compiled
def _add_gram(tile, y, width, alpha, gram, rhs):
    # Blocks of 4 x 2 of the lower triangle: 8 sums for 6 loads. Rows of `tile` beyond D are zero.
    padded = tile.shape[0]
    for a in range(0, padded, 4):
        x0, x1, x2, x3 = tile[a], tile[a + 1], tile[a + 2], tile[a + 3]
        for b in range(0, a + 4, 2):
            z0, z1 = tile[b], tile[b + 1]
            s00 = s01 = s10 = s11 = s20 = s21 = s30 = s31 = 0.0
            for t in range(width):
                s00 += x0[t] * z0[t]
                s01 += x0[t] * z1[t]
                s10 += x1[t] * z0[t]
                s11 += x1[t] * z1[t]
                s20 += x2[t] * z0[t]
                s21 += x2[t] * z1[t]
                s30 += x3[t] * z0[t]
                s31 += x3[t] * z1[t]
            gram[a, b] += alpha * s00
            gram[a, b + 1] += alpha * s01
            gram[a + 1, b] += alpha * s10
            gram[a + 1, b + 1] += alpha * s11
            gram[a + 2, b] += alpha * s20
            gram[a + 2, b + 1] += alpha * s21
            gram[a + 3, b] += alpha * s30
            gram[a + 3, b + 1] += alpha * s31
        s0 = s1 = s2 = s3 = 0.0
        for t in range(width):
            s0 += x0[t] * y[t]
            s1 += x1[t] * y[t]
            s2 += x2[t] * y[t]
            s3 += x3[t] * y[t]
        rhs[a] += alpha * s0
        rhs[a + 1] += alpha * s1
        rhs[a + 2] += alpha * s2
        rhs[a + 3] += alpha * s3


@compiled
def _cholesky(gram, d):
    # In place in the lower triangle; False when the matrix is not positive definite.
    for i in range(d):
        row_i = gram[i]
        for j in range(i):
            row_j = gram[j]
            s = 0.0
            for k in range(j):
                s += row_i[k] * row_j[k]
            row_i[j] = (row_i[j] - s) / row_j[j]
        s = 0.0
        for k in range(i):
            s += row_i[k] * row_i[k]
        pivot = row_i[i] - s
        # A pivot lost to rounding is no pivot: it marks a singular system (ALS without reg).
        if not pivot > 1e-14 * row_i[i]:
            return False
        row_i[i] = math.sqrt(pivot)
    return True


@compiled
def _solve(chol, rhs, d, normals, row, draw):
    # L w = rhs, then L' theta = w + z: one backward pass gives mean + L^-T z.
    for i in range(d):
        s = 0.0
        for k in range(i):
            s += chol[i, k] * rhs[k]
        rhs[i] = (rhs[i] - s) / chol[i, i]
    if draw:
        for i in range(d):
            rhs[i] += normals[row, i]
    for i in range(d - 1, -1, -1):
        value = rhs[i] / chol[i, i]
        rhs[i] = value
        for k in range(i):
            rhs[k] -= chol[i, k] * value


@compiled
def update_rows(
    start, stop, indptr, partners, targets, partner_rows, has_bias, prior_precision, prior_shift,
    weigh_prior, alpha, normals, out,
):  # fmt: skip
    """Update rows start..stop of one side, given the other; return a row that failed, or -1.

    Parameters
    ----------
    start, stop : int
        Block of rows.
    indptr : ndarray of int64, shape (n_rows + 1,)
    partners : ndarray of int32, shape (n_ratings,)
    targets : ndarray of float64, shape (n_ratings,)
        Ratings of this side on the working scale.
    partner_rows : ndarray of float64, shape (n_partners, D)
    has_bias : bool
        Whether the last coordinate is a bias.
    prior_precision : ndarray of float64, shape (D, D)
        Lambda.
    prior_shift : ndarray of float64, shape (D,)
        Lambda mu.
    weigh_prior : bool
        Multiply the prior by the row's number of ratings (weighted-lambda ALS, Zhou et al. 2008).
    alpha : float
        Noise precision.
    normals : ndarray of float64, shape (stop - start, D) or (0, D)
        Standard normals; without rows, the conditional mean is written.
    out : ndarray of float64, shape (n_rows, D)
        Written in rows start..stop only.
    """
    d = partner_rows.shape[1]
    padded = (d + 3) // 4 * 4
    tile = np.zeros((padded, TILE))
    y = np.empty(TILE)
    gram = np.empty((padded, padded))
    rhs = np.empty(padded)
    draw = normals.shape[0] > 0
    failed = -1
    for row in range(start, stop):
        lo, hi = indptr[row], indptr[row + 1]
        weight = float(hi - lo) if weigh_prior else 1.0
        for a in range(d):
            rhs[a] = weight * prior_shift[a]
            for b in range(a + 1):
                gram[a, b] = weight * prior_precision[a, b]
        for first in range(lo, hi, TILE):
            m = min(TILE, hi - first)
            width = (m + 7) // 8 * 8
            _gather(first, m, width, partners, targets, partner_rows, has_bias, tile, y)
            _add_gram(tile, y, width, alpha, gram, rhs)
        if not _cholesky(gram, d):
            failed = row if failed < 0 else failed
            continue
        _solve(gram, rhs, d, normals, row - start, draw)
        for a in range(d):
            out[row, a] = rhs[a]
    return failed


@compiled
def squared_error(start, stop, indptr, partners, targets, rows, partner_rows, has_bias):
    """Sum of squared residuals over the ratings of rows start..stop."""
    d = rows.shape[1]
    k = d - 1 if has_bias else d
    total = 0.0
    for row in range(start, stop):
        bias = rows[row, k] if has_bias else 0.0
        for t in range(indptr[row], indptr[row + 1]):
            j = partners[t]
            s = bias
            if has_bias:
                s += partner_rows[j, k]
            for a in range(k):
                s += rows[row, a] * partner_rows[j, a]
            total += (targets[t] - s) ** 2
    return total


@compiled
def moments(rows):
    """Mean (D,) and centred scatter sum (x - mean)(x - mean)' (D, D), in a fixed order."""
    n, d = rows.shape
    mean = np.zeros(d)
    for i in range(n):
        for a in range(d):
            mean[a] += rows[i, a]
    mean /= n
    scatter = np.zeros((d, d))
    centred = np.empty(d)
    for i in range(n):
        for a in range(d):
            centred[a] = rows[i, a] - mean[a]
        for a in range(d):
            for b in range(a + 1):
                scatter[a, b] += centred[a] * centred[b]
    for a in range(d):
        for b in range(a):
            scatter[b, a] = scatter[a, b]
    return mean, scatter
