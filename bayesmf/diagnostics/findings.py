"""What a predictive check found, in plain sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

# What it means that the observed value is above, or below, all replicated ones.
_MEANINGS = {
    "mean": ("ratings are higher than the model says", "ratings are lower than the model says"),
    "sd": ("ratings differ more than the model says", "ratings differ less than the model says"),
    "skew": (
        "low ratings have less of a tail, or high ones more, than the model says",
        "low ratings have more of a tail, or high ones less, than the model says",
    ),
    "share at the top": (
        "the highest rating is given more often than the model says",
        "the highest rating is given less often than the model says",
    ),
    "share off the scale": ("", "the model expects ratings where the scale has none"),
    "sd of user means": (
        "users' means differ more than the model says",
        "users' means differ less than the model says",
    ),
    "sd of user sds": (
        "users differ in their spread more than the model says",
        "users differ in their spread less than the model says",
    ),
    "sd of item means": (
        "items' means differ more than the model says",
        "items' means differ less than the model says",
    ),
}


def sentence(
    name: str, row: dict[str, float], sign: int, shares: pd.DataFrame, residuals: pd.DataFrame
) -> str:
    """Say what does not fit; `sign` is 1 where the observed value is above the replicated ones.

    `row`, `shares` and `residuals` are the parts of a `PredictiveCheck`.
    """
    if name == "distance of the shares":
        kind = "rounded" if "rounded" in shares else "raw"
        worst = shares.iloc[int(np.argmax(np.abs(shares["observed"] - shares[kind])))]
        what = f"rating {worst.name:g}" if kind == "rounded" else f"ratings {_between(worst)}"
        ends = f"{worst[f'{kind}_lower']:.1%} to {worst[f'{kind}_upper']:.1%}"
        return (
            f"Observed share of {what} {worst['observed']:.1%}, replicated {ends}: ratings are "
            "distributed otherwise than the model says, and there most of all."
        )
    if name == "sd of residual means":
        at = residuals.iloc[
            int(np.argmax(np.abs(residuals["mean"] - residuals["mean_replicated"])))
        ]
        ends = f"{at['mean_lower']:.3g} to {at['mean_upper']:.3g}"
        return (
            f"Observed mean residual {at['mean']:.3g} where {at['predicted']:.3g} is predicted, "
            f"replicated {ends}: means are not what is predicted, and there least of all."
        )
    if name == "sd of residual sds":
        high, low = (residuals.iloc[int(end(residuals["sd"]))] for end in (np.argmax, np.argmin))
        ends = f"{residuals['sd_lower'].min():.3g} to {residuals['sd_upper'].max():.3g}"
        return (
            f"Observed residual sd {high['sd']:.3g} where {high['predicted']:.3g} is predicted and "
            f"{low['sd']:.3g} where {low['predicted']:.3g} is, replicated {ends}: the noise is not "
            "the same everywhere."
        )
    ends = f"{row['lower']:.3g} to {row['upper']:.3g}"
    meaning = _MEANINGS[name][0 if sign > 0 else 1]
    return f"Observed {name} {row['observed']:.3g}, replicated {ends}: {meaning}."


def _between(worst: pd.Series) -> str:
    if np.isinf(worst["start"]):
        return f"up to {worst['stop']:.3g}"
    if np.isinf(worst["stop"]):
        return f"above {worst['start']:.3g}"
    return f"{worst['start']:.3g} to {worst['stop']:.3g}"
