"""Whom to fold in, and given which ratings: read, checked, and joined to what was known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bayesmf.ids import lookup_ids
from bayesmf.indexing import Side
from bayesmf.ratings import Ratings
from bayesmf.validation import Described, fail

if TYPE_CHECKING:
    from typing import NoReturn

    import pandas as pd

ARGUMENT, FUNCTION = "new_ratings", "fold_in"
"""Named in errors."""

OTHER = {"user": "item", "item": "user"}


class Known(NamedTuple):
    """Ratings that the rows folded in had before: compressed rows, and values in their order."""

    side: Side
    values: np.ndarray


class Folding(NamedTuple):
    """Whom to fold in, and given which ratings.

    Attributes
    ----------
    side : {"user", "item"}
        Which side the rows are of.
    ratings : Ratings
        All ratings of these rows, old and new, among all ids of the other side.
    before : Known
        Those that had been fitted, of rows that are known.
    """

    side: str
    ratings: Ratings
    before: Known


def plan(new_ratings: object, known: Ratings, side: str | None) -> Folding:
    """Find out which rows are to be folded in, and collect what they have rated.

    Raises
    ------
    ValueError
        If a rating's user and item are both unknown, if users and items are unknown, or if `side`
        says otherwise than the ratings.
    """
    new = Ratings.coerce(new_ratings, ARGUMENT, FUNCTION, known.columns)
    codes = {
        one: lookup_ids(ids_of(new, one).to_numpy(), ids_of(known, one), one, ARGUMENT, FUNCTION)
        for one in ("user", "item")
    }
    side = _choose_side(new, codes, side)
    own = ids_of(new, side)
    rows, partners = (new.users, new.items) if side == "user" else (new.items, new.users)
    partners = codes[OTHER[side]][partners]
    compressed, values = compressed_rows(known, side)
    before = _some_rows(compressed, values, codes[side])
    n_before = np.diff(before.side.indptr)
    # The new ratings come last, and so replace old ones of the same cells.
    rows = np.concatenate([np.repeat(np.arange(len(own)), n_before), rows])
    partners = np.concatenate([before.side.partners, partners]).astype(np.int32)
    values = np.concatenate([before.values, new.values])
    rows = rows.astype(np.int32)
    if side == "user":
        ratings = known.with_ids(own, known.item_ids, rows, partners, values)
    else:
        ratings = known.with_ids(known.user_ids, own, partners, rows, values)
    return Folding(side, ratings, before)


def ids_of(ratings: Ratings, side: str) -> pd.Index[Any]:
    """Ids of one side."""
    return ratings.user_ids if side == "user" else ratings.item_ids


def compressed_rows(ratings: Ratings, side: str) -> tuple[Side, np.ndarray]:
    """One side's compressed rows, and the ratings in their order."""
    if side == "user":
        return ratings.by_user, ratings.values
    return ratings.by_item, ratings.in_item_order(ratings.values)


def _choose_side(new: Ratings, codes: dict[str, np.ndarray], side: str | None) -> str:
    unknown = {one: np.flatnonzero(found < 0) for one, found in codes.items()}
    if side is None:
        side = "item" if len(unknown["item"]) and not len(unknown["user"]) else "user"
    strangers = unknown[OTHER[side]]
    if len(strangers):
        neither = (codes["user"][new.users] < 0) & (codes["item"][new.items] < 0)
        _refuse(new, side, strangers, np.flatnonzero(neither))
    return side


def _refuse(new: Ratings, side: str, strangers: np.ndarray, neither: np.ndarray) -> NoReturn:
    other = OTHER[side]
    if len(neither):
        cell = (
            new.user_ids.tolist()[new.users[neither[0]]],
            new.item_ids.tolist()[new.items[neither[0]]],
        )
        got = f"user {cell[0]!r} and item {cell[1]!r}, which are both unknown"
    else:
        named = [repr(one) for one in ids_of(new, other)[strangers[:3]].tolist()]
        more = f" and {len(strangers) - 3} more" if len(strangers) > 3 else ""
        got = f"the unknown {other}s {', '.join(named)}{more}"
    must = (
        f"ratings of known {other}s, where {side}s are folded in (fold in one side after the "
        f"other: the {side}s by their ratings of known {other}s, and then the new {other}s into "
        "the posterior that this gives)"
    )
    fail(ARGUMENT, FUNCTION, must, Described(got))


def _some_rows(compressed: Side, values: np.ndarray, codes: np.ndarray) -> Known:
    # The rows of these codes one after the other; that of an unknown one, -1, is empty.
    starts = np.where(codes < 0, 0, compressed.indptr[codes])
    lengths = np.where(codes < 0, 0, compressed.indptr[codes + 1] - starts)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    entries = np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], lengths)
    return Known(Side(indptr, compressed.partners[entries]), values[entries])
