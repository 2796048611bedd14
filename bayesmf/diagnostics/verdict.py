"""The verdict on a run in plain words: what was asked (`limits.py`), what was found, what to do."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmf.diagnostics.limits import LIMITS, MANY, limits_of
from bayesmf.evaluation import TRUSTED_K

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    import pandas as pd

    from bayesmf.diagnostics.limits import Limits, Summary

NAMES = {
    "alpha": "the noise precision", "total_log_likelihood": "the log likelihood",
    "train_rmse": "the training RMSE", "intercept": "the intercept",
    "interaction_sd": "the sd of the interaction", "singular_value": "singular values",
    "user_effect": "user effects", "item_effect": "item effects", "probe": "probe cells",
}  # fmt: skip
FEW_DRAWS = 100
"""Draws of a chain below which nothing can be said but that they are too few."""
_COLORS = {"converged": "#009E73", "not converged": "#D55E00", "cannot say": "#8b929b"}


@dataclass(frozen=True, repr=False)
class Verdict:
    """What is concluded from a run, and why.

    Attributes
    ----------
    status : str
        "converged", "not converged" or "cannot say".
    reasons : tuple of str
        What was found, as sentences.
    advice : tuple of str
        What to do, as sentences; empty where nothing is to be done.
    """

    status: str
    reasons: tuple[str, ...]
    advice: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"Verdict: {self.status}. {' '.join(self.reasons)}"]
        if self.advice:
            lines.append(f"What to do: {' '.join(self.advice)}")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        badge = (
            f'<b style="color:{_COLORS[self.status]}">{html.escape(self.status.capitalize())}.</b>'
        )
        text = html.escape(" ".join(self.reasons))
        todo = f"<br><b>What to do:</b> {html.escape(' '.join(self.advice))}" if self.advice else ""
        return f"<p>{badge} {text}{todo}</p>"


def judge_chains(
    parts: Mapping[str, pd.DataFrame],
    groups: Mapping[str, Summary],
    attributes: Mapping[Hashable, Any],
    *,
    chains: int,
    draws: int,
    drifts: Callable[[list[str]], bool],
) -> Verdict:
    """Come to a verdict from what was measured: a table and a summary of each group's members.

    Members are those that change: what was fixed has nothing to be judged by.
    `drifts` tells of some groups whether the R-hat of later draws is as asked, where that of all
    draws is not.
    """
    if "pareto_k" in attributes:
        return _of_approximation(attributes)
    if draws < 4:
        reason = f"{draws} draws of each chain are too few to measure anything."
        return Verdict("not converged", (reason,), (_more(attributes, draws, 1000),))
    failed = [name for name, group in groups.items() if not group.passed]
    divergent = int(attributes.get("divergences", 0))
    apart = [f"{divergent:,} of {chains * draws:,} draws were divergent."] if divergent else []
    if failed:
        found = [_found(name, groups[name], parts[name]) for name in failed]
        if draws < FEW_DRAWS:
            found.insert(0, f"{draws} draws of each chain say little of how well they mix.")
        advice = _advice({name: parts[name] for name in failed}, attributes, draws, drifts)
        if chains == 1:
            advice.append("Run at least two chains, better four.")
        if divergent:
            advice.append("Divergences call for a larger target_accept.")
        return Verdict("not converged", (*found, *apart), tuple(advice))
    if chains == 1:
        reason = "One chain agrees with itself, which is no evidence that others would."
        return Verdict("cannot say", (reason, *apart), ("Run at least two chains, better four.",))
    slow = _slow(groups, draws)
    return Verdict("converged", (_all_well(groups, parts, chains, draws), *slow, *apart))


def _advice(
    failed: Mapping[str, pd.DataFrame],
    attributes: Mapping[Hashable, Any],
    draws: int,
    drifts: Callable[[list[str]], bool],
) -> list[str]:
    if draws < FEW_DRAWS:
        return [_more(attributes, draws, 1000)]
    apart = [name for name, members in failed.items() if not limits_of(name).mixed(members)]
    # Draws that are too few, though they agree, are no sign of a drift.
    if len(apart) == len(failed) and drifts(apart):
        tune = _round_up(int(attributes["tune"]) + draws // 2)
        drift = "The second halves of the chains agree: the first still drift."
        return [f"{drift} Give a larger tune, such as tune={tune:,}."]
    advice = [_more(attributes, draws, _needed(failed, draws))]
    if set(failed) == {"singular_value"}:
        advice.append("Or fewer factors: the weakest are hardly told apart by these ratings.")
    return advice


def _of_approximation(attributes: Mapping[Hashable, Any]) -> Verdict:
    # Independent draws agree with each other, whatever they are drawn from.
    k, settled = float(attributes["pareto_k"]), bool(attributes["converged"])
    has = "has settled" if settled else "has not settled"
    told = f"ADVI {has}; its draws are independent, so that R-hat says nothing of it."
    if k >= TRUSTED_K:
        found = f"Pareto k is {k:.2f}, not below {TRUSTED_K}: it is not the posterior."
        advice = "Use method='gibbs' where intervals matter."
        return Verdict("not converged", (told, found), (advice,))
    found = f"Pareto k is {k:.2f}, below {TRUSTED_K}: weights could mend it."
    if settled:
        return Verdict("converged", (told, found))
    advice = "Give a larger max_iter, or use method='gibbs'."
    return Verdict("not converged", (told, found), (advice,))


def _all_well(
    groups: Mapping[str, Summary], parts: Mapping[str, pd.DataFrame], chains: int, draws: int
) -> str:
    moving = {name: group for name, group in groups.items() if group.quantities}
    slow = min(moving, key=lambda name: moving[name].ess_bulk)
    least = str(parts[slow]["ess_bulk"].idxmin())
    text = (
        f"{chains} chains of {draws:,} draws agree in all "
        f"{sum(group.quantities for group in moving.values()):,} quantities that were looked at: "
        f"the largest R-hat is {max(group.r_hat for group in moving.values()):.3f}, the least bulk "
        f"ESS {moving[slow].ess_bulk:,.0f} ({NAMES[slow] if least == slow else least})."
    )
    if "probe" in groups:
        probe = groups["probe"]
        text += (
            f" {probe.share:.1%} of {probe.quantities:,} probe cells have R-hat < "
            f"{LIMITS['usual'].r_hat}, the largest {probe.r_hat:.3f}."
        )
    return text


def _slow(groups: Mapping[str, Summary], draws: int) -> list[str]:
    # Numbers that count by themselves, above 1.01 but below what is asked of each.
    usual = LIMITS["usual"]
    names = [
        name
        for name, group in groups.items()
        if group.quantities == 1 and group.r_hat >= usual.r_hat
    ]
    if not names:
        return []
    needed = max(draws * (groups[name].r_hat - 1) / (usual.r_hat - 1) for name in names)
    told = " and ".join(f"{NAMES[name]} ({groups[name].r_hat:.3f})" for name in names)
    cure = f"some draws={_round_up(math.ceil(needed)):,} would bring it below."
    return [f"R-hat is between {usual.r_hat} and {usual.most} of {told}; {cure}"]


def _found(name: str, group: Summary, members: pd.DataFrame) -> str:
    limits = limits_of(name)
    if members["r_hat"].isna().any():
        return f"R-hat of {NAMES[name]} could not be measured."
    where = "" if group.quantities == 1 else f" ({members['r_hat'].idxmax()})"
    parts = []
    if group.quantities >= MANY and group.share < limits.share:
        parts.append(f"{group.share:.1%} have R-hat < {limits.r_hat}, asked are {limits.share:.0%}")
    if group.r_hat >= limits.most:
        parts.append(f"R-hat is up to {group.r_hat:.3f}{where}, asked is below {limits.most:g}")
    ess = min(group.ess_bulk, group.ess_tail)
    if ess < limits.ess:
        parts.append(f"the effective sample size is down to {ess:,.0f} of {limits.ess:,.0f}")
    elif group.mcse_sd > limits.mcse_sd:
        parts.append(f"the Monte Carlo error is {group.mcse_sd:.3f} sd, over {limits.mcse_sd}")
    text = f"{NAMES[name]}: {', '.join(parts)}."
    return text[0].upper() + text[1:]


def _needed(failed: Mapping[str, pd.DataFrame], draws: int) -> int:
    # Both R-hat - 1 and the variance of a mean fall as one over the number of draws.
    factor = 1.2
    for name, members in failed.items():
        limits = limits_of(name)
        factor = max(
            factor,
            1.2 * limits.ess / members[["ess_bulk", "ess_tail"]].min().min(),
            1.2 * (members["r_hat"].max() - 1) / (limits.most - 1),
            1.2 * _times_for_share(members["r_hat"].to_numpy(), limits),
            1.2 * (members["mcse_sd"].max() / limits.mcse_sd) ** 2,
        )
    return math.ceil(factor * draws)


def _times_for_share(r_hat: np.ndarray, limits: Limits) -> float:
    # How many times the draws bring as many below as are asked.
    if len(r_hat) < MANY:
        return 1.0
    return float(np.quantile(r_hat, limits.share) - 1) / (limits.r_hat - 1)


def _more(attributes: Mapping[Hashable, Any], draws: int, needed: int) -> str:
    if needed > 20 * draws and draws >= FEW_DRAWS:
        return (
            "The chains are far apart: look at their traces. They need a larger tune and draws, "
            "or have found different modes, which more draws do not mend: compare their log "
            "likelihoods."
        )
    tune = int(attributes.get("tune", 0))
    longer = f" and tune={max(500, tune):,}" if tune < 500 else ""
    return f"Give more draws, some draws={_round_up(needed):,}{longer}."


def _round_up(number: int) -> int:
    unit = 10 ** max(0, len(str(number)) - 2)
    return -(-number // unit) * unit
