"""Log densities of single ratings as labelled arrays, and as a group that ArviZ reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayesmf.diagnostics.pointwise import PointwiseDensities, relative_efficiency, sample_ratings
from bayesmf.seeds import fresh_seed
from bayesmf.validation import (
    Described,
    check_bool,
    check_bytes,
    check_integer,
    check_seed,
    fail,
)

if TYPE_CHECKING:
    from bayesmf.diagnostics.identified import Judged


def log_likelihood(
    posterior: Judged,
    *,
    ratings: object = None,
    draws: int = 400,
    integrated: bool = True,
    memory_budget: str | int = "1GB",
) -> xr.DataArray:
    """Log density of single ratings in every draw.

    Parameters
    ----------
    posterior : Posterior
    ratings : sequence of int, optional
        Row numbers of ratings in `posterior.data["observed_data"]`; by default all.
    draws : int, default 400
        Most draws to use, of all chains together: the same number of each, evenly spaced over what
        was kept.
    integrated : bool, default True
        Integrate out the row, user's or item's, that has fewer ratings: the density of a rating
        given the row's others. False gives the density given both rows, Normal(center + u.v + b +
        c, 1 / alpha), from which leaving out fails where a row has few ratings.
    memory_budget : str or int, default "1GB"
        Bytes that the result may take.

    Returns
    -------
    xarray.DataArray
        Dimensions (chain, draw, rating_id), ratings in increasing order, with the ids of `user` and
        `item` as coordinates. On the rating scale.

    Raises
    ------
    ValueError, TypeError
        For row numbers that are none, or more numbers than `memory_budget` holds.
    numpy.linalg.LinAlgError
        If the precision of a row is lost to rounding.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf.diagnostics.likelihoods import log_likelihood
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
    ...                         progressbar=False)
    >>> log_likelihood(post, ratings=[3, 14], draws=100).shape
    (4, 25, 2)
    """
    function = "log_likelihood"
    draws = check_integer(draws, "draws", function, minimum=1)
    check_bool(integrated, "integrated", function)
    budget = check_bytes(memory_budget, "memory_budget", function)
    codes = _check_codes(ratings, len(posterior.ratings), function)
    return _collected(posterior, codes, draws, integrated, budget, "ratings", function)


def add_log_likelihood(
    posterior: Judged,
    *,
    n_ratings: int | None = None,
    draws: int = 400,
    integrated: bool = True,
    random_seed: int | None = 0,
    memory_budget: str | int = "1GB",
) -> None:
    """Add a group `log_likelihood` to the draws; `Posterior.add_log_likelihood` documents it."""
    function = "add_log_likelihood"
    if n_ratings is not None:
        n_ratings = check_integer(n_ratings, "n_ratings", function, minimum=1)
    draws = check_integer(draws, "draws", function, minimum=1)
    check_bool(integrated, "integrated", function)
    seed = fresh_seed(check_seed(random_seed, function))
    budget = check_bytes(memory_budget, "memory_budget", function)
    codes = sample_ratings(posterior.ratings, n_ratings, seed)
    found = _collected(posterior, codes, draws, integrated, budget, "n_ratings", function)
    found.attrs["reff"] = relative_efficiency(found.to_numpy())
    posterior.data["log_likelihood"] = xr.DataTree(found.to_dataset(promote_attrs=True))


def _collected(
    posterior: Judged, codes: np.ndarray, draws: int, integrated: bool, budget: int, argument: str,
    function: str,
) -> xr.DataArray:  # fmt: skip
    densities = PointwiseDensities(posterior, codes, draws=draws, integrated=integrated)
    need = 8 * densities.n_draws * len(codes)
    if need > budget:
        most = budget // (8 * densities.n_draws)
        must = (
            f"at most {most:,} ratings with {densities.n_draws:,} draws and a memory_budget of "
            f"{budget / 1e9:.3g} GB; take fewer ratings or draws, or give it a larger budget"
        )
        got = Described(f"{len(codes):,} ratings, which take {need / 1e9:.3g} GB")
        fail(argument, function, must, got)
    table = posterior.ratings
    coords: dict[str, Any] = {
        "chain": posterior.data["factors"]["chain"].to_numpy(),
        "draw": densities.draw,
        "rating_id": codes,
        "user": ("rating_id", table.user_ids.to_numpy()[table.users[codes]]),
        "item": ("rating_id", table.item_ids.to_numpy()[table.items[codes]]),
    }
    about = {"integrated": int(integrated), "ratings_in_all": len(table)}
    return xr.DataArray(densities.whole(), coords, ("chain", "draw", "rating_id"), "rating", about)


def _check_codes(ratings: object, n: int, function: str) -> np.ndarray:
    if ratings is None:
        return np.arange(n)
    codes = np.asarray(ratings)
    must = f"distinct row numbers of ratings, integers from 0 to {n - 1}"
    if codes.ndim != 1 or codes.dtype.kind not in "iu":
        fail("ratings", function, must, ratings, TypeError)
    found = np.unique(codes)
    if len(found) < len(codes) or not len(found) or found[0] < 0 or found[-1] >= n:
        fail("ratings", function, must, ratings)
    return found.astype(np.int64)
