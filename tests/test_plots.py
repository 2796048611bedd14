"""Figures show the numbers that they claim to show."""

from __future__ import annotations

import subprocess
import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.special import ndtri

import bayesmf
from bayesmf import plots
from bayesmf.evaluation import INTERVALS
from bayesmf.plots.counts import count_bins, row_counts

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def fitted():
    ratings = bayesmf.simulate(150, 120, 4000, random_seed=1).ratings
    train, test = bayesmf.train_test_split(ratings, test_size=0.2, random_seed=1)
    models = {
        "bias only": bayesmf.fit_bias(train, random_seed=1, progressbar=False),
        "ALS": bayesmf.fit_als(train, n_factors=3, random_seed=1, progressbar=False),
        "BPMF": bayesmf.fit_bpmf(
            train, n_factors=3, tune=60, draws=80, chains=2, random_seed=1, progressbar=False
        ),
    }
    return models, bayesmf.compare(models, test), test


def lines(ax):
    return {line.get_label(): line for line in ax.lines}


def test_importing_the_package_does_not_import_matplotlib():
    code = "import sys, bayesmf; bayesmf.fit_bpmf; print('matplotlib' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_coverage_curve_agrees_with_the_comparison(fitted):
    models, comparison, test = fitted
    for name, model in models.items():
        curve = plots.coverage_curve(model, test)
        for p in INTERVALS:
            # The comparison's quantiles are roots found to a tolerance: a rating may sit on one.
            want = comparison.table.loc[name, f"coverage_{100 * p:.0f}"]
            assert curve[p] == pytest.approx(want, abs=2 / len(comparison.cells))
        assert curve.is_monotonic_increasing


def test_coverage_curve_of_a_known_gaussian():
    # A model whose errors are exactly its own sd times known normal scores.
    ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    model = bayesmf.fit_bias(ratings, random_seed=1, progressbar=False)
    test = ratings.to_frame().head(99)
    scores = ndtri((np.arange(1, 100)) / 100)
    test["rating"] = model.predict(test)["mean"] + model.sigma * scores
    # |2 F - 1| takes 0 once and 0.02, 0.04, ..., 0.98 twice each.
    curve = plots.coverage_curve(model, test)
    np.testing.assert_allclose(curve[[0.01, 0.51, 0.99]], np.array([1, 51, 99]) / 99)


@pytest.mark.parametrize("difference", [False, True])
def test_calibration_shows_the_table_and_the_curves(fitted, difference):
    models, comparison, test = fitted
    ax = plots.plot_calibration(comparison, models=models, difference=difference)
    drawn = lines(ax)
    for name, model in models.items():
        np.testing.assert_array_equal(drawn[name].get_xdata(), INTERVALS)
        want = comparison.table.loc[name, [f"coverage_{100 * p:.0f}" for p in INTERVALS]]
        want = want.to_numpy(float)
        curve = plots.coverage_curve(model, test)
        if difference:
            want, curve = 100 * (want - INTERVALS), 100 * (curve - curve.index)
        np.testing.assert_allclose(drawn[name].get_ydata(), want)
        np.testing.assert_allclose(drawn[f"_{name}"].get_ydata(), curve)
    shown = [text.get_text() for text in ax.get_legend().get_texts()]
    assert shown == ["as promised", *models]


def test_calibration_needs_only_the_comparison(fitted):
    _, comparison, _ = fitted
    _, ax = plt.subplots()
    assert plots.plot_calibration(comparison, ax=ax) is ax
    assert set(lines(ax)) == {"as promised", *comparison.table.index}


def test_intervals_are_those_of_the_cells(fitted):
    _, comparison, _ = fitted
    ax = plots.plot_intervals(comparison, "BPMF", n=10_000)
    cells = comparison.cells.sort_values(("BPMF", "mean"), kind="stable")
    drawn = lines(ax)
    np.testing.assert_array_equal(
        drawn["predicted mean"].get_ydata(), np.sort(cells["BPMF", "mean"])
    )
    segments = np.array(ax.collections[0].get_segments())[:, :, 1]
    widths = np.sort(np.diff(segments).ravel())
    np.testing.assert_allclose(
        widths, np.sort(cells["BPMF", "upper"] - cells["BPMF", "lower"]), rtol=1e-12
    )
    inside = len(drawn["rating inside"].get_ydata())
    assert inside + len(drawn["rating outside"].get_ydata()) == len(cells)
    assert inside / len(cells) == pytest.approx(comparison.table.loc["BPMF", "coverage_90"])
    assert f"{inside} of {len(cells)}" in ax.get_title(loc="left")


