"""Truncated SVD of a table whose missing cells are filled in, without ever writing them down.

A filled table is sparse plus low rank: the fill is a product of few columns, A B', and on observed
cells the rating minus the fill stands in a sparse matrix S. A product with X = S + A B' costs what
one with each of them costs, and products are all that a Lanczos solver asks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, svds

from bayesmf.indexing import chunks
from bayesmf.point.als import cell_means
from bayesmf.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bayesmf.ratings import Ratings


class LowRank(NamedTuple):
    """A matrix left @ right.T, of shapes (n_users, R) and (n_items, R)."""

    left: np.ndarray
    right: np.ndarray

    @property
    def mean_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean rows of either side (R,): those of a user and of an item who were never seen."""
        return self.left.mean(axis=0), self.right.mean(axis=0)

    @classmethod
    def of_effects(cls, level: float, user: np.ndarray, item: np.ndarray) -> LowRank:
        """Make the matrix level + user_i + item_j."""
        ones = np.ones_like
        return cls(np.column_stack([level + user, ones(user)]), np.column_stack([ones(item), item]))

    def at(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Entries of some cells (n_cells,)."""
        out = np.empty(len(users))
        for part in chunks(len(users)):
            np.einsum("nk,nk->n", self.left[users[part]], self.right[items[part]], out=out[part])
        return out


class Decomposition(NamedTuple):
    """The best approximation of rank K to a filled table around its centre.

    Attributes
    ----------
    approximation : LowRank
        User factors (n_users, K) and item factors (n_items, K), orthogonal columns each, which
        share the singular values evenly.
    values : ndarray, shape (K,)
        Singular values, the largest first.
    total : float
        Sum of squares of the filled table around its centre: that of all its singular values.
    loss : float
        Sum of squared errors on the observed cells.
    center : float
    """

    approximation: LowRank
    values: np.ndarray
    total: float
    loss: float
    center: float

    @property
    def explained(self) -> np.ndarray:
        """Share of each component of the filled table's sum of squares (K,)."""
        return self.values**2 / self.total

    def means(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Expected ratings of cells by code; -1 for rows that were never seen."""
        left, right = self.approximation
        return cell_means(
            left, right, None, None, self.center, users, items, self.approximation.mean_rows
        )


def decompositions(
    ratings: Ratings, fill: LowRank, *, n_factors: int, center: float, seed: int
) -> Iterator[Decomposition]:
    """Decompose the filled table, fill it with the approximation, and so on without an end.

    All is around `center`, which is taken out of ratings and must be out of `fill`. Filling anew
    from the approximation itself never raises the loss (Mazumder, Hastie & Tibshirani 2010, their
    hard-impute; Troyanskaya et al. 2001, SVDimpute).
    """
    targets = ratings.values - center
    term = fill
    start = generator(seed, "svd").standard_normal(min(ratings.n_users, ratings.n_items))
    while True:
        away = targets - term.at(ratings.users, ratings.items)
        # |S + A B'|^2 is that of A B', and on observed cells that of the rating in place of it.
        total = float(np.sum((term.left.T @ term.left) * (term.right.T @ term.right)))
        total += float(away @ (2 * targets - away))
        if total == 0:  # ratings without the held-out part that are all alike: ARPACK refuses zero
            sides = (np.zeros((n, n_factors)) for n in (ratings.n_users, ratings.n_items))
            approximation, values = LowRank(*sides), np.zeros(n_factors)
        else:
            left, values, right = svds(
                _operator(ratings, away, term), k=n_factors, v0=start, solver="arpack"
            )
            approximation = _shared(left[:, ::-1], values[::-1], right[::-1].T)
        errors = targets - approximation.at(ratings.users, ratings.items)
        yield Decomposition(approximation, values[::-1], total, float(errors @ errors), center)
        term = approximation


def _operator(ratings: Ratings, away: np.ndarray, term: LowRank) -> LinearOperator:
    indptr, partners = ratings.by_user
    shape = ratings.n_users, ratings.n_items
    # SciPy widens both indices to the wider of the two.
    sparse = scipy.sparse.csr_array((away, partners, indptr.astype(np.int32)), shape=shape)

    def times(x: np.ndarray) -> np.ndarray:
        return sparse @ x + term.left @ (term.right.T @ x)

    def transposed_times(x: np.ndarray) -> np.ndarray:
        return sparse.T @ x + term.right @ (term.left.T @ x)

    return LinearOperator(
        shape, dtype=np.float64, matvec=times, matmat=times, rmatvec=transposed_times,
        rmatmat=transposed_times,
    )  # fmt: skip


def _shared(left: np.ndarray, values: np.ndarray, right: np.ndarray) -> LowRank:
    # The sign of a component is free: the largest entry of its item side is made positive.
    largest = right[np.argmax(np.abs(right), axis=0), np.arange(right.shape[1])]
    root = np.sqrt(values)
    signs = np.where(largest < 0, -1.0, 1.0)
    return LowRank(left * (signs * root), right * (signs * root))
