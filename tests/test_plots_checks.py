"""Figures of checks, draws and single cells show the numbers that they claim to show."""

from __future__ import annotations

import arviz
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import bayesmf
from bayesmf import plots
from bayesmf.diagnostics.by_count import coverage_by_count
from bayesmf.diagnostics.criticism import check_predictive
from bayesmf.diagnostics.identified import IDENTIFIED, REFUSED, check_identified
from bayesmf.diagnostics.pit import pit

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def check(posterior):
    return check_predictive(posterior, draws=40, random_seed=1)


@pytest.fixture(scope="module")
def stars():
    ratings = bayesmf.simulate(60, 40, 900, random_seed=1, round_to=1.0).ratings
    table = ratings.to_frame()
    ratings = bayesmf.Ratings(table.assign(rating=table["rating"].clip(1, 5)))
    post = bayesmf.fit_bpmf(
        ratings, n_factors=1, tune=30, draws=40, chains=1, random_seed=1, progressbar=False
    )
    return check_predictive(post, random_seed=1)


@pytest.fixture(scope="module")
def comparison(als, posterior, split):
    return bayesmf.compare({"ALS": als, "BPMF": posterior}, split[1])


def lines(ax):
    return {line.get_label(): line for line in ax.lines}


def segments(collection):
    return np.array(collection.get_segments())


def test_bars_are_observed_and_intervals_replicated(stars):
    ax = plots.plot_ratings_check(stars)
    shares = stars.shares
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], shares["observed"])
    np.testing.assert_allclose(
        [bar.get_x() + bar.get_width() / 2 for bar in ax.patches], shares.index, atol=1e-12
    )
    drawn = lines(ax)
    for collection, (kind, label) in zip(
        ax.collections,
        (("rounded", "replicated, rounded"), ("raw", "replicated, as they are")),
        strict=True,
    ):
        some = shares[shares[kind] > 0]
        np.testing.assert_array_equal(drawn[label].get_ydata(), some[kind])
        ends = segments(collection)[:, :, 1]
        np.testing.assert_array_equal(ends, some[[f"{kind}_lower", f"{kind}_upper"]])
    ticks = [tick.get_text() for tick in ax.get_xticklabels()]
    assert ticks == ["below", "1", "2", "3", "4", "5", "above"]


def test_ratings_without_a_grid_are_in_bins(check):
    ax = plots.plot_ratings_check(check)
    assert len(ax.patches) == len(check.shares) == 20
    np.testing.assert_array_equal(lines(ax)["replicated"].get_ydata(), check.shares["raw"])


@pytest.mark.parametrize("of", ["user_mean", "user_sd", "item_mean"])
def test_rows_are_the_deciles(check, of):
    ax = plots.plot_rows_check(check, of=of)
    drawn, rows = lines(ax), check.rows[of]
    np.testing.assert_array_equal(drawn["observed"].get_ydata(), rows["observed"])
    np.testing.assert_array_equal(drawn["replicated, 90%"].get_ydata(), rows["replicated"])
    np.testing.assert_array_equal(drawn["observed"].get_xdata(), np.arange(1, 10) / 10)
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(rows["lower"].min())
    assert band.max() == pytest.approx(rows["upper"].max())
    assert of.split("_")[0] in ax.get_xlabel()


def test_residuals_are_those_of_the_check(check):
    ax = plots.plot_residuals(check)
    drawn, table = lines(ax), check.residuals
    for name in ("mean", "sd"):
        np.testing.assert_array_equal(drawn[f"{name}, observed"].get_ydata(), table[name])
        np.testing.assert_array_equal(
            drawn[f"{name}, replicated"].get_ydata(), table[f"{name}_replicated"]
        )
    np.testing.assert_array_equal(drawn["sd, observed"].get_xdata(), table["predicted"])


def test_pit_is_its_heights(als, posterior, split):
    found = {name: pit(model, split[1], bins=8) for name, model in
             (("ALS", als), ("BPMF", posterior))}  # fmt: skip
    ax = plots.plot_pit(found["BPMF"])
    np.testing.assert_array_equal(ax.patches[0].get_data().values, found["BPMF"].heights)
    assert ax.get_ylim()[0] == 0
    ax = plots.plot_pit(found)
    for stairs, (name, one) in zip(ax.patches, found.items(), strict=True):
        assert stairs.get_label() == name
        np.testing.assert_array_equal(stairs.get_data().values, one.heights)
        np.testing.assert_allclose(stairs.get_data().edges, np.arange(9) / 8)
    assert ax.patches[0].get_linestyle() != ax.patches[1].get_linestyle()
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(found["BPMF"].table["upper"].max())
    shown = [text.get_text() for text in ax.get_legend().get_texts()]
    assert shown == ["ALS", "BPMF", "chance"]


