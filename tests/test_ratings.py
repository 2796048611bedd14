"""`Ratings`: any table in, the same codes out."""

import datetime as dt
import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse

from bayesmf import Ratings, indexing

TABLE = pd.DataFrame(
    {"user": ["bob", "ann", "bob", "cem"], "item": [3, 1, 1, 2], "rating": [1.0, 5.0, 4.0, 2.5]}
)


def cells(ratings):
    return sorted(
        zip(
            ratings.user_ids[ratings.users],
            ratings.item_ids[ratings.items],
            ratings.values.tolist(),
            strict=True,
        )
    )


EXPECTED = [("ann", 1, 5.0), ("bob", 1, 4.0), ("bob", 3, 1.0), ("cem", 2, 2.5)]


def test_frame_becomes_codes_in_canonical_order():
    ratings = Ratings(TABLE)
    assert cells(ratings) == EXPECTED
    assert ratings.users.tolist() == [0, 1, 1, 2]
    assert ratings.items.tolist() == [0, 0, 2, 1]
    assert (ratings.users.dtype, ratings.values.dtype) == (np.int32, np.float64)
    assert (len(ratings), ratings.n_users, ratings.n_items) == (4, 3, 3)
    assert ratings.bounds == (1.0, 5.0)


@pytest.mark.parametrize(
    "names",
    [
        ("userId", "movieId", "rating"),
        ("user_id", "item_id", "score"),
        ("UID", "Item", "Stars"),
        ("student", "lecturer", "value"),
        ("drug", "target", "affinity"),
    ],
)
def test_usual_names_are_found(names):
    table = TABLE.set_axis(names, axis=1)
    ratings = Ratings(table)
    assert cells(ratings) == EXPECTED
    assert tuple(ratings.to_frame().columns) == names


def test_exact_names_win_over_aliases():
    table = TABLE.assign(title="x", value=9.0, movieId=7)
    assert cells(Ratings(table)) == EXPECTED


def test_named_columns():
    table = TABLE.set_axis(["who", "what", "how"], axis=1)
    ratings = Ratings(table, user_col="who", item_col="what", rating_col="how")
    assert cells(ratings) == EXPECTED


def test_other_tables_say_the_same():
    expected = Ratings(TABLE)
    polars = Ratings(pl.from_pandas(TABLE.astype({"user": object})))
    arrays = Ratings(
        (TABLE["user"].to_numpy(), TABLE["item"].to_numpy(), TABLE["rating"].to_numpy())
    )
    lists = Ratings((TABLE["user"].tolist(), TABLE["item"].tolist(), TABLE["rating"].tolist()))
    for other in (polars, arrays, lists):
        assert cells(other) == EXPECTED
        assert other.fingerprint == expected.fingerprint


@pytest.mark.parametrize("kind", ["csr_array", "coo_matrix", "csc_matrix"])
def test_sparse_keeps_stored_zeros(kind):
    data, rows, cols = [0.0, 2.0, 3.0], [0, 0, 2], [1, 3, 1]
    matrix = getattr(scipy.sparse, kind)((data, (rows, cols)), shape=(5, 6))
    ratings = Ratings(matrix)
    assert cells(ratings) == [(0, 1, 0.0), (0, 3, 2.0), (2, 1, 3.0)]


def test_order_of_rows_does_not_matter():
    shuffled = TABLE.iloc[[2, 0, 3, 1]]
    assert Ratings(shuffled).fingerprint == Ratings(TABLE).fingerprint
    changed = TABLE.assign(rating=[1.0, 5.0, 4.0, 3.0])
    assert Ratings(changed).fingerprint != Ratings(TABLE).fingerprint


def test_table_is_not_changed():
    table = TABLE.copy()
    Ratings(table, duplicates="mean")
    pd.testing.assert_frame_equal(table, TABLE)


