"""SVD of a filled table: what a dense one gives, and never a dense one."""

import tracemalloc
from itertools import islice

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD

import bayesmf
from bayesmf.point.als import Penalty, cell_means
from bayesmf.point.svd import LowRank, decompositions
from bayesmf.point.tuning import Settings, biases_of, fit


def dense(ratings, values):
    """A table (n_users, n_items) of these values on observed cells, NaN on others."""
    table = np.full((ratings.n_users, ratings.n_items), np.nan)
    table[ratings.users, ratings.items] = values
    return table


def filled_by_hand(estimate):
    """The table as the documentation says that it is filled."""
    ratings, kind = estimate.ratings, estimate.settings["fill"]
    table = dense(ratings, ratings.values)
    by_item = np.nanmean(table, axis=0)
    fill = {"item": by_item[None, :], "mean": ratings.mean, "zero": 0.0}
    if kind == "bias":
        settings, penalty = Settings(0, True, 0), Penalty(0.0, estimate.reg_bias, weighted=False)
        user, item = biases_of(fit(ratings, settings, penalty, None))
        fill["bias"] = ratings.mean + user[:, None] + item
    return np.where(np.isnan(table), fill[kind], table)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("fill", ["bias", "item", "mean", "zero"])
def test_is_the_dense_svd_of_the_filled_table(truth, fill, center):
    svd = bayesmf.fit_svd(
        truth.ratings, n_factors=4, fill=fill, center=center, random_seed=1, progressbar=False
    )
    table = filled_by_hand(svd) - svd.center
    left, values, right = np.linalg.svd(table, full_matrices=False)
    found = svd.user_factors @ svd.item_factors.T
    np.testing.assert_allclose(found, left[:, :4] * values[:4] @ right[:4], atol=1e-8)
    explained = svd.settings["explained_variance"]
    np.testing.assert_allclose(explained, values[:4] ** 2 / (table**2).sum(), rtol=1e-8)
    # Both sides share the singular values, and are orthogonal.
    for rows in (svd.user_factors, svd.item_factors):
        np.testing.assert_allclose(rows.T @ rows, np.diag(values[:4]), atol=1e-8 * values[0])
    known = np.isfinite(dense(svd.ratings, svd.ratings.values))
    assert svd.loss[-1] == pytest.approx(((table - found)[known] ** 2).sum(), rel=1e-8)


def test_a_full_table_is_that_of_scikit_learn():
    """Nothing is missing, so that no fill matters."""
    rng = np.random.default_rng(3)
    table = rng.integers(1, 6, (50, 200)).astype(float)
    users, items = np.divmod(np.arange(10_000), 200)
    ratings = bayesmf.Ratings((users, items, table.ravel()))
    theirs = TruncatedSVD(2, algorithm="arpack", random_state=0).fit(table)
    for fill in ("bias", "zero"):
        nothing = LowRank.of_effects(3.0 * (fill == "bias"), np.zeros(50), np.zeros(200))
        (ours,) = islice(decompositions(ratings, nothing, n_factors=2, center=0.0, seed=1), 1)
        np.testing.assert_allclose(ours.values, theirs.singular_values_, rtol=1e-10)
        left, right = ours.approximation
        expected = theirs.inverse_transform(theirs.transform(table))
        np.testing.assert_allclose(left @ right.T, expected, atol=1e-8)
        # Eckart & Young (1936).
        values = np.linalg.svd(table, compute_uv=False)
        assert ours.loss == pytest.approx((values[2:] ** 2).sum(), rel=1e-10)
        assert ours.total == pytest.approx((table**2).sum(), rel=1e-12)


def test_fills_are_those_of_a_dense_loop_and_lower_the_loss(truth):
    ratings = truth.ratings
    fill = LowRank.of_effects(ratings.mean, np.zeros(ratings.n_users), np.zeros(ratings.n_items))
    ours = list(islice(decompositions(ratings, fill, n_factors=3, center=0.0, seed=1), 12))
    table = dense(ratings, ratings.values)
    approximation = np.full_like(table, ratings.mean)
    for one in ours:
        filled = np.where(np.isnan(table), approximation, table)
        left, values, right = np.linalg.svd(filled, full_matrices=False)
        approximation = left[:, :3] * values[:3] @ right[:3]
        rows, columns = one.approximation
        np.testing.assert_allclose(rows @ columns.T, approximation, atol=1e-7)
        assert one.total == pytest.approx((filled**2).sum(), rel=1e-10)
    losses = [one.loss for one in ours]
    assert (np.diff(losses) < 0).all()


