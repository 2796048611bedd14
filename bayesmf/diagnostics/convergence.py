"""Have the chains converged? What was measured, by quantity and by group, and the verdict.

Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Bayesian Analysis 16(2), ask for an R-hat
below 1.01, and for an effective sample size of at least 400 of four chains.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesmf.diagnostics.identified import SCALARS, Group, check_identified, identified_groups
from bayesmf.diagnostics.limits import Summary, limits_of
from bayesmf.diagnostics.measures import FEWEST_DRAWS, ess, mcse, r_hat
from bayesmf.diagnostics.verdict import Verdict, judge_chains
from bayesmf.validation import check_number

if TYPE_CHECKING:
    from bayesmf.diagnostics.identified import Judged

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
    # What never changes was fixed: there is nothing to judge.
    moving = {name: part[part["sd"] > 0] for name, part in parts.items()}
    summaries = {name: Summary.of(name, part) for name, part in moving.items()}
    verdict = judge_chains(
        moving, summaries, posterior.data.attrs, chains=chains, draws=draws,
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
    moving = np.flatnonzero(np.ptp(draws, axis=(0, 1)) > 0)
    columns["sd"][np.setdiff1d(np.arange(n), moving)] = 0.0  # rounding leaves more
    # One chain can only be held against itself: its halves are taken for two.
    fewest = FEWEST_DRAWS if len(draws) > 1 else 2 * FEWEST_DRAWS
    if draws.shape[1] >= fewest and len(moving):
        parts = np.array_split(moving, -(-len(moving) // AT_ONCE))
        with ThreadPoolExecutor(cores) as pool:
            measured = list(pool.map(lambda part: _measured(draws[:, :, part]), parts))
        found[:, moving] = np.hstack(measured)
    columns |= dict(zip(("r_hat", "ess_bulk", "ess_tail"), found[:3], strict=True))
    columns["mcse_sd"] = found[3]
    return pd.DataFrame(columns, index=pd.Index(group.labels, name="quantity"))


def _measured(draws: np.ndarray) -> np.ndarray:
    half = draws.shape[1] // 2
    apart = draws if len(draws) > 1 else np.concatenate([draws[:, :half], draws[:, -half:]])
    sd = draws.std(axis=(0, 1), ddof=1)
    return np.array([r_hat(apart), ess(draws), ess(draws, "tail"), mcse(draws) / sd])


def drifting(groups: dict[str, Group], failed: list[str]) -> bool:
    """Whether the second halves of the chains have an R-hat as asked, in all groups that failed."""
    for name in failed:
        draws = groups[name].draws
        later = draws[:, draws.shape[1] // 2 :]
        if len(later) < 2 or later.shape[1] < FEWEST_DRAWS:
            return False
        later = later[:, :, np.ptp(later, axis=(0, 1)) > 0]
        if not limits_of(name).mixed(pd.DataFrame({"r_hat": r_hat(later)})):
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
