"""Reading other people's tables: columns by their usual names, ids and values checked.

Nothing here knows what a factor is. `read_columns` turns a pandas, polars or pyarrow frame, a
scipy sparse array or a tuple of arrays into plain NumPy columns, and `check_values` says which
number is wrong; ids are the business of `bayesmf.ids`.
"""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any, NamedTuple

import narwhals as nw
import numpy as np
import pandas as pd
import scipy.sparse

from bayesmf.ids import as_array, plain
from bayesmf.indexing import chunks
from bayesmf.validation import LARGEST, Described, fail

if TYPE_CHECKING:
    from collections.abc import Mapping

ALIASES: dict[str, tuple[str, ...]] = {
    "user": ("user", "userid", "uid", "users", "student", "studentid", "drug", "drugid"),
    "item": (
        *("item", "itemid", "iid", "items", "movie", "movieid", "film", "filmid", "product"),
        *("productid", "book", "bookid", "lecturer", "lecturerid", "target", "targetid"),
    ),
    "rating": ("rating", "ratings", "score", "stars", "value", "affinity"),
    "timestamp": ("timestamp", "time", "datetime", "date"),
}
"""Names that a column may have, in order of preference; case, '_', '-' and ' ' do not count."""

TABLE_TYPES = (
    "a DataFrame (pandas, polars, pyarrow), a bayesmf.Ratings, a scipy sparse array, "
    "or a tuple of arrays (users, items, ratings)"
)


class Columns(NamedTuple):
    """Plain columns of one table, all of length n; `names` says what the table called them."""

    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray | None
    timestamp: np.ndarray | None
    names: dict[str, str]


def read_columns(
    table: object,
    argument: str,
    function: str,
    *,
    names: Mapping[str, str | None] | None = None,
    prefer: Mapping[str, str] | None = None,
    with_rating: bool = True,
) -> Columns:
    """Find the columns of `table`; a column that is missing is an error that lists what is there.

    Parameters
    ----------
    table : DataFrame, sparse array, or tuple of arrays
        The table. Of a sparse array every stored entry is a rating, a stored zero too.
    argument, function : str
        Named in errors.
    names : mapping, optional
        Column names by role ("user", "item", "rating", "timestamp") that must be there.
    prefer : mapping, optional
        Column names by role that win over the aliases if they are there.
    with_rating : bool, default True
        Whether a rating column must be there.
    """
    given = [f"{role}_col={name!r}" for role, name in (names or {}).items() if name is not None]
    if given and (scipy.sparse.issparse(table) or isinstance(table, tuple)):
        must = f"a DataFrame when columns are named ({', '.join(given)})"
        fail(argument, function, must, Described(type(table).__name__), TypeError)
    if scipy.sparse.issparse(table):
        return _from_sparse(table, argument, function)
    if isinstance(table, tuple) and not hasattr(table, "_fields"):
        return _from_arrays(table, argument, function, with_rating=with_rating)
    frame = _open_frame(table, argument, function)
    wanted: dict[str, str | None] = dict(names or {})
    wanted |= {role: name for role, name in (prefer or {}).items() if name in frame.columns}
    found: dict[str, str] = {}
    for role in ("user", "item", "rating", "timestamp"):
        name = _find(frame.columns, role, wanted.get(role), argument, function)
        if name is None and (role in ("user", "item") or (role == "rating" and with_rating)):
            must = (
                f"a table with a '{role}' column (or name it: Ratings(table, {role}_col=...)); "
                f"its columns are {', '.join(map(str, frame.columns)) or 'none'}"
            )
            fail(argument, function, must, Described(f"no '{role}' column"))
        if name is not None:
            found[role] = name
            dtype = frame.get_column(name).dtype
            if role in ("user", "item") and getattr(dtype, "time_zone", None) is not None:
                must = f"a table whose '{name}' ids have no time zone"
                fail(argument, function, must, Described(str(dtype)), TypeError)
    columns = {role: frame.get_column(name).to_numpy() for role, name in found.items()}
    return Columns(
        columns["user"], columns["item"], columns.get("rating"), columns.get("timestamp"), found
    )


