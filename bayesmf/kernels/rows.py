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
from bayesmf.kernels.compiling import compiled, inlined
from bayesmf.kernels.dense import add_gram, add_one, add_two, buffer
from bayesmf.kernels.lookup import add_looked_up
from bayesmf.kernels.vectors import AHEAD, VECTOR_BYTES

TILE = 128
"""Ratings gathered at a time: many enough for long sums in registers, few enough to stay near."""


@inlined
def _add_tiles(
    lo, hi, partners, targets, flat, width, offsets, root, k, has_bias, system, ld, tile, beside,
    sums,
):  # fmt: skip
    # As `lookup.add_looked_up`, for any width. Beside a tile stand the columns 1 and
    # sqrt(alpha) (y - c), whose products with it go to `sums`.
    n_vectors = width * flat.itemsize // VECTOR_BYTES
    zero, one, two = np.intp(0), np.intp(1), np.intp(2)
    for a in range(2 * width + 1):
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
            beside[2 * t], beside[2 * t + 1] = 1.0, y
            total += y
        add_gram(system, ld, tile, width, k, m)
        if has_bias:
            add_two(sums, zero, width, beside, zero, two, one, tile, zero, width, n_vectors, m)
        else:
            add_one(sums, width, width, beside, one, two, one, tile, zero, width, n_vectors, m)
    sums[2 * width] = total


@inlined
def _add_ratings(
    lo, hi, partners, targets, look_up, flat, width, offsets, root, k, has_bias, system, ld, tile,
    beside, sums,
):  # fmt: skip
    # Add what the ratings lo..hi say to a row's system [P | r] (`dense.py`).
    if hi == lo:
        return
    d = k + 1 if has_bias else k
    if look_up and width * flat.itemsize == VECTOR_BYTES:
        add_looked_up(
            system, ld, sums, partners, targets, lo, hi - lo, flat, offsets, root, k, width
        )
    else:
        _add_tiles(
            lo, hi, partners, targets, flat, width, offsets, root, k, has_bias, system, ld, tile,
            beside, sums,
        )  # fmt: skip
    for a in range(k):
        system[a * ld + d] += sums[width + a]
    if has_bias:
        for a in range(k):
            system[a * ld + k] += root * sums[a]
        system[k * ld + k] += root * root * (hi - lo)
        system[k * ld + d] += root * sums[2 * width]


@compiled
def sum_segment(lo, hi, partners, targets, look_up, packed, offsets, root, k, has_bias, ld, system):
    """Write what the ratings lo..hi of a heavy row say into `system`, [P | r] of no prior."""
    width = packed.shape[1]
    tile, beside = buffer(TILE * width, packed), buffer(2 * TILE, packed)
    sums = buffer(2 * width + 1, packed)
    _add_ratings(
        lo, hi, partners, targets, look_up, packed.reshape(-1), width, offsets, root, k, has_bias,
        system, ld, tile, beside, sums,
    )  # fmt: skip


@compiled
def update_rows(
    start, stop, indptr, partners, targets, look_up, packed, offsets, root, k, has_bias, prior,
    weigh_prior, heavy, heavy_sums, normals, normal_starts, out,
):  # fmt: skip
    """Update rows start..stop of one side, given the other; return the first that failed, or -1.

    Parameters
    ----------
    start, stop : int
        Block of rows.
    indptr : ndarray of int64, shape (n_rows + 1,)
    partners : ndarray of int32, shape (n_ratings,)
    targets : ndarray, shape (n_ratings,)
        Ratings of this side on the working scale. Its type is that of all others.
    look_up : bool
        Look up partners of one vector one by one.
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
    heavy : ndarray of int64, shape (n_heavy,)
        Rows whose ratings have been summed up, in order.
    heavy_sums : ndarray, shape (n_heavy, padded_rows(D) * whole(D + 1))
        What they say.
    normals : ndarray, shape (n_normals,) or (0,)
        Standard normals of the rows; without any, the conditional means are written.
    normal_starts : ndarray of int64, shape (n_rows + 1,)
        Where each row's begin among those of all rows; `normals` begin with those of row `start`. A
        row with more than D of them is left alone: it is drawn in the space of its ratings
        (`low_degree.py`).
    out : ndarray, shape (n_rows, D)
        Written in rows start..stop only.
    """
    width, ld = packed.shape[1], prior.shape[1]
    d = k + 1 if has_bias else k
    draw = normals.size > 0
    last = stop - 1
    while draw and last >= start and normal_starts[last + 1] - normal_starts[last] > d:
        last -= 1
    if last < start:
        return -1
    tile, beside = buffer(TILE * width, packed), buffer(2 * TILE, packed)
    sums = buffer(2 * width + 1, packed)
    # Taken once: a view made for every row would cost more than the row's arithmetic.
    flat, prior_flat = packed.reshape(-1), prior.reshape(-1)
    n_prior = prior.size * prior.itemsize // VECTOR_BYTES
    # Systems wait until there is one for each lane of a vector.
    together = VECTOR_BYTES // packed.itemsize
    systems, size = buffer(together * prior.size, packed), together * (d + lanes.padding(d))
    batch = buffer(together * lanes.batch_size(d, ld), packed)
    noise, solutions = buffer(size, packed), buffer(size, packed)
    diagonal, roots = buffer(size, packed), buffer(size, packed)
    waiting, kept, filled = np.zeros(together, np.intp), np.zeros(together, np.bool_), 0
    lanes.clear(batch, d, ld)
    failed, next_heavy = -1, 0
    for row in range(start, stop):
        at = np.intp(0)
        if draw:
            at = normal_starts[row] - normal_starts[start]
            if normal_starts[row + 1] - normal_starts[row] > d:
                continue
        lo, hi = indptr[row], indptr[row + 1]
        system = systems[filled * prior.size : (filled + 1) * prior.size]
        simd.copy_vectors(system, 0, prior_flat, 0, n_prior)
        if weigh_prior:
            for a in range(prior.size):
                system[a] *= hi - lo
        while next_heavy < heavy.size and heavy[next_heavy] < row:
            next_heavy += 1
        if next_heavy < heavy.size and heavy[next_heavy] == row:
            for a in range(prior.size):
                system[a] += heavy_sums[next_heavy, a]
        else:
            _add_ratings(
                lo, hi, partners, targets, look_up, flat, width, offsets, root, k, has_bias,
                system, ld, tile, beside, sums,
            )  # fmt: skip
        if draw:
            lanes.put_noise(noise, filled, normals, at, d)
        waiting[filled] = row
        filled += 1
        if filled == together or row == last:
            lanes.solve(systems, ld, d, noise, batch, diagonal, roots, solutions, kept)
            for lane in range(filled):
                if kept[lane]:
                    lanes.take(solutions, d, lane, out, waiting[lane])
                else:
                    failed = waiting[lane] if failed < 0 else failed
            filled = 0
    return failed
