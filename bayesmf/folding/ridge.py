"""Rows of an estimate given some ratings and the other side's rows: ridge regression."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import nnls

from bayesmf.folding.planning import compressed_rows
from bayesmf.kernels.blocks import Data
from bayesmf.model import WorkingScale
from bayesmf.point.als import Joint

if TYPE_CHECKING:
    from bayesmf.folding.planning import Folding
    from bayesmf.point.als import Penalty


def ridge_rows(
    folding: Folding,
    partner_rows: np.ndarray,
    penalty: Penalty,
    *,
    center: float,
    has_bias: bool,
    toward: np.ndarray,
) -> np.ndarray:
    """Rows (n, D) that minimise squared error and the penalty of their distance from `toward` (D,).

    It is half a sweep of ALS: (X'X + diag(reg)) w = X'y for each row, with the rows of its partners
    in X, and a column of ones for the bias (Hoerl & Kennard 1970, eq. 2.1).

    Raises
    ------
    SingularRowError
        If a row has fewer ratings than coordinates without a penalty.
    """
    n_factors = partner_rows.shape[1] - has_bias
    data = Data.build(folding.ratings, WorkingScale(center, 1.0), n_factors, has_bias)
    own = data.users if folding.side == "user" else data.items
    rows = Joint(data, penalty, n_factors, None).solved(own, folding.side, partner_rows, toward)
    return np.asarray(rows, dtype=np.float64)


def nonnegative_rows(
    folding: Folding, partner_rows: np.ndarray, penalty: Penalty, *, toward: np.ndarray
) -> np.ndarray:
    """Rows (n, K) as in `ridge_rows`, without a bias or a centre, and with nothing below zero.

    The penalty is K more equations, of ratings sqrt(reg) `toward` (Lawson & Hanson 1974, ch. 23).
    """
    side, values = compressed_rows(folding.ratings, folding.side)
    n_factors = partner_rows.shape[1]
    rows = np.empty((side.n_rows, n_factors))
    for row in range(side.n_rows):
        rated = slice(side.indptr[row], side.indptr[row + 1])
        count = side.indptr[row + 1] - side.indptr[row] if penalty.weighted else 1
        root = np.sqrt(penalty.of(folding.side) * count)
        design = np.vstack([partner_rows[side.partners[rated]], root * np.eye(n_factors)])
        rows[row] = nnls(design, np.concatenate([values[rated], root * toward]))[0]
    return rows
