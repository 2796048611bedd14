"""The row update: one fused function for Gibbs draws and for ALS.

A row's conditional is Gaussian with precision P = s Lambda + alpha X'X and mean
P^-1 (s Lambda mu + alpha X'(y - c)), where the rows of X are the partners' factors (and a 1 when
there are biases) and c are the partners' biases (Salakhutdinov & Mnih 2008, eqs. 11-13; the bias
is one more coordinate). With normals z the row is drawn as mean + U^-1 z, P = U'U; without them it
is the mean, which is the ALS solution for ridge weights Lambda.

The partners come packed (`updates.py`): factors times sqrt(alpha), padded with zeros to whole
vectors, so that a tile of X is gathered by copying vectors.
"""

from __future__ import annotations

import numpy as np

from bayesmf.kernels import lanes, simd
from bayesmf.kernels.compiling import compiled, inner
from bayesmf.kernels.dense import (
    SCRATCH,
    add_gram,
    add_outer,
    back_substitute,
    buffer,
    factor,
    padded_rows,
    whole,
)
from bayesmf.kernels.low_degree import draw_low_row
from bayesmf.kernels.vectors import PANEL, VECTOR_BYTES

AHEAD = 16
"""Partners are asked for so many ratings before they are copied: memory is far away."""

TILE = 128
"""Ratings gathered at a time: many enough for long sums in registers, few enough to stay near."""


@inner
def _add_ratings(
    lo, hi, partners, targets, flat, width, offsets, root, k, has_bias, system, ld, tile, beside,
    sums,
):  # fmt: skip
    # Add what the ratings lo..hi say to a row's system [P | r] (`dense.py`). Beside the tile stand
    # the columns sqrt(alpha) and sqrt(alpha) (y - c), whose products with it go to `sums`.
    n_vectors = width * flat.itemsize // VECTOR_BYTES
    d = k + 1 if has_bias else k
    zero, one, two = np.intp(0), np.intp(1), np.intp(2)
    for a in range(2 * width):
        sums[a] = 0.0
    total = flat.dtype.type(0)
    for first in range(lo, hi, TILE):
        m = min(TILE, hi - first)
        for t in range(m):
            if first + t + AHEAD < hi:
                later = np.intp(partners[first + t + AHEAD])
                simd.prefetch_vectors(flat, later * width, n_vectors)
            j = np.intp(partners[first + t])
            simd.copy_vectors(tile, t * width, flat, j * width, n_vectors)
            y = root * (targets[first + t] - offsets[j])
            beside[2 * t], beside[2 * t + 1] = root, y
            total += y
        add_gram(system, ld, tile, width, k, m)
        if has_bias:
            add_outer(
                sums, zero, width, beside, zero, two, one, two, tile, zero, width, n_vectors, m
            )
        else:
            add_outer(
                sums, width, width, beside, one, two, one, one, tile, zero, width, n_vectors, m
            )
    for a in range(k):
        system[a * ld + d] += sums[width + a]
    if has_bias:
        for a in range(k):
            system[a * ld + k] += sums[a]
        system[k * ld + k] += root * root * (hi - lo)
        system[k * ld + d] += root * total


@inner
def _solve(system, ld, d, normals, at, draw, inverse, right, x, dots, scratch, out, row):
    # Solve a row's system into out[row]; tell whether it could be done.
    if not factor(system, ld, d, inverse, scratch):
        return False
    for a in range(ld):
        x[a] = 0.0
    for a in range(d):
        # U x = U^-T r + z: one solve gives mean + U^-1 z.
        right[a] = system[a * ld + d]
        if draw:
            right[a] += normals[at + a]
    back_substitute(system, ld, d, inverse, right, x, dots)
    for a in range(d):
        out[row, a] = x[a]
    return True


@inner
def _solve_batch(batch, diagonal, noise, roots, kept, d, waiting, filled, out, failed):
    # Solve the systems that wait in a batch; return the first row that failed so far, or -1.
    lanes.solve(batch, diagonal, noise, roots, d, kept)
    for lane in range(filled):
        row = waiting[lane]
        if kept[lane]:
            lanes.take(batch, d, lane, out, row)
        else:
            failed = row if failed < 0 else min(row, failed)
    return failed


@compiled
def sum_segment(lo, hi, partners, targets, packed, offsets, root, k, has_bias, ld, system):
    """Write what the ratings lo..hi of a heavy row say into `system`, [P | r] of no prior."""
    width = packed.shape[1]
    tile, beside = buffer(TILE * width, packed), buffer(2 * TILE, packed)
    sums = buffer(2 * width, packed)
    _add_ratings(
        lo, hi, partners, targets, packed.reshape(-1), width, offsets, root, k, has_bias, system,
        ld, tile, beside, sums,
    )  # fmt: skip


