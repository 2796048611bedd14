"""docs/images/ladder.png: the error of each rung against the time of its fit.

python -m benchmarks.climbing    from results/ladder.json; `benchmarks.render` does it too
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.common import draw_again, figure_file, median

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from benchmarks.common import Numbers

IMAGE = Path(__file__).parent.parent / "docs" / "images" / "ladder.png"
KINDS = {
    "baselines": ("mean", "biases", "nearest"),
    "least squares": ("SVD", "NMF", "ALS", "SGD", "PMF"),
    "networks": ("embeddings", "deep", "residual", "AutoRec"),
    "Bayesian": ("Bayesian",),
    "another package": ("Surprise",),
}
"""Kinds of rungs by how their names begin."""
WORST = 1.02
"""Errors beyond so many times that of the biases are off the page."""


def write(numbers: Numbers, path: Path = IMAGE) -> None:
    """Draw the figure."""
    small = {
        name: (median([one["seconds"] for one in folds.values()]),
               fmean(one["rmse"] for one in folds.values()))
        for name, folds in numbers["100k"].items()
    }  # fmt: skip
    large = {name: (one["seconds"], one["rmse"]) for name, one in numbers["1m"].items()}
    with figure_file(path, 1, 2, size=(13.0, 6.0)) as (left, right):
        _panel(left, small, "ML-100K, mean of five folds")
        _panel(right, large, "ML-1M, 90/10")
        handles, labels = left.get_legend_handles_labels()
        left.figure.legend(
            handles, labels, loc="outside lower center", ncols=len(KINDS), frameon=False
        )


def _panel(ax: Axes, at: dict[str, tuple[float, float]], title: str) -> None:
    from bayesmf.plots.labels import place_labels
    from bayesmf.plots.style import BLUE, GREEN, MARKERS, ORANGE, PURPLE, VERMILLION, grid

    shown = {name: point for name, point in at.items() if point[1] <= WORST * at["biases"][1]}
    colors = (ORANGE, GREEN, PURPLE, BLUE, VERMILLION)
    for (kind, starts), color, marker in zip(KINDS.items(), colors, MARKERS, strict=False):
        points = np.array([point for name, point in shown.items() if name.startswith(starts)])
        if len(points):
            look: dict[str, Any] = {"color": color, "marker": marker, "ms": 8}
            ax.plot(*points.T, ls="", label=kind, **look)
    left_out = [name for name in at if name not in shown]
    ax.set(
        xscale="log",
        xlabel="time of the fit, s",
        ylabel="RMSE on test ratings",
        title=title,
    )
    ax.xaxis.set_major_formatter(lambda seconds, _: f"{seconds:g}")
    ax.margins(0.12)
    grid(ax, "both")
    if left_out:
        ax.text(
            0.99, 0.99, f"above the page: {', '.join(left_out)}", transform=ax.transAxes,
            ha="right", va="top", fontsize=7.5, wrap=True,
        )  # fmt: skip
    points = np.array(list(shown.values()))
    place_labels(ax, points, list(shown), points)


if __name__ == "__main__":
    draw_again("climbing", "ladder", write)
