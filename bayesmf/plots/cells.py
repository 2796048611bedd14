"""Single predictions, and what is gained by being Bayesian about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

import matplotlib.pyplot as plt
import numpy as np

from bayesmf.checks import check_titles
from bayesmf.diagnostics.by_count import count_table, row_counts
from bayesmf.plots.counts import count_axis
from bayesmf.plots.labels import shorten
from bayesmf.plots.style import (
    Sampled,
    accent,
    contrast,
    decimals,
    grid,
    ink,
    looks,
    prepare,
    styled,
)
from bayesmf.predictive import FactorDraws, Mixture
from bayesmf.validation import Described, check_integer, check_number, fail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesmf.evaluation import Comparison
    from bayesmf.ratings import Ratings

POINTS = 400
LONGEST = 38
"""Characters of a title that are shown."""


class Recommending(Sampled, Protocol):
    """What `plot_recommendations` needs of a posterior."""

    def recommend(self, users: object, n: int = ..., *, kind: str = ...) -> pd.DataFrame:
        """Best items for some users."""


@styled
def plot_cell(
    posterior: Sampled,
    user: object,
    item: object,
    *,
    observed: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One cell's posterior: density of the expected rating, and of a new rating, with noise.

    Parameters
    ----------
    posterior : Posterior
    user, item : id
        Unknown ones are drawn from the prior of their side, as in `predict`.
    observed : float, optional
        The rating that was given, to be marked.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        Lines "a new rating" and "expected rating", and their 90% intervals below as bars.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
    ...                         progressbar=False)
    >>> plots.plot_cell(post, 0, 1, observed=3.5).get_xlabel()
    'rating'
    """
    function = "plot_cell"
    if observed is not None:
        observed = check_number(observed, "observed", function)
    pairs = posterior.ratings.pairs([(user, item)], "user, item", function)
    draws = FactorDraws(posterior.data, int(posterior.data.attrs["random_seed"]))
    mixtures = {
        "a new rating": draws.mixture(pairs.users, pairs.items, noise=True),
        "expected rating": _smoothed(draws.mixture(pairs.users, pairs.items, noise=False)),
    }
    intervals = {
        label: posterior.predict([(user, item)], prob=0.9, kind=kind).iloc[0]
        for label, kind in (("a new rating", "predictive"), ("expected rating", "latent"))
    }
    ax = prepare(ax)
    wide = mixtures["a new rating"]
    low, high = wide.quantiles(np.array([0.0005, 0.9995]))[0]
    x = np.linspace(low, high, POINTS)
    colors = {"a new rating": accent(), "expected rating": contrast()}
    top = 0.0
    for label, mixture in mixtures.items():
        means, sds = (np.broadcast_to(part, (POINTS, part.shape[1])) for part in mixture)
        density = np.exp(
            Mixture(np.ascontiguousarray(means), np.ascontiguousarray(sds)).log_density(x)
        )
        style = "-" if label == "a new rating" else (0, (5, 2))
        ax.plot(x, density, color=colors[label], ls=style, label=label)
        ax.fill_between(x, 0, density, color=colors[label], alpha=0.12, lw=0)
        top = max(top, float(density.max()))
    for place, (label, found) in enumerate(intervals.items(), start=1):
        bar: dict[str, Any] = {"color": colors[label], "lw": 5, "solid_capstyle": "butt"}
        ax.plot([found["lower"], found["upper"]], [-0.07 * place * top] * 2, **bar)
    if observed is not None:
        ax.axvline(observed, color=ink(), lw=1.4, ls=":", label=f"observed {observed:g}")
    ends = intervals["a new rating"]
    ax.set(
        xlabel="rating",
        ylabel="density",
        ylim=(-0.2 * top, 1.25 * top),
    )
    digits = decimals(posterior.ratings.sd)
    span = f"{ends['lower']:.{digits}f} to {ends['upper']:.{digits}f}"
    ax.set_title(
        f"User {user}, item {item}: {ends['mean']:.{digits}f}, new {span}", parse_math=False
    )
    ax.set_yticks([tick for tick in ax.get_yticks() if 0 <= tick <= 1.25 * top])
    grid(ax)
    ax.legend(loc="upper left")
    return ax


