"""Rows of an estimate given some ratings and the other side's rows: ridge regression."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

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
