"""Hyperparameters and noise: conditionals by quadrature and textbook, draws as maps of numbers.

The densities are those of the model's statement, by scipy.stats. Quadrature is the trapezoid rule
in a variable in which the integrand is smooth and vanishes at both ends; its error then falls
faster than any power of the step (Trefethen & Weideman 2014, "The exponentially convergent
trapezoidal rule", SIAM Review 56).
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from bayesmf.model import GammaPrior, SidePrior
from tests.statistical.closed_forms_rows import ENGINE_NAMES, assert_close, part

if TYPE_CHECKING:
    from collections.abc import Callable


def side_prior(d: int, learned: bool = True) -> SidePrior:
    """Make a prior in which every coordinate is another."""
    k = np.arange(d)
    shape, rate = 1.4 + 0.5 * k, 0.6 + 0.3 * k
    return SidePrior(0.3 - 0.4 * k, 1.7, d + 2.3, learned, shape, rate, 0.8 + 0.7 * k)


def precision_matrix(d: int, rng: np.random.Generator) -> np.ndarray:
    """Make a symmetric positive definite matrix of order one."""
    root = rng.standard_normal((d, d + 4)) / np.sqrt(d + 4)
    return root @ root.T + 0.2 * np.eye(d)


def expectations(log_density: np.ndarray, *values: np.ndarray) -> list[float]:
    """Means over a regular grid; the density must have vanished at the edges of the grid."""
    weights = np.exp(log_density - log_density.max())
    for axis in range(weights.ndim):
        edges = np.take(weights, [0, -1], axis=axis)
        assert edges.max() < 1e-15, "the grid is too narrow"
    weights /= weights.sum()
    return [float((weights * value).sum()) for value in values]


def check_hyper_quadrature(package: str) -> None:
    """D = 1: means, variances and the covariance of mu and Lambda.

    The grid is over t = log Lambda and s = sqrt(Lambda) (mu - c), of Jacobian sqrt(Lambda).
    """
    t, s = np.meshgrid(np.arange(-24, 7, 0.1), np.arange(-14, 14, 0.1), indexing="ij")
    precision = np.exp(t)
    for n in (1, 2, 7):
        rows = np.random.default_rng(n).standard_normal((n, 1)) + 0.5
        prior, strength = side_prior(1), np.array([0.9])
        mu = 0.4 + s / np.sqrt(precision)
        log_joint = 0.5 * t + stats.gamma.logpdf(precision, prior.dof / 2, scale=2 / strength[0])
        log_joint += stats.norm.logpdf(mu, prior.mu0[0], (prior.beta0 * precision) ** -0.5)
        for x in rows[:, 0]:
            log_joint += stats.norm.logpdf(x, mu, precision**-0.5)
        mean_mu, mean_precision = expectations(log_joint, mu, precision)
        shift, excess = mu - mean_mu, precision - mean_precision
        spreads = expectations(log_joint, shift**2, excess**2, shift * excess, shift**2 * precision)
        for engine in ENGINE_NAMES:
            found = hyper_of(package, engine, rows, prior, strength)
            scale = 1 / found.inverse_scale[0, 0]
            # Moments of the normal-gamma (Bernardo & Smith 1994, "Bayesian theory", appendix A).
            variances = [1 / scale / (found.beta * (found.dof - 2)), 2 * found.dof * scale**2]
            sizes = [*variances, np.sqrt(np.prod(variances)), 1 / found.beta]
            assert_close(found.mean, [mean_mu], f"{engine}, n={n}, E mu")
            assert_close(found.dof * scale, mean_precision, f"{engine}, n={n}, E Lambda")
            names = "Var mu, Var Lambda, Cov, E (mu - m)^2 Lambda"
            assert_close(np.divide(spreads, sizes), [1, 1, 0, 1], f"{engine}, n={n}, {names}")


def hyper_of(
    package: str, engine: str, rows: np.ndarray, prior: SidePrior, strength: np.ndarray
) -> Any:
    """Normal-Wishart parameters given rows, through the moments of an engine."""
    moments = part(package, "gibbs.engines").ENGINES[engine].moments(rows)
    return part(package, "gibbs.conditionals").hyper_conditional(
        len(rows), *moments, prior, strength
    )


def normal_wishart_logpdf(found: Any, mu: np.ndarray, precision: np.ndarray) -> float:
    """Log density of a Normal-Wishart."""
    covariance = np.linalg.inv(precision) / found.beta
    log_density = stats.multivariate_normal.logpdf(mu, found.mean, covariance)
    scale = np.linalg.inv(found.inverse_scale)
    return log_density + stats.wishart.logpdf(precision, found.dof, scale)


def log_joint_of_side(
    rows: np.ndarray, mu: np.ndarray, precision: np.ndarray, w: np.ndarray, prior: SidePrior
) -> float:
    """Log density of rows and all their hyperparameters, from the model's statement."""
    covariance = np.linalg.inv(precision)
    total = np.sum(stats.multivariate_normal.logpdf(rows, mu, covariance))
    total += stats.multivariate_normal.logpdf(mu, prior.mu0, covariance / prior.beta0)
    total += stats.wishart.logpdf(precision, prior.dof, np.diag(1 / w))
    return float(total + stats.gamma.logpdf(w, prior.shape, scale=1 / prior.rate).sum())


