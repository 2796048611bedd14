"""LAPACK on one small matrix, in double precision.

For matrices of ten or fifty rows NumPy's functions spend most of their time around LAPACK, and let
go of Python's lock for the moment that it works: chains in threads would hand it to and fro. So the
few calls that hyperparameters and singular values take go straight there.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from scipy.linalg import lapack


def cholesky(matrix: np.ndarray) -> np.ndarray:
    """Lower triangle L (d, d) with L L' = a symmetric matrix, of which the lower half is read.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the matrix is not positive definite.
    """
    lower, failed = lapack.dpotrf(matrix, lower=1)
    if failed:
        raise np.linalg.LinAlgError("the matrix is not positive definite")
    return cast("np.ndarray", lower)


def solve_transposed(lower: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve L' X = right for a lower triangle L (d, d)."""
    found, failed = lapack.dtrtrs(lower, right, lower=1, trans=1)
    return _checked(found, failed)


def solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve A x = right for a square matrix (d, d)."""
    *_, found, failed = lapack.dgesv(matrix, right)
    return _checked(found, failed)


def eigenvalues(matrix: np.ndarray) -> np.ndarray:
    """Eigenvalues (d,), increasing, of a symmetric matrix, of which the lower half is read."""
    found, _, failed = lapack.dsyev(matrix, compute_v=0, lower=1)
    return _checked(found, failed)


def _checked(found: np.ndarray, failed: int) -> np.ndarray:
    if failed:
        raise np.linalg.LinAlgError("the matrix is singular, or its eigenvalues did not settle")
    return found
