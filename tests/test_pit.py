"""The PIT: by hand, uniform for exact models, bent for wrong ones; coverage by count."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayesmf
from bayesmf.diagnostics.by_count import coverage_by_count
from bayesmf.diagnostics.pit import pit
from bayesmf.predictive import Mixture
from tests.statistical.rates import assert_plausible


class Gaussian:
    """A model that predicts each test cell by one Gaussian, given in the order of the cells."""

    fit_seconds = 0.0

    def __init__(self, ratings, means, sds):
        self.ratings = ratings
        self.means, self.sds = np.asarray(means, float), np.asarray(sds, float)

    def protocol(self):
        return "known"

    def cell_means(self, pairs):
        return self.means

    def over_mixtures(self, pairs, function, *, limit):
        # In pieces, as a posterior does.
        cuts = np.linspace(0, len(self.means), 4).astype(int)
        return [
            function(slice(a, b), Mixture(self.means[a:b, None].copy(), self.sds[a:b, None].copy()))
            for a, b in itertools.pairwise(cuts)
            if b > a
        ]


def table_of(values, users=None, items=None, first=0):
    n = len(values)
    users = np.arange(n) if users is None else users
    items = np.arange(n) if items is None else items
    return pd.DataFrame({"user": users + first, "item": items + first, "rating": values})


TRAIN = bayesmf.Ratings(table_of(np.array([1.3, 2.2, 4.9, 3.1]), first=1_000_000))
STARS = bayesmf.Ratings(table_of(np.array([1.0, 2, 3, 4, 5]), first=1_000_000))


def test_three_ratings_by_hand():
    """Levels -1, 0, 1 under Normal(0, 1): Czado, Gneiting & Held (2009), eq. 2-3."""
    test = table_of(np.array([-1.0, 0.0, 1.0]))
    found = pit(Gaussian(TRAIN, [0, 0, 0], [1, 1, 1]), test, bins=4, grid=[-1, 0, 1])
    low = stats.norm.cdf(-0.5)  # the cell of -1 ends here, that of 0 at 1 - low
    end = 0.25 / low
    by_hand = np.array(
        [[end, 1 - end, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 1 - end, end]]
    )  # fmt: skip
    # The cell of 0 is [0.309, 0.691]: half of it in each of the two middle bins.
    np.testing.assert_allclose(found.heights, 4 * by_hand.mean(axis=0), rtol=1e-10)
    assert found.mean == pytest.approx(0.5)
    # Variances within the three cells, and of their middles.
    widths = np.array([low, 1 - 2 * low, low])
    middles = np.array([low / 2, 0.5, 1 - low / 2])
    assert found.variance == pytest.approx((widths**2 / 12).mean() + middles.var())
    np.testing.assert_array_equal(found.grid, [-1, 0, 1])
    assert found.table["height"].tolist() == found.heights.tolist()


def test_a_probability_of_zero_is_a_point():
    # 50 sds away: both ends of the cell are 1 in floating point, or 0.
    test = table_of(np.array([51.0, -49.0]))
    found = pit(Gaussian(TRAIN, [0, 0], [1, 1]), test, bins=4, grid=[-49, 1, 51])
    np.testing.assert_allclose(found.heights, [2, 0, 0, 2])
    assert found.mean == pytest.approx(0.5)


def exact(rng, n, sd_factor=1.0, shift=0.0, grid=None):
    means, sds = rng.normal(3, 0.5, n), rng.uniform(0.6, 1.2, n)
    y = means + sds * rng.standard_normal(n)
    if grid is not None:
        y = np.clip(np.round(y), grid[0], grid[-1])
    train = TRAIN if grid is None else STARS
    return Gaussian(train, means + shift, sds * sd_factor), table_of(y)


def test_continuous_pit_of_an_exact_model_is_uniform():
    model, test = exact(np.random.default_rng(1), 5000)
    found = pit(model, test)
    assert found.grid is None
    counts = found.heights * found.n_ratings / 20
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-8)
    np.testing.assert_allclose(found.mean_error, np.sqrt(1 / 12 / 5000), rtol=0.05)
    assert_plausible(
        {
            "bins": stats.chisquare(counts).pvalue,
            "mean": 2 * stats.norm.sf(abs(found.mean - 0.5) / found.mean_error),
            "variance": 2 * stats.norm.sf(abs(found.variance - 1 / 12) / found.variance_error),
        }
    )
    assert found.statement == "Calibrated, as far as these ratings can tell."


def test_pit_on_the_grid_of_an_exact_model_is_uniform():
    """Each height is a mean of independent shares: normal, with the error that the band has."""
    model, test = exact(np.random.default_rng(2), 5000, grid=(1, 5))
    found = pit(model, test)
    np.testing.assert_array_equal(found.grid, [1, 2, 3, 4, 5])
    half = found.table["upper"] - 1
    z = (found.heights - 1) / half * stats.norm.isf(0.025 / 20)
    p_values = {f"bin {k}": 2 * stats.norm.sf(abs(value)) for k, value in enumerate(z)}
    p_values["mean"] = 2 * stats.norm.sf(abs(found.mean - 0.5) / found.mean_error)
    p_values["variance"] = 2 * stats.norm.sf(abs(found.variance - 1 / 12) / found.variance_error)
    assert_plausible(p_values)
    # No random numbers, and less chance than with them: 20 bins of a fifth of a cell each.
    assert half.iloc[10] < 0.5 * stats.norm.isf(0.025 / 20) * np.sqrt(19 / 5000)
    assert found.heights.mean() == pytest.approx(1.0)


def test_the_grid_matters_where_it_is_coarse():
    y = np.clip(np.round(np.random.default_rng(2).normal(3, 0.5, 2000)), 1, 5)
    model = Gaussian(STARS, np.full(2000, 3.0), np.full(2000, 0.5))
    assert "Calibrated" in pit(model, table_of(y)).statement
    ordinary = pit(model, table_of(y), grid=False)
    assert ordinary.grid is None
    assert "bins are outside the chance band" in ordinary.statement


@pytest.mark.parametrize("grid", [None, (1, 5)])
@pytest.mark.parametrize(
    ("change", "word", "heights"),
    [
        ({"sd_factor": 0.5}, "Intervals are too narrow: the histogram is a U.", (1, 1)),
        ({"sd_factor": 2.0}, "Intervals are too wide: the histogram is a hump.", (-1, -1)),
        ({"shift": -0.4}, "Predictions are too low: the histogram rises.", (-1, 1)),
        ({"shift": 0.4}, "Predictions are too high: the histogram falls.", (1, -1)),
    ],
)
def test_wrong_models_have_the_shape_that_words_say(grid, change, word, heights):
    model, test = exact(np.random.default_rng(3), 4000, grid=grid, **change)
    found = pit(model, test)
    assert word in found.statement
    assert word in str(found)
    ends = found.heights[[0, -1]] - 1
    np.testing.assert_array_equal(np.sign(ends), heights)
    outside = (found.heights < found.table["lower"]) | (found.heights > found.table["upper"])
    assert f"{outside.sum()} of 20 bins are outside the chance band" in found.statement


def test_errors_that_ratings_of_an_item_share_are_allowed_for():
    """A calibrated model whose item means are uncertain: the PIT's mean scatters as it says."""
    rng = np.random.default_rng(4)
    users, items = (codes.ravel() for codes in np.divmod(np.arange(900), 30))
    means, errors = [], []
    model = Gaussian(TRAIN, np.full(900, 3.0), np.full(900, np.hypot(0.5, 0.8)))
    for _ in range(150):
        y = 3 + rng.normal(0, 0.5, 30)[items] + rng.normal(0, 0.8, 900)
        found = pit(model, table_of(y, users, items), bins=5)
        means.append(found.mean)
        errors.append(found.mean_error)
    # An sd of 150 normal means is off by 25% with a probability of 2e-5 (chi-squared).
    assert np.std(means) == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=0.25)
    alone = np.sqrt(1 / 12 / 900)
    assert np.std(means) > 2 * alone


