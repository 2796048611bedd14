"""docs/images/roofline.png: operations a second against the rank, and the rate of BLAS over them.

python -m benchmarks.roofline    from results/sweep.json; `benchmarks.render` does it too
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.common import draw_again, figure_file
from benchmarks.sweep import DENSE, DTYPES, MIDDLE, gemm_rate, rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from benchmarks.common import Numbers

IMAGE = Path(__file__).parent.parent / "docs" / "images" / "roofline.png"
VIOLET = "#7A4E9F"  # dark enough for text, unlike the style's second blue


class Line(NamedTuple):
    """A model in the figure."""

    model: str
    label: str
    color: str
    marker: str
    dashes: str


def write(numbers: Numbers, path: Path = IMAGE) -> None:
    """Draw the figure."""
    with figure_file(path, size=(7.6, 4.8)) as ax:
        _draw(ax, numbers)


def _draw(ax: Axes, numbers: Numbers) -> None:
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter

    from bayesmf.plots.style import BLUE, GREEN, VERMILLION, grid

    lines = (
        Line("float32" + DENSE, "bayesmf, float32*", BLUE, "o", "-"),
        Line("float64" + DENSE, "bayesmf, float64*", VIOLET, "s", "-"),
        Line("LensKit", "LensKit ALS, float32", GREEN, "^", "--"),
        Line("SMURFF", "SMURFF, float64", VERMILLION, "D", "--"),
    )
    names = list(numbers["points"][MIDDLE]["ranks"])
    ranks = [int(name) for name in names]
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ends = {}
    for dtype, color, blas in zip(DTYPES, (BLUE, VIOLET), ("sgemm", "dgemm"), strict=True):
        ends[f"{blas}, {gemm_rate(numbers, dtype):.0f} GF/s"] = gemm_rate(numbers, dtype), color
        ax.axhline(gemm_rate(numbers, dtype), color=color, lw=1.2, ls=(0, (1.2, 1.6)))
    for line in lines:
        rates = [rate(numbers, name, line.model) for name in names]
        ax.plot(ranks, rates, color=line.color, marker=line.marker, ms=6, ls=line.dashes)
        ends[line.label] = rates[-1], line.color
    grid(ax)
    ax.xaxis.set_major_locator(FixedLocator(ranks))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_locator(NullLocator())
    low, high = ax.get_ylim()
    steps = [x for x in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if low <= x <= high]
    ax.yaxis.set_major_locator(FixedLocator(steps))
    ax.yaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_minor_locator(NullLocator())
    for label, (height, color) in _apart(ends, (high / low) ** 0.05).items():
        # Named where they end: no legend to look up.
        ax.annotate(
            label,
            (1.0, height),
            (8, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            color=color,
            fontsize=10,
            annotation_clip=False,
        )
    ax.set_xlabel("rank K")
    ax.set_ylabel("GF/s")
    ax.set_title(f"Operations a second, {MIDDLE} ratings, two threads")


def _apart(ends: dict[str, tuple[float, str]], factor: float) -> dict[str, tuple[float, str]]:
    """Labels from the top down, moved so that none lies on another."""
    found: dict[str, tuple[float, str]] = {}
    above = float("inf")
    for label, (height, color) in sorted(ends.items(), key=lambda end: -end[1][0]):
        above = min(height, above / factor)
        found[label] = above, color
    return found


if __name__ == "__main__":
    draw_again("roofline", "sweep", write)
