"""Whether ranks are uniform and coverage is right: p-values that hold far out in the tail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from bayesmf.evaluation import INTERVALS

if TYPE_CHECKING:
    from tests.statistical.calibration import Study

ROUNDING = 1e-9
"""Below this the probability of the complement, a sum of floats near one, is not trusted."""


def pointwise(counts: np.ndarray, n: int, shares: np.ndarray) -> np.ndarray:
    """Two-sided binomial p-values, twice the smaller tail."""
    tails = stats.binom.cdf(counts, n, shares), stats.binom.sf(counts - 1, n, shares)
    return np.minimum(1.0, 2 * np.minimum(*tails))


def shares_below(n_ranked: int) -> np.ndarray:
    """Probability (L,) that a uniform rank on 0..L is at most 0, ..., L - 1."""
    return np.arange(1, n_ranked + 1) / (n_ranked + 1)


def band(gamma: float, n: int, n_ranked: int) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest counts (L,) whose pointwise p-values are above gamma, 1 and 0 if none.

    A count on the edge is outside, whichever tail its p-value was rounded in.
    """
    counts = np.arange(n + 1)[:, None]
    above = pointwise(counts, n, shares_below(n_ranked)) > gamma * (1 + 1e-9)
    some = above.any(axis=0)
    low, high = above.argmax(axis=0), n - above[::-1].argmax(axis=0)
    return np.where(some, low, 1), np.where(some, high, 0)


def stays_inside(low: np.ndarray, high: np.ndarray, n: int) -> float:
    """Probability that the counts of n uniform ranks are all within low..high.

    The counts #{rank <= k} are a Markov chain in k with binomial steps, so that the probability is
    a sum over paths: Sailynoja, Burkner & Vehtari (2022), "Graphical test for discrete uniformity
    and its applications in goodness-of-fit evaluation and multiple sample comparison".
    """
    n_ranked = len(low)
    before, reached = np.array([0]), np.array([1.0])
    for k in range(n_ranked):
        here = np.arange(low[k], high[k] + 1)
        step = here[None, :] - before[:, None]
        reached = reached @ stats.binom.pmf(step, n - before[:, None], 1 / (n_ranked + 1 - k))
        before = here
    return float(reached.sum())


def uniform_p_value(ranks: np.ndarray, n_ranked: int) -> float:
    """p-value of the ECDF of independent ranks (R,) on 0..L, exact for any R.

    The statistic is the smallest pointwise p-value over the steps of the ECDF.
    """
    n = len(ranks)
    counts = np.cumsum(np.bincount(ranks, minlength=n_ranked + 1))[:n_ranked]
    gamma = float(pointwise(counts, n, shares_below(n_ranked)).min())
    bound = min(1.0, n_ranked * gamma)
    if bound < ROUNDING:
        return bound
    missed = 1 - stays_inside(*band(gamma, n, n_ranked), n)
    return bound if missed < ROUNDING else missed


