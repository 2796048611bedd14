"""The fit that several scripts begin with: one chain, of the rank and length of their settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bayesmf
from benchmarks.common import progress

if TYPE_CHECKING:
    from benchmarks.common import Settings


def movielens_1m() -> bayesmf.Ratings:
    """All ratings of ML-1M."""
    return bayesmf.Ratings(bayesmf.load_movielens("1m"))


def one_chain(
    ratings: object, settings: Settings, *, seed: int = 1, **more: Any
) -> bayesmf.Posterior:
    """Fit one chain; `settings` have its rank, tune, draws and threads, `more` goes to the fit."""
    post = bayesmf.fit_bpmf(
        ratings,
        n_factors=settings["rank"],
        chains=1,
        tune=settings["tune"],
        draws=settings["draws"],
        cores=settings["threads"],
        random_seed=seed,
        progressbar=False,
        **more,
    )
    progress(f"fitted in {post.fit_seconds:.0f} s")
    return post
