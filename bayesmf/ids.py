"""Ids of users and items: checked, turned into codes, and looked up among those that are known."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmf.indexing import chunks, renumber
from bayesmf.validation import Described, fail

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

SMALL_SPAN = 1_000_000
"""Integer ids within so wide a range are looked up in a table of that length, hashed beyond."""

_INT64 = np.iinfo(np.int64)


def as_array(values: Sequence[Any]) -> np.ndarray:
    """Values of a list as they are.

    np.asarray(["a", 3]) would turn 3 into "3"; as objects, mixed ids are seen and named.
    """
    texts = any(isinstance(value, str) for value in values)
    return np.asarray(values, dtype=object if texts else None)


def encode_ids(
    values: np.ndarray, column: str, argument: str, function: str
) -> tuple[np.ndarray, pd.Index[Any]]:
    """Codes (n,) int32 and the sorted unique ids behind them.

    Ids sort by value, so that neither the order of rows nor an order-preserving relabelling
    changes a code, and hence no bit of a fit.
    """
    values = check_ids(values, column, argument, function)
    encode = _encode_integers if values.dtype.kind in "iu" and len(values) else _encode_others
    codes, uniques = encode(values)
    return codes, pd.Index(uniques, name=column)


def _encode_integers(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low = int(values.min())
    span = int(values.max()) - low + 1
    if span <= max(len(values), SMALL_SPAN):
        offsets, codes = renumber(values, low, span)
        return codes, offsets + low
    uniques = np.sort(pd.unique(values).astype(np.int64))
    known = pd.Index(uniques)
    codes = np.empty(len(values), dtype=np.int32)
    for part in chunks(len(values)):
        codes[part] = known.get_indexer(pd.Index(values[part].astype(np.int64)))
    return codes, uniques


def _encode_others(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found, uniques = pd.factorize(values)
    order = np.argsort(uniques, kind="stable")
    code_of = np.empty(len(order), dtype=np.int32)
    code_of[order] = np.arange(len(order), dtype=np.int32)
    return code_of[found], uniques[order]


def check_ids(values: np.ndarray, column: str, argument: str, function: str) -> np.ndarray:
    """Ids as an integer, datetime64 or object-of-str array; anything else is named in an error."""
    must = f"a table whose '{column}' ids are int, str or datetime"
    values = np.asarray(values)
    if values.ndim != 1:
        fail(argument, function, must, Described(f"an array of shape {values.shape}"))
    if values.dtype.kind in "iu":
        _check_int64(values, must, argument, function)
        # Of another byte order they would be strangers to pandas.
        return values if values.dtype.isnative else values.astype(np.int64)
    if values.dtype.kind in "UT":
        return values.astype(object)
    missing = np.flatnonzero(pd.isna(values))
    if missing.size:
        row = int(missing[0])
        got = Described(f"{plain(values[row])!r} in row {row}")
        fail(argument, function, f"{must}, none missing", got)
    if values.dtype.kind == "M" or len(values) == 0:
        return values
    if values.dtype.kind != "O":
        _refuse_id(values[0], 0, must, argument, function)
    return _check_objects(values, must, argument, function)


def _check_int64(values: np.ndarray, must: str, argument: str, function: str) -> None:
    if len(values) and (int(values.max()) > _INT64.max or int(values.min()) < _INT64.min):
        row = int(np.argmax([abs(int(value)) for value in values]))
        got = Described(f"{int(values[row])} in row {row}")
        fail(argument, function, f"{must} (an int within 64 bits, or a str)", got)


def _check_objects(values: np.ndarray, must: str, argument: str, function: str) -> np.ndarray:
    kinds: tuple[type | tuple[type, ...], ...] = (
        str,
        (int, np.integer),
        (dt.date, np.datetime64),
    )
    first = next((kind for kind in kinds if isinstance(values[0], kind)), None)
    for row, value in enumerate(values):
        if first is None or isinstance(value, bool) or not isinstance(value, first):
            _refuse_id(value, row, must, argument, function)
        if getattr(value, "tzinfo", None) is not None:
            got = Described(f"{value!s} in row {row}")
            fail(argument, function, f"{must}, without a time zone", got, TypeError)
    if first is str:
        return values
    if first == (int, np.integer):
        _check_int64(values, must, argument, function)
        return values.astype(np.int64)
    # Microseconds reach from year 1 to 9999, as datetime does; nanoseconds wrap around.
    return values.astype("datetime64[us]")


def _refuse_id(value: object, row: int, must: str, argument: str, function: str) -> NoReturn:
    must += ", all of one kind (a float id such as 7.0 becomes an int by .astype(int))"
    got = Described(f"{plain(value)!r} ({type(value).__name__}) in row {row}")
    fail(argument, function, must, got, TypeError)


def plain(value: Any) -> Any:
    """Python's own number for one of NumPy's, as it is to be shown."""
    return value.item() if isinstance(value, np.generic) else value


def lookup_ids(
    values: np.ndarray, known: pd.Index[Any], column: str, argument: str, function: str
) -> np.ndarray:
    """Codes (n,) int64 of ids, -1 where unknown; ids of another type than the known are an error.

    Ids "7" never match the integers of a fit, and would all be called unknown in silence.
    """
    values = check_ids(values, column, argument, function)
    if values.dtype.kind in "iu":
        values = values.astype(np.int64, copy=False)
    if len(values) and values.dtype.kind != known.to_numpy().dtype.kind:
        kinds = {"i": "int", "M": "datetime", "O": "str"}
        want = kinds.get(known.to_numpy().dtype.kind, "str")
        must = f"given '{column}' ids that are {want}, as in the training ratings"
        fail(argument, function, must, Described(f"{plain(values[0])!r} in row 0"), TypeError)
    return known.get_indexer(pd.Index(values))
