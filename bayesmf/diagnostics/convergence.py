"""Have the chains converged? R-hat, effective sample sizes and Monte Carlo errors by ArviZ.

Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), "Rank-normalization, folding, and
localization: an improved R-hat", Bayesian Analysis 16(2): rank-normalised split R-hat below 1.01,
and an effective sample size of at least 400 for four chains.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesmf.diagnostics.identified import SCALARS, Group, check_identified, identified_groups
from bayesmf.diagnostics.verdict import LIMITS, Summary, Verdict, judge_chains
from bayesmf.validation import check_number

if TYPE_CHECKING:
    from bayesmf.diagnostics.identified import Judged

PROB = 0.9
"""Probability between the two tails whose effective sample size is asked for."""
AT_ONCE = 32
"""Quantities that a thread hands to ArviZ at a time."""
SHOWN = (*SCALARS, "singular_value")
"""What a summary shows unless it is asked for more."""


@dataclass(frozen=True, repr=False)
class Diagnostics:
    """Convergence of what ratings identify.

    Attributes
    ----------
    table : pandas.DataFrame
        One row for each quantity, by (group, quantity): `mean`, `sd`, `r_hat` (rank-normalised,
        split), `ess_bulk`, `ess_tail` (of the 5 and 95% quantiles), and `mcse_sd`, the Monte Carlo
        error of the mean in units of the sd.
    groups : pandas.DataFrame
        One row for each group: how many quantities, the share with R-hat below 1.01, the largest
        R-hat, the least effective sample sizes, the largest `mcse_sd`, and whether it `passed`.
    verdict : Verdict
        `status` ("converged", "not converged" or "cannot say"), its `reasons` and `advice`.
    """

    table: pd.DataFrame
    groups: pd.DataFrame
    verdict: Verdict

    @property
    def converged(self) -> bool:
        """Whether the verdict is "converged"."""
        return self.verdict.status == "converged"

    def worst(self, n: int = 5) -> pd.DataFrame:
        """Return the n quantities with the largest R-hat.

        Parameters
        ----------
        n : int, default 5

        Returns
        -------
        DataFrame
            Rows of `table`.

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
        ...                         progressbar=False)
        >>> len(post.diagnose().worst(3))
        3
        """
        return self.table.sort_values("r_hat", ascending=False, na_position="first").head(n)

    def __str__(self) -> str:
        return f"{self.verdict}\n\n{shown_groups(self.groups).to_string()}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        worst = self.worst().droplevel(0).round(4).to_html(float_format="{:.4g}".format)
        return (
            f"{self.verdict._repr_html_()}{shown_groups(self.groups).to_html()}"
            f"<details><summary>Largest R-hat</summary>{worst}</details>"
        )


def diagnose(posterior: Judged, *, var_names: object = None) -> Diagnostics:
    """Judge the convergence of identified quantities; `Posterior.diagnose` documents it."""
    function = "diagnose"
    names = check_identified(var_names, function)
    groups = identified_groups(posterior, names, function)
    chains, draws = next(iter(groups.values())).draws.shape[:2]
    parts = {name: measure(group, posterior.cores) for name, group in groups.items()}
    summaries = {name: Summary.of(name, part) for name, part in parts.items()}
    verdict = judge_chains(
        parts, summaries, posterior.data.attrs, chains=chains, draws=draws,
        drifts=lambda failed: drifting(groups, failed),
    )  # fmt: skip
    summary = pd.DataFrame(summaries.values(), index=pd.Index(list(groups), name="group"))
    return Diagnostics(pd.concat(parts, names=["group", "quantity"]), summary, verdict)


def measure(group: Group, cores: int) -> pd.DataFrame:
    """Summarise each quantity of a group; NaN where the chains are too short to say."""
    draws = group.draws
    n = draws.shape[2]
    columns = {"mean": draws.mean(axis=(0, 1)), "sd": draws.std(axis=(0, 1))}
    found = np.full((4, n), np.nan)
    # ArviZ needs four draws of each chain. What never changes was fixed: there is nothing to say.
    moving = np.flatnonzero(np.ptp(draws, axis=(0, 1)) > 0)
    columns["sd"][np.setdiff1d(np.arange(n), moving)] = 0.0  # rounding leaves more
    if draws.shape[1] >= (4 if len(draws) > 1 else 8) and len(moving):
        parts = np.array_split(moving, -(-len(moving) // AT_ONCE))
        with ThreadPoolExecutor(cores) as pool:
            measured = list(pool.map(lambda part: _by_arviz(draws[:, :, part]), parts))
        found[:, moving] = np.hstack(measured)
    columns |= dict(zip(("r_hat", "ess_bulk", "ess_tail"), found[:3], strict=True))
    columns["mcse_sd"] = found[3]
    return pd.DataFrame(columns, index=pd.Index(group.labels, name="quantity"))


def _by_arviz(draws: np.ndarray) -> np.ndarray:
    import arviz as az  # noqa: PLC0415 - takes seconds to import: only where a verdict is asked for
    import xarray as xr  # noqa: PLC0415

    def dataset(values: np.ndarray) -> xr.Dataset:
        return xr.Dataset({"x": (("chain", "draw", "quantity"), values)})

    of, half = dataset(draws), draws.shape[1] // 2
    # One chain can only be held against itself: its halves are taken for two.
    apart = of if len(draws) > 1 else dataset(np.concatenate([draws[:, :half], draws[:, -half:]]))
    measures = (
        az.rhat(apart, method="rank"),
        az.ess(of, method="bulk"),
        az.ess(of, method="tail", prob=PROB),
        az.mcse(of, method="mean"),
    )
    values = np.array([measured["x"].to_numpy() for measured in measures])
    values[3] /= draws.std(axis=(0, 1), ddof=1)
    return values


def drifting(groups: dict[str, Group], failed: list[str]) -> bool:
    """Whether the second halves of the chains have an R-hat as asked, in all groups that failed."""
    import arviz as az  # noqa: PLC0415
    import xarray as xr  # noqa: PLC0415

    for name in failed:
        draws = groups[name].draws
        later = draws[:, draws.shape[1] // 2 :]
        if len(later) < 2 or later.shape[1] < 4:
            return False
        later = later[:, :, np.ptp(later, axis=(0, 1)) > 0]
        of = xr.Dataset({"x": (("chain", "draw", "quantity"), later)})
        found = pd.DataFrame({"r_hat": az.rhat(of, method="rank")["x"].to_numpy()})
        if not LIMITS.get(name, LIMITS["usual"]).mixed(found):
            return False
    return bool(failed)


def shown_groups(groups: pd.DataFrame) -> pd.DataFrame:
    """The summary of groups as people read it."""
    shown = pd.DataFrame(index=groups.index.rename(None))
    shown["quantities"] = groups["quantities"].astype(int)
    shown["R-hat < 1.01"] = groups["share"].map("{:.1%}".format)
    shown["largest R-hat"] = groups["r_hat"].map("{:.3f}".format)
    for column, head in (("ess_bulk", "least bulk ESS"), ("ess_tail", "least tail ESS")):
        shown[head] = groups[column].map("{:,.0f}".format)
    shown["largest MCSE/sd"] = groups["mcse_sd"].map("{:.3f}".format)
    # What is fixed has nothing to measure.
    fixed = groups["quantities"] == 0
    shown = shown.astype(object).mask(fixed, "–")
    shown.loc[fixed, "quantities"] = "fixed"
    shown["passed"] = ["yes" if passed else "no" for passed in groups["passed"]]
    return shown


def summary(posterior: Judged, *, var_names: object = None, prob: object = 0.9) -> pd.DataFrame:
    """Mean, sd, central interval and diagnostics; `Posterior.summary` documents it."""
    function = "summary"
    names = SHOWN if var_names is None else check_identified(var_names, function)
    prob = check_number(prob, "prob", function, above=0, below=1)
    parts = {}
    for name, group in identified_groups(posterior, names, function).items():
        found = measure(group, posterior.cores)
        ends = np.quantile(group.draws, [(1 - prob) / 2, (1 + prob) / 2], axis=(0, 1))
        found.insert(2, "lower", ends[0])
        found.insert(3, "upper", ends[1])
        parts[name] = found
    return pd.concat(parts).droplevel(0).rename_axis("quantity")
