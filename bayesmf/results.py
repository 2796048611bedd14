"""The face: `Posterior` and `PointEstimate`, two thin classes whose methods delegate down."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmf import ranking
from bayesmf.predictive import FactorDraws, Mixture, predict
from bayesmf.tables import lookup_ids
from bayesmf.validation import check_bool, check_choice, check_integer, check_number, fail

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from bayesmf.model import BPMF
    from bayesmf.ratings import Pairs, Ratings


class Result:
    """What every fitted model can do; `Posterior` and `PointEstimate` add how they know it."""

    ratings: Ratings
    fit_seconds: float
    n_factors: int

    def _rows(self) -> ranking.Rows:
        raise TypeError("a result must say what its rows are")

    def _intervals(
        self, users: np.ndarray, items: np.ndarray, prob: float, kind: str
    ) -> dict[str, np.ndarray]:
        raise TypeError("a result must say what it knows of a cell")

    def _predict(
        self,
        pairs: object,
        prob: float,
        kind: str,
        clip: object,
        round_to: float | None,
    ) -> pd.DataFrame:
        cells = self.ratings.pairs(pairs, "pairs", "predict")
        prob, kind = _check_interval(prob, kind, "predict")
        bounds = self._check_clip(clip)
        if round_to is not None:
            round_to = check_number(round_to, "round_to", "predict", above=0)
        columns = self._intervals(cells.users, cells.items, prob, kind)
        if bounds is not None:
            columns["mean"] = np.clip(columns["mean"], *bounds)
        if round_to is not None:
            columns["mean"] = np.round(columns["mean"] / round_to) * round_to
        ids = {"user": cells.user_ids, "item": cells.item_ids}
        return pd.DataFrame(ids | columns, index=cells.index)

    def _check_clip(self, clip: object) -> tuple[float, float] | None:
        if isinstance(clip, bool):
            return self.ratings.bounds if clip else None
        if not isinstance(clip, tuple) or len(clip) != 2:
            fail("clip", "predict", "True, False or a tuple (low, high)", clip, TypeError)
        low, high = (check_number(end, "clip", "predict") for end in clip)
        if low >= high:
            fail("clip", "predict", "a tuple (low, high) with low < high", clip)
        return low, high

    def _recommend(
        self, users: object, n: int, exclude_seen: bool, prob: float, kind: str
    ) -> pd.DataFrame:
        function = "recommend"
        n = check_integer(n, "n", function, minimum=1)
        check_bool(exclude_seen, "exclude_seen", function)
        prob, kind = _check_interval(prob, kind, function)
        ids, codes = self._codes(users, "user", "users", function)
        known = codes >= 0
        lists: list[np.ndarray] = [np.empty(0, dtype=int)] * len(codes)
        best = ranking.recommend(
            self._rows(), self.ratings, codes[known], n, exclude_seen=exclude_seen
        )
        for at, items in zip(np.flatnonzero(known), best, strict=True):
            lists[at] = items
        if not known.all():
            # All unknown users are alike: one list serves them.
            everything = np.arange(self.ratings.n_items)
            nobody = np.full(len(everything), -1)
            means = self._intervals(nobody, everything, prob, kind)["mean"]
            shared = ranking.top_n(means[None, :], n)[0]
            for at in np.flatnonzero(~known):
                lists[at] = shared
        lengths = [len(items) for items in lists]
        items = np.concatenate(lists) if lists else np.empty(0, dtype=int)
        columns = {
            "user": ids[np.repeat(np.arange(len(ids)), lengths)],
            "rank": np.concatenate([np.arange(1, m + 1) for m in lengths] or [np.empty(0, int)]),
            "item": self.ratings.item_ids[items],
        }
        columns |= self._intervals(np.repeat(codes, lengths), items, prob, kind)
        columns.pop("sd", None)
        return pd.DataFrame(columns)

    def _similar(self, one: object, side: str, n: int, prob: float) -> pd.DataFrame:
        function = f"similar_{side}s"
        self._needs_factors(function)
        n = check_integer(n, "n", function, minimum=1)
        prob = check_number(prob, "prob", function, above=0, below=1)
        ids, codes = self._codes([one], side, side, function)
        if codes[0] < 0:
            fail(side, function, f"a {side} of the training ratings", ids[0])
        cosines = ranking.similarities(self._rows(), side, int(codes[0]))
        scores = cosines.mean(axis=0)
        scores[codes[0]] = -np.inf
        best = ranking.top_n(scores[None, :], min(n, len(scores) - 1))[0]
        known = self.ratings.user_ids if side == "user" else self.ratings.item_ids
        columns: dict[str, Any] = {
            "rank": np.arange(1, len(best) + 1),
            side: known[best],
            "similarity": scores[best],
        }
        if len(cosines) > 1:
            ends = np.quantile(cosines[:, best], [(1 - prob) / 2, (1 + prob) / 2], axis=0)
            columns |= {"lower": ends[0], "upper": ends[1]}
        return pd.DataFrame(columns)

    def similar_items(self, item: object, n: int = 10, *, prob: float = 0.9) -> pd.DataFrame:
        """Items whose factors point the same way.

        Parameters
        ----------
        item : id
            An item of the training ratings.
        n : int, default 10
            Length of the list.
        prob : float, default 0.9
            Probability of the interval over draws; a point estimate has none.

        Returns
        -------
        DataFrame
            `rank`, `item`, `similarity` (cosine in canonical coordinates, mean over draws), and
            `lower`, `upper` for a posterior.

        Raises
        ------
        ValueError
            For an unknown item, or a model without factors.

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> als = bayesmf.fit_als(ratings, n_factors=2, random_seed=1, progressbar=False)
        >>> als.similar_items(3, n=2).columns.tolist()
        ['rank', 'item', 'similarity']
        """
        return self._similar(item, "item", n, prob)

    def similar_users(self, user: object, n: int = 10, *, prob: float = 0.9) -> pd.DataFrame:
        """Users whose factors point the same way; see `similar_items`.

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> als = bayesmf.fit_als(ratings, n_factors=2, random_seed=1, progressbar=False)
        >>> als.similar_users(3, n=2)["rank"].tolist()
        [1, 2]
        """
        return self._similar(user, "user", n, prob)

    def top_items(self, factor: int, n: int = 10) -> pd.DataFrame:
        """Items with the largest loadings on a canonical factor, and those with the smallest.

        Canonical factors are centred, turned so that they are uncorrelated, and ordered by how
        much of the interaction they carry; draws are turned to one another by rotation first.

        Parameters
        ----------
        factor : int
            From 0, the strongest, to n_factors - 1.
        n : int, default 10
            Items on each end.

        Returns
        -------
        DataFrame
            `end` ("top" or "bottom"), `rank`, `item`, `loading` and, for a posterior, its `sd`.

        Raises
        ------
        ValueError, TypeError
            For a factor that does not exist, or a model without factors.

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> als = bayesmf.fit_als(ratings, n_factors=2, random_seed=1, progressbar=False)
        >>> als.top_items(0, n=3)["end"].tolist()
        ['top', 'top', 'top', 'bottom', 'bottom', 'bottom']
        """
        self._needs_factors("top_items")
        check_integer(factor, "factor", "top_items", maximum=self.n_factors - 1)
        n = check_integer(n, "n", "top_items", minimum=1)
        turned = ranking.loadings(self._rows())[:, :, factor]
        mean = turned.mean(axis=0)
        best = [ranking.top_n(sign * mean[None, :], n)[0] for sign in (1, -1)]
        items = np.concatenate(best)
        columns: dict[str, Any] = {
            "end": ["top"] * len(best[0]) + ["bottom"] * len(best[1]),
            "rank": np.concatenate([np.arange(1, len(part) + 1) for part in best]),
            "item": self.ratings.item_ids[items],
            "loading": mean[items],
        }
        if len(turned) > 1:
            columns["sd"] = turned.std(axis=0)[items]
        return pd.DataFrame(columns)

    def _needs_factors(self, function: str) -> None:
        if self.n_factors == 0:
            message = f"{function} needs factors, but this model has n_factors=0 (biases only)."
            raise ValueError(message)

    def _codes(
        self, ids: object, side: str, argument: str, function: str
    ) -> tuple[np.ndarray, np.ndarray]:
        known = self.ratings.user_ids if side == "user" else self.ratings.item_ids
        if ids is None:
            return known.to_numpy(), np.arange(len(known))
        if np.ndim(ids) == 0:  # type: ignore[arg-type]
            ids = [ids]
        listed = list(ids)  # type: ignore[call-overload]
        mixed = any(isinstance(one, str) for one in listed)
        values = np.array(listed, dtype=object if mixed else None)
        if not listed:
            return known.to_numpy()[:0], np.empty(0, dtype=np.int64)
        return values, lookup_ids(values, known, side, argument, function)


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
        self, users: object = None, n: int = 10, *, exclude_seen: bool = True
    ) -> pd.DataFrame:
        """Best items for some users by predicted rating.

        Parameters
        ----------
        users : id or sequence of ids, optional
            By default all users. An unknown user gets the items with the largest biases.
        n : int, default 10
            Length of each list; shorter where nothing is left.
        exclude_seen : bool, default True
            Leave out what the user has rated.

        Returns
        -------
        DataFrame
            `user`, `rank` (from 1), `item`, `mean`.

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> als = bayesmf.fit_als(ratings, n_factors=2, random_seed=1, progressbar=False)
        >>> als.recommend([0, 1], n=2)["rank"].tolist()
        [1, 2, 1, 2]
        """
        return self._recommend(users, n, exclude_seen, 0.9, "latent")

    def cell_means(self, pairs: Pairs) -> np.ndarray:
        """Predicted means of cells given by code."""
        return self._means(pairs.users, pairs.items)

    def _means(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        def rows(array: np.ndarray, codes: np.ndarray) -> np.ndarray:
            # Code -1, an unknown row, finds the zeros at the end.
            return np.concatenate([array, np.zeros((1, *array.shape[1:]))])[codes]

        left, right = rows(self.user_factors, users), rows(self.item_factors, items)
        means = self.center + np.einsum("nk,nk->n", left, right)
        if self.user_bias is None or self.item_bias is None:
            return means  # type: ignore[no-any-return]
        return means + rows(self.user_bias, users) + rows(self.item_bias, items)  # type: ignore[no-any-return]

    def over_mixtures[R](
        self, pairs: Pairs, function: Callable[[slice, Mixture], R], *, limit: int
    ) -> list[R]:
        """Call `function` once, on Gaussians around the predictions with sd `sigma`."""
        del limit  # one component is all there is
        means = self.cell_means(pairs)[:, None]
        return [function(slice(0, len(means)), Mixture(means, np.full((1, 1), self.sigma)))]

    def _intervals(
        self, users: np.ndarray, items: np.ndarray, prob: float, kind: str
    ) -> dict[str, np.ndarray]:
        del prob, kind
        return {"mean": self._means(users, items)}

    def _rows(self) -> ranking.Rows:
        none = np.empty((1, 0))
        return ranking.Rows(
            self.user_factors[None],
            self.item_factors[None],
            none if self.user_bias is None else self.user_bias[None],
            none if self.item_bias is None else self.item_bias[None],
            self.center,
        )

    def protocol(self) -> str:
        """Say in one line how it was fitted."""
        weighted = ", weighted" if self.settings.get("weighted") else ""
        return (
            f"K={self.n_factors}, reg={self.reg:.3g}, reg_bias={self.reg_bias:.3g}{weighted}, "
            f"{len(self.loss) // 2} sweeps, seed {self.settings['random_seed']}; interval sd "
            f"{self.sigma:.3f} from {self.settings['validation_size']:.0%} of training held out."
        )

    def __repr__(self) -> str:
        return f"<PointEstimate of {self.ratings!r}: {self.protocol()}>"

    def _repr_html_(self) -> str:
        return f"<p><b>PointEstimate</b> {html.escape(self.protocol())}</p>" + (
            self.ratings._repr_html_()
        )


@dataclass(eq=False)
class Posterior(Result):
    """Draws from the posterior of a matrix factorization, and what follows from them.

    Attributes
    ----------
    data : xarray.DataTree
        All draws in ArviZ's schema, on the rating scale: groups `posterior` (every draw of what
        is identified), `factors` (thinned draws of everything), `sample_stats`, `constant_data`,
        `observed_data`. `arviz.summary(post.data)` and the plots of ArviZ read it.
    ratings : Ratings
        What it was fitted to.
    model : BPMF
        The model and its priors.
    cores : int
        Threads that predictions use.
    """

    data: xr.DataTree
    ratings: Ratings
    model: BPMF
    cores: int = 1
    fit_seconds: float = field(default=float("nan"))

    @property
    def n_factors(self) -> int:  # type: ignore[override]
        """Rank of the interaction."""
        return self.model.n_factors

    @cached_property
    def _draws(self) -> FactorDraws:
        return FactorDraws(self.data, int(self.data.attrs["random_seed"]))

    def __getstate__(self) -> dict[str, Any]:
        # The flattened draws are views of, or copies from, `data`: not worth storing twice.
        return {name: value for name, value in self.__dict__.items() if name != "_draws"}

    def predict(
        self,
        pairs: object,
        *,
        prob: float = 0.9,
        kind: str = "predictive",
        clip: bool | tuple[float, float] = False,
        round_to: float | None = None,
    ) -> pd.DataFrame:
        """Predict cells, with intervals.

        Parameters
        ----------
        pairs : DataFrame, Ratings, or list of (user, item)
            Cells to predict. The row of an unknown user or item is drawn from its side's prior in
            each draw, so that its interval is wider.
        prob : float, default 0.9
            Probability of the central interval [lower, upper], from the quantiles of the mixture
            over draws.
        kind : {"predictive", "latent"}, default "predictive"
            What the interval and `sd` are about. "predictive": a new rating; `sd` holds the noise
            and the uncertainty of factors and biases. "latent": the expected rating, without noise.
        clip : bool or (low, high), default False
            Clip `mean` to the range of the training ratings, or to a given one. Intervals are never
            clipped.
        round_to : float, optional
            Round `mean` to a multiple, such as 0.5 for half stars.

        Returns
        -------
        DataFrame
            `user`, `item`, `mean`, `sd`, `lower`, `upper`, with the index of `pairs`. `mean` is the
            posterior mean of u.v + b + c, never a product of means.

        Raises
        ------
        ValueError, TypeError
            For pairs without ids, ids of another type than in training, or `prob` outside (0, 1).

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
        ...                         progressbar=False)
        >>> table = post.predict([(0, 1), (0, 999)])
        >>> bool((table["lower"] < table["upper"]).all())
        True
        """
        return self._predict(pairs, prob, kind, clip, round_to)

    def recommend(
        self,
        users: object = None,
        n: int = 10,
        *,
        exclude_seen: bool = True,
        prob: float = 0.9,
        kind: str = "predictive",
    ) -> pd.DataFrame:
        """Best items for some users by posterior mean, with intervals.

        Parameters
        ----------
        users : id or sequence of ids, optional
            By default all users. Unknown users get what the prior of a user expects.
        n : int, default 10
            Length of each list; shorter where nothing is left.
        exclude_seen : bool, default True
            Leave out what the user has rated.
        prob, kind
            Of the interval, as in `predict`.

        Returns
        -------
        DataFrame
            `user`, `rank` (from 1), `item`, `mean`, `lower`, `upper`.

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
        ...                         progressbar=False)
        >>> post.recommend([0, 1], n=3)["rank"].tolist()
        [1, 2, 3, 1, 2, 3]
        """
        return self._recommend(users, n, exclude_seen, prob, kind)

    def cell_means(self, pairs: Pairs) -> np.ndarray:
        """Posterior means of cells given by code, from all kept draws."""
        draws = self._draws
        means = draws.over_chunks(
            pairs.users, pairs.items, lambda _, mix: mix.mean(), noise=False, cores=self.cores
        )
        return np.concatenate(means)

    def over_mixtures[R](
        self, pairs: Pairs, function: Callable[[slice, Mixture], R], *, limit: int
    ) -> list[R]:
        """Call `function(cells, mixture)` over chunks, with at most `limit` draws and noise."""
        draws = FactorDraws(self.data, int(self.data.attrs["random_seed"]), limit)
        return draws.over_chunks(
            pairs.users, pairs.items, function, noise=True, cores=self.cores
        )

    def _intervals(
        self, users: np.ndarray, items: np.ndarray, prob: float, kind: str
    ) -> dict[str, np.ndarray]:
        noise = kind == "predictive"
        found = predict(self._draws, users, items, prob=prob, noise=noise, cores=self.cores)
        return found._asdict()

    def _rows(self) -> ranking.Rows:
        draws = self._draws
        return ranking.Rows(
            draws.user_factors, draws.item_factors, draws.user_bias, draws.item_bias, draws.center
        )

    def protocol(self) -> str:
        """Say in one line how it was fitted."""
        attributes = self.data.attrs
        sizes = self.data["posterior"].sizes
        kept = self.data["factors"].sizes["draw"]
        interrupted = " (interrupted)" if attributes.get("interrupted") else ""
        return (
            f"K={self.n_factors}, biases {'on' if self.model.biases else 'off'}, "
            f"{sizes['chain']} chains x ({attributes['tune']:,} tune + {sizes['draw']:,} draws)"
            f"{interrupted}, {kept:,} kept for predictions, seed {attributes['random_seed']}, "
            f"engine {attributes['engine']}."
        )

    def __repr__(self) -> str:
        return f"<Posterior of {self.ratings!r}: {self.protocol()}>"

    def _repr_html_(self) -> str:
        draws = self.data["posterior"]
        rows = []
        for name in ("alpha", "train_rmse", "intercept"):
            values = draws[name].to_numpy()
            rows.append(f"<tr><td>{name}</td><td>{values.mean():.4g} ± {values.std():.2g}</td></tr>")
        return (
            f"<p><b>Posterior</b> {html.escape(self.protocol())}</p>"
            f"<table><tr><th></th><th>mean ± sd</th></tr>{''.join(rows)}</table>"
            f"{self.ratings._repr_html_()}"
        )


def _check_interval(prob: object, kind: object, function: str) -> tuple[float, str]:
    return (
        check_number(prob, "prob", function, above=0, below=1),
        check_choice(kind, "kind", function, ("predictive", "latent")),
    )
