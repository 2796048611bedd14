"""ADVI finds the nearest Gaussian where that is known, and says when it has not found it."""

import numpy as np
import pytest

from bayesmf.pymc_engine.advi import fit_independent
from bayesmf.pymc_engine.full_rank import fit_full_rank
from bayesmf.pymc_engine.gaussian import Gaussian, Recent, Windows, pareto_k
from bayesmf.pymc_engine.run import Batches


def normal(n, seed=0):
    """A correlated normal of sds from a hundredth to ten, as a density with its gradient."""
    rng = np.random.default_rng(seed)
    sds = 10.0 ** np.linspace(-2, 1, n)
    parts = rng.standard_normal((n, 2 * n))
    precision = parts @ parts.T / (2 * n) / np.outer(sds, sds)
    mean = sds * rng.standard_normal(n)
    constant = 0.5 * np.linalg.slogdet(precision)[1] - 0.5 * n * np.log(2 * np.pi)

    def density(x):
        slope = -precision @ (x - mean)
        return constant + 0.5 * (x - mean) @ slope, slope

    return density, mean, precision


def fit(density, n, full_rank, **options):
    options = {"max_iter": 20_000, "tol": 0.05} | options
    found = fit_independent(density, np.zeros(n), np.random.default_rng(1), **options)
    if full_rank:
        found = fit_full_rank(density, found.gaussian, np.random.default_rng(2), **options)
    return found


def test_independent_normals_have_the_conditional_sds():
    """The optimum is known: the posterior's means, and sds of each given all others.

    Bounds: three times the worst of twenty seeds, 0.14 of an sd and 8%.
    """
    density, mean, precision = normal(8)
    found = fit(density, 8, full_rank=False)
    assert found.settled
    sd = np.diag(precision) ** -0.5
    assert np.abs((found.gaussian.mean - mean) / sd).max() < 0.4
    np.testing.assert_allclose(found.gaussian.root, sd, rtol=0.25)


@pytest.mark.parametrize("n", [2, 8, 40])
def test_full_rank_is_exact_for_a_normal(n):
    density, mean, precision = normal(n)
    found = fit(density, n, full_rank=True)
    assert found.settled
    covariance = np.linalg.inv(precision)
    sd = np.sqrt(np.diag(covariance))
    fitted = found.gaussian.root @ found.gaussian.root.T
    np.testing.assert_allclose(fitted / np.outer(sd, sd), covariance / np.outer(sd, sd), atol=1e-3)
    assert np.abs((found.gaussian.mean - mean) / sd).max() < 1e-3
    # The ELBO is the logarithm of the integral of the density, which is one.
    assert found.elbo[-50:].mean() == pytest.approx(0, abs=0.6)
    assert pareto_k(density, found.gaussian, np.random.default_rng(3)) < 0.7


@pytest.mark.parametrize(("sd", "k"), [(0.5, 0.75), (0.7, 0.51)])
def test_pareto_k_of_a_gaussian_that_is_too_narrow(sd, k):
    """Of a standard normal: p / q has a tail of shape 1 - sd^2, whatever the dimension.

    The mean of ten estimates, whose sd is 0.22 at most: six of its standard errors.
    """
    found = [pareto_k(standard, narrow(sd), np.random.default_rng(seed)) for seed in range(10)]
    assert np.mean(found) == pytest.approx(k, abs=6 * 0.22 / np.sqrt(10))


def standard(x):
    return -0.5 * float(x @ x) - 0.5 * len(x) * np.log(2 * np.pi), -x


def narrow(sd):
    return Gaussian(np.zeros(1), np.array([sd]))


def test_pareto_k_of_a_gaussian_that_is_too_wide_is_negative():
    """Its ratios are bounded. With the sign of the logarithms wrong it would be large."""
    assert pareto_k(standard, narrow(2.0), np.random.default_rng(1)) < 0


@pytest.mark.parametrize("root", [np.array([0.5, 2.0]), np.array([[0.5, 0.0], [-1.0, 2.0]])])
def test_a_gaussian_has_the_density_and_entropy_of_its_draws(root):
    gaussian = Gaussian(np.array([1.0, -2.0]), root)
    z = np.random.default_rng(1).standard_normal((20_000, 2))
    x = gaussian.transform(z)
    covariance = np.diag(root**2) if root.ndim == 1 else root @ root.T
    apart = x[0] - gaussian.mean
    expected = -0.5 * apart @ np.linalg.solve(covariance, apart)
    expected -= 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    assert gaussian.log_density(z[0]) == pytest.approx(expected)
    # Six sigma of the mean of 20,000, whose variance is n / 2 = 1.
    mean = np.mean([gaussian.log_density(one) for one in z])
    assert -mean == pytest.approx(gaussian.entropy, abs=6 / np.sqrt(20_000))
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=6 * 5 / np.sqrt(20_000))


