"""Gibbs and NUTS, two samplers that share the priors' statement and the recorder, agree.

On three small tables, means and standard deviations of everything that is identified, each with
its Monte Carlo error, at the suite's false-failure rate for all of a table's numbers together. Both
must have converged first: R-hat below 1.01 and an effective sample size of 2,000 for every number.
"""

import arviz
import numpy as np
import pytest
import xarray as xr
from scipy import stats

import bayesmf
from tests.statistical.rates import assert_plausible

RHAT, ESS = 1.01, 2000
CELLS = 50
NAMES = (
    "alpha", "total_log_likelihood", "intercept", "probe", "user_effect", "item_effect",
    "singular_value",
)  # fmt: skip


def simulated():
    return bayesmf.simulate(30, 20, 360, n_factors=2, random_seed=21).ratings


def films():
    """The most active 60 users and 40 films of ML-100K, less what one would not find in a table."""
    table = bayesmf.load_movielens("100k")
    users = table["user"].value_counts().index[:60]
    items = table[table["user"].isin(users)]["item"].value_counts().index[20:60]
    return table[table["user"].isin(users) & table["item"].isin(items)].reset_index(drop=True)


TABLES = {
    "simulated, K=2": (simulated, {"n_factors": 2, "biases": False}),
    "films, K=2 and biases": (films, {"n_factors": 2}),
    "films, biases alone": (films, {"n_factors": 0}),
}
RUNS = {
    "gibbs": {"tune": 1000, "draws": 3500, "memory_budget": "30MB"},
    "nuts": {"tune": 1000, "draws": 1600},
}


def identified(post):
    group = post.data["posterior"].to_dataset()
    return group[[name for name in NAMES if group[name].size]]


def numbers(dataset):
    """All numbers of a dataset of one number for each quantity, by name."""
    found = {}
    for name, array in dataset.data_vars.items():
        for place, value in np.ndenumerate(array.to_numpy()):
            found[f"{name}{list(place) if place else ''}"] = float(value)
    return found


def p_values(one: xr.Dataset, other: xr.Dataset) -> dict[str, float]:
    """Two-sided, of equal means and of equal sds, by quantity."""
    found = {}
    for what, centre in (("mean", xr.Dataset.mean), ("sd", xr.Dataset.std)):
        values = [numbers(centre(draws, ("chain", "draw"))) for draws in (one, other)]
        errors = [numbers(arviz.mcse(draws, method=what)) for draws in (one, other)]
        for name in values[0]:
            error = np.hypot(errors[0][name], errors[1][name])
            z = (values[0][name] - values[1][name]) / error
            found[f"{what} of {name}"] = 2 * float(stats.norm.sf(abs(z)))
    return found


def assert_converged(draws: xr.Dataset, engine: str) -> None:
    rhat, ess = numbers(arviz.rhat(draws)), numbers(arviz.ess(draws, method="bulk"))
    tails = numbers(arviz.ess(draws, method="tail", prob=(0.05, 0.95)))
    assert max(rhat.values()) < RHAT, (engine, max(rhat, key=rhat.get), max(rhat.values()))
    least = min(ess, key=ess.get)
    assert ess[least] >= ESS, (engine, least, ess[least])
    assert min(tails.values()) >= ESS / 4, (engine, min(tails, key=tails.get))


@pytest.mark.parametrize(
    "name",
    [
        "films, K=2 and biases",
        pytest.param("films, biases alone", marks=pytest.mark.thorough),
        pytest.param("simulated, K=2", marks=pytest.mark.thorough),
    ],
)
@pytest.mark.timeout(600)
def test_gibbs_and_nuts_agree(name, data_dir, monkeypatch):
    monkeypatch.setenv("BAYESMF_DATA", str(data_dir))
    make, options = TABLES[name]
    table, found = make(), {}
    for method, run in RUNS.items():
        post = bayesmf.fit_bpmf(
            table, method=method, probe=CELLS, random_seed=1, progressbar=False, **options, **run
        )
        found[method] = identified(post)
        assert_converged(found[method], method)
    assert_plausible(p_values(found["gibbs"], found["nuts"]))


def test_the_comparison_sees_a_tenth_of_an_sd():
    """Its power: draws of ESS 6,000 whose mean, or whose sd, is a tenth of an sd off.

    Three quarters of what is compared have more.
    """
    rng = np.random.default_rng(1)

    def draws(shift=0.0, ratio=1.0):
        values = shift + ratio * rng.standard_normal((4, 1500, 100))
        return xr.Dataset({"x": (("chain", "draw", "cell"), values)})

    assert_plausible(p_values(draws(), draws()))
    for fault in ({"shift": 0.1}, {"ratio": 1.1}):
        with pytest.raises(AssertionError):
            assert_plausible(p_values(draws(), draws(**fault)))
