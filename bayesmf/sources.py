"""What scores are made of: factors and biases in a row of draws, or one estimate of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from bayesmf.draws.reading import Block, KeptDraws
from bayesmf.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr


class Source(Protocol):
    """Factors and biases in a row of draws: `KeptDraws`, or one estimate."""

    n_draws: int
    n_factors: int
    has_bias: bool
    center: float
    noise_sd: np.ndarray
    in_memory: bool

    def blocks(self, users: np.ndarray, items: np.ndarray) -> Iterator[Block]:
        """All draws of some rows."""

    def center_of(self, side: str) -> np.ndarray:
        """Mean factors (n_draws, K) of all rows of a side."""


class Estimate:
    """One estimate of all rows, as a row of one draw.

    Parameters
    ----------
    user_factors, item_factors : ndarray, shapes (n_rows, K)
    user_bias, item_bias : ndarray, shapes (n_rows,), or None
    center : float
    middle : (ndarray, ndarray), shapes (K,), optional
        Mean factors of both sides, where these rows are not all there are.
    """

    n_draws = 1
    in_memory = True

    def __init__(
        self,
        user_factors: np.ndarray,
        item_factors: np.ndarray,
        user_bias: np.ndarray | None,
        item_bias: np.ndarray | None,
        center: float,
        middle: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        none = np.empty((1, 0))
        self._middle = middle
        self._arrays = (
            user_factors[None],
            item_factors[None],
            none if user_bias is None else user_bias[None],
            none if item_bias is None else item_bias[None],
        )
        self.n_factors = user_factors.shape[1]
        self.has_bias = user_bias is not None
        self.center, self.noise_sd = center, np.zeros(1)

    def blocks(self, users: np.ndarray, items: np.ndarray) -> Iterator[Block]:
        """All there is in one block."""
        yield Block(slice(0, 1), *self._arrays, users, items)

    def center_of(self, side: str) -> np.ndarray:
        """Mean factors (1, K) of a side."""
        if self._middle is not None:
            return self._middle[side == "item"][None]
        mean: np.ndarray = self._arrays[side == "item"].mean(axis=1)
        return mean


def one_draw(tree: xr.DataTree, draws: KeptDraws, seed: int) -> KeptDraws:
    """The one of some draws that a seed picks, as all that was kept."""
    index = int(generator(seed, "thompson").integers(draws.n_draws))
    return KeptDraws(tree, only=draws.number_of(index))
