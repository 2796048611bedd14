"""Splits: nothing lost, nothing twice, the type given, the same for the same seed."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse

import bayesmf
from bayesmf.splits import kfold, leave_out_per_user, split_by_time, train_test_split


@pytest.fixture(scope="module")
def frame():
    table = bayesmf.simulate(30, 20, 300, random_seed=1).ratings.to_frame()
    rng = np.random.default_rng(0)
    return table.assign(timestamp=rng.integers(0, 50, 300)).sample(frac=1, random_state=1)


def keys(table):
    if isinstance(table, bayesmf.Ratings):
        table = table.to_frame()
    if isinstance(table, pl.DataFrame):
        return sorted(zip(table["user"], table["item"], strict=True))
    if scipy.sparse.issparse(table):
        coo = table.tocoo()
        return sorted(zip(coo.row.tolist(), coo.col.tolist(), strict=True))
    if isinstance(table, tuple):
        return sorted(zip(table[0].tolist(), table[1].tolist(), strict=True))
    return sorted(zip(table["user"], table["item"], strict=True))


def as_sparse(frame):
    return scipy.sparse.csr_array((frame["rating"], (frame["user"], frame["item"])))


MAKE = {
    "pandas": lambda frame: frame,
    "polars": lambda frame: pl.DataFrame({name: frame[name].to_numpy() for name in frame}),
    "Ratings": bayesmf.Ratings,
    "sparse": as_sparse,
    "tuple": lambda frame: tuple(
        frame[name].to_numpy() for name in ("user", "item", "rating", "timestamp")
    ),
}


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize(
    "split",
    [
        lambda table: train_test_split(table, test_size=0.2, random_seed=4),
        lambda table: next(kfold(table, n_splits=4, random_seed=4)),
        lambda table: leave_out_per_user(table, n=2, random_seed=4),
    ],
    ids=["random", "kfold", "per user"],
)
def test_parts_of_the_given_type_cover_the_table(frame, kind, split):
    table = MAKE[kind](frame)
    train, test = split(table)
    assert type(train) is type(table)
    assert type(test) is type(table)
    assert sorted(keys(train) + keys(test)) == keys(table)
    assert keys(split(table)[1]) == keys(test)


def test_sizes_and_seeds(frame):
    train, test = train_test_split(frame, test_size=0.25, random_seed=1)
    assert (len(train), len(test)) == (225, 75)
    assert keys(train_test_split(frame, test_size=0.25, random_seed=2)[1]) != keys(test)
    pd.testing.assert_frame_equal(test, frame.loc[test.index])


def test_folds_cover_each_rating_once(frame):
    folds = list(kfold(frame, n_splits=7, random_seed=3))
    assert sorted(key for _, test in folds for key in keys(test)) == keys(frame)
    assert {len(test) for _, test in folds} == {42, 43}


def test_per_user_leaves_small_users_whole(frame):
    train, test = leave_out_per_user(frame, n=3, random_seed=5)
    counts, left = frame["user"].value_counts(), test["user"].value_counts()
    assert set(left) == {3}
    assert set(left.index) == set(counts.index[counts > 3])
    assert set(train["user"]) == set(frame["user"])


@pytest.mark.parametrize("kind", ["pandas", "Ratings", "polars", "tuple"])
def test_by_time(frame, kind):
    table = MAKE[kind](frame)
    train, test = split_by_time(table, test_size=0.2)
    times = [
        np.asarray(part[3] if kind == "tuple" else MAKE_TIMES[kind](part)) for part in (train, test)
    ]
    assert times[0].max() < times[1].min()
    assert 0 < len(times[1]) <= 60
    assert sorted(keys(train) + keys(test)) == keys(table)


MAKE_TIMES = {
    "pandas": lambda part: part["timestamp"],
    "polars": lambda part: part["timestamp"],
    "Ratings": lambda part: part.timestamps,
}


def test_notes_reach_ratings(frame):
    _, test = train_test_split(frame, test_size=0.25, random_seed=1)
    note = "test of train_test_split(test_size=0.25, random_seed=1)"
    assert bayesmf.Ratings(test).note == note
    assert bayesmf.Ratings(bayesmf.Ratings(test).to_frame()).note == note
    # A filtered part is no longer what the splitter made.
    assert bayesmf.Ratings(test[test["rating"] > 3]).note == ""
    assert (
        bayesmf.train_test_split(bayesmf.Ratings(frame), test_size=0.25, random_seed=1)[1].note
        == note
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: train_test_split(t, test_size=1.0), "'test_size' argument of train_test_split"),
        (lambda t: train_test_split(t, test_size=0), "'test_size' argument of train_test_split"),
        (lambda t: train_test_split(t, random_seed=-1), "'random_seed' argument"),
        (lambda t: train_test_split(t, random_seed=1.5), "'random_seed' argument"),
        (lambda t: train_test_split(t[:1]), "at least two ratings"),
        (lambda t: kfold(t, n_splits=1), "'n_splits' argument of kfold"),
        (lambda t: kfold(t, n_splits=301), "at most the number of ratings, 300"),
        (lambda t: leave_out_per_user(t, n=0), "'n' argument of leave_out_per_user"),
        (lambda t: leave_out_per_user(t, n=1000), "'n' argument of leave_out_per_user"),
        (lambda t: split_by_time(t.drop(columns="timestamp")), "'timestamp' column"),
        (lambda t: split_by_time(t.assign(timestamp=1)), "'test_size' argument of split_by_time"),
        (lambda t: split_by_time(t[:0]), "'ratings' argument of split_by_time"),
        (lambda t: train_test_split(3), "'ratings' argument of train_test_split"),
    ],
)
def test_bad_calls(frame, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call(frame)