@compiled
def update_rows(
    start, stop, indptr, partners, targets, packed, offsets, root, k, has_bias, prior, weigh_prior,
    side_by_side, heavy, heavy_sums, normals, normal_starts, whitened, expected, mean, turn_back,
    out,
):  # fmt: skip
    """Update rows start..stop of one side, given the other; return a row that failed, or -1.

    Parameters
    ----------
    start, stop : int
        Block of rows.
    indptr : ndarray of int64, shape (n_rows + 1,)
    partners : ndarray of int32, shape (n_ratings,)
    targets : ndarray, shape (n_ratings,)
        Ratings of this side on the working scale. Its type is that of all others.
    packed : ndarray, shape (n_partners, whole(k))
        The partners' factors times sqrt(alpha), padded with zeros.
    offsets : ndarray, shape (n_partners,)
        The partners' biases.
    root : float
        sqrt(alpha).
    k : int
        Number of factors.
    has_bias : bool
        Whether rows have a bias as last coordinate.
    prior : ndarray, shape (padded_rows(D), whole(D + 1))
        [Lambda | Lambda mu], padded.
    weigh_prior : bool
        Multiply the prior by the row's number of ratings (weighted-lambda ALS, Zhou et al. 2008).
    side_by_side : bool
        Solve several rows' systems at once, in the lanes of vectors.
    heavy : ndarray of int64, shape (n_heavy,)
        Rows whose ratings have been summed up, in order.
    heavy_sums : ndarray, shape (n_heavy, padded_rows(D) * whole(D + 1))
        What they say.
    normals : ndarray, shape (n_normals,) or (0,)
        Standard normals of the rows; without any, the conditional means are written.
    normal_starts : ndarray of int64, shape (n_rows + 1,)
        Where each row's begin, less those of row `start`. A row with more than D of them is drawn
        in the space of its ratings, for which the next four are needed.
    whitened : ndarray, shape (n_partners, whole(D))
    expected : ndarray, shape (n_partners,)
    mean : ndarray, shape (D,)
    turn_back : ndarray, shape (D, whole(D))
        See `low_degree.py`.
    out : ndarray, shape (n_rows, D)
        Written in rows start..stop only.
    """
    width, ld = packed.shape[1], prior.shape[1]
    d = k + 1 if has_bias else k
    draw = normals.size > 0
    longest = 0
    if draw:
        for row in range(start, stop):
            longest = max(longest, normal_starts[row + 1] - normal_starts[row] - d)
    wide = max(width, whitened.shape[1])
    tile, beside = buffer(max(TILE, longest) * wide, packed), buffer(2 * TILE, packed)
    # A low row's system is no larger than P, unless a test asks for long rows in their space.
    low_ld = whole(longest + 1, packed.itemsize)
    system = buffer(max(prior.size, padded_rows(longest) * low_ld), packed)
    widest = max(ld, low_ld)
    inverse, right, x = buffer(widest, packed), buffer(widest, packed), buffer(widest, packed)
    dots, scratch = buffer(PANEL, packed), buffer(SCRATCH, packed)
    across, sums = buffer(d * low_ld, packed), buffer(2 * width, packed)
    white, theta = buffer(wide, packed), buffer(wide, packed)
    # Taken once: a view made for every row would cost more than the row's arithmetic.
    flat, whitened_flat = packed.reshape(-1), whitened.reshape(-1)
    prior_flat, turn_flat = prior.reshape(-1), turn_back.reshape(-1)
    n_prior = prior.size * prior.itemsize // VECTOR_BYTES
    waiting, filled = np.zeros(VECTOR_BYTES // packed.itemsize, np.int64), 0
    size = d * waiting.size if side_by_side else 0
    batch, diagonal = buffer((d + 1) * size, packed), buffer(size, packed)
    noise, roots, kept = (
        buffer(size, packed),
        buffer(size, packed),
        np.zeros(waiting.size, np.bool_),
    )
    failed = -1
    next_heavy = 0
    for row in range(start, stop):
        while next_heavy < heavy.size and heavy[next_heavy] < row:
            next_heavy += 1
        lo, hi = indptr[row], indptr[row + 1]
        at = normal_starts[row] - normal_starts[start] if draw else 0
        if draw and normal_starts[row + 1] - normal_starts[row] > d:
            solved = draw_low_row(
                lo, hi, partners, targets, whitened_flat, whitened.shape[1], expected, root, d,
                mean, turn_flat, normals, at, system, tile, across, white, theta, inverse, right,
                x, dots, scratch, out, row,
            )  # fmt: skip
        else:
            simd.copy_vectors(system, 0, prior_flat, 0, n_prior)
            if weigh_prior:
                for a in range(prior.size):
                    system[a] *= hi - lo
            if next_heavy < heavy.size and heavy[next_heavy] == row:
                for a in range(prior.size):
                    system[a] += heavy_sums[next_heavy, a]
            else:
                _add_ratings(
                    lo, hi, partners, targets, flat, width, offsets, root, k, has_bias, system,
                    ld, tile, beside, sums,
                )  # fmt: skip
            if side_by_side:
                lanes.put(system, ld, d, normals, at, draw, filled, batch, diagonal, noise)
                waiting[filled] = row
                filled += 1
                if filled == waiting.size:
                    failed = _solve_batch(
                        batch, diagonal, noise, roots, kept, d, waiting, filled, out, failed
                    )
                    filled = 0
                continue
            solved = _solve(
                system, ld, d, normals, at, draw, inverse, right, x, dots, scratch, out, row
            )
        if not solved:
            failed = row if failed < 0 else min(row, failed)
    if filled > 0:
        failed = _solve_batch(batch, diagonal, noise, roots, kept, d, waiting, filled, out, failed)
    return failed
