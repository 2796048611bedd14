"""`PointEstimate`: what every fit that gives one number for a cell can do."""

from __future__ import annotations

import html
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np

from bayesmf import ranking
from bayesmf.predictive import Mixture
from bayesmf.results.base import Result
from bayesmf.scoring import PASS_BYTES
from bayesmf.strategies import check_strategy

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    import xarray as xr

    from bayesmf.ratings import Pairs, Ratings
    from bayesmf.strategies import Strategy


class Steps(NamedTuple):
    """What lowers the loss, its unit of time, and how often in one the loss is kept."""

    method: str
    unit: str
    often: int = 1


class Held(NamedTuple):
    """What an estimate holds beyond what all hold: arrays with their dimensions, and attributes."""

    arrays: dict[str, tuple[tuple[str, ...], np.ndarray]]
    attributes: dict[str, Any]


@dataclass(eq=False, kw_only=True, repr=False)
class PointEstimate(Result):
    """One prediction for every cell, without uncertainty of its own.

    `FactorEstimate` is one by factors and biases, `MapEstimate` that of PMF, `NeighborEstimate` one
    by nearest neighbours, `NetworkEstimate` one by a network.

    Attributes
    ----------
    ratings : Ratings
        What it was fitted to.
    sigma : float
        RMSE on the part of the training ratings that was held out for validation, before the
        final fit to all of them; the sd of this model's intervals in `compare`.
    loss : ndarray
        What the fit lowered, at the start and after each step of `steps`.
    settings : dict
        The arguments of the fit.
    tried : DataFrame
        What was tried on the validation part, with its RMSE.
    fit_seconds : float
    steps : Steps
        What the steps of `loss` are.
    details : str
        What the protocol says of the fit beyond what it says of all.
    """

    ratings: Ratings
    sigma: float
    loss: np.ndarray
    settings: dict[str, Any]
    tried: pd.DataFrame
    fit_seconds: float
    steps: Steps
    details: str = ""

    strategies: ClassVar[tuple[str, ...]] = ("mean",)
    """What lists may be sorted by."""

    @abstractmethod
    def _means(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Expected ratings of cells by code; -1 for a row that was never seen."""

    @property
    @abstractmethod
    def n_parameters(self) -> int:
        """How many numbers the fit has chosen."""

    @abstractmethod
    def _held(self) -> Held:
        """What it holds, to be saved."""

    @classmethod
    @abstractmethod
    def _made(
        cls, arrays: dict[str, np.ndarray], attributes: dict[str, Any], common: dict[str, Any]
    ) -> Self:
        """Make one of what `_held` gave, and the fields that all have."""

    def predict(
        self,
        pairs: object,
        *,
        clip: bool | tuple[float, float] = False,
        round_to: float | None = None,
    ) -> pd.DataFrame:
        """Predict the ratings of some cells.

        Parameters
        ----------
        pairs : DataFrame, Ratings, or list of (user, item)
            Cells to predict. An unknown user or item has no bias, and no factors either or the mean
            ones of its side, as its fit says.
        clip : bool or (low, high), default False
            Clip means to the range of the training ratings, or to a given one.
        round_to : float, optional
            Round means to a multiple, such as 0.5 for half stars.

        Returns
        -------
        DataFrame
            `user`, `item`, `mean`, with the index of `pairs`.

        Raises
        ------
        ValueError, TypeError
            For pairs without ids, or ids of another type than in training.

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> als = bayesmf.fit_als(ratings, n_factors=2, random_seed=1, progressbar=False)
        >>> als.predict([(0, 1), (0, 999)]).columns.tolist()
        ['user', 'item', 'mean']
        """
        return self._predict(pairs, 0.9, "latent", clip, round_to)

    def recommend(
        self,
        users: object = None,
        n: int = 10,
        *,
        strategy: str = "mean",
        candidates: object = None,
        allowed: object = None,
        exclude_seen: bool = True,
    ) -> pd.DataFrame:
        """Best items for some users by predicted rating, or by taste alone.

        Parameters
        ----------
        users : id or sequence of ids, optional
            By default all users. An unknown user gets what `predict` rates highest for one: without
            factors, the items with the largest biases.
        n : int, default 10
            Length of each list; shorter where nothing is left.
        strategy : {"mean", "affinity"}, default "mean"
            "mean": the predicted rating. "affinity": the centred interaction alone, without what
            makes an item good for everybody, for models that have one; see `Posterior.recommend`.
        candidates : sequence of ids, optional
            Items that may be recommended; by default all.
        allowed : DataFrame or Series of bool, optional
            Which items may be recommended to whom, users by items, or by item to all.
        exclude_seen : bool, default True
            Leave out what the user has rated.

        Returns
        -------
        DataFrame
            `user`, `rank` (from 1), `item`, for "affinity" `score`, `mean`.

        Raises
        ------
        ValueError, TypeError
            For wrong arguments, a strategy that needs uncertainty, candidates that were never
            rated, and ids that `allowed` does not have.

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> als = bayesmf.fit_als(ratings, n_factors=2, random_seed=1, progressbar=False)
        >>> als.recommend([0, 1], n=2)["rank"].tolist()
        [1, 2, 1, 2]
        """
        chosen = check_strategy(strategy, "recommend", self.strategies)
        return self._recommend(users, n, chosen, candidates, allowed, exclude_seen, 0.9, "latent")

    def cell_means(self, pairs: Pairs) -> np.ndarray:
        """Predicted means of cells given by code."""
        return self._means(pairs.users, pairs.items)

    def over_mixtures[R](
        self, pairs: Pairs, function: Callable[[slice, Mixture], R], *, limit: int
    ) -> list[R]:
        """Call `function` once, on Gaussians around the predictions with sd `sigma`."""
        del limit  # one component is all there is
        means = self.cell_means(pairs)[:, None]
        return [function(slice(0, len(means)), Mixture(means, np.full((1, 1), self.sigma)))]

    def _intervals(
        self, users: np.ndarray, items: np.ndarray, prob: float | None, kind: str
    ) -> dict[str, np.ndarray]:
        del prob, kind
        return {"mean": self._means(users, items)}

    def _scorer(self, strategy: Strategy, items: np.ndarray) -> ranking.Scorer:
        del strategy  # predictions are all there is
        at_once = max(1, PASS_BYTES // (8 * max(len(items), 1)))
        return ranking.Scorer(at_once, lambda users: self._grid(users, items))

    def _grid(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Expected ratings (n_users, n_items) of known rows by code."""
        cells = self._means(np.repeat(users, len(items)), np.tile(items, len(users)))
        return cells.reshape(len(users), len(items))

    def _scores_of_unknown(
        self, strategy: Strategy, items: np.ndarray, ids: list[Any]
    ) -> np.ndarray:
        del strategy, ids
        return self._means(np.full(len(items), -1), items)[None]

    def _tree(self) -> xr.DataTree:
        from bayesmf.results.point_tree import tree_of  # noqa: PLC0415 - it knows all estimates

        return tree_of(self)

    def _how(self) -> str:
        # What its kind says first of all.
        return ""

    def protocol(self) -> str:
        """Say in one line how it was fitted."""
        n_steps = (len(self.loss) - 1) // self.steps.often
        said = [self._how(), self.details]
        if n_steps > 0:
            said.append(f"{n_steps} {self.steps.unit}{'s' * (n_steps != 1)}")
        said.append(f"seed {self.settings['random_seed']}")
        how = ", ".join(one for one in said if one)
        share = self.settings["validation_size"]
        return f"{how}; interval sd {self.sigma:.3f} from {share:.0%} of training held out."

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.ratings!r}: {self.protocol()}>"

    def _repr_html_(self) -> str:
        name, how = type(self).__name__, html.escape(self.protocol())
        return f"<p><b>{name}</b> {how}</p>{self.ratings._repr_html_()}"
