"""Leave-one-out by importance weights against fits that leave a rating out.

On a slice of InstEval, fifty ratings are left out one at a time, the model is fitted anew without
each, and the log density that the new posterior gives to it (both rows given, averaged over draws)
is compared with what PSIS-LOO says from the one fit to all. The two have no code in common but the
sampler. Centre and scale are fixed, so that both have the same prior.
"""

from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from scipy import stats
from threadpoolctl import threadpool_limits

import bayesmf
from bayesmf.diagnostics.leave_one_out import leave_one_out
from bayesmf.diagnostics.pointwise import PointwiseDensities
from tests.statistical.rates import FALSE_FAILURE_RATE

if TYPE_CHECKING:
    from bayesmf.ratings import Ratings

POINTS = 50
N_USERS = N_ITEMS = 60
FULL = {"n_factors": 2, "tune": 500, "draws": 5000, "chains": 4}
REFIT = {"n_factors": 2, "tune": 500, "draws": 2000, "chains": 4}
QUICK = {"n_factors": 2, "tune": 50, "draws": 100, "chains": 2}


class Density(NamedTuple):
    """A log density and its Monte Carlo standard error."""

    log: float
    se: float


def slice_of_insteval() -> Ratings:
    """The most rated lecturers, and the students who rated most of them."""
    table = bayesmf.load_insteval()
    table = table[table["item"].isin(table["item"].value_counts().index[:N_ITEMS])]
    table = table[table["user"].isin(table["user"].value_counts().index[:N_USERS])]
    return bayesmf.Ratings(table)


def points_of(ratings: Ratings, n: int, seed: int) -> np.ndarray:
    """Ratings, at random, whose user and item have others: the prior counts the rows there are."""
    users, items = (np.bincount(codes)[codes] for codes in (ratings.users, ratings.items))
    some = np.flatnonzero((users > 1) & (items > 1))
    return np.sort(np.random.default_rng(seed).choice(some, n, replace=False))


def averaged(series: np.ndarray) -> Density:
    """Log of the mean of a positive series (chains, draws), its error from ArviZ's ESS."""
    import arviz

    effective = float(arviz.ess(xr.Dataset({"x": (("chain", "draw"), series)}), method="mean")["x"])
    mean = float(series.mean())
    return Density(math.log(mean), float(series.std()) / (mean * math.sqrt(effective)))


def refit(ratings: Ratings, settings: dict[str, Any], seed: int, point: int) -> Density:
    """Log density of one rating from a fit to all others."""
    train = ratings.take(np.delete(np.arange(len(ratings)), point))
    post = bayesmf.fit_bpmf(
        train, **settings, center=ratings.mean, scale=ratings.sd, cores=1,
        random_seed=seed + 1 + point, progressbar=False,
    )  # fmt: skip
    pairs = train.pairs(ratings.take(np.array([point])), "test", "refit", with_rating=True)

    def densities(_: slice, mixture: Any) -> np.ndarray:
        value = pairs.ratings[0]
        return stats.norm.pdf(value, mixture.means[0], mixture.sds[0])

    drawn = post.over_mixtures(pairs, densities, limit=10**9)[0]
    return averaged(drawn.reshape(settings["chains"], -1))


def compare(seed: int, *, quick: bool = False, workers: int = 2) -> dict[str, Any]:
    """Sums over the points of both log densities, and how far apart in standard errors."""
    ratings, points = slice_of_insteval(), 2 if quick else POINTS
    full, anew = (QUICK, QUICK) if quick else (FULL, REFIT)
    where = points_of(ratings, points, seed)
    post = bayesmf.fit_bpmf(
        ratings, **full, center=ratings.mean, scale=ratings.sd, cores=workers, random_seed=seed,
        progressbar=False,
    )  # fmt: skip
    n_draws = full["draws"] * full["chains"]
    found = leave_one_out(post, None, draws=n_draws, integrated=True, seed=0, function="compare")
    weighted = found.table["log_score"].to_numpy()[where]
    # All points share the draws: the error of the sum is that of the sum of their relative
    # contributions to mean(1 / density), draw by draw.
    densities = PointwiseDensities(post, where, draws=n_draws, integrated=True)
    total = np.zeros((densities.chains, len(densities.draw)))
    for _, block in densities.blocks():
        inverse = np.exp(block.min(axis=(0, 1)) - block)
        total += (inverse / inverse.mean(axis=(0, 1))).sum(axis=2)
    loo_se = points * averaged(total).se

    with ProcessPoolExecutor(
        workers, get_context("spawn"), partial(threadpool_limits, 1, "blas")
    ) as pool:
        exact = list(pool.map(partial(refit, ratings, anew, seed), where.tolist()))
    logs, ses = np.array(exact).T
    se = math.hypot(loo_se, float(np.sqrt(np.sum(ses**2))))
    z = float(weighted.sum() - logs.sum()) / se
    p = float(2 * stats.norm.sf(abs(z)))
    return {
        "ratings": len(ratings), "users": ratings.n_users, "items": ratings.n_items,
        "points": points, "loo": float(weighted.sum()), "loo_se": loo_se,
        "refits": float(logs.sum()), "refits_se": float(np.sqrt(np.sum(ses**2))),
        "largest_apart": float(np.abs(weighted - logs).max()), "z": z, "p": p,
        "largest_khat": float(found.table["khat"].to_numpy()[where].max()),
        "fewest": int(found.table["count"].to_numpy()[where].min()),
        "held": p > FALSE_FAILURE_RATE,
    }  # fmt: skip
