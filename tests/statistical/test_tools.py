"""The tools are right: their draws, their laws, their p-values, their bounds of power."""

import sys

import numpy as np
import pytest
from scipy import stats

from bayesmf.model import GammaPrior
from tests.statistical import page
from tests.statistical.functionals import functionals, laws, log_prior
from tests.statistical.invariance import CASES, TESTED, Case, Values, detection, p_values
from tests.statistical.mutants import MUTANTS, Mutant
from tests.statistical.planting import planted
from tests.statistical.rates import FALSE_FAILURE_RATE, adjusted, assert_plausible
from tests.statistical.worlds import Worlds, cell_means, draw_gaussian, draw_precision, draw_worlds


def test_rate_is_shared_by_the_p_values_of_a_test():
    assert adjusted({"a": 0.5, "b": 1e-6}) == ("b", 2e-6)
    assert adjusted({"a": 0.7, "b": 0.8}) == ("a", 1.0)
    assert_plausible({"a": 2.1 * FALSE_FAILURE_RATE, "b": 0.3})
    with pytest.raises(AssertionError, match="b: p = 4e-06, 8e-06 among 2"):
        assert_plausible({"a": 0.5, "b": 4e-6})


@pytest.mark.parametrize(
    "broken", [{}, {"a": np.nan}, {"a": np.nan, "b": 0.5}, {"a": 0.5, "b": np.nan}]
)
def test_what_is_no_p_value_does_not_pass(broken):
    with pytest.raises(AssertionError, match="p-values"):
        assert_plausible(broken)


def test_one_world_that_is_not_finite_does_not_pass():
    case = CASES["learned"]
    found, other = looks(case, 500, 14), looks(case, 500, 15)
    found["alpha"][7] = np.nan
    with pytest.raises(AssertionError, match="alpha is not finite in 1 of 500 worlds"):
        p_values(found, other, case.setting)


def test_precisions_are_wishart():
    """Against SciPy's sampler, whose triangle is the other one."""
    strength = np.array([2.0, 0.5, 7.0])
    n, dof = 20_000, 6.5
    ours = draw_precision(dof, np.tile(strength, (n, 1)), np.random.default_rng(1))
    theirs = stats.wishart.rvs(dof, np.diag(1 / strength), n, random_state=2)
    looks = {
        "00": lambda m: m[:, 0, 0],
        "22": lambda m: m[:, 2, 2],
        "01": lambda m: m[:, 0, 1],
        "12": lambda m: m[:, 1, 2],
        "log det": lambda m: np.linalg.slogdet(m)[1],
        "inverse 11": lambda m: np.linalg.inv(m)[:, 1, 1],
    }
    assert_plausible(
        {name: stats.ks_2samp(look(ours), look(theirs)).pvalue for name, look in looks.items()}
    )


def test_gaussians_have_the_precision_asked_for():
    precision = np.array([[4.0, 1.5], [1.5, 1.0]])
    root = np.linalg.cholesky(precision)
    rows = draw_gaussian(root[None], 40_000, np.random.default_rng(3))[0]
    whitened = rows @ root
    distance = np.einsum("na,ab,nb->n", rows, precision, rows)
    assert_plausible(
        {
            "first": stats.kstest(whitened[:, 0], "norm").pvalue,
            "last": stats.kstest(whitened[:, 1], "norm").pvalue,
            "distance": stats.kstest(distance, stats.chi2(2).cdf).pvalue,
        }
    )


def looks(case: Case, n: int, *seed: int) -> Values:
    """Functionals of worlds as drawn, before any update."""
    return functionals(draw_worlds(case.setting, n, np.random.default_rng(seed)), case.setting)


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_laws_hold_before_any_update(case):
    """What the invariance tests would say of a sampler without a fault."""
    found, other = looks(case, 10_000, 4), looks(case, 10_000, 5)
    assert set(laws(case.setting)) < set(found)
    assert len(found) >= 12
    assert_plausible(p_values(found, other, case.setting))


@pytest.mark.parametrize("name", ["learned", "fixed strength", "default prior"])
def test_log_prior_is_the_density(name):
    """Against scipy.stats, one density at a time."""
    setting = CASES[name].setting
    worlds = draw_worlds(setting, 3, np.random.default_rng(6))
    for world, found in enumerate(log_prior(worlds, setting)):
        alpha = setting.model.alpha
        assert isinstance(alpha, GammaPrior)
        expected = stats.gamma.logpdf(worlds.alpha[world], alpha.shape, scale=1 / alpha.rate)
        for side, prior in zip((worlds.user, worlds.item), setting.priors, strict=True):
            w, mean, precision = (
                part[world] for part in (side.strength, side.mean, side.precision)
            )
            covariance = np.linalg.inv(precision)
            expected += stats.multivariate_normal.logpdf(side.rows[world], mean, covariance).sum()
            expected += stats.multivariate_normal.logpdf(mean, prior.mu0, covariance / prior.beta0)
            expected += stats.wishart.logpdf(precision, prior.dof, np.diag(1 / w))
            if prior.learned:
                expected += stats.gamma.logpdf(w, prior.shape, scale=1 / prior.rate).sum()
        assert found == pytest.approx(expected, rel=1e-10)


