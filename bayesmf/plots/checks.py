"""Predictive checks and the PIT: observed ratings beside what the model expects of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bayesmf.diagnostics.criticism import ROWS, PredictiveCheck
from bayesmf.diagnostics.pit import PIT
from bayesmf.plots.style import accent, contrast, grid, ink, looks, prepare, styled
from bayesmf.validation import Described, check_choice, fail

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@styled
def plot_ratings_check(check: PredictiveCheck, *, ax: Axes | None = None) -> Axes:
    """Distribution of the ratings: observed bars, replicated 90% intervals.

    Parameters
    ----------
    check : PredictiveCheck
        What `check_predictive` gave.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        Bars of the observed shares, and points with intervals "replicated"; on a grid of ratings
        two of them, "replicated, rounded" to the scale and "replicated, as they are".

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> from bayesmf.diagnostics.criticism import check_predictive
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
    ...                         progressbar=False)
    >>> plots.plot_ratings_check(check_predictive(post, random_seed=1)).get_ylabel()
    'share of ratings'
    """
    _check(check, "plot_ratings_check")
    ax = prepare(ax)
    shares, on_grid = check.shares, check.grid is not None
    at = shares.index.to_numpy(np.float64) if on_grid else np.arange(1.0, len(shares) + 1)
    step = at[1] - at[0]
    ax.bar(at, shares["observed"], 0.8 * step, color=ink(), alpha=0.22, lw=0, label="observed")
    kinds = [("raw", "replicated", 0.0, accent(), "o")]
    if on_grid:
        kinds = [
            ("rounded", "replicated, rounded", -0.14 * step, accent(), "o"),
            ("raw", "replicated, as they are", 0.14 * step, contrast(), "D"),
        ]
    for kind, label, shift, color, marker in kinds:
        # Off the scale nothing is left once ratings are rounded.
        some = shares[shares[kind] > 0]
        place = at[shares[kind] > 0] + shift
        ax.vlines(place, some[f"{kind}_lower"], some[f"{kind}_upper"], color=color, lw=2.2)
        ax.plot(
            place, some[kind], ls="none", marker=marker, ms=5.5, color=color, label=label
        )  # fmt: skip
    if on_grid:
        ax.set_xticks(at, ["below", *(f"{level:g}" for level in at[1:-1]), "above"])
        ax.set_xlabel("rating")
    else:
        ax.set_xticks([])
        ax.set_xlabel("rating, in bins of equal shares, lowest first")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.set(ylabel="share of ratings", title="Ratings: observed, and as the model makes them")
    ax.set_ylim(top=1.3 * ax.get_ylim()[1])  # room for the legend
    grid(ax)
    ax.legend(loc="upper left")
    return ax


@styled
def plot_rows_check(
    check: PredictiveCheck, *, of: str = "user_mean", ax: Axes | None = None
) -> Axes:
    """Deciles over users or items: observed points on the replicated 90% band.

    Parameters
    ----------
    check : PredictiveCheck
        What `check_predictive` gave.
    of : {"user_mean", "user_sd", "item_mean"}, default "user_mean"
        Means of users' ratings, sds of users' ratings, or means of items' ratings.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        Lines "observed" and "replicated", and a band.

    Raises
    ------
    ValueError
        If `of` is something else.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> from bayesmf.diagnostics.criticism import check_predictive
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
    ...                         progressbar=False)
    >>> check = check_predictive(post, random_seed=1)
    >>> plots.plot_rows_check(check, of="item_mean").get_xlabel()
    'share of items below'
    """
    function = "plot_rows_check"
    _check(check, function)
    check_choice(of, "of", function, tuple(ROWS))
    ax = prepare(ax)
    found = check.rows[of]
    at = found.index.to_numpy()
    _band(ax, at, found, "", accent())
    ax.plot(
        at, found["observed"], ls="none", marker="D", ms=6, color=contrast(), label="observed"
    )  # fmt: skip
    side, what = of.split("_")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.set(
        xlabel=f"share of {side}s below",
        ylabel=f"{what} of a {side}'s ratings" if side == "user" else "mean of an item's ratings",
        title=f"{ROWS[of][0].upper()}{ROWS[of][1:]}",
    )
    grid(ax)
    ax.legend()
    return ax


@styled
def plot_residuals(check: PredictiveCheck, *, ax: Axes | None = None) -> Axes:
    """Mean and sd of residuals against the predicted mean, with the replicated 90% bands.

    Where the observed mean leaves the band, ratings are not what is predicted on average; where
    the observed sd does, the noise is not the same everywhere.

    Parameters
    ----------
    check : PredictiveCheck
        What `check_predictive` gave.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        Lines "mean, observed" and "sd, observed" over bands "mean" and "sd, replicated".

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> from bayesmf.diagnostics.criticism import check_predictive
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
    ...                         progressbar=False)
    >>> plots.plot_residuals(check_predictive(post, random_seed=1)).get_xlabel()
    'predicted mean'
    """
    _check(check, "plot_residuals")
    ax = prepare(ax)
    found = check.residuals
    at = found["predicted"].to_numpy()
    for name, color, marker in (("sd", accent(), "o"), ("mean", contrast(), "D")):
        _band(ax, at, found, f"{name}_", color)
        label = f"{name}, observed"
        ax.plot(at, found[name], ls="none", marker=marker, ms=5.5, color=color, label=label)
    ax.set(
        xlabel="predicted mean",
        ylabel="residual (rating)",
        title="Residuals: points should be on their lines",
    )
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.3 * (high - low))  # room for the legend
    grid(ax)
    ax.legend(ncols=2, columnspacing=1.2, loc="upper left")
    return ax


@styled
def plot_pit(pit: PIT | Mapping[str, PIT], *, ax: Axes | None = None) -> Axes:
    """Histogram of the PIT of held-out ratings with its chance band; flat is calibrated.

    Parameters
    ----------
    pit : PIT or mapping of str to PIT
        What `pit` gave, or several by name.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        One PIT as bars; several as steps in different line styles. The band is that of the last
        one, in which all heights of a calibrated model lie with 95% probability.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> from bayesmf.diagnostics.pit import pit
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> train, test = bayesmf.train_test_split(ratings, test_size=0.2, random_seed=1)
    >>> als = bayesmf.fit_als(train, n_factors=2, random_seed=1, progressbar=False)
    >>> plots.plot_pit(pit(als, test)).get_xlabel()
    'PIT of held-out ratings'
    """
    named = pit if isinstance(pit, Mapping) else {"": pit}
    if not named or not all(isinstance(one, PIT) for one in named.values()):
        must = "a PIT, or a mapping of names to them"
        fail("pit", "plot_pit", must, Described(type(pit).__name__), TypeError)
    ax = prepare(ax)
    last = list(named.values())[-1]
    edges = np.append(last.table["start"], 1.0)
    lower, upper = (
        np.append(last.table[end], last.table[end].iloc[-1]) for end in ("lower", "upper")
    )
    if len(named) == 1:
        ax.stairs(last.heights, edges, fill=True, color=accent(), alpha=0.4)
        ax.stairs(last.heights, edges, color=accent(), lw=1.6, label=next(iter(named)) or "PIT")
    else:
        for name, look in looks(named).items():
            one = named[name]
            at = np.append(one.table["start"], 1.0)
            ax.stairs(
                one.heights, at, baseline=None, color=look.color, ls=look.dashes, lw=1.8, label=name
            )
    ax.fill_between(
        edges, lower, upper, step="post", color=ink(), alpha=0.12, lw=0, label="chance"
    )  # fmt: skip
    ax.axhline(1, color=ink(), lw=1, alpha=0.55)
    heights = np.concatenate([one.heights for one in named.values()])
    low, high = min(heights.min(), lower.min()), max(heights.max(), upper.max())
    # Bars stand on zero; steps are told apart better without it.
    low = 0.0 if len(named) == 1 else low - 0.1 * (high - low)
    ax.set(
        xlim=(0, 1),
        ylim=(low, high + 0.25 * (high - low)),  # room for the legend
        xlabel="PIT of held-out ratings",
        ylabel="density (1 if calibrated)",
        title="PIT: flat is calibrated, a U is too narrow",
    )
    grid(ax)
    ax.legend(ncols=2, loc="upper center")
    return ax


def _check(check: object, function: str) -> None:
    if not isinstance(check, PredictiveCheck):
        must = "the result of check_predictive"
        fail("check", function, must, Described(type(check).__name__), TypeError)


def _band(ax: Axes, at: np.ndarray, found: pd.DataFrame, prefix: str, color: str) -> None:
    lower, upper = (found[f"{prefix}{end}"] for end in ("lower", "upper"))
    name = f"{prefix[:-1]}, replicated" if prefix else "replicated, 90%"
    ax.fill_between(at, lower, upper, color=color, alpha=0.25, lw=0)
    ax.plot(at, found[f"{prefix}replicated"], color=color, lw=1.4, label=name)
