"""Rows with few ratings, drawn in the space of their ratings: n x n systems instead of D x D.

Bhattacharya, Chakraborty & Mallick (2016), "Fast sampling with Gaussian scale mixture priors in
high-dimensional regression", section 2, with one prior precision Lambda = L L' for all rows of a
side, so that the partners are whitened once a sweep: phi_j = sqrt(alpha) L^-1 x_j. With the prior
mean's residuals rho_j = sqrt(alpha) (y_j - c_j - x_j . mu), normals z (D,) and delta (n,),

    (Phi Phi' + I) t = rho - Phi z - delta,      theta = mu + L^-T (z + Phi' t)

has exactly the distribution of the row's conditional. It costs n^2 D + n^3 / 3 where the usual way
costs n D^2 + D^3 / 3.
"""

from __future__ import annotations

import numpy as np

from bayesmf.kernels import simd
from bayesmf.kernels.compiling import compiled
from bayesmf.kernels.dense import (
    add_gram,
    add_one,
    back_substitute,
    buffer,
    factor,
    padded_rows,
    whole,
)
from bayesmf.kernels.vectors import VECTOR_BYTES


@compiled
def draw_low_rows(
    start, stop, indptr, partners, targets, whitened, expected, root, mean, turn_back, normals,
    normal_starts, out,
):  # fmt: skip
    """Draw those of the rows start..stop that have normals for their ratings.

    Returns the first row whose system could not be solved, or -1. The arguments are those of
    `rows.update_rows`; but `whitened` (n_partners, whole(D)) and `turn_back`, L^-1 (D, whole(D)),
    are padded with zeros, and `expected` (n_partners,) are the partners' c_j + x_j . mu.
    """
    d, width = out.shape[1], whitened.shape[1]
    most = 0
    for row in range(start, stop):
        most = max(most, normal_starts[row + 1] - normal_starts[row] - d)
    if most == 0:
        return -1
    widest = max(whole(most + 1, whitened.itemsize), width)
    tile, across = (
        buffer(most * width, whitened),
        buffer(d * whole(most, whitened.itemsize), whitened),
    )
    system = buffer(padded_rows(most) * widest, whitened)
    inverse, right, t = buffer(widest, whitened), buffer(widest, whitened), buffer(widest, whitened)
    x, theta = buffer(width, whitened), buffer(width, whitened)
    # Taken once: a view made for every row would cost more than the row's arithmetic.
    flat, turn_flat = whitened.reshape(-1), turn_back.reshape(-1)
    n_vectors = width * whitened.itemsize // VECTOR_BYTES
    zero, one = np.intp(0), np.intp(1)
    failed = -1
    for row in range(start, stop):
        if normal_starts[row + 1] - normal_starts[row] <= d:
            continue
        at, lo = normal_starts[row] - normal_starts[start], indptr[row]
        n = indptr[row + 1] - lo
        turned, ld = whole(n, whitened.itemsize), whole(n + 1, whitened.itemsize)
        for a in range(d):
            x[a], theta[a] = normals[at + a], mean[a]
            for s in range(n, turned):
                across[a * turned + s] = 0.0
        for a in range(n * ld):
            system[a] = 0.0
        for a in range(ld):
            t[a] = 0.0
        for s in range(n):
            j = np.intp(partners[lo + s])
            simd.copy_vectors(tile, s * width, flat, j * width, n_vectors)
            for a in range(d):
                across[a * turned + s] = tile[s * width + a]
            rho = root * (targets[lo + s] - expected[j])
            noise = simd.dot(tile, s * width, x, zero, n_vectors) + normals[at + d + s]
            system[s * ld + s] = 1.0
            system[s * ld + n] = rho - noise
        add_gram(system, ld, across, turned, n, d)
        if not factor(system, ld, n, inverse):
            failed = row if failed < 0 else failed
            continue
        for s in range(n):
            right[s] = system[s * ld + n]
        back_substitute(system, ld, n, inverse, right, t)
        # x = z + Phi' t, then theta = mu + L^-T x: sums of rows, each times one number.
        add_one(x, zero, width, t, zero, one, zero, tile, zero, width, n_vectors, n)
        add_one(theta, zero, width, x, zero, one, zero, turn_flat, zero, width, n_vectors, d)
        for a in range(d):
            out[row, a] = theta[a]
    return failed
