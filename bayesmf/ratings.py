"""`Ratings`: a table of ratings as codes and numbers, the one form in which every engine reads it.

Here tables become codes; what follows from the codes is in `bayesmf.coded`.
"""

from __future__ import annotations

import html
from typing import Any, Self

import numpy as np
import pandas as pd

from bayesmf.coded import Coded
from bayesmf.ids import encode_ids
from bayesmf.indexing import MOST_ROWS, Side, gather, renumber, sort_cells, strictly_ordered
from bayesmf.pairs import Pairs, look_up, read_cells
from bayesmf.tables import Columns, check_values, read_columns
from bayesmf.validation import Described, check_choice, fail

__all__ = ["Pairs", "Ratings", "Side", "read_note", "split_note"]

_CLASS = "Ratings"


class Ratings(Coded):
    """Ratings of items by users, checked and indexed.

    Parameters
    ----------
    table : DataFrame, scipy sparse array, or tuple of arrays
        One row a rating. A DataFrame may be pandas, polars or pyarrow and needs columns `user`,
        `item`, `rating` or a usual alias (`userId`, `movieId`, `score` ...); `timestamp` is kept
        when it is there. Of a sparse array every stored entry is a rating, stored zeros too; an
        absent cell is missing, not zero. A tuple is (users, items, ratings[, timestamps]).
        Ids are int, str or datetime. The table is not changed.
    user_col, item_col, rating_col, timestamp_col : str, optional
        Column names, where they are not the usual ones.
    duplicates : {"error", "mean", "last"}, default "error"
        What to do when a user rates an item twice: refuse, take the mean, or take the row that
        comes last in the table.

    Attributes
    ----------
    user_ids, item_ids : pandas.Index
        Sorted unique ids; code c stands for the c-th.
    users, items : ndarray of int32, shape (n_ratings,)
        Codes in canonical order: by user, then by item.
    values : ndarray of float64, shape (n_ratings,)
        Ratings in canonical order. A float32 column keeps the values it has: 0.1 in single
        precision is not 0.1.
    timestamps : ndarray or None
        In canonical order, if the table had them.
    note : str
        How the table came about, when a splitter of `bayesmf.splits` made it.

    Raises
    ------
    ValueError
        For an empty table, a missing column or id, a NaN or infinite rating, a pair rated twice.
    TypeError
        For ids that are not int, str or datetime, and for ratings that are not numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> from bayesmf import Ratings
    >>> table = pd.DataFrame({"user": ["ann", "ann", "bob"], "item": [1, 2, 1],
    ...                       "rating": [5, 3, 4]})
    >>> Ratings(table)
    <Ratings: 3 ratings of 2 items by 2 users, 75% of the cells, from 3 to 5>
    """

    def __init__(
        self,
        table: object,
        *,
        user_col: str | None = None,
        item_col: str | None = None,
        rating_col: str | None = None,
        timestamp_col: str | None = None,
        duplicates: str = "error",
    ) -> None:
        names = {"user": user_col, "item": item_col, "rating": rating_col}
        names["timestamp"] = timestamp_col
        self._build(table, "table", _CLASS, names=names, duplicates=duplicates)

    def _build(
        self,
        table: object,
        argument: str,
        function: str,
        *,
        names: dict[str, str | None] | None = None,
        prefer: dict[str, str] | None = None,
        duplicates: str = "error",
    ) -> None:
        check_choice(duplicates, "duplicates", function, ("error", "mean", "last"))
        if isinstance(table, Ratings):
            self._share(table)
            return
        user, item, rating, times, found = read_columns(
            table, argument, function, names=names, prefer=prefer
        )
        if len(user) == 0:
            fail(argument, function, "a table with at least one rating", Described("no rows"))
        if len(user) > MOST_ROWS:
            must = f"a table of at most {MOST_ROWS:,} ratings"
            fail(argument, function, must, Described(f"{len(user):,}"))
        self.columns: dict[str, str] = {
            role: found.get(role, role) for role in ("user", "item", "rating")
        }
        assert rating is not None  # noqa: S101 - read_columns has made sure
        rating = check_values(rating, self.columns["rating"], argument, function)
        users, self.user_ids = encode_ids(user, self.columns["user"], argument, function)
        items, self.item_ids = encode_ids(item, self.columns["item"], argument, function)
        del user, item  # of some tables these are copies
        self.note = read_note(table)
        if strictly_ordered(users, items):
            # Copies all the same: the caller's arrays are neither frozen nor trusted to stay.
            values = np.array(rating, dtype=np.float64)
            self._set(users, items, values, None if times is None else np.array(times))
            return
        # The sort keeps the table's order among duplicates, which "last" relies on.
        users, items, order = sort_cells(users, items, self.n_users, self.n_items)
        values = gather(rating, order, np.dtype(np.float64))
        self._set(
            users, items, values, None if times is None else gather(times, order, times.dtype)
        )
        if not strictly_ordered(users, items):
            self._resolve_duplicates(duplicates, argument, function)

    def _share(self, other: Ratings) -> None:
        # Nothing in a `Ratings` is ever written again, so that two can have the same arrays.
        self.columns, self.note = dict(other.columns), other.note
        self.user_ids, self.item_ids = other.user_ids, other.item_ids
        self._set(other.users, other.items, other.values, other.timestamps)

    def _resolve_duplicates(self, duplicates: str, argument: str, function: str) -> None:
        first = np.ones(len(self), dtype=bool)
        first[1:] = self.users[1:] != self.users[:-1]
        first[1:] |= self.items[1:] != self.items[:-1]
        starts = np.flatnonzero(first)
        counts = np.diff(starts, append=len(self))
        if duplicates == "error":
            twice = starts[counts > 1]
            cells = ", ".join(
                repr((self.user_ids.tolist()[self.users[k]], self.item_ids.tolist()[self.items[k]]))
                for k in twice[:3]
            )
            more = f" and {len(twice) - 3} more" if len(twice) > 3 else ""
            must = (
                "a table in which each (user, item) pair occurs once "
                "(or build it with Ratings(..., duplicates='mean') or 'last')"
            )
            fail(argument, function, must, Described(f"duplicates of {cells}{more}"))
        keep = starts + counts - 1
        values = self.values[keep]
        if duplicates == "mean":
            values = np.add.reduceat(self.values, starts) / counts
        times = None if self.timestamps is None else self.timestamps[keep]
        self._set(self.users[keep], self.items[keep], values, times)

    @classmethod
    def coerce(
        cls, table: object, argument: str, function: str, prefer: dict[str, str] | None = None
    ) -> Ratings:
        """Return `table` if it is a `Ratings`, else build one; errors name the caller.

        Columns named in `prefer`, by role, win over the usual names if they are there.
        """
        if isinstance(table, Ratings):
            return table
        ratings = cls.__new__(cls)
        ratings._build(table, argument, function, prefer=prefer)  # noqa: SLF001 - a constructor
        return ratings

    @classmethod
    def from_codes(
        cls,
        users: np.ndarray,
        items: np.ndarray,
        values: np.ndarray,
        user_ids: pd.Index[Any],
        item_ids: pd.Index[Any],
        *,
        columns: dict[str, str],
        timestamps: np.ndarray | None = None,
        note: str = "",
    ) -> Self:
        """Put together what an earlier `Ratings` was made of, in canonical order.

        Raises
        ------
        ValueError
            If the codes are not those of the ids, or not in canonical order.
        """
        if not strictly_ordered(users, items):
            raise ValueError("its ratings do not stand by user, then item")
        for side, codes, ids in (("user", users, user_ids), ("item", items, item_ids)):
            # Rows that were lent to strangers have no rating at all.
            strange = len(codes) > 0 and (codes.min() < 0 or codes.max() >= len(ids))
            if strange or not ids.is_unique:
                raise ValueError(f"its {side} codes do not belong to its {side} ids")
        ratings = cls.__new__(cls)
        ratings.columns, ratings.note = dict(columns), note
        ratings.user_ids, ratings.item_ids = user_ids, item_ids
        ratings._set(users, items, values, timestamps)  # noqa: SLF001 - a constructor
        return ratings

    def with_ids(
        self,
        user_ids: pd.Index[Any],
        item_ids: pd.Index[Any],
        users: np.ndarray,
        items: np.ndarray,
        values: np.ndarray,
    ) -> Self:
        """Other ratings under these column names: any ids, some of them perhaps without a rating.

        Codes are into `user_ids` and `item_ids`, sorted; of equal cells the last counts.
        """
        other = type(self).__new__(type(self))
        other.columns, other.note = dict(self.columns), ""
        other.user_ids, other.item_ids = user_ids, item_ids
        users, items, order = sort_cells(users, items, len(user_ids), len(item_ids))
        other._set(users, items, values[order], None)  # noqa: SLF001 - a constructor
        if not strictly_ordered(users, items):
            other._resolve_duplicates("last", "", "")  # noqa: SLF001
        return other

    def take(self, rows: np.ndarray, note: str = "") -> Self:
        """Those ratings of the canonical order, as a new `Ratings` with only the ids that occur."""
        part = type(self).__new__(type(self))
        rows = np.sort(rows)
        seen_users, users = renumber(self.users[rows], 0, self.n_users)
        seen_items, items = renumber(self.items[rows], 0, self.n_items)
        part.columns, part.note = dict(self.columns), note
        part.user_ids, part.item_ids = self.user_ids[seen_users], self.item_ids[seen_items]
        times = None if self.timestamps is None else self.timestamps[rows]
        part._set(users, items, self.values[rows], times)  # noqa: SLF001 - a constructor
        return part

    def pairs(
        self, table: object, argument: str, function: str, *, with_rating: bool = False
    ) -> Pairs:
        """Read cells to predict from a frame, a `Ratings`, or a list of (user, item) tuples.

        With `with_rating`, the cells must come with ratings, and there must be some.
        """
        if isinstance(table, Ratings):
            names, index = dict(table.columns), None
            users, items = table.user_ids[table.users], table.item_ids[table.items]
            columns = Columns(users.to_numpy(), items.to_numpy(), table.values, None, names)
        else:
            columns, index = read_cells(
                table, argument, function, prefer=self.columns, with_rating=with_rating,
                like=(self.user_ids, self.item_ids),
            )  # fmt: skip
        return look_up(
            columns, index, self.user_ids, self.item_ids, self.columns, argument, function,
            with_rating=with_rating,
        )  # fmt: skip

    def to_frame(self) -> pd.DataFrame:
        """Return a DataFrame with the table's own column names, in canonical order."""
        frame = self._rows(slice(None))
        if self.note:
            frame.attrs["bayesmf_split"] = split_note(self.note, len(self))
        return frame

    def _rows(self, rows: slice) -> pd.DataFrame:
        columns: dict[str, Any] = {
            self.columns["user"]: self.user_ids[self.users[rows]],
            self.columns["item"]: self.item_ids[self.items[rows]],
            self.columns["rating"]: self.values[rows],
        }
        if self.timestamps is not None:
            columns["timestamp"] = self.timestamps[rows]
        return pd.DataFrame(columns)

    def __repr__(self) -> str:
        if not len(self):
            return f"<Ratings: none of {self.n_items:,} items by {self.n_users:,} users>"
        low, high = self.bounds
        share = len(self) / (self.n_users * self.n_items)
        percent = f"{share:.0%}" if share >= 0.1 else f"{share:.2%}"
        return (
            f"<Ratings: {len(self):,} ratings of {self.n_items:,} items by {self.n_users:,} users, "
            f"{percent} of the cells, from {low:g} to {high:g}>"
        )

    def _repr_html_(self) -> str:
        head = self._rows(slice(5)).to_html(index=False)
        return f"<p><code>{html.escape(repr(self))}</code></p>{head}"


def split_note(note: str, n_rows: int) -> dict[str, Any]:
    """What a splitter leaves in the `attrs` of a frame: pandas keeps them when rows are dropped."""
    return {"note": note, "n_rows": n_rows}


def read_note(table: object) -> str:
    """How a table came about, if a splitter made it and its rows have not been filtered since."""
    if isinstance(table, Ratings):
        return table.note
    found = table.attrs.get("bayesmf_split") if isinstance(table, pd.DataFrame) else None
    return str(found["note"]) if found and found["n_rows"] == len(table) else ""  # type: ignore[arg-type]
