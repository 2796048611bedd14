"""Log densities and their gradients in one pass over rows or ratings, for Hamiltonian dynamics.

The rows of one side are (n, D): factors and, where there are biases, those as last coordinate.
"""

from __future__ import annotations

import math

import numpy as np

from bayesmf.kernels.compiling import compiled

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


@compiled
def row_density(rows, mean, root):
    """Log density of rows ~ Normal(mean, (B B')^-1) with root B (D, D), lower triangular.

    With z = B'(x - mean) a row x has log |B| - |z|^2 / 2. Returns the sum over rows as an array of
    no dimensions, and its gradients by the rows, the mean and the root.
    """
    n, d = rows.shape
    by_rows, by_mean, by_root = np.empty((n, d)), np.zeros(d), np.zeros((d, d))
    apart, white = np.empty(d), np.empty(d)
    total = -HALF_LOG_2PI * n * d
    for a in range(d):
        total += n * math.log(root[a, a])
        by_root[a, a] = n / root[a, a]
    for row in range(n):
        white[:] = 0.0
        for a in range(d):
            apart[a] = rows[row, a] - mean[a]
            for b in range(a + 1):
                white[b] += root[a, b] * apart[a]
        for a in range(d):
            total -= 0.5 * white[a] * white[a]
            slope = 0.0
            for b in range(a + 1):
                slope += root[a, b] * white[b]
                by_root[a, b] -= apart[a] * white[b]
            by_rows[row, a] = -slope
            by_mean[a] += slope
    return np.asarray(total), by_rows, by_mean, by_root


@compiled
def squared_error(user_rows, item_rows, users, items, targets, k):
    """Sum of squared residuals of targets (n,) of cells (users, items), with k factors.

    Returns it as an array of no dimensions, and its gradients by both sides' rows.
    """
    by_users, by_items = np.zeros(user_rows.shape), np.zeros(item_rows.shape)
    has_bias = user_rows.shape[1] > k
    total = 0.0
    for t in range(targets.size):
        i, j = users[t], items[t]
        error = targets[t]
        for a in range(k):
            error -= user_rows[i, a] * item_rows[j, a]
        if has_bias:
            error -= user_rows[i, k] + item_rows[j, k]
        total += error * error
        slope = -2.0 * error
        for a in range(k):
            by_users[i, a] += slope * item_rows[j, a]
            by_items[j, a] += slope * user_rows[i, a]
        if has_bias:
            by_users[i, k] += slope
            by_items[j, k] += slope
    return np.asarray(total), by_users, by_items
