"""Stochastic gradient descent on the loss of `als.py`, a batch of ratings at a time.

The gradient of half the loss is a sum over ratings,

    d/du_i = sum_j (-e_ij v_j + (reg / n_i) u_i)
    d/db_i = sum_j (-e_ij + (reg_bias / n_i) b_i)

with e_ij = r_ij - u_i . v_j - b_i - c_j and n_i ratings of user i, and so for items: each rating
bears its share of its rows' penalties. A step goes down the sum over a batch, the penalty taken
where the step arrives (a proximal step: Parikh & Boyd 2014), so that none is too strong. With
batches of one it is the descent of Funk (2006) and Koren, Bell & Volinsky (2009), whose penalty is
`weighted`.

Rows are on the working scale, (r - centre) / sd, so that the same learning rate serves any ratings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayesmf.kernels.descent import descend
from bayesmf.point.als import INITIAL_SPREAD, SIDES, cell_means
from bayesmf.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Callable

    from bayesmf.point.als import Penalty
    from bayesmf.ratings import Ratings

SCHEDULES = ("inverse", "constant", "cosine")
HALF_LIFE = 10
"""Epochs after which the learning rate of the schedule "inverse" has fallen to a half."""


class Descent(NamedTuple):
    """How the loss is gone down."""

    n_factors: int
    biases: bool
    batch_size: int
    learning_rate: float
    schedule: str
    max_epochs: int


class Rows(NamedTuple):
    """Factors and biases on the rating scale, and the centre."""

    user_factors: np.ndarray
    item_factors: np.ndarray
    user_bias: np.ndarray | None
    item_bias: np.ndarray | None
    center: float

    def means(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Predictions of cells by code, -1 for an unknown row."""
        return cell_means(*self, users, items)


class DivergedError(ValueError):
    """The loss has grown beyond all bounds."""


def run(
    ratings: Ratings,
    descent: Descent,
    penalty: Penalty,
    *,
    center: float,
    seed: int,
    n_epochs: int,
    watch: Callable[[Rows], bool],
    start: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[Rows, np.ndarray]:
    """Go down for at most `n_epochs`, until `watch`, called after each, says that it is enough.

    Returns the rows, and the loss (rating scale) at the start and after each epoch. The start are
    rows (n, D) on the rating scale, by default random ones.

    Raises
    ------
    DivergedError
        If the learning rate is so large that numbers are lost.
    """
    k, d = descent.n_factors, descent.n_factors + descent.biases
    scale = ratings.sd or 1.0  # what is left without the validation part may be all alike
    unit = np.array([np.sqrt(scale)] * k + [scale] * descent.biases)
    targets = (ratings.values - center) / scale
    codes = {"user": ratings.users, "item": ratings.items}
    counts = {side: np.bincount(codes[side]) for side in SIDES}
    rng = generator(seed, "sgd")
    rows, decays = {}, {}
    for place, side in enumerate(SIDES):
        if start is None:
            rows[side] = INITIAL_SPREAD * rng.standard_normal((len(counts[side]), d))
            rows[side][:, k:] = 0.0
        else:
            rows[side] = start[place] / unit
        share = penalty.diagonal(side, k, descent.biases) * unit**2 / scale**2
        n = 1 if penalty.weighted else counts[side][:, None]
        decays[side] = np.broadcast_to(share / n, rows[side].shape).copy()

    def on_rating_scale() -> Rows:
        with np.errstate(over="ignore"):  # the loss says so
            users, items = (rows[side] * unit for side in SIDES)
        if not descent.biases:
            return Rows(users, items, None, None, center)
        return Rows(users[:, :k], items[:, :k], users[:, k], items[:, k], center)

    losses = [squared_loss(ratings, on_rating_scale(), penalty)]
    for epoch in range(n_epochs):
        descend(
            rng.permutation(len(ratings)), min(descent.batch_size, len(ratings)), ratings.users,
            ratings.items, targets, rows["user"], rows["item"], k, descent.biases, decays["user"],
            decays["item"], rates_of(descent, epoch, len(ratings)),
        )  # fmt: skip
        now = on_rating_scale()
        losses.append(squared_loss(ratings, now, penalty))
        if not np.isfinite(losses[-1]):
            raise DivergedError(f"the loss is no longer finite after {epoch + 1} epochs")
        if watch(now):
            break
    return on_rating_scale(), np.array(losses)


def rates_of(descent: Descent, epoch: int, n_ratings: int) -> np.ndarray:
    """Learning rate of each batch of an epoch."""
    n_batches = -(-n_ratings // min(descent.batch_size, n_ratings))
    at = epoch + np.arange(n_batches) / n_batches
    if descent.schedule == "inverse":
        # Robbins & Monro (1951): rates whose sum is infinite and whose squares' is not.
        return descent.learning_rate / (1 + at / HALF_LIFE)
    if descent.schedule == "cosine":
        # Loshchilov & Hutter (2017), eq. 5, without restarts.
        return descent.learning_rate * (1 + np.cos(np.pi * at / descent.max_epochs)) / 2
    return np.full(n_batches, descent.learning_rate)


def squared_loss(ratings: Ratings, rows: Rows, penalty: Penalty) -> float:
    """Penalised squared error on the rating scale; not finite where numbers are lost."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _squared_loss(ratings, rows, penalty)


def _squared_loss(ratings: Ratings, rows: Rows, penalty: Penalty) -> float:
    total = float(((ratings.values - rows.means(ratings.users, ratings.items)) ** 2).sum())
    for side, codes, factors, bias in (
        ("user", ratings.users, rows.user_factors, rows.user_bias),
        ("item", ratings.items, rows.item_factors, rows.item_bias),
    ):
        squares = penalty.of(side) * np.einsum("nk,nk->n", factors, factors)
        if bias is not None:
            squares += penalty.reg_bias * bias**2
        total += float(squares @ np.bincount(codes) if penalty.weighted else squares.sum())
    return total
