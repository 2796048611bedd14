"""Predictive distributions as equal-weight mixtures of Gaussians, one component a draw.

Means are arrays (n_cells, n_draws). Standard deviations are (n_cells, n_draws), or (1, n_draws)
where every cell has the same in a draw.
"""

from __future__ import annotations

import math

import numpy as np

from bayesmf.kernels.compiling import compiled

_ROOT_HALF = math.sqrt(0.5)
_ROOT_2PI = math.sqrt(2 * math.pi)

DRAWS_AT_ONCE = 8
"""Draws between two visits to a cell's line of means: 64 bytes of float64, a line of cache."""

# Phi(-|z|) = exp(-z^2 / 2) P(|z|) / Q(|z|), lowest powers first, to 3e-15: Hart et al. (1968),
# Computer Approximations, no. 5666, as in West (2005), Wilmott Magazine, pp. 70-76.
_P0, _P1, _P2, _P3 = 220.206867912376, 221.213596169931, 112.079291497871, 33.912866078383
_P4, _P5, _P6 = 6.37396220353165, 0.700383064443688, 3.52624965998911e-02
_Q0, _Q1, _Q2, _Q3 = 440.413735824752, 793.826512519948, 637.333633378831, 296.564248779674
_Q4, _Q5, _Q6, _Q7 = 86.7807322029461, 16.064177579207, 1.75566716318264, 8.83883476483184e-02
# exp on [-40, 0] is a Taylor polynomial on [-5/8, 0] squared six times, to 1e-14.
_E2, _E3, _E4, _E5, _E6, _E7, _E8 = (1.0 / math.factorial(power) for power in range(2, 9))

_WRONG = 1e-11
"""What a quantile may be wrong by, in probability, where a bound stands for one more look."""


@compiled
def latent_means(user_factors, item_factors, user_bias, item_bias, users, items, center, out):
    """Write center + u.v + b + c of each cell in each draw into `out` (n_cells, n_draws).

    Factors are (n_draws, n_rows, K), biases (n_draws, n_rows) or (n_draws, 0) where the model has
    none; `users` and `items` are codes (n_cells,). A few draws are the outer loop: the rows of
    these that neighbouring cells share stay in the cache, and `out` is written by whole lines.
    """
    n_draws, _, k = user_factors.shape
    has_bias = user_bias.shape[1] > 0
    for first in range(0, n_draws, DRAWS_AT_ONCE):
        last = min(first + DRAWS_AT_ONCE, n_draws)
        for p in range(len(users)):
            i, j = users[p], items[p]
            for s in range(first, last):
                # Compiled, float() of a float32 stays one, and their product would be rounded.
                total = center
                for a in range(k):
                    total += np.float64(user_factors[s, i, a]) * np.float64(item_factors[s, j, a])
                if has_bias:
                    total += np.float64(user_bias[s, i]) + np.float64(item_bias[s, j])
                out[p, s] = total


@compiled
def mixture_moments(means, sds, out):
    """Write the mean and the standard deviation of each cell's mixture into `out` (n_cells, 2)."""
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
        out[p, 0], out[p, 1] = mean, math.sqrt(square / n_draws)


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
def _kernel(z):
    # exp(-z^2 / 2), 0 below 1e-17; without a call, so that a loop over it becomes vector code.
    square = 0.5 * z * z
    t = max(-square, -40.0) * (1 / 64)
    e = _E4 + t * (_E5 + t * (_E6 + t * (_E7 + t * _E8)))
    e = 1 + t * (1 + t * (_E2 + t * (_E3 + t * e)))
    for _ in range(6):
        e *= e
    return e if square < 40 else 0.0


@compiled
def _mills(z):
    # Phi(-a) exp(a^2 / 2) of a = |z| up to 9.
    a = min(abs(z), 9.0)
    p = _P0 + a * (_P1 + a * (_P2 + a * (_P3 + a * (_P4 + a * (_P5 + a * _P6)))))
    q = _Q0 + a * (_Q1 + a * (_Q2 + a * (_Q3 + a * (_Q4 + a * (_Q5 + a * (_Q6 + a * _Q7))))))
    return p / q


@compiled
def _expansion(means, weights, x):
    # Distribution function at x and four derivatives, Hermite's polynomials; weights are 1 / sd.
    cdf = first = second = third = fourth = 0.0
    for s in range(len(means)):
        w = weights[s]
        z = (x - means[s]) * w
        e = _kernel(z)
        tail = e * _mills(z)
        cdf += 1 - tail if z > 0 else tail
        e *= w
        first += e
        e *= w
        second -= z * e
        e *= w
        third += (z * z - 1) * e
        e *= w
        fourth -= (z * z - 3) * z * e
    n = len(means)
    m = n * _ROOT_2PI
    return cdf / n, first / m, second / m, third / m, fourth / m


