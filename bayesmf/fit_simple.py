"""The front of what the field began with: `fit_mean`, `fit_neighbors`."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesmf.checks import check_cores, check_fit
from bayesmf.point.als import Penalty, cell_means
from bayesmf.point.held_out import hold_out
from bayesmf.point.neighbors import Neighbors
from bayesmf.point.tuning import Settings, als_means, biases_of, descend, fit, tune
from bayesmf.progress import Progress, Search
from bayesmf.results.factor_estimate import FactorEstimate
from bayesmf.results.neighbor_estimate import NeighborEstimate
from bayesmf.results.point_estimate import Steps
from bayesmf.validation import check_auto, check_choice, check_integer, fail

if TYPE_CHECKING:
    from bayesmf.ratings import Ratings

START = {"mean": 4.0, "neighbors": 100.0}
"""Where the search for a shrinkage begins, in ratings; the second is Koren's (2010)."""


def fit_mean(
    ratings: object,
    *,
    by: str | None = None,
    shrinkage: float | str = 0.0,
    validation_size: float = 0.1,
    random_seed: int | None = None,
    progressbar: bool = True,
) -> FactorEstimate:
    """The mean rating, of all or of each user or item: what every other model has to beat.

    Parameters
    ----------
    ratings : DataFrame, Ratings, scipy sparse array, or tuple of arrays
        Observed ratings, one row each; see `Ratings`. Not changed.
    by : {"user", "item"}, optional
        Whose means are taken; by default the mean of all ratings.
    shrinkage : float or "auto", default 0.0
        Ratings at the mean of all that every row is given on top of its own. "auto" chooses by the
        error on a random part of the ratings.
    validation_size : float, default 0.1
        Share of the ratings held out to choose `shrinkage` and to measure `sigma`.
    random_seed : int, optional
        Non-negative, for the held-out part.
    progressbar : bool, default True
        Whether to show progress.

    Returns
    -------
    FactorEstimate
        Without factors: `center` is the mean of all, and a row's bias what its own differs by;
        `reg_bias` is the shrinkage. A side whose means are not taken has biases of zero, and rows
        of it that are folded in have too.

    Raises
    ------
    ValueError, TypeError
        For wrong arguments or data before any work starts.

    Notes
    -----
    With `shrinkage` s, a user's bias is sum_j (r_ij - center) / (n_i + s): the mean of its
    posterior under ratings b_i + noise and b_i ~ Normal(0, noise variance / s).

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> mean = bayesmf.fit_mean(ratings, random_seed=1, progressbar=False)
    >>> bool(mean.center == ratings.mean)
    True
    """
    function = "fit_mean"
    if by is not None:
        check_choice(by, "by", function, ("user", "item"))
    given = check_auto(shrinkage, "shrinkage", function)
    if by is None and given != 0:
        fail("shrinkage", function, "0.0 without 'by': there is nothing to shrink", shrinkage)
    data, share, seed = check_fit(ratings, validation_size, random_seed, progressbar, function)

    started = time.perf_counter()
    held = hold_out(data, share, seed)
    tried: list[tuple[float, float]] = []
    with Progress([function], 1, show=progressbar, unit="fits") as progress:
        search = Search(progress)

        def error(amount: float) -> float:
            parts = _parts(held.train, by, amount)
            rmse = held.rmse(cell_means(*parts, held.train.mean, held.users, held.items))
            tried.append((amount, rmse))
            search.tick(rmse)
            return rmse

        amount = descend(error, START["mean"]) if given is None else given
        known = dict(tried)
        sigma = known[amount] if amount in known else error(amount)
        parts = _parts(data, by, amount)
        search.finish(sigma)
    errors = data.values - cell_means(*parts, data.mean, data.users, data.items)
    return FactorEstimate(
        ratings=data,
        user_factors=parts[0],
        item_factors=parts[1],
        user_bias=parts[2],
        item_bias=parts[3],
        center=data.mean,
        reg_bias=amount,  # what a row's mean is in least squares, and in `fold_in`
        # Ratings without noise still get an interval, if a thin one.
        sigma=max(sigma, 1e-9 * data.sd),
        loss=np.array([errors @ errors]),
        steps=Steps("Mean", "step"),
        details=f"mean of each {by}" if by else "mean of all",
        settings={
            "by": by,
            "shrinkage": amount,
            "validation_size": share,
            "random_seed": seed,
        },
        tried=pd.DataFrame(tried, columns=["shrinkage", "rmse"]),
        fit_seconds=time.perf_counter() - started,
    )


