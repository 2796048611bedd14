"""ArviZ's measures of chains, for plain arrays: R-hat, effective sample size, Monte Carlo error.

Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), "Rank-normalization, folding, and
localization: an improved R-hat", Bayesian Analysis 16(2). Draws are (n_chains, n_draws, ...), and
each quantity of the axes that follow gets a number. ArviZ needs four draws of each chain, and two
chains for R-hat.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

FEWEST_DRAWS = 4
"""Draws of a chain with which ArviZ measures anything."""
TAILS = (0.05, 0.95)
"""Quantiles whose effective sample size is asked for: both, since ArviZ takes one number p for the
quantiles p and 1 - p, not for the probability between them."""


def good_khat(n_draws: int) -> float:
    """Largest k-hat of Pareto-smoothed weights with which so many draws can be trusted.

    Vehtari, Simpson, Gelman, Yao & Gabry (2024), JMLR 25(72), section 3.2.4.
    """
    return min(1 - 1 / math.log10(n_draws), 0.7)


def r_hat(draws: np.ndarray) -> np.ndarray:
    """Rank-normalised split R-hat."""
    import arviz  # noqa: PLC0415 - takes seconds to import: only where chains are judged

    return _plain(arviz.rhat(_labelled(draws), method="rank"))


def ess(draws: np.ndarray, method: str = "bulk") -> np.ndarray:
    """Effective sample size, "bulk", "tail" (of the 5 and 95% quantiles) or of the "mean"."""
    import arviz  # noqa: PLC0415

    words = {"prob": TAILS} if method == "tail" else {}
    return _plain(arviz.ess(_labelled(draws), method=method, **words))


def mcse(draws: np.ndarray) -> np.ndarray:
    """Monte Carlo error of the mean."""
    import arviz  # noqa: PLC0415

    return _plain(arviz.mcse(_labelled(draws), method="mean"))


def _labelled(draws: np.ndarray) -> xr.Dataset:
    import xarray as xr  # noqa: PLC0415

    others = [f"axis_{k}" for k in range(2, draws.ndim)]
    return xr.Dataset({"x": (["chain", "draw", *others], draws)})


def _plain(measured: xr.Dataset) -> np.ndarray:
    found: np.ndarray = measured["x"].to_numpy()
    return found
