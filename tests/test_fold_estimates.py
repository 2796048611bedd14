"""New rows of point estimates: ridge regression on the other side's rows, or others' rows."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

import bayesmf

OPTIONS = {"random_seed": 1, "progressbar": False}


@pytest.fixture(scope="module")
def world():
    """A fit without the last ten users, and their ratings."""
    frame = bayesmf.simulate(70, 40, 1200, n_factors=2, random_seed=3).ratings.to_frame()
    old, new = frame[frame["user"] < 60], frame[frame["user"] >= 60]
    new = new[new["item"].isin(old["item"])].reset_index(drop=True)
    return bayesmf.fit_als(old, n_factors=2, reg=3.0, reg_bias=2.0, **OPTIONS), old, new


def ridge(als, rows, side, reg=3.0, reg_bias=2.0):
    """scikit-learn's: the bias as a column whose size makes its penalty that of a factor."""
    other = {"user": "item", "item": "user"}[side]
    at = getattr(als.ratings, f"{other}_ids").get_indexer(rows[other])
    size = np.sqrt(reg / reg_bias)
    X = np.column_stack([getattr(als, f"{other}_factors")[at], np.full(len(at), size)])
    y = rows["rating"].to_numpy() - als.center - getattr(als, f"{other}_bias")[at]
    found = Ridge(alpha=reg, fit_intercept=False, solver="cholesky").fit(X, y).coef_
    return np.append(found[:-1], found[-1] * size)


def test_a_new_user_is_a_ridge_regression(world):
    als, _, new = world
    folded = als.fold_in(new)
    assert folded.ratings.user_ids.tolist() == sorted(new["user"].unique())
    for code, user in enumerate(folded.ratings.user_ids):
        expected = ridge(als, new[new["user"] == user], "user")
        np.testing.assert_allclose(folded.user_factors[code], expected[:2], atol=1e-10)
        assert folded.user_bias[code] == pytest.approx(expected[2], abs=1e-10)
    np.testing.assert_array_equal(folded.item_factors, als.item_factors)


def test_a_new_item_and_other_penalties(world):
    als, old, _ = world
    rows = old[old["item"] == 5].assign(item=900)
    folded = als.fold_in(rows, reg=1.0, reg_bias=0.5)
    assert folded.side == "item"
    expected = ridge(als, rows, "item", 1.0, 0.5)
    np.testing.assert_allclose(folded.item_factors[0], expected[:2], atol=1e-10)
    assert folded.item_bias[0] == pytest.approx(expected[2], abs=1e-10)


def test_penalties_of_the_fit_are_its_sides_own(world):
    """Weighted ones count a row's ratings; two of them are told apart."""
    _, old, new = world
    rows = new[new["user"] == 60]
    als = bayesmf.fit_als(old, n_factors=2, reg=(2.0, 5.0), reg_bias=1.0, **OPTIONS)
    expected = ridge(als, rows, "user", 2.0, 1.0)
    np.testing.assert_allclose(als.fold_in(rows).user_factors[0], expected[:2], atol=1e-10)
    als = bayesmf.fit_als(old, n_factors=2, reg=0.2, reg_bias=0.1, weighted=True, **OPTIONS)
    expected = ridge(als, rows, "user", 0.2 * len(rows), 0.1 * len(rows))
    np.testing.assert_allclose(als.fold_in(rows).user_factors[0], expected[:2], atol=1e-10)


def test_a_known_user_is_where_the_fit_left_them(world):
    """All ratings of a user who was fitted: the last half-sweep of users gives the same row."""
    _, old, _ = world
    als = bayesmf.fit_als(old, n_factors=2, reg=3.0, reg_bias=2.0, tol=1e-13, max_iter=5000,
                          **OPTIONS)  # fmt: skip
    one = old[old["user"] == 7]
    folded = als.fold_in(one[:1])
    code = als.ratings.user_ids.get_loc(7)
    np.testing.assert_allclose(folded.user_factors[0], als.user_factors[code], atol=1e-4)
    assert len(folded.ratings) == len(one)
    changed = als.fold_in(one[:1].assign(rating=one["rating"].iloc[0] + 3))
    assert changed.user_bias[0] > folded.user_bias[0]
    assert len(changed.ratings) == len(one)


