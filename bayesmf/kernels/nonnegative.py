"""One row of a non-negative factorization after the other, given the rows of the other side.

Each row u of a side has a problem of its own over its observed cells,

    minimise over u >= 0   sum_j (r_j - u . v_j)^2 + penalty |u|^2

and either update lowers its value or leaves it. The penalty is `reg`, with `weighted` times the
number of the row's ratings.
"""

from __future__ import annotations

import numpy as np

from bayesmf.kernels.compiling import compiled


@compiled
def update_by_coordinate(start, stop, indptr, partners, targets, rows, partner_rows, reg, weighted):
    """Minimise over one coordinate after the other (HALS: Cichocki & Phan 2009).

    Along coordinate a the problem is a parabola: its least value at u_a >= 0 is at
    max(0, (sum_j e_j v_ja + u_a h) / (h + penalty)), e the residuals and h = sum_j v_ja^2.
    """
    k = rows.shape[1]
    most = 0
    for row in range(start, stop):
        most = max(most, indptr[row + 1] - indptr[row])
    # Partners side by side, coordinate by coordinate: the loops below run along memory.
    tile, errors = np.empty((k, most)), np.empty(most)
    for row in range(start, stop):
        lo = indptr[row]
        n = indptr[row + 1] - lo
        penalty = reg * n if weighted else reg
        for t in range(n):
            j = partners[lo + t]
            explained = 0.0
            for a in range(k):
                tile[a, t] = partner_rows[j, a]
                explained += rows[row, a] * partner_rows[j, a]
            errors[t] = targets[lo + t] - explained
        for a in range(k):
            slope, curvature = 0.0, 0.0
            for t in range(n):
                slope += errors[t] * tile[a, t]
                curvature += tile[a, t] * tile[a, t]
            if curvature + penalty <= 0.0:
                continue  # the loss does not depend on it
            old = rows[row, a]
            new = max(0.0, (slope + curvature * old) / (curvature + penalty))
            change = new - old
            rows[row, a] = new
            for t in range(n):
                errors[t] -= change * tile[a, t]


@compiled
def update_by_ratio(start, stop, indptr, partners, targets, rows, partner_rows, reg, weighted):
    """Multiply each coordinate by a ratio (Lee & Seung 2001, eq. 4), over observed cells.

    u_a becomes u_a sum_j r_j v_ja / (sum_j (u . v_j) v_ja + penalty u_a), all coordinates at once.
    With weights of zero and one that is the WNMF of Zhang, Wang, Ford & Makedon (2006).
    """
    k = rows.shape[1]
    above, below = np.empty(k), np.empty(k)
    for row in range(start, stop):
        n = indptr[row + 1] - indptr[row]
        penalty = reg * n if weighted else reg
        for a in range(k):
            above[a], below[a] = 0.0, penalty * rows[row, a]
        for t in range(indptr[row], indptr[row + 1]):
            j = partners[t]
            explained = 0.0
            for a in range(k):
                explained += rows[row, a] * partner_rows[j, a]
            for a in range(k):
                above[a] += targets[t] * partner_rows[j, a]
                below[a] += explained * partner_rows[j, a]
        for a in range(k):
            if below[a] > 0.0:
                rows[row, a] *= above[a] / below[a]
