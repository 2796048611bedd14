"""Leave-one-out cross-validation by importance sampling (PSIS-LOO), a row integrated out.

Vehtari, Gelman & Gabry (2017), Statistics and Computing 27(5); the smoothing and its diagnostic
k-hat of Vehtari, Simpson, Gelman, Yao & Gabry (2024), JMLR 25(72), are ArviZ's. What is smoothed
are the densities of `bayesmf.diagnostics.pointwise`.
"""

from __future__ import annotations

import html
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from bayesmf.diagnostics.measures import good_khat
from bayesmf.diagnostics.pointwise import (
    FEWEST_DRAWS,
    FOR_REFF,
    PointwiseDensities,
    counts,
    relative_efficiency,
    sample_ratings,
)
from bayesmf.indexing import evenly
from bayesmf.seeds import fresh_seed
from bayesmf.validation import Described, check_bool, check_integer, check_seed, fail

if TYPE_CHECKING:
    from arviz_stats.utils import ELPDData

    from bayesmf.diagnostics.identified import Judged

N_RATINGS, N_DRAWS = 2000, 1000
"""Defaults: four to ten seconds on MovieLens-100K with ten factors and two cores."""

TOLERATED = 0.01
"""Share of ratings with a bad k-hat from which on the estimate is not trusted."""

_COUNT_BINS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


class Score(NamedTuple):
    """An estimate and its standard error."""

    mean: float
    se: float


@dataclass(frozen=True, repr=False)
class LeaveOneOut:
    """How well ratings are predicted from all others.

    Attributes
    ----------
    elpd : arviz_stats ELPDData
        ArviZ's result for the ratings that were taken, with pointwise values: what `arviz.compare`
        takes, as in ``arviz.compare({"K=2": two.elpd, "K=5": five.elpd})``.
    table : pandas.DataFrame
        A row for each of these ratings by its row number in `observed_data`: `user`, `item`,
        `rating`, `log_score` (log density given all other ratings; larger is better), `khat`,
        `count` (ratings of the row that was integrated, or of the one with fewer) and `other_count`
        (of the other).
    n_all : int
        Ratings in all, of which the table can be a simple random sample.
    integrated : bool
        Whether the row with fewer ratings was integrated out.
    reff : float
        Relative efficiency of the draws that was assumed.
    """

    elpd: ELPDData
    table: pd.DataFrame
    n_all: int
    integrated: bool
    reff: float

    @property
    def n_ratings(self) -> int:
        """Ratings that were taken."""
        return len(self.table)

    @property
    def per_rating(self) -> Score:
        """Mean log score of a rating, and its standard error."""
        n = len(self.table)
        return Score(self.elpd.elpd / n, self.elpd.se / n)

    @property
    def total(self) -> Score:
        """Expected log predictive density of all ratings: their number times the mean log score."""
        mean, se = self.per_rating
        return Score(self.n_all * mean, self.n_all * se)

    @property
    def limit(self) -> float:
        """Largest good k-hat: min(1 - 1 / log10(draws), 0.7)."""
        return float(self.elpd.good_k)

    @property
    def bad(self) -> pd.Series[bool]:
        """Whether each k-hat is above `limit`, or could not be estimated."""
        return ~(self.table["khat"] <= self.limit)

    @property
    def bad_share(self) -> float:
        """Share of the ratings whose k-hat is above `limit`."""
        return float(self.bad.mean())

    @property
    def warning(self) -> str:
        """What to do where too many k-hat are bad; empty where the estimate can be used."""
        if self.bad_share <= TOLERATED:
            return ""
        remedy = "judge by K-fold instead, such as choose_rank(..., method='kfold')"
        if not self.integrated:
            remedy = "integrate a row out with integrated=True, or " + remedy
        return (
            f"{self.bad_share:.1%} of the k-hat are above {self.limit:.2f}: the log scores cannot "
            f"be trusted; {remedy}."
        )

    def khat_by_count(self) -> pd.DataFrame:
        """Where k-hat fail: by the number of ratings of both rows.

        Returns
        -------
        DataFrame
            Indexed by `count` and `other_count` in bins such as "5-9": `ratings`, `share_bad` (of
            k-hat above `limit`) and `max_khat`. Bins without ratings are left out.
        """
        binned = {name: _binned(self.table[name]) for name in ("count", "other_count")}
        frame = pd.DataFrame(binned | {"khat": self.table["khat"], "bad": self.bad})
        return frame.groupby(["count", "other_count"], observed=True).agg(
            ratings=("khat", "size"), share_bad=("bad", "mean"), max_khat=("khat", "max")
        )

    def __str__(self) -> str:
        n, draws, every = len(self.table), self.elpd.n_samples, self.total
        how = "the row with fewer ratings integrated out" if self.integrated else "given both rows"
        taken, scaled = f"all {n:,} ratings", ""
        if n < self.n_all:
            taken = f"a random {n:,} of {self.n_all:,} ratings"
            scaled = f" ({self.n_all:,} times the mean of those {n:,})"
        largest = self.table["khat"].max()
        lines = [
            f"PSIS-LOO of {taken} from {draws:,} draws, {how}.",
            f"log score of a rating  {self.per_rating.mean:.4f} ± {self.per_rating.se:.4f}",
            f"elpd of all ratings    {every.mean:,.1f} ± {every.se:,.1f}{scaled}",
            f"k-hat above {self.limit:.2f}       {self.bad_share:.2%}, largest {largest:.2f}",
        ]
        return "\n".join(lines + [self.warning] * bool(self.warning))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        lines = html.escape(str(self)).replace("\n", "<br>")
        return f"<p>{lines}</p>{self.khat_by_count().to_html(float_format='{:.3f}'.format)}"


