"""The front of PMF by MAP: `fit_pmf`. Validate, choose the spreads, climb, wrap."""

from __future__ import annotations

import math
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmf.checks import check_cores, check_data
from bayesmf.pmf import SPREADS, Spreads, check_pmf, check_spread
from bayesmf.point.tuning import Settings, als_means, tune
from bayesmf.progress import Progress
from bayesmf.results import MapEstimate
from bayesmf.results.point_estimate import Steps
from bayesmf.seeds import fresh_seed
from bayesmf.validation import check_bool, check_integer, check_number, check_seed, fail

if TYPE_CHECKING:
    from collections.abc import Callable

    from bayesmf.pmf import PMF
    from bayesmf.point.tuning import Tuned
    from bayesmf.ratings import Ratings

TUNING_SWEEPS, TUNING_TOL = 200, 1e-4
"""Of the ALS fits that choose the spreads of the identity link: what `fit_als` takes by default."""

TUNING_GAIN = 1e-7
"""Tolerance of the MAP fits that choose those of the logistic link."""

WHY_NOT_LEARNED = (
    "'auto' or a positive number; its mode cannot be found with the factors', since the joint "
    "density grows without bound as they and their spread go to zero together. NUTS and ADVI can "
    "learn it: see pmf_model"
)


def fit_pmf(
    ratings: object,
    *,
    n_factors: int = 10,
    biases: bool = True,
    link: str = "identity",
    sigma: float | str = "auto",
    sigma_user: float | str = "auto",
    sigma_item: float | str = "auto",
    sigma_bias: float | str = "auto",
    center: bool = True,
    learn_means: bool = False,
    rating_range: tuple[float, float] | None = None,
    n_starts: int = 3,
    max_iter: int = 5000,
    tol: float = 1e-9,
    validation_size: float = 0.1,
    cores: int | None = None,
    random_seed: int | None = None,
    progressbar: bool = True,
) -> MapEstimate:
    """Probabilistic matrix factorization by maximum a posteriori (MAP), through PyMC.

    Parameters
    ----------
    ratings : DataFrame, Ratings, scipy sparse array, or tuple of arrays
        Observed ratings, one row each; see `Ratings`. Not changed.
    n_factors : int, default 10
        Rank of the interaction; 0 leaves the bias-only model.
    biases : bool, default True
        Whether users and items have biases. The model as published has none.
    link : {"identity", "logistic"}, default "identity"
        Whether a cell's expected rating is u.v + b + c, or that squashed into the range of the
        ratings by the logistic function.
    sigma, sigma_user, sigma_item, sigma_bias : float or "auto", default "auto"
        Standard deviations, in units of ratings: of the noise, and of the priors of users'
        factors, items' factors and biases. Numbers for all of them, or "auto" for all: then they
        are chosen by the error on a random part of the ratings, the factors' alike on both sides.
    center : bool, default True
        Take the mean rating (on the link's scale) out first.
    learn_means : bool, default False
        Whether the means of the factors' priors are free, as in the paper's adaptive priors, and
        not zero: normal, with the root of the ratings' sd (of 1 with the logistic link) as theirs.
        Then factors can do what biases do.
    rating_range : (low, high), optional
        What the logistic link squashes into; by default the range of the ratings.
    n_starts : int, default 3
        Random starts; the best mode found is kept.
    max_iter : int, default 5000
        Most iterations of L-BFGS from each start.
    tol : float, default 1e-9
        Stop when an iteration gains less than this share of the log density.
    validation_size : float, default 0.1
        Share of the ratings held out to choose "auto" spreads.
    cores : int, optional
        Threads for choosing; by default all that the process may use. Never changes a result.
    random_seed : int, optional
        Non-negative, for the starts and the held-out part.
    progressbar : bool, default True
        Whether to show progress.

    Returns
    -------
    MapEstimate

    Raises
    ------
    ValueError, TypeError
        For wrong arguments or data, before any work starts.

    Notes
    -----
    The model is that of Salakhutdinov & Mnih (2007), "Probabilistic matrix factorization", NIPS,
    with biases. Its mode minimises squared error with penalties sigma² / sigma_user² and so on
    (their eq. 4), which are in `penalties`: it is what `fit_als` finds. Starts are away from zero,
    where U = V = 0 is a saddle at which an optimiser stays for ever.

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> pmf = bayesmf.fit_pmf(ratings, n_factors=2, sigma=1.0, sigma_user=0.5, sigma_item=0.5,
    ...                       sigma_bias=0.5, random_seed=1, progressbar=False)
    >>> pmf.penalties
    {'reg_user': 4.0, 'reg_item': 4.0, 'reg_bias': 4.0}
    """
    function = "fit_pmf"
    given = {"sigma": sigma, "sigma_user": sigma_user, "sigma_item": sigma_item}
    given["sigma_bias"] = sigma_bias
    data, _ = check_data(ratings, None, function)
    model = check_pmf(
        data, function, n_factors=n_factors, biases=biases, link=link, center=center,
        learn_means=learn_means, rating_range=rating_range,
    )  # fmt: skip
    spreads = _check_spreads(given, model, function)
    starts = check_integer(n_starts, "n_starts", function, minimum=1)
    iterations = check_integer(max_iter, "max_iter", function, minimum=1)
    settled = check_number(tol, "tol", function, at_least=0)
    share = check_number(validation_size, "validation_size", function, above=0, below=1)
    cores = check_cores(cores, function)
    seed = fresh_seed(check_seed(random_seed, function))
    check_bool(progressbar, "progressbar", function)

    from bayesmf.pymc_engine.maximum import climb, parts, prior_means, squared_loss

    started = time.perf_counter()
    tuned = None
    with Progress([function], 1, show=progressbar, unit="steps") as progress:
        steps = 0

        def tick(text: str) -> None:
            # How many steps there will be is not known: always one more.
            nonlocal steps
            steps += 1
            progress.update(0, steps, text, total=steps + 1)

        if spreads is None:
            tuned = _tune(data, model, share, seed, center, cores, tick)
            spreads = _spreads_of(tuned, model, data.sd)
        model = model._replace(spreads=spreads)
        found = climb(
            data, model, n_starts=starts, max_iter=iterations, tol=settled, seed=seed, tick=tick
        )
        progress.update(0, steps, "", total=steps)
    best = max(found, key=lambda one: one.log_density)
    if not best.converged:
        message = f"L-BFGS reached max_iter={iterations} before it settled to tol={settled:g}."
        warnings.warn(message, stacklevel=2)
    penalties = spreads.penalties()
    tried = tuned.tried if tuned else []
    user_factors, item_factors, user_bias, item_bias = parts(best.values, data)
    return MapEstimate(
        ratings=data,
        user_factors=user_factors,
        item_factors=item_factors,
        user_bias=user_bias,
        item_bias=item_bias,
        center=model.center,
        sigma=float(spreads.sigma or 0.0),
        reg=penalties.get("reg_user", 0.0),
        reg_bias=penalties.get("reg_bias", 0.0),
        loss=squared_loss(best.trace, data, model),
        settings={
            "center": center,
            "n_starts": starts,
            "max_iter": iterations,
            "tol": settled,
            "validation_size": share if tuned else None,
            "random_seed": seed,
        },
        tried=pd.DataFrame(tried, columns=["n_factors", "reg", "reg_bias", "rmse"]),
        fit_seconds=time.perf_counter() - started,
        model=model,
        unknown=prior_means(best.values),
        steps=Steps("MAP", "iteration"),
        log_posteriors=np.array([one.log_density for one in found]),
    )