def check_hyper_density(package: str) -> None:
    """The conditional is the joint up to a constant: the same gap at 40 points, more than it has
    parameters (16 for D = 3)."""
    for d, n in ((1, 3), (2, 1), (3, 1), (3, 6)):
        rng = np.random.default_rng([d, n])
        rows, prior = rng.standard_normal((n, d)), side_prior(d)
        strength = rng.gamma(2.0, 1.0, d)
        found = hyper_of(package, "numpy", rows, prior, strength)
        gaps = []
        for _ in range(40):
            mu, precision = rng.standard_normal(d), precision_matrix(d, rng)
            joint = log_joint_of_side(rows, mu, precision, strength, prior)
            gaps.append(joint - normal_wishart_logpdf(found, mu, precision))
        np.testing.assert_allclose(gaps, gaps[0], rtol=0, atol=1e-9, err_msg=f"D={d}, n={n}")


def check_hyper_textbook(package: str) -> None:
    """Parameters from uncentred sums: W^-1 + sum xx' + beta0 mu0 mu0' - beta m m'.

    DeGroot (1970), "Optimal statistical decisions", section 9.10, before squares are completed.
    """
    for d, n in ((1, 1), (2, 1), (3, 8), (5, 40)):
        rng = np.random.default_rng([d, n, 1])
        rows, prior = rng.standard_normal((n, d)) + 0.7, side_prior(d)
        strength = rng.gamma(2.0, 1.0, d)
        beta = prior.beta0 + n
        mean = (prior.beta0 * prior.mu0 + rows.sum(axis=0)) / beta
        uncentred = rows.T @ rows + prior.beta0 * np.outer(prior.mu0, prior.mu0)
        for engine in ENGINE_NAMES:
            found, case = (
                hyper_of(package, engine, rows, prior, strength),
                f"{engine}, D={d}, n={n}",
            )
            assert_close(found.mean, mean, case)
            expected = np.diag(strength) + uncentred - beta * np.outer(mean, mean)
            assert_close(found.inverse_scale, expected, case)
            assert_close([found.beta, found.dof], [beta, prior.dof + n], case)