def _binned(values: pd.Series[Any]) -> pd.Series[Any]:
    ends = [end - 1 for end in _COUNT_BINS[1:]]
    names = [
        f"{low}" if low == high else f"{low}-{high}"
        for low, high in zip(_COUNT_BINS[:-1], ends, strict=True)
    ]
    edges = [0, *ends, np.inf]
    return pd.cut(values, edges, labels=[*names, f"{_COUNT_BINS[-1]}+"])


def loo(
    posterior: Judged,
    *,
    n_ratings: int | None = N_RATINGS,
    draws: int = N_DRAWS,
    integrated: bool = True,
    random_seed: int | None = 0,
) -> LeaveOneOut:
    """Estimate how well each rating is predicted from all others; `Posterior.loo` documents it."""
    function = "loo"
    if n_ratings is not None:
        n_ratings = check_integer(n_ratings, "n_ratings", function, minimum=2)
    draws = check_integer(draws, "draws", function, minimum=FEWEST_DRAWS)
    check_bool(integrated, "integrated", function)
    seed = fresh_seed(check_seed(random_seed, function))
    if "pareto_k" in posterior.data.attrs:
        message = (
            "The draws are of ADVI, and importance weights take them for draws of the posterior: "
            "judge ADVI by held-out ratings instead."
        )
        warnings.warn(message, stacklevel=2)
    found = leave_one_out(
        posterior, n_ratings, draws=draws, integrated=integrated, seed=seed, function=function
    )
    if found.warning:
        warnings.warn(found.warning, stacklevel=2)
    return found


def leave_one_out(
    posterior: Judged,
    n_ratings: int | None,
    *,
    draws: int,
    integrated: bool,
    seed: int,
    function: str,
) -> LeaveOneOut:
    """As `loo`, its arguments checked, and without its warnings."""
    from arviz_stats.utils import ELPDDataLOO  # noqa: PLC0415 - takes seconds to import

    codes = sample_ratings(posterior.ratings, n_ratings, seed)
    densities = PointwiseDensities(posterior, codes, draws=draws, integrated=integrated)
    if densities.n_draws < FEWEST_DRAWS:
        must = f"a result with at least {FEWEST_DRAWS} kept draws"
        fail("posterior", function, must, Described(f"{densities.n_draws}"))
    # Densities come in blocks that are not kept: those of a few ratings are worked out before.
    few = codes[evenly(len(codes), FOR_REFF)]
    some = PointwiseDensities(posterior, few, draws=draws, integrated=integrated)
    reff = relative_efficiency(some.whole())
    scores, khat, parameters = (np.empty(len(codes)) for _ in range(3))
    for places, block in densities.blocks():
        values = xr.DataArray(block, dims=("chain", "draw", "rating_id"))
        found = values.azstats.loo(sample_dims=["chain", "draw"], r_eff=reff)
        for out, part in zip((scores, khat, parameters), found, strict=True):
            out[places] = part.to_numpy()
    table = posterior.ratings
    fewer, more = np.sort(counts(table, codes), axis=0)
    frame = pd.DataFrame(
        {
            "user": table.user_ids.to_numpy()[table.users[codes]],
            "item": table.item_ids.to_numpy()[table.items[codes]],
            "rating": table.values[codes],
            "log_score": scores,
            "khat": khat,
            "count": fewer,
            "other_count": more,
        },
        index=pd.Index(codes, name="rating_id"),
    )
    limit = good_khat(densities.n_draws)
    coords = {"rating_id": codes}
    elpd = ELPDDataLOO(
        elpd=float(scores.sum()),
        se=float(math.sqrt(len(codes)) * scores.std(ddof=1)),
        p=float(parameters.sum()),
        n_samples=densities.n_draws,
        n_data_points=len(codes),
        scale="log",
        warning=not (khat <= limit).all(),
        good_k=limit,
        elpd_i=xr.DataArray(scores, coords, ("rating_id",), "rating"),
        pareto_k=xr.DataArray(khat, coords, ("rating_id",), "pareto_k"),
    )
    return LeaveOneOut(elpd, frame, len(table), integrated, reff)
