"""What each method of `fit_bpmf` knows, takes for granted and cannot do."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayesmf.gibbs.chains import Plan
from bayesmf.model import FAR
from bayesmf.pymc_engine.draws import count_parameters
from bayesmf.validation import Described, check_integer, check_number, fail

if TYPE_CHECKING:
    from bayesmf.model import BPMF
    from bayesmf.ratings import Pairs, Ratings
    from bayesmf.scales import WorkingScale

METHODS = ("gibbs", "nuts", "advi", "fullrank_advi")
DTYPES = ("float32", "float64")
TARGET_ACCEPT, MAX_ITER, TOL = 0.9, 20_000, 1e-4
"""Defaults of NUTS, and of ADVI."""

MANY, BATCH = 500_000, 100_000
"""Ratings from which on ADVI takes them in batches, and the size of these."""

FULL_RANK = 1500
"""Most parameters of full-rank ADVI, whose iterations take the cube of their number."""


class Options(NamedTuple):
    """What only some methods know."""

    target_accept: float
    batch_size: int | None
    max_iter: int
    tol: float


def check_options(
    method: str,
    backend: str,
    dtype: str | None,
    target_accept: float | None,
    batch_size: int | None,
    max_iter: int | None,
    tol: float | None,
    function: str,
) -> Options:
    """Check what a method knows, refuse what it does not, and fill in defaults."""
    knows = {
        "gibbs": {"backend", "dtype"}, "nuts": {"target_accept"},
        "advi": {"batch_size", "max_iter", "tol"}, "fullrank_advi": {"max_iter", "tol"},
    }[method]  # fmt: skip
    given = {
        "backend": None if backend == "numba" else backend,
        "dtype": None if dtype == "float64" else dtype,
        "target_accept": target_accept, "batch_size": batch_size, "max_iter": max_iter, "tol": tol,
    }  # fmt: skip
    for name, value in given.items():
        if value is not None and name not in knows:
            fail(name, function, f"left out with method={method!r}, which does not know it", value)
    if target_accept is None:
        target_accept = TARGET_ACCEPT
    if batch_size is not None:
        batch_size = check_integer(batch_size, "batch_size", function, minimum=1)
    return Options(
        check_number(target_accept, "target_accept", function, above=0, below=1),
        batch_size,
        check_integer(MAX_ITER if max_iter is None else max_iter, "max_iter", function, minimum=1),
        check_number(TOL if tol is None else tol, "tol", function, at_least=0),
    )


def check_plan(tune: int, draws: int, method: str, function: str) -> Plan:
    """Check how long a run is."""
    plan = Plan(
        check_integer(tune, "tune", function), check_integer(draws, "draws", function, minimum=1)
    )
    if method == "nuts" and plan.tune == 0:
        fail("tune", function, "at least 1 with method='nuts', which adapts its steps", tune)
    return plan


def choose_batch(options: Options, method: str, n_ratings: int) -> int | None:
    """Ratings in an iteration of ADVI: what was asked for, or few where there are very many."""
    if options.batch_size is None and method == "advi" and n_ratings > MANY:
        return BATCH
    return options.batch_size


def check_chains(chains: int | None, method: str, function: str) -> int:
    """Number of chains: four, or one where draws are independent."""
    if "advi" not in method:
        return check_integer(4 if chains is None else chains, "chains", function, minimum=1)
    if chains not in (None, 1):
        fail("chains", function, f"None or 1 with method={method!r}", chains)
    return 1


def check_size(method: str, model: BPMF, data: Ratings, function: str) -> None:
    """Refuse tables that a method on PyMC cannot fit."""
    if model.n_factors > min(data.n_users, data.n_items):
        must = f"at most the number of users and of items with method={method!r}"
        fail("n_factors", function, must, model.n_factors)
    parameters = count_parameters(model, data.n_users, data.n_items)
    if method == "fullrank_advi" and parameters > FULL_RANK:
        must = "'advi' or 'gibbs' for so many parameters: covariances are between all pairs of them"
        fail("method", function, must, Described(f"'fullrank_advi' with {parameters:,} parameters"))


def choose_dtype(
    dtype: str | None, data: Ratings, model: BPMF, working: WorkingScale, function: str
) -> str:
    """Single precision unless it would show; an error where it would and was asked for."""
    sd, size = data.sd / working.scale, abs(data.mean - working.center) / working.scale
    far = {"an sd": sd, "a mean": size / sd, "an inverse sd": 1 / sd}
    alpha = model.alpha if isinstance(model.alpha, float) else model.alpha.mean
    far |= {"noise of sd": alpha**-0.5, "noise of precision": alpha}
    far |= {"a prior mean of size": abs(model.prior.mu0)}
    for what, value in far.items():
        if value > FAR:
            if dtype == "float32":
                must = "None or 'float64' for a centre, scale or noise so far from the ratings"
                got = f"'float32' with {what} of {value:.3g} on the working scale"
                fail("dtype", function, must, Described(got))
            return "float64"
    return dtype or "float32"


def refuse_streaming(
    keep: int | None, track: object, store: object, method: str, function: str
) -> None:
    """Refuse what only Gibbs does while it draws."""
    for name, value in {"keep": keep, "track": track, "store": store}.items():
        if value is not None:
            must = f"left out with method={method!r}, which does not know it"
            if name == "store":
                must += " (Posterior.save keeps any result)"
            fail(name, function, must, Described(type(value).__name__))


def check_tracked(track: object, data: Ratings, keep: int | None, function: str) -> Pairs | None:
    """Return the cells to track: of known users and items, and some if no factors are kept."""
    if track is None:
        if keep == 0:
            must = "positive without `track`: nothing could be predicted"
            fail("keep", function, must, keep)
        return None
    cells = data.pairs(track, "track", function)
    for side, codes, ids in (
        ("user", cells.users, cells.user_ids), ("item", cells.items, cells.item_ids),
    ):  # fmt: skip
        if (codes < 0).any():
            unknown = ids.tolist()[int(np.argmax(codes < 0))]
            must = f"a table of cells whose {side}s have ratings"
            fail("track", function, must, Described(f"{side} {unknown!r}"))
    if len(cells.users) == 0:
        fail("track", function, "a table with at least one cell", Described("no rows"))
    return cells
