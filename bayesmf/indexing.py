"""Numbering and sorting a long table by counting, in time and memory that its codes set.

A comparison sort of codes costs 8 bytes a row for each array it touches, several at once; counting
sorts of 32-bit codes (those of SciPy's sparse arrays, which are compiled) take half of that and a
tenth of the time. What would need a wide temporary goes through the table chunk by chunk. Where
some rows must stand for all, they are evenly spaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 1 << 20
"""Rows at a time: 8 MB of float64, which is cheap to have and long enough for NumPy."""

MOST_ROWS = int(np.iinfo(np.int32).max)
"""Positions are int32."""


class Side(NamedTuple):
    """The ratings seen from one side, in compressed sparse rows.

    By user, entries stand in the canonical order; `Ratings.in_item_order` puts any array of one
    number a rating (targets, weights) into the order of the other side.

    Attributes
    ----------
    indptr : ndarray of int64, shape (n_rows + 1,)
        Row r owns entries indptr[r]:indptr[r + 1].
    partners : ndarray of int32, shape (n_ratings,)
        Codes on the other side.
    """

    indptr: np.ndarray
    partners: np.ndarray

    @property
    def n_rows(self) -> int:
        """Number of rows on this side."""
        return len(self.indptr) - 1


def chunks(n: int, size: int | None = None) -> Iterator[slice]:
    """Slices that cover range(n), each of at most `size` (by default `CHUNK`) entries."""
    size = size or CHUNK
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def evenly(n: int, most: int) -> np.ndarray:
    """Distinct positions in range(n), increasing and evenly spaced, at most `most` of them.

    The first and the last are among them, but of one position, which is the first.
    """
    return np.linspace(0, n - 1, min(n, most)).round().astype(np.int64)


def renumber(values: np.ndarray, low: int, span: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted distinct offsets from `low` (int64), and codes (n,) int32 that count them up.

    `values` are integers from `low` to `low + span - 1`; the memory is 5 bytes per unit of `span`.
    """
    seen = np.zeros(span, dtype=bool)
    for part in chunks(len(values)):
        seen[values[part].astype(np.int64) - low] = True
    found = np.flatnonzero(seen)
    code_of = np.zeros(span, dtype=np.int32)
    code_of[found] = np.arange(len(found), dtype=np.int32)
    codes = np.empty(len(values), dtype=np.int32)
    for part in chunks(len(values)):
        codes[part] = code_of[values[part].astype(np.int64) - low]
    return found, codes


def gather(values: np.ndarray, order: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """`values[order]` as a new array of `dtype`, without 64-bit copies of an int32 order."""
    out = np.empty(len(order), dtype=dtype)
    for part in chunks(len(order)):
        out[part] = values[order[part]]
    return out


def strictly_ordered(users: np.ndarray, items: np.ndarray) -> bool:
    """Whether cells stand by user, then item, and none stands twice."""
    for part in chunks(len(users) - 1):
        after = slice(part.start + 1, part.stop + 1)
        later = users[after] > users[part]
        later |= (users[after] == users[part]) & (items[after] > items[part])
        if not later.all():
            return False
    return True


def row_starts(codes: np.ndarray, n_rows: int) -> np.ndarray:
    """Where each row's entries start among sorted codes (n_rows + 1,), int64."""
    rows = np.arange(n_rows + 1, dtype=codes.dtype)
    return np.searchsorted(codes, rows).astype(np.int64)


def sort_cells(
    users: np.ndarray, items: np.ndarray, n_users: int, n_items: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users and items by user, then item, and where each stood; equal cells keep their order."""
    n = len(users)
    # Rows of one entry each, transposed: a stable counting sort by item. Then the same by user.
    alone = np.arange(n + 1, dtype=np.int32)
    indptr, order, _ = transpose(alone, items, n_items, np.zeros(n, dtype=np.int8))
    del alone
    indptr, items, order = transpose(indptr, users[order], n_users, order)
    return np.repeat(np.arange(n_users, dtype=np.int32), np.diff(indptr)), items, order


def transpose(
    indptr: np.ndarray, partners: np.ndarray, n_partners: int, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn compressed sparse rows into those of the partners, whose entries keep their order.

    `values`, one number an entry, come along as the third array.
    """
    starts = indptr.astype(np.int32)  # SciPy widens both indices to the wider of the two
    rows = scipy.sparse.csr_array((values, partners, starts), shape=(len(starts) - 1, n_partners))
    columns = rows.tocsc()
    return columns.indptr.astype(np.int64), columns.indices, columns.data
