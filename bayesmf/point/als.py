"""Alternating least squares, on the compiled row update that the Gibbs sampler uses.

The loss, on the rating scale after centring,

    sum_ij (r_ij - u_i . v_j - b_i - c_j)^2 + reg (sum |u_i|^2 + sum |v_j|^2)
                                            + reg_bias (sum b_i^2 + sum c_j^2)

is quadratic in the rows of one side: each half-sweep solves for all of them exactly, so the loss
never rises. Nor does it when a row's bias is solved for after its factors and not with them; it may
where both sides are solved for given the other's old rows. With `weighted`, each row's penalty
counts as often as the row has ratings (Zhou, Wilkinson, Schreiber & Pan 2008, "Large-scale parallel
collaborative filtering for the Netflix prize", eq. 2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from bayesmf.indexing import chunks
from bayesmf.kernels.blocks import Data, SideData, over_blocks, summed
from bayesmf.kernels.residuals import squared_errors
from bayesmf.kernels.updates import prepare
from bayesmf.model import WorkingScale
from bayesmf.seeds import generator

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from bayesmf.ratings import Ratings

SIDES = ("user", "item")
OTHER = {"user": "item", "item": "user"}

INITIAL_SPREAD = 0.1
"""Standard deviation of the random start, in units of the square root of the ratings' sd."""


class Penalty(NamedTuple):
    """Ridge penalties of the factors, of items' own if they are not the users', and the biases."""

    reg: float
    reg_bias: float
    weighted: bool
    reg_item: float | None = None

    def of(self, side: str) -> float:
        """Penalty of a side's factors."""
        return self.reg if side == "user" or self.reg_item is None else self.reg_item

    def diagonal(self, side: str, n_factors: int, biases: bool) -> np.ndarray:
        """Penalty of each coordinate of a row, (D,)."""
        return np.array([self.of(side)] * n_factors + [self.reg_bias] * biases)


class Way(NamedTuple):
    """How the loss is brought down.

    Attributes
    ----------
    biases : {"joint", "separate"}
        Whether a row's bias is solved for with its factors, or after them.
    sides : {"alternating", "simultaneous"}
        Whether the second side is solved for given the new rows of the first, or the old ones.
    """

    biases: str = "joint"
    sides: str = "alternating"


USUAL = Way()


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
    way: Way = USUAL,
) -> Solution:
    """Sweep over both sides until the loss changes by less than `tol` of itself in a sweep.

    It starts from these rows (n, D) of users and items, or from random ones. Rows are solved for in
    `dtype`; the loss is added up in double precision.

    Raises
    ------
    SingularRowError
        If a row has fewer ratings than coordinates without a penalty, or if rounding hides that its
        problem has a solution.
    """
    data = Data.build(ratings, WorkingScale(center, 1.0), n_factors, biases, dtype)
    at_once = way.sides == "simultaneous"
    if start is None:
        start = _random_rows(ratings, n_factors, biases, seed, both=at_once)
    rows = {side: one.astype(dtype) for side, one in zip(SIDES, start, strict=True)}
    _refuse_short_rows(data, penalty, n_factors)
    update: Update
    if biases and way.biases == "separate":
        update = Separate(ratings, data, penalty, n_factors, executor)
    else:
        update = Joint(data, penalty, n_factors, executor)
    losses = [_loss(data, rows, penalty, n_factors, executor)]
    converged = False
    for _ in range(max_iter):
        before = losses[-1]
        if at_once:
            rows = {side: update(side, rows) for side in SIDES}
            losses.append(_loss(data, rows, penalty, n_factors, executor))
        else:
            for side in SIDES:
                rows[side] = update(side, rows)
                losses.append(_loss(data, rows, penalty, n_factors, executor))
        if abs(before - losses[-1]) <= tol * losses[-1]:
            converged = True
            break
    return Solution(rows["user"], rows["item"], center, np.array(losses), converged)


def _random_rows(
    ratings: Ratings, n_factors: int, biases: bool, seed: int, *, both: bool
) -> tuple[np.ndarray, np.ndarray]:
    # Items' factors alone, since users' rows come first; simultaneous sides are in need of both: a
    # side that is zero makes the other zero, and they would take turns in it for ever.
    rng = generator(seed, "als")
    spread = INITIAL_SPREAD * np.sqrt(ratings.sd)
    d = n_factors + biases
    item_rows = spread * rng.standard_normal((ratings.n_items, d))
    user_rows = np.zeros((ratings.n_users, d))
    if both:
        user_rows = spread * rng.standard_normal((ratings.n_users, d))
    if biases:
        user_rows[:, -1] = item_rows[:, -1] = 0.0
    return user_rows, item_rows


