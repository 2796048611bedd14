"""The ways in which rows can be drawn, and how a test forces all rows that can go one onto it."""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

DEGREES = (300, 0, 129, 1, 128, 7, 256, 8, 127, 9, 3)
"""Ratings of the rows: none, one, and all sides of a multiple of 8 and of 128, at which the kernels
pad and cut; long rows first, so that what they leave in a buffer would show in the next."""


class Path(NamedTuple):
    """A way to draw rows.

    Attributes
    ----------
    low_share : float
        Rows with at most so many ratings a coordinate are drawn in the space of their ratings.
    heavy : int
        Rows with more ratings are summed up in segments.
    look_up : bool
        Partners of one vector are looked up one by one, not gathered in tiles.
    degrees : tuple of int
        Ratings of the rows of the closed forms' world.
    """

    low_share: float = 0.0
    heavy: int = 10**6
    look_up: bool = True
    degrees: tuple[int, ...] = DEGREES


PATHS = {
    "": Path(),
    "in the space of ratings": Path(low_share=math.inf, degrees=(40, 0, 17, 1, 16, 7, 9, 8, 3)),
    "in segments": Path(heavy=100),
    "in tiles": Path(look_up=False),
    "mixed": Path(low_share=1.0, heavy=100, look_up=False),
}


def path_forced(blocks: Any, path: Path) -> AbstractContextManager[Any]:
    """Make a package's `kernels.blocks` build data whose rows go a path."""
    stack = ExitStack()
    share = path.low_share
    stack.enter_context(mock.patch.dict(blocks.LOW_DEGREE, float32=share, float64=share))
    stack.enter_context(mock.patch.multiple(blocks, HEAVY_RATINGS=path.heavy, HEAVY_SHARE=0.0))
    stack.enter_context(mock.patch.object(blocks, "LOOK_UP", path.look_up))
    # The rule asks whether whitening pays, which here it need not.
    stack.enter_context(mock.patch.multiple(blocks, LOW_FROM=0, WHITEN_COST=-math.inf))
    return stack
