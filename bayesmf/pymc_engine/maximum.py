"""The mode of PMF's posterior (MAP), by L-BFGS from random starts.

Where all factors are zero the gradient is zero too: each side's is a product with the other side.
That point is a saddle, and the default start of a PyMC model; starts here are away from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import minimize

from bayesmf.pmf import Spreads
from bayesmf.point.als import cell_means
from bayesmf.pymc_engine.density import Density
from bayesmf.pymc_engine.models import build_pmf
from bayesmf.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Callable

    from bayesmf.pmf import PMF
    from bayesmf.point.als import Penalty
    from bayesmf.point.tuning import Fitted
    from bayesmf.ratings import Ratings

START = 0.1
"""Standard deviation of the factors at a start, where their prior's is not smaller, in units of
the square root of the ratings' sd (of 1 with the logistic link)."""

HISTORY = 20
"""Steps that L-BFGS remembers; more of them save iterations where curvatures differ much."""


class Maximum(NamedTuple):
    """The values of all variables where the log density is largest, and how that was found.

    `trace` has the log density after each iteration.
    """

    values: dict[str, np.ndarray]
    log_density: float
    trace: np.ndarray
    converged: bool


def maximise(
    density: Density,
    start: dict[str, np.ndarray],
    *,
    max_iter: int,
    tol: float,
) -> Maximum:
    """Climb from one start until an iteration gains less than `tol` of the log density.

    The log density is divided by its size at the start, so that `tol` has no unit.
    """
    x = density.ravel(start)
    trace = [density(x)[0]]
    size = max(1.0, abs(trace[0]))

    def falling(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = density(x)
        return -value / size, -gradient / size

    def note(intermediate_result: object) -> None:
        trace.append(-size * float(intermediate_result.fun))  # type: ignore[attr-defined]

    found = minimize(
        falling, x, jac=True, method="L-BFGS-B", callback=note,
        options={
            "maxiter": max_iter, "maxfun": 2 * max_iter + 20, "maxcor": HISTORY,
            "ftol": tol, "gtol": 0.0,
        },
    )  # fmt: skip
    value = -size * float(found.fun)
    return Maximum(density.unravel(found.x), value, np.array(trace), bool(found.success))


def climb(
    ratings: Ratings,
    model: PMF,
    *,
    n_starts: int,
    max_iter: int,
    tol: float,
    seed: int,
    tick: Callable[[str], None],
) -> list[Maximum]:
    """Find the mode from each of several random starts; compiled once."""
    density = Density(build_pmf(ratings, model))
    found = []
    for number in range(n_starts):
        start = random_start(ratings, model, generator(seed, f"pmf start {number}"))
        one = maximise(density, start, max_iter=max_iter, tol=tol)
        tick(f"log density {one.log_density:,.1f}")
        found.append(one)
    return found


def map_means(model: PMF, *, centered: bool, max_iter: int, tol: float, seed: int) -> Fitted:
    """Make the fit by MAP, to choose penalties with: the mode depends on the spreads by them alone.

    But for free prior means, whose own prior is taken as it stands, for noise of sd 1.
    A model is compiled once for each rank that is asked for.
    """
    compiled: dict[int, tuple[PMF, Density]] = {}

    def means(
        train: Ratings, n_factors: int, penalty: Penalty, users: np.ndarray, items: np.ndarray
    ) -> np.ndarray:
        if n_factors not in compiled:
            center = model.link.center(train) if centered else 0.0
            ones = Spreads(1.0, 1.0, 1.0, 1.0)
            own = model._replace(n_factors=n_factors, center=center, spreads=ones)
            compiled[n_factors] = own, Density(build_pmf(train, own))
        own, density = compiled[n_factors]
        if n_factors:
            density.set_data(sigma_user=penalty.reg**-0.5, sigma_item=penalty.reg**-0.5)
        if own.biases:
            density.set_data(sigma_bias=penalty.reg_bias**-0.5)
        start = random_start(train, own, generator(seed, "pmf start 0"))
        best = maximise(density, start, max_iter=max_iter, tol=tol)
        cells = cell_means(
            *parts(best.values, train), own.center, users, items, prior_means(best.values)
        )
        return model.link.mean(cells)

    return means


def parts(
    values: dict[str, np.ndarray], ratings: Ratings
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """User factors, item factors, user bias, item bias (None without biases)."""
    return (
        values.get("user_factors", np.zeros((ratings.n_users, 0))),
        values.get("item_factors", np.zeros((ratings.n_items, 0))),
        values.get("user_bias"),
        values.get("item_bias"),
    )


def prior_means(
    values: dict[str, np.ndarray],
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Means of the factors of users and of items, where they are free."""
    return values.get("mean_user"), values.get("mean_item")


def random_start(ratings: Ratings, model: PMF, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Factors near zero but not at it, and no biases."""
    start = {}
    unit = np.sqrt(model.link.unit(ratings))
    for side, n in (("user", ratings.n_users), ("item", ratings.n_items)):
        if model.n_factors:
            prior = getattr(model.spreads, f"sigma_{side}")
            sd = min(START * unit, prior)
            start[f"{side}_factors"] = sd * rng.standard_normal((n, model.n_factors))
            if model.learn_means:
                start[f"mean_{side}"] = np.zeros(model.n_factors)
        if model.biases:
            start[f"{side}_bias"] = np.zeros(n)
    return start


def squared_loss(trace: np.ndarray, ratings: Ratings, model: PMF) -> np.ndarray:
    """Squared error with the penalties that the spreads imply, from log densities (n,).

    Up to a constant, the normalisers of all Gaussians, it is -2 sigma^2 times the log density.
    """
    spreads, k = model.spreads, model.n_factors
    counts = [
        (spreads.sigma, len(ratings)),
        (spreads.sigma_user, ratings.n_users * k),
        (spreads.sigma_item, ratings.n_items * k),
        (spreads.sigma_bias, (ratings.n_users + ratings.n_items) * model.biases),
        (np.sqrt(model.link.unit(ratings)), 2 * k * model.learn_means),
    ]
    normalisers = sum(
        count * np.log(spread * np.sqrt(2 * np.pi)) for spread, count in counts if count
    )
    sigma = spreads.sigma
    assert sigma is not None  # noqa: S101 - MAP has all spreads
    loss: np.ndarray = -2 * sigma**2 * (trace + normalisers)
    return loss