def _refuse_short_rows(data: Data, penalty: Penalty, n_factors: int) -> None:
    # Rounding can hide that such a row's problem has no unique solution.
    for name, side in (("user", data.users), ("item", data.items)):
        free = int((penalty.diagonal(name, n_factors, data.has_bias) == 0).sum())
        fewest = int(np.diff(side.side.indptr).min())
        if fewest < free:
            raise SingularRowError(
                f"a row with {fewest} ratings has no unique least squares solution for its {free} "
                "coordinates without a penalty"
            )


class Update(Protocol):
    """Solves for one side's rows (n, D) given the rows of both."""

    def __call__(self, side: str, rows: dict[str, np.ndarray]) -> np.ndarray:
        """Find new rows."""


class Joint:
    """Each row's factors and bias together: one system a row."""

    def __init__(
        self, data: Data, penalty: Penalty, n_factors: int, executor: Executor | None
    ) -> None:
        self.sides = {"user": data.users, "item": data.items}
        self.has_bias, self.executor = data.has_bias, executor
        self.weighted = penalty.weighted
        self.diagonals = {side: penalty.diagonal(side, n_factors, data.has_bias) for side in SIDES}

    def __call__(self, side: str, rows: dict[str, np.ndarray]) -> np.ndarray:
        """Solve for a side's rows given the other's."""
        return self.solved(self.sides[side], side, rows[OTHER[side]])

    def solved(
        self,
        data: SideData,
        side: str,
        partner_rows: np.ndarray,
        toward: np.ndarray | None = None,
    ) -> np.ndarray:
        """Rows (n, D) that fit the targets of a side best; penalties pull to zero or `toward`."""
        diagonal = self.diagonals[side]
        mean = np.zeros(len(diagonal)) if toward is None else toward
        update = prepare(
            data, partner_rows, self.has_bias, 1.0, mean, np.diag(diagonal), self.executor,
            weigh_prior=self.weighted, means_only=True,
        )  # fmt: skip
        rows = np.empty((data.side.n_rows, len(diagonal)), data.targets.dtype)
        no_normals = np.empty(0, rows.dtype)

        def solve_block(_: int, block: range) -> int:
            return update.block(block, no_normals, rows)

        for failed in over_blocks(solve_block, data.blocks, self.executor):
            if failed >= 0:
                n = int(data.side.indptr[failed + 1] - data.side.indptr[failed])
                single = data.targets.dtype == np.float32
                raise SingularRowError(
                    f"a row with {n} ratings has no unique least squares solution for its "
                    f"{len(diagonal)} coordinates"
                    + (" in single precision: try dtype='float64'" if single else "")
                )
        return rows


class Separate:
    """Each row's factors given its bias, then the bias: two blocks of coordinates a row."""

    def __init__(
        self,
        ratings: Ratings,
        data: Data,
        penalty: Penalty,
        n_factors: int,
        executor: Executor | None,
    ) -> None:
        self.sides = {"user": data.users, "item": data.items}
        self.factors = Joint(data._replace(has_bias=False), penalty, n_factors, executor)
        self.penalty = penalty
        order = ratings.in_item_order
        self.codes = {
            "user": (ratings.users, ratings.items),
            "item": (order(ratings.users), order(ratings.items)),
        }

    def __call__(self, side: str, rows: dict[str, np.ndarray]) -> np.ndarray:
        """Solve for a side's factors, then for its biases, given the other's rows."""
        data, (users, items) = self.sides[side], self.codes[side]
        own, partners = (users, items) if side == "user" else (items, users)
        other = rows[OTHER[side]]
        left = data.targets - other[partners, -1]
        targets = left - rows[side][own, -1]
        found = np.empty_like(rows[side])
        if found.shape[1] > 1:
            shifted = data._replace(targets=targets)
            found[:, :-1] = self.factors.solved(shifted, side, other[:, :-1])
        for part in chunks(len(left)):
            left[part] -= np.einsum("nk,nk->n", found[own[part], :-1], other[partners[part], :-1])
        counts = np.diff(data.side.indptr)
        penalty = self.penalty.reg_bias * (counts if self.penalty.weighted else 1)
        found[:, -1] = np.bincount(own, left, minlength=len(found)) / (counts + penalty)
        return found


def _loss(
    data: Data,
    rows: dict[str, np.ndarray],
    penalty: Penalty,
    n_factors: int,
    executor: Executor | None,
) -> float:
    errors = squared_errors(data.users, rows["user"], rows["item"], data.has_bias)
    total = summed(errors, data.users.blocks, executor)
    for side, one_side in (("user", data.users), ("item", data.items)):
        diagonal = penalty.diagonal(side, n_factors, data.has_bias)
        of_row = np.einsum("nd,nd->n", rows[side] * diagonal, rows[side])
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
