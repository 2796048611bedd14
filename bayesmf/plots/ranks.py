"""Ranks that were judged, and whether leaving out by importance weights can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesmf.plots.style import accent, contrast, grid, ink, prepare, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bayesmf.diagnostics.leave_one_out import LeaveOneOut
    from bayesmf.diagnostics.ranks import RankChoice


@styled
def plot_ranks(choice: RankChoice, *, ax: Axes | None = None) -> Axes:
    """Mean log score of a rating by rank, as the difference from the best, with standard errors.

    The chosen rank is the smallest whose bar reaches zero.

    Parameters
    ----------
    choice : RankChoice
        What `choose_rank` gave.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        Ranks stand side by side, whatever the distance between them.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> choice = bayesmf.choose_rank(ratings, (0, 1), n_ratings=200, tune=100, draws=100,
    ...                              random_seed=1, progressbar=False)
    >>> plots.plot_ranks(choice).get_xlabel()
    'rank of the interaction'
    """
    ax = prepare(ax)
    table = choice.table
    at = np.arange(len(table))
    differences, errors = (table[name].to_numpy() for name in ("difference", "difference_se"))
    ax.axhline(0, color=ink(), lw=0.8, ls=(0, (4, 3)))
    ax.errorbar(
        at, differences, errors, color=accent(), ls="none", marker="o", ms=6, capsize=4, lw=1.6,
        label="± one standard error",
    )  # fmt: skip
    words = {choice.best: "best", choice.chosen: "chosen"}
    if choice.best == choice.chosen:
        words = {choice.best: "best and chosen"}
    for rank, word in words.items():
        place = table.index.tolist().index(rank)
        marker = "*" if word == "best" else "s"
        ax.plot(
            place, differences[place], ls="none", marker=marker, ms=13 if marker == "*" else 10,
            color=contrast(), label=word, zorder=3,
        )  # fmt: skip
        ax.annotate(
            word, (place, differences[place] + errors[place]), (0, 7), ha="center", color=ink(),
            textcoords="offset points",
        )  # fmt: skip
    # Room for the words above, and beside the first and the last rank.
    ax.margins(x=0.12, y=0.15)
    ax.set_xticks(at, [str(rank) for rank in table.index])
    title = f"Rank {choice.chosen} is best"
    if choice.best != choice.chosen:
        title = f"Rank {choice.chosen} predicts about as well as rank {choice.best}"
    ax.set(
        xlabel="rank of the interaction", ylabel="log score of a rating, from the best", title=title
    )
    grid(ax)
    ax.legend(loc="lower right")
    return ax


@styled
def plot_khat(loo: LeaveOneOut, *, ax: Axes | None = None) -> Axes:
    """Pareto k-hat of each rating against the number of ratings of the row that has fewer.

    Above the limit the weights of a few draws decide, and the log score cannot be trusted.

    Parameters
    ----------
    loo : LeaveOneOut
        What `bayesmf.diagnostics.leave_one_out.loo` gave.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        Lines labelled "good", "bad" and "limit".

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> from bayesmf.diagnostics.leave_one_out import loo
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
    ...                         progressbar=False)
    >>> plots.plot_khat(loo(post, n_ratings=100)).get_ylabel()
    'Pareto k-hat'
    """
    ax = prepare(ax)
    count, khat = (loo.table[name].to_numpy() for name in ("count", "khat"))
    bad = loo.bad.to_numpy()
    ax.plot(
        count[~bad], khat[~bad], ls="none", marker="o", ms=3, mew=0, alpha=0.4, color=accent(),
        label="good", rasterized=True,
    )  # fmt: skip
    ax.plot(
        count[bad], khat[bad], ls="none", marker="x", ms=5.5, mew=1.4, color=contrast(), label="bad"
    )
    ax.axhline(loo.limit, color=ink(), lw=1, ls=(0, (4, 3)), label=f"limit {loo.limit:.2f}")
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set(
        xlabel="ratings of the user or the item, the fewer",
        ylabel="Pareto k-hat",
        title=f"{bad.sum():,} of {len(khat):,} k-hat are bad ({bad.mean():.1%})",
    )
    grid(ax)
    ax.legend(loc="lower left", markerscale=1.4)
    return ax
