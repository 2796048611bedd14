"""`PointEstimate`: one number for every factor and bias."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bayesmf.point.als import cell_means
from bayesmf.predictive import Mixture
from bayesmf.results.base import Result
from bayesmf.scoring import Estimate
from bayesmf.strategies import check_strategy

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    import xarray as xr

    from bayesmf.ratings import Pairs, Ratings
    from bayesmf.scoring import Source
    from bayesmf.strategies import Strategy


@dataclass(eq=False)
class PointEstimate(Result):
    """One estimate of every factor and bias, without uncertainty of its own.

    Attributes
    ----------
    ratings : Ratings
        What it was fitted to.
    user_factors, item_factors : ndarray of float64, shapes (n_users, K) and (n_items, K)
    user_bias, item_bias : ndarray of float64, or None without biases
    center : float
        Added to every prediction.
    sigma : float
        RMSE on the part of the training ratings that was held out for validation, before the
        final fit to all of them; the sd of this model's intervals in `compare`.
    reg, reg_bias : float
        Penalties, given or chosen.
    loss : ndarray
        Penalised squared error at the start and after each half-sweep.
    settings : dict
        The arguments of the fit.
    tried : DataFrame
        Penalties tried on the validation part, with their RMSE.
    fit_seconds : float
    """

    ratings: Ratings
    user_factors: np.ndarray
    item_factors: np.ndarray
    user_bias: np.ndarray | None
    item_bias: np.ndarray | None
    center: float
    sigma: float
    reg: float
    reg_bias: float
    loss: np.ndarray
    settings: dict[str, Any]
    tried: pd.DataFrame
    fit_seconds: float

    loss_steps: ClassVar[tuple[str, str, int]] = ("ALS", "sweep", 2)
    """What lowers the loss, its unit of time, and how often in one the loss is kept."""

    @property
    def n_factors(self) -> int:  # type: ignore[override]
        """Rank of the interaction."""
        return self.user_factors.shape[1]

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
            Cells to predict. An unknown user or item has neither factors nor a bias.
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
            By default all users. An unknown user gets the items with the largest biases.
        n : int, default 10
            Length of each list; shorter where nothing is left.
        strategy : {"mean", "affinity"}, default "mean"
            "mean": the predicted rating. "affinity": the centred interaction alone, without what
            makes an item good for everybody; see `Posterior.recommend`.
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
        chosen = check_strategy(strategy, "recommend", ("mean", "affinity"))
        return self._recommend(users, n, chosen, candidates, allowed, exclude_seen, 0.9, "latent")

    def cell_means(self, pairs: Pairs) -> np.ndarray:
        """Predicted means of cells given by code."""
        return self._means(pairs.users, pairs.items)

    def _means(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return cell_means(
            self.user_factors,
            self.item_factors,
            self.user_bias,
            self.item_bias,
            self.center,
            users,
            items,
        )

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

    def _source(self, limit: int | None = None) -> Source:
        del limit  # one estimate is all there is
        return Estimate(
            self.user_factors, self.item_factors, self.user_bias, self.item_bias, self.center
        )

    def _tree(self) -> xr.DataTree:
        from bayesmf.results.point_tree import tree_of  # noqa: PLC0415 - it knows all estimates

        return tree_of(self)

    def _scores_of_unknown(
        self, strategy: Strategy, items: np.ndarray, ids: list[Any]
    ) -> np.ndarray:
        del strategy, ids
        return self._means(np.full(len(items), -1), items)[None]

    def protocol(self) -> str:
        """Say in one line how it was fitted."""
        weighted = ", weighted" if self.settings.get("weighted") else ""
        return (
            f"K={self.n_factors}, reg={self.reg:.3g}, reg_bias={self.reg_bias:.3g}{weighted}, "
            f"{len(self.loss) // 2} sweeps, seed {self.settings['random_seed']}; interval sd "
            f"{self.sigma:.3f} from {self.settings['validation_size']:.0%} of training held out."
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.ratings!r}: {self.protocol()}>"

    def _repr_html_(self) -> str:
        name, how = type(self).__name__, html.escape(self.protocol())
        return f"<p><b>{name}</b> {how}</p>{self.ratings._repr_html_()}"