def envelope(n: int, n_ranked: int, prob: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Counts (L,) between which the whole ECDF of n ranks stays with probability `prob`."""
    low, high = (1 - prob) / n_ranked, 1 - prob
    for _ in range(30):
        middle = np.sqrt(low * high)
        if stays_inside(*band(middle, n, n_ranked), n) >= prob:
            low = middle
        else:
            high = middle
    return band(low, n, n_ranked)


def mean_p_value(values: np.ndarray, expected: float) -> float:
    """Two-sided p-value of a mean of independent values (R,), t with the skewness taken out.

    Shares of 95% intervals are skewed, and with some hundred of them the t-test's rate at 1e-7 is
    wrong by factors. Hall (1992), "On the removal of skewness by transformation", JRSS B 54, eq. 2:
    a cubic that is monotone, in which the mean is Gaussian to the next order.
    """
    n, sd = len(values), values.std()
    if sd == 0:
        return float(np.all(values == expected))
    t = (values.mean() - expected) / sd
    skew = float(np.mean(((values - values.mean()) / sd) ** 3))
    t = t + skew * t**2 / 3 + skew**2 * t**3 / 27 + skew / (6 * n)
    return float(2 * stats.t.sf(np.sqrt(n) * abs(t), n - 1))


def neighbour_correlation(draws: np.ndarray) -> float:
    """Autocorrelation of neighbouring draws (chains, n), on ranks since tails may be heavy.

    The mean that is taken out makes it too small by 1 / n, which is put back.
    """
    ranks = stats.rankdata(draws).reshape(draws.shape)
    if np.ptp(ranks) == 0:
        return 1.0  # a quantity that does not move
    ranks = (ranks - ranks.mean()) / ranks.std()
    return float((ranks[:, 1:] * ranks[:, :-1]).mean() + 1 / draws.size)


def one_each(values: np.ndarray) -> np.ndarray:
    """One column of each row of (R, members), by turns: independent, as rows are."""
    return values[np.arange(len(values)), np.arange(len(values)) % values.shape[1]]


def rank_p_values(study: Study) -> dict[str, float]:
    """p-values of every quantity's ranks: the ECDF of one member of each data set, and over all
    members the mean rank and the mean square of its distance from the middle."""
    found = {}
    n_ranks = study.n_ranked + 1
    for name, ranks in study.ranks.items():
        found[f"{name}: ECDF"] = uniform_p_value(one_each(ranks), study.n_ranked)
        if ranks.shape[1] > 1:
            place = (ranks + 0.5) / n_ranks - 0.5
            found[f"{name}: mean"] = mean_p_value(place.mean(axis=1), 0.0)
            spread = (1 - 1 / n_ranks**2) / 12
            found[f"{name}: spread"] = mean_p_value((place**2).mean(axis=1), spread)
    return found


def coverage_p_values(study: Study) -> dict[str, float]:
    """p-values of the share of cells inside each interval, with the error between data sets, and
    of the distribution function at withheld ratings: its mean, and one cell of each data set."""
    found = {}
    for kind in study.inside:
        for level, shares in zip(INTERVALS, study.inside[kind].T, strict=True):
            found[f"{kind}: {level:.0%} interval"] = mean_p_value(shares, level)
        below = study.pit[kind]
        found[f"{kind}: mean of F(y)"] = mean_p_value(below.mean(axis=1), 0.5)
        found[f"{kind}: F(y)"] = float(stats.kstest(one_each(below), "uniform").pvalue)
    return found


def narrowed(study: Study, factor: float) -> Study:
    """Return the study as if every interval had been so much narrower, as a Gaussian's would be."""
    scores = {kind: np.abs(stats.norm.ppf(below)) for kind, below in study.pit.items()}
    ends = factor * stats.norm.ppf((1 + np.array(INTERVALS)) / 2)
    inside = {k: (z[:, :, None] <= ends).mean(axis=1) for k, z in scores.items()}
    pit = {k: stats.norm.cdf(stats.norm.ppf(below) / factor) for k, below in study.pit.items()}
    return study._replace(inside=inside, pit=pit)


def power(study: Study, factor: float, rate: float) -> dict[str, float]:
    """Probability that intervals narrower by a factor show in the coverage of a kind of cell.

    From the shift that they make in this study and its error between data sets, for a test that
    fails correct intervals at `rate`; of the four levels the one that shows it best.
    """
    found = {}
    plain, worse = narrowed(study, 1.0), narrowed(study, factor)
    for kind in study.inside:
        shift = (worse.inside[kind] - plain.inside[kind]).mean(axis=0)
        error = worse.inside[kind].std(axis=0, ddof=1) / np.sqrt(study.data_sets)
        reach = np.abs(shift) / error
        found[kind] = float(stats.norm.sf(stats.norm.isf(rate / 2) - reach).max())
    return found


def rank_power(
    data_sets: int, n_ranked: int, shift: float, ratio: float, rate: float,
    rng: np.random.Generator, repeats: int,
) -> float:  # fmt: skip
    """Share of simulated studies in which the ECDF shows a posterior that is wrong.

    The truth is standard normal under the right posterior; draws come from one whose mean is off by
    `shift` posterior sds and whose sd is multiplied by `ratio`.
    """
    truth = rng.standard_normal((repeats, data_sets))
    below = stats.norm.cdf((truth - shift) / ratio)
    ranks = rng.binomial(n_ranked, below)
    return float(np.mean([uniform_p_value(row, n_ranked) < rate for row in ranks]))


def summary(study: Study) -> dict[str, Any]:
    """A study in numbers that JSON takes."""
    coverage = {
        kind: {
            f"{level:.0%}": {
                "observed": float(shares.mean()),
                "standard_error": float(shares.std(ddof=1) / np.sqrt(len(shares))),
            }
            for level, shares in zip(INTERVALS, study.inside[kind].T, strict=True)
        }
        for kind in study.inside
    }
    return {
        "name": study.name,
        "data_sets": study.data_sets,
        "draws_ranked": study.n_ranked,
        "p_values": rank_p_values(study) | coverage_p_values(study),
        "coverage": coverage,
        "neighbours": {name: float(rho.mean()) for name, rho in study.neighbours.items()},
    }
