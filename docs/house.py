"""Draw the floors of the house, images/house.svg: `python -m docs.house`.

The floors and rooms are those of the table in architecture.md; `tests/test_docs.py` holds that
table against the contract of imports in pyproject.toml.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

HERE = Path(__file__).parent
MADE = {
    "tools": "",
    "observed": "a table becomes Ratings",
    "believed": "the model and its priors",
    "computed": "compiled loops",
    "inferred": "engines: states become draws",
    "kept": "draws: a DataTree, in memory or on disk",
    "used": "any cell, any list, new rows",
    "judged": "scores, convergence, criticism",
    "shown": "figures and the report",
    "wrapped": "runs, from a start to a tree",
    "face": "results: what a user holds",
    "front": "fit_…, load, resume",
    "program": "the command line",
}
"""What each floor makes of what comes from below."""


def floors() -> dict[str, list[str]]:
    """Return the rooms of each floor, from the ground up."""
    found: dict[str, list[str]] = {}
    text = (HERE / "architecture.md").read_text(encoding="utf-8")
    table = text.split("| floor | rooms |")[1].split("\n\n")[0]
    for row in table.splitlines()[2:]:
        floor, rooms, _ = (cell.strip() for cell in row.strip("|").split("|", 2))
        name = floor or list(found)[-1]
        found.setdefault(name, []).extend(re.findall(r"`(\w+)(?:/|\.py)`", rooms))
    return found


def description() -> str:
    """Say what the picture shows, so that a test can tell an old one."""
    return "; ".join(f"{floor}: {', '.join(rooms)}" for floor, rooms in floors().items())


def draw() -> Path:
    """Draw the house and return the path of its picture."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    from bayesmf.plots import style

    house = floors()
    look = {"svg.fonttype": "path", "svg.hashsalt": "bayesmf", "font.size": 9.5}
    with style(), mpl.rc_context(look | {"savefig.facecolor": "white"}):
        figure, ax = plt.subplots(figsize=(8.6, 0.53 * len(house) + 0.6))
        for level, (floor, rooms) in enumerate(house.items()):
            shade = 0.30 - 0.018 * level
            ax.add_patch(
                mpl.patches.FancyBboxPatch(
                    (0.0, level + 0.06), 10.0, 0.82, boxstyle="round,pad=0,rounding_size=0.1",
                    facecolor=mpl.colors.to_rgba("#0072B2", shade), edgecolor="none",
                )
            )  # fmt: skip
            ax.text(0.15, level + 0.47, floor, va="center", weight="bold")
            ax.text(9.85, level + 0.47, MADE[floor], va="center", ha="right", style="italic")
            listed = textwrap.wrap(", ".join(rooms), 58)
            size = 8.5 if len(listed) < 3 else 7
            ax.text(1.55, level + 0.47, "\n".join(listed), va="center", fontsize=size)
        top = len(house)
        for x, start, end, words in (
            (-0.35, 0.2, top - 0.2, "data goes up"),
            (10.35, top - 0.2, 0.2, "imports go down"),
        ):
            ax.annotate("", (x, end), (x, start), arrowprops={"arrowstyle": "-|>", "color": "#555"})
            ax.text(x, top / 2, words, rotation=90, ha="center", va="center", backgroundcolor="w")
        ax.set(xlim=(-0.7, 10.7), ylim=(0, top))
        ax.axis("off")
        path = HERE / "images" / "house.svg"
        figure.savefig(path, metadata={"Date": None, "Description": description()})
        plt.close(figure)
    return path


if __name__ == "__main__":
    draw()
