"""What models with factors can do beyond others: scores by products, similar rows, loadings."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmf import ranking
from bayesmf.checks import check_factors
from bayesmf.results.base import Result
from bayesmf.scoring import scores, users_at_once
from bayesmf.validation import check_integer, check_number, fail

if TYPE_CHECKING:
    from bayesmf.sources import Source
    from bayesmf.strategies import Strategy


class Factored(Result):
    """A model in which a cell is a product of rows: one estimate of them, or draws."""

    @abstractmethod
    def _source(self, limit: int | None = None) -> Source:
        """Factors and biases in a row of draws, at most so many."""

    def _scored(self, strategy: Strategy) -> Source:
        # What the strategy looks at.
        del strategy
        return self._source()

    def _scorer(self, strategy: Strategy, items: np.ndarray) -> ranking.Scorer:
        source = self._scored(strategy)
        return ranking.Scorer(
            users_at_once(source, strategy, len(items)),
            lambda users: scores(source, users, items, strategy, cores=self.cores),
        )

    def _similar(self, one: object, side: str, n: int, prob: float) -> pd.DataFrame:
        function = f"similar_{side}s"
        check_factors(self.n_factors, function)
        n = check_integer(n, "n", function, minimum=1)
        prob = check_number(prob, "prob", function, above=0, below=1)
        ids, codes = self._codes([one], side, side, function)
        if codes[0] < 0:
            fail(side, function, f"one of the {side}s of the training ratings", ids[0])
        source = self._source(ranking.MAX_DRAWS)
        sizes = self.ratings.n_users, self.ratings.n_items
        cosines = ranking.similarities(source, side, *sizes, int(codes[0]))
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
        much of the interaction they carry; draws are turned to one another by rotation first. This
        is the quick look: `Posterior.align` turns factors to simple structure, and has intervals.

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
        check_factors(self.n_factors, "top_items")
        # Few rows span fewer directions than there are factors.
        rank = min(self.n_factors, self.ratings.n_users, self.ratings.n_items)
        check_integer(factor, "factor", "top_items", maximum=rank - 1)
        n = check_integer(n, "n", "top_items", minimum=1)
        source = self._source(ranking.MAX_DRAWS)
        turned = ranking.loadings(source, self.ratings.n_users, self.ratings.n_items)[:, :, factor]
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
