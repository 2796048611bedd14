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


def _outer(rows: int) -> Callable[..., Any]:
    """Make C[r, :] += sum_t A[t, r] B[t, :] for so many rows and any number of vectors."""
    one, two, three = (simd.products(rows, vectors) for vectors in (1, 2, 3))

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
def factor(p, p_ld, d, inverse):
    """Replace P (d, d) by U with U'U = P and column d, r, by U^-T r; tell whether it could.

    Row by row: take away what earlier rows explain, and scale. `inverse` gets the inverses of the
    diagonal of U.
    """
    w = VECTOR_BYTES // p.itemsize
    tolerance, one = pivot_tolerance(p.itemsize), np.intp(1)
    for i in range(d):
        first, own = i // w * w, i * p_ld
        diagonal = p[own + i]
        # The sums of `add_one` grow: what is left is reached from below.
        for j in range(first, p_ld):
            p[own + j] = -p[own + j]
        at, n_vectors = own + first, (p_ld - first) // w
        add_one(p, at, p_ld, p, i, p_ld, one, p, first, p_ld, n_vectors, i)
        # A pivot below zero becomes NaN.
        inverted = 1 / np.sqrt(-p[own + i])
        # A pivot lost to rounding is no pivot: in I + Phi Phi' ratings can outweigh the prior by
        # more than the numbers have digits.
        if not inverted * inverted * tolerance * diagonal < 1.0:
            return False
        inverse[i] = inverted
        for j in range(first, p_ld):
            p[own + j] *= -inverted
    return True


@inlined
def back_substitute(u, u_ld, d, inverse, right, x):
    """Solve U x = right (d,) from the last row up; x, a whole row of U, comes as zeros."""
    w = VECTOR_BYTES // u.itemsize
    for i in range(d - 1, -1, -1):
        # x is still zero where it is not yet solved, and beyond its end.
        first = i // w * w
        explained: Any = simd.dot(u, i * u_ld + first, x, first, (u_ld - first) // w)
        x[i] = (right[i] - explained) * inverse[i]
