"""How well a row's ratings are foretold by a draw, the row integrated out.

Given the partners' rows, the noise and the prior of its side, the n ratings of one row are

    y ~ Normal(c + X mu, X Lambda^-1 X' + I / alpha)

X the partners' factors (and a 1 where there are biases), c their biases and the centre. With one
prior precision Lambda = L L' for all rows, partners are whitened once a draw, phi_j = sqrt(alpha)
L^-1 x_j, and with rho_j = sqrt(alpha) (y_j - c_j - x_j . mu) minus twice the log density is

    n log(2 pi / alpha) + log |I + Phi Phi'| + rho' (I + Phi Phi')^-1 rho

The determinant is that of I + Phi' Phi too (Sylvester), and with t = (I + Phi' Phi)^-1 Phi' rho the
last term is |rho - Phi t|^2 + |t|^2, sums in which nothing cancels: a row of more ratings than
coordinates needs a D x D system, any other an n x n one.
"""

from __future__ import annotations

import math

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

TILE = 128
"""Ratings gathered at a time, as in `rows.py`."""

_LOG_2PI = math.log(2 * math.pi)


@compiled
def row_evidence(start, stop, indptr, partners, targets, whitened, expected, root, d, out):
    """Write the log evidence of the rows start..stop into `out` (n_rows,).

    Parameters
    ----------
    start, stop : int
    indptr : ndarray of int64, shape (n_rows + 1,)
    partners : ndarray of int32, shape (n_ratings,)
    targets : ndarray of float64, shape (n_ratings,)
        Ratings of this side.
    whitened : ndarray of float64, shape (n_partners, whole(D))
        The partners as sqrt(alpha) L^-1 x_j, padded with zeros.
    expected : ndarray of float64, shape (n_partners,)
        What the prior of the row expects of a rating of the partner: c_j + x_j . mu.
    root : float
        sqrt(alpha).
    d : int
        D.
    out : ndarray of float64, shape (n_rows,)
        NaN where a system could not be factored, 0 for a row without ratings.
    """
    width = whitened.shape[1]
    # A row of at most D ratings is worked on in the space of these.
    most = min((indptr[start + 1 : stop + 1] - indptr[start:stop]).max(), d)
    size = max(TILE, most) * width
    tile, across = buffer(size, whitened), buffer(d * whole(most, whitened.itemsize), whitened)
    widest = whole(d + 1, whitened.itemsize)
    system = buffer(padded_rows(d) * widest, whitened)
    inverse, right, t = buffer(widest, whitened), buffer(widest, whitened), buffer(widest, whitened)
    sums, rho = buffer(width, whitened), buffer(TILE, whitened)
    flat = whitened.reshape(-1)
    n_vectors = width * whitened.itemsize // VECTOR_BYTES
    zero, one = np.intp(0), np.intp(1)
    for row in range(start, stop):
        lo = indptr[row]
        n = indptr[row + 1] - lo
        if n == 0:
            out[row] = 0.0
            continue
        few = n <= d
        rank = n if few else d
        ld = whole(rank + 1, whitened.itemsize)
        for a in range(padded_rows(rank) * ld):
            system[a] = 0.0
        if few:
            turned = whole(n, whitened.itemsize)
            for a in range(d):
                for s in range(n, turned):
                    across[a * turned + s] = 0.0
            for s in range(n):
                j = np.intp(partners[lo + s])
                for a in range(d):
                    across[a * turned + s] = flat[j * width + a]
                system[s * ld + n] = root * (targets[lo + s] - expected[j])
            for s in range(n):
                system[s * ld + s] = 1.0
            add_gram(system, ld, across, turned, n, d)
        else:
            for a in range(width):
                sums[a] = 0.0
            for first in range(0, n, TILE):
                m = min(TILE, n - first)
                for s in range(m):
                    j = np.intp(partners[lo + first + s])
                    simd.copy_vectors(tile, s * width, flat, j * width, n_vectors)
                    rho[s] = root * (targets[lo + first + s] - expected[j])
                add_gram(system, ld, tile, width, d, m)
                add_one(sums, zero, width, rho, zero, one, zero, tile, zero, width, n_vectors, m)
            for a in range(d):
                system[a * ld + a] += 1.0
                system[a * ld + d] = sums[a]
        if not factor(system, ld, rank, inverse):
            out[row] = np.nan
            continue
        determinant, quadratic = 0.0, 0.0
        for a in range(rank):
            determinant -= 2 * math.log(inverse[a])
        if few:
            for a in range(rank):
                quadratic += system[a * ld + rank] ** 2
        else:
            for a in range(rank):
                right[a] = system[a * ld + rank]
            for a in range(ld):
                t[a] = 0.0
            back_substitute(system, ld, d, inverse, right, t)
            for a in range(d):
                quadratic += t[a] ** 2
            for s in range(n):
                j = np.intp(partners[lo + s])
                left = root * (targets[lo + s] - expected[j])
                left -= simd.dot(flat, j * width, t, zero, n_vectors)
                quadratic += left**2
        out[row] = -0.5 * (n * (_LOG_2PI - 2 * math.log(root)) + determinant + quadratic)
