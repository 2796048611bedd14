"""The front of the point estimates: `fit_als`, `fit_bias`. Validate, tune, solve, wrap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayesmf.checks import check_cores, check_data, check_reg
from bayesmf.model import FAR
from bayesmf.point.als import Way
from bayesmf.point.tuning import Settings
from bayesmf.progress import Progress
from bayesmf.results.least_squares import least_squares
from bayesmf.results.starts import starting_rows
from bayesmf.seeds import fresh_seed
from bayesmf.validation import (
    Described,
    check_bool,
    check_choice,
    check_integer,
    check_number,
    check_seed,
    fail,
)

if TYPE_CHECKING:
    import numpy as np

    from bayesmf.ratings import Ratings
    from bayesmf.results import FactorEstimate


def fit_als(
    ratings: object,
    *,
    n_factors: int = 10,
    biases: bool = True,
    reg: float | tuple[float, float] | str = "auto",
    reg_bias: float | str = "auto",
    weighted: bool = False,
    center: bool = True,
    solve_biases: str = "joint",
    solve_sides: str = "alternating",
    init: FactorEstimate | tuple[np.ndarray | None, ...] | None = None,
    max_iter: int = 200,
    tol: float = 1e-4,
    dtype: str = "float64",
    validation_size: float = 0.1,
    cores: int | None = None,
    random_seed: int | None = None,
    progressbar: bool = True,
) -> FactorEstimate:
    """Matrix factorization by regularised alternating least squares.

    Parameters
    ----------
    ratings : DataFrame, Ratings, scipy sparse array, or tuple of arrays
        Observed ratings, one row each; see `Ratings`. Not changed.
    n_factors : int, default 10
        Rank of the interaction; 0 leaves the bias-only model.
    biases : bool, default True
        Whether users and items have biases.
    reg, reg_bias : float or "auto", default "auto"
        Penalties of squared factors and squared biases. "auto" chooses by the error on a random
        part of the ratings, then fits all of them. `reg` may be two numbers, for users and items;
        0 is least squares without a penalty, which fits noise as it fits taste.
    weighted : bool, default False
        Multiply each row's penalty by its number of ratings (Zhou et al. 2008).
    center : bool, default True
        Take the mean rating out first. `center=False, biases=False` is plain ALS.
    solve_biases : {"joint", "separate"}, default "joint"
        Whether a row's bias is solved for together with its factors, or after them, as lecture
        notes have it: another way down the same loss.
    solve_sides : {"alternating", "simultaneous"}, default "alternating"
        Whether items are solved for given the users' new rows, or given the old ones (Gauss-Seidel
        and Jacobi): then the loss may rise.
    init : FactorEstimate, or tuple of arrays, optional
        Where to start, not at random: a result with these ids, or (user_factors, item_factors) and,
        with biases, (..., user_bias, item_bias). Rows are in the order of `Ratings.user_ids` and
        `item_ids`. Alternating sides begin with the users, given the items' start alone.
    max_iter : int, default 200
        Most sweeps over both sides.
    tol : float, default 1e-4
        Stop when a sweep lowers the loss by less than this share of it.
    dtype : {"float64", "float32"}, default "float64"
        Type in which rows are solved for. Single precision is up to twice as fast, and has seven
        digits: too few for ratings far from their centre, or for `tol` near 1e-7.
    validation_size : float, default 0.1
        Share of the ratings held out to choose penalties and to measure `sigma`.
    cores : int, optional
        Threads; by default all that the process may use. Never changes a result.
    random_seed : int, optional
        Non-negative, for the start and the held-out part.
    progressbar : bool, default True
        Whether to show progress.

    Returns
    -------
    FactorEstimate

    Raises
    ------
    ValueError, TypeError
        For wrong arguments or data before any work starts; and when a row has too few ratings for a
        unique solution with a penalty of zero, or rounding in single precision hides it.

    Notes
    -----
    The loss is that of Koren, Bell & Volinsky (2009), eq. 5. It is the negative log posterior of
    probabilistic matrix factorization (Salakhutdinov & Mnih 2007) up to scale.

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> als = bayesmf.fit_als(ratings, n_factors=2, reg=5.0, reg_bias=2.0, random_seed=1,
    ...                       progressbar=False)
    >>> bool((als.loss[1:] <= als.loss[:-1]).all())
    True
    """
    return _fit(
        "fit_als", ratings, n_factors=n_factors, biases=biases, reg=reg, reg_bias=reg_bias,
        weighted=weighted, center=center, solve_biases=solve_biases, solve_sides=solve_sides,
        init=init, max_iter=max_iter, tol=tol, dtype=dtype,
        validation_size=validation_size, cores=cores, random_seed=random_seed,
        progressbar=progressbar,
    )  # fmt: skip


def fit_bias(
    ratings: object,
    *,
    reg_bias: float | str = "auto",
    weighted: bool = False,
    center: bool = True,
    max_iter: int = 200,
    tol: float = 1e-4,
    dtype: str = "float64",
    validation_size: float = 0.1,
    cores: int | None = None,
    random_seed: int | None = None,
    progressbar: bool = True,
) -> FactorEstimate:
    """User and item biases alone, by least squares: `fit_als` with `n_factors=0`.

    Parameters
    ----------
    ratings : DataFrame, Ratings, scipy sparse array, or tuple of arrays
        Observed ratings, one row each; see `Ratings`. Not changed.
    reg_bias : float or "auto", default "auto"
        Penalty of squared biases.
    weighted, center, max_iter, tol, dtype, validation_size, cores, random_seed, progressbar
        As in `fit_als`.

    Returns
    -------
    FactorEstimate

    Raises
    ------
    ValueError, TypeError
        As `fit_als`.

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> bayesmf.fit_bias(ratings, random_seed=1, progressbar=False).n_factors
    0
    """
    return _fit(
        "fit_bias", ratings, n_factors=0, biases=True, reg=0.0, reg_bias=reg_bias,
        weighted=weighted, center=center, max_iter=max_iter, tol=tol, dtype=dtype,
        validation_size=validation_size, cores=cores, random_seed=random_seed,
        progressbar=progressbar,
    )  # fmt: skip


def _fit(
    function: str,
    ratings: object,
    *,
    n_factors: object,
    biases: bool,
    reg: object,
    reg_bias: object,
    weighted: bool,
    center: bool,
    solve_biases: str = "joint",
    solve_sides: str = "alternating",
    init: object = None,
    max_iter: object,
    tol: object,
    dtype: str,
    validation_size: object,
    cores: int | None,
    random_seed: int | None,
    progressbar: bool,
) -> FactorEstimate:
    rank = check_integer(n_factors, "n_factors", function)
    check_bool(biases, "biases", function)
    if rank == 0 and not biases:
        fail("n_factors", function, "positive when biases=False: nothing would be left", 0)
    given_reg, reg_item, given_bias = check_reg(reg, reg_bias, function)
    check_bool(weighted, "weighted", function)
    check_bool(center, "center", function)
    way = Way(
        check_choice(solve_biases, "solve_biases", function, ("joint", "separate")),
        check_choice(solve_sides, "solve_sides", function, ("alternating", "simultaneous")),
    )
    sweeps = check_integer(max_iter, "max_iter", function, minimum=1)
    settled = check_number(tol, "tol", function, at_least=0)
    check_choice(dtype, "dtype", function, ("float64", "float32"))
    share = check_number(validation_size, "validation_size", function, above=0, below=1)
    cores = check_cores(cores, function)
    seed = fresh_seed(check_seed(random_seed, function))
    check_bool(progressbar, "progressbar", function)
    data, _ = check_data(ratings, None, function)
    if dtype == "float32":
        _refuse_far(data, center, function)

    start = None if init is None else starting_rows(init, data, rank, biases, function)
    settings = Settings(rank, biases, seed, weighted, center, sweeps, settled, share, dtype, way)
    with Progress([function], 1, show=progressbar, unit="fits") as progress:
        return least_squares(
            data, settings, reg=given_reg, reg_bias=given_bias, reg_item=reg_item, start=start,
            cores=cores, progress=progress, function=function,
        )  # fmt: skip


def _refuse_far(ratings: Ratings, center: bool, function: str) -> None:
    """Refuse single precision for ratings whose size or distance from their centre would show."""
    size = 0.0 if center else abs(ratings.mean)
    far = {
        "an sd": ratings.sd,
        "an inverse sd": 1 / ratings.sd,
        "a mean, in sds,": size / ratings.sd,
    }
    for what, value in far.items():
        if value > FAR:
            must = "'float64' for ratings of such a size, or so far from their centre"
            fail("dtype", function, must, Described(f"'float32' with {what} of {value:.3g}"))
