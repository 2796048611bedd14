"""Sums over draws for whole rows of the rating matrix, a tile of cells at a time.

A tile's expected ratings in a few draws, `products` (n_draws, n_rows, n_columns), come from matrix
products and are added to what stands for all draws, `sums` (n_users, n_items), from the cell
(row, column) on.
"""

from __future__ import annotations

import numpy as np

from bayesmf.kernels.compiling import compiled
from bayesmf.kernels.mixtures import _kernel, _mills


@compiled
def add_moments(products, row, column, sums, squares):
    """Add the products of all draws to `sums`, and their squares to `squares`."""
    n_draws, n_rows, n_columns = products.shape
    for i in range(n_rows):
        # Lines that stay in the cache, and that the compiler knows to start where they start.
        total = sums[row + i, column : column + n_columns]
        square = squares[row + i, column : column + n_columns]
        for s in range(n_draws):
            line = products[s, i]
            for j in range(n_columns):
                # As float64: the square of a large float32 is beyond its range.
                x = np.float64(line[j])
                total[j] += x
                square[j] += x * x


@compiled
def add_tails(products, above, weights, row, column, sums):
    """Add P(x + noise > above) to `sums`, the noise Normal(0, 1 / weights^2) of each draw.

    The distribution function is that of `mixtures`, to 1e-14.
    """
    n_draws, n_rows, n_columns = products.shape
    for i in range(n_rows):
        total = sums[row + i, column : column + n_columns]
        for s in range(n_draws):
            line, w = products[s, i], weights[s]
            for j in range(n_columns):
                z = (np.float64(line[j]) - above) * w
                tail = _kernel(z) * _mills(z)
                total[j] += 1 - tail if z > 0 else tail
