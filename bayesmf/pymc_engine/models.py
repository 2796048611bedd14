"""The two models as `pm.Model`: one `bpmf_model` with the priors of the sampler, and `pmf_model`.

The likelihood is over the observed cells alone, by index arrays: nothing here has as many numbers
as the table has cells. What Gibbs does not need to name is named here, so that a reader can look,
change a prior, or add a term to the mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from bayesmf.model import GammaPrior
from bayesmf.pymc_engine.fused import RowDensity, SquaredError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bayesmf.model import BPMF, SidePrior
    from bayesmf.pmf import PMF
    from bayesmf.ratings import Ratings
    from bayesmf.scales import WorkingScale

LOG_2PI = float(np.log(2 * np.pi))


def build_bpmf(ratings: Ratings, model: BPMF, *, fused: bool = False) -> pm.Model:
    """Bayesian matrix factorization with exactly the priors of the Gibbs sampler.

    Rows, means and precisions are on the working scale, (rating - center) / scale; the observed
    variable is the rating itself. With `fused` the same density is stated by two operations of our
    own (`fused.py`) and nothing else that a fit does not need.
    """
    scale, k = model.working_scale(ratings), model.n_factors
    # Engines' own models are never part of one that the user has open.
    options: dict[str, Any] = (
        {"model": None} if fused else {"coords": _coords(ratings, k, model.biases)}
    )
    with pm.Model(**options) as built:
        rows = {
            side: _rows(side, n, model.prior.resolve(n, k, model.biases), k, model.biases, fused)
            for side, n in (("user", ratings.n_users), ("item", ratings.n_items))
        }
        if isinstance(model.alpha, GammaPrior):
            alpha = pm.Gamma("alpha", _double(model.alpha.shape), _double(model.alpha.rate))
        else:
            alpha = pm.Data("alpha", model.alpha)
        if fused:
            _weigh_errors(ratings, scale, rows, k, alpha)
            return built
        factors = {side: values[:, :k] for side, values in rows.items()}
        biases = {side: values[:, k] for side, values in rows.items()} if model.biases else None
        mean = _cells(ratings, factors, biases)
        center, width = pm.Data("center", scale.center), pm.Data("scale", scale.scale)
        _observe(ratings, center + width * mean, width / pt.sqrt(alpha))
    return built


def build_pmf(ratings: Ratings, model: PMF) -> pm.Model:
    """Probabilistic matrix factorization; spreads that are None are learned.

    A given spread is data of the model, so that it can be changed without building it anew.
    """
    link, k = model.link, model.n_factors
    # A learned spread is of the order of what it explains.
    unit = link.unit(ratings)
    of_factor = float(np.sqrt(unit))
    widths = {"sigma": ratings.sd}
    if k:
        widths |= {"sigma_user": of_factor, "sigma_item": of_factor}
    if model.biases:
        widths["sigma_bias"] = unit
    with pm.Model(coords=_coords(ratings, k, model.biases)) as built:
        spread = {
            name: pm.HalfNormal(name, _double(width)) if given is None else pm.Data(name, given)
            for name, width in widths.items()
            for given in [getattr(model.spreads, name)]
        }
        means = {
            side: (
                pm.Normal(f"mean_{side}", 0.0, _double(of_factor), dims="factor")
                if model.learn_means and k
                else 0.0
            )
            for side in ("user", "item")
        }
        factors = {
            side: pm.Normal(
                f"{side}_factors", means[side], spread[f"sigma_{side}"], dims=(side, "factor")
            )
            for side in ("user", "item")
            if k
        }
        biases = (
            {
                side: pm.Normal(f"{side}_bias", 0.0, spread["sigma_bias"], dims=side)
                for side in ("user", "item")
            }
            if model.biases
            else None
        )
        cells = pm.Data("center", model.center) + _cells(ratings, factors, biases)
        if link.name == "logistic":
            low, high = pm.Data("lowest", link.low), pm.Data("highest", link.high)
            cells = low + (high - low) * pm.math.sigmoid(cells)
        _observe(ratings, cells, spread["sigma"])
    return built


def _double(number: float) -> np.ndarray:
    # PyTensor keeps a plain number in the narrowest type that holds it, and so takes its logarithm.
    return np.asarray(number, dtype=np.float64)


def _coords(ratings: Ratings, n_factors: int, biases: bool) -> dict[str, Any]:
    names = [str(k) for k in range(n_factors)] + ["bias"] * biases
    return {
        "user": ratings.user_ids.to_numpy(),
        "item": ratings.item_ids.to_numpy(),
        "factor": np.arange(n_factors),
        "coordinate": names,
        "coordinate_2": names,
        "rating_id": np.arange(len(ratings)),
    }


def _cells(ratings: Ratings, factors: dict[str, Any], biases: dict[str, Any] | None) -> Any:
    """u.v + b + c of the observed cells."""
    codes = {
        side: pm.Data(f"{side}_code", values, dims="rating_id")
        for side, values in (("user", ratings.users), ("item", ratings.items))
    }
    parts = []
    if factors:
        parts.append(
            pt.sum(factors["user"][codes["user"]] * factors["item"][codes["item"]], axis=1)
        )
    if biases:
        parts += [biases[side][codes[side]] for side in ("user", "item")]
    return sum(parts[1:], parts[0])


def _observe(ratings: Ratings, mean: Any, sd: Any) -> None:
    observed = pm.Data("observed_rating", ratings.values, dims="rating_id")
    pm.Normal("rating", mean, sd, observed=observed, dims="rating_id")


def _weigh_errors(
    ratings: Ratings, scale: WorkingScale, rows: dict[str, Any], n_factors: int, alpha: Any
) -> None:
    """Log likelihood of the ratings by their sum of squared errors.

    Cells may be a part of the ratings: the data `share` says what share of them.
    """
    n = len(ratings)
    cells = [
        pm.Data("user_code", ratings.users),
        pm.Data("item_code", ratings.items),
        pm.Data("target", scale.to_working(ratings.values)),
    ]
    error = SquaredError(n_factors).total(rows["user"], rows["item"], *cells)
    error = error / pm.Data("share", 1.0)
    # The number of ratings is data too, as the code is compiled for tables of all sizes.
    count, unit = pm.Data("n_ratings", float(n)), pm.Data("log_scale", np.log(scale.scale))
    pm.Potential("rating", count * (0.5 * (pt.log(alpha) - LOG_2PI) - unit) - 0.5 * alpha * error)


def _rows(
    side: str, n_rows: int, prior: SidePrior, n_factors: int, biases: bool, fused: bool
) -> Any:
    """Rows (n, D) of one side, below their mean, precision and prior strength.

    Bartlett's decomposition (Smith & Hocking 1972, AS 53): with A lower triangular, A_kk^2 ~ chi^2
    of dof - k (k from 0) and standard normals below, B = diag(w)^(-1/2) A has B B' ~ Wishart(W0,
    dof) for W0 = diag(1 / w).
    """
    d = len(prior.mu0)
    coordinate = None if fused else "coordinate"

    def given(name: str, value: np.ndarray) -> Any:
        # What varies with the number of rows is data, as one code serves tables of all sizes.
        return pm.Data(f"{name}_{side}", value) if fused else value

    if prior.learned:
        strength = pm.Gamma(
            f"strength_{side}", given("shape", prior.shape), given("rate", prior.rate),
            dims=coordinate,
        )  # fmt: skip
    else:
        strength = pm.Data(f"strength_{side}", prior.strength, dims=coordinate)
    # Chi-squared, by its shape and rate: PyMC's own takes log 2 in single precision.
    squares = pm.Gamma(
        f"bartlett_squares_{side}", given("half_dof", (prior.dof - np.arange(d)) / 2),
        np.full(d, 0.5), dims=coordinate,
    )  # fmt: skip
    # Products with constants, not assignments to a part: the least that has to be compiled.
    bartlett = pt.sqrt(squares)[:, None] * np.eye(d)
    if d > 1:
        below = pm.Normal(f"bartlett_below_{side}", 0.0, 1.0, shape=d * (d - 1) // 2)
        place = np.zeros((d, d), dtype=int)
        place[np.tril_indices(d, -1)] = np.arange(d * (d - 1) // 2)
        bartlett += below[place.ravel()].reshape((d, d)) * np.tri(d, k=-1)
    root = bartlett / pt.sqrt(strength)[:, None]
    density = _fused_density if fused else _log_density
    mean = pm.CustomDist(
        f"mu_{side}", prior.mu0, root * np.sqrt(prior.beta0),
        dist=_drawing(None), logp=_of_one(density), dims=coordinate,
        class_name="NormalGivenRoot",
    )  # fmt: skip
    rows = pm.CustomDist(
        f"{side}_rows", mean, root,
        dist=_drawing(n_rows), logp=density, dims=None if fused else (side, "coordinate"),
        class_name="RowsGivenRoot",
    )  # fmt: skip
    if fused:
        return rows
    pm.Deterministic(f"precision_{side}", root @ root.T, dims=("coordinate", "coordinate_2"))
    pm.Deterministic(f"{side}_factors", rows[:, :n_factors], dims=(side, "factor"))
    if biases:
        pm.Deterministic(f"{side}_bias", rows[:, n_factors], dims=side)
    return rows


def _log_density(rows: Any, mean: Any, root: Any) -> Any:
    # Of Normal(mean, (B B')^-1), all rows together: |B'(x - mean)|^2 needs no solve.
    n, d = rows.shape
    z = (rows - mean) @ root
    return n * pt.log(pt.diag(root)).sum() - 0.5 * (pt.sqr(z).sum() + n * d * LOG_2PI)


def _fused_density(rows: Any, mean: Any, root: Any) -> Any:
    return RowDensity().total(rows, mean, root)


def _of_one(density: Callable[..., Any]) -> Callable[..., Any]:
    """Make the density of one row of that of rows."""

    def of_one(row: Any, mean: Any, root: Any) -> Any:
        return density(row[None], mean, root)

    return of_one


def _drawing(n_rows: int | None) -> Callable[..., Any]:
    """Make the draw of rows, or of one vector: mean + B^-T z."""

    def draw(mean: Any, root: Any, size: Any) -> Any:  # noqa: ARG001 - PyMC gives it
        shape = mean.shape if n_rows is None else (n_rows, mean.shape[0])
        z = pm.Normal.dist(0.0, 1.0, size=shape)
        return mean + pt.linalg.solve_triangular(root.T, z.T, lower=False).T

    return draw