def test_worlds_pass_through_states():
    setting = CASES["default prior"].setting
    worlds = draw_worlds(setting, 5, np.random.default_rng(7))
    again = Worlds.of_states([worlds.state(world) for world in range(5)], worlds.ratings)
    for side in ("user", "item"):
        for old, new in zip(getattr(worlds, side), getattr(again, side), strict=True):
            np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(worlds.alpha, again.alpha)
    u, v = worlds.user.rows[2, 3], worlds.item.rows[2, 1]
    expected = u[:2] @ v[:2] + u[2] + v[2]
    assert cell_means(worlds, np.array([(3, 1)]), True)[2, 0] == pytest.approx(expected)


def test_p_values_are_uniform():
    """Over 100 sets of worlds; the discrete steps of two-sample tests only make them larger."""
    case = CASES["learned"]
    runs = [
        p_values(looks(case, 120, 8, i), looks(case, 120, 9, i), case.setting) for i in range(100)
    ]
    uniform = {
        name: stats.kstest([run[name] for run in runs], "uniform", alternative="greater").pvalue
        for name in runs[0]
    }
    assert_plausible(uniform)


def test_power_is_not_claimed_where_there_is_none():
    case = CASES["learned"]
    assert (
        detection(looks(case, 4000, 10), looks(case, 4000, 11), case.setting, 20_000).power < 0.01
    )


def test_power_is_a_lower_bound():
    """A small fault, seen now and then: the bound is below the share of seeds that see it."""
    case = CASES["learned"]
    setting, other = case.setting, looks(case, 3000, 12)

    def faulty(n: int, seed: int) -> Values:
        worlds = draw_worlds(setting, n, np.random.default_rng([13, seed]))
        return functionals(worlds._replace(alpha=1.35 * worlds.alpha), setting)

    bound = detection(faulty(30_000, 0), other, setting, 300).power
    seen = [
        adjusted(p_values(faulty(300, seed), other, setting))[1] < FALSE_FAILURE_RATE
        for seed in range(1, 61)
    ]
    assert 0.05 < bound < 0.999
    assert stats.binom.cdf(sum(seen), 60, bound) > FALSE_FAILURE_RATE


def test_a_mutant_is_a_copy_of_what_it_touches_alone(tmp_path):
    import bayesmf.gibbs.conditionals
    import bayesmf.model

    mutant = Mutant("probe", "", "gibbs/conditionals.py", "beta = prior.beta0 + n\n", "beta = 7\n")
    path = list(sys.path)
    with planted(mutant, tmp_path) as package:
        module = sys.modules
        import_module = __import__("importlib").import_module
        conditionals = import_module(f"{package}.gibbs.conditionals")
        assert import_module(f"{package}.model") is bayesmf.model
        assert import_module(f"{package}.kernels.rows") is sys.modules["bayesmf.kernels.rows"]
        sampler = import_module(f"{package}.gibbs.sampler")
        assert sampler.draw_hyper is conditionals.draw_hyper
        assert sampler.draw_hyper is not bayesmf.gibbs.conditionals.draw_hyper
        # All the way to the front.
        fit = import_module(package).fit_bpmf
        assert fit.__module__ == f"{package}.fit"
        assert f"{package}.gibbs.sampler" in module
    assert not [name for name in sys.modules if name.startswith(package)]
    assert sys.path == path


@pytest.mark.parametrize("text", ["no such line", "np.einsum"])
def test_a_mutant_whose_text_is_not_there_once_is_an_error(tmp_path, text):
    mutant = Mutant("probe", "", "gibbs/conditionals.py", text, "")
    with (
        pytest.raises(ValueError, match="probe: the text to be edited occurs"),
        planted(mutant, tmp_path),
    ):
        pass


def test_mutants_are_many_and_each_has_its_test():
    assert len(MUTANTS) >= 15
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:
        assert bool(mutant.case) == bool(mutant.part)
        assert bool(mutant.case) != bool(mutant.check)
        # Its power is that of a test which `make test` runs.
        assert not mutant.case or (mutant.case, mutant.part) in TESTED


def test_the_page_shows_the_results_there_are():
    """Words and numbers are put together again by `python -m tests.statistical.page`."""
    parts = page.read()
    assert page.PAGE.read_text() == page.text(parts)
    assert {row["name"] for row in parts["mutants"]["rows"]} == {mutant.name for mutant in MUTANTS}
    assert {row["case"] for row in parts["invariance"]["rows"]} == set(CASES)
    for result in parts.values():
        assert all(row["held"] for row in result["rows"])