def test_of_results(posterior, als, split):
    for model in (posterior, als):
        found = pit(model, split[1], bins=10)
        assert found.heights.mean() == pytest.approx(1.0)
        assert found.n_ratings == len(split[1])
        assert "PIT of 180 ratings as continuous" in str(found)
        assert "<table" in found._repr_html_()
    # Of a point estimate: its one Gaussian.
    test = split[1].to_frame()
    z = (test["rating"] - als.predict(test)["mean"]) / als.sigma
    np.testing.assert_allclose(
        found.heights, np.histogram(stats.norm.cdf(z), bins=10, range=(0, 1))[0] / 18
    )


def test_levels_that_only_the_test_ratings_have_belong_to_the_grid():
    test = table_of(np.array([1.0, 6.0]))
    found = pit(Gaussian(STARS, [3, 3], [1, 1]), test)
    np.testing.assert_array_equal(found.grid, [1, 2, 3, 4, 5, 6])


def test_training_cells_are_warned_of(als, split):
    train = split[0].to_frame()
    with pytest.warns(UserWarning, match="720 of the 720 test cells were in the training"):
        pit(als, train)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"draws": 1}, ValueError, "'draws' argument of pit"),
        ({"bins": 1}, ValueError, "'bins' argument of pit.*at least 2"),
        ({"bins": 2.5}, TypeError, "'bins' argument of pit"),
        ({"grid": [1, 2, 4]}, ValueError, "'grid' argument of pit.*equally spaced"),
        ({"grid": [1, 2, 3, 4, 5]}, ValueError, "'test' argument of pit.*on the grid 1, 2, 3"),
    ],
)
def test_wrong_arguments(als, split, arguments, error, message):
    with pytest.raises(error, match=message):
        pit(als, split[1], **arguments)


