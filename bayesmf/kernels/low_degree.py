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
from bayesmf.kernels.compiling import compiled, inner
from bayesmf.kernels.dense import add_gram, add_outer, back_substitute, factor, whole
from bayesmf.kernels.vectors import PANEL, VECTOR_BYTES


@compiled
def whiten(start, stop, packed, k, has_bias, root, turn, out):
    """Write phi_j = L^-1 sqrt(alpha) x_j for partners start..stop into `out`.

    `packed` holds sqrt(alpha) times their factors; `turn` is L^-T (D, D), its rows padded to whole
    vectors.
    """
    width, out_width = packed.shape[1], out.shape[1]
    n_vectors = out_width * out.itemsize // VECTOR_BYTES
    flat, whitened, turn_flat = packed.reshape(-1), out.reshape(-1), turn.reshape(-1)
    zero, one = np.intp(0), np.intp(1)
    for first in range(start, stop, PANEL):
        rows = min(PANEL, stop - first)
        for j in range(first, first + rows):
            for a in range(out_width):
                out[j, a] = root * turn[k, a] if has_bias else 0.0
        at, step = first, rows
        while at < first + rows:
            # A last, short panel goes row by row.
            step = PANEL if rows == PANEL else 1
            add_outer(
                whitened, at * out_width, out_width, flat, at * width, one, width, step,
                turn_flat, zero, out_width, n_vectors, k,
            )  # fmt: skip
            at += step


@inner
def draw_low_row(
    lo, hi, partners, targets, whitened, width, expected, root, d, mean, turn_back, normals, at,
    system, tile, across, x, theta, inverse, right, t, dots, scratch, out, row,
):  # fmt: skip
    """Draw a row of ratings lo..hi in their space; tell whether its system could be solved.

    `whitened` and `turn_back`, L^-1 by rows, are flat, with `width` numbers a row; `expected` are
    the partners' c_j + x_j . mu; the row's normals z, delta begin at `at`. All from `system` to
    `scratch` is room to work in.
    """
    n, zero, one = hi - lo, np.intp(0), np.intp(1)
    n_vectors = width * whitened.itemsize // VECTOR_BYTES
    turned, ld = whole(n, whitened.itemsize), whole(n + 1, whitened.itemsize)
    for a in range(width):
        x[a] = normals[at + a] if a < d else 0.0
        theta[a] = mean[a] if a < d else 0.0
    for a in range(d):
        for s in range(n, turned):
            across[a * turned + s] = 0.0
    for a in range(n * ld):
        system[a] = 0.0
    for a in range(ld):
        t[a] = 0.0
    for s in range(n):
        j = np.intp(partners[lo + s])
        simd.copy_vectors(tile, s * width, whitened, j * width, n_vectors)
        for a in range(d):
            across[a * turned + s] = tile[s * width + a]
        rho = root * (targets[lo + s] - expected[j])
        noise = simd.dot(tile, s * width, x, 0, n_vectors) + normals[at + d + s]
        system[s * ld + s] = 1.0
        system[s * ld + n] = rho - noise
    add_gram(system, ld, across, turned, n, d)
    if not factor(system, ld, n, inverse, scratch):
        return False
    for s in range(n):
        right[s] = system[s * ld + n]
    back_substitute(system, ld, n, inverse, right, t, dots)
    # x = z + Phi' t, then theta = mu + L^-T x: sums of rows, each times one number.
    add_outer(x, zero, width, t, zero, one, zero, one, tile, zero, width, n_vectors, n)
    add_outer(theta, zero, width, x, zero, one, zero, one, turn_back, zero, width, n_vectors, d)
    for a in range(d):
        out[row, a] = theta[a]
    return True
