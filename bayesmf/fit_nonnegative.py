"""The front of non-negative factorization: `fit_nmf`."""

from __future__ import annotations

import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pandas as pd

from bayesmf.checks import check_cores, check_fit
from bayesmf.point import nmf
from bayesmf.point.als import cell_means
from bayesmf.point.tuning import Settings, tune
from bayesmf.progress import Progress, Search
from bayesmf.results.factor_estimate import FactorEstimate
from bayesmf.results.point_estimate import Steps
from bayesmf.validation import (
    Described,
    check_auto,
    check_bool,
    check_choice,
    check_integer,
    check_number,
    fail,
)

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import numpy as np

    from bayesmf.point.als import Penalty, Solution
    from bayesmf.point.tuning import Fitted
    from bayesmf.ratings import Ratings


def fit_nmf(
    ratings: object,
    *,
    n_factors: int = 10,
    solver: str = "hals",
    reg: float | str = "auto",
    weighted: bool = True,
    max_iter: int = 500,
    tol: float = 1e-4,
    validation_size: float = 0.1,
    cores: int | None = None,
    random_seed: int | None = None,
    progressbar: bool = True,
) -> FactorEstimate:
    """Non-negative matrix factorization over the observed cells.

    Parameters
    ----------
    ratings : DataFrame, Ratings, scipy sparse array, or tuple of arrays
        Observed ratings, one row each, none of them negative; see `Ratings`. Not changed.
    n_factors : int, default 10
        Number of components.
    solver : {"hals", "multiplicative"}, default "hals"
        "hals" minimises over one coordinate of a row after the other, "multiplicative" multiplies
        all of them by ratios, in more and smaller steps.
    reg : float or "auto", default "auto"
        Penalty of squared factors. "auto" chooses by the error on a random part of the ratings,
        then fits all of them.
    weighted : bool, default True
        Multiply each row's penalty by its number of ratings (Zhou et al. 2008). Without biases it
        is factors that tell a good film from a bad one, and a penalty that weighs on rows with few
        ratings pulls them to zero, far from any rating.
    max_iter : int, default 500
        Most sweeps over both sides.
    tol : float, default 1e-4
        Stop when a sweep lowers the loss by less than this share of it.
    validation_size : float, default 0.1
        Share of the ratings held out to choose `reg` and to measure `sigma`.
    cores : int, optional
        Threads; by default all that the process may use. Never changes a result.
    random_seed : int, optional
        Non-negative, for the start and the held-out part.
    progressbar : bool, default True
        Whether to show progress.

    Returns
    -------
    FactorEstimate
        Factors are non-negative, and there is neither a centre nor a bias. The parts are the
        columns of `item_factors` as they stand; `top_items` turns factors to other axes. An unknown
        user or item has the mean factors of its side.

    Raises
    ------
    ValueError, TypeError
        For wrong arguments or data, negative ratings too, before any work starts.

    Warns
    -----
    UserWarning
        If the loss has not settled.

    Notes
    -----
    "hals" is Cichocki & Phan (2009), "Fast local algorithms for large scale nonnegative matrix and
    tensor factorizations"; "multiplicative" Lee & Seung (2001), over observed cells as Zhang, Wang,
    Ford & Makedon (2006). Neither ever raises the loss, and both end at local optima.

    Examples
    --------
    >>> import bayesmf
    >>> frame = bayesmf.simulate(60, 40, 900, random_seed=1).ratings.to_frame()
    >>> frame["rating"] = frame["rating"].clip(lower=0)
    >>> nmf = bayesmf.fit_nmf(frame, n_factors=2, reg=0.1, random_seed=1, progressbar=False)
    >>> bool((nmf.user_factors >= 0).all() and (nmf.loss[1:] <= nmf.loss[:-1]).all())
    True
    """
    function = "fit_nmf"
    rank = check_integer(n_factors, "n_factors", function, minimum=1)
    check_choice(solver, "solver", function, tuple(nmf.UPDATES))
    given = check_auto(reg, "reg", function)
    check_bool(weighted, "weighted", function)
    sweeps = check_integer(max_iter, "max_iter", function, minimum=1)
    settled = check_number(tol, "tol", function, at_least=0)
    cores = check_cores(cores, function)
    data, share, seed = check_fit(ratings, validation_size, random_seed, progressbar, function)
    if data.bounds[0] < 0:
        least = Described(f"a rating of {data.bounds[0]:g}")
        fail("ratings", function, "a table without negative ratings", least)

    started = time.perf_counter()
    settings = Settings(rank, False, seed, weighted, False, sweeps, settled, share)
    with (
        ThreadPoolExecutor(max(1, cores - 1)) as pool,  # this thread works too
        Progress([function], 1, show=progressbar, unit="fits") as progress,
    ):
        executor = pool if cores > 1 else None
        search = Search(progress)
        means = _nmf_means(settings, solver, executor)
        tuned = tune(data, settings, means, reg=given, reg_bias=0.0, tick=search.tick)
        solution = _nmf(data, settings, tuned.penalty, solver, executor)
        search.finish(tuned.validation_rmse)
    if not solution.converged:
        message = f"NMF reached max_iter={sweeps} before the loss settled to tol={settled:g}."
        warnings.warn(message, stacklevel=2)
    return FactorEstimate(
        ratings=data,
        user_factors=solution.user_rows,
        item_factors=solution.item_rows,
        center=0.0,
        reg=tuned.penalty.reg,
        unknown=(solution.user_rows.mean(axis=0), solution.item_rows.mean(axis=0)),
        sigma=max(tuned.validation_rmse, 1e-9 * data.sd),
        loss=solution.loss,
        nonnegative=True,
        steps=Steps("NMF", "sweep"),
        details=f"{solver} updates",
        settings={
            "solver": solver,
            "weighted": weighted,
            "max_iter": sweeps,
            "tol": settled,
            "validation_size": share,
            "random_seed": seed,
        },
        tried=pd.DataFrame(
            [(one, rmse) for _, one, _, rmse in tuned.tried], columns=["reg", "rmse"]
        ),
        fit_seconds=time.perf_counter() - started,
    )


def _nmf(
    ratings: Ratings, settings: Settings, penalty: Penalty, solver: str, executor: Executor | None
) -> Solution:
    return nmf.factorize(
        ratings, solver=solver, penalty=penalty, max_iter=settings.max_iter, tol=settings.tol,
        start=nmf.random_rows(ratings, settings.n_factors, settings.seed), executor=executor,
    )  # fmt: skip


def _nmf_means(settings: Settings, solver: str, executor: Executor | None) -> Fitted:
    def means(
        train: Ratings, n_factors: int, penalty: Penalty, users: np.ndarray, items: np.ndarray
    ) -> np.ndarray:
        del n_factors  # one model is all that is tried
        left, right, *_ = _nmf(train, settings, penalty, solver, executor)
        unknown = left.mean(axis=0), right.mean(axis=0)
        return cell_means(left, right, None, None, 0.0, users, items, unknown)

    return means