def check_strength_quadrature(package: str) -> None:
    """w given Lambda: mean and variance of each, and that the joint is a product over w."""
    d, rng = 3, np.random.default_rng(4)
    prior, precision = side_prior(d), precision_matrix(d, rng)
    shapes, rates = part(package, "gibbs.conditionals").strength_conditional(precision, prior)
    assert np.shape(shapes) == np.shape(rates) == (d,)
    rows, mu = np.zeros((1, d)), np.zeros(d)
    grid = np.arange(-12, 6, 0.15)
    for k in range(d):
        log_joint = np.empty(len(grid))
        for at, t in enumerate(grid):
            w = prior.strength.copy()
            w[k] = np.exp(t)
            log_joint[at] = t + log_joint_of_side(rows, mu, precision, w, prior)
        (mean,) = expectations(log_joint, np.exp(grid))
        (variance,) = expectations(log_joint, (np.exp(grid) - mean) ** 2)
        assert_close(shapes[k] / rates[k], mean, f"mean of w_{k}")
        assert_close(shapes[k] / rates[k] ** 2, variance, f"variance of w_{k}")
    gaps = []
    for w in rng.gamma(1.0, 2.0, (20, d)):
        joint = log_joint_of_side(rows, mu, precision, w, prior)
        gaps.append(joint - stats.gamma.logpdf(w, shapes, scale=1 / rates).sum())
    np.testing.assert_allclose(gaps, gaps[0], rtol=0, atol=1e-9)


def check_alpha_quadrature(package: str) -> None:
    """Alpha given the residuals: mean and variance."""
    prior, t = GammaPrior(1.6, 0.4), np.arange(-30, 8, 0.02)
    for n in (1, 2, 25):
        errors = np.random.default_rng(n).standard_normal(n) * 1.3
        log_joint = t + stats.gamma.logpdf(np.exp(t), prior.shape, scale=1 / prior.rate)
        for error in errors:
            log_joint += stats.norm.logpdf(error, 0, np.exp(-t / 2))
        (mean,) = expectations(log_joint, np.exp(t))
        (variance,) = expectations(log_joint, (np.exp(t) - mean) ** 2)
        shape, rate = part(package, "gibbs.conditionals").alpha_conditional(
            float(errors @ errors), n, prior
        )
        assert_close(shape / rate, mean, f"mean, n={n}")
        assert_close(shape / rate**2, variance, f"variance, n={n}")


def script(normals: list[Any], chisquares: Any = None, gammas: Any = None) -> SimpleNamespace:
    """Make a generator that hands out given numbers and keeps what it was asked for."""
    asked = SimpleNamespace(dofs=[], gammas=[], left=list(normals))

    def standard_normal(size: Any) -> np.ndarray:
        found = np.array(asked.left.pop(0), dtype=float)
        np.testing.assert_array_equal(found.shape, np.atleast_1d(size))
        return found

    def chisquare(df: Any) -> np.ndarray:
        asked.dofs.append(np.array(df))
        return np.array(chisquares)

    def gamma(shape: Any, scale: Any) -> Any:
        asked.gammas.append((np.array(shape), np.array(scale)))
        return gammas

    return SimpleNamespace(
        standard_normal=standard_normal, chisquare=chisquare, gamma=gamma, asked=asked
    )


def check_wishart_map(package: str) -> None:
    """B = R A with R R' = W for any A, whose diagonal has the degrees of freedom of Bartlett."""
    draw = part(package, "gibbs.conditionals").draw_wishart_root
    for d in (1, 2, 3, 6):
        rng = np.random.default_rng(d)
        inverse_scale, dof = precision_matrix(d, rng), d + 1.25
        root = draw(inverse_scale, dof, script([np.zeros((d, d))], np.ones(d)))
        assert_close(root @ root.T, np.linalg.inv(inverse_scale), f"D={d}, A = I")
        normals, squares = rng.standard_normal((d, d)), rng.chisquare(5.0, d)
        rng_script = script([normals], squares)
        found = draw(inverse_scale, dof, rng_script)
        A = np.tril(normals, -1) + np.diag(np.sqrt(squares))
        assert_close(found @ found.T, root @ A @ A.T @ root.T, f"D={d}")
        # Column k of a lower triangle has k normals less below it: chi-squared with dof - k.
        np.testing.assert_allclose(rng_script.asked.dofs, [dof - np.arange(d)], rtol=1e-15)