def _open_frame(table: Any, argument: str, function: str) -> nw.DataFrame[Any]:
    try:
        frame = nw.from_native(table, eager_only=True)
        list(frame.columns)  # pandas allows a name twice, and only now is it seen
    except TypeError:
        fail(argument, function, TABLE_TYPES, Described(type(table).__name__), TypeError)
    except nw.exceptions.DuplicateError:
        must = "a table whose columns have different names"
        fail(argument, function, must, Described(", ".join(map(str, table.columns))))
    return frame


def _from_sparse(table: Any, argument: str, function: str) -> Columns:
    if table.ndim != 2:
        fail(argument, function, "a sparse array of users by items", Described("one row"))
    coo = scipy.sparse.coo_array(table)
    return Columns(np.asarray(coo.row), np.asarray(coo.col), np.asarray(coo.data), None, {})


def _from_arrays(
    arrays: tuple[Any, ...], argument: str, function: str, *, with_rating: bool
) -> Columns:
    columns: list[np.ndarray] = [_as_column(values) for values in arrays]
    if len(columns) not in ((3, 4) if with_rating else (2, 3, 4)):
        must = "a tuple of arrays (users, items, ratings) or (users, items, ratings, timestamps)"
        fail(argument, function, must, Described(f"{len(columns)} arrays"))
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        fail(argument, function, "arrays of one length", Described(f"lengths {lengths}"))
    rest: list[np.ndarray | None] = [*columns[2:], None, None]
    return Columns(columns[0], columns[1], rest[0], rest[1], {})


def _as_column(values: Any) -> Any:
    if isinstance(values, (pd.Series, pd.Index)):
        return values.to_numpy()
    if isinstance(values, np.ma.MaskedArray):  # what is masked is missing, and will be named
        values = np.ma.filled(values.astype(float), np.nan)
    if isinstance(values, (list, tuple)):
        return as_array(values)
    return np.atleast_1d(np.asarray(values))


def _find(
    columns: list[str], role: str, wanted: str | None, argument: str, function: str
) -> str | None:
    if wanted is not None:
        if wanted not in columns:
            must = f"a table with the {role} column {wanted!r}; it has {', '.join(columns)}"
            fail(argument, function, must, Described(f"no column {wanted!r}"))
        return wanted
    plain = {
        str(name).lower().replace("_", "").replace("-", "").replace(" ", ""): name
        for name in reversed(columns)
    }
    return next((plain[alias] for alias in ALIASES[role] if alias in plain), None)


def check_values(values: np.ndarray, column: str, argument: str, function: str) -> np.ndarray:
    """Ratings (n,) that are finite numbers: the column as it is, or float64 if it holds objects."""
    must = f"a table whose '{column}' column holds finite numbers of at most {LARGEST:g} in size"
    values = np.asarray(values)
    if values.ndim != 1:
        fail(argument, function, must, Described(f"an array of shape {values.shape}"))
    numeric = values
    if values.dtype.kind not in "iuf":
        for row, value in enumerate(values):
            if value is None or value is pd.NA:
                fail(argument, function, must, Described(f"{value!r} in row {row}"))
            is_bool = type(value) in (bool, np.bool_)
            if is_bool or not isinstance(value, numbers.Real):
                got = Described(f"{plain(value)!r} ({type(value).__name__}) in row {row}")
                fail(argument, function, must, got, TypeError)
        try:
            numeric = values.astype(np.float64)
        except OverflowError:  # an int of a hundred digits
            fail(argument, function, must, Described("an integer beyond all floats"))
    first, n_bad = -1, 0
    for part in chunks(len(values)):
        with np.errstate(over="ignore"):  # of a longer float type: refused here
            size = np.abs(numeric[part].astype(np.float64))
        bad = np.flatnonzero(~(size <= LARGEST))  # NaN is not either
        if bad.size and not n_bad:
            first = part.start + int(bad[0])
        n_bad += bad.size
    if n_bad:
        more = f" and {n_bad - 1} more" if n_bad > 1 else ""
        fail(argument, function, must, Described(f"{values[first]} in row {first}{more}"))
    return numeric
