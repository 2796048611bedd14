"""Splits of a table into parts to learn from and parts to judge by.

Every splitter takes any table that `Ratings` takes and gives parts of the type it was given. The
same seed gives the same split of the same table. Where the parts can say so (`Ratings`, pandas),
they carry a note of how they were made, which `compare` prints as the protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd
import scipy.sparse

from bayesmf.ids import encode_ids
from bayesmf.ratings import Ratings, split_note
from bayesmf.seeds import fresh_seed, generator
from bayesmf.tables import TABLE_TYPES, read_columns
from bayesmf.validation import Described, check_integer, check_number, check_seed, fail

if TYPE_CHECKING:
    from collections.abc import Iterator


def train_test_split[T](
    ratings: T, *, test_size: float = 0.1, random_seed: int | None = None
) -> tuple[T, T]:
    """Split ratings at random.

    Parameters
    ----------
    ratings : DataFrame, Ratings, scipy sparse array, or tuple of arrays
        The table, which is not changed.
    test_size : float, default 0.1
        Share of the ratings in the test part, between 0 and 1; at least one rating goes to each.
    random_seed : int, optional
        Non-negative; None draws a fresh one.

    Returns
    -------
    train, test : same type as `ratings`

    Raises
    ------
    ValueError, TypeError
        For a share outside (0, 1), a wrong seed, or a table with fewer than two ratings.

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(50, 30, 400, random_seed=1).ratings
    >>> train, test = bayesmf.train_test_split(ratings, test_size=0.25, random_seed=2)
    >>> len(train), len(test)
    (300, 100)
    """
    function = "train_test_split"
    share = check_number(test_size, "test_size", function, above=0, below=1)
    seed = fresh_seed(check_seed(random_seed, function))
    n = _length(ratings, function)
    if n < 2:
        fail("ratings", function, "a table with at least two ratings", n)
    order = generator(seed, "split").permutation(n)
    n_test = min(max(round(share * n), 1), n - 1)
    note = f"train_test_split(test_size={share:g}, random_seed={seed})"
    return _parts(ratings, np.sort(order[:n_test]), n, note)


def kfold[T](
    ratings: T, *, n_splits: int = 5, random_seed: int | None = None
) -> Iterator[tuple[T, T]]:
    """Give `n_splits` pairs (train, test) whose test parts cover every rating once.

    Parameters
    ----------
    ratings : DataFrame, Ratings, scipy sparse array, or tuple of arrays
        The table, which is not changed.
    n_splits : int, default 5
        Number of folds, at least 2.
    random_seed : int, optional
        Non-negative; None draws a fresh one.

    Returns
    -------
    iterator of (train, test)

    Raises
    ------
    ValueError, TypeError
        For fewer than two folds, more folds than ratings, or a wrong seed.

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(50, 30, 400, random_seed=1).ratings
    >>> [len(test) for train, test in bayesmf.kfold(ratings, n_splits=4, random_seed=2)]
    [100, 100, 100, 100]
    """
    function = "kfold"
    check_integer(n_splits, "n_splits", function, minimum=2)
    seed = fresh_seed(check_seed(random_seed, function))
    n = _length(ratings, function)
    if n < n_splits:
        fail("n_splits", function, f"at most the number of ratings, {n}", n_splits)
    order = generator(seed, "split").permutation(n)
    return (
        _parts(
            ratings,
            np.sort(fold),
            n,
            f"kfold(n_splits={n_splits}, random_seed={seed}), fold {k + 1}",
        )
        for k, fold in enumerate(np.array_split(order, n_splits))
    )


def leave_out_per_user[T](ratings: T, *, n: int = 1, random_seed: int | None = None) -> tuple[T, T]:
    """Put `n` random ratings of each user who has more than `n` into the test part.

    Parameters
    ----------
    ratings : DataFrame, Ratings, scipy sparse array, or tuple of arrays
        The table, which is not changed.
    n : int, default 1
        Ratings to leave out for each user. Users with `n` or fewer stay whole in training.
    random_seed : int, optional
        Non-negative; None draws a fresh one.

    Returns
    -------
    train, test : same type as `ratings`

    Raises
    ------
    ValueError, TypeError
        For `n` < 1, a wrong seed, or when no user has more than `n` ratings.

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(50, 30, 400, random_seed=1).ratings
    >>> train, test = bayesmf.leave_out_per_user(ratings, n=1, random_seed=2)
    >>> test.to_frame()["user"].is_unique
    True
    """
    function = "leave_out_per_user"
    check_integer(n, "n", function, minimum=1)
    seed = fresh_seed(check_seed(random_seed, function))
    users = _user_codes(ratings, function)
    # Random order within users: the first n of each user's run are the ones left out.
    order = np.lexsort((generator(seed, "split").random(len(users)), users))
    counts = np.bincount(users)
    rank = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
    test = np.sort(order[(rank < n) & (counts[users[order]] > n)])
    if test.size == 0:
        fail("n", function, "smaller than the largest number of ratings of a user", n)
    return _parts(ratings, test, len(users), f"leave_out_per_user(n={n}, random_seed={seed})")


def split_by_time[T](ratings: T, *, test_size: float = 0.1) -> tuple[T, T]:
    """Put the latest ratings into the test part.

    Ratings of one moment are not separated, so that the test part can be a little smaller.

    Parameters
    ----------
    ratings : DataFrame, Ratings, or tuple of arrays
        A table with timestamps, which is not changed.
    test_size : float, default 0.1
        Share of the ratings in the test part, between 0 and 1.

    Returns
    -------
    train, test : same type as `ratings`

    Raises
    ------
    ValueError, TypeError
        For a share outside (0, 1), a table without timestamps or with a missing one, or one whose
        latest moment alone holds more than the share.

    Examples
    --------
    >>> import pandas as pd, bayesmf
    >>> table = pd.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1], "rating": [3, 4, 5],
    ...                       "timestamp": [10, 30, 20]})
    >>> train, test = bayesmf.split_by_time(table, test_size=0.4)
    >>> test["timestamp"].tolist()
    [30]
    """
    function = "split_by_time"
    share = check_number(test_size, "test_size", function, above=0, below=1)
    if isinstance(ratings, Ratings):
        times = ratings.timestamps
    else:
        times = read_columns(ratings, "ratings", function).timestamp
    if times is None:
        fail("ratings", function, "a table with a 'timestamp' column", Described("no timestamps"))
    missing = np.flatnonzero(pd.isna(times))
    if missing.size:
        got = Described(f"{times[missing[0]]!s} in row {missing[0]}")
        fail("ratings", function, "a table with a timestamp in every row", got)
    n = len(times)
    if n < 2:
        fail("ratings", function, "a table with at least two ratings", n)
    n_test = min(max(round(share * n), 1), n - 1)
    # Strictly later than the last training moment: ties with it stay in training.
    test = np.flatnonzero(times > np.sort(times)[n - n_test - 1])
    if test.size == 0:
        must = "larger than the share of ratings at the latest moment"
        fail("test_size", function, must, share)
    return _parts(ratings, test, n, f"split_by_time(test_size={share:g})")


def _length(ratings: Any, function: str) -> int:
    if isinstance(ratings, (Ratings, pd.DataFrame)):
        return len(ratings)
    return len(read_columns(ratings, "ratings", function).user)


def _user_codes(ratings: Any, function: str) -> np.ndarray:
    if isinstance(ratings, Ratings):
        return ratings.users
    columns = read_columns(ratings, "ratings", function)
    return encode_ids(columns.user, columns.names.get("user", "user"), "ratings", function)[0]


def _parts(ratings: Any, test: np.ndarray, n: int, note: str) -> tuple[Any, Any]:
    train = np.setdiff1d(np.arange(n), test, assume_unique=True)
    return _take(ratings, train, f"train of {note}"), _take(ratings, test, f"test of {note}")


def _take(ratings: Any, rows: np.ndarray, note: str) -> Any:
    if isinstance(ratings, Ratings):
        return ratings.take(rows, note)
    if isinstance(ratings, pd.DataFrame):
        part = ratings.iloc[rows].copy()
        part.attrs["bayesmf_split"] = split_note(note, len(part))
        return part
    if scipy.sparse.issparse(ratings):
        coo: Any = ratings.tocoo()  # type: ignore[attr-defined]
        entries = (coo.data[rows], (coo.row[rows], coo.col[rows]))
        return type(coo)(entries, shape=coo.shape).asformat(ratings.format)  # type: ignore[attr-defined]
    if isinstance(ratings, tuple):
        return tuple(np.asarray(column)[rows] for column in ratings)
    try:
        return nw.to_native(nw.from_native(ratings, eager_only=True)[rows])
    except TypeError:
        fail("ratings", "a splitter", TABLE_TYPES, Described(type(ratings).__name__), TypeError)