def test_traces_are_the_draws(posterior):
    figure = plots.plot_trace(posterior)
    assert len(figure.axes) == 8
    draws = posterior.data["posterior"]
    for k, values in enumerate((draws["alpha"], draws["total_log_likelihood"],
                                draws["intercept"], draws["singular_value"][:, :, 0])):  # fmt: skip
        trace = figure.axes[2 * k + 1]
        for line, chain in zip(trace.lines, values.to_numpy(), strict=True):
            np.testing.assert_array_equal(line.get_ydata(), chain)


def test_ranks_are_uniform_less_the_diagonal(posterior):
    figure = plots.plot_rank(posterior, "alpha")
    (ax,) = figure.axes
    alpha = posterior.data["posterior"]["alpha"].to_numpy()
    ranks = alpha.ravel().argsort().argsort().reshape(alpha.shape) + 1.0
    assert len(ax.lines) == len(alpha)
    for line, chain in zip(ax.lines, ranks, strict=True):
        at = np.asarray(line.get_xdata())
        share = np.searchsorted(np.sort(chain) / alpha.size, at, side="right") / len(chain) - at
        # The ECDF of fractional ranks: within a step of ArviZ's own convention for ranks.
        np.testing.assert_allclose(line.get_ydata(), share, atol=2.5 / len(chain))
    assert len(ax.texts) == 1
    assert ax.texts[0].get_text().startswith("p=")


def test_ess_at_the_end_is_that_of_all_draws(posterior):
    ax = plots.plot_ess_growth(posterior)
    drawn, draws = lines(ax), posterior.data["posterior"]
    assert set(drawn) == {
        "alpha", "total_log_likelihood", "intercept", "singular_value[0]", "probe cells, median",
        "probe cells, worst", "400, enough",
    }  # fmt: skip
    n_draws = draws.sizes["draw"]
    for name in ("alpha", "intercept"):
        assert drawn[name].get_xdata()[-1] == n_draws * draws.sizes["chain"]
        want = arviz.ess(draws[name].to_numpy(), method="bulk")
        assert drawn[name].get_ydata()[-1] == pytest.approx(float(want))
    assert drawn["400, enough"].get_ydata()[0] == 400
    worst, median = (drawn[f"probe cells, {x}"].get_ydata() for x in ("worst", "median"))
    assert (worst < median).all()


def test_entries_of_vectors_are_named(posterior):
    figure = plots.plot_rank(posterior, ["user_effect"])
    users = posterior.data["posterior"]["effect_user"].to_numpy()[:4]
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes]
    assert titles == [f"user_effect[{user}]" for user in users]


@pytest.mark.parametrize("draw", [plots.plot_trace, plots.plot_rank, plots.plot_ess_growth])
def test_what_is_not_identified_is_refused(posterior, draw):
    name = draw.__name__
    for refused, reason in REFUSED.items():
        with pytest.raises(ValueError, match=f"{name} does not judge '{refused}'") as e:
            draw(posterior, ["alpha", refused])
        assert reason in str(e.value)
        assert refused in posterior.data["factors"]
    with pytest.raises(ValueError, match=f"'names' argument of {name} must be.*alpha.*Got 'beta'"):
        draw(posterior, "beta")
    with pytest.raises(ValueError, match="at least one name"):
        draw(posterior, [])


def test_identified_names_are_those_of_the_schema(posterior):
    kept = set(posterior.data["posterior"].data_vars)
    assert set(IDENTIFIED) == kept | {"interaction_sd"}  # which follows from the singular values
    assert check_identified("alpha", "f") == ("alpha",)
    assert check_identified(["alpha", "probe"], "f") == ("alpha", "probe")


def test_too_few_chains_and_draws(split):
    short = bayesmf.fit_bpmf(
        split[0], n_factors=1, tune=0, draws=3, chains=1, random_seed=1, progressbar=False
    )
    with pytest.raises(ValueError, match="at least two chains. Got one chain"):
        plots.plot_rank(short)
    with pytest.raises(ValueError, match="at least 4 draws a chain. Got 3"):
        plots.plot_ess_growth(short)


def test_a_cell_is_its_two_densities_and_intervals(posterior):
    user, item = posterior.ratings.user_ids[0], posterior.ratings.item_ids[1]
    ax = plots.plot_cell(posterior, user, item, observed=4.0)
    drawn = lines(ax)
    bars = [line for line in ax.lines if line.get_label().startswith("_")]
    for bar, label, kind in zip(
        bars, ("a new rating", "expected rating"), ("predictive", "latent"), strict=True
    ):
        found = posterior.predict([(user, item)], kind=kind).iloc[0]
        np.testing.assert_allclose(bar.get_xdata(), found[["lower", "upper"]].to_numpy(float))
        x, density = drawn[label].get_data()
        weights = density / density.sum()
        assert np.trapezoid(density, x) == pytest.approx(1, abs=0.01)
        mean = weights @ x
        assert mean == pytest.approx(found["mean"], abs=0.01)
        sd = np.sqrt(weights @ (x - mean) ** 2)
        # A kernel makes the expected rating's density a little wider.
        assert found["sd"] * 0.98 < sd < found["sd"] * 1.1
    assert drawn["observed 4"].get_xdata()[0] == 4