def _check_spreads(given: dict[str, Any], model: PMF, function: str) -> Spreads | None:
    """All spreads as numbers, or None if all are to be chosen."""
    used = {
        name
        for name in SPREADS
        if name == "sigma" or (model.biases if name == "sigma_bias" else model.n_factors)
    }
    for name, value in given.items():
        if value is None and name != "sigma":
            fail(name, function, WHY_NOT_LEARNED, value)
        if isinstance(value, str):
            if value != "auto":
                fail(name, function, "'auto' or a positive number", value)
        else:
            check_spread(value, name, function)
    chosen = [name for name in SPREADS if name in used and given[name] == "auto"]
    if not chosen:
        return Spreads(*[float(given[name]) if name in used else None for name in SPREADS])
    numbers = [name for name in SPREADS if given[name] != "auto"]
    if numbers:
        must = f"a number, as {numbers[0]} is, or all of them 'auto'"
        fail(chosen[0], function, must, given[chosen[0]])
    return None


def _tune(
    data: Ratings,
    model: PMF,
    share: float,
    seed: int,
    center: bool,
    cores: int,
    tick: Callable[[str], None],
) -> Tuned:
    from bayesmf.pymc_engine.maximum import map_means

    settings = Settings(
        model.n_factors, model.biases, seed, center=center, max_iter=TUNING_SWEEPS,
        tol=TUNING_TOL, validation_size=share,
    )  # fmt: skip
    with ThreadPoolExecutor(max(1, cores - 1)) as pool:  # this thread works too
        if model.link.name == "identity" and not model.learn_means:
            # The mode is the least squares solution, which ALS finds in less time.
            means = als_means(settings, pool if cores > 1 else None)
        else:
            means = map_means(
                model, centered=center, max_iter=TUNING_SWEEPS, tol=TUNING_GAIN, seed=seed
            )
        return tune(
            data, settings, means, reg=None, reg_bias=None,
            tick=lambda rmse: tick(f"validation RMSE {rmse:.4f}"),
        )  # fmt: skip


def _spreads_of(tuned: Tuned, model: PMF, sd: float) -> Spreads:
    # Ratings without noise still get an interval, if a thin one.
    sigma = max(tuned.validation_rmse, 1e-9 * sd)
    factors = sigma / math.sqrt(tuned.penalty.reg) if model.n_factors else None
    biases = sigma / math.sqrt(tuned.penalty.reg_bias) if model.biases else None
    return Spreads(sigma, factors, factors, biases)
