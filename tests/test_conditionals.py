"""Each conditional against the joint density, and each draw against its conditional.

A conditional is right if its log density differs from the log joint by a constant; the joint is
written here from the model's statement with scipy.stats, independently of the package.
"""

import numpy as np
import pytest
from scipy import stats

from bayesmf.gibbs import conditionals
from bayesmf.gibbs.conditionals import Hyper
from bayesmf.model import GammaPrior, NormalWishart

D = 3
N_USERS, N_ITEMS = 5, 4
PRIOR = NormalWishart(
    mu0=0.3, beta0=2.5, extra_dof=4.0, row_share=0.5, interaction_share=0.5
).resolve(n_rows=N_USERS, n_factors=D - 1, biases=True)
ALPHA_PRIOR = GammaPrior(1.7, 0.6)


def random_precision(rng, d=D):
    root = rng.standard_normal((d, d + 3))
    return root @ root.T


@pytest.fixture
def world():
    """One point of the parameter space, and a table in which not every cell is observed."""
    rng = np.random.default_rng(8)
    observed = rng.random((N_USERS, N_ITEMS)) < 0.7
    observed[0] = True
    return {
        "U": rng.standard_normal((N_USERS, D)),
        "V": rng.standard_normal((N_ITEMS, D)),
        "mu": rng.standard_normal(D),
        "Lambda": random_precision(rng),
        "w": rng.gamma(2.0, 1.0, D),
        "alpha": 1.3,
        "y": rng.standard_normal((N_USERS, N_ITEMS)),
        "observed": observed,
    }


def log_joint(world, has_bias):
    """Log density of data, user rows and their hyperparameters, item rows given."""
    U, V = world["U"], world["V"]
    if has_bias:
        k = D - 1
        mean = U[:, :k] @ V[:, :k].T + U[:, [k]] + V[:, k]
    else:
        mean = U @ V.T
    sd = world["alpha"] ** -0.5
    total = stats.norm.logpdf(world["y"], mean, sd)[world["observed"]].sum()
    covariance = np.linalg.inv(world["Lambda"])
    total += stats.multivariate_normal.logpdf(U, world["mu"], covariance).sum()
    total += stats.multivariate_normal.logpdf(world["mu"], PRIOR.mu0, covariance / PRIOR.beta0)
    total += stats.wishart.logpdf(world["Lambda"], PRIOR.dof, np.diag(1 / world["w"]))
    total += stats.gamma.logpdf(world["w"], PRIOR.shape, scale=1 / PRIOR.rate).sum()
    total += stats.gamma.logpdf(world["alpha"], ALPHA_PRIOR.shape, scale=1 / ALPHA_PRIOR.rate)
    return total


