"""`Alignment`: aligned factors, as tables that people read."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmf.checks import check_titles
from bayesmf.diagnostics import measures
from bayesmf.diagnostics.limits import LIMITS
from bayesmf.indexing import evenly
from bayesmf.validation import check_integer, check_number

if TYPE_CHECKING:
    import xarray as xr

RHAT_LIMIT = LIMITS["usual"].r_hat
SHOWN = 3
"""Items on each end in the short form."""


@dataclass(frozen=True, eq=False, repr=False)
class Alignment:
    """Draws of the factors that can be compared with one another; `align` makes it.

    Attributes
    ----------
    draws : xarray.Dataset
        `user_loadings` (chain, draw, user, factor) and `item_loadings` (chain, draw, item, factor)
        in float32, with the ids as coordinates, and `share` (chain, draw, factor), the share of
        the interaction's variance. Loadings have mean zero over rows. A user's are in sds over
        users, an item's in units of the rating: their product summed over factors is the
        interaction of the draw.
    method : str
        "procrustes" or "matchalign".
    reference : tuple of int
        Chain and draw of the reference to begin with, as in `draws`.
    independent : bool
        Whether the draws are independent, as those of ADVI: they agree, whatever they are from.
    note : str
        What was done otherwise than asked for, or nothing.
    """

    draws: xr.Dataset
    method: str
    reference: tuple[int, int]
    independent: bool = False
    note: str = ""

    @property
    def n_factors(self) -> int:
        """Number of aligned factors."""
        return int(self.draws.sizes["factor"])

    @property
    def user_loadings(self) -> xr.DataArray:
        """Loadings (chain, draw, user, factor), in sds over users."""
        return self.draws["user_loadings"]

    @property
    def item_loadings(self) -> xr.DataArray:
        """Loadings (chain, draw, item, factor), in units of the rating for a user one sd up."""
        return self.draws["item_loadings"]

    @property
    def strength(self) -> pd.DataFrame:
        """How much each factor carries, and how far it can be read.

        Columns `share`, `lower`, `upper`: the share of the interaction's variance, its posterior
        mean and central 90% interval. `steady`: the variance over items of the mean loadings, as a
        share of that of a draw; near 0 the draws agree on nothing but the name of the factor.
        """
        share = self.draws["share"].to_numpy().reshape(-1, self.n_factors)
        ends = np.quantile(share, [0.05, 0.95], axis=0)
        columns = {"share": share.mean(axis=0), "lower": ends[0], "upper": ends[1]}
        loadings = self.item_loadings.to_numpy()
        own = np.mean([draw.var(axis=0, dtype=np.float64) for draw in _flat(loadings)], axis=0)
        between = loadings.mean(axis=(0, 1), dtype=np.float64).var(axis=0)
        columns["steady"] = np.divide(between, own, out=np.zeros_like(own), where=own > 0)
        return pd.DataFrame(columns, index=pd.Index(range(self.n_factors), name="factor"))

    def rhat(self, *, rows: int = 200) -> pd.DataFrame:
        """R-hat and effective sample size of aligned loadings, by ArviZ.

        Parameters
        ----------
        rows : int, default 200
            Rows of each side, evenly spaced over the ids; fewer where there are fewer.

        Returns
        -------
        DataFrame
            Index `side` ("user", "item") and `factor`. `r_hat_median`, `r_hat_worst` and
            `r_hat_below_1.01` (the share) of the rank-normalised split R-hat, NaN for one chain,
            for chains too short to say and for ADVI; `ess_median` and `ess_worst` of the bulk ESS.

        Notes
        -----
        What decides about a run are the
        quantities that the likelihood identifies, in `post.data["posterior"]`; this table tells
        besides whether the chains agree on what the factors are.

        Examples
        --------
        >>> import bayesmf
        >>> from bayesmf.diagnostics.alignment import align
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
        ...                         progressbar=False)
        >>> align(post).rhat().index.tolist()
        [('user', 0), ('user', 1), ('item', 0), ('item', 1)]
        """
        rows = check_integer(rows, "rows", "rhat", minimum=1)
        tables = {}
        for side in ("user", "item"):
            loadings = self.draws[f"{side}_loadings"]
            at = evenly(loadings.sizes[side], rows)
            some = loadings.isel({side: at}).to_numpy().astype(np.float64)
            enough = loadings.sizes["draw"] >= measures.FEWEST_DRAWS
            r_hat = ess = np.full((len(at), self.n_factors), np.nan)
            # Of two rows the loadings are 1 and -1 in every draw: R-hat is 0/0 there.
            with np.errstate(divide="ignore", invalid="ignore"):
                if enough and not self.independent:
                    r_hat = measures.r_hat(some)
                if enough:
                    ess = measures.ess(some)
            tables[side] = pd.DataFrame(
                {
                    "r_hat_median": _over(np.median, r_hat),
                    "r_hat_worst": _over(np.max, r_hat),
                    "r_hat_below_1.01": _over(lambda x: np.mean(x < RHAT_LIMIT), r_hat),
                    "ess_median": _over(np.median, ess),
                    "ess_worst": _over(np.min, ess),
                }
            )
        return pd.concat(tables, names=["side", "factor"])

    def top_items(
        self, factor: int, n: int = 10, *, prob: float = 0.9, titles: object = None
    ) -> pd.DataFrame:
        """Items with the largest loadings on a factor, and those with the smallest.

        Parameters
        ----------
        factor : int
            From 0, the strongest.
        n : int, default 10
            Items on each end.
        prob : float, default 0.9
            Probability of the central interval.
        titles : mapping or Series, optional
            Titles by item id; adds the column `title`.

        Returns
        -------
        DataFrame
            `end` ("top" or "bottom"), `rank` from 1, `item`, `title` where there are titles,
            `loading` (posterior mean, in units of the rating for a user one sd up), `lower`,
            `upper`, and `same_sign`, the probability that the loading has the sign of its mean.

        Raises
        ------
        ValueError, TypeError
            For a factor that does not exist, or titles that are not looked up by id.

        Examples
        --------
        >>> import bayesmf
        >>> from bayesmf.diagnostics.alignment import align
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
        ...                         progressbar=False)
        >>> table = align(post).top_items(0, n=2)
        >>> bool((table["lower"] < table["loading"]).all())
        True
        """
        return self._top("item", factor, n, prob, titles)

    def top_users(
        self, factor: int, n: int = 10, *, prob: float = 0.9, titles: object = None
    ) -> pd.DataFrame:
        """Users with the largest loadings on a factor, and those with the smallest.

        As `top_items`, with a column `user`; loadings are in sds over users.

        Examples
        --------
        >>> import bayesmf
        >>> from bayesmf.diagnostics.alignment import align
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
        ...                         progressbar=False)
        >>> align(post).top_users(1, n=1)["end"].tolist()
        ['top', 'bottom']
        """
        return self._top("user", factor, n, prob, titles)

    def _top(self, side: str, factor: int, n: int, prob: float, titles: object) -> pd.DataFrame:
        function = f"top_{side}s"
        check_integer(factor, "factor", function, maximum=self.n_factors - 1)
        n = check_integer(n, "n", function, minimum=1)
        prob = check_number(prob, "prob", function, above=0, below=1)
        names = check_titles(titles, "titles", function)
        loadings = self.draws[f"{side}_loadings"].isel(factor=factor)
        mean = loadings.to_numpy().mean(axis=(0, 1), dtype=np.float64)
        order = np.argsort(-mean, kind="stable")
        best = order[:n], order[::-1][:n]
        rows = np.concatenate(best)
        drawn = np.array(list(_flat(loadings.isel({side: rows}).to_numpy())), dtype=np.float64)
        tails = np.quantile(drawn, [(1 - prob) / 2, (1 + prob) / 2], axis=0)
        ids = loadings[side].to_numpy()[rows]
        columns: dict[str, Any] = {
            "end": ["top"] * len(best[0]) + ["bottom"] * len(best[1]),
            "rank": np.concatenate([np.arange(1, len(part) + 1) for part in best]),
            side: ids,
        }
        if names:
            columns["title"] = [str(names.get(one, one)) for one in ids.tolist()]
        columns |= {
            "loading": mean[rows],
            "lower": tails[0],
            "upper": tails[1],
            "same_sign": (np.sign(drawn) == np.sign(mean[rows])).mean(axis=0),
        }
        return pd.DataFrame(columns)

    def _short(self) -> pd.DataFrame:
        # One row a factor: its share, and the items on its ends.
        def ends(factor: int, end: str) -> str:
            table = self.top_items(factor, SHOWN)
            return ", ".join(str(one) for one in table.loc[table["end"] == end, "item"])

        strength = self.strength
        interval = [f"[{low:.0%}, {high:.0%}]" for low, high in strength[["lower", "upper"]].values]
        return pd.DataFrame(
            {
                "share": strength["share"].map("{:.0%}".format),
                "90%": interval,
                "steady": strength["steady"].map("{:.0%}".format),
                "top items": [ends(k, "top") for k in strength.index],
                "bottom items": [ends(k, "bottom") for k in strength.index],
            }
        )

    def _caption(self) -> str:
        sizes = self.draws.sizes
        factors = f"{self.n_factors} factor{'s' if self.n_factors > 1 else ''}"
        chains = f"{sizes['chain']} chain{'s' if sizes['chain'] > 1 else ''}"
        text = f"Alignment ({self.method}) of {factors}, {chains} x {sizes['draw']:,} draws."
        return f"{text} {self.note}".strip()

    def __str__(self) -> str:
        return f"{self._caption()}\n{self._short().to_string()}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self._caption())}</p>{self._short().to_html(escape=True)}"


def _flat(loadings: np.ndarray) -> np.ndarray:
    # Draws of all chains in one row: a view, where the array is whole.
    return loadings.reshape(-1, *loadings.shape[2:])


def _over(function: Any, values: np.ndarray) -> list[float]:
    # A number for each factor; R-hat of a loading that never moves is NaN, and left out.
    known = [column[~np.isnan(column)] for column in values.T]
    return [float(function(column)) if len(column) else float("nan") for column in known]
