"""What every fitted model can do, by delegating down; how it knows is left to the subclass."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmf import ranking
from bayesmf.checks import check_factors
from bayesmf.eligible import check_eligible
from bayesmf.ids import as_array, lookup_ids
from bayesmf.results.saving import Saving
from bayesmf.strategies import Strategy
from bayesmf.validation import check_bool, check_choice, check_integer, check_number, fail

if TYPE_CHECKING:
    from bayesmf.eligible import Eligible
    from bayesmf.ratings import Ratings


class Result(Saving):
    """What every fitted model can do; `Posterior` and `PointEstimate` add how they know it."""

    ratings: Ratings
    fit_seconds: float
    n_factors: int = 0
    cores: int = 1

    @abstractmethod
    def _scorer(self, strategy: Strategy, items: np.ndarray) -> ranking.Scorer:
        """What gives known users their scores of some items (codes)."""

    @abstractmethod
    def _scores_of_unknown(
        self, strategy: Strategy, items: np.ndarray, ids: list[Any]
    ) -> np.ndarray:
        """Scores (n_users, n_items) of some items (codes) for users who were never seen.

        One row stands for all where they are alike.
        """

    @abstractmethod
    def _intervals(
        self, users: np.ndarray, items: np.ndarray, prob: float | None, kind: str
    ) -> dict[str, np.ndarray]:
        """Mean, and what else is known, of cells given by code; no interval without `prob`."""

    def _predict(
        self,
        pairs: object,
        prob: float | None,
        kind: str,
        clip: object,
        round_to: float | None,
    ) -> pd.DataFrame:
        cells = self.ratings.pairs(pairs, "pairs", "predict")
        prob, kind = check_interval(prob, kind, "predict")
        bounds = self._check_clip(clip)
        if round_to is not None:
            round_to = check_number(round_to, "round_to", "predict", above=0)
        columns = self._intervals(cells.users, cells.items, prob, kind)
        if round_to is not None:
            columns["mean"] = np.round(columns["mean"] / round_to) * round_to
        if bounds is not None:
            columns["mean"] = np.clip(columns["mean"], *bounds)
        ids = {"user": cells.user_ids, "item": cells.item_ids}
        return pd.DataFrame(ids | columns, index=cells.labels)

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
        self,
        users: object,
        n: int,
        strategy: Strategy,
        candidates: object,
        allowed: object,
        exclude_seen: bool,
        prob: float | None,
        kind: str,
    ) -> pd.DataFrame:
        function = "recommend"
        n = check_integer(n, "n", function, minimum=1)
        check_bool(exclude_seen, "exclude_seen", function)
        prob, kind = check_interval(prob, kind, function)
        if strategy.name == "affinity":
            check_factors(self.n_factors, "recommend by affinity")
        ids, codes = self._codes(users, "user", "users", function)
        eligible = check_eligible(candidates, allowed, ids, self.ratings, function)
        known = codes >= 0
        lists = [ranking.NOTHING] * len(codes)
        if known.any():
            best = ranking.recommend(
                self._scorer(strategy, eligible.items), codes[known], n, eligible.of(known),
                self.ratings.by_user if exclude_seen else None, cores=self.cores,
            )  # fmt: skip
            for at, one in zip(np.flatnonzero(known), best, strict=True):
                lists[at] = one
        if not known.all():
            best = self._best_for_unknown(strategy, ids[~known], n, eligible.of(~known))
            for at, one in zip(np.flatnonzero(~known), best, strict=True):
                lists[at] = one
        lengths = [len(one.items) for one in lists]
        items = np.concatenate([np.empty(0, dtype=np.intp), *(one.items for one in lists)])
        columns = {
            "user": ids[np.repeat(np.arange(len(ids)), lengths)],
            "rank": np.concatenate([np.empty(0, int), *(np.arange(1, m + 1) for m in lengths)]),
            "item": self.ratings.item_ids[items],
        }
        if strategy.name != "mean":
            columns["score"] = np.concatenate([np.empty(0), *(one.scores for one in lists)])
        columns |= self._intervals(np.repeat(codes, lengths), items, prob, kind)
        columns.pop("sd", None)
        return pd.DataFrame(columns)

    def _best_for_unknown(
        self, strategy: Strategy, ids: np.ndarray, n: int, eligible: Eligible
    ) -> list[ranking.Listed]:
        items = eligible.items
        if strategy.name != "affinity":
            found = self._scores_of_unknown(strategy, items, ids.tolist())
            return ranking.recommend_unknown(found, n, eligible)
        # Nothing is known of their taste, so that no item is nearer to it: the mean decides.
        found = self._scores_of_unknown(Strategy(), items, ids.tolist())
        lists = ranking.recommend_unknown(found, n, eligible)
        return [one._replace(scores=np.zeros(len(one.items))) for one in lists]

    def _codes(
        self, ids: object, side: str, argument: str, function: str
    ) -> tuple[np.ndarray, np.ndarray]:
        known = self.ratings.user_ids if side == "user" else self.ratings.item_ids
        if ids is None:
            return known.to_numpy(), np.arange(len(known))
        if np.ndim(ids) == 0:  # type: ignore[arg-type]
            ids = [ids]
        values = as_array(list(ids))  # type: ignore[call-overload]
        if not len(values):
            return known.to_numpy()[:0], np.empty(0, dtype=np.int64)
        return values, lookup_ids(values, known, side, argument, function)


def check_interval(prob: object, kind: object, function: str) -> tuple[float | None, str]:
    """Return the probability, None for no interval, and the kind of an interval."""
    return (
        None if prob is None else check_number(prob, "prob", function, above=0, below=1),
        check_choice(kind, "kind", function, ("predictive", "latent")),
    )
