"""Predictive distributions as equal-weight mixtures of Gaussians, one component a draw.

Means are arrays (n_cells, n_draws). Standard deviations are (n_cells, n_draws), or (1, n_draws)
where every cell has the same in a draw.
"""

from __future__ import annotations

import math

from bayesmf.kernels.compiling import compiled

_ROOT_HALF = math.sqrt(0.5)
_ROOT_2PI = math.sqrt(2 * math.pi)


@compiled
def latent_means(user_factors, item_factors, user_bias, item_bias, users, items, center, out):
    """Write center + u.v + b + c of each cell in each draw into `out` (n_cells, n_draws).

    Factors are (n_draws, n_rows, K), biases (n_draws, n_rows) or (n_draws, 0) where the model has
    none; `users` and `items` are codes (n_cells,). Draws are the outer loop, since one draw's
    factors fit the cache and all of them do not.
    """
    n_draws, _, k = user_factors.shape
    has_bias = user_bias.shape[1] > 0
    for s in range(n_draws):
        for p in range(len(users)):
            i, j = users[p], items[p]
            total = center
            for a in range(k):
                total += float(user_factors[s, i, a]) * float(item_factors[s, j, a])
            if has_bias:
                total += float(user_bias[s, i]) + float(item_bias[s, j])
            out[p, s] = total


@compiled
def _normal_cdf(z):
    return 0.5 * math.erfc(-z * _ROOT_HALF)


@compiled
def mixture_cdf(means, sds, values, out):
    """Write the distribution function of each cell's mixture at its value into `out`."""
    n_cells, n_draws = means.shape
    shared = sds.shape[0] == 1
    for p in range(n_cells):
        q = 0 if shared else p
        total = 0.0
        for s in range(n_draws):
            total += _normal_cdf((values[p] - means[p, s]) / sds[q, s])
        out[p] = total / n_draws


@compiled
def mixture_quantiles(means, sds, probs, z_probs, out):
    """Write the quantiles of each cell's mixture into `out` (n_cells, n_probs).

    Newton steps from the Gaussian of the same mean and variance, kept in a bracket that shrinks by
    bisection where they leave it. `z_probs` are the standard normal quantiles of `probs`.
    """
    n_cells, n_draws = means.shape
    shared = sds.shape[0] == 1
    for p in range(n_cells):
        q = 0 if shared else p
        mean = square = 0.0
        for s in range(n_draws):
            mean += means[p, s]
        mean /= n_draws
        for s in range(n_draws):
            square += (means[p, s] - mean) ** 2 + sds[q, s] ** 2
        spread = math.sqrt(square / n_draws)
        for r in range(len(probs)):
            lower, upper = math.inf, -math.inf
            for s in range(n_draws):
                # Each component's own quantile: the mixture's lies between the extremes.
                own = means[p, s] + z_probs[r] * sds[q, s]
                lower, upper = min(lower, own), max(upper, own)
            x = min(max(mean + z_probs[r] * spread, lower), upper)
            for _ in range(100):
                cdf = density = 0.0
                for s in range(n_draws):
                    z = (x - means[p, s]) / sds[q, s]
                    cdf += _normal_cdf(z)
                    density += math.exp(-0.5 * z * z) / sds[q, s]
                error = cdf / n_draws - probs[r]
                if error > 0:
                    upper = x
                else:
                    lower = x
                if abs(error) < 1e-10 or upper - lower < 1e-10 * spread:
                    break
                slope = density / (n_draws * _ROOT_2PI)
                proposal = x - error / slope if slope > 0 else lower
                inside = lower < proposal < upper
                x = proposal if inside else 0.5 * (lower + upper)
            out[p, r] = x


@compiled
def mixture_log_density(means, sds, values, out):
    """Write the log density of each cell's mixture at its value into `out`, by log-sum-exp."""
    n_cells, n_draws = means.shape
    shared = sds.shape[0] == 1
    for p in range(n_cells):
        q = 0 if shared else p
        peak = -math.inf
        for s in range(n_draws):
            z = (values[p] - means[p, s]) / sds[q, s]
            peak = max(peak, -0.5 * z * z - math.log(sds[q, s]))
        total = 0.0
        for s in range(n_draws):
            z = (values[p] - means[p, s]) / sds[q, s]
            total += math.exp(-0.5 * z * z - math.log(sds[q, s]) - peak)
        out[p] = peak + math.log(total / n_draws) - math.log(_ROOT_2PI)


@compiled
def _absolute_moment(mean, sd):
    # E|X| of a Gaussian.
    z = mean / sd
    density = math.exp(-0.5 * z * z) / _ROOT_2PI
    return sd * 2 * density + mean * (2 * _normal_cdf(z) - 1)


@compiled
def mixture_crps(means, sds, values, out):
    """Write the CRPS of each cell's mixture at its value into `out`.

    The closed form of Grimit, Gneiting, Berrocal & Johnson (2006, eq. 5):
    E|X - y| - E|X - X'| / 2, both expectations over components in pairs.
    """
    n_cells, n_draws = means.shape
    shared = sds.shape[0] == 1
    for p in range(n_cells):
        q = 0 if shared else p
        first = second = 0.0
        for s in range(n_draws):
            first += _absolute_moment(values[p] - means[p, s], sds[q, s])
            second += _absolute_moment(0.0, math.sqrt(2.0) * sds[q, s])
            for t in range(s):
                sd = math.sqrt(sds[q, s] ** 2 + sds[q, t] ** 2)
                second += 2 * _absolute_moment(means[p, s] - means[p, t], sd)
        out[p] = first / n_draws - 0.5 * second / n_draws**2
