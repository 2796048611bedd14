"""docs/images/ways-down.png: the loss by way of going down, and errors as penalties go to zero.

python -m benchmarks.ways_down    from results/taught.json; `benchmarks.render` does it too
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.common import draw_again, figure_file

if TYPE_CHECKING:
    from benchmarks.common import Numbers

IMAGE = Path(__file__).parent.parent / "docs" / "images" / "ways-down.png"
SHOWN = 100
"""Sweeps of the left panel."""
TICKS = (0.6, 0.8, 1.0, 1.5, 2.0, 3.0)
"""RMSEs of the right panel."""


def write(numbers: Numbers, path: Path = IMAGE) -> None:
    """Draw the figure."""
    from matplotlib.lines import Line2D

    from bayesmf.plots.style import BLUE, GREEN, ORANGE, SKY, VERMILLION, grid, ink

    with figure_file(path, 1, 2, size=(10.2, 4.4)) as (left, right):
        for (name, way), color in zip(
            numbers["ways"].items(), (BLUE, SKY, VERMILLION, ORANGE), strict=True
        ):
            loss = way["loss"][1 : SHOWN + 1]
            dashes = (0, (4, 2)) if name.startswith("separate") else "-"
            left.plot(range(1, len(loss) + 1), loss, color=color, ls=dashes, label=name)
        left.set(xscale="log", xlabel="sweep", ylabel="loss, stars²", xlim=(1, SHOWN))
        left.xaxis.set_major_formatter("{x:g}")
        left.set_title("Loss of ALS, by how it is brought down")
        left.yaxis.set_major_formatter("{x:,.0f}")
        left.legend(title="biases, sides", alignment="left")

        rank, found = max(numbers["overfit"].items(), key=lambda one: int(one[0]))
        handles = []
        for (share, errors), color in zip(
            found["shares"].items(), (VERMILLION, ORANGE, GREEN, BLUE), strict=False
        ):
            sweeps = range(1, len(errors["test"]) + 1)
            right.plot(sweeps, errors["test"], color=color)
            right.plot(sweeps, errors["train"], color=color, ls=(0, (1.2, 1.6)))
            handles.append(Line2D([], [], color=color, label=f"{float(share):g}"))
        for label, dashes in (("test", "-"), ("training", (0, (1.2, 1.6)))):
            handles.append(Line2D([], [], color=ink(), ls=dashes, label=label))
        right.set(xlabel="sweep", ylabel="RMSE, stars", title=f"Overfitting, K = {rank}")
        right.set(yscale="log", xlim=(1, len(sweeps)), yticks=TICKS)
        right.yaxis.set_major_formatter("{x:g}")
        right.minorticks_off()
        right.legend(
            handles=handles, title="share of the chosen penalties", alignment="left", ncols=2,
            loc="center right", bbox_to_anchor=(1, 0.55),
        )  # fmt: skip
        for ax in (left, right):
            grid(ax)


if __name__ == "__main__":
    draw_again("ways_down", "taught", write)
