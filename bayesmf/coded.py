"""Ratings as codes and numbers, and what follows from these.

They stand once in canonical order (by user, then item) and are indexed twice, by user and by item,
in compressed sparse rows; both are built once and shared by all chains.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmf.indexing import Side, row_starts, transpose

if TYPE_CHECKING:
    import pandas as pd


class Coded:
    """Codes of users and items, and ratings; `bayesmf.Ratings` makes them of a table."""

    user_ids: pd.Index[Any]
    item_ids: pd.Index[Any]

    def _set(
        self,
        users: np.ndarray,
        items: np.ndarray,
        values: np.ndarray,
        timestamps: np.ndarray | None,
    ) -> None:
        for array in (users, items, values, timestamps):
            if array is not None:
                array.flags.writeable = False
        self.users, self.items, self.values, self.timestamps = users, items, values, timestamps

    def __len__(self) -> int:
        return len(self.values)

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.item_ids)

    @cached_property
    def by_user(self) -> Side:
        """The ratings row by row of users."""
        return Side(row_starts(self.users, self.n_users), self.items)

    @cached_property
    def by_item(self) -> Side:
        """The ratings row by row of items."""
        nothing = np.zeros(len(self), dtype=np.int8)
        return Side(*transpose(*self.by_user, self.n_items, nothing)[:2])

    def in_item_order(self, values: np.ndarray) -> np.ndarray:
        """One number a rating, from the canonical order into that of `by_item`, as a new array."""
        return transpose(*self.by_user, self.n_items, values)[2]

    @cached_property
    def mean(self) -> float:
        """Mean rating."""
        return float(self.values.mean())

    @cached_property
    def sd(self) -> float:
        """Standard deviation of the ratings (divided by n)."""
        return float(self.values.std())

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest rating: the scale that `clip=True` clips to."""
        return float(self.values.min()), float(self.values.max())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over ids, codes and ratings; equal for equal data in any order of rows."""
        digest = hashlib.sha256()
        for ids in (self.user_ids, self.item_ids):
            for one in ids:
                digest.update(repr(one).encode() + b"\0")
        for array in (self.users, self.items, self.values):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()
