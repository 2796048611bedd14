"""Choosing penalties, and the honest error of a fit, on ratings held out of training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, Protocol

from bayesmf.point.als import (
    USUAL,
    Penalty,
    SingularRowError,
    Solution,
    Way,
    cell_means,
    solve,
    split_rows,
)
from bayesmf.point.held_out import hold_out

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    import numpy as np

    from bayesmf.ratings import Ratings

# The penalty of a bias has no unit and that of a factor the unit of the ratings: the search starts
# from these in units of the ratings' sd. Zhou et al. (2008) found 0.05-0.065 for the weighted form.
START = {"reg_bias": 4.0, "reg": 8.0, "weighted_reg_bias": 0.05, "weighted_reg": 0.05}
MAX_DOUBLINGS = 12


class Tuned(NamedTuple):
    """Chosen penalty, RMSE on the validation part, every (n_factors, reg, reg_bias, rmse) tried."""

    penalty: Penalty
    validation_rmse: float
    tried: list[tuple[int, float, float, float]]


class Settings(NamedTuple):
    """What stays fixed while penalties are tried; its defaults are those of `fit_als`."""

    n_factors: int
    biases: bool
    seed: int
    weighted: bool = False
    center: bool = True
    max_iter: int = 200
    tol: float = 1e-4
    validation_size: float = 0.1
    dtype: str = "float64"
    way: Way = USUAL


class Fitted(Protocol):
    """A way to fit: expected ratings of cells by code, from a fit to other ratings."""

    def __call__(
        self,
        train: Ratings,
        n_factors: int,
        penalty: Penalty,
        users: np.ndarray,
        items: np.ndarray,
    ) -> np.ndarray:
        """Fit `train`; expect cells given by its codes, -1 for those that it does not know."""


def als_means(settings: Settings, executor: Executor | None) -> Fitted:
    """Make the fit by ALS."""

    def means(
        train: Ratings, n_factors: int, penalty: Penalty, users: np.ndarray, items: np.ndarray
    ) -> np.ndarray:
        solution = fit(train, settings._replace(n_factors=n_factors), penalty, executor)
        parts = split_rows(solution, n_factors, settings.biases)
        return cell_means(*parts, solution.center, users, items)

    return means


def tune(
    ratings: Ratings,
    settings: Settings,
    means: Fitted,
    *,
    reg: float | None,
    reg_bias: float | None,
    reg_item: float | None = None,
    tick: Callable[[float], None],
) -> Tuned:
    """Choose the penalties that are None by the RMSE on a random part of the ratings.

    The bias penalty is chosen on the bias-only model, which costs little, and the factors' given
    it; each by walking a geometric ladder as long as the error falls, then half a step around.
    """
    held = hold_out(ratings, settings.validation_size, settings.seed)
    tried: list[tuple[int, float, float, float]] = []

    def error(reg: float, reg_bias: float, n_factors: int) -> float:
        penalty = Penalty(reg, reg_bias, settings.weighted, reg_item)
        try:
            found = means(held.train, n_factors, penalty, held.users, held.items)
        except SingularRowError:
            if settings.dtype == "float32" and (reg > 0 or not n_factors):
                raise  # by rounding: another penalty must not hide it
            return math.inf
        rmse = held.rmse(found)
        tried.append((n_factors, reg, reg_bias, rmse))
        tick(rmse)
        return rmse

    prefix = "weighted_" if settings.weighted else ""
    chosen_bias = 0.0 if reg_bias is None else reg_bias
    if reg_bias is None and settings.biases:
        chosen_bias = descend(lambda x: error(0.0, x, 0), START[f"{prefix}reg_bias"])
    chosen = 0.0 if reg is None else reg
    if reg is None and settings.n_factors:
        start = START[f"{prefix}reg"] * ratings.sd
        chosen = descend(lambda x: error(x, chosen_bias, settings.n_factors), start)
    penalty = Penalty(chosen, chosen_bias, settings.weighted, reg_item)
    known = {(rank, a, b): rmse for rank, a, b, rmse in tried}
    key = (settings.n_factors, chosen, chosen_bias)
    rmse = known[key] if key in known else error(chosen, chosen_bias, settings.n_factors)
    if not math.isfinite(rmse):
        raise SingularRowError(
            "a part of the ratings is held out to measure the error, and the rest has a row with "
            "fewer ratings than coordinates"
        )
    return Tuned(penalty, rmse, tried)


def fit(
    ratings: Ratings,
    settings: Settings,
    penalty: Penalty,
    executor: Executor | None,
    start: tuple[np.ndarray, np.ndarray] | None = None,
) -> Solution:
    """ALS with these settings; the centre is the mean of the ratings it is given."""
    return solve(
        ratings,
        n_factors=settings.n_factors,
        biases=settings.biases,
        penalty=penalty,
        center=ratings.mean if settings.center else 0.0,
        max_iter=settings.max_iter,
        tol=settings.tol,
        seed=settings.seed,
        dtype=settings.dtype,
        executor=executor,
        start=start,
        way=settings.way,
    )


def biases_of(solution: Solution) -> tuple[np.ndarray, np.ndarray]:
    """User and item biases of a solution without factors."""
    return solution.user_rows[:, 0].astype(float), solution.item_rows[:, 0].astype(float)


def descend(error: Callable[[float], float], start: float) -> float:
    """Minimise over start * 2^k by walking downhill, then try half a step to either side."""
    errors = {0.0: error(start)}

    def at(k: float) -> float:
        if k not in errors:
            errors[k] = error(start * 2.0**k)
        return errors[k]

    direction = 1.0 if at(1.0) < at(0.0) else -1.0
    k = max(direction, 0.0)
    while abs(k) < MAX_DOUBLINGS and at(k + direction) < at(k):
        k += direction
    return float(start * 2.0 ** min((k - 0.5, k, k + 0.5), key=at))
