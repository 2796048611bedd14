"""Predictions with their intervals, cell by cell, beside what was observed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmf.plots.style import accent, contrast, grid, prepare, styled
from bayesmf.validation import check_choice, check_integer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bayesmf.evaluation import Comparison


@styled
def plot_intervals(
    comparison: Comparison,
    model: str | None = None,
    *,
    n: int = 60,
    random_seed: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """90% intervals of some test ratings, sorted by predicted mean, with the true ratings.

    Parameters
    ----------
    comparison : Comparison
    model : str, optional
        Which of its models; by default the last one.
    n : int, default 60
        Test ratings to show, drawn at random.
    random_seed : int, default 0
        Of the draw.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        Lines labelled "predicted mean", "rating inside" and "rating outside".

    Raises
    ------
    ValueError
        If `model` is not in the comparison.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> train, test = bayesmf.train_test_split(ratings, test_size=0.2, random_seed=1)
    >>> bias = bayesmf.fit_bias(train, random_seed=1, progressbar=False)
    >>> ax = plots.plot_intervals(bayesmf.compare({"bias only": bias}, test), n=30)
    >>> ax.get_ylabel()
    'rating'
    """
    function = "plot_intervals"
    names = [str(name) for name in comparison.table.index]
    name = names[-1] if model is None else check_choice(model, "model", function, names)
    n = check_integer(n, "n", function, minimum=1)
    ax = prepare(ax)
    cells = comparison.cells
    rng = np.random.default_rng(random_seed)
    chosen = rng.choice(len(cells), min(n, len(cells)), replace=False)
    shown = cells.iloc[chosen].sort_values((name, "mean"), kind="stable")
    truth = shown["test", "rating"].to_numpy()
    lower, upper = (shown[name, end].to_numpy() for end in ("lower", "upper"))
    inside = (lower <= truth) & (truth <= upper)
    at = np.arange(1, len(shown) + 1)
    ax.vlines(at, lower, upper, color=accent(), alpha=0.3, lw=3.2, label="90% interval")
    ax.plot(at, shown[name, "mean"], color=accent(), lw=2, label="predicted mean")
    # Shape as well as colour says which ratings are outside.
    dot: dict[str, Any] = {"ls": "none", "markeredgewidth": 1.2}
    ax.plot(
        at[inside], truth[inside], marker="o", ms=4, color=accent(), label="rating inside", **dot
    )
    ax.plot(
        at[~inside], truth[~inside], marker="X", ms=7, color=contrast(), label="rating outside",
        **dot,
    )  # fmt: skip
    ax.set(
        xlabel=f"{len(shown)} test ratings, by predicted mean",
        ylabel="rating",
        title=f"{name}: 90% intervals hold {inside.sum()} of {len(shown)}",
    )
    ax.set_xticks([])
    ax.margins(x=0.015)
    low, high = min(lower.min(), truth.min()), max(upper.max(), truth.max())
    # Room below the data for the legend, which has two rows.
    ax.set_ylim(low - 0.24 * (high - low), high + 0.05 * (high - low))
    ax.set_yticks([tick for tick in ax.get_yticks() if low - 0.05 <= tick <= high])
    ax.legend(loc="lower right", ncols=2, columnspacing=1.2, handletextpad=0.5)
    grid(ax)
    return ax