def _parts(
    ratings: Ratings, by: str | None, shrinkage: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Factors, of which there are none, and biases of users and items."""
    biases = {"user": np.zeros(ratings.n_users), "item": np.zeros(ratings.n_items)}
    if by is not None:
        codes = ratings.users if by == "user" else ratings.items
        sums = np.bincount(codes, ratings.values - ratings.mean)
        biases[by] = sums / (np.bincount(codes) + shrinkage)
    none = np.empty((ratings.n_users, 0)), np.empty((ratings.n_items, 0))
    return *none, biases["user"], biases["item"]


def fit_neighbors(
    ratings: object,
    *,
    by: str = "item",
    n_neighbors: int = 40,
    shrinkage: float | str = 100.0,
    min_support: int = 2,
    reg_bias: float | str = "auto",
    validation_size: float = 0.1,
    cores: int | None = None,
    random_seed: int | None = None,
    progressbar: bool = True,
) -> NeighborEstimate:
    """Nearest neighbours around biases: what a user said of similar items, or similar users of one.

    Parameters
    ----------
    ratings : DataFrame, Ratings, scipy sparse array, or tuple of arrays
        Observed ratings, one row each; see `Ratings`. Not changed.
    by : {"item", "user"}, default "item"
        Whose similarities are used.
    n_neighbors : int, default 40
        A prediction uses the most similar of the rows that have a rating there, at most so many.
    shrinkage : float or "auto", default 100.0
        Pull of similarities to zero, in common ratings. "auto" chooses by the error on a random
        part of the ratings.
    min_support : int, default 2
        Rows with fewer common ratings are not similar.
    reg_bias : float or "auto", default "auto"
        Penalty of squared biases.
    validation_size : float, default 0.1
        Share of the ratings held out to choose what is "auto" and to measure `sigma`.
    cores : int, optional
        Threads; by default all that the process may use. Never changes a result.
    random_seed : int, optional
        Non-negative, for the held-out part.
    progressbar : bool, default True
        Whether to show progress.

    Returns
    -------
    NeighborEstimate

    Raises
    ------
    ValueError, TypeError
        For wrong arguments or data before any work starts.

    Notes
    -----
    Koren (2010), "Factor in the neighbors: scalable and accurate collaborative filtering", eq. 3.
    A similarity is the correlation of the residuals e_ij = r_ij - center - b_i - c_j of two rows
    over the n common ratings, times (n - 1) / (n - 1 + shrinkage). A cell is expected to be its
    biases plus the mean of the neighbours' residuals, weighted by similarities; only positive ones
    count, and a row is no neighbour of its own.

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> near = bayesmf.fit_neighbors(ratings, shrinkage=10.0, random_seed=1, progressbar=False)
    >>> near.predict([(0, 1), (0, 999)]).columns.tolist()
    ['user', 'item', 'mean']
    """
    function = "fit_neighbors"
    check_choice(by, "by", function, ("item", "user"))
    most = check_integer(n_neighbors, "n_neighbors", function, minimum=1)
    given = check_auto(shrinkage, "shrinkage", function)
    support = check_integer(min_support, "min_support", function, minimum=2)
    given_bias = check_auto(reg_bias, "reg_bias", function)
    cores = check_cores(cores, function)
    data, share, seed = check_fit(ratings, validation_size, random_seed, progressbar, function)

    started = time.perf_counter()
    settings = Settings(0, True, seed, validation_size=share)
    with (
        ThreadPoolExecutor(max(1, cores - 1)) as pool,  # this thread works too
        Progress([function], 1, show=progressbar, unit="fits") as progress,
    ):
        executor = pool if cores > 1 else None
        search = Search(progress)
        means = als_means(settings, executor)
        tuned = tune(data, settings, means, reg=0.0, reg_bias=given_bias, tick=search.tick)
        penalty = Penalty(0.0, tuned.penalty.reg_bias, weighted=False)
        tried = [(0, 0.0, one, rmse) for _, _, one, rmse in tuned.tried]

        held = hold_out(data, share, seed)
        train = held.train
        biases = biases_of(fit(train, settings, penalty, executor))
        none = np.empty((train.n_users, 0)), np.empty((train.n_items, 0))
        expected = cell_means(*none, *biases, train.mean, train.users, train.items)
        base = cell_means(*none, *biases, train.mean, held.users, held.items)
        cells = (held.users, held.items) if by == "user" else (held.items, held.users)

        def error(amount: float) -> float:
            neighbors = Neighbors.build(train, expected, by, amount, support)
            more = neighbors.deviations(*cells, most, executor=executor)
            rmse = held.rmse(base + more)
            tried.append((most, amount, penalty.reg_bias, rmse))
            search.tick(rmse)
            return rmse

        amount = descend(error, START["neighbors"]) if given is None else given
        known = {shrunk: rmse for count, shrunk, _, rmse in tried if count}
        sigma = known[amount] if amount in known else error(amount)
        solution = fit(data, settings, penalty, executor)
        user_bias, item_bias = biases_of(solution)
        estimate = NeighborEstimate(
            ratings=data,
            by=by,
            n_neighbors=most,
            shrinkage=amount,
            min_support=support,
            user_bias=user_bias,
            item_bias=item_bias,
            center=solution.center,
            reg_bias=penalty.reg_bias,
            sigma=max(sigma, 1e-9 * data.sd),
            loss=solution.loss,
            steps=Steps("Bias", "sweep", 2),
            settings={"validation_size": share, "random_seed": seed},
            tried=pd.DataFrame(tried, columns=["n_neighbors", "shrinkage", "reg_bias", "rmse"]),
            fit_seconds=0.0,
        )
        estimate.cores = cores
        estimate.prepare()
        search.finish(sigma)
    estimate.fit_seconds = time.perf_counter() - started
    return estimate