def test_windows_settle_stage_by_stage():
    windows = Windows(2, tol=0.5, stages=2)
    ends = [windows.add(value) for value in (0.0, 2.0, 5.0, 5.0, 5.0)]
    assert ends == [False, True, False, True, False]
    assert (windows.stage, windows.settled, windows.last) == (0, False, 5.0)
    windows.add(5.8)  # 0.4 above: the next stage
    assert (windows.stage, windows.settled) == (1, False)
    for value in (1.0, 1.0, 9.0, 9.0):  # a stage is compared with itself alone
        windows.add(value)
    assert not windows.settled
    for _ in range(2):
        windows.add(9.0)
    assert windows.settled
    with pytest.raises(FloatingPointError, match="ELBO is nan after 12 iterations"):
        windows.add(np.nan)


def test_the_mean_is_of_half_a_window_to_a_whole_one():
    recent = Recent(np.array([-1.0]), 4)
    assert recent.mean == -1
    means = []
    for value in range(1, 8):
        recent.add(np.array([float(value)]))
        means.append(float(recent.mean[0]))
    assert means == [1, 1.5, 2, 2.5, 4, 4.5, 6]


@pytest.mark.parametrize("full_rank", [False, True])
def test_a_density_that_is_lost_is_an_error(full_rank):
    def lost(x):
        return np.nan, x

    fit_one = fit_full_rank if full_rank else fit_independent
    start = Gaussian(np.zeros(2), np.ones(2)) if full_rank else np.zeros(2)
    with pytest.raises(FloatingPointError, match="the prior, centre or scale is too far"):
        fit_one(lost, start, np.random.default_rng(1), max_iter=9, tol=0.1)


def elbo_of(density, gaussian):
    z = np.random.default_rng(9).standard_normal((200, len(gaussian.mean)))
    return np.mean([density(x)[0] for x in gaussian.transform(z)]) + gaussian.entropy


def test_a_fit_that_is_cut_short_keeps_what_it_has():
    density, _, _ = normal(3)
    elbos = [-np.inf]
    for max_iter in (1, 60, 700):
        found = fit(density, 3, full_rank=False, max_iter=max_iter)
        assert (found.settled, found.interrupted, len(found.elbo)) == (False, False, max_iter)
        elbos.append(elbo_of(density, found.gaussian))
    assert (np.diff(elbos) > 1).all()


@pytest.mark.parametrize("full_rank", [False, True])
def test_an_interrupt_keeps_what_was_fitted(full_rank):
    density, _, _ = normal(3)
    calls = iter(range(400))

    def interrupted(x):
        if next(calls) == 390:
            raise KeyboardInterrupt
        return density(x)

    start = Gaussian(np.zeros(3), np.full(3, 0.1))
    options = {"max_iter": 10**6, "tol": -1e9}
    if full_rank:
        found = fit_full_rank(interrupted, start, np.random.default_rng(1), **options)
    else:
        found = fit_independent(interrupted, np.zeros(3), np.random.default_rng(1), **options)
    assert found.interrupted
    assert not found.settled
    assert len(found.elbo) == (390 // 8 if full_rank else 390)
    assert elbo_of(density, found.gaussian) > elbo_of(density, start) + 1


class Data:
    def __init__(self):
        self.values = {name: np.arange(10) for name in ("user_code", "item_code", "target")}
        self.share = 1.0

    def data(self, name):
        return self.values[name]

    def set_data(self, share, **values):
        self.share, self.values = share, values


def test_batches_have_every_rating_once_before_any_again():
    data = Data()
    batches = Batches(data, 4, np.random.default_rng(1))
    for _ in range(2):
        seen = []
        for size in (4, 4, 2):
            batches.set_next()
            assert data.share == size / 10
            assert (data.values["user_code"] == data.values["target"]).all()
            seen += data.values["target"].tolist()
        assert sorted(seen) == list(range(10))
    batches.set_all()
    assert data.share == 1.0
    assert data.values["item_code"].tolist() == list(range(10))
