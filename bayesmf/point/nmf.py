"""Non-negative matrix factorization over observed cells, by two updates that never raise the loss.

The loss is

    sum_ij (r_ij - u_i . v_j)^2 + reg (sum |u_i|^2 + sum |v_j|^2),   u_i >= 0, v_j >= 0

over observed cells; with a weighted penalty each row's counts as often as the row has ratings.
Given one side, each row of the other has a problem of its own (`kernels/nonnegative.py`); rows go
over threads in blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesmf.kernels.blocks import Data, SideData, over_blocks, summed
from bayesmf.kernels.nonnegative import update_by_coordinate, update_by_ratio
from bayesmf.kernels.residuals import squared_errors
from bayesmf.model import WorkingScale
from bayesmf.point.als import Penalty, Solution
from bayesmf.seeds import generator

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from bayesmf.ratings import Ratings

UPDATES = {"hals": update_by_coordinate, "multiplicative": update_by_ratio}
"""What a solver does to rows."""


def random_rows(ratings: Ratings, n_factors: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose products are near the mean rating: the start."""
    rng = generator(seed, "nmf")
    size = np.sqrt(ratings.mean / n_factors)
    left, right = (
        size * np.abs(rng.standard_normal((n, n_factors)))
        for n in (ratings.n_users, ratings.n_items)
    )
    return left, right


def factorize(
    ratings: Ratings,
    *,
    solver: str,
    penalty: Penalty,
    max_iter: int,
    tol: float,
    start: tuple[np.ndarray, np.ndarray],
    executor: Executor | None = None,
) -> Solution:
    """Update users, then items, until a sweep lowers the loss by less than `tol` of itself.

    The loss is kept at the start and after each sweep.
    """
    user_rows, item_rows = (np.array(rows, dtype=np.float64) for rows in start)
    data = Data.build(ratings, WorkingScale(0.0, 1.0), user_rows.shape[1], has_bias=False)
    losses = [_loss(data, user_rows, item_rows, penalty, executor)]
    converged = False
    for _ in range(max_iter):
        _update(data.users, user_rows, item_rows, solver, penalty, executor)
        _update(data.items, item_rows, user_rows, solver, penalty, executor)
        losses.append(_loss(data, user_rows, item_rows, penalty, executor))
        if losses[-2] - losses[-1] <= tol * losses[-1]:
            converged = True
            break
    return Solution(user_rows, item_rows, 0.0, np.array(losses), converged)


def _update(
    data: SideData,
    rows: np.ndarray,
    partner_rows: np.ndarray,
    solver: str,
    penalty: Penalty,
    executor: Executor | None,
) -> None:
    update, side = UPDATES[solver], data.side

    def one(_: int, block: range) -> None:
        update(
            block.start, block.stop, side.indptr, side.partners, data.targets, rows, partner_rows,
            penalty.reg, penalty.weighted,
        )  # fmt: skip

    over_blocks(one, data.blocks, executor)


def _loss(
    data: Data,
    user_rows: np.ndarray,
    item_rows: np.ndarray,
    penalty: Penalty,
    executor: Executor | None,
) -> float:
    errors = squared_errors(data.users, user_rows, item_rows, has_bias=False)
    total = summed(errors, data.users.blocks, executor)
    for rows, one_side in ((user_rows, data.users), (item_rows, data.items)):
        of_row = penalty.reg * np.einsum("nk,nk->n", rows, rows)
        if penalty.weighted:
            of_row *= np.diff(one_side.side.indptr)
        total += float(of_row.sum())
    return total
