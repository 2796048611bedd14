"""`Ratings`: any table in, the same codes out."""

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse

from bayesmf import Ratings

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
    for side, table in ((ratings.by_user, dense), (ratings.by_item, dense.T)):
        assert side.n_rows == len(table)
        values = ratings.values[side.order]
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
