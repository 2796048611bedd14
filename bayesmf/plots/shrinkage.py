"""How much the factors carry, and how much of each row's tastes is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from bayesmf.checks import check_factors
from bayesmf.diagnostics.by_count import count_bins
from bayesmf.diagnostics.tastes import taste_sizes
from bayesmf.plots.counts import count_axis
from bayesmf.plots.style import accent, contrast, grid, ink, prepare, styled
from bayesmf.validation import check_choice, check_integer, check_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bayesmf.plots.style import Sampled


@styled
def plot_scree(posterior: Sampled, *, prob: float = 0.9, ax: Axes | None = None) -> Axes:
    """Singular values of the interaction, with intervals: how many factors carry something.

    Parameters
    ----------
    posterior : Posterior
        Of a model with factors.
    prob : float, default 0.9
        Probability of the central interval.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        A line labelled "posterior mean". Singular values are divided by the root of the number of
        cells: their squares then add up to the variance of the interaction over all cells.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
    ...                         progressbar=False)
    >>> plots.plot_scree(post).get_xlabel()
    'component'
    """
    function = "plot_scree"
    prob = check_number(prob, "prob", function, above=0, below=1)
    drawn = posterior.data["posterior"]["singular_value"].to_numpy()
    k = drawn.shape[-1]
    check_factors(k, function)
    ax = prepare(ax)
    ratings = posterior.ratings
    values = drawn.reshape(-1, k) / np.sqrt(float(ratings.n_users) * ratings.n_items)
    low, high = np.quantile(values, [(1 - prob) / 2, (1 + prob) / 2], axis=0)
    at = np.arange(1, k + 1)
    ax.vlines(at, low, high, color=accent(), lw=2.4, alpha=0.6, label=f"{prob:.0%} interval")
    ax.plot(at, values.mean(axis=0), marker="o", ms=5, lw=1, color=accent(), label="posterior mean")
    squares = np.square(values).mean(axis=0)
    share = squares[0] / squares.sum() if squares.sum() > 0 else 0.0
    ax.set(
        xlabel="component",
        ylabel="sd over all cells (rating)",
        title=f"Scree: the first of {k} carries {share:.0%} of the interaction",
        ylim=(0, None),
    )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    grid(ax)
    ax.legend()
    return ax


@styled
def plot_shrinkage(
    posterior: Sampled,
    *,
    by: str = "user",
    prob: float = 0.9,
    n: int = 1000,
    random_seed: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """How much of a row's tastes is known, against its number of ratings: few say little.

    A user's tastes are the row of the interaction, (u - ū)·(v - v̄) for all items, which is
    identified and on the rating scale; its sd over items is their size. In each draw it has the
    size of the prior where there are few ratings; that of the mean tastes is shrunk to zero there.

    Parameters
    ----------
    posterior : Posterior
        Of a model with factors.
    by : {"user", "item"}, default "user"
        Whose rows are shown.
    prob : float, default 0.9
        Probability of the central intervals of the size in a draw.
    n : int, default 1000
        Rows drawn as points, at most; lines are medians of all rows.
    random_seed : int, default 0
        Of the choice of points.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        Points "mean tastes of a user", their "median of mean tastes", and "in a draw, 90%
        interval": the median of the posterior mean of the size in a draw, in a band between the
        medians of the ends of its interval.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
    ...                         progressbar=False)
    >>> plots.plot_shrinkage(post).get_xlabel()
    'training ratings of the user'
    """
    function = "plot_shrinkage"
    check_choice(by, "by", function, ("user", "item"))
    prob = check_number(prob, "prob", function, above=0, below=1)
    n = check_integer(n, "n", function, minimum=1)
    ratings = posterior.ratings
    group = posterior.data["factors"]
    check_factors(group.sizes["factor"], function)
    ax = prepare(ax)
    other = "item" if by == "user" else "user"
    rows, partners = (group[f"{side}_factors"].to_numpy() for side in (by, other))
    sizes = taste_sizes(rows, partners, prob)
    counts = np.diff((ratings.by_user if by == "user" else ratings.by_item).indptr)
    shown = np.random.default_rng(random_seed).choice(
        len(counts), min(n, len(counts)), replace=False
    )
    shown.sort()
    ax.plot(
        counts[shown], sizes.of_mean[shown], ls="none", marker="o", ms=2.6, mew=0, alpha=0.35,
        color=accent(), label=f"mean tastes of a{'n' * (by == 'item')} {by}", rasterized=True,
    )  # fmt: skip
    bins = count_bins(counts)
    at = [counts[part].mean() for part in bins]

    def medians(values: np.ndarray) -> list[float]:
        return [float(np.median(values[part])) for part in bins]

    ax.fill_between(
        at, medians(sizes.lower), medians(sizes.upper), color=contrast(), alpha=0.15, lw=0
    )  # fmt: skip
    ax.plot(
        at, medians(sizes.mean), color=contrast(), ls="--", marker="s", ms=4.5,
        label=f"in a draw, {prob:.0%} interval",
    )  # fmt: skip
    known = medians(sizes.of_mean)
    ax.plot(at, known, color=ink(), marker="o", ms=5, label="median of mean tastes")
    count_axis(ax, counts, by)
    ax.set_ylim(0, 1.35 * max(medians(sizes.upper)))
    few, many = (f"{known[end]:.2f} at {at[end]:,.0f}" for end in (0, -1))
    unit = "rating" if f"{at[0]:,.0f}" == "1" else "ratings"
    ax.set(ylabel=f"sd over {other}s (rating)", title=f"Known tastes: {few} {unit}, {many}")
    ax.legend(markerscale=1.4, ncols=2, columnspacing=1.0)
    return ax
