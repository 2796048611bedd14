"""What the factors are: items on two aligned factors, and at the ends of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

from bayesmf.checks import check_titles
from bayesmf.plots.labels import place_labels, shorten
from bayesmf.plots.style import accent, contrast, grid, ink, styled
from bayesmf.validation import Described, check_integer, check_number, fail

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bayesmf.diagnostics.aligned import Alignment


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
    names = check_titles(titles, "titles", function)
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
    names = check_titles(titles, "titles", function)
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
    ax.set_yticks(at, texts, fontsize=9, parse_math=False)
    ax.tick_params(axis="y", length=0)
    share = alignment.strength["share"].to_numpy()[factor]
    ax.set(
        xlabel=f"loading (rating per sd of users), {prob:.0%} interval",
        title=f"Factor {factor}: {share:.0%} of the interaction",
    )
    grid(ax, "x")
    return ax


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
