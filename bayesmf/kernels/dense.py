"""Small dense matrices in one-dimensional buffers: Gram sums, Cholesky factors, solves.

A matrix of a row's system is kept by rows, upper triangle, with the right-hand side as one more
column: P x = r is the buffer [P | r] with `whole(d + 1)` numbers a row and `padded_rows(d)` rows.
Factoring it as U'U turns the last column into U^-T r on the way. Rows and columns beyond d are
padding: what is written there is never read as a result.
"""

from __future__ import annotations

import math

import numpy as np
from numba.extending import register_jitable

from bayesmf.kernels import simd
from bayesmf.kernels.compiling import inner
from bayesmf.kernels.vectors import PANEL, VECTOR_BYTES

ALIGNMENT = 64
TRIANGLE = PANEL * PANEL
SCRATCH = TRIANGLE + PANEL
"""Numbers that `factor` needs room for."""


@register_jitable
def whole(columns: int, itemsize: int) -> int:
    """Numbers from one row of a buffer to the next: whole vectors and whole panels."""
    unit = max(VECTOR_BYTES // itemsize, PANEL)
    return (columns + unit - 1) // unit * unit


@register_jitable
def padded_rows(d: int) -> int:
    """Rows of a buffer: whole panels."""
    return (d + PANEL - 1) // PANEL * PANEL


@inner
def buffer(size, like):
    """Zeros of the type of `like`, starting where a vector load crosses no cache line."""
    spare = ALIGNMENT // like.itemsize
    memory = np.zeros(size + spare, like.dtype)
    skip = (-memory.ctypes.data // like.itemsize) % spare
    return memory[skip : skip + size]


@inner
def _columns_at_once(left):
    # Three vectors at a time, but two and two of a last four.
    return 3 if left >= 3 and left != 4 else min(left, 2)


@inner
def _add_one(c, c_at, c_ld, a, a_at, a_step, a_row, b, b_at, b_ld, vectors, n):
    if vectors == 3:
        simd.add_1x3(c, c_at, c_ld, a, a_at, a_step, a_row, b, b_at, b_ld, n)
    elif vectors == 2:
        simd.add_1x2(c, c_at, c_ld, a, a_at, a_step, a_row, b, b_at, b_ld, n)
    else:
        simd.add_1x1(c, c_at, c_ld, a, a_at, a_step, a_row, b, b_at, b_ld, n)


@inner
def _add_two(c, c_at, c_ld, a, a_at, a_step, a_row, b, b_at, b_ld, vectors, n):
    if vectors == 3:
        simd.add_2x3(c, c_at, c_ld, a, a_at, a_step, a_row, b, b_at, b_ld, n)
    elif vectors == 2:
        simd.add_2x2(c, c_at, c_ld, a, a_at, a_step, a_row, b, b_at, b_ld, n)
    else:
        simd.add_2x1(c, c_at, c_ld, a, a_at, a_step, a_row, b, b_at, b_ld, n)


@inner
def _add_panel(c, c_at, c_ld, a, a_at, a_step, a_row, b, b_at, b_ld, vectors, n):
    if vectors == 3:
        simd.add_px3(c, c_at, c_ld, a, a_at, a_step, a_row, b, b_at, b_ld, n)
    elif vectors == 2:
        simd.add_px2(c, c_at, c_ld, a, a_at, a_step, a_row, b, b_at, b_ld, n)
    else:
        simd.add_px1(c, c_at, c_ld, a, a_at, a_step, a_row, b, b_at, b_ld, n)


@inner
def add_outer(c, c_at, c_ld, a, a_at, a_step, a_row, rows, b, b_at, b_ld, n_vectors, n):
    """C[r, :] += sum_t A[t, r] B[t, :], for 1, 2 or PANEL rows and whole vectors of columns.

    A[t, r] stands `t a_step + r a_row` after `a_at`.
    """
    w = VECTOR_BYTES // c.itemsize
    v = 0
    while v < n_vectors:
        now = _columns_at_once(n_vectors - v)
        c_from, b_from = c_at + v * w, b_at + v * w
        if rows == 1:
            _add_one(c, c_from, c_ld, a, a_at, a_step, a_row, b, b_from, b_ld, now, n)
        elif rows == 2:
            _add_two(c, c_from, c_ld, a, a_at, a_step, a_row, b, b_from, b_ld, now, n)
        else:
            _add_panel(c, c_from, c_ld, a, a_at, a_step, a_row, b, b_from, b_ld, now, n)
        v += now


@inner
def add_gram(c, c_ld, tile, tile_ld, d, n):
    """Add the upper triangle of X'X to C, X the first n rows and d columns of a tile.

    The tile is zero from column d to `tile_ld`. What is left of the diagonal in a panel's first
    vector is added too.
    """
    w = VECTOR_BYTES // c.itemsize
    for a in range(0, d, PANEL):
        first = a // w * w
        n_vectors = tile_ld // w - a // w
        rows = PANEL
        if d - a <= 2:
            rows = d - a
        add_outer(
            c, a * c_ld + first, c_ld, tile, a, tile_ld, np.intp(1), rows, tile, first, tile_ld,
            n_vectors, n,
        )  # fmt: skip


@inner
def _subtract_outer(c, c_at, c_ld, rows, a_at, b_at, n_vectors, n):
    # C[r, :] -= sum_t C[t, a + r] C[t, :]: what earlier rows of U explain.
    w = VECTOR_BYTES // c.itemsize
    v = 0
    while v < n_vectors:
        now = 1 if rows == 1 else _columns_at_once(n_vectors - v)
        at, b_from = c_at + v * w, b_at + v * w
        if rows == 1:
            simd.subtract_1x1(c, at, c_ld, c, a_at, c_ld, 1, c, b_from, c_ld, n)
        elif now == 3:
            simd.subtract_px3(c, at, c_ld, c, a_at, c_ld, 1, c, b_from, c_ld, n)
        elif now == 2:
            simd.subtract_px2(c, at, c_ld, c, a_at, c_ld, 1, c, b_from, c_ld, n)
        else:
            simd.subtract_px1(c, at, c_ld, c, a_at, c_ld, 1, c, b_from, c_ld, n)
        v += now


@inner
def _factor_corner(p, p_ld, a, d, inverse):
    # The last few rows, whose only columns are their own and the right-hand side: number by number.
    for i in range(a, d):
        pivot = p[i * p_ld + i]
        for k in range(a, i):
            pivot -= p[k * p_ld + i] * p[k * p_ld + i]
        inverse[i] = 1 / math.sqrt(pivot) if pivot > 0 else p.dtype.type(np.nan)
        for j in range(i + 1, d + 1):
            value = p[i * p_ld + j]
            for k in range(a, i):
                value -= p[k * p_ld + i] * p[k * p_ld + j]
            p[i * p_ld + j] = value * inverse[i]


@inner
def factor(p, p_ld, d, inverse, scratch):
    """Replace P (d, d) by U with U'U = P and column d, r, by U^-T r; tell whether it could.

    A panel of rows at a time: take away what earlier rows explain, factor the panel's diagonal
    block in registers, solve the rest of the panel with it. `inverse` gets the inverses of the
    diagonal of U, which itself is not written; `scratch` has room for a panel's triangle and its
    diagonal.
    """
    w = VECTOR_BYTES // p.itemsize
    lost = 1e-14 if p.itemsize == 8 else 1e-6
    for a in range(0, d, PANEL):
        first = a // w * w
        n_vectors = (p_ld - first) // w
        rows = min(PANEL, d - a)
        for r in range(rows):
            scratch[TRIANGLE + r] = p[(a + r) * p_ld + a + r]
        if a > 0:
            _subtract_outer(p, a * p_ld + first, p_ld, rows, a, first, n_vectors, a)
        if rows <= PANEL // 2:
            _factor_corner(p, p_ld, a, d, inverse)
        else:
            simd.factor_diagonal(p, a * p_ld + a, p_ld, scratch, inverse, a)
            simd.solve_panel(p, a * p_ld + first, p_ld, scratch, inverse, a, n_vectors)
        for r in range(rows):
            # A pivot lost to rounding is no pivot: it marks a singular system (ALS without reg).
            inverted = inverse[a + r]
            if not (inverted > 0.0 and inverted * inverted * lost * scratch[TRIANGLE + r] < 1.0):
                return False
    return True


@inner
def back_substitute(u, u_ld, d, inverse, right, x, sums):
    """Solve U x = right (d,) from the last row up; x is padded with zeros to a whole row of U."""
    w = VECTOR_BYTES // u.itemsize
    for a in range((d - 1) // PANEL * PANEL, -1, -PANEL):
        stop = min(a + PANEL, d)
        for r in range(PANEL):
            sums[r] = 0.0
        if stop < d:
            first = (a + PANEL) // w * w
            # x is still zero between `first` and the rows solved so far.
            simd.add_dots(sums, u, a * u_ld + first, u_ld, x, first, (u_ld - first) // w)
        for i in range(stop - 1, a - 1, -1):
            value = right[i] - sums[i - a]
            for k in range(stop - 1, i, -1):
                value -= u[i * u_ld + k] * x[k]
            x[i] = value * inverse[i]