def test_intervals_take_the_last_model_and_a_repeatable_sample(fitted):
    _, comparison, _ = fitted
    one, two = (lines(plots.plot_intervals(comparison, n=20)) for _ in range(2))
    means = one["predicted mean"].get_ydata()
    assert len(means) == 20
    assert set(means) <= set(comparison.cells["BPMF", "mean"])
    np.testing.assert_array_equal(means, two["predicted mean"].get_ydata())


def test_count_bins_cover_every_cell_once_and_join_small_ones():
    counts = np.repeat([0, 1, 2, 3, 5, 9, 200], [3, 60, 20, 20, 80, 100, 4])
    bins = count_bins(counts, min_cells=50)
    np.testing.assert_array_equal(np.sort(np.concatenate(bins)), np.arange(len(counts)))
    found = [sorted(set(counts[part])) for part in bins]
    # Never-seen rows stay apart, 2-3 joins 4-7, the last few join what is before them.
    assert found == [[0], [1], [2, 3, 5], [9, 200]]


def test_row_counts_count_training_ratings(fitted):
    models, comparison, _ = fitted
    train = models["ALS"].ratings
    table = train.to_frame()
    for by in ("user", "item"):
        want = comparison.cells["test", by].map(table[by].value_counts()).fillna(0)
        np.testing.assert_array_equal(row_counts(comparison.cells, train, by), want)


def test_uncertainty_is_the_latent_sd(fitted):
    models, comparison, _ = fitted
    post = models["BPMF"]
    ax = plots.plot_uncertainty(post, comparison, n=10_000)
    sd = post.predict(comparison.cells["test"][["user", "item"]], kind="latent")["sd"]
    drawn = lines(ax)
    np.testing.assert_array_equal(drawn["test cells"].get_ydata(), sd)
    counts = row_counts(comparison.cells, post.ratings, "item")
    np.testing.assert_array_equal(drawn["test cells"].get_xdata(), counts)
    medians = [np.median(sd[part]) for part in count_bins(counts)]
    np.testing.assert_allclose(drawn["median"].get_ydata(), medians)
    assert medians[0] > medians[-1]


def test_error_by_count_splits_the_rmse_of_the_table(fitted):
    models, comparison, _ = fitted
    ratings = models["BPMF"].ratings
    counts = row_counts(comparison.cells, ratings, "user")
    sizes = [len(part) for part in count_bins(counts)]
    drawn = lines(plots.plot_error_by_count(comparison, ratings, by="user"))
    for name in models:
        errors = drawn[f"{name}, measured"].get_ydata()
        total = np.sqrt(np.average(errors**2, weights=sizes))
        assert total == pytest.approx(comparison.table.loc[name, "RMSE"])
    # A point estimate promises the same everywhere: its one sd.
    np.testing.assert_allclose(drawn["ALS, promised"].get_ydata(), models["ALS"].sigma, rtol=1e-6)


def test_coverage_by_count_splits_the_coverage_of_the_table(fitted):
    models, comparison, _ = fitted
    ratings = models["BPMF"].ratings
    counts = row_counts(comparison.cells, ratings, "item")
    sizes = [len(part) for part in count_bins(counts)]
    ax = plots.plot_coverage_by_count(comparison, ratings, models=["ALS", "BPMF"])
    drawn = lines(ax)
    assert "bias only" not in drawn
    for name in ("ALS", "BPMF"):
        total = np.average(drawn[name].get_ydata(), weights=sizes)
        assert total == pytest.approx(comparison.table.loc[name, "coverage_90"])


def test_rhat_histogram_counts_the_probe_cells(fitted):
    found = fitted[0]["BPMF"].diagnose()
    ax = plots.plot_rhat(found)
    rhat = found.table.loc["probe"]["r_hat"]
    assert sum(bar.get_height() for bar in ax.patches) == len(rhat) == 500
    assert f"{(rhat < 1.01).mean():.1%}" in ax.get_title(loc="left")
    with pytest.raises(ValueError, match="'diagnostics' argument of plot_rhat"):
        plots.plot_rhat(fitted[0]["BPMF"].diagnose("alpha"))