@compiled
def _step(error, first, second, third, fourth, steepest):
    # Root h of the Taylor polynomial of F(x + h) - prob, and what F may still be wrong by there:
    # the remainder is at most h^5 / 5! times the largest fifth derivative, 3 phi(0) / sd^5.
    if not first > 0:
        return 0.0, math.inf
    h, left = 0.0, error
    for _ in range(6):
        slope = first + h * (second + h * (third / 2 + h * fourth / 6))
        if not slope > 0:
            return 0.0, math.inf
        h -= left / slope
        left = error + h * (first + h * (second / 2 + h * (third / 6 + h * fourth / 24)))
        if abs(left) < 0.1 * _WRONG:
            break
    return h, abs(left) + 3 / _ROOT_2PI / 120 * abs(h * steepest) ** 5


@compiled
def _shape(means, sds):
    # Mean, sd, skewness and excess kurtosis of the mixture; these two NaN where floats end.
    n = len(means)
    mean = square = cube = fourth = 0.0
    for s in range(n):
        mean += means[s]
    mean /= n
    for s in range(n):
        d, v = means[s] - mean, sds[s] * sds[s]
        square += d * d + v
        cube += d * (d * d + 3 * v)
        fourth += d * d * (d * d + 6 * v) + 3 * v * v
    v = square / n
    spread = math.sqrt(v)
    return mean, spread, cube / (n * v * spread), fourth / (n * v * v) - 3


@compiled
def _start(z, mean, spread, skewness, kurtosis):
    # Cornish & Fisher (1938) where their expansion is small, elsewhere the Gaussian's own quantile.
    shift = (
        (z * z - 1) * skewness / 6
        + (z * z - 3) * z * kurtosis / 24
        - (2 * z * z - 5) * z * skewness * skewness / 36
    )
    return mean + spread * (z + shift if abs(shift) < 0.5 else z)


@compiled
def _quantile(means, sds, weights, steepest, spread, prob, z_prob, x):
    # One quantile of one cell, from x on: see mixture_quantiles.
    lower, upper = -math.inf, math.inf
    for step in range(100):
        cdf, first, second, third, fourth = _expansion(means, weights, x)
        error = cdf - prob
        move, wrong = _step(error, first, second, third, fourth, steepest)
        if wrong < _WRONG:
            return x + move
        if step == 0:
            # Each component's own quantile: the mixture's lies between the extremes.
            lower, upper = math.inf, -math.inf
            for s in range(len(means)):
                own = means[s] + z_prob * sds[s]
                lower, upper = min(lower, own), max(upper, own)
        if error > 0:
            upper = min(upper, x)
        else:
            lower = max(lower, x)
        if abs(error) < 1e-10 or upper - lower < 1e-10 * spread:
            break
        proposal = x - error / first if first > 0 else lower
        inside = lower < proposal < upper
        x = proposal if inside else 0.5 * (lower + upper)
    return x


@compiled
def mixture_quantiles(means, sds, probs, z_probs, out):
    """Write the quantiles of each cell's mixture into `out` (n_cells, n_probs).

    From a start by the first four moments, the root of the Taylor polynomial of the distribution
    function: where the remainder is bounded below `_WRONG`, which is nearly always at once, that is
    the quantile. Elsewhere steps of Newton, kept in a bracket that shrinks by bisection where they
    leave it, until the distribution function is met to 1e-10. `z_probs` are the standard normal
    quantiles of `probs`.
    """
    n_cells, n_draws = means.shape
    shared = sds.shape[0] == 1
    weights = np.empty(n_draws)
    steepest = 0.0
    for p in range(n_cells):
        q = 0 if shared else p
        if p == 0 or not shared:
            steepest = 0.0
            for s in range(n_draws):
                weights[s] = 1 / sds[q, s]
                steepest = max(steepest, weights[s])
        mean, spread, skewness, kurtosis = _shape(means[p], sds[q])
        for r in range(len(probs)):
            x = _start(z_probs[r], mean, spread, skewness, kurtosis)
            out[p, r] = _quantile(
                means[p], sds[q], weights, steepest, spread, probs[r], z_probs[r], x
            )


@compiled
def sample_quantiles(sample, probs, z_probs, out):
    """Write the quantiles of the points of each row, as np.quantile, into `out` (n_cells, n_probs).

    Only points around a Gaussian's quantile are sorted, unless the two that matter are elsewhere.
    """
    n_cells, n = sample.shape
    near = np.empty(n)
    for p in range(n_cells):
        mean = square = 0.0
        for s in range(n):
            mean += sample[p, s]
        mean /= n
        for s in range(n):
            square += (sample[p, s] - mean) ** 2
        spread = math.sqrt(square / n)
        for r in range(len(probs)):
            at = probs[r] * (n - 1)
            k = int(at)
            low, high = mean + (z_probs[r] - 0.3) * spread, mean + (z_probs[r] + 0.3) * spread
            below = m = 0
            for s in range(n):
                x = sample[p, s]
                near[m] = x
                below += x < low
                m += (x >= low) & (x <= high)
            if below > k or below + m < k + 2:
                below, m = 0, n
                near[:] = sample[p]
            near[:m].sort()
            first, second = near[k - below], near[min(k + 1, n - 1) - below]
            # From the nearer one, so that rounding leads past neither.
            share, step = at - k, second - first
            out[p, r] = first + step * share if share < 0.5 else second - step * (1 - share)


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
