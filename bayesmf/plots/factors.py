"""What the factors are: maps and lists of items, how much each carries, and shrinkage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from bayesmf.diagnostics.aligned import check_titles
from bayesmf.diagnostics.by_count import count_bins
from bayesmf.diagnostics.tastes import taste_sizes
from bayesmf.plots.counts import count_axis
from bayesmf.plots.labels import place_labels, shorten
from bayesmf.plots.style import accent, contrast, grid, ink, prepare, styled
from bayesmf.validation import Described, check_choice, check_integer, check_number, fail

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bayesmf.diagnostics.aligned import Alignment
    from bayesmf.plots.style import Sampled


@styled
def plot_factor_map(
    alignment: Alignment,
    factors: tuple[int, int] = (0, 1),
    *,
    n: int = 12,
    prob: float = 0.9,
    titles: object = None,
    ax: Axes | None = None,
) -> Axes:
    """Items as points on two aligned factors; the most extreme have names and intervals.

    Parameters
    ----------
    alignment : Alignment
        From `align`.
    factors : tuple of two int, default (0, 1)
        The factors across and up.
    n : int, default 12
        Items with a name: those that lie farthest out, in sds of each factor's mean loadings.
    prob : float, default 0.9
        Probability of their central intervals.
    titles : mapping or Series, optional
        Titles by item id; without them the ids are shown.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        Lines labelled "items" and "named"; a cross of two intervals for each named item.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> from bayesmf.diagnostics.alignment import align
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
    ...                         progressbar=False)
    >>> ax = plots.plot_factor_map(align(post), n=3)
    >>> len(ax.texts)
    3
    """
    function = "plot_factor_map"
    pair = _check_pair(factors, alignment.n_factors, function)
    n = check_integer(n, "n", function, minimum=0)
    prob = check_number(prob, "prob", function, above=0, below=1)
    names = check_titles(titles, function) or {}
    ax = plt.subplots(figsize=(7.2, 5.6), layout="constrained")[1] if ax is None else ax
    loadings = alignment.item_loadings.isel(factor=pair)
    mean = loadings.to_numpy().mean(axis=(0, 1), dtype=np.float64)
    sd = mean.std(axis=0)
    far = np.square(mean / np.where(sd > 0, sd, 1.0)).sum(axis=1)
    named = np.argsort(-far, kind="stable")[:n]
    drawn = loadings.isel(item=named).to_numpy().reshape(-1, len(named), 2)
    low, high = np.quantile(drawn, [(1 - prob) / 2, (1 + prob) / 2], axis=0)
    for origin in (ax.axhline, ax.axvline):
        origin(0, color=ink(), lw=0.8, alpha=0.4)
    dots: dict[str, Any] = {"ls": "none", "marker": "o", "mew": 0, "rasterized": True}
    ax.plot(*mean.T, ms=3, alpha=0.35, color=accent(), label="items", **dots)
    x, y = mean[named].T
    color = contrast()
    ax.hlines(y, low[:, 0], high[:, 0], color=color, lw=0.9, alpha=0.55)
    ax.vlines(x, low[:, 1], high[:, 1], color=color, lw=0.9, alpha=0.55)
    ax.plot(x, y, ls="none", marker="D", ms=4.5, color=color, label="named")
    across, up = pair
    ax.set(
        xlabel=f"loading on factor {across} (rating per sd of users)",
        ylabel=f"loading on factor {up}",
        title=f"Items on factors {across} and {up}, {prob:.0%} intervals",
    )
    ax.margins(0.12)
    grid(ax, "both")
    shown: list[Any] = loadings["item"].to_numpy()[named].tolist()
    texts = [shorten(str(names.get(one, one))) for one in shown]
    # Names keep off the crosses as well: points along them.
    along = np.linspace(0, 1, 15)[:, None]
    across_bars, up_bars = (low + along[:, None] * (high - low)).transpose(2, 0, 1)
    crosses = np.vstack(
        [
            np.column_stack([across_bars.ravel(), np.tile(y, len(along))]),
            np.column_stack([np.tile(x, len(along)), up_bars.ravel()]),
        ]
    )
    place_labels(ax, mean[named], texts, np.vstack([mean, crosses]))
    return ax


@styled
def plot_top_items(
    alignment: Alignment,
    factor: int,
    *,
    n: int = 8,
    prob: float = 0.9,
    titles: object = None,
    ax: Axes | None = None,
) -> Axes:
    """Items at both ends of an aligned factor, with intervals.

    Parameters
    ----------
    alignment : Alignment
        From `align`.
    factor : int
        From 0, the strongest.
    n : int, default 8
        Items on each end.
    prob : float, default 0.9
        Probability of the central interval.
    titles : mapping or Series, optional
        Titles by item id; without them the ids are shown.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        Lines labelled "top" and "bottom", the largest loading above.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> from bayesmf.diagnostics.alignment import align
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
    ...                         progressbar=False)
    >>> ax = plots.plot_top_items(align(post), 0, n=3)
    >>> len(ax.get_yticks())
    6
    """
    function = "plot_top_items"
    check_integer(factor, "factor", function, maximum=alignment.n_factors - 1)
    n = check_integer(n, "n", function, minimum=1)
    prob = check_number(prob, "prob", function, above=0, below=1)
    names = check_titles(titles, function) or {}
    # Of a short table the ends would overlap: each item stands once.
    n = min(n, alignment.draws.sizes["item"] // 2) or 1
    table = alignment.top_items(factor, n, prob=prob)
    table = table.drop_duplicates("item").sort_values("loading", kind="stable")
    if ax is None:
        size = 6.6, max(2.4, 1.1 + 0.24 * len(table))  # room for each name
        ax = plt.subplots(figsize=size, layout="constrained")[1]
    at = np.arange(len(table))
    ax.axvline(0, color=ink(), lw=1, alpha=0.5)
    for end, color, marker in (("top", accent(), "o"), ("bottom", contrast(), "D")):
        part = (table["end"] == end).to_numpy()
        rows = table[part]
        ax.hlines(at[part], rows["lower"], rows["upper"], color=color, lw=2, alpha=0.6)
        ax.plot(rows["loading"], at[part], ls="none", marker=marker, ms=5.5, color=color, label=end)
    texts = [shorten(str(names.get(one, one)), 44) for one in table["item"].tolist()]
    ax.set_yticks(at, texts, fontsize=9)
    ax.tick_params(axis="y", length=0)
    share = alignment.strength["share"].to_numpy()[factor]
    ax.set(
        xlabel=f"loading (rating per sd of users), {prob:.0%} interval",
        title=f"Factor {factor}: {share:.0%} of the interaction",
    )
    grid(ax, "x")
    return ax


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
    _needs_factors(k, function)
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
        Points "mean tastes of a user", a line "median" of them, and a line "in a draw", the median
        of the posterior mean size, in a band between the medians of the ends of its interval.

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
    _needs_factors(group.sizes["factor"], function)
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


def _needs_factors(k: int, function: str) -> None:
    if k == 0:
        message = f"{function} needs factors, but this model has n_factors=0 (biases only)."
        raise ValueError(message)


def _check_pair(factors: object, n_factors: int, function: str) -> list[int]:
    must = "a tuple of two different factors, such as (0, 1)"
    if not isinstance(factors, (tuple, list)) or len(factors) != 2:
        fail("factors", function, must, factors, TypeError)
    pair = [
        check_integer(one, "factors", function, maximum=max(n_factors - 1, 0)) for one in factors
    ]
    if pair[0] == pair[1]:
        got = f"{tuple(pair)}; of one factor there is plot_top_items"
        fail("factors", function, must, Described(got))
    return pair
