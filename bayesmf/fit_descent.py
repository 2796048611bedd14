"""The front of stochastic gradient descent: `fit_sgd`. Validate, choose, descend, wrap."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmf.checks import check_cores, check_data, check_reg
from bayesmf.point.als import Penalty
from bayesmf.point.held_out import hold_out
from bayesmf.point.sgd import SCHEDULES, Descent, DivergedError, Rows, run
from bayesmf.point.tuning import Settings, als_means, tune
from bayesmf.progress import Progress
from bayesmf.results import FactorEstimate
from bayesmf.results.point_estimate import Steps
from bayesmf.results.starts import starting_rows
from bayesmf.seeds import fresh_seed
from bayesmf.validation import (
    check_bool,
    check_choice,
    check_integer,
    check_number,
    check_seed,
    fail,
)

if TYPE_CHECKING:
    from bayesmf.point.held_out import HeldOut
    from bayesmf.point.tuning import Tuned
    from bayesmf.ratings import Ratings


def fit_sgd(
    ratings: object,
    *,
    n_factors: int = 10,
    biases: bool = True,
    reg: float | tuple[float, float] | str = "auto",
    reg_bias: float | str = "auto",
    weighted: bool = False,
    center: bool = True,
    learning_rate: float = 0.05,
    schedule: str = "inverse",
    batch_size: int = 64,
    max_epochs: int = 100,
    patience: int | None = 5,
    init: FactorEstimate | tuple[np.ndarray | None, ...] | None = None,
    validation_size: float = 0.1,
    cores: int | None = None,
    random_seed: int | None = None,
    progressbar: bool = True,
) -> FactorEstimate:
    """Matrix factorization by stochastic gradient descent, stopped on a validation part.

    Parameters
    ----------
    ratings : DataFrame, Ratings, scipy sparse array, or tuple of arrays
        Observed ratings, one row each; see `Ratings`. Not changed.
    n_factors : int, default 10
        Rank of the interaction; 0 leaves the bias-only model.
    biases : bool, default True
        Whether users and items have biases.
    reg, reg_bias : float or "auto", default "auto"
        Penalties of squared factors (two numbers: of users and of items) and squared biases, those
        of `fit_als`, since the loss is the same. "auto" chooses by ALS on the validation part.
    weighted : bool, default False
        Multiply each row's penalty by its number of ratings: then every rating shrinks its rows
        alike, as in Funk's descent.
    center : bool, default True
        Take the mean rating out first.
    learning_rate : float, default 0.05
        A step moves rows by the rate times the gradient of half the batch's squared errors, in
        units of the ratings' sd, and then shrinks them by the batch's share of the penalties.
    schedule : {"inverse", "constant", "cosine"}, default "inverse"
        How the rate falls: to a half in 10 epochs, a third in 20, and so on; not; or to zero along
        a cosine in `max_epochs`.
    batch_size : int, default 64
        Ratings in a step. With 1 each rating is a step; with all, it is gradient descent.
    max_epochs : int, default 100
        Most passes through the ratings.
    patience : int or None, default 5
        Stop when the validation error has not fallen for so many epochs; all ratings are then
        fitted for as many epochs as were best. None goes through all of `max_epochs`.
    init : FactorEstimate, or tuple of arrays, optional
        Where to start, as in `fit_als`; the fit without the validation part starts at random.
    validation_size : float, default 0.1
        Share of the ratings held out.
    cores : int, optional
        Threads for choosing penalties; descent is serial. Never changes a result.
    random_seed : int, optional
        Non-negative, for the start, the order of ratings and the held-out part.
    progressbar : bool, default True
        Whether to show progress.

    Returns
    -------
    FactorEstimate
        Its `loss` is that after each epoch; `tried` has the penalties that ALS has tried (epoch 0)
        and the validation error of each epoch.

    Raises
    ------
    ValueError, TypeError
        For wrong arguments or data, before any work starts; and when the learning rate is so large
        that the descent diverges.

    Notes
    -----
    The loss and its gradient: Koren, Bell & Volinsky (2009), "Matrix factorization techniques for
    recommender systems", eqs. 5 and 6. `check_gradient` checks it.

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> sgd = bayesmf.fit_sgd(ratings, n_factors=2, random_seed=1, progressbar=False)
    >>> bool(sgd.loss[-1] < sgd.loss[0])
    True
    """
    function = "fit_sgd"
    descent = Descent(
        check_integer(n_factors, "n_factors", function),
        check_bool(biases, "biases", function),
        check_integer(batch_size, "batch_size", function, minimum=1),
        check_number(learning_rate, "learning_rate", function, above=0),
        check_choice(schedule, "schedule", function, SCHEDULES),
        check_integer(max_epochs, "max_epochs", function, minimum=1),
    )
    if descent.n_factors == 0 and not biases:
        fail("n_factors", function, "positive when biases=False: nothing would be left", 0)
    given_reg, reg_item, given_bias = check_reg(reg, reg_bias, function)
    check_bool(weighted, "weighted", function)
    check_bool(center, "center", function)
    if patience is not None:
        patience = check_integer(patience, "patience", function, minimum=1)
    share = check_number(validation_size, "validation_size", function, above=0, below=1)
    cores = check_cores(cores, function)
    seed = fresh_seed(check_seed(random_seed, function))
    check_bool(progressbar, "progressbar", function)
    data, _ = check_data(ratings, None, function)
    start = None
    if init is not None:
        start = starting_rows(init, data, descent.n_factors, biases, function)

    started = time.perf_counter()
    with Progress([function], 2 * descent.max_epochs, show=progressbar, unit="epochs") as progress:
        settings = Settings(
            descent.n_factors, biases, seed, weighted, center, validation_size=share
        )  # fmt: skip
        tuned = None
        if (given_reg is None and descent.n_factors) or (given_bias is None and biases):
            tuned = _tune(data, settings, given_reg, reg_item, given_bias, cores, progress)
        penalty = (
            tuned.penalty
            if tuned
            else Penalty(given_reg or 0.0, given_bias or 0.0, weighted, reg_item)
        )
        held = hold_out(data, share, seed)
        try:
            errors = _validated(held, descent, penalty, center, seed, patience, progress)
            best = int(np.argmin(errors)) + 1 if patience is not None else len(errors)
            done, total = len(errors), len(errors) + best

            def watch(_: Rows) -> bool:
                nonlocal done
                done += 1
                progress.update(0, done, f"validation RMSE {errors[best - 1]:.4f}", total=total)
                return False

            rows, losses = run(
                data, descent, penalty, center=data.mean if center else 0.0, seed=seed,
                n_epochs=best, watch=watch, start=start,
            )  # fmt: skip
        except DivergedError as error:
            raise ValueError(
                f"{function} diverged: {error}. Give a 'learning_rate' below {learning_rate:g}."
            ) from None
    return FactorEstimate(
        ratings=data,
        **rows._asdict(),
        # Ratings without noise still get an interval, if a thin one.
        sigma=max(errors[best - 1], 1e-9 * data.sd),
        reg=penalty.reg if reg_item is None else (penalty.reg, reg_item),
        reg_bias=penalty.reg_bias,
        loss=losses,
        steps=Steps("SGD", "epoch"),
        details=f"SGD, learning rate {learning_rate:g} {schedule}, batches of {batch_size}",
        settings={
            "weighted": weighted,
            "center": center,
            "learning_rate": descent.learning_rate,
            "schedule": schedule,
            "batch_size": descent.batch_size,
            "max_epochs": descent.max_epochs,
            "patience": patience,
            "init": init is not None,
            "validation_size": share,
            "random_seed": seed,
        },
        tried=_tried(tuned, errors, descent.n_factors, penalty),
        fit_seconds=time.perf_counter() - started,
    )


def _tune(
    data: Ratings,
    settings: Settings,
    reg: float | None,
    reg_item: float | None,
    reg_bias: float | None,
    cores: int,
    progress: Progress,
) -> Tuned:
    if reg is not None:
        # The biases' penalty is chosen without factors: with them, ALS may have no solution for
        # what descent goes down all the same.
        settings = settings._replace(n_factors=0)
    with ThreadPoolExecutor(max(1, cores - 1)) as pool:  # this thread works too
        means = als_means(settings, pool if cores > 1 else None)
        return tune(
            data, settings, means, reg=reg, reg_bias=reg_bias, reg_item=reg_item,
            tick=lambda rmse: progress.update(0, 0, f"by ALS: validation RMSE {rmse:.4f}"),
        )  # fmt: skip


def _validated(
    held: HeldOut,
    descent: Descent,
    penalty: Penalty,
    center: bool,
    seed: int,
    patience: int | None,
    progress: Progress,
) -> list[float]:
    """Validation error after each epoch, until it has not fallen for long."""
    errors: list[float] = []

    def watch(rows: Rows) -> bool:
        errors.append(held.rmse(rows.means(held.users, held.items)))
        progress.update(0, len(errors), f"validation RMSE {errors[-1]:.4f}")
        return patience is not None and len(errors) - 1 - int(np.argmin(errors)) >= patience

    run(
        held.train, descent, penalty, center=held.train.mean if center else 0.0, seed=seed,
        n_epochs=descent.max_epochs, watch=watch,
    )  # fmt: skip
    return errors


def _tried(
    tuned: Tuned | None, errors: list[float], n_factors: int, penalty: Penalty
) -> pd.DataFrame:
    rows: list[tuple[Any, ...]] = [
        (rank, reg, reg_bias, 0, rmse)
        for rank, reg, reg_bias, rmse in (tuned.tried if tuned else [])
    ]
    rows += [
        (n_factors, penalty.reg, penalty.reg_bias, epoch, rmse)
        for epoch, rmse in enumerate(errors, start=1)
    ]
    return pd.DataFrame(rows, columns=["n_factors", "reg", "reg_bias", "epoch", "rmse"])
