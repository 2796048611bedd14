"""Moves of many coordinates: their densities against the joint density of the model's statement.

The joint density is worked out by `functionals.log_prior` and from residuals, before and after a
move; what the move's own formula says must differ from it by the move's Jacobian alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import integrate, stats

from bayesmf.model import BPMF, GammaPrior, NormalWishart
from tests.statistical.closed_forms_rows import assert_close, part
from tests.statistical.functionals import log_prior
from tests.statistical.worlds import Setting, Worlds, cell_means, draw_worlds

if TYPE_CHECKING:
    from collections.abc import Callable

FIXED = NormalWishart(mu0=0.4, beta0=1.3, extra_dof=4.0, row_share=0.5, strength=2.0)
LEARNED = NormalWishart(mu0=-0.3, extra_dof=4.0, row_share=0.0, strength=GammaPrior(3.0, 2.0))
CELLS = np.array([(i, j) for i in range(7) for j in range(5) if (i + j) % 3])


class Moved(NamedTuple):
    """One world of a setting, and the module of moves that is looked at."""

    setting: Setting
    world: Worlds
    moves: Any

    @classmethod
    def make(cls, package: str, n_factors: int, prior: NormalWishart) -> Moved:
        setting = Setting(BPMF(n_factors, True, prior, 1.7, 0.0, 1.0), 7, 5, CELLS)
        world = draw_worlds(setting, 1, np.random.default_rng(n_factors))
        return cls(setting, world, part(package, "gibbs.moves"))

    def hyper(self, name: str) -> Any:
        side = getattr(self.world, name)
        make = part(self.moves.__name__.split(".")[0], "gibbs.conditionals").Hyper
        return make(side.mean[0], side.precision[0], side.strength[0])

    def prior(self, name: str) -> Any:
        return self.setting.priors[name == "item"]

    def rows(self, name: str) -> np.ndarray:
        return getattr(self.world, name).rows[0]

    def put(self, **sides: tuple[np.ndarray, Any]) -> Worlds:
        """Put other rows and hyperparameters in the place of some sides'."""
        new = {}
        for name, (rows, hyper) in sides.items():
            of = zip(("rows", *hyper._fields), (rows, *hyper), strict=True)
            new[name] = getattr(self.world, name)._replace(**{k: v[None] for k, v in of})
        return self.world._replace(**new)

    def errors(self, worlds: Worlds) -> float:
        means = cell_means(worlds, self.setting.cells, True)
        return float(((worlds.ratings - means) ** 2).sum())

    def log_joint(self, worlds: Worlds) -> float:
        return float(log_prior(worlds, self.setting)[0] - 0.5 * 1.7 * self.errors(worlds))


def check_shift(package: str) -> None:
    """No rating sees a shift; its joint density is the Gaussian of its conditional."""
    rng = np.random.default_rng(61)
    for n_factors in (0, 1, 3):
        for prior in (FIXED, LEARNED):
            moved = Moved.make(package, n_factors, prior)
            for own, other in (("user", "item"), ("item", "user")):
                hypers = moved.hyper(own), moved.hyper(other)
                priors = moved.prior(own), moved.prior(other)
                precision, pull = moved.moves.shift_conditional(*hypers, *priors)
                start = moved.log_joint(moved.world)
                for _ in range(3):
                    shift = rng.standard_normal(n_factors + 1)
                    rows = moved.moves.shift_rows(shift, moved.rows(own), moved.rows(other))
                    new = moved.moves.shift_hypers(shift, *hypers)
                    worlds = moved.put(**{own: (rows[0], new[0]), other: (rows[1], new[1])})
                    assert_close(
                        cell_means(worlds, CELLS, True), cell_means(moved.world, CELLS, True), own
                    )
                    expected = pull @ shift - 0.5 * shift @ precision @ shift
                    assert_close(moved.log_joint(worlds) - start, expected, f"{own}, density")
                check_gaussian(moved, hypers, priors, precision, pull)


def check_gaussian(moved: Moved, hypers: Any, priors: Any, precision: Any, pull: Any) -> None:
    """The draw is an affine map of normals with that mean and that precision."""

    class Script:
        def __init__(self, z: np.ndarray) -> None:
            self.z = z

        def standard_normal(self, n: int) -> np.ndarray:
            assert n == len(self.z)
            return self.z

    d = len(pull)
    zero, *ends = (
        moved.moves.draw_shift(*hypers, *priors, Script(z)) for z in (np.zeros(d), *np.eye(d))
    )
    assert_close(precision @ zero, pull, "mean of the shift")
    root = np.transpose(ends) - zero[:, None]
    assert_close(root @ root.T @ precision, np.eye(d), "covariance of the shift")