def test_cells_of_unknown_rows(posterior):
    ax = plots.plot_cell(posterior, 10_000, posterior.ratings.item_ids[0])
    found = posterior.predict([(10_000, posterior.ratings.item_ids[0])], kind="latent").iloc[0]
    x, density = lines(ax)["expected rating"].get_data()
    assert np.trapezoid(density, x) == pytest.approx(1, abs=0.01)
    assert x @ density / density.sum() == pytest.approx(found["mean"], abs=0.02)


@pytest.mark.parametrize("kind", [dict, pd.Series])
def test_recommendations_are_those_of_the_posterior(posterior, kind):
    user = posterior.ratings.user_ids[3]
    best = posterior.recommend([user], 4, kind="latent")
    titles = kind({best["item"][0]: "A very long title that nobody would print in full (1999)"})
    ax = plots.plot_recommendations(posterior, user, 4, titles=titles)
    new, expected = (segments(one)[:, :, 0] for one in ax.collections)
    np.testing.assert_array_equal(expected, best[["lower", "upper"]])
    wide = posterior.predict(best[["user", "item"]])[["lower", "upper"]]
    np.testing.assert_array_equal(new, wide)
    np.testing.assert_array_equal(lines(ax)["mean"].get_xdata(), best["mean"])
    np.testing.assert_array_equal(lines(ax)["mean"].get_ydata(), [4, 3, 2, 1])
    shown = [tick.get_text() for tick in ax.get_yticklabels()]
    assert shown == [
        "A very long title that nobody would p…", *(str(item) for item in best["item"][1:])
    ]  # fmt: skip


@pytest.mark.parametrize("by", ["user", "item"])
def test_als_against_bpmf_shows_error_and_promise(comparison, posterior, by):
    figure = plots.plot_als_against_bpmf(comparison, posterior.ratings, by=by)
    table = coverage_by_count(comparison, posterior.ratings, by=by)
    for ax, column in zip(figure.axes, ("RMSE", "promised"), strict=True):
        drawn = lines(ax)
        for name in ("ALS", "BPMF"):
            np.testing.assert_array_equal(drawn[name].get_ydata(), table.loc[name, column])
            np.testing.assert_array_equal(drawn[name].get_xdata(), table.loc[name, "ratings"])
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    mine = plt.figure()
    given = mine.subplots(1, 2)
    assert plots.plot_als_against_bpmf(comparison, posterior.ratings, axes=given) is mine


def test_dark_figures_have_light_words_and_leave_no_trace(posterior, check, comparison):
    before = dict(mpl.rcParams)
    with plots.style(dark=True):
        figures = [
            plots.plot_trace(posterior, "alpha"),
            plots.plot_rank(posterior, "alpha"),
            plots.plot_als_against_bpmf(comparison, posterior.ratings),
            plots.plot_residuals(check).figure,
        ]
        for figure in figures:
            assert figure.get_facecolor()[3] == 0  # the page's own colour shows through
            for ax in figure.axes:
                words = [ax.xaxis.label, ax.yaxis.label, ax.title, *ax.texts]
                for text in words:
                    assert min(mpl.colors.to_rgb(text.get_color())) > 0.8
    light = plots.plot_residuals(check).figure
    assert light.get_facecolor() == (1, 1, 1, 1)
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c, p, k: plots.plot_ratings_check(p), TypeError, "'check'.*result of check_pred"),
        (lambda c, p, k: plots.plot_residuals(None), TypeError, "'check' argument of plot_residu"),
        (lambda c, p, k: plots.plot_rows_check(k, of="film"), ValueError, "'of'.*'user_mean'"),
        (lambda c, p, k: plots.plot_pit({}), TypeError, "'pit' argument of plot_pit"),
        (lambda c, p, k: plots.plot_pit({"a": 1}), TypeError, "'pit' argument of plot_pit"),
        (lambda c, p, k: plots.plot_recommendations(p, 1, 0), ValueError, "'n' argument"),
        (
            lambda c, p, k: plots.plot_recommendations(p, 1, titles="no"),
            TypeError,
            "'titles' argument of plot_recommendations",
        ),
        (lambda c, p, k: plots.plot_cell(p, 1, 2, observed="5"), TypeError, "'observed' argument"),
        (
            lambda c, p, k: plots.plot_als_against_bpmf(c, p.ratings, models=("ALS", "X")),
            ValueError,
            "'models' argument of plot_als_against_bpmf.*Got 'X'",
        ),
        (
            lambda c, p, k: plots.plot_als_against_bpmf(c, p.ratings, axes=[1]),
            ValueError,
            "'axes'.*two matplotlib Axes. Got 1",
        ),
    ],
)
def test_wrong_arguments_are_named(comparison, posterior, check, call, error, message):
    with pytest.raises(error, match=message):
        call(comparison, posterior, check)