def assert_proportional(world, name, proposals, log_conditional, has_bias=True):
    """Log joint minus log conditional is the same number at every proposal."""
    gaps = [
        log_joint(world | {name: value}, has_bias) - log_conditional(value) for value in proposals
    ]
    np.testing.assert_allclose(gaps, gaps[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("has_bias", [True, False])
def test_row_conditional(world, has_bias):
    rng = np.random.default_rng(1)
    for row in range(N_USERS):
        own = world["observed"][row]
        mean, precision = conditionals.row_conditional(
            world["V"][own],
            world["y"][row, own],
            has_bias,
            world["alpha"],
            world["mu"],
            world["Lambda"],
        )
        proposals = []
        for _ in range(4):
            U = world["U"].copy()
            U[row] = rng.standard_normal(D)
            proposals.append(U)
        law = stats.multivariate_normal(mean, np.linalg.inv(precision))
        assert_proportional(
            world, "U", proposals, lambda U, i=row, law=law: law.logpdf(U[i]), has_bias
        )


def test_row_conditional_without_ratings_is_the_prior(world):
    mean, precision = conditionals.row_conditional(
        world["V"][:0], np.empty(0), True, 1.0, world["mu"], world["Lambda"]
    )
    np.testing.assert_allclose(mean, world["mu"], rtol=1e-12)
    np.testing.assert_allclose(precision, world["Lambda"], rtol=1e-12)


def normal_wishart_logpdf(parameters, mu, precision):
    scale = np.linalg.inv(parameters.inverse_scale)
    return stats.wishart.logpdf(
        precision, parameters.dof, scale
    ) + stats.multivariate_normal.logpdf(
        mu, parameters.mean, np.linalg.inv(precision) / parameters.beta
    )


def test_hyper_conditional(world):
    parameters = conditionals.hyper_conditional(
        N_USERS, *conditionals.moments(world["U"]), PRIOR, world["w"]
    )
    rng = np.random.default_rng(2)
    gaps = []
    for _ in range(5):
        mu, precision = rng.standard_normal(D), random_precision(rng)
        joint = log_joint(world | {"mu": mu, "Lambda": precision}, has_bias=True)
        gaps.append(joint - normal_wishart_logpdf(parameters, mu, precision))
    np.testing.assert_allclose(gaps, gaps[0], rtol=1e-9)


def test_strength_conditional(world):
    shape, rates = conditionals.strength_conditional(world["Lambda"], PRIOR)
    proposals = np.random.default_rng(3).gamma(1.0, 2.0, (5, D))
    assert_proportional(
        world,
        "w",
        list(proposals),
        lambda w: stats.gamma.logpdf(w, shape, scale=1 / rates).sum(),
    )


def test_alpha_conditional(world):
    k = D - 1
    mean = world["U"][:, :k] @ world["V"][:, :k].T + world["U"][:, [k]] + world["V"][:, k]
    error = ((world["y"] - mean)[world["observed"]] ** 2).sum()
    shape, rate = conditionals.alpha_conditional(error, world["observed"].sum(), ALPHA_PRIOR)
    assert_proportional(
        world,
        "alpha",
        [0.2, 0.9, 1.5, 4.0],
        lambda alpha: stats.gamma.logpdf(alpha, shape, scale=1 / rate),
    )


def test_wishart_draws(false_failure_rate):
    """a'Lambda a / a'W a is chi-squared for any fixed a, and det by Bartlett's theorem."""
    rng = np.random.default_rng(4)
    inverse_scale, dof, n = random_precision(rng), 5.5, 4000
    W = np.linalg.inv(inverse_scale)
    roots = [conditionals.draw_wishart_root(inverse_scale, dof, rng) for _ in range(n)]
    draws = np.array([root @ root.T for root in roots])
    for a in np.vstack([np.eye(D), rng.standard_normal((3, D))]):
        ratio = np.einsum("a,sab,b->s", a, draws, a) / (a @ W @ a)
        assert stats.kstest(ratio, stats.chi2(dof).cdf).pvalue > false_failure_rate
    # log|Lambda| - log|W| is a sum of logs of independent chi-squared variables.
    log_det = np.linalg.slogdet(draws)[1] - np.linalg.slogdet(W)[1]
    expected = np.log(rng.chisquare(dof - np.arange(D), (40_000, D))).sum(axis=1)
    assert stats.ks_2samp(log_det, expected).pvalue > false_failure_rate


def test_hyper_draws(world, false_failure_rate):
    """Given Lambda, mu is Gaussian around its mean: whitened, each part and the distance."""
    rng = np.random.default_rng(5)
    parameters = conditionals.hyper_conditional(
        N_USERS, *conditionals.moments(world["U"]), PRIOR, world["w"]
    )
    whitened = []
    for _ in range(3000):
        mu, precision = conditionals.draw_hyper_given(parameters, rng)
        root = np.linalg.cholesky(parameters.beta * precision)
        whitened.append(root.T @ (mu - parameters.mean))
    whitened = np.array(whitened)
    for part in whitened.T:
        assert stats.kstest(part, stats.norm.cdf).pvalue > false_failure_rate
    distance = (whitened**2).sum(axis=1)
    assert stats.kstest(distance, stats.chi2(D).cdf).pvalue > false_failure_rate


def test_strength_and_alpha_draws(world, false_failure_rate):
    rng = np.random.default_rng(6)
    current = Hyper(world["mu"], world["Lambda"], world["w"])
    rows_moments = conditionals.moments(world["U"])
    draws = np.array(
        [
            conditionals.draw_hyper(rows_moments, N_USERS, current, PRIOR, rng).strength
            for _ in range(3000)
        ]
    )
    shapes, rates = conditionals.strength_conditional(world["Lambda"], PRIOR)
    for k in range(D):
        law = stats.gamma(shapes[k], scale=1 / rates[k])
        assert stats.kstest(draws[:, k], law.cdf).pvalue > false_failure_rate
    alphas = [conditionals.draw_alpha(7.0, 20, ALPHA_PRIOR, rng) for _ in range(3000)]
    shape, rate = conditionals.alpha_conditional(7.0, 20, ALPHA_PRIOR)
    assert stats.kstest(alphas, stats.gamma(shape, scale=1 / rate).cdf).pvalue > false_failure_rate


def test_fixed_strength_and_alpha_stay(world):
    rng = np.random.default_rng(7)
    current = Hyper(world["mu"], world["Lambda"], world["w"])
    fixed = NormalWishart(strength=1.0).resolve(N_USERS, D - 1, biases=True)
    drawn = conditionals.draw_hyper(conditionals.moments(world["U"]), N_USERS, current, fixed, rng)
    np.testing.assert_array_equal(drawn.strength, world["w"])
    assert conditionals.draw_alpha(7.0, 20, 2.0, rng) == 2.0
