"""`NeighborEstimate`: biases, and what the nearest neighbours say."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from bayesmf.point.als import cell_means
from bayesmf.point.neighbors import Neighbors
from bayesmf.ranking import top_n
from bayesmf.results.point_estimate import Held, PointEstimate
from bayesmf.validation import check_integer, fail

_NUMBERS = ("center", "reg_bias", "shrinkage")
_COUNTS = ("n_neighbors", "min_support")


@dataclass(eq=False, kw_only=True, repr=False)
class NeighborEstimate(PointEstimate):
    """One prediction for every cell, from biases and from the most similar rows of one side.

    Similarities are those of the training ratings' residuals. They are kept in memory where they
    fit in 256 MB, and else worked out as they are asked for; they are never saved.

    Attributes
    ----------
    by : {"item", "user"}
        Whose similarities predictions use.
    n_neighbors : int
        How many rated neighbours a prediction uses at most.
    shrinkage : float
        Pull of similarities to zero, in common ratings.
    min_support : int
        Rows with fewer common ratings are not similar.
    user_bias, item_bias : ndarray of float64, shapes (n_users,) and (n_items,)
    center : float
        Added to every prediction.
    reg_bias : float
        Penalty of squared biases, given or chosen.
    ratings, sigma, loss, settings, tried, fit_seconds, steps, details
        As of every `PointEstimate`; `loss` is that of the biases alone.
    """

    by: str
    n_neighbors: int
    shrinkage: float
    min_support: int
    user_bias: np.ndarray
    item_bias: np.ndarray
    center: float
    reg_bias: float

    @property
    def n_parameters(self) -> int:
        """Numbers in biases and similarities, and the centre."""
        n = self._neighbors.own.n_rows
        return self.user_bias.size + self.item_bias.size + 1 + n * (n - 1) // 2

    def similar_items(self, item: object, n: int = 10) -> pd.DataFrame:
        """Items that the same users rate above and below their biases.

        Parameters
        ----------
        item : id
            An item of the training ratings.
        n : int, default 10
            Length of the list.

        Returns
        -------
        DataFrame
            `rank`, `item`, `similarity`: the shrunk correlation, 0 where too little is common.

        Raises
        ------
        ValueError, TypeError
            For an unknown item, or a wrong number.

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> near = bayesmf.fit_neighbors(ratings, random_seed=1, progressbar=False)
        >>> near.similar_items(3, n=2).columns.tolist()
        ['rank', 'item', 'similarity']
        """
        return self._similar(item, "item", n)

    def similar_users(self, user: object, n: int = 10) -> pd.DataFrame:
        """Users who rate the same items above and below their biases; see `similar_items`.

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> near = bayesmf.fit_neighbors(ratings, random_seed=1, progressbar=False)
        >>> near.similar_users(3, n=2)["rank"].tolist()
        [1, 2]
        """
        return self._similar(user, "user", n)

    def prepare(self) -> None:
        """Work out now what the first prediction would."""
        _ = self._kept

    def _similar(self, one: object, side: str, n: int) -> pd.DataFrame:
        function = f"similar_{side}s"
        n = check_integer(n, "n", function, minimum=1)
        ids, codes = self._codes([one], side, side, function)
        if codes[0] < 0:
            fail(side, function, f"one of the {side}s of the training ratings", ids[0])
        neighbors = self._neighbors if side == self.by else self._compared(side)
        scores = neighbors.similarities(codes)[0].astype(float)
        scores[codes[0]] = -np.inf
        best = top_n(scores[None, :], min(n, len(scores) - 1))[0]
        known = self.ratings.user_ids if side == "user" else self.ratings.item_ids
        return pd.DataFrame(
            {
                "rank": np.arange(1, len(best) + 1),
                side: known[best],
                "similarity": scores[best],
            }
        )

    @cached_property
    def _neighbors(self) -> Neighbors:
        return self._compared(self.by)

    def _compared(self, side: str) -> Neighbors:
        expected = self._baselines(self.ratings.users, self.ratings.items)
        return Neighbors.build(self.ratings, expected, side, self.shrinkage, self.min_support)

    @cached_property
    def _kept(self) -> np.ndarray | None:
        neighbors = self._neighbors
        if not neighbors.keeps:
            return None
        with ThreadPoolExecutor(max(1, self.cores - 1)) as pool:  # this thread works too
            rows = np.arange(neighbors.own.n_rows)
            return neighbors.similarities(rows, pool if self.cores > 1 else None)

    def _baselines(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        no_factors = np.empty((len(self.user_bias), 0)), np.empty((len(self.item_bias), 0))
        return cell_means(*no_factors, self.user_bias, self.item_bias, self.center, users, items)

    def _means(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        rows, others = (users, items) if self.by == "user" else (items, users)
        more = self._neighbors.deviations(rows, others, self.n_neighbors, self._kept)
        return self._baselines(users, items) + more

    def __getstate__(self) -> dict[str, Any]:
        # They can be worked out again, and may be larger than all else.
        made = ("_kept", "_neighbors")
        return {name: value for name, value in self.__dict__.items() if name not in made}

    def _how(self) -> str:
        return (
            f"{self.by}-based, {self.n_neighbors} neighbours, shrinkage={self.shrinkage:.3g}, "
            f"reg_bias={self.reg_bias:.3g}"
        )

    def _held(self) -> Held:
        arrays: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
            "user_bias": (("user",), self.user_bias),
            "item_bias": (("item",), self.item_bias),
        }
        return Held(arrays, {name: getattr(self, name) for name in ("by", *_NUMBERS, *_COUNTS)})

    @classmethod
    def _made(
        cls, arrays: dict[str, np.ndarray], attributes: dict[str, Any], common: dict[str, Any]
    ) -> Self:
        own: dict[str, Any] = dict(arrays)
        own |= {name: float(attributes[name]) for name in _NUMBERS}
        own |= {name: int(attributes[name]) for name in _COUNTS}
        return cls(**common, **own, by=str(attributes["by"]))
