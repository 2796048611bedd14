"""Log densities of single ratings given all the others of their row, the row integrated out.

Given everything but one row theta = (u, b), the row's ratings are a Gaussian regression: residuals
y_j - center - c_j on x_j = (v_j, 1), prior Normal(mu, Lambda^-1), noise precision alpha. With
P = Lambda + alpha X'X, fitted residuals e and leverages h_j = alpha x_j' P^-1 x_j, a rating given
the row's other ratings is

    Normal(y_j - e_j / (1 - h_j), 1 / (alpha (1 - h_j)))

the deleted residual of linear regression: one factored system serves all ratings of a row.
"""

from __future__ import annotations

import math

import numpy as np

from bayesmf.kernels.compiling import compiled

_LOG_2PI = math.log(2 * math.pi)


@compiled
def integrated(
    draws, first, stop, rows, edges, entries, indptr, partners, targets, factors, bias, mean,
    precision, alpha, center, out,
):  # fmt: skip
    """Write log densities of some ratings of the rows first..stop into `out` (n_draws, n).

    Row `rows[r]` is asked for the ratings `entries[edges[r]:edges[r + 1]]`, which are places among
    the compressed rows (indptr, partners, targets) of its side. `draws` are the draws to use, of
    the partners' factors (n_kept, n_partners, K) and bias (n_kept, n_partners) or (n_kept, 0), of
    the side's mean (n_kept, D) and precision (n_kept, D, D), and of alpha (n_kept,). Where a
    precision cannot be factored the densities are NaN.
    """
    k, has_bias = factors.shape[2], bias.shape[1] > 0
    d = mean.shape[1]
    system, right, x = np.empty((d, d)), np.empty(d), np.empty(d)
    for at in range(draws.size):
        s = draws[at]
        noise = alpha[s]
        for r in range(first, stop):
            for a in range(d):
                right[a] = 0.0
                x[a] = 1.0
                for b in range(a, d):
                    system[a, b] = precision[s, a, b]
            for t in range(indptr[rows[r]], indptr[rows[r] + 1]):
                j = partners[t]
                # What the prior mean leaves: the solution is then small, and rounded less.
                left = targets[t] - center
                if has_bias:
                    left -= bias[s, j] + mean[s, k]
                for a in range(k):
                    x[a] = factors[s, j, a]
                    left -= x[a] * mean[s, a]
                for a in range(d):
                    weighted = noise * x[a]
                    right[a] += weighted * left
                    for b in range(a, d):
                        system[a, b] += weighted * x[b]
            # P = U'U in place, and right becomes P^-1 right.
            for a in range(d):
                root = math.sqrt(system[a, a])
                right[a] /= root
                for b in range(a, d):
                    system[a, b] /= root
                for c in range(a + 1, d):
                    by = system[a, c]
                    right[c] -= by * right[a]
                    for b in range(c, d):
                        system[c, b] -= by * system[a, b]
            for a in range(d - 1, -1, -1):
                for b in range(a + 1, d):
                    right[a] -= system[a, b] * right[b]
                right[a] /= system[a, a]
            for place in range(edges[r], edges[r + 1]):
                t = entries[place]
                j = partners[t]
                error = targets[t] - center
                if has_bias:
                    error -= bias[s, j] + mean[s, k] + right[k]
                    x[k] = 1.0
                for a in range(k):
                    x[a] = factors[s, j, a]
                    error -= x[a] * (mean[s, a] + right[a])
                # h = alpha |U^-T x|^2
                leverage = 0.0
                for a in range(d):
                    x[a] /= system[a, a]
                    leverage += x[a] * x[a]
                    for b in range(a + 1, d):
                        x[b] -= system[a, b] * x[a]
                kept = 1.0 - noise * leverage
                out[at, place] = 0.5 * (math.log(noise * kept) - _LOG_2PI - noise * error**2 / kept)


@compiled
def conditional(
    draws, users, items, targets, user_factors, item_factors, user_bias, item_bias, alpha, center,
    out,
):  # fmt: skip
    """Write log densities of targets (n,) of cells, given both rows, into `out` (n_draws, n).

    `draws` are the draws to use, of factors (n_kept, n_rows, K) and biases (n_kept, n_rows), or
    (n_kept, 0) where there are none.
    """
    k, has_bias = user_factors.shape[2], user_bias.shape[1] > 0
    for at in range(draws.size):
        s = draws[at]
        constant = 0.5 * (math.log(alpha[s]) - _LOG_2PI)
        for place in range(users.size):
            i, j = users[place], items[place]
            error = targets[place] - center
            for a in range(k):
                error -= np.float64(user_factors[s, i, a]) * np.float64(item_factors[s, j, a])
            if has_bias:
                error -= np.float64(user_bias[s, i]) + np.float64(item_bias[s, j])
            out[at, place] = constant - 0.5 * alpha[s] * error**2
