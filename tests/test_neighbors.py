"""Means, and nearest neighbours around biases: against plain NumPy, in any blocks."""

import pickle
import tracemalloc

import numpy as np
import pytest

import bayesmf
from bayesmf.point import neighbors as room

OPTIONS = {"n_neighbors": 5, "shrinkage": 8.0, "min_support": 3, "reg_bias": 2.0}


@pytest.fixture(scope="module", params=["item", "user"])
def near(request, split):
    return bayesmf.fit_neighbors(
        split[0], by=request.param, random_seed=1, progressbar=False, **OPTIONS
    )


def residuals(estimate):
    """What the biases leave (rows that are compared, others); NaN where nothing was rated."""
    ratings = estimate.ratings
    table = np.full((ratings.n_users, ratings.n_items), np.nan)
    base = estimate.user_bias[ratings.users] + estimate.item_bias[ratings.items]
    table[ratings.users, ratings.items] = ratings.values - estimate.center - base
    return table


def similarities(table):
    """Those of rows, by the equations of the docstring."""
    n = len(table)
    out = np.zeros((n, n))
    for a in range(n):
        for b in range(n):
            common = ~np.isnan(table[a]) & ~np.isnan(table[b])
            count, x, y = common.sum(), table[a][common], table[b][common]
            if a != b and count >= OPTIONS["min_support"]:
                shrunk = (count - 1) / (count - 1 + OPTIONS["shrinkage"])
                out[a, b] = shrunk * (x @ y) / np.sqrt((x @ x) * (y @ y))
    return out


def test_predictions_are_those_of_plain_numpy(near):
    table = residuals(near)
    rows = table if near.by == "user" else table.T
    S = similarities(rows)
    expected = near.center + near.user_bias[:, None] + near.item_bias
    for a in range(len(rows)):
        for other in range(rows.shape[1]):
            rated = np.flatnonzero(~np.isnan(rows[:, other]) & (S[a] > 0))
            best = rated[np.argsort(-S[a, rated])][: OPTIONS["n_neighbors"]]
            if len(best):
                more = S[a, best] @ rows[best, other] / S[a, best].sum()
                expected[(a, other) if near.by == "user" else (other, a)] += more
    users, items = (codes.ravel() for codes in np.indices(expected.shape))
    np.testing.assert_allclose(near._means(users, items), expected.ravel(), atol=1e-6)
    known = near.ratings.user_ids, near.ratings.item_ids
    for side, similar in (("user", near.similar_users), ("item", near.similar_items)):
        ids = known[side == "item"]
        found = similar(ids[3], n=4)
        row = similarities(table if side == "user" else table.T)[3]
        np.testing.assert_allclose(found["similarity"], np.sort(row)[::-1][:4], atol=1e-6)
        np.testing.assert_allclose(
            row[ids.get_indexer(found[side])], found["similarity"], atol=1e-6
        )


def test_biases_are_those_of_fit_bias(near, split):
    bias = bayesmf.fit_bias(split[0], reg_bias=2.0, random_seed=1, progressbar=False)
    np.testing.assert_allclose(near.user_bias, bias.user_bias, atol=1e-3)
    np.testing.assert_allclose(near.item_bias, bias.item_bias, atol=1e-3)
    cells = [(near.ratings.user_ids[3], 999), (999, near.ratings.item_ids[3]), (999, 999)]
    expected = [near.user_bias[3], near.item_bias[3], 0]
    np.testing.assert_allclose(near.predict(cells)["mean"], near.center + np.array(expected))


