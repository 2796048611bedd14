"""docs/images/variational.png: standard deviations by ADVI against those of the posterior.

python -m benchmarks.variational    from results/pymc_engines.json; `benchmarks.render` does it too
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.common import draw_again, figure_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from benchmarks.common import Numbers

IMAGE = Path(__file__).parent.parent / "docs" / "images" / "variational.png"
PANELS = (
    ("dense", "ADVI", "Independent parameters, K=10"),
    ("small", "ADVI", "Independent parameters, K=3"),
    ("small", "ADVI, full rank", "All covariances, K=3"),
)
KINDS = {
    "expected ratings of cells": ("probe",),
    "effects of users and items": ("user_effect", "item_effect", "intercept"),
    "singular values of the interaction": ("singular_value",),
}


def write(numbers: Numbers, path: Path = IMAGE) -> None:
    """Draw the figure."""
    with figure_file(path, 1, 3, size=(10.2, 4.2)) as axes:
        for ax, (place, engine, title) in zip(axes, PANELS, strict=True):
            _draw(ax, numbers[place]["Gibbs"]["sds"], numbers[place][engine]["sds"])
            ax.set_title(title)
        axes[0].set_ylabel("standard deviation by ADVI")
        axes[1].set_xlabel("standard deviation of the posterior, by Gibbs")
        handles, labels = axes[0].get_legend_handles_labels()
        place = "outside lower center"
        axes[0].figure.legend(handles, labels, loc=place, ncols=3, frameon=False)


def _draw(ax: Axes, exact: dict[str, list[float]], found: dict[str, list[float]]) -> None:
    from matplotlib.ticker import FixedLocator, NullFormatter

    from bayesmf.plots.style import BLUE, GREEN, VERMILLION, grid

    looks = zip((BLUE, GREEN, VERMILLION), "o^s", strict=True)
    everything = []
    for (label, names), (color, marker) in zip(KINDS.items(), looks, strict=True):
        x = [value for name in names for value in exact[name]]
        y = [value for name in names for value in found[name]]
        ax.plot(x, y, ls="", color=color, marker=marker, ms=5, alpha=0.75, label=label)
        everything += x + y
    low, high = 0.85 * min(everything), 1.18 * max(everything)
    ax.plot([low, high], [low, high], color="0.35", lw=1)
    ax.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(FixedLocator([0.03, 0.1, 0.3, 1, 3, 10]))
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(NullFormatter())
    ax.annotate(
        "as wide as\nthe posterior", (0.97, 0.97), (-26, -2), xycoords="axes fraction",
        textcoords="offset points", ha="right", va="top", color="0.35", fontsize=9,
    )  # fmt: skip
    grid(ax)


if __name__ == "__main__":
    draw_again("variational", "pymc_engines", write)