def test_means_of_the_prior_are_what_a_row_falls_back_to(world):
    """PMF with free means: without information the row is the mean, not zero."""
    _, old, new = world
    pmf = bayesmf.fit_pmf(
        old, n_factors=2, learn_means=True, sigma=1.0, sigma_user=0.5, sigma_item=0.5,
        sigma_bias=0.5, **OPTIONS,
    )  # fmt: skip
    held = pmf.fold_in(new, reg=1e9, reg_bias=1e9)
    np.testing.assert_allclose(held.user_factors, np.tile(pmf.unknown[0], (10, 1)), atol=1e-5)
    np.testing.assert_allclose(held.user_bias, 0, atol=1e-5)


def test_rows_of_nmf_stay_above_zero(world):
    """At the minimum: no slope where a factor is positive, none that leads up where it is zero."""
    _, old, new = world
    shift = 3 - old["rating"].min()
    old, new = (part.assign(rating=part["rating"] + shift) for part in (old, new))
    nmf = bayesmf.fit_nmf(old, n_factors=6, reg=0.02, **OPTIONS)
    folded = nmf.fold_in(new)
    assert (folded.user_factors >= 0).all()
    assert (folded.user_factors == 0).any()
    for code, user in enumerate(folded.ratings.user_ids):
        rows = new[new["user"] == user]
        V = nmf.item_factors[nmf.ratings.item_ids.get_indexer(rows["item"])]
        w = folded.user_factors[code]
        slope = V.T @ (V @ w - rows["rating"]) + 0.02 * len(rows) * (w - nmf.unknown[0])
        np.testing.assert_allclose(slope[w > 0], 0, atol=1e-8)
        assert (slope[w == 0] > -1e-8).all()


def test_what_can_be_done_with_folded_rows(world, tmp_path):
    als, old, new = world
    folded = als.fold_in(new)
    lists = folded.recommend(n=3)
    assert lists["user"].nunique() == 10
    seen = set(zip(new["user"], new["item"], strict=True))
    assert not seen & set(zip(lists["user"], lists["item"], strict=True))
    assert len(folded.recommend([60, 61], n=2, strategy="affinity")) == 4
    assert folded.predict(new, clip=True)["mean"].between(*folded.bounds).all()
    assert folded.bounds[0] <= old["rating"].min()
    assert bayesmf.compare({"folded": folded}, old[:50]).table.loc["folded", "RMSE"] > 0
    again = bayesmf.load(folded.save(tmp_path / "folded.nc"))
    pd.testing.assert_frame_equal(again.recommend(n=3), lists)
    pd.testing.assert_frame_equal(
        again.recommend(n=3, strategy="affinity"), folded.recommend(n=3, strategy="affinity")
    )
    assert repr(again) == repr(folded)
    assert "10 users folded in by ridge regression, reg=3, reg_bias=2" in repr(folded)
    further = folded.fold_in(new[new["user"] == 60].assign(user=800))
    np.testing.assert_allclose(further.user_factors[0], folded.user_factors[0], atol=1e-12)


