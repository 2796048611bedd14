"""A `FactorEstimate` from ratings and settings that are checked: tune, solve, wrap.

It stands on this floor, since a report fits ALS too, to have something to compare with.
"""

from __future__ import annotations

import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pandas as pd

from bayesmf.point.als import SingularRowError, split_rows
from bayesmf.point.tuning import Settings, als_means, fit, tune
from bayesmf.progress import Search
from bayesmf.results.factor_estimate import FactorEstimate
from bayesmf.results.point_estimate import Steps

if TYPE_CHECKING:
    import numpy as np

    from bayesmf.progress import Progress
    from bayesmf.ratings import Ratings


def least_squares(
    data: Ratings,
    settings: Settings,
    *,
    reg: float | None,
    reg_bias: float | None,
    reg_item: float | None = None,
    start: tuple[np.ndarray, np.ndarray] | None = None,
    cores: int,
    progress: Progress,
    function: str,
) -> FactorEstimate:
    """Choose the penalties that are None on a validation part, and fit all ratings.

    Raises
    ------
    ValueError
        If penalties are so small that a row cannot be solved; in the name of `function`.

    Warns
    -----
    UserWarning
        If the loss has not settled.
    """
    started = time.perf_counter()
    with ThreadPoolExecutor(max(1, cores - 1)) as pool:  # this thread works too
        executor = pool if cores > 1 else None

        search = Search(progress)
        try:
            tuned = tune(
                data, settings, als_means(settings, executor), reg=reg, reg_bias=reg_bias,
                reg_item=reg_item, tick=search.tick,
            )  # fmt: skip
            solution = fit(data, settings, tuned.penalty, executor, start)
        except SingularRowError as error:
            cure = "." if settings.dtype == "float32" else ". Give positive 'reg' and 'reg_bias'."
            raise ValueError(
                f"{function} cannot solve with these penalties: {error}{cure}"
            ) from None
        search.finish(tuned.validation_rmse)
    if not solution.converged:
        message = (
            f"ALS reached max_iter={settings.max_iter} before the loss settled to "
            f"tol={settings.tol:g}."
        )
        warnings.warn(message, stacklevel=4)
    chosen = tuned.penalty
    user_factors, item_factors, user_bias, item_bias = split_rows(
        solution, settings.n_factors, settings.biases
    )
    return FactorEstimate(
        ratings=data,
        user_factors=user_factors,
        item_factors=item_factors,
        user_bias=user_bias,
        item_bias=item_bias,
        center=solution.center,
        # Ratings without noise still get an interval, if a thin one.
        sigma=max(tuned.validation_rmse, 1e-9 * data.sd),
        reg=chosen.reg if reg_item is None else (chosen.reg, reg_item),
        reg_bias=chosen.reg_bias,
        loss=solution.loss,
        steps=Steps("ALS", "sweep", 2 if settings.way.sides == "alternating" else 1),
        settings={
            "weighted": settings.weighted,
            "center": settings.center,
            "max_iter": settings.max_iter,
            "tol": settings.tol,
            "dtype": settings.dtype,
            "solve_biases": settings.way.biases,
            "solve_sides": settings.way.sides,
            "init": start is not None,
            "validation_size": settings.validation_size,
            "random_seed": settings.seed,
        },
        tried=pd.DataFrame(tuned.tried, columns=["n_factors", "reg", "reg_bias", "rmse"]),
        fit_seconds=time.perf_counter() - started,
    )