def test_too_few_draws_have_no_rhat(fitted):
    ratings = fitted[0]["BPMF"].ratings
    post = bayesmf.fit_bpmf(
        ratings, n_factors=1, tune=0, draws=3, chains=2, random_seed=1, progressbar=False
    )
    found = post.diagnose()
    assert np.isnan(found.table["r_hat"]).all()
    assert plots.plot_rhat(found).get_xlabel() == "R-hat"


def test_noise_trace_is_alpha(fitted):
    post = fitted[0]["BPMF"]
    ax = plots.plot_noise_trace(post)
    alpha = post.data["posterior"]["alpha"].to_numpy()
    for line, chain in zip(ax.lines, alpha, strict=True):
        np.testing.assert_allclose(line.get_ydata(), 1 / np.sqrt(chain))


def test_loss_is_the_loss_by_half_sweeps(fitted):
    als = fitted[0]["ALS"]
    line = plots.plot_loss(als).lines[-1]
    np.testing.assert_array_equal(line.get_ydata(), als.loss)
    np.testing.assert_array_equal(line.get_xdata(), np.arange(len(als.loss)) / 2)


def test_dark_style_lights_the_text_and_leaves_no_trace(fitted):
    before = dict(mpl.rcParams)
    with plots.style(dark=True):
        ax = plots.plot_intervals(fitted[1], ax=plt.figure().add_subplot())
        assert mpl.colors.to_rgb(ax.xaxis.label.get_color())[0] > 0.8
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c, r: plots.plot_intervals(c, "SVD"), "'model'.*'ALS'.*Got 'SVD'"),
        (lambda c, r: plots.plot_intervals(c, n=0), "'n' argument of plot_intervals"),
        (lambda c, r: plots.plot_error_by_count(c, r, by="film"), "'by'.*'item', 'user'"),
        (lambda c, r: plots.plot_coverage_by_count(c, r, models=["SVD"]), "'models'.*Got 'SVD'"),
    ],
)
def test_wrong_arguments_are_named(fitted, call, message):
    models, comparison, _ = fitted
    with pytest.raises(ValueError, match=message):
        call(comparison, models["BPMF"].ratings)


def test_fold_in_shows_what_is_predicted_as_ratings_arrive(fitted):
    post = fitted[0]["BPMF"]
    own = post.ratings.to_frame().groupby("user").get_group(3)
    assert len(own) > 5
    new = own.assign(user=900)
    items = [item for item in post.ratings.item_ids if item not in set(own["item"])][:2]
    counts, titles = [0, 1, 5, 10_000], {items[0]: "first"}
    ax = plots.plot_fold_in(post, new, items, counts=counts, titles=titles, prob=0.8, random_seed=4)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1", "5"]
    drawn = lines(ax)
    cells = [(900, item) for item in items]
    widths = []
    for k, step in enumerate([0, 1, 5]):
        asked = post.fold_in(new[:step], draws=200, random_seed=4) if step else post
        expected = asked.predict(cells, prob=0.8, kind="latent")
        for name, mean in zip(["first", str(items[1])], expected["mean"], strict=True):
            assert drawn[name].get_ydata()[k] == mean
        widths.append((expected["upper"] - expected["lower"]).mean())
    assert f"{widths[0]:.2f} wide at first, {widths[-1]:.2f} in the end" in ax.get_title(loc="left")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items": []}, "'items'.*one to 4 items. Got 0"),
        ({"items": [777]}, "'items'.*items of the training ratings. Got 777"),
        ({"counts": [-1]}, "'counts'.*non-negative"),
        ({"counts": [999]}, "'counts'.*counts up to"),
        ({"users": 3}, "'new_ratings'.*unknown user, where counts have 0. Got 3"),
        ({"users": range}, "'new_ratings'.*ratings of one user. Got"),
    ],
)
def test_wrong_arguments_of_fold_in_are_named(fitted, change, message):
    post = fitted[0]["BPMF"]
    own = post.ratings.to_frame().groupby("user").get_group(3)
    users = change.pop("users", 900)
    new = own.assign(user=range(900, 900 + len(own)) if users is range else users)
    with pytest.raises(ValueError, match=f"{message}"):
        plots.plot_fold_in(post, new, **({"items": [1]} | change))
