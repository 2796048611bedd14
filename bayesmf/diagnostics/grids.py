"""The scale that ratings are given on: a few equally spaced values, or none.

A model with Gaussian noise knows nothing of the scale; who judges its predictions must.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmf.indexing import chunks
from bayesmf.validation import Described, fail

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_LEVELS = 20
"""Levels of a scale at most; with more, ratings are as good as continuous."""
ROUNDING = 1e-3
"""How far from a level, in steps, a rating may be: 0.1 in single precision is not 0.1."""


def detect_grid(*ratings: np.ndarray) -> np.ndarray | None:
    """Equally spaced levels that hold all the ratings, or None if these need more than 20.

    Levels that nobody gave are filled in, so that 1, 2, 4, 5 are on the grid 1, 2, 3, 4, 5.
    """
    found = np.empty(0)
    for values in ratings:
        for part in chunks(len(values)):
            found = np.union1d(found, values[part])
            if len(found) > MOST_LEVELS:
                return None
    if len(found) < 2:
        return None
    steps = (found - found[0]) / np.diff(found).min()
    n_levels = round(steps[-1]) + 1
    if n_levels > MOST_LEVELS or np.abs(steps - np.round(steps)).max() > ROUNDING:
        return None
    return np.linspace(found[0], found[-1], n_levels)


def check_grid(grid: object, function: str) -> np.ndarray:
    """Return levels that a caller gave: at least two, increasing, equally spaced."""
    must = f"None, False, or 2 to {MOST_LEVELS} increasing, equally spaced ratings"
    try:
        levels = np.asarray(grid, dtype=np.float64)
    except (TypeError, ValueError):
        fail("grid", function, must, grid, TypeError)
    if levels.ndim != 1 or not 2 <= len(levels) <= MOST_LEVELS or not np.isfinite(levels).all():
        fail("grid", function, must, _plain(grid))
    steps = np.diff(levels)
    if steps.min() <= 0 or np.ptp(steps) > ROUNDING * steps.min():
        fail("grid", function, must, _plain(grid))
    return levels


def half_way(grid: np.ndarray) -> np.ndarray:
    """Edges (len(grid) + 1,) half a step around each level: off the scale is outside of them."""
    step = grid[1] - grid[0]
    return np.append(grid - step / 2, grid[-1] + step / 2)


def levels_of(ratings: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return the nearest level (n,) of each rating: -1 below the scale and len(grid) above it."""
    steps = np.rint((ratings - grid[0]) / (grid[1] - grid[0]))
    found: np.ndarray = np.clip(steps, -1, len(grid)).astype(np.int64)
    return found


def check_on_grid(ratings: np.ndarray, grid: np.ndarray, argument: str, function: str) -> None:
    """Refuse ratings that are not levels of the grid."""
    levels = np.clip(levels_of(ratings, grid), 0, len(grid) - 1)
    off = np.abs(ratings - grid[levels]) > ROUNDING * (grid[1] - grid[0])
    if off.any():
        must = f"a table of ratings on the grid {_listed(grid)}"
        fail(argument, function, must, Described(f"a rating of {ratings[off][0]:g}"))


def _listed(grid: np.ndarray) -> str:
    return ", ".join(f"{level:g}" for level in grid)


def _plain(grid: object) -> Any:
    if isinstance(grid, np.ndarray):
        shown: Sequence[float] = grid.tolist()
        return shown
    return grid
