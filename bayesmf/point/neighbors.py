"""Nearest neighbours around biases: similarities of rows, and what similar rows say of a cell.

Koren (2010), "Factor in the neighbors: scalable and accurate collaborative filtering", ACM TKDD 4,
eq. 3: with residuals e_ij = r_ij - (center + b_i + c_j), item-based,

    expected_ij = center + b_i + c_j + sum_l s_jl e_il / sum_l s_jl

over the items l of user i most similar to j, at most so many, with s_jl > 0. A similarity is the
correlation of residuals of common users, shrunk towards zero where these are few:

    s_jl = (n_jl - 1) / (n_jl - 1 + shrinkage) * sum_i e_ij e_il / sqrt(sum_i e_ij^2 sum_i e_il^2)

User-based, users and items change places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayesmf.indexing import Side, chunks
from bayesmf.kernels.blocks import over_blocks
from bayesmf.kernels.neighbors import similarity_rows, weighted_residuals

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from bayesmf.ratings import Ratings

KEPT_BYTES = 256_000_000
"""Similarities of all rows to all are kept if they fit in here (8,000 rows), and worked out for the
rows that are asked for if not."""

BLOCK_BYTES = 16_000_000
"""Similarities that one thread works out at a time."""

CELLS_AT_ONCE = 20_000
"""Cells that one thread predicts at a time."""


class Neighbors(NamedTuple):
    """The rows of one side with their residuals, ready to be compared.

    Attributes
    ----------
    own, other : Side
        The ratings row by row of this side, and of the other one.
    own_residuals, other_residuals : ndarray of float64, shape (n_ratings,)
        In the order of either.
    shrinkage : float
    min_support : int
        Rows with fewer common partners are not similar.
    """

    own: Side
    other: Side
    own_residuals: np.ndarray
    other_residuals: np.ndarray
    shrinkage: float
    min_support: int

    @classmethod
    def build(
        cls, ratings: Ratings, expected: np.ndarray, by: str, shrinkage: float, min_support: int
    ) -> Neighbors:
        """Compare users or items by what is left of ratings after `expected` (n_ratings,)."""
        left = ratings.values - expected
        sides = (ratings.by_user, left), (ratings.by_item, ratings.in_item_order(left))
        (own, mine), (other, theirs) = sides if by == "user" else sides[::-1]
        return cls(own, other, mine, theirs, shrinkage, min_support)

    @property
    def keeps(self) -> bool:
        """Whether similarities of all rows are kept."""
        return 4 * self.own.n_rows**2 <= KEPT_BYTES

    @property
    def rows_at_once(self) -> int:
        """Rows whose similarities are worked out at a time."""
        return max(1, BLOCK_BYTES // (4 * self.own.n_rows))

    def similarities(self, wanted: np.ndarray, executor: Executor | None = None) -> np.ndarray:
        """Similarities (n_wanted, n_rows) of some rows (codes) to all, float32."""
        out = np.empty((len(wanted), self.own.n_rows), np.float32)

        def write(_: int, part: slice) -> None:
            similarity_rows(
                wanted[part], *self.own, self.own_residuals, *self.other, self.other_residuals,
                self.shrinkage, min(self.min_support, self.other.n_rows + 1), out[part],
            )  # fmt: skip

        over_blocks(write, list(chunks(len(wanted), self.rows_at_once)), executor)
        return out

    def deviations(
        self,
        rows: np.ndarray,
        others: np.ndarray,
        n_neighbors: int,
        kept: np.ndarray | None = None,
        executor: Executor | None = None,
    ) -> np.ndarray:
        """What similar rows add to the biases of cells (n_cells,); zero where a code is -1.

        `rows` are codes of this side, `others` of the other one; `kept` are the similarities of all
        rows, if there are such.
        """
        out = np.zeros(len(rows))
        n_neighbors = min(n_neighbors, self.own.n_rows)  # room is made for so many
        cells = np.flatnonzero((rows >= 0) & (others >= 0))

        def weigh(similar: np.ndarray, at: np.ndarray, here: np.ndarray) -> None:
            found = np.empty(len(here))
            weighted_residuals(
                at, others[here], similar, *self.other, self.other_residuals, n_neighbors, found
            )
            out[here] = found

        if kept is not None:
            over_blocks(
                lambda _, part: weigh(kept, rows[cells[part]], cells[part]),
                list(chunks(len(cells), CELLS_AT_ONCE)), executor,
            )  # fmt: skip
            return out
        cells = cells[np.argsort(rows[cells], kind="stable")]
        wanted, at = np.unique(rows[cells], return_inverse=True)

        def weigh_rows(_: int, part: slice) -> None:
            lo, hi = np.searchsorted(at, [part.start, part.stop])
            weigh(self.similarities(wanted[part]), at[lo:hi] - part.start, cells[lo:hi])

        over_blocks(weigh_rows, list(chunks(len(wanted), self.rows_at_once)), executor)
        return out
