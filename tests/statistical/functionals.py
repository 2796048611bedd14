"""What is looked at in a world, and the law that each has under the prior where it is known.

Most functionals are pivots: whatever the world, they are chi-squared, Gaussian, t or gamma, so that
a test needs no reference sample. Several look at parameters and data together: a conditional that
is wrong in its data term leaves the parameters' own margins almost untouched for many sweeps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special, stats

from bayesmf.model import GammaPrior
from tests.statistical.worlds import cell_means

if TYPE_CHECKING:
    from bayesmf.model import SidePrior
    from tests.statistical.worlds import Setting, SideWorlds, Worlds


def functionals(worlds: Worlds, setting: Setting) -> dict[str, np.ndarray]:
    """Values (R,) of every functional that the setting has, by name."""
    residuals = worlds.ratings - cell_means(worlds, setting.cells, setting.model.biases)
    weighted_error = worlds.alpha * (residuals**2).sum(axis=1)
    n = residuals.shape[1]
    log_likelihood = 0.5 * (n * np.log(worlds.alpha / (2 * np.pi)) - weighted_error)
    found = {
        "alpha * SSE": weighted_error,
        "log-likelihood": log_likelihood,
        "joint log-density": log_likelihood + log_prior(worlds, setting),
        "cell 0": cell_means(worlds, setting.cells[:1], setting.model.biases)[:, 0],
    }
    if isinstance(setting.model.alpha, GammaPrior):
        found["alpha"] = worlds.alpha
    for name, weights in _regressors(worlds, setting).items():
        # Given everything but the noise, a weighted sum of residuals is Gaussian.
        spread = np.sqrt((weights**2).sum(axis=1))
        found[f"residuals x {name}"] = (
            np.sqrt(worlds.alpha) * (residuals * weights).sum(axis=1) / spread
        )
    for name, side, prior in zip(
        ("user", "item"), (worlds.user, worlds.item), setting.priors, strict=True
    ):
        found |= {f"{name} {what}": values for what, values in _of_side(side, prior).items()}
    return found


def _regressors(worlds: Worlds, setting: Setting) -> dict[str, np.ndarray]:
    users = worlds.user.rows[:, setting.cells[:, 0]]
    items = worlds.item.rows[:, setting.cells[:, 1]]
    found = {
        "1": np.ones(users.shape[:2]),
        "last user coordinate": users[..., -1],
        "last item coordinate": items[..., -1],
    }
    if setting.model.n_factors:
        found["first factors"] = users[..., 0] * items[..., 0]
    return found


def _of_side(side: SideWorlds, prior: SidePrior) -> dict[str, np.ndarray]:
    d = side.rows.shape[2]
    whitened = np.einsum("rab,rna->rnb", side.root, side.rows - side.mean[:, None])
    shift = np.einsum("rab,ra->rb", side.root, side.mean - prior.mu0)
    scaled = side.strength[:, :, None] ** 0.5 * side.precision * side.strength[:, None] ** 0.5
    found = {
        "rows, distance": (whitened**2).sum(axis=(1, 2)),
        "rows, first sum": whitened[..., 0].sum(axis=1) / np.sqrt(whitened.shape[1]),
        "rows, last sum": whitened[..., -1].sum(axis=1) / np.sqrt(whitened.shape[1]),
        "mean, distance": prior.beta0 * (shift**2).sum(axis=1),
        "mean, last": np.sqrt(prior.beta0) * shift[:, -1],
        "first w Lambda": scaled[:, 0, 0],
        "last w Lambda": scaled[:, -1, -1],
        "trace w Lambda": np.einsum("raa->r", scaled),
        "log det w Lambda": np.linalg.slogdet(scaled)[1],
        "raw coordinate": side.rows[:, -1, 0],
    }
    if d > 1:
        r = scaled[:, 0, 1] / np.sqrt(scaled[:, 0, 0] * scaled[:, 1, 1])
        found["correlation in Lambda"] = r * np.sqrt((prior.dof - 1) / (1 - r**2))
    if prior.learned:
        found |= {"first w": side.strength[:, 0], "last w": side.strength[:, -1]}
    return found


def laws(setting: Setting) -> dict[str, Any]:
    """Law of each functional whose law under the prior is known, by name.

    Of the others ("log-likelihood", "joint log-density", "cell 0", "log det", "raw coordinate") a
    reference sample of other worlds takes the place.
    """
    known: dict[str, Any] = {"alpha * SSE": stats.chi2(len(setting.cells))}
    regressors = ["1", "last user coordinate", "last item coordinate"]
    regressors += ["first factors"] * (setting.model.n_factors > 0)
    known |= {f"residuals x {name}": stats.norm() for name in regressors}
    alpha = setting.model.alpha
    if isinstance(alpha, GammaPrior):
        known["alpha"] = stats.gamma(alpha.shape, scale=1 / alpha.rate)
    sizes = (setting.n_users, setting.n_items)
    for name, n, prior in zip(("user", "item"), sizes, setting.priors, strict=True):
        d = len(prior.shape)
        side = {
            "rows, distance": stats.chi2(n * d),
            "rows, first sum": stats.norm(),
            "rows, last sum": stats.norm(),
            "mean, distance": stats.chi2(d),
            "mean, last": stats.norm(),
            # A diagonal entry of a Wishart is chi-squared; the uncentred correlation of its
            # coordinates has Student's law (Anderson 2003, theorem 4.2.1, with dof for n).
            "first w Lambda": stats.chi2(prior.dof),
            "last w Lambda": stats.chi2(prior.dof),
            "trace w Lambda": stats.chi2(prior.dof * d),
        }
        if d > 1:
            side["correlation in Lambda"] = stats.t(prior.dof - 1)
        if prior.learned:
            side["first w"] = stats.gamma(prior.shape[0], scale=1 / prior.rate[0])
            side["last w"] = stats.gamma(prior.shape[-1], scale=1 / prior.rate[-1])
        known |= {f"{name} {what}": law for what, law in side.items()}
    return known


def log_prior(worlds: Worlds, setting: Setting) -> np.ndarray:
    """Log prior density (R,) of all parameters, from the model's statement."""
    total = np.zeros(worlds.number)
    sides = zip((worlds.user, worlds.item), setting.priors, strict=True)
    for side, prior in sides:
        total += _log_gaussian(side.rows, side.mean[:, None], side.precision)
        scaled = prior.beta0 * side.precision
        total += _log_gaussian(side.mean[:, None], prior.mu0[None, None], scaled)
        total += _log_wishart(side.precision, side.strength, prior.dof)
        if prior.learned:
            law = stats.gamma(prior.shape, scale=1 / prior.rate)
            total += law.logpdf(side.strength).sum(axis=1)
    alpha = setting.model.alpha
    if isinstance(alpha, GammaPrior):
        total += stats.gamma(alpha.shape, scale=1 / alpha.rate).logpdf(worlds.alpha)
    return total


def _log_gaussian(rows: np.ndarray, mean: np.ndarray, precision: np.ndarray) -> np.ndarray:
    shift = rows - mean
    distance = np.einsum("rna,rab,rnb->r", shift, precision, shift)
    n, d = rows.shape[1:]
    return 0.5 * (n * (np.linalg.slogdet(precision)[1] - d * np.log(2 * np.pi)) - distance)


def _log_wishart(precision: np.ndarray, strength: np.ndarray, dof: float) -> np.ndarray:
    d = precision.shape[1]
    trace = (strength * np.einsum("raa->ra", precision)).sum(axis=1)
    log_det = np.linalg.slogdet(precision)[1]
    constant = dof * d / 2 * np.log(2) + special.multigammaln(dof / 2, d)
    scale = 0.5 * dof * np.log(strength).sum(axis=1)
    return 0.5 * (dof - d - 1) * log_det - 0.5 * trace + scale - constant