def check_scale(package: str) -> None:
    """The density of log s is the joint one with its Jacobian, w integrated where it is learned."""
    for n_factors in (0, 1, 3):
        for prior in (FIXED, LEARNED):
            moved = Moved.make(package, n_factors, prior)
            for own in ("user", "item"):
                hyper, rows = moved.hyper(own), moved.rows(own)
                rng = np.random.default_rng(62)
                g = rng.standard_normal(n_factors)

                def at(s: float, own=own, rows=rows, hyper=hyper, g=g, moved=moved) -> Worlds:
                    new = moved.moves.scale_rows(s, rows, float(hyper.mean[-1]), g)
                    precision = moved.moves.ScaledPrecision(hyper.precision, g).at(s)
                    return moved.put(**{own: (new, hyper._replace(precision=precision))})

                error = parabola_by_rows(moved, own, g)
                for s in (0.5, 1.7):
                    change = moved.errors(at(s)) - moved.errors(moved.world)
                    assert_close(error.at(s), change, "squared errors are a parabola")
                scaled = moved.moves.ScaledPrecision(hyper.precision, g)
                density = moved.moves.log_scale_density(1.7, error, scaled, hyper, moved.prior(own))
                found = [density(np.log(s)) - density(0.0) for s in (0.6, 1.4)]
                expected = [
                    log_density(moved, own, at(s), s) - log_density(moved, own, at(1.0), 1.0)
                    for s in (0.6, 1.4)
                ]
                np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8)


def parabola_by_rows(moved: Moved, own: str, g: np.ndarray) -> Any:
    """Squared errors at s = 1 and 2, and the sum of squares of what s multiplies."""
    hyper, other = moved.hyper(own), "item" if own == "user" else "user"
    mean, sums = float(hyper.mean[-1]), []
    for s in (1.0, 2.0):
        rows = moved.moves.scale_rows(s, moved.rows(own), mean, g)
        sums.append(moved.errors(moved.put(**{own: (rows, hyper)})))
    r, q = moved.moves.levers(moved.rows(own), mean, moved.rows(other), g)
    users, items = CELLS.T
    z = r[users] * q[items] if own == "user" else r[items] * q[users]
    return moved.moves.Parabola.through(float((z**2).sum()), *sums)


def log_density(moved: Moved, own: str, worlds: Worlds, s: float) -> float:
    """Joint log density of a world reached by s, with the Jacobian of the move in log s."""
    side, prior = getattr(worlds, own), moved.prior(own)
    n, d = side.rows.shape[1:]
    jacobian = (n - (d + 1)) * np.log(s)
    if not prior.learned:
        return moved.log_joint(worlds) + jacobian

    def with_strength(w: float) -> float:
        strength = side.strength.copy()
        strength[0, -1] = w
        return moved.log_joint(worlds._replace(**{own: side._replace(strength=strength)}))

    # The last w integrated out numerically, around where its conditional has its mass.
    law = stats.gamma(
        prior.shape[-1] + prior.dof / 2,
        scale=1 / (prior.rate[-1] + side.precision[0, -1, -1] / 2),
    )
    peak = with_strength(float(law.mean()))
    low, high = law.ppf([1e-13, 1 - 1e-13])
    mass, _ = integrate.quad(
        lambda w: np.exp(with_strength(w) - peak), low, high, epsabs=0, epsrel=1e-10, limit=200
    )
    return peak + float(np.log(mass)) + jacobian


def check_direction(package: str) -> None:
    """The vector nearest to a constant, from moments, is that of least squares on the rows."""
    moves, rng = part(package, "gibbs.moves"), np.random.default_rng(63)
    moments = part(package, "gibbs.conditionals").moments
    for n, k in ((40, 3), (2, 4), (5, 0)):
        rows = rng.standard_normal((n, k + 1)) + 0.7
        expected = np.linalg.lstsq(rows[:, :k], np.ones(n), rcond=None)[0]
        found = moves.constant_direction(n, moments(rows))
        np.testing.assert_allclose(rows[:, :k] @ found, rows[:, :k] @ expected, atol=1e-7)


def check_slice(package: str) -> None:
    """Slices of a normal and of a lopsided density, from draws of it, leave it as it is.

    Kolmogorov-Smirnov tests at 1e-6 each.
    """
    moves, rng = part(package, "gibbs.moves"), np.random.default_rng(64)
    laws = stats.norm(0.3, 0.2), stats.gamma(2.0, scale=0.4), stats.norm(0.0, 40.0)
    for law in laws:
        starts = law.rvs(size=1_500, random_state=rng)
        ends = [
            start + moves.draw_slice(lambda t, at=start, law=law: float(law.logpdf(at + t)), rng)
            for start in starts
        ]
        assert stats.kstest(ends, law.cdf).pvalue > 1e-6
        assert np.corrcoef(starts, ends)[0, 1] < 0.9999


MOVES_CHECKS: dict[str, Callable[[str], None]] = {
    "shift by the joint density": check_shift,
    "scale of biases by the joint density": check_scale,
    "nearest to a constant": check_direction,
    "slices": check_slice,
}
