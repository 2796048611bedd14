"""What to do with a posterior: what to recommend, and what to ask."""

from __future__ import annotations

from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from bayesmf import asking, scoring
from bayesmf.eligible import check_items
from bayesmf.predictive import FactorDraws, predict
from bayesmf.results.factored import Factored
from bayesmf.sources import one_draw
from bayesmf.strategies import check_strategy
from bayesmf.validation import check_bool, check_integer, fail

if TYPE_CHECKING:
    import xarray as xr

    from bayesmf.sources import Source
    from bayesmf.strategies import Strategy


class Acting(Factored):
    """Methods by which a posterior is acted on."""

    data: xr.DataTree

    @cached_property
    def _draws(self) -> FactorDraws:
        return FactorDraws(self.data, int(self.data.attrs["random_seed"]))

    def _with_draws(self, draws: object, function: str) -> Self:
        # This posterior as it is with few of its draws.
        if draws is None:
            return self
        few = copy(self)
        limit = check_integer(draws, "draws", function, minimum=1)
        few.__dict__["_draws"] = FactorDraws(self.data, int(self.data.attrs["random_seed"]), limit)
        return few

    def recommend(
        self,
        users: object = None,
        n: int = 10,
        *,
        strategy: str = "mean",
        width: float | None = None,
        threshold: float | None = None,
        random_seed: int | None = None,
        candidates: object = None,
        allowed: object = None,
        exclude_seen: bool = True,
        prob: float | None = 0.9,
        kind: str = "predictive",
        draws: int | None = None,
    ) -> pd.DataFrame:
        """Best items for some users, by what is expected and by what is not known, with intervals.

        Parameters
        ----------
        users : id or sequence of ids, optional
            By default all users. Unknown users get what the prior of a user expects.
        n : int, default 10
            Length of each list; shorter where nothing is left.
        strategy : {"mean", "ucb", "thompson", "probability", "affinity"}, default "mean"
            What lists are sorted by, see Notes.
        width : float, optional
            Of "ucb": how many standard deviations are added, by default 1. A negative width prefers
            what is sure.
        threshold : float, optional
            Of "probability", which needs it: the rating that is good enough.
        random_seed : int, optional
            Of "thompson": the same seed picks the same draw; without one each call picks anew.
        candidates : sequence of ids, optional
            Items that may be recommended; by default all.
        allowed : DataFrame or Series of bool, optional
            Which items may be recommended to whom, users by items, or by item to all. It may have
            more users and items than are asked for, not fewer.
        exclude_seen : bool, default True
            Leave out what the user has rated.
        prob, kind
            Of the interval, as in `predict`, whatever the strategy.
        draws : int, optional
            Use at most so many of the kept draws, as in `predict`.

        Returns
        -------
        DataFrame
            `user`, `rank` (from 1), `item`, for strategies other than "mean" `score`, `mean`, and
            with an interval `lower`, `upper`. Scores are worked out in the precision of the draws,
            single unless the fit was told otherwise.

        Raises
        ------
        ValueError, TypeError
            For wrong arguments, an argument that belongs to another strategy, candidates that were
            never rated, ids that `allowed` does not have, and "affinity" without factors.

        Notes
        -----
        With the expected rating f = u.v + b + c (and the centre) in each draw:

        - "mean": the posterior mean of f.
        - "ucb": the mean of f plus `width` times its standard deviation over draws, an upper
          confidence bound (Auer 2002; of a posterior, Kaufmann, Cappé & Garivier 2012).
        - "thompson": f in one draw, the same for all users and items of a call, so that they belong
          together (Thompson 1933; Chapelle & Li 2011).
        - "probability": P(rating >= `threshold`), with the noise of a rating. The model's ratings
          are real numbers: where they are whole stars, "at least four" is a threshold of 3.5.
        - "affinity": the mean of (u - ū).(v - v̄), ū and v̄ the means over all users and items of
          the draw. Without the effects of user and item, and without the part of u.v that favours
          an item whoever asks, it is taste alone: best for asking what suits this user more than
          others, not for high ratings.

        An unknown user's row is integrated over its prior, exactly as in `predict`; "thompson"
        draws it, for each id its own. An affinity is zero for all items then, and the mean decides.

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
        ...                         progressbar=False)
        >>> post.recommend([0, 1], n=3)["rank"].tolist()
        [1, 2, 3, 1, 2, 3]
        >>> post.recommend(0, n=3, strategy="ucb", candidates=range(20)).columns.tolist()
        ['user', 'rank', 'item', 'score', 'mean', 'lower', 'upper']
        """
        chosen = check_strategy(
            strategy, "recommend", width=width, threshold=threshold, random_seed=random_seed
        )
        few = self._with_draws(draws, "recommend")
        return few._recommend(  # noqa: SLF001 - itself
            users, n, chosen, candidates, allowed, exclude_seen, prob, kind
        )

    def next_to_ask(
        self,
        user: object,
        n: int = 10,
        *,
        candidates: object = None,
        about: object = None,
        together: bool = False,
    ) -> pd.DataFrame:
        """Items whose rating would tell most about a user.

        Parameters
        ----------
        user : id
            Known or not.
        n : int, default 10
            Length of the list; shorter where nothing is left to ask.
        candidates : sequence of ids, optional
            Items that may be asked for, such as well-known ones; by default all. What the user has
            rated is passed over.
        about : sequence of ids, optional
            Items whose expected ratings are to be known better; by default all that the user has
            not rated.
        together : bool, default False
            Choose a set: each item given that those before it are answered. Without it each stands
            for itself, and the first ones may ask for the same.

        Returns
        -------
        DataFrame
            `rank` (from 1), `item`, `reduction`, and `mean` and `sd` of the item's expected rating.
            `reduction` is the share of the user's mean variance of expected ratings, over the items
            of `about`, that the answer is expected to remove; with `together`, what it adds.

        Raises
        ------
        ValueError, TypeError
            For wrong arguments, and items that were never rated.

        Notes
        -----
        Given the items of a draw, a user's row is Gaussian, and the variance that an answer removes
        has a closed form that does not depend on the answer (Chaloner & Verdinelli 1995, Bayesian
        experimental design: a review; for recommendation, Jin & Si 2004). It is averaged over
        draws. The variance that it is a share of is that of `predict(kind="latent")`, to which also
        belongs what is not known of the items, and which the user cannot tell.

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
        ...                         progressbar=False)
        >>> post.next_to_ask(0, n=2).columns.tolist()
        ['rank', 'item', 'reduction', 'mean', 'sd']
        """
        function = "next_to_ask"
        n = check_integer(n, "n", function, minimum=1)
        check_bool(together, "together", function)
        _, codes = self._codes([user], "user", "user", function)
        asked = check_items(candidates, "candidates", self.ratings, function)
        targets = check_items(about, "about", self.ratings, function)
        if about is not None and not len(targets):
            fail("about", function, "at least one item", about)
        rated = targets[:0]
        if codes[0] >= 0:
            side = self.ratings.by_user
            rated = side.partners[side.indptr[codes[0]] : side.indptr[codes[0] + 1]]
        asked = np.setdiff1d(asked, rated)
        if about is None:
            targets = np.setdiff1d(targets, rated)
        if not len(asked) or not len(targets):
            nothing: dict[str, Any] = {"rank": np.empty(0, int), "item": self.ratings.item_ids[:0]}
            numbers = ("reduction", "mean", "sd")
            return pd.DataFrame(nothing | dict.fromkeys(numbers, np.empty(0)))
        found = asking.best_questions(
            self._draws, rated, asked, targets, n, together=together, cores=self.cores
        )
        known = predict(
            self._draws, np.repeat(codes, len(targets)), targets, prob=None, noise=False,
            cores=self.cores,
        )  # fmt: skip
        columns = {
            "rank": np.arange(1, len(found.items) + 1),
            "item": self.ratings.item_ids[found.items],
            "reduction": found.reductions / (known.sd**2).sum(),
        }
        users = np.repeat(codes, len(found.items))
        shown = self._intervals(users, found.items, None, "latent")
        return pd.DataFrame(columns | {name: shown[name] for name in ("mean", "sd")})

    def _scored(self, strategy: Strategy) -> Source:
        if strategy.name != "thompson":
            return self._source()
        return one_draw(self.data, self._draws, strategy.seed)

    def _scores_of_unknown(
        self, strategy: Strategy, items: np.ndarray, ids: list[Any]
    ) -> np.ndarray:
        if strategy.name == "thompson":
            drawn = one_draw(self.data, self._draws, strategy.seed)
            return scoring.drawn_for_unknown(drawn, items, ids, strategy)
        found = scoring.scores_of_unknown(self._draws, items, strategy, cores=self.cores)
        return found[None]
