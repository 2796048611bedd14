"""Alternating least squares, on the compiled row update that the Gibbs sampler uses.

The loss, on the rating scale after centring,

    sum_ij (r_ij - u_i . v_j - b_i - c_j)^2 + reg (sum |u_i|^2 + sum |v_j|^2)
                                            + reg_bias (sum b_i^2 + sum c_j^2)

is quadratic in the rows of one side: each half-sweep solves for all of them exactly, so the loss
never rises. With `weighted`, each row's penalty counts as often as the row has ratings (Zhou,
Wilkinson, Schreiber & Pan 2008, "Large-scale parallel collaborative filtering for the Netflix
prize", eq. 2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayesmf.kernels.blocks import Data, SideData, over_blocks, summed
from bayesmf.kernels.residuals import squared_errors
from bayesmf.kernels.updates import prepare
from bayesmf.model import WorkingScale
from bayesmf.seeds import generator

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from bayesmf.ratings import Ratings

INITIAL_SPREAD = 0.1
"""Standard deviation of the random start, in units of the square root of the ratings' sd."""


class Penalty(NamedTuple):
    """Ridge penalties of the factors and the biases."""

    reg: float
    reg_bias: float
    weighted: bool

    def diagonal(self, n_factors: int, biases: bool) -> np.ndarray:
        """Penalty of each coordinate of a row, (D,)."""
        return np.array([self.reg] * n_factors + [self.reg_bias] * biases)


class Solution(NamedTuple):
    """Rows (n, D) of both sides, the centre, and the loss after each half-sweep."""

    user_rows: np.ndarray
    item_rows: np.ndarray
    center: float
    loss: np.ndarray
    converged: bool


class SingularRowError(ValueError):
    """A row's least squares problem has no unique solution, or none that its precision can find."""


def solve(
    ratings: Ratings,
    *,
    n_factors: int,
    biases: bool,
    penalty: Penalty,
    center: float,
    max_iter: int,
    tol: float,
    seed: int,
    dtype: str = "float64",
    executor: Executor | None = None,
    start: tuple[np.ndarray, np.ndarray] | None = None,
) -> Solution:
    """Alternate until the loss falls by less than `tol` of itself in a sweep.

    It starts from these rows (n, D) of users and items, or from random ones. Rows are solved for in
    `dtype`; the loss is added up in double precision.

    Raises
    ------
    SingularRowError
        If a row has fewer ratings than coordinates without a penalty, or if rounding hides that its
        problem has a solution.
    """
    data = Data.build(ratings, WorkingScale(center, 1.0), n_factors, biases, dtype)
    d = n_factors + biases
    rng = generator(seed, "als")
    spread = INITIAL_SPREAD * np.sqrt(ratings.sd)
    if start is None:
        item_rows = spread * rng.standard_normal((ratings.n_items, d))
        if biases:
            item_rows[:, -1] = 0.0
        start = np.zeros((ratings.n_users, d)), item_rows
    user_rows, item_rows = (rows.astype(dtype) for rows in start)
    _refuse_short_rows(data, penalty, n_factors)
    losses = [_loss(data, user_rows, item_rows, penalty, n_factors, executor)]
    converged = False
    for _ in range(max_iter):
        _solve_side(data.users, user_rows, item_rows, penalty, n_factors, biases, executor)
        losses.append(_loss(data, user_rows, item_rows, penalty, n_factors, executor))
        _solve_side(data.items, item_rows, user_rows, penalty, n_factors, biases, executor)
        losses.append(_loss(data, user_rows, item_rows, penalty, n_factors, executor))
        if losses[-3] - losses[-1] <= tol * losses[-1]:
            converged = True
            break
    return Solution(user_rows, item_rows, center, np.array(losses), converged)


def _refuse_short_rows(data: Data, penalty: Penalty, n_factors: int) -> None:
    # Rounding can hide that such a row's problem has no unique solution.
    free = int((penalty.diagonal(n_factors, data.has_bias) == 0).sum())
    for side in (data.users, data.items):
        fewest = int(np.diff(side.side.indptr).min())
        if fewest < free:
            raise SingularRowError(
                f"a row with {fewest} ratings has no unique least squares solution for its {free} "
                "coordinates without a penalty"
            )


def _solve_side(
    data: SideData,
    rows: np.ndarray,
    partner_rows: np.ndarray,
    penalty: Penalty,
    n_factors: int,
    biases: bool,
    executor: Executor | None,
) -> None:
    diagonal = penalty.diagonal(n_factors, biases)
    update = prepare(
        data, partner_rows, biases, 1.0, np.zeros(len(diagonal)), np.diag(diagonal), executor,
        weigh_prior=penalty.weighted, means_only=True,
    )  # fmt: skip
    no_normals = np.empty(0, rows.dtype)

    def solve_block(_: int, block: range) -> int:
        return update.block(block, no_normals, rows)

    for failed in over_blocks(solve_block, data.blocks, executor):
        if failed >= 0:
            n = int(data.side.indptr[failed + 1] - data.side.indptr[failed])
            single = data.targets.dtype == np.float32
            raise SingularRowError(
                f"a row with {n} ratings has no unique least squares solution for its "
                f"{len(diagonal)} coordinates"
                + (" in single precision: try dtype='float64'" if single else "")
            )


def _loss(
    data: Data,
    user_rows: np.ndarray,
    item_rows: np.ndarray,
    penalty: Penalty,
    n_factors: int,
    executor: Executor | None,
) -> float:
    errors = squared_errors(data.users, user_rows, item_rows, data.has_bias)
    total = summed(errors, data.users.blocks, executor)
    diagonal = penalty.diagonal(n_factors, data.has_bias)
    for rows, one_side in ((user_rows, data.users), (item_rows, data.items)):
        of_row = np.einsum("nd,nd->n", rows * diagonal, rows)
        if penalty.weighted:
            of_row *= np.diff(one_side.side.indptr)
        total += float(of_row.sum())
    return total


def split_rows(
    solution: Solution, n_factors: int, biases: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """User factors, item factors, user bias, item bias (None without biases)."""
    users, items = (rows.astype(float) for rows in (solution.user_rows, solution.item_rows))
    factors = users[:, :n_factors].copy(), items[:, :n_factors].copy()
    if not biases:
        return *factors, None, None
    return *factors, users[:, n_factors].copy(), items[:, n_factors].copy()


def cell_means(
    user_factors: np.ndarray,
    item_factors: np.ndarray,
    user_bias: np.ndarray | None,
    item_bias: np.ndarray | None,
    center: float,
    users: np.ndarray,
    items: np.ndarray,
    unknown: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
) -> np.ndarray:
    """Predictions of cells by code; an unknown row, code -1, is what its penalty pulls to.

    That is zero, or `unknown` of the factors of users and of items.
    """

    def rows(array: np.ndarray, codes: np.ndarray, other: np.ndarray | None = None) -> np.ndarray:
        # Code -1 finds the one at the end.
        last = np.zeros((1, *array.shape[1:])) if other is None else other[None]
        return np.concatenate([array, last])[codes]

    left = rows(user_factors, users, unknown[0])
    means = center + np.einsum("nk,nk->n", left, rows(item_factors, items, unknown[1]))
    if user_bias is None or item_bias is None:
        return means
    return means + rows(user_bias, users) + rows(item_bias, items)