def test_both_sides_index_the_same_ratings():
    rng = np.random.default_rng(0)
    keys = rng.choice(30 * 20, 200, replace=False)
    ratings = Ratings((keys // 20, keys % 20, rng.random(200)))
    dense = np.full((ratings.n_users, ratings.n_items), np.nan)
    dense[ratings.users, ratings.items] = ratings.values
    for side, table, values in (
        (ratings.by_user, dense, ratings.values),
        (ratings.by_item, dense.T, ratings.in_item_order(ratings.values)),
    ):
        assert side.n_rows == len(table)
        for row in range(side.n_rows):
            own = slice(side.indptr[row], side.indptr[row + 1])
            observed = np.flatnonzero(~np.isnan(table[row]))
            np.testing.assert_array_equal(np.sort(side.partners[own]), observed)
            np.testing.assert_array_equal(values[own], table[row, side.partners[own]])


def test_duplicates():
    table = pd.DataFrame({"user": [1, 1, 1, 2], "item": [1, 1, 2, 1], "rating": [1, 4, 3, 5]})
    assert cells(Ratings(table, duplicates="mean")) == [(1, 1, 2.5), (1, 2, 3.0), (2, 1, 5.0)]
    assert cells(Ratings(table, duplicates="last")) == [(1, 1, 4.0), (1, 2, 3.0), (2, 1, 5.0)]


@pytest.mark.parametrize(
    "ids",
    [
        pd.Series(["a", "b", "c"], dtype="string"),
        pd.Series(["a", "b", "c"], dtype="category"),
        pd.Series([1, 2, 3], dtype="Int64"),
        pd.Series([1, 2, 3], dtype="uint8"),
        pd.Series([dt.date(2020, 1, d) for d in (1, 2, 3)]),
        pd.date_range("2020-01-01", periods=3).to_series(),
    ],
)
def test_id_types(ids):
    table = pd.DataFrame({"user": ids.to_list(), "item": [1, 2, 1], "rating": [1.0, 2.0, 3.0]})
    table["user"] = ids.array
    ratings = Ratings(table)
    assert ratings.n_users == 3
    again = ratings.pairs(table, "pairs", "predict")
    assert again.users.tolist() == [0, 1, 2]


def test_timestamps_are_kept_in_order():
    table = TABLE.assign(timestamp=[30, 10, 20, 40])
    ratings = Ratings(table)
    assert ratings.timestamps.tolist() == [10, 20, 30, 40]
    assert ratings.to_frame()["timestamp"].tolist() == [10, 20, 30, 40]


def test_pairs_find_codes_and_keep_the_index():
    ratings = Ratings(TABLE.set_axis(["who", "what", "how"], axis=1), user_col="who",
                      item_col="what", rating_col="how")  # fmt: skip
    frame = pd.DataFrame({"who": ["ann", "zoe"], "what": [3, 1]}, index=[7, 9])
    pairs = ratings.pairs(frame, "pairs", "predict")
    assert (pairs.users.tolist(), pairs.items.tolist()) == ([0, -1], [2, 0])
    assert pairs.labels.tolist() == [7, 9]
    tuples = ratings.pairs([("ann", 3), ("zoe", 1)], "pairs", "predict")
    assert (tuples.users.tolist(), tuples.items.tolist()) == ([0, -1], [2, 0])
    assert len(ratings.pairs([], "pairs", "predict").users) == 0


def test_ratings_of_ratings():
    named = Ratings(TABLE.set_axis(["who", "what", "how"], axis=1), user_col="who",
                    item_col="what", rating_col="how")  # fmt: skip
    assert Ratings(named).fingerprint == named.fingerprint
    pairs = Ratings(TABLE).pairs(named, "pairs", "predict")
    assert (pairs.users >= 0).all()
    arrow = pa.table({"who": ["ann"], "what": [3]})
    assert named.pairs(arrow, "pairs", "predict").users.tolist() == [0]


def test_pairs_do_not_need_their_ratings():
    pairs = Ratings(TABLE).pairs(TABLE.assign(rating=np.nan), "pairs", "predict")
    assert pairs.ratings is None
    assert (pairs.users >= 0).all()


def test_integer_column_names():
    table = TABLE.set_axis([0, 1, 2], axis=1)
    assert cells(Ratings(table, user_col=0, item_col=1, rating_col=2)) == EXPECTED


def test_nulls_of_polars_are_named():
    table = pl.DataFrame({"user": [1, None, 2], "item": [1, 2, 3], "rating": [1.0, 2.0, None]})
    with pytest.raises(ValueError, match="'user' ids .* none missing. Got nan in row 1"):
        Ratings(table.with_columns(rating=pl.Series([1.0, 2.0, 3.0])))
    with pytest.raises(ValueError, match="'rating' column .* Got nan in row 2"):
        Ratings(table.with_columns(user=pl.Series([1, 2, 3])))


def test_representations():
    ratings = Ratings(TABLE)
    assert (
        repr(ratings) == "<Ratings: 4 ratings of 3 items by 3 users, 44% of the cells, from 1 to 5>"
    )
    assert "&lt;Ratings" in ratings._repr_html_()
    assert "<table" in ratings._repr_html_()


def random_table(kind, n=3000):
    rng = np.random.default_rng(len(kind))
    users, items = rng.integers(60, size=n), rng.integers(40, size=n)  # most cells twice or more
    table = pd.DataFrame({"user": users, "item": items, "rating": rng.integers(1, 6, n) / 4})
    table["timestamp"] = rng.permutation(n)
    if kind == "distinct":
        return table.drop_duplicates(["user", "item"])
    if kind == "hashed":
        return table.assign(user=users * 10**15 - 3 * 10**16, item=(items - 20) * 10**12)
    if kind == "text":
        return table.assign(user=[f"u{user}" for user in users])
    if kind == "narrow":
        narrow = {"user": np.int8, "item": np.uint64, "rating": np.float16}
        return table.assign(user=users - 100).astype(narrow)
    return table.sort_values(["user", "item"], kind="stable")


@pytest.mark.parametrize("duplicates", ["last", "mean"])
@pytest.mark.parametrize("kind", ["distinct", "hashed", "text", "narrow", "sorted"])
def test_canonical_order_is_that_of_a_comparison_sort(kind, duplicates, monkeypatch):
    table = random_table(kind)
    found = []
    for chunk in (7, 1000, indexing.CHUNK):  # how long a chunk is must not be seen
        monkeypatch.setattr(indexing, "CHUNK", chunk)
        ratings = Ratings(table, duplicates=duplicates)
        found.append(ratings.fingerprint)
    assert len(set(found)) == 1
    expected = table.sort_values(["user", "item"], kind="stable").groupby(["user", "item"])
    expected = expected.agg({"rating": duplicates, "timestamp": "last"}).reset_index()
    ids, codes = np.unique(expected["user"].to_numpy(), return_inverse=True)
    assert ratings.user_ids.tolist() == ids.tolist()
    np.testing.assert_array_equal(ratings.users, codes)
    assert ratings.item_ids[ratings.items].tolist() == expected["item"].tolist()
    np.testing.assert_allclose(ratings.values, expected["rating"].astype(float), rtol=1e-15)
    np.testing.assert_array_equal(ratings.timestamps, expected["timestamp"])
    assert {ratings.users.dtype, ratings.items.dtype} == {np.dtype(np.int32)}


def test_sides_are_those_of_a_stable_sort():
    ratings = Ratings(random_table("distinct"))
    by_user, by_item = ratings.by_user, ratings.by_item
    assert np.shares_memory(by_user.partners, ratings.items)
    order = np.argsort(ratings.items, kind="stable")
    np.testing.assert_array_equal(by_item.partners, ratings.users[order])
    for dtype in (np.int64, np.float32, np.float64):
        values = np.arange(len(ratings)).astype(dtype)
        found = ratings.in_item_order(values)
        np.testing.assert_array_equal(found, values[order])
        assert found.dtype == dtype
    for side, codes in ((by_user, ratings.users), (by_item, ratings.items)):
        np.testing.assert_array_equal(np.diff(side.indptr), np.bincount(codes))
        assert (side.indptr.dtype, side.partners.dtype) == (np.int64, np.int32)


@pytest.mark.parametrize("kind", ["distinct", "sorted"])
def test_arrays_are_copies_and_frozen(kind):
    table = random_table(kind).drop_duplicates(["user", "item"])
    arrays = [table[name].to_numpy(copy=True) for name in ("user", "item", "rating", "timestamp")]
    ratings = Ratings(tuple(arrays))
    before = ratings.values.copy()
    for array in arrays:
        array[:] = 0  # neither frozen nor shared
    np.testing.assert_array_equal(ratings.values, before)
    assert ratings.timestamps.any()
    for array in (ratings.users, ratings.items, ratings.values, ratings.timestamps):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_ratings_of_ratings_share_their_arrays():
    one = Ratings(random_table("distinct"))
    two = Ratings(one)
    assert two.values is one.values
    assert two.columns == one.columns
    assert two.columns is not one.columns
    pd.testing.assert_frame_equal(two.to_frame(), one.to_frame())


def test_bad_ratings_are_counted_over_chunks(monkeypatch):
    monkeypatch.setattr(indexing, "CHUNK", 10)
    table = random_table("distinct").reset_index(drop=True)
    table.loc[[12, 15, 700], "rating"] = np.nan
    with pytest.raises(ValueError, match="Got nan in row 12 and 2 more"):
        Ratings(table)


def test_take_numbers_ids_anew():
    table = random_table("hashed").drop_duplicates(["user", "item"])
    ratings = Ratings(table)
    rows = np.random.default_rng(1).permutation(len(ratings))[:25]
    part = ratings.take(rows, "some")
    expected = ratings.to_frame().iloc[np.sort(rows)].reset_index(drop=True)
    pd.testing.assert_frame_equal(part.to_frame(), expected)
    assert sorted(set(part.users)) == list(range(part.n_users))
    assert part.n_users == expected["user"].nunique()
    assert part.note == "some"
    assert Ratings(expected).fingerprint == part.fingerprint


def peak_per_rating(make, n):
    """Bytes a rating that `make` takes at its peak, what it returns included."""
    tracemalloc.start()
    try:
        result = make()
        return tracemalloc.get_traced_memory()[1] / n, result
    finally:
        tracemalloc.stop()


def test_memory(monkeypatch):
    # 16 bytes a rating are kept, and 4 more by item; chunks are set short, as in a longer table.
    monkeypatch.setattr(indexing, "CHUNK", 1000)
    n, n_items = 300_000, 1000
    rng = np.random.default_rng(0)
    keys = rng.choice(2000 * n_items, n, replace=False)
    arrays = (keys // n_items).astype(np.int32), (keys % n_items).astype(np.int32)
    values = rng.integers(1, 6, n).astype(np.float32)
    monkeypatch.setattr("bayesmf.ids.SMALL_SPAN", 0)
    peak, ratings = peak_per_rating(lambda: Ratings((*arrays, values)), n)
    assert peak < 28
    assert peak_per_rating(lambda: ratings.by_user, n)[0] < 1
    assert peak_per_rating(lambda: ratings.by_item, n)[0] < 7
    targets = values.copy()
    assert peak_per_rating(lambda: ratings.in_item_order(targets), n)[0] < 9
    assert peak_per_rating(lambda: ratings.fingerprint, n)[0] < 1
    hashed = (arrays[0].astype(np.int64) * 10**12, arrays[1].astype(np.int64) * 10**12, values)
    assert peak_per_rating(lambda: Ratings(hashed), n)[0] < 36  # with pandas' hash table


@pytest.mark.parametrize("n", [0, 1, 2, 7, 100, 2**31])
@pytest.mark.parametrize("most", [1, 2, 6, 99, 101])
def test_even_positions_are_distinct_and_reach_both_ends(n, most):
    at = indexing.evenly(n, most)
    steps = np.diff(at)
    assert len(at) == min(n, most)
    assert (steps > 0).all()
    # The same from one to the next, but for rounding.
    assert steps.max(initial=0) - steps.min(initial=n) <= 1
    assert at[:1].tolist() == [0] * (n > 0)
    assert at[1:][-1:].tolist() == [n - 1] * (len(at) > 1)
