"""Labels beside points, such that they can be read: no label on another, few on points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.transforms import Bbox

from bayesmf.plots.style import ink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

DISTANCES = (7, 14, 24, 38, 56)
"""Points (1/72 inch) between a point and its label, nearest first."""
ALONG = np.linspace(0.1, 0.9, 9)[:, None]
LONGEST = 34
"""Characters of a label; more are cut."""


def shorten(text: str, longest: int = LONGEST) -> str:
    """Text of at most so many characters, its end cut off with an ellipsis."""
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"


def place_labels(
    ax: Axes, at: np.ndarray, texts: Sequence[str], avoid: np.ndarray
) -> list[Annotation]:
    """Write a label beside each point where it covers least of labels before it and of points.

    Parameters
    ----------
    ax : matplotlib Axes
        With its limits set: places are looked for on the page.
    at : ndarray, shape (n, 2)
        The points, the most important first.
    texts : sequence of str
    avoid : ndarray, shape (n_points, 2)
        Points that labels should not cover.
    """
    figure = ax.figure
    figure.canvas.draw()  # lays the figure out, which says where points are on the page
    page = ax.get_window_extent()
    dots = ax.transData.transform(avoid)
    dot = figure.dpi / 72
    taken: list[Bbox] = []
    labels = []
    for point, text in zip(at, texts, strict=True):
        label = ax.annotate(
            text, point, xytext=(0, 0), textcoords="offset points", fontsize=8, color=ink(),
            arrowprops={"arrowstyle": "-", "lw": 0.6, "color": "#8b929b", "shrinkA": 0,
                        "shrinkB": 3},
            parse_math=False,
        )  # fmt: skip
        label.set_in_layout(False)  # or the axes would make room for it, and all places shift
        box = label.get_window_extent()
        width, height = box.width, box.height
        here = ax.transData.transform(point)
        best: tuple[float, Bbox, tuple[float, float], int] | None = None
        for distance in DISTANCES:
            for angle in np.arange(0, 2 * np.pi, np.pi / 8):
                direction = np.array([np.cos(angle), np.sin(angle)])
                # The side of the box that looks at the point touches the circle.
                half = np.array([width, height]) / 2
                left, bottom = here + direction * (distance * dot + half) - half
                place = Bbox.from_bounds(left, bottom, width, height)
                leader = here + ALONG * ((place.p0 + place.p1) / 2 - here)
                cost = _cost(place, leader, taken, dots, page) + 0.15 * distance
                if best is None or cost < best[0]:
                    offset = (place.x0 - here[0]) / dot, (place.y0 - here[1]) / dot
                    best = cost, place, offset, distance
        assert best is not None  # noqa: S101 - there are places to choose from
        label.set_position(best[2])
        if label.arrow_patch is not None:
            label.arrow_patch.set_visible(best[3] > DISTANCES[1])
        taken.append(best[1].padded(1.0))
        # Later labels keep off this one's line as well.
        dots = np.vstack([dots, here + ALONG * ((best[1].p0 + best[1].p1) / 2 - here)])
        labels.append(label)
    return labels


def _cost(
    place: Bbox, leader: np.ndarray, taken: list[Bbox], dots: np.ndarray, page: Bbox
) -> float:
    # On another label: never, if there is another place. Over the edge: hardly. On points: a few.
    cost = 0.0
    for other in taken:
        both = Bbox.intersection(place, other)
        if both is not None and both.width * both.height > 0:
            cost += 100 + both.width * both.height
        cost += 5 * _within(other, leader)
    inside = Bbox.intersection(place, page)
    seen = 0.0 if inside is None else inside.width * inside.height
    cost += 50 * (1 - seen / max(place.width * place.height, 1.0))
    return cost + 0.6 * min(_within(place, dots), 30)


def _within(box: Bbox, points: np.ndarray) -> int:
    x, y = points.T
    return int(((box.x0 <= x) & (x <= box.x1) & (box.y0 <= y) & (y <= box.y1)).sum())
