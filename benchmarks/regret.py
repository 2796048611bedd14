"""docs/images/bandit.png: cumulative regret by round, and what each policy differs from greedy.

python -m benchmarks.regret    from results/bandit.json; `benchmarks.render` does it too
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.common import draw_again, figure_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from benchmarks.common import Numbers

IMAGE = Path(__file__).parent.parent / "docs" / "images" / "bandit.png"
POLICIES = ("random", "Thompson", "UCB, width 2", "UCB, width 1", "greedy")


def write(numbers: Numbers, path: Path = IMAGE) -> None:
    """Draw the figure."""
    from bayesmf.plots.style import BLUE, GREEN, ORANGE, SKY, VERMILLION, grid, ink

    colors = dict(zip(POLICIES, (ORANGE, VERMILLION, SKY, GREEN, BLUE), strict=True))
    with figure_file(path, 1, 2, size=(10.2, 4.2)) as (left, right):
        for name in POLICIES:
            _band(left, numbers["regret"][name], colors[name], name)
        left.set(title="Cumulative regret", ylabel="stars behind the best order")
        for name in POLICIES[1:-1]:
            _band(right, numbers["against_greedy"][name], colors[name], name)
        right.axhline(0, color=ink(), lw=1)
        right.set(title="Against greedy, user by user", ylabel="stars behind greedy")
        for ax in (left, right):
            ax.set(xlabel="round", xlim=(1, len(numbers["best"])))
            grid(ax)
        handles, labels = left.get_legend_handles_labels()
        place = "outside lower center"
        left.figure.legend(handles, labels, loc=place, ncols=len(POLICIES), frameon=False)


def _band(ax: Axes, found: Numbers, color: str, label: str) -> None:
    """Mean over users with its 95% interval."""
    mean, error = np.array(found["mean"]), np.array(found["error"])
    rounds = np.arange(1, len(mean) + 1)
    ax.plot(rounds, mean, color=color, label=label)
    ax.fill_between(rounds, mean - 1.96 * error, mean + 1.96 * error, color=color, alpha=0.2, lw=0)


if __name__ == "__main__":
    draw_again("regret", "bandit", write)