def check_normal_wishart_map(package: str) -> None:
    """The mean is affine in its normals: m + M z with M M' = (beta Lambda)^-1."""
    module = part(package, "gibbs.conditionals")
    for d in (1, 2, 3, 6):
        rng = np.random.default_rng(10 + d)
        parameters = module.NormalWishartParameters(
            rng.standard_normal(d), 3.4, precision_matrix(d, rng), d + 2.5
        )
        normals, squares = rng.standard_normal((d, d)), rng.chisquare(5.0, d)
        root = module.draw_wishart_root(
            parameters.inverse_scale, parameters.dof, script([normals], squares)
        )
        found = []
        for z in (np.zeros(d), *np.eye(d), 3 * np.eye(d)[0]):
            rng_script = script([normals, z], squares)
            mean, precision = module.draw_hyper_given(parameters, rng_script)
            found.append(mean)
            assert_close(precision, root @ root.T, f"D={d}")
            np.testing.assert_allclose(rng_script.asked.dofs, [parameters.dof - np.arange(d)])
        assert_close(found[0], parameters.mean, f"D={d}, without normals")
        M = np.transpose(found[1:-1]) - found[0][:, None]
        assert_close(M @ M.T, np.linalg.inv(precision) / parameters.beta, f"D={d}")
        assert_close(found[-1] - found[0], 3 * M[:, 0], f"D={d}, not affine")


def check_draw_hyper(package: str) -> None:
    """w from the current Lambda, then Lambda and mu from the new w; a fixed w stays."""
    module = part(package, "gibbs.conditionals")
    d, n, rng = 3, 5, np.random.default_rng(20)
    rows, z = rng.standard_normal((n, d)), rng.standard_normal(d)
    current = module.Hyper(rng.standard_normal(d), precision_matrix(d, rng), rng.gamma(2, 1, d))
    new = rng.gamma(2.0, 1.0, d)
    for learned in (True, False):
        prior = side_prior(d, learned)
        rng_script = script([np.zeros((d, d)), z], np.ones(d), new)
        drawn = module.draw_hyper(module.moments(rows), n, current, prior, rng_script)
        strength = new if learned else current.strength
        given = hyper_of(package, "numpy", rows, prior, strength)
        np.testing.assert_array_equal(drawn.strength, strength)
        assert_close(drawn.precision, np.linalg.inv(given.inverse_scale), "new strength, A = I")
        again = script([np.zeros((d, d)), z], np.ones(d))
        np.testing.assert_array_equal(drawn.mean, module.draw_hyper_given(given, again)[0])
        np.testing.assert_allclose(rng_script.asked.dofs, [prior.dof + n - np.arange(d)])
        assert len(rng_script.asked.gammas) == learned
        for shape, scale in rng_script.asked.gammas:
            assert_close(shape, prior.shape + prior.dof / 2, "shape of w")
            rate = prior.rate + [current.precision[k, k] / 2 for k in range(d)]
            assert_close(scale, [1 / r for r in rate], "scale of w")


def check_draw_alpha(package: str) -> None:
    """Alpha from a Gamma with the ratings counted and squares halved; a fixed alpha stays."""
    draw = part(package, "gibbs.conditionals").draw_alpha
    rng_script = script([], gammas=np.float64(0.625))
    assert draw(7.5, 20, GammaPrior(1.6, 0.4), rng_script) == 0.625
    ((shape, scale),) = rng_script.asked.gammas
    assert_close([shape, 1 / scale], [1.6 + 10, 0.4 + 3.75], "Gamma of alpha")
    for fixed in (2.5, 2):
        assert draw(7.5, 20, fixed, script([])) == fixed


HYPER_CHECKS: dict[str, Callable[[str], None]] = {
    "hyperparameters by quadrature": check_hyper_quadrature,
    "hyperparameters by their density": check_hyper_density,
    "hyperparameters by uncentred sums": check_hyper_textbook,
    "strength by quadrature": check_strength_quadrature,
    "alpha by quadrature": check_alpha_quadrature,
    "Wishart draw as a map": check_wishart_map,
    "Normal-Wishart draw as a map": check_normal_wishart_map,
    "hyperparameters in their order": check_draw_hyper,
    "alpha drawn or fixed": check_draw_alpha,
}
