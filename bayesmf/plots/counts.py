"""Uncertainty and error against how much is known: the number of training ratings of a row.

A cell's row is its item (or user); a row without training ratings stands at zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesmf.diagnostics.by_count import count_bins, count_table, row_counts
from bayesmf.plots.style import accent, contrast, grid, ink, key, looks, prepare, styled
from bayesmf.validation import check_choice, check_integer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from bayesmf.evaluation import Comparison
    from bayesmf.plots.style import Sampled
    from bayesmf.ratings import Ratings


@styled
def plot_uncertainty(
    posterior: Sampled,
    comparison: Comparison,
    *,
    by: str = "item",
    n: int = 1500,
    random_seed: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Posterior sd of the expected rating against training ratings of the item or user.

    Parameters
    ----------
    posterior : Posterior
        One of the compared models.
    comparison : Comparison
        Its test cells are shown.
    by : {"item", "user"}, default "item"
        Whose ratings are counted.
    n : int, default 1500
        Test cells drawn as points, at most; the line is the median of all of them.
    random_seed : int, default 0
        Of the choice of points.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        Lines labelled "test cells" and "median".

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> train, test = bayesmf.train_test_split(ratings, test_size=0.2, random_seed=1)
    >>> post = bayesmf.fit_bpmf(train, n_factors=2, tune=50, draws=50, random_seed=1,
    ...                         progressbar=False)
    >>> ax = plots.plot_uncertainty(post, bayesmf.compare({"BPMF": post}, test))
    >>> ax.get_xlabel()
    'training ratings of the item'
    """
    function = "plot_uncertainty"
    check_choice(by, "by", function, ("item", "user"))
    n = check_integer(n, "n", function, minimum=1)
    ax = prepare(ax)
    cells = comparison.cells
    counts = row_counts(cells, posterior.ratings, by)
    pairs = cells["test"][["user", "item"]]
    sd = posterior.predict(pairs, prob=None, kind="latent")["sd"].to_numpy()
    rng = np.random.default_rng(random_seed)
    shown = np.sort(rng.choice(len(cells), min(n, len(cells)), replace=False))
    ax.plot(
        counts[shown], sd[shown], ls="none", marker="o", ms=2.6, mew=0, alpha=0.35,
        color=accent(), label="test cells", rasterized=True,
    )  # fmt: skip
    bins = count_bins(counts)
    at = [counts[part].mean() for part in bins]
    medians = [np.median(sd[part]) for part in bins]
    ax.plot(at, medians, color=contrast(), marker="o", ms=5, label="median")
    count_axis(ax, counts, by)
    ax.set_ylim(bottom=0)
    few, many = (f"{medians[end]:.2f} at {at[end]:,.0f}" for end in (0, -1))
    ax.set(ylabel="posterior sd (rating)", title=f"Sd {few} ratings, {many}")
    ax.legend(markerscale=1.6)
    return ax


@styled
def plot_error_by_count(
    comparison: Comparison,
    ratings: Ratings,
    *,
    by: str = "item",
    models: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """RMSE of each model (markers) and the error it promises (lines) against training ratings.

    The promise is the sd of a Gaussian with the model's 90% interval, root mean square over the
    cells of a bin. Where markers lie above a model's line it is too sure of itself, below it too
    timid.

    Parameters
    ----------
    comparison : Comparison
    ratings : Ratings
        The training ratings, such as `posterior.ratings`.
    by : {"item", "user"}, default "item"
        Whose ratings are counted.
    models : sequence of str, optional
        Models to show; by default all.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        For each model a line "NAME, promised" and markers "NAME, measured".

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> train, test = bayesmf.train_test_split(ratings, test_size=0.2, random_seed=1)
    >>> bias = bayesmf.fit_bias(train, random_seed=1, progressbar=False)
    >>> ax = plots.plot_error_by_count(bayesmf.compare({"bias": bias}, test), bias.ratings)
    >>> [line.get_label() for line in ax.lines]
    ['bias, promised', 'bias, measured']
    """
    function = "plot_error_by_count"
    table = count_table(comparison, ratings, by, models, function)
    ax = prepare(ax)
    every, keys = looks(comparison.table.index), []
    for name, found in table.groupby("model", sort=False):
        look = every[str(name)]
        ax.plot(
            found["ratings"], found["promised"], color=look.color, ls=look.dashes,
            label=f"{name}, promised",
        )  # fmt: skip
        ax.plot(
            found["ratings"], found["RMSE"], color=look.color, ls="none", marker=look.marker,
            ms=6, label=f"{name}, measured",
        )  # fmt: skip
        keys.append(key(str(name), look))
    count_axis(ax, row_counts(comparison.cells, ratings, by), by)
    ax.set(ylabel="error (rating)", title="Measured (markers), promised (lines)")
    # One entry a model: the title says what lines and markers are.
    ax.legend(handles=keys)
    return ax


@styled
def plot_coverage_by_count(
    comparison: Comparison,
    ratings: Ratings,
    *,
    by: str = "item",
    models: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Coverage of the 90% intervals against training ratings of the item or user.

    One sd for all cells can be right on average and still too narrow where little is known.

    Parameters
    ----------
    comparison : Comparison
    ratings : Ratings
        The training ratings, such as `posterior.ratings`.
    by : {"item", "user"}, default "item"
        Whose ratings are counted.
    models : sequence of str, optional
        Models to show; by default all.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        A line for each model, with one standard error up and down at each point.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> train, test = bayesmf.train_test_split(ratings, test_size=0.2, random_seed=1)
    >>> bias = bayesmf.fit_bias(train, random_seed=1, progressbar=False)
    >>> ax = plots.plot_coverage_by_count(bayesmf.compare({"bias": bias}, test), bias.ratings)
    >>> ax.get_ylabel()
    'coverage of 90% intervals'
    """
    function = "plot_coverage_by_count"
    table = count_table(comparison, ratings, by, models, function)
    ax = prepare(ax)
    ax.axhline(0.9, color=ink(), lw=1, alpha=0.55, label="as promised")
    every = looks(comparison.table.index)
    for name, found in table.groupby("model", sort=False):
        look = every[str(name)]
        at, share, error = (found[x].to_numpy() for x in ("ratings", "coverage", "standard_error"))
        ax.plot(
            at, share, color=look.color, ls=look.dashes, marker=look.marker, ms=6, label=str(name)
        )  # fmt: skip
        ax.vlines(at, share - error, share + error, color=look.color, lw=1.2, alpha=0.7)
    count_axis(ax, row_counts(comparison.cells, ratings, by), by)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.set(
        ylabel="coverage of 90% intervals",
        title=f"Honest for rare {by}s too?",
    )
    ax.legend()
    return ax


def count_axis(ax: Axes, counts: np.ndarray, by: str) -> None:
    """Lay out the axis of training ratings, and the grid."""
    # log(1 + count): rare and popular rows side by side, and room for those never seen.
    ax.set_xscale("function", functions=(np.log1p, np.expm1))
    top = counts.max()
    ticks = [0, *(m * 10**e for e in range(6) for m in (1, 3) if m * 10**e <= top)]
    ax.set_xticks([tick for tick in ticks if tick >= counts.min()], minor=False)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    low, high = np.log1p(counts.min()), np.log1p(top)
    room = 0.04 * max(high - low, 1.0)
    # The axis begins a little to the left of zero, so that points there are not cut.
    ax.set_xlim(np.expm1(max(low - room, -0.5)), np.expm1(high + room))
    ax.set_xlabel(f"training ratings of the {by}")
    grid(ax)
