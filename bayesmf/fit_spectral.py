"""The front of decompositions of a table that is filled in: `fit_svd`."""

from __future__ import annotations

import math
import time
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from bayesmf.checks import check_fit
from bayesmf.point.als import Penalty
from bayesmf.point.held_out import hold_out
from bayesmf.point.svd import LowRank, decompositions
from bayesmf.point.tuning import Settings, als_means, biases_of, fit, tune
from bayesmf.progress import Progress, Search
from bayesmf.results.factor_estimate import FactorEstimate
from bayesmf.results.point_estimate import Steps
from bayesmf.validation import check_auto, check_bool, check_choice, check_integer, fail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bayesmf.point.svd import Decomposition
    from bayesmf.ratings import Ratings

FILLS = ("bias", "item", "mean", "zero")
"""What may stand in missing cells."""


def fit_svd(
    ratings: object,
    *,
    n_factors: int = 10,
    fill: str = "bias",
    max_iter: int = 1,
    reg_bias: float | str = "auto",
    center: bool = True,
    validation_size: float = 0.1,
    random_seed: int | None = None,
    progressbar: bool = True,
) -> FactorEstimate:
    """Truncated singular value decomposition of the table with its missing cells filled in.

    Parameters
    ----------
    ratings : DataFrame, Ratings, scipy sparse array, or tuple of arrays
        Observed ratings, one row each; see `Ratings`. Not changed.
    n_factors : int, default 10
        Number of components, less than the number of users and of items.
    fill : {"bias", "item", "mean", "zero"}, default "bias"
        What stands in missing cells: mean and biases of user and item, the item's mean rating, the
        mean rating, or 0. With "zero" predictions come out near 0: a missing cell is not a rating
        of zero, and a decomposition knows no missing cells.
    max_iter : int, default 1
        Most fills. After the first the table is filled with its own approximation, and decomposed
        again, as long as this lowers the error on the validation part.
    reg_bias : float or "auto", default "auto"
        Penalty of squared biases, with fill="bias".
    center : bool, default True
        Whether the mean rating is taken out of all cells first, observed and filled.
    validation_size : float, default 0.1
        Share of the ratings held out to choose `reg_bias` and the number of fills, and to measure
        `sigma`.
    random_seed : int, optional
        Non-negative, for the start of the solver and the held-out part.
    progressbar : bool, default True
        Whether to show progress.

    Returns
    -------
    FactorEstimate
        An unknown user or item has the mean factors of its side. `loss` is the squared error on
        observed cells of the fill itself, and of the approximation after each fill.
        `settings["explained_variance"]` is the share of each component of the sum of squares of the
        filled table around the centre.

    Raises
    ------
    ValueError, TypeError
        For wrong arguments or data before any work starts.

    Notes
    -----
    The filled table is never written down: it is a sparse matrix plus one of low rank, and the
    solver, SciPy's `svds` by ARPACK, asks for products alone. The first approximation is the best
    one of rank K (Eckart & Young 1936). Fills after the first are SVDimpute of Troyanskaya et al.
    (2001), or hard-impute of Mazumder, Hastie & Tibshirani (2010).

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> svd = bayesmf.fit_svd(ratings, n_factors=3, random_seed=1, progressbar=False)
    >>> len(svd.settings["explained_variance"])
    3
    """
    function = "fit_svd"
    rank = check_integer(n_factors, "n_factors", function, minimum=1)
    check_choice(fill, "fill", function, FILLS)
    most = check_integer(max_iter, "max_iter", function, minimum=1)
    given = check_auto(reg_bias, "reg_bias", function)
    if given is not None and fill != "bias":
        fail("reg_bias", function, f"'auto' with fill={fill!r}, which has no biases", given)
    check_bool(center, "center", function)
    data, share, seed = check_fit(ratings, validation_size, random_seed, progressbar, function)
    held = hold_out(data, share, seed)
    fewest = min(held.train.n_users, held.train.n_items)
    if rank >= fewest:
        must = f"less than {fewest}, the fewest users or items without the validation part"
        fail("n_factors", function, must, rank)

    started = time.perf_counter()
    settings = Settings(0, True, seed, validation_size=share)
    tried: list[tuple[int, float, float]] = []
    with (
        threadpool_limits(1, user_api="blas"),  # sums in an order that no number of threads changes
        Progress([function], 1, show=progressbar, unit="fits") as progress,
    ):
        search = Search(progress)
        chosen = 0.0
        if fill == "bias":
            means = als_means(settings, None)
            tuned = tune(data, settings, means, reg=0.0, reg_bias=given, tick=search.tick)
            chosen = tuned.penalty.reg_bias
            tried += [(0, one, rmse) for _, _, one, rmse in tuned.tried]

        def filled(some: Ratings) -> Iterator[Decomposition]:
            around = some.mean if center else 0.0
            begun = _fill(some, fill, around, settings, chosen)
            return decompositions(some, begun, n_factors=rank, center=around, seed=seed)

        fills, sigma = 0, math.inf
        for one in islice(filled(held.train), most):
            rmse = held.rmse(one.means(held.users, held.items))
            tried.append((fills + 1, chosen, rmse))
            search.tick(rmse)
            if rmse >= sigma:
                break
            fills, sigma = fills + 1, rmse
        start = _fill(data, fill, data.mean, settings, chosen).at(data.users, data.items)
        losses = [float(np.sum((data.values - data.mean - start) ** 2))]
        for last in islice(filled(data), fills):
            losses.append(last.loss)
        search.finish(sigma)
    return FactorEstimate(
        ratings=data,
        user_factors=last.approximation.left,
        item_factors=last.approximation.right,
        center=last.center,
        reg_bias=chosen,
        unknown=last.approximation.mean_rows,
        # Ratings without noise still get an interval, if a thin one.
        sigma=max(sigma, 1e-9 * data.sd),
        loss=np.array(losses),
        steps=Steps("SVD", "fill"),
        details=f"filled with {fill}",
        settings={
            "fill": fill,
            "max_iter": most,
            "center": center,
            "validation_size": share,
            "random_seed": seed,
            "explained_variance": last.explained.tolist(),
        },
        tried=pd.DataFrame(tried, columns=["fills", "reg_bias", "rmse"]),
        fit_seconds=time.perf_counter() - started,
    )


def _fill(
    ratings: Ratings, fill: str, center: float, settings: Settings, reg_bias: float
) -> LowRank:
    # Without the centre from the first: far from zero, sums of squares would lose what differs.
    user, item = np.zeros(ratings.n_users), np.zeros(ratings.n_items)
    level = (0.0 if fill == "zero" else ratings.mean) - center
    if fill == "bias":
        penalty = Penalty(0.0, reg_bias, settings.weighted)
        user, item = biases_of(fit(ratings, settings, penalty, None))
    if fill == "item":
        sums = np.bincount(ratings.items, ratings.values - ratings.mean)
        item = sums / np.bincount(ratings.items)
    return LowRank.of_effects(level, user, item)