def test_wrong_model_and_test(als, split):
    with pytest.raises(TypeError, match="'model' argument of pit must be a result"):
        pit("als", split[1])
    with pytest.raises(ValueError, match="test"):
        pit(als, split[1].to_frame()[["user", "item"]])


def test_coverage_by_count_is_what_pandas_says(als, posterior, split):
    comparison = bayesmf.compare({"ALS": als, "BPMF": posterior}, split[1])
    train = split[0].to_frame()
    cells = comparison.cells
    for by in ("user", "item"):
        table = coverage_by_count(comparison, posterior.ratings, by=by)
        assert table.index.get_level_values("model").unique().tolist() == ["ALS", "BPMF"]
        counts = cells["test", by].map(train[by].value_counts()).fillna(0)
        for (name, _), row in table.iterrows():
            part = cells[(counts >= row["low"]) & (counts <= row["high"])]
            assert row["cells"] == len(part)
            y, mean = part["test", "rating"], part[name, "mean"]
            lower, upper = part[name, "lower"], part[name, "upper"]
            assert row["coverage"] == pytest.approx(y.between(lower, upper).mean())
            assert row["RMSE"] == pytest.approx(np.sqrt(((y - mean) ** 2).mean()))
            assert row["width"] == pytest.approx((upper - lower).mean())
            assert row["ratings"] == pytest.approx(counts[part.index].mean())
        # A Gaussian's promise is its sd.
        np.testing.assert_allclose(table.loc["ALS", "promised"], als.sigma, rtol=1e-6)
    only = coverage_by_count(comparison, posterior.ratings, models=["BPMF"])
    pd.testing.assert_frame_equal(only, table.loc[["BPMF"]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "film"}, "'by' argument of coverage_by_count.*'item', 'user'"),
        ({"models": ["SVD"]}, "'models' argument of coverage_by_count.*'ALS'. Got 'SVD'"),
        ({"models": []}, "'models' argument of coverage_by_count must be one or more of 'ALS'"),
    ],
)
def test_wrong_arguments_of_coverage_by_count(als, split, arguments, message):
    comparison = bayesmf.compare({"ALS": als}, split[1])
    with pytest.raises(ValueError, match=message):
        coverage_by_count(comparison, als.ratings, **arguments)
