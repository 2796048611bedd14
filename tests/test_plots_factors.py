"""Figures of factors show the numbers that they claim to show."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import bayesmf
from bayesmf import plots
from bayesmf.diagnostics.alignment import align
from bayesmf.diagnostics.tastes import taste_sizes
from bayesmf.plots.counts import count_bins
from bayesmf.plots.labels import place_labels, shorten

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def fitted():
    ratings = bayesmf.simulate(120, 80, 3000, n_factors=3, random_seed=1).ratings
    post = bayesmf.fit_bpmf(
        ratings, n_factors=3, tune=60, draws=60, chains=2, random_seed=1, progressbar=False
    )
    return post, align(post)


def lines(ax):
    return {line.get_label(): line for line in ax.lines}


def segments(collection):
    return np.array([path.vertices for path in collection.get_paths()])


def test_factor_map_shows_means_and_intervals(fitted):
    _, alignment = fitted
    titles = {j: f"Film {j}" for j in range(80)}
    ax = plots.plot_factor_map(alignment, (2, 0), n=5, prob=0.8, titles=titles)
    loadings = alignment.item_loadings.to_numpy().reshape(-1, 80, 3)[:, :, [2, 0]].astype(float)
    mean = loadings.mean(axis=0)
    drawn = lines(ax)
    np.testing.assert_allclose(drawn["items"].get_xydata(), mean, rtol=1e-5, atol=1e-7)
    far = ((mean / mean.std(axis=0)) ** 2).sum(axis=1)
    named = np.argsort(-far)[:5]
    np.testing.assert_allclose(drawn["named"].get_xydata(), mean[named], rtol=1e-5)
    assert [text.get_text() for text in ax.texts] == [f"Film {j}" for j in named]
    low, high = np.quantile(loadings[:, named], [0.1, 0.9], axis=0)
    across, up = (segments(collection) for collection in ax.collections)
    np.testing.assert_allclose(across[:, :, 0], np.column_stack([low[:, 0], high[:, 0]]), rtol=1e-5)
    np.testing.assert_allclose(up[:, :, 1], np.column_stack([low[:, 1], high[:, 1]]), rtol=1e-5)
    assert "factor 2" in ax.get_xlabel()
    assert "factor 0" in ax.get_ylabel()


def test_top_items_are_those_of_the_table(fitted):
    _, alignment = fitted
    ax = plots.plot_top_items(alignment, 1, n=4, prob=0.5)
    table = alignment.top_items(1, n=4, prob=0.5)
    top = table[table["end"] == "top"].sort_values("loading")
    drawn = lines(ax)
    np.testing.assert_array_equal(drawn["top"].get_xdata(), top["loading"])
    np.testing.assert_array_equal(drawn["top"].get_ydata(), [4, 5, 6, 7])
    bars = segments(ax.collections[0])[:, :, 0]
    np.testing.assert_allclose(bars, top[["lower", "upper"]])
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == [str(one) for one in table.sort_values("loading")["item"]]
    share = alignment.strength.loc[1, "share"]
    assert f"{share:.0%}" in ax.get_title(loc="left")


def test_more_items_than_there_are_stand_once(fitted):
    ax = plots.plot_top_items(fitted[1], 0, n=500)
    assert len(ax.get_yticks()) == 80


def test_scree_adds_up_to_the_variance_of_the_interaction(fitted):
    post, _ = fitted
    ax = plots.plot_scree(post, prob=0.8)
    values = post.data["posterior"]["singular_value"].to_numpy().reshape(-1, 3) / np.sqrt(120 * 80)
    np.testing.assert_allclose(lines(ax)["posterior mean"].get_ydata(), values.mean(axis=0))
    bars = segments(ax.collections[0])[:, :, 1]
    np.testing.assert_allclose(bars, np.quantile(values, [0.1, 0.9], axis=0).T)
    at = post.data["factors"].to_dataset().isel(chain=1, draw=7)
    users, items = (at[f"{side}_factors"].to_numpy().astype(float) for side in ("user", "item"))
    cells = (users - users.mean(axis=0)) @ (items - items.mean(axis=0)).T
    squares = post.data["posterior"]["singular_value"].to_numpy()[1, 7] ** 2 / cells.size
    assert squares.sum() == pytest.approx(cells.var(), rel=1e-4)


def brute_sizes(users, items, prob):
    """`taste_sizes` from the dense interaction of every draw."""
    centred = [side - side.mean(axis=-2, keepdims=True) for side in (users, items)]
    cells = (centred[0] @ np.swapaxes(centred[1], -1, -2)).reshape(
        -1, users.shape[2], items.shape[2]
    )
    in_draw = cells.std(axis=2)
    n = len(cells)
    pairs = np.einsum("sij,tij->i", cells, cells) - np.einsum("sij,sij->i", cells, cells)
    of_mean = np.sqrt(np.maximum(pairs, 0) / items.shape[2] / n / (n - 1))
    ends = np.quantile(in_draw, [(1 - prob) / 2, (1 + prob) / 2], axis=0)
    return in_draw.mean(axis=0), *ends, of_mean


def test_taste_sizes_are_those_of_the_dense_interaction(monkeypatch):
    rng = np.random.default_rng(2)
    users, items = rng.normal(size=(2, 7, 15, 3)) + 1, rng.normal(size=(2, 7, 11, 3)) - 2
    users[:, :, :8] += 2 * rng.normal(size=(8, 3))
    want = brute_sizes(users, items, 0.8)
    for size in (16_000_000, 1):  # in one block, and row by row
        monkeypatch.setattr("bayesmf.diagnostics.tastes.BLOCK_BYTES", size)
        for got, expected in zip(taste_sizes(users, items, 0.8), want, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_taste_sizes_do_not_depend_on_the_frame():
    rng = np.random.default_rng(3)
    users, items = rng.normal(size=(1, 20, 15, 3)), rng.normal(size=(1, 20, 11, 3))
    first = taste_sizes(users, items, 0.9)
    for s in range(20):
        a = rng.normal(size=(3, 3))
        users[0, s] = users[0, s] @ a + 1
        items[0, s] = items[0, s] @ np.linalg.inv(a).T - 2
    for got, expected in zip(taste_sizes(users, items, 0.9), first, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("by", ["user", "item"])
def test_shrinkage_shows_the_sizes(fitted, by):
    post, _ = fitted
    ax = plots.plot_shrinkage(post, by=by, prob=0.8, n=10_000)
    group, ratings = post.data["factors"], post.ratings
    users, items = (group[f"{side}_factors"].to_numpy() for side in ("user", "item"))
    at = np.linspace(0, 119, 50).round().astype(int)
    users, items = (side.reshape(1, 120, *side.shape[2:])[:, at] for side in (users, items))
    rows = (users, items) if by == "user" else (items, users)
    mean, low, high, of_mean = brute_sizes(*(side.astype(float) for side in rows), 0.8)
    counts = np.diff((ratings.by_user if by == "user" else ratings.by_item).indptr)
    drawn = lines(ax)
    points = drawn["mean tastes of a user" if by == "user" else "mean tastes of an item"]
    np.testing.assert_array_equal(points.get_xdata(), counts)
    np.testing.assert_allclose(points.get_ydata(), of_mean, rtol=1e-4, atol=1e-3)
    bins = count_bins(counts)
    for label, values in (("median of mean tastes", of_mean), ("in a draw, 80% interval", mean)):
        want = [np.median(values[part]) for part in bins]
        np.testing.assert_allclose(drawn[label].get_ydata(), want, rtol=1e-4)
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(min(np.median(low[part]) for part in bins), rel=1e-4)
    assert band.max() == pytest.approx(max(np.median(high[part]) for part in bins), rel=1e-4)


def test_labels_do_not_lie_on_one_another():
    # Twelve points in a heap, on white space.
    rng = np.random.default_rng(4)
    figure, ax = plt.subplots(figsize=(7, 5))
    at = 0.5 + 0.02 * rng.normal(size=(12, 2))
    ax.set(xlim=(0, 1), ylim=(0, 1))
    labels = place_labels(ax, at, [f"A title of some length {k}" for k in range(12)], at)
    figure.canvas.draw()
    boxes = [mpl.text.Text.get_window_extent(label) for label in labels]
    for k, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:k])
        assert ax.get_window_extent().containsx(box.x0)
        assert ax.get_window_extent().containsx(box.x1)


def test_long_titles_are_cut():
    assert shorten("short") == "short"
    assert shorten("a" * 40, 10) == "a" * 9 + "…"


def test_dark_and_on_given_axes(fitted):
    post, alignment = fitted
    with plots.style(dark=True):
        figure, axes = plt.subplots(2, 2)
        size = figure.get_size_inches().tolist()
        found = [
            plots.plot_factor_map(alignment, ax=axes[0, 0]),
            plots.plot_top_items(alignment, 0, ax=axes[0, 1]),
            plots.plot_scree(post, ax=axes[1, 0]),
            plots.plot_shrinkage(post, ax=axes[1, 1]),
        ]
        assert found == axes.ravel().tolist()
        assert figure.get_size_inches().tolist() == size
        assert mpl.colors.to_rgb(found[0].texts[0].get_color())[0] > 0.8


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p, a: plots.plot_factor_map(a, 0), TypeError, "'factors' argument of plot_factor_"),
        (
            lambda p, a: plots.plot_factor_map(a, (1, 1)),
            ValueError,
            "two different.*plot_top_items",
        ),
        (
            lambda p, a: plots.plot_factor_map(a, (0, 3)),
            ValueError,
            "'factors'.*from 0 to 2.*Got 3",
        ),
        (lambda p, a: plots.plot_factor_map(a, n=-1), ValueError, "'n'.*Got -1"),
        (lambda p, a: plots.plot_factor_map(a, prob=2), ValueError, "'prob' argument of plot_fact"),
        (lambda p, a: plots.plot_factor_map(a, titles=3), TypeError, "'titles'.*mapping.*Got int"),
        (
            lambda p, a: plots.plot_top_items(a, 3),
            ValueError,
            "'factor' argument of plot_top_items",
        ),
        (
            lambda p, a: plots.plot_top_items(a, 0, n=0),
            ValueError,
            "'n' argument of plot_top_items",
        ),
        (lambda p, a: plots.plot_top_items(a, 0, prob=0), ValueError, "'prob'.*plot_top_items"),
        (lambda p, a: plots.plot_top_items(a, 0, titles="x"), TypeError, "'titles'.*Got str"),
        (lambda p, a: plots.plot_scree(p, prob=1.0), ValueError, "'prob' argument of plot_scree"),
        (lambda p, a: plots.plot_shrinkage(p, by="film"), ValueError, "'by'.*'user', 'item'"),
        (lambda p, a: plots.plot_shrinkage(p, prob=0), ValueError, "'prob'.*plot_shrinkage"),
        (lambda p, a: plots.plot_shrinkage(p, n=0), ValueError, "'n' argument of plot_shrinkage"),
    ],
)
def test_wrong_arguments_are_named(fitted, call, error, message):
    before = plt.get_fignums()
    with pytest.raises(error, match=message):
        call(*fitted)
    assert plt.get_fignums() == before


def test_models_without_factors_are_refused(fitted):
    post = bayesmf.fit_bpmf(
        fitted[0].ratings, n_factors=0, tune=5, draws=5, chains=1, random_seed=1, progressbar=False
    )
    for plot in (plots.plot_scree, plots.plot_shrinkage):
        with pytest.raises(ValueError, match="needs factors.*n_factors=0"):
            plot(post)
