"""Similarities of rows from their common partners, and predictions from the most similar ones."""

from __future__ import annotations

import numpy as np

from bayesmf.kernels.compiling import compiled


@compiled
def similarity_rows(
    wanted, own_indptr, own_partners, own_residuals, indptr, partners, residuals, shrinkage,
    min_support, out,
):  # fmt: skip
    """Write the similarities of some rows (codes) to all rows of their side, (n_wanted, n_rows).

    `own_` are the ratings row by row of this side, the others those row by row of the other side.
    Sums go over common partners alone: of products, of squares of either row, and of ones. A row is
    not similar to itself, and zero stands for too little that is common.
    """
    n = own_indptr.size - 1
    sums, counts = np.zeros((n, 3)), np.zeros(n, np.int64)
    met = np.empty(n, np.int64)
    out[:] = 0.0
    for at in range(wanted.size):
        row, n_met = wanted[at], 0
        for t in range(own_indptr[row], own_indptr[row + 1]):
            own, other = own_residuals[t], own_partners[t]
            for s in range(indptr[other], indptr[other + 1]):
                j = partners[s]
                if counts[j] == 0:
                    met[n_met] = j
                    n_met += 1
                counts[j] += 1
                sums[j, 0] += own * residuals[s]
                sums[j, 1] += own * own
                sums[j, 2] += residuals[s] * residuals[s]
        for a in range(n_met):
            j = met[a]
            scale = np.sqrt(sums[j, 1] * sums[j, 2])
            if j != row and counts[j] >= min_support and scale > 0.0:
                common = counts[j] - 1.0
                out[at, j] = common / (common + shrinkage) * sums[j, 0] / scale
            # Few rows have something in common where there are many: those alone are cleared.
            sums[j, :], counts[j] = 0.0, 0


@compiled
def weighted_residuals(rows, others, similarities, indptr, partners, residuals, n_neighbors, out):
    """Write for each cell the weighted mean of residuals over the most similar rated rows.

    `rows` (n_cells,) are positions in `similarities` (n_here, n_rows), `others` the codes of the
    other side, whose ratings are looked through. Of equal similarities the first code counts.
    """
    best, chosen = np.empty(n_neighbors), np.empty(n_neighbors)
    for cell in range(out.size):
        found = 0
        for t in range(indptr[others[cell]], indptr[others[cell] + 1]):
            similarity = np.float64(similarities[rows[cell], partners[t]])
            if similarity <= 0.0 or (found == n_neighbors and similarity <= best[found - 1]):
                continue
            # Sorted as they come: the lists are short, and a late one seldom goes far up.
            at = min(found, n_neighbors - 1)
            while at > 0 and best[at - 1] < similarity:
                best[at], chosen[at] = best[at - 1], chosen[at - 1]
                at -= 1
            best[at], chosen[at] = similarity, residuals[t]
            found = min(found + 1, n_neighbors)
        weight, total = 0.0, 0.0
        for a in range(found):
            weight += best[a]
            total += best[a] * chosen[a]
        out[cell] = total / weight if found else 0.0