def test_the_number_of_fills_is_the_one_that_validates_best(split):
    svd = bayesmf.fit_svd(split[0], n_factors=2, max_iter=60, random_seed=1, progressbar=False)
    fills = svd.tried[svd.tried["fills"] > 0]
    best = fills.loc[fills["rmse"].idxmin()]
    assert len(svd.loss) - 1 == best["fills"] > 1
    assert svd.sigma == best["rmse"]
    assert f"{best['fills']:.0f} fills" in svd.protocol()


def test_zero_is_no_missing_cell(split):
    """The reason why a table with missing cells is not given to a plain SVD."""
    train, test = split
    pairs = train.pairs(test, "pairs", "predict", with_rating=True)
    error = {}
    for fill in ("bias", "zero"):
        svd = bayesmf.fit_svd(train, n_factors=2, fill=fill, random_seed=1, progressbar=False)
        error[fill] = np.sqrt(np.mean((svd.cell_means(pairs) - pairs.ratings) ** 2))
    assert error["zero"] > 1.5 * error["bias"]


def test_unknown_rows_have_mean_factors(truth):
    svd = bayesmf.fit_svd(truth.ratings, n_factors=3, random_seed=1, progressbar=False)
    table = svd.center + svd.user_factors @ svd.item_factors.T
    found = svd.predict([(999, svd.ratings.item_ids[4]), (svd.ratings.user_ids[2], 999)])["mean"]
    np.testing.assert_allclose(found, [table[:, 4].mean(), table[2].mean()])
    parts = svd.user_factors, svd.item_factors, None, None, svd.center
    nobody = cell_means(*parts, np.array([-1]), np.array([-1]), svd.unknown)
    assert svd.predict([(999, 999)])["mean"].iloc[0] == nobody[0]


def test_memory_is_that_of_ratings_and_factors():
    """A dense table of this shape would take 80 GB."""
    rng = np.random.default_rng(0)
    n, shape = 300_000, (200_000, 50_000)
    users = np.concatenate([np.arange(shape[0]), rng.integers(shape[0], size=n - shape[0])])
    items = np.concatenate([np.arange(shape[1]), rng.integers(shape[1], size=n - shape[1])])
    values = rng.integers(1, 6, n).astype(float)
    ratings = bayesmf.Ratings((users, items, values), duplicates="last")
    fill = LowRank.of_effects(0.0, rng.normal(size=shape[0]), rng.normal(size=shape[1]))
    tracemalloc.start()
    (found,) = islice(decompositions(ratings, fill, n_factors=3, center=3.0, seed=1), 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.approximation.left.shape == (shape[0], 3)
    assert peak < 200e6
    assert 0 < found.explained.sum() <= 1


def test_ratings_far_from_zero_keep_their_differences(truth):
    frame = truth.ratings.to_frame()
    here, there = (
        bayesmf.fit_svd(
            frame.assign(rating=frame["rating"] + shift), n_factors=3, reg_bias=2.0, random_seed=1,
            progressbar=False,
        )
        for shift in (0.0, 1.6e9)
    )  # fmt: skip
    explained = [one.settings["explained_variance"] for one in (here, there)]
    np.testing.assert_allclose(*explained, rtol=1e-5)
    means = [one.predict(frame)["mean"] for one in (here, there)]
    np.testing.assert_allclose(means[0], means[1] - 1.6e9, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))  # one of which holds the one other rating out
def test_all_but_what_is_held_out_may_be_alike(seed):
    ratings = ([1, 2, 1, 2], [0, 0, 1, 1], [3.0, 3.0, 3.0, 4.0])
    options = {"n_factors": 1, "random_seed": seed, "progressbar": False}
    for estimate in (
        bayesmf.fit_svd(ratings, max_iter=3, **options),
        bayesmf.fit_sgd(ratings, **options),
    ):
        assert np.isfinite(estimate.predict([(1, 0), (2, 1)])["mean"]).all()
        assert 0 < estimate.sigma < 2
