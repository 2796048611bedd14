"""Small dense matrices in one-dimensional buffers: Gram sums, Cholesky factors, solves.

A system P x = r is kept by rows, upper triangle, with the right-hand side as one more column: the
buffer [P | r] has `whole(d + 1)` numbers a row and `padded_rows(d)` rows. Factoring it as U'U makes
U^-T r of the last column on the way. Rows and columns beyond d are padding: what is written there
is never read as a result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba.extending import register_jitable

from bayesmf.kernels import simd
from bayesmf.kernels.compiling import inlined, inner
from bayesmf.kernels.vectors import PANEL, VECTOR_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

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


@register_jitable
def pivot_tolerance(itemsize: int) -> float:
    """Share of a diagonal number below which what is left of it as a pivot is rounding."""
    return 1e-14 if itemsize == 8 else 1e-6


def _outer(rows: int, sign: int = 1) -> Callable[..., Any]:
    """Make C[r, :] += sign * sum_t A[t, r] B[t, :] for so many rows and any number of vectors."""
    one, two, three = (simd.products(rows, vectors, sign) for vectors in (1, 2, 3))

    @inner
    def outer(c, c_at, c_ld, a, a_at, a_step, a_row, b, b_at, b_ld, n_vectors, n):
        w = VECTOR_BYTES // c.itemsize
        left = n_vectors
        while left > 0:
            # Three vectors at a time, but two and two of a last four.
            if left == 3 or left > 4:
                three(c, c_at, c_ld, a, a_at, a_step, a_row, b, b_at, b_ld, n)
                now = 3
            elif left >= 2:
                two(c, c_at, c_ld, a, a_at, a_step, a_row, b, b_at, b_ld, n)
                now = 2
            else:
                one(c, c_at, c_ld, a, a_at, a_step, a_row, b, b_at, b_ld, n)
                now = 1
            c_at, b_at, left = c_at + now * w, b_at + now * w, left - now

    return outer


# A[t, r] stands `t a_step + r a_row` after `a_at`; the columns are whole vectors.
add_one, add_two, add_panel = _outer(1), _outer(2), _outer(PANEL)
_subtract_one, _subtract_panel = _outer(1, -1), _outer(PANEL, -1)


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
        at, one = a * c_ld + first, np.intp(1)
        if d - a == 1:
            add_one(c, at, c_ld, tile, a, tile_ld, one, tile, first, tile_ld, n_vectors, n)
        elif d - a == 2:
            add_two(c, at, c_ld, tile, a, tile_ld, one, tile, first, tile_ld, n_vectors, n)
        else:
            add_panel(c, at, c_ld, tile, a, tile_ld, one, tile, first, tile_ld, n_vectors, n)


@inlined
def _factor_corner(p, p_ld, a, d, inverse):
    # The last few rows, whose only columns are their own and the right-hand side: number by number.
    # A pivot below zero becomes NaN.
    for i in range(a, d):
        pivot = p[i * p_ld + i]
        for k in range(a, i):
            pivot -= p[k * p_ld + i] * p[k * p_ld + i]
        inverse[i] = 1 / np.sqrt(pivot)
        for j in range(i + 1, d + 1):
            value = p[i * p_ld + j]
            for k in range(a, i):
                value -= p[k * p_ld + i] * p[k * p_ld + j]
            p[i * p_ld + j] = value * inverse[i]


@inlined
def factor(p, p_ld, d, inverse, scratch):
    """Replace P (d, d) by U with U'U = P and column d, r, by U^-T r; tell whether it could.

    A panel of rows at a time: take away what earlier rows explain, factor the panel's diagonal
    block in registers, solve the rest of the panel with it. `inverse` gets the inverses of the
    diagonal of U; `scratch` has room for a panel's triangle and its diagonal.
    """
    w = VECTOR_BYTES // p.itemsize
    tolerance, one = pivot_tolerance(p.itemsize), np.intp(1)
    for a in range(0, d, PANEL):
        first = a // w * w
        n_vectors = (p_ld - first) // w
        rows = min(PANEL, d - a)
        for r in range(rows):
            scratch[TRIANGLE + r] = p[(a + r) * p_ld + a + r]
        # Take away what earlier rows of U explain.
        at = a * p_ld + first
        if a > 0 and rows == 1:
            _subtract_one(p, at, p_ld, p, a, p_ld, one, p, first, p_ld, n_vectors, a)
        elif a > 0:
            _subtract_panel(p, at, p_ld, p, a, p_ld, one, p, first, p_ld, n_vectors, a)
        if rows <= PANEL // 2:
            _factor_corner(p, p_ld, a, d, inverse)
        else:
            simd.factor_diagonal(p, a * p_ld + a, p_ld, scratch, inverse, a)
            simd.solve_panel(p, a * p_ld + first, p_ld, scratch, inverse, a, n_vectors)
        for r in range(rows):
            # A pivot lost to rounding is no pivot: in I + Phi Phi' ratings can outweigh the prior
            # by more than the numbers have digits.
            inverted = inverse[a + r]
            if not (
                inverted > 0.0 and inverted * inverted * tolerance * scratch[TRIANGLE + r] < 1.0
            ):
                return False
    return True


@inlined
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