def test_borrowed_rows(world, tmp_path):
    als, _, _ = world
    mean = als.borrow([901, 900])
    assert mean.ratings.user_ids.tolist() == [900, 901]
    np.testing.assert_allclose(mean.user_factors[1], als.user_factors.mean(axis=0))
    np.testing.assert_allclose(mean.user_bias[0], als.user_bias.mean())
    table = pd.DataFrame(
        {"a": [2.0, 0.0, 1.0, 0.9], "b": [0.0, 1.0, 1.0, 0.1]}, index=[3, 4, 5, 900]
    )
    nearest = als.borrow(900, attributes=table)
    np.testing.assert_array_equal(nearest.user_factors[0], als.user_factors[3])
    two = als.borrow(900, attributes=table, n_nearest=2)
    np.testing.assert_allclose(two.user_bias[0], als.user_bias[[3, 5]].mean())
    items = als.borrow([77], side="item")
    np.testing.assert_allclose(items.item_bias[0], als.item_bias.mean())
    again = bayesmf.load(nearest.save(tmp_path / "near.zarr"))
    pd.testing.assert_frame_equal(again.predict([(900, 5)]), nearest.predict([(900, 5)]))
    assert len(nearest.recommend(900, n=4)) == 4
    assert "1 user given the nearest's row" in repr(nearest)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"new_ratings": ([900], [999], [3.0])}, ValueError, "user 900 and item 999, which are"),
        ({"side": "row"}, ValueError, "one of 'user', 'item'. Got 'row'"),
        ({"reg": -1.0}, ValueError, "'reg' argument of fold_in .* at least 0. Got -1"),
        ({"reg": 0.0, "reg_bias": 0.0}, ValueError, "fold_in cannot solve: .*positive 'reg'"),
    ],
)
def test_fold_in_refuses(world, arguments, error, words):
    given = {"new_ratings": ([900], [3], [3.0])} | arguments
    with pytest.raises(error, match=words):
        world[0].fold_in(given.pop("new_ratings"), **given)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"ids": []}, ValueError, "at least one user"),
        ({"ids": "ann"}, TypeError, "'ids' argument of borrow"),
        ({"side": "row"}, ValueError, "one of 'user', 'item'"),
        ({"attributes": {"a": 1}}, TypeError, "a DataFrame of numbers with a row for each id"),
        ({"attributes": pd.DataFrame({"job": ["x"]})}, ValueError, "get_dummies.*'job' of type"),
        ({"attributes": pd.DataFrame({"a": [1.0]}, index=[3])}, ValueError, "Got none for 900"),
        ({"attributes": pd.DataFrame({"a": [1.0]}, index=[900])}, ValueError, "at least 1 of the"),
        ({"attributes": pd.DataFrame({"a": [np.nan]}, index=[900])}, ValueError, "finite numbers"),
        ({"n_nearest": 0}, ValueError, "a positive integer"),
    ],
)
def test_borrow_refuses(world, arguments, error, words):
    given = {"ids": [900]} | arguments
    with pytest.raises(error, match=words):
        world[0].borrow(given.pop("ids"), **given)


def test_a_logistic_link_is_no_ridge_regression(world):
    _, old, new = world
    pmf = bayesmf.fit_pmf(
        old, n_factors=2, link="logistic", sigma=0.2, sigma_user=0.5, sigma_item=0.5,
        sigma_bias=0.5, n_starts=1, **OPTIONS,
    )  # fmt: skip
    for call in (lambda: pmf.fold_in(new), lambda: pmf.borrow(900)):
        with pytest.raises(ValueError, match="needs the identity link"):
            call()


def test_what_is_said_of_a_whole_fit_is_not_said_of_folded_rows(world):
    als, _, new = world
    for function, asked in (("similar_users", 60), ("similar_items", 3), ("top_items", 0)):
        for folded in (als.fold_in(new), als.borrow(60)):
            with pytest.raises(ValueError, match=f"{function} is about a whole fit"):
                getattr(folded, function)(asked)


@pytest.mark.parametrize(("by", "shrinkage"), [(None, 0.0), ("user", 5.0), ("item", 5.0)])
@pytest.mark.parametrize("side", ["user", "item"])
def test_rows_folded_into_means_are_what_their_own_ratings_made_them(world, by, shrinkage, side):
    mean = bayesmf.fit_mean(world[1], by=by, shrinkage=shrinkage, **OPTIONS)
    some = world[1][world[1][side].isin(world[1][side].unique()[:3])]
    folded = mean.fold_in(some, side=side)
    expected = mean.predict(some)["mean"]
    np.testing.assert_allclose(folded.predict(some)["mean"], expected, rtol=1e-9)


def test_known_rows_of_the_other_side_are_not_folded_into_folded_rows(world):
    """An item of the fit has other ratings than those of folded users; a new one has theirs."""
    als, _, new = world
    folded, user = als.fold_in(new), new["user"].iloc[0]
    with pytest.raises(ValueError, match="ratings of new items, since users were folded in"):
        folded.fold_in(([user], [new["item"].iloc[0]], [3.0]), side="item")
    assert folded.fold_in(([user], [999], [3.0])).ratings.item_ids.tolist() == [999]


def test_who_is_described_by_zeros_is_near_nobody(world):
    table = pd.DataFrame({"young": [1, 0, 0], "old": [0, 1, 0]}, index=[0, 1, 900])
    with pytest.raises(ValueError, match="a number other than zero, .* Got none for 900"):
        world[0].borrow(900, attributes=table)
