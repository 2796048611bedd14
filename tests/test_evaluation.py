"""`compare`: one table, the same cells for all, and intervals that mean what they say."""

import numpy as np
import pytest
from scipy import stats

import bayesmf
from bayesmf.evaluation import INTERVALS


@pytest.fixture(scope="module")
def comparison(als, posterior, split):
    return bayesmf.compare({"ALS": als, "BPMF": posterior}, split[1])


def test_point_estimate_is_scored_as_a_gaussian(comparison, als, split):
    test = split[1]
    means = als.predict(test)["mean"].to_numpy()
    truth = test.values.astype(float)
    row = comparison.table.loc["ALS"]
    logs = stats.norm.logpdf(truth, means, als.sigma)
    assert row["log_score"] == pytest.approx(logs.mean(), rel=1e-9)
    z = (truth - means) / als.sigma
    # CRPS of a Gaussian: Gneiting & Raftery (2007), eq. 21.
    crps = als.sigma * (
        z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi)
    )
    assert row["CRPS"] == pytest.approx(crps.mean(), rel=1e-9)
    for p in INTERVALS:
        half = stats.norm.ppf((1 + p) / 2)
        assert row[f"coverage_{100 * p:.0f}"] == pytest.approx(np.mean(np.abs(z) <= half))
        assert row[f"width_{100 * p:.0f}"] == pytest.approx(2 * half * als.sigma, rel=1e-9)


def test_posterior_is_scored_by_its_mixture(comparison, posterior, split):
    test = split[1]
    table = posterior.predict(test, prob=0.9)
    truth = test.values
    inside = (table["lower"] <= truth) & (truth <= table["upper"])
    row = comparison.table.loc["BPMF"]
    # `compare` scores at most 200 of the 300 kept draws; predict uses all.
    assert row["coverage_90"] == pytest.approx(inside.mean(), abs=0.01)
    assert row["width_90"] == pytest.approx((table["upper"] - table["lower"]).mean(), rel=0.01)
    assert row["RMSE"] == pytest.approx(np.sqrt(np.mean((table["mean"] - truth) ** 2)), rel=1e-9)
    cells = comparison.cells
    np.testing.assert_allclose(cells["BPMF", "mean"], table["mean"])
    np.testing.assert_array_equal(cells["test", "rating"], truth)


def test_says_how_it_was_done(comparison, als, posterior):
    lines = comparison.protocol.splitlines()
    assert "test of train_test_split(test_size=0.2, random_seed=3)" in lines[0]
    assert lines[1] == f"ALS: {als.protocol()}"
    assert lines[2] == f"BPMF: {posterior.protocol()}"
    for text in (str(comparison), comparison._repr_html_()):
        assert "coverage_90" in text
        assert "ALS" in text
        assert f"{comparison.table.loc['BPMF', 'RMSE']:.4f}" in text


def test_clip_acts_on_errors_only(als, split):
    plain = bayesmf.compare({"ALS": als}, split[1]).table.loc["ALS"]
    low, high = als.ratings.bounds
    clipped = bayesmf.compare({"ALS": als}, split[1], clip=True).table.loc["ALS"]
    means = np.clip(als.predict(split[1])["mean"], low, high)
    assert clipped["RMSE"] == pytest.approx(np.sqrt(np.mean((means - split[1].values) ** 2)))
    unchanged = ["log_score", "CRPS", "coverage_90", "width_50"]
    assert clipped[unchanged].equals(plain[unchanged])


def test_training_cells_in_the_test_set_are_noticed(als, split):
    train = split[0]
    with pytest.warns(UserWarning, match="720 of the 720 test cells were in the training of ALS"):
        bayesmf.compare({"ALS": als}, train)
