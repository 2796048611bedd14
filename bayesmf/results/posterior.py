"""`Posterior`: draws, and what follows from them."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmf.diagnostics.identified import SCALARS
from bayesmf.draws.opening import plain_ids
from bayesmf.draws.reading import KeptDraws
from bayesmf.evaluation import TRUSTED_K
from bayesmf.predictive import FactorDraws, predict
from bayesmf.results.acting import Acting
from bayesmf.results.judging import Judging
from bayesmf.results.updating import Updating

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from bayesmf.model import BPMF
    from bayesmf.predictive import Mixture
    from bayesmf.ratings import Pairs, Ratings
    from bayesmf.results.folded import FoldedPosterior
    from bayesmf.sources import Source


@dataclass(eq=False)
class Posterior(Judging, Acting, Updating):
    """Draws from the posterior of a matrix factorization, and what follows from them.

    Attributes
    ----------
    data : xarray.DataTree
        All draws in ArviZ's schema, on the rating scale: groups `posterior` (every draw of what
        is identified), `factors` (thinned draws of everything), `sample_stats`, `constant_data`,
        `observed_data`, and of ADVI `iterations` (its ELBO). `arviz.summary(post.data)` and the
        plots of ArviZ read it.
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

    def __getstate__(self) -> dict[str, Any]:
        # What follows from `data` is not worth storing twice.
        follows = ("_draws", "_diagnosed")
        return {name: value for name, value in self.__dict__.items() if name not in follows}

    def predict(
        self,
        pairs: object,
        *,
        prob: float | None = 0.9,
        kind: str = "predictive",
        clip: bool | tuple[float, float] = False,
        round_to: float | None = None,
        draws: int | None = None,
    ) -> pd.DataFrame:
        """Predict cells, with intervals.

        Parameters
        ----------
        pairs : DataFrame, Ratings, or list of (user, item)
            Cells to predict. The row of an unknown user or item is drawn from its side's prior in
            each draw, so that its interval is wider.
        prob : float or None, default 0.9
            Probability of the central interval [lower, upper], from the quantiles of the mixture
            over draws. None leaves the interval and its columns out, which takes half the time.
        kind : {"predictive", "latent"}, default "predictive"
            What the interval and `sd` are about. "predictive": a new rating; `sd` holds the noise
            and the uncertainty of factors and biases. "latent": the expected rating, without noise.
        clip : bool or (low, high), default False
            Clip `mean` to the range of the training ratings, or to a given one. Intervals are never
            clipped.
        round_to : float, optional
            Round `mean` to a multiple, such as 0.5 for half stars.
        draws : int, optional
            Use at most so many of the kept draws, evenly spaced. From a store that is larger than
            memory they come in runs, one from each chain if they are few, which are quick to read.

        Returns
        -------
        DataFrame
            `user`, `item`, `mean`, `sd`, and with an interval `lower`, `upper`, with the index of
            `pairs`. `mean` is the posterior mean of u.v + b + c, never a product of means.

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
        >>> post.predict([(0, 1)], prob=None).columns.tolist()
        ['user', 'item', 'mean', 'sd']
        """
        few = self._with_draws(draws, "predict")
        return few._predict(pairs, prob, kind, clip, round_to)  # noqa: SLF001 - itself

    def fold_in(
        self,
        new_ratings: object,
        *,
        side: str | None = None,
        draws: int | None = None,
        random_seed: int | None = None,
        memory_budget: str | int = "512MB",
    ) -> FoldedPosterior:
        """Fold in new users or items, or new ratings of known ones, without a new fit.

        In each kept draw the row of a user (or item) is drawn from its exact conditional given the
        other side's rows, the noise and the prior of its side: a new one's from its new ratings, a
        known one's from all its ratings, where a new rating of a known cell replaces the old.

        Parameters
        ----------
        new_ratings : DataFrame, Ratings, or what `Ratings` takes
            Ratings by new users of known items, or the other way round. A rating whose user and
            item are both unknown is an error: fold in one side after the other.
        side : {"user", "item"}, optional
            Whose rows are drawn. By default the users', where all items are known, else the items'.
        draws : int, optional
            Use at most so many of the kept draws, the same number of each chain, evenly spaced; by
            default all. 200 are enough for means and intervals.
        random_seed : int, optional
            Non-negative. The same seed gives a row the same numbers with any number of threads, and
            whoever is folded in with it: its random numbers belong to its id.
        memory_budget : str or int, default "512MB"
            Memory for the draws of the rows; fewer draws are used where they do not fit.

        Returns
        -------
        FoldedPosterior
            A `Posterior` of these rows alone, beside all rows of the other side: it predicts,
            recommends and is compared, and can be pickled. `fold_weights` tells by row whether a
            refit is due.

        Raises
        ------
        ValueError, TypeError
            For wrong arguments or tables, and for ratings of unknown partners, before work starts.
        numpy.linalg.LinAlgError, FloatingPointError
            If a rating is so extreme that digits or draws are lost.

        Notes
        -----
        Folding in is exact given the kept draws, and these have not heard of the new ratings: rows
        of the other side, the noise and the hyperparameters stay as they were fitted. Importance
        weights would put that right, row by row, but every row would then have draws of its own,
        few of them where it matters: predictions are unweighted, and `fold_weights` says how far
        that can be trusted. The conditional is eqs. 11-13 of Salakhutdinov & Mnih (2008), ICML.

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
        ...                         progressbar=False)
        >>> new = (["ann", "ann"], [3, 7], [5.0, 4.0])
        >>> post.fold_in(new)
        Traceback (most recent call last):
        ...
        TypeError: The 'new_ratings' argument of fold_in must be given 'user' ids that are int, ...
        >>> folded = post.fold_in(([900, 900], [3, 7], [5.0, 4.0]), draws=100, random_seed=1)
        >>> folded.recommend(900, n=3)["rank"].tolist()
        [1, 2, 3]
        """
        from bayesmf.results.folded import fold_into  # noqa: PLC0415 - it is a `Posterior`

        return fold_into(
            self, new_ratings, side=side, draws=draws, random_seed=random_seed,
            memory_budget=memory_budget,
        )  # fmt: skip

    def cell_means(self, pairs: Pairs) -> np.ndarray:
        """Posterior means of cells given by code, from all kept draws."""
        users, items = pairs.users, pairs.items
        found = predict(self._draws, users, items, prob=None, noise=False, cores=self.cores)
        return found.mean

    def over_mixtures[R](
        self, pairs: Pairs, function: Callable[[slice, Mixture], R], *, limit: int
    ) -> list[R]:
        """Call `function(cells, mixture)` over chunks, with at most `limit` draws and noise."""
        draws = FactorDraws(self.data, int(self.data.attrs["random_seed"]), limit)
        return draws.over_chunks(pairs.users, pairs.items, function, noise=True, cores=self.cores)

    def _intervals(
        self, users: np.ndarray, items: np.ndarray, prob: float | None, kind: str
    ) -> dict[str, np.ndarray]:
        noise = kind == "predictive"
        found = predict(self._draws, users, items, prob=prob, noise=noise, cores=self.cores)
        return {name: values for name, values in found._asdict().items() if values is not None}

    def _source(self, limit: int | None = None) -> Source:
        return self._draws if limit is None else KeptDraws(self.data, limit)

    def _tree(self) -> xr.DataTree:
        return self.data

    def tracked(self) -> pd.DataFrame:
        """Means and sds of the cells that ``fit_bpmf(..., track=...)`` has followed.

        Returns
        -------
        DataFrame
            `user`, `item`, `mean`, `sd` of a new rating, and `sd_latent` of the expected rating,
            from every draw of all chains; of a run that is not finished, from those that each chain
            has written.

        Raises
        ------
        ValueError
            If no cells were tracked.

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
        ...                         track=[(0, 1), (0, 2)], keep=0, progressbar=False)
        >>> post.tracked().columns.tolist()
        ['user', 'item', 'mean', 'sd', 'sd_latent']
        """
        if "tracked" not in self.data:
            raise ValueError("No cells were tracked: give them to fit_bpmf(..., track=...).")
        found = self.data["tracked"]
        means = found["mean"].to_numpy()
        # Chains count alike: the variance within them, and that of their means.
        variance = found["variance"].to_numpy().mean(axis=0) + means.var(axis=0)
        noise = float((1 / self.data["posterior"]["alpha"]).mean())
        columns = {side: plain_ids(found[side].to_numpy()) for side in ("user", "item")}
        columns |= {"mean": means.mean(axis=0), "sd": np.sqrt(variance + noise)}
        return pd.DataFrame(columns | {"sd_latent": np.sqrt(variance)})

    def protocol(self) -> str:
        """Say in one line how it was fitted."""
        attributes = self.data.attrs
        sizes = self.data["posterior"].sizes
        kept = self.data["factors"].sizes["draw"] if "factors" in self.data else 0
        interrupted = " (interrupted)" if attributes.get("interrupted") else ""
        drawn = f"{sizes['chain']} chains x ({attributes['tune']:,} tune + {sizes['draw']:,} draws)"
        engine = attributes["engine"]
        if "pareto_k" in attributes:
            k = attributes["pareto_k"]
            drawn = f"{sizes['draw']:,} draws from a Gaussian"
            engine += f" (Pareto k {k:.1f}{'' if k < TRUSTED_K else ': not the posterior'})"
        elif "divergences" in attributes:
            engine += f" ({attributes['divergences']:,} divergences)"
        return (
            f"K={self.n_factors}, biases {'on' if self.model.biases else 'off'}, {drawn}"
            f"{interrupted}, {kept:,} kept for predictions, seed {attributes['random_seed']}, "
            f"engine {engine}."
        )

    def __repr__(self) -> str:
        return f"<Posterior of {self.ratings!r}: {self.protocol()}>"

    def _repr_html_(self) -> str:
        if self.data["posterior"].sizes["draw"] == 0:
            return f"<p><b>Posterior</b> {html.escape(self.protocol())}</p>"
        found = self.diagnose()
        rows = [
            f"<tr><th>{str(name).replace('_', ' ')}</th>"
            f"<td>{row['mean']:.4g} ± {row['sd']:.2g}</td>"
            f"<td>{row['r_hat']:.3f}</td><td>{row['ess_bulk']:,.0f}</td></tr>"
            for name, row in found.table.droplevel(0).iterrows()
            if name in SCALARS
        ]
        return (
            f"<p><b>Posterior</b> {html.escape(self.protocol())}</p>{found.verdict._repr_html_()}"
            "<table><tr><th></th><th>mean ± sd</th><th>R-hat</th><th>ESS</th></tr>"
            f"{''.join(rows)}</table>{self.ratings._repr_html_()}"
        )
