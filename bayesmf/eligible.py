"""What may stand in a list: candidates, what is allowed to whom, and what a user has not rated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from bayesmf.ids import as_array, lookup_ids
from bayesmf.validation import Described, fail

if TYPE_CHECKING:
    from bayesmf.indexing import Side
    from bayesmf.ratings import Ratings


class Eligible(NamedTuple):
    """Items that may be recommended to some users.

    Attributes
    ----------
    items : ndarray
        Codes of items that anybody may be recommended, in increasing order (n_items,).
    allowed : ndarray of bool, shape (n_rows, n_items), or None
        What single users may be recommended of them; None for all.
    rows : ndarray
        Row of `allowed` of each user (n_users,).
    """

    items: np.ndarray
    allowed: np.ndarray | None
    rows: np.ndarray

    def of(self, users: np.ndarray) -> Eligible:
        """The same for some of the users, by place or mask."""
        return self._replace(rows=self.rows[users])

    @property
    def same_for_all(self) -> bool:
        """Whether single users may not differ."""
        return self.allowed is None

    def barred(self, users: slice, seen: Side | None, codes: np.ndarray) -> np.ndarray:
        """Which items not to recommend (n_users, n_items): not allowed, or seen by the user."""
        rows = self.rows[users]
        if self.allowed is None:
            barred = np.zeros((len(rows), len(self.items)), dtype=bool)
        else:
            barred = ~self.allowed[rows]
        if seen is not None and len(self.items):
            for out, user in zip(barred, codes, strict=True):
                rated = seen.partners[seen.indptr[user] : seen.indptr[user + 1]]
                at = np.searchsorted(self.items, rated)
                at[at == len(self.items)] = 0
                out[at[self.items[at] == rated]] = True
        return barred


def check_eligible(
    candidates: object, allowed: object, users: np.ndarray, ratings: Ratings, function: str
) -> Eligible:
    """Return what some users (ids) may be recommended.

    Parameters
    ----------
    candidates : sequence of ids, or None for all items
    allowed : DataFrame of users by items, Series by item, or None
        Of bool; items that were never rated are passed over.
    users : ndarray
        Ids, known or not.
    ratings : Ratings
    function : str
        Named in errors.

    Raises
    ------
    ValueError
        For candidates that were never rated, users or items that `allowed` does not have or has
        twice, and values that are missing.
    TypeError
        For ids of another type than in training, values that are not bool, and other tables.
    """
    items = check_items(candidates, "candidates", ratings, function)
    anybody = np.zeros(len(users), dtype=np.intp)
    if allowed is None:
        return Eligible(items, None, anybody)
    if isinstance(allowed, pd.Series):
        places = _item_places(allowed.index, items, ratings, "index", function)
        return Eligible(items[_bools(allowed.iloc[places], function)], None, anybody)
    if not isinstance(allowed, pd.DataFrame):
        must = "a DataFrame of bool, users by items, or a Series of bool by item"
        fail("allowed", function, must, Described(type(allowed).__name__), TypeError)
    places = _item_places(allowed.columns, items, ratings, "columns", function)
    asked, rows = np.unique(users, return_inverse=True)
    at = _user_places(allowed.index, asked, ratings, function)
    return Eligible(items, _bools(allowed.iloc[at, places], function), rows)


def check_items(ids: object, argument: str, ratings: Ratings, function: str) -> np.ndarray:
    """Codes, in increasing order, of ids of items; None stands for all."""
    if ids is None:
        return np.arange(ratings.n_items)
    must = "ids of items of the training ratings"
    if isinstance(ids, str | bytes) or not hasattr(ids, "__iter__"):
        fail(argument, function, f"a sequence of {must}", ids, TypeError)
    values = as_array(list(ids))
    if not len(values):
        return np.empty(0, dtype=np.intp)
    codes = lookup_ids(values, ratings.item_ids, "item", argument, function)
    if (codes < 0).any():
        fail(argument, function, must, values[codes < 0][0])
    return np.unique(codes)


def _item_places(
    index: pd.Index[Any], items: np.ndarray, ratings: Ratings, where: str, function: str
) -> np.ndarray:
    # Where the items stand in the frame, which may have more of them.
    codes = lookup_ids(index.to_numpy(), ratings.item_ids, "item", "allowed", function)
    known = np.flatnonzero(codes >= 0)
    place = np.full(ratings.n_items, -1)
    place[codes[known]] = known
    twice = np.flatnonzero(np.bincount(codes[known], minlength=ratings.n_items) > 1)
    if twice.size:
        must = f"a table that has each item once in its {where}"
        fail("allowed", function, must, Described(f"{ratings.item_ids.tolist()[twice[0]]!r} twice"))
    missing = items[place[items] < 0]
    if missing.size:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        must = f"a table that has each item that may be recommended in its {where}"
        got = Described(f"no {ratings.item_ids.tolist()[missing[0]]!r}{more}")
        fail("allowed", function, must, got)
    return place[items]


def _user_places(
    index: pd.Index[Any], users: np.ndarray, ratings: Ratings, function: str
) -> np.ndarray:
    # Checks the type of the ids, which would otherwise match none in silence.
    lookup_ids(index.to_numpy(), ratings.user_ids, "user", "allowed", function)
    must = "a table that has each user"
    if not index.is_unique:
        twice = index[index.duplicated()].tolist()[0]
        fail("allowed", function, f"{must} once in its index", Described(f"{twice!r} twice"))
    at = index.get_indexer(pd.Index(users))
    if (at < 0).any():
        missing = users[at < 0].tolist()[0]
        got = Described(f"no {missing!r}")
        fail("allowed", function, f"{must} who is recommended to in its index", got)
    return at


def _bools(table: pd.DataFrame | pd.Series[Any], function: str) -> np.ndarray:
    values = table.to_numpy()
    if values.dtype == bool:
        return values
    # Columns of objects, or of pandas' own bool, are taken where they hold nothing else.
    for value in values.ravel():
        if not isinstance(value, bool | np.bool_):
            error = ValueError if pd.isna(value) else TypeError
            fail("allowed", function, "a table of True and False, none missing", value, error)
    return values.astype(bool)
