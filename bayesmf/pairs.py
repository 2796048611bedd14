"""`Pairs`: cells to predict, from any table, with their codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from bayesmf.ids import lookup_ids
from bayesmf.tables import check_values, read_columns
from bayesmf.validation import Described, fail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bayesmf.tables import Columns

MUST = "a frame with user and item columns or a list of (user, item) tuples"


class Pairs(NamedTuple):
    """Cells to predict: ids as given, codes (-1 where unknown), and the index to give back."""

    user_ids: np.ndarray
    item_ids: np.ndarray
    users: np.ndarray
    items: np.ndarray
    labels: pd.Index[Any]
    ratings: np.ndarray | None


def read_cells(
    table: object,
    argument: str,
    function: str,
    *,
    prefer: dict[str, str],
    with_rating: bool,
    like: tuple[pd.Index[Any], pd.Index[Any]],
) -> tuple[Columns, pd.Index[Any] | None]:
    """Columns of a frame or of a list of tuples, and a frame's index.

    Columns named in `prefer`, by role, win over the usual names; ids of an empty list are of the
    types of those of `like`.
    """
    index: pd.Index[Any] | None = table.index if isinstance(table, pd.DataFrame) else None
    if isinstance(table, tuple):
        fail(argument, function, MUST, Described("a tuple"), TypeError)
    if isinstance(table, list):
        table = _from_tuples(table, like, argument, function)
    columns = read_columns(table, argument, function, prefer=prefer, with_rating=with_rating)
    return columns, index


def _from_tuples(
    table: Sequence[Any],
    like: tuple[pd.Index[Any], pd.Index[Any]],
    argument: str,
    function: str,
) -> pd.DataFrame:
    for row, pair in enumerate(table):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            fail(argument, function, MUST, Described(f"{pair!r} at position {row}"), TypeError)
    columns = {role: [pair[k] for pair in table] for k, role in enumerate(("user", "item"))}
    if not table:
        return pd.DataFrame(
            {role: pd.Series(dtype=ids.dtype) for role, ids in zip(columns, like, strict=True)}
        )
    return pd.DataFrame(columns)


def look_up(
    columns: Columns,
    index: pd.Index[Any] | None,
    user_ids: pd.Index[Any],
    item_ids: pd.Index[Any],
    names: dict[str, str],
    argument: str,
    function: str,
    *,
    with_rating: bool,
) -> Pairs:
    """Find the codes of cells; `names` are the roles' columns in training, for errors."""
    found = {**names, **columns.names}
    users = lookup_ids(columns.user, user_ids, found["user"], argument, function)
    items = lookup_ids(columns.item, item_ids, found["item"], argument, function)
    ratings = None
    if with_rating:
        assert columns.rating is not None  # noqa: S101 - read_columns has made sure
        ratings = check_values(columns.rating, found["rating"], argument, function)
        ratings = ratings.astype(np.float64)
        if len(ratings) == 0:
            fail(argument, function, "a table with at least one rating", Described("no rows"))
    index = pd.RangeIndex(len(users)) if index is None else index
    return Pairs(columns.user, columns.item, users, items, index, ratings)
