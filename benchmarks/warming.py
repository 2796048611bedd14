"""docs/images/strangers.png: errors on strangers' ratings by how many of theirs they have given.

python -m benchmarks.warming    from results/strangers.json; `benchmarks.render` does it too
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from benchmarks.common import draw_again, figure_file
from benchmarks.strangers import BAYES, MEAN, NEAR, NEAREST, RIDGE, UNKNOWN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from benchmarks.common import Numbers

IMAGE = Path(__file__).parent.parent / "docs" / "images" / "strangers.png"
ORDER = (UNKNOWN, MEAN, BAYES, RIDGE, NEAREST, NEAR)
"""By this a method has its colour: the Bayesian one that of the posterior in other figures."""


def write(numbers: Numbers, path: Path = IMAGE) -> None:
    """Draw the figure."""
    from bayesmf.plots.style import grid, key, looks

    counts = list(numbers["scores"][BAYES])
    places, shown = range(len(counts)), looks(ORDER)
    lines = {
        name: {"color": look.color, "marker": look.marker, "ls": look.dashes, "ms": 6}
        for name, look in shown.items()
    }
    with figure_file(path, 1, 2, size=(10.2, 4.4)) as (left, right):
        for name, line in lines.items():
            by_count = numbers["scores"][name]
            left.plot(places, [fmean(by_count[count]["RMSE"]) for count in counts], **line)
        found = [numbers["against"][RIDGE][count] for count in counts]
        right.errorbar(
            places,
            [one["difference"] for one in found],
            [1.96 * one["error"] for one in found],
            elinewidth=1.2,
            **lines[RIDGE],
        )
        right.axhline(0, color=lines[BAYES]["color"])
        left.set(title="Error on strangers' ratings", ylabel="RMSE")
        right.set(title="Ridge regression above Bayesian fold-in", ylabel="RMSE, difference")
        for ax in (left, right):
            _by_count(ax, counts)
            grid(ax)
        left.figure.legend(
            handles=[key(name, look) for name, look in shown.items()],
            loc="outside lower center",
            ncols=len(ORDER),
            frameon=False,
            columnspacing=1.2,
        )


def _by_count(ax: Axes, counts: list[str]) -> None:
    ax.set_xlabel("ratings that each has given")
    ax.set_xticks(range(len(counts)), counts)


if __name__ == "__main__":
    draw_again("warming", "strangers", write)
