"""What `choose_rank` gives: ranks judged on the same ratings, and the rule that takes one."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from arviz_stats.utils import ELPDData

_NAMES = {"loo": "PSIS-LOO", "kfold": "K-fold cross-validation"}


@dataclass(frozen=True, repr=False)
class RankChoice:
    """Ranks judged on the same ratings, and the one to take.

    Attributes
    ----------
    table : pandas.DataFrame
        Indexed by `rank`: `elpd`, the mean log score of a rating that was left out (larger is
        better), with its standard error `se`; `difference` from the best rank's and its standard
        error `difference_se`, from the differences of single ratings; `share_bad_khat` (NaN where
        leave-one-out was not tried); `seconds` of fitting and judging.
    best : int
        The rank with the highest mean log score.
    chosen : int
        The smallest rank whose mean log score is within one standard error of the best, that of
        their difference.
    method : {"loo", "kfold"}
        How they were judged in the end.
    n_ratings : int
        Ratings on which they were.
    elpds : dict of str to arviz_stats ELPDData
        Pointwise results by names such as "K=2", for `arviz.compare`.
    """

    table: pd.DataFrame
    best: int
    chosen: int
    method: str
    n_ratings: int
    elpds: dict[str, ELPDData]

    def compare(self) -> pd.DataFrame:
        """ArviZ's table: totals over the judged ratings, and weights of stacking."""
        import arviz  # noqa: PLC0415 - takes seconds to import

        found: pd.DataFrame = arviz.compare(self.elpds)
        return found

    @property
    def sentence(self) -> str:
        """The choice in words."""
        by = f"by {_NAMES[self.method]} on {self.n_ratings:,} ratings"
        if self.chosen == self.best:
            smaller = self.table.index.min() < self.best
            why = ", and no smaller rank is within one standard error of it" if smaller else ""
            return f"Rank {self.chosen}: it predicts best {by}{why}."
        row = self.table.loc[self.chosen]
        return (
            f"Rank {self.chosen}: the smallest within one standard error of the best, rank "
            f"{self.best}, {by} (log score of a rating {row['difference']:.4f} ± "
            f"{row['difference_se']:.4f} from it)."
        )

    def __str__(self) -> str:
        return f"{self.sentence}\n{_rounded(self.table).to_string()}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.sentence)}</p>{_rounded(self.table).to_html()}"


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    forms = {"share_bad_khat": "{:.2%}", "seconds": "{:.1f}"}
    shown = {name: table[name].map(forms.get(name, "{:.4f}").format) for name in table.columns}
    return pd.DataFrame(shown).replace("nan%", "-")


def one_standard_error(scores: Mapping[int, np.ndarray]) -> tuple[pd.DataFrame, int, int]:
    """Table of mean log scores, the best rank, and the smallest within one standard error of it.

    `scores` are log scores (n,) of the same ratings by rank.
    """
    best = max(scores, key=lambda rank: (scores[rank].mean(), -rank))
    rows = {}
    for rank, values in scores.items():
        apart, root = values - scores[best], math.sqrt(len(values))
        rows[rank] = [
            number for one in (values, apart) for number in (one.mean(), one.std(ddof=1) / root)
        ]
    columns = ["elpd", "se", "difference", "difference_se"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table.index.name = "rank"
    close = table.index[table["difference"] + table["difference_se"] >= 0]
    return table, int(best), int(close.min())