def test_what_does_not_fit_is_not_kept_and_changes_no_bit(near, split, monkeypatch):
    users, items = np.divmod(np.arange(2000), 40)
    users %= near.ratings.n_users
    items %= near.ratings.n_items
    expected = near._means(users, items)
    monkeypatch.setattr(room, "KEPT_BYTES", 1000)
    monkeypatch.setattr(room, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(room, "CELLS_AT_ONCE", 7)
    for cores in (1, 3):
        again = bayesmf.fit_neighbors(
            split[0], by=near.by, cores=cores, random_seed=1, progressbar=False, **OPTIONS
        )
        assert again._kept is None
        assert again.sigma == near.sigma
        np.testing.assert_array_equal(again._means(users, items), expected)


def test_similarities_of_some_rows_are_those_of_all(near):
    compared = near._neighbors
    everything = compared.similarities(np.arange(compared.own.n_rows))
    np.testing.assert_array_equal(everything, everything.T)
    np.testing.assert_array_equal(compared.similarities(np.array([7, 2])), everything[[7, 2]])


def test_memory_is_that_of_ratings_and_a_block():
    """Similarities of all items to all would take 10 GB."""
    rng = np.random.default_rng(0)
    n, shape = 300_000, (200_000, 50_000)
    users = np.concatenate([np.arange(shape[0]), rng.integers(shape[0], size=n - shape[0])])
    items = np.concatenate([np.arange(shape[1]), rng.integers(shape[1], size=n - shape[1])])
    ratings = bayesmf.Ratings((users, items, rng.normal(size=n)), duplicates="last")
    compared = room.Neighbors.build(ratings, np.zeros(len(ratings)), "item", 10.0, 2)
    assert not compared.keeps
    tracemalloc.start()
    found = compared.deviations(ratings.items[:2000], ratings.users[:2000], 40)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.isfinite(found).all()
    assert peak < 2 * room.BLOCK_BYTES


def test_pickles_without_similarities(near):
    users, items = np.arange(20), np.arange(20)
    expected = near._means(users, items)
    assert near._kept is not None
    again = pickle.loads(pickle.dumps(near))
    assert "_kept" not in again.__dict__
    np.testing.assert_array_equal(again._means(users, items), expected)


def test_shrinkage_and_the_biases_penalty_are_chosen_on_held_out_ratings(split):
    near = bayesmf.fit_neighbors(split[0], shrinkage="auto", random_seed=1, progressbar=False)
    tried = near.tried[near.tried["n_neighbors"] == 40]
    best = tried.loc[tried["rmse"].idxmin()]
    assert (near.shrinkage, near.sigma) == (best["shrinkage"], best["rmse"])
    biases = near.tried[near.tried["n_neighbors"] == 0]
    assert near.reg_bias == biases.loc[biases["rmse"].idxmin(), "reg_bias"]
    assert near.loss[-1] < near.loss[0]


def test_means(split):
    train, test = split
    table = train.to_frame()
    ids = table["user"].iloc[0], table["item"].iloc[0]
    expected = {
        None: table["rating"].mean(),
        "user": table.loc[table["user"] == ids[0], "rating"].mean(),
        "item": table.loc[table["item"] == ids[1], "rating"].mean(),
    }
    for by, value in expected.items():
        mean = bayesmf.fit_mean(train, by=by, random_seed=1, progressbar=False)
        assert mean.predict([ids])["mean"].iloc[0] == pytest.approx(value)
        assert mean.predict([(999, 999)])["mean"].iloc[0] == pytest.approx(expected[None])
        errors = train.values - mean._means(train.users, train.items)
        assert mean.loss[-1] == pytest.approx(errors @ errors)
        pairs = train.pairs(test, "pairs", "predict", with_rating=True)
        assert mean.sigma == pytest.approx(
            np.sqrt(np.mean((mean.cell_means(pairs) - pairs.ratings) ** 2)), rel=0.15
        )


def test_more_neighbours_than_rows_are_all_of_them(split):
    options = {"random_seed": 1, "progressbar": False, **OPTIONS, "by": "user"}
    n_users = len(bayesmf.Ratings(split[0]).user_ids)
    everyone = bayesmf.fit_neighbors(split[0], **options | {"n_neighbors": n_users})
    more = bayesmf.fit_neighbors(split[0], **options | {"n_neighbors": 10**15})
    assert more.predict(split[1])["mean"].equals(everyone.predict(split[1])["mean"])
    none = bayesmf.fit_neighbors(split[0], **options | {"min_support": 10**20})
    assert not none.similar_users(none.ratings.user_ids[0])["similarity"].any()


def test_means_shrink(split):
    plain = bayesmf.fit_mean(split[0], by="item", random_seed=1, progressbar=False)
    given = bayesmf.fit_mean(split[0], by="item", shrinkage=3.0, random_seed=1, progressbar=False)
    counts = np.bincount(plain.ratings.items)
    np.testing.assert_allclose(given.item_bias, plain.item_bias * counts / (counts + 3.0))
    auto = bayesmf.fit_mean(split[0], by="item", shrinkage="auto", random_seed=1, progressbar=False)
    best = auto.tried.loc[auto.tried["rmse"].idxmin()]
    assert (auto.settings["shrinkage"], auto.sigma) == (best["shrinkage"], best["rmse"])


@pytest.mark.thorough
def test_movielens_is_what_is_known_of_it(data_dir):
    """Item-based neighbours of ML-100K u1: Koren's method is near 0.93 there."""
    import pandas as pd

    names = ["user", "item", "rating", "timestamp"]
    train, test = (
        pd.read_csv(data_dir / "ml-100k" / f"u1.{part}", sep="\t", names=names)
        for part in ("base", "test")
    )
    near = bayesmf.fit_neighbors(train, random_seed=1, progressbar=False)
    found = bayesmf.compare({"neighbours": near}, test).table["RMSE"].iloc[0]
    assert 0.925 < found < 0.938