@styled
def plot_recommendations(
    posterior: Recommending,
    user: object,
    n: int = 10,
    *,
    titles: Mapping[Any, str] | pd.Series | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One user's best items with 90% intervals: of the expected rating, and fainter of a new one.

    Parameters
    ----------
    posterior : Posterior
    user : id
    n : int, default 10
    titles : mapping of item to str, optional
        Shown instead of ids, shortened to 38 characters.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        The best item on top.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
    ...                         progressbar=False)
    >>> ax = plots.plot_recommendations(post, 0, 3, titles={1: "The Second"})
    >>> len(ax.get_yticks())
    3
    """
    function = "plot_recommendations"
    n = check_integer(n, "n", function, minimum=1)
    names = check_titles(titles, "titles", function)
    expected = posterior.recommend([user], n, kind="latent")
    if expected.empty:
        fail("user", function, "one who has not rated all items", user)
    new = posterior.predict(expected[["user", "item"]], prob=0.9, kind="predictive")
    if ax is None:
        # Titles take half of the width.
        size = (7.4, 1.5 + 0.32 * len(expected))
        ax = plt.subplots(figsize=size, layout="constrained")[1]
    at = np.arange(len(expected), 0, -1)
    ax.hlines(
        at, new["lower"], new["upper"], color=accent(), alpha=0.3, lw=2.2, label="a new rating"
    )  # fmt: skip
    ax.hlines(
        at, expected["lower"], expected["upper"], color=accent(), lw=5, label="expected rating"
    )  # fmt: skip
    ax.plot(
        expected["mean"], at, ls="none", marker="o", ms=5.5, color=contrast(), label="mean"
    )  # fmt: skip
    texts = [shorten(str(names.get(one, one)), LONGEST) for one in expected["item"]]
    ax.set_yticks(at, texts, parse_math=False)
    ax.set_ylim(0.4, len(expected) + 0.6)
    ax.set(xlabel="rating")
    ax.set_title(f"Best for user {user}, with 90% intervals", pad=34, parse_math=False)
    grid(ax, "x")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, handlelength=1.6)
    return ax


@styled
def plot_als_against_bpmf(
    comparison: Comparison,
    ratings: Ratings,
    *,
    models: Sequence[str] = ("ALS", "BPMF"),
    by: str = "user",
    axes: Sequence[Axes] | None = None,
) -> Figure:
    """Error of two models, and the error that they promise, against training ratings of a row.

    A point estimate promises the same everywhere. The posterior knows where little is known: its
    promise follows the error.

    Parameters
    ----------
    comparison : Comparison
        With both models.
    ratings : Ratings
        The training ratings, such as `posterior.ratings`.
    models : sequence of str, default ("ALS", "BPMF")
        Names of the comparison.
    by : {"user", "item"}, default "user"
        Whose ratings are counted.
    axes : two matplotlib Axes, optional

    Returns
    -------
    matplotlib Figure
        Left the RMSE, right the sd of a Gaussian with the model's 90% interval, on one scale.

    Raises
    ------
    ValueError
        For models that were not compared, and other than two axes.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> train, test = bayesmf.train_test_split(ratings, test_size=0.2, random_seed=1)
    >>> als = bayesmf.fit_als(train, n_factors=2, random_seed=1, progressbar=False)
    >>> post = bayesmf.fit_bpmf(train, n_factors=2, tune=50, draws=50, random_seed=1,
    ...                         progressbar=False)
    >>> comparison = bayesmf.compare({"ALS": als, "BPMF": post}, test)
    >>> len(plots.plot_als_against_bpmf(comparison, train).axes)
    2
    """
    function = "plot_als_against_bpmf"
    table = count_table(comparison, ratings, by, models, function)
    if axes is None:
        _, axes = plt.subplots(1, 2, figsize=(9.4, 4.0), layout="constrained", sharey=True)
    if len(axes) != 2:
        fail("axes", function, "two matplotlib Axes", Described(f"{len(axes)}"))
    counts = row_counts(comparison.cells, ratings, by)
    every = looks(comparison.table.index)
    panels = (("RMSE", "Error, measured"), ("promised", "Error, promised by the intervals"))
    for ax, (column, title) in zip(axes, panels, strict=True):
        for name, found in table.groupby("model", sort=False):
            look = every[str(name)]
            ax.plot(
                found["ratings"], found[column], color=look.color, ls=look.dashes,
                marker=look.marker, ms=6, label=str(name),
            )  # fmt: skip
        count_axis(ax, counts, by)
        ax.set(ylabel="rating", title=title)
        ax.legend()
    low, high = table[["RMSE", "promised"]].min().min(), table[["RMSE", "promised"]].max().max()
    room = 0.08 * (high - low)
    for ax in axes:
        ax.set_ylim(low - room, high + room)
    return cast("Figure", axes[0].get_figure(root=True))


def _smoothed(mixture: Mixture) -> Mixture:
    """A sample of points as a kernel density: Silverman (1986), eq. 3.31; others as they are."""
    if mixture.sds.any():
        return mixture
    means = mixture.means[0]
    quarter, three = np.quantile(means, [0.25, 0.75])
    spread = min(float(means.std()), float(three - quarter) / 1.34) or float(means.std())
    width = 0.9 * spread * len(means) ** -0.2
    # All draws the same: a needle.
    return mixture._replace(sds=np.full((1, len(means)), width or 1e-3))
