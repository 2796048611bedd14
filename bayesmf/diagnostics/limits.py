"""What is asked of chains, group by group, and a group measured against it.

R-hat below 1.01 is asked, an effective sample size of 400, and a Monte Carlo error of 0.05 sd. Of
chains that have converged, one quantity in ten has an R-hat of 1.01 or more at such a size, by
chance alone, and one in a thousand 1.03 (`tests/test_diagnostics.py` draws them). So of a group of
many 98% must be below 1.01, and each quantity must be below 1.03; what lies between is named, with
the draws that would settle it. Singular values are in the order of their size: two near each other
change places from draw to draw and mix slower than anything that is predicted, so that less is
asked of each, and as much as of others of the interaction as a whole, `interaction_sd`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

MANY = 50
"""Quantities from which on 2% of them are at least one."""


class Limits(NamedTuple):
    """What is asked of a group of quantities.

    Attributes
    ----------
    r_hat, share : float
        Of MANY quantities or more, the share that must stay below `r_hat`.
    most : float
        What all must stay below.
    ess : float
        Least effective sample size, bulk and tail, of each.
    mcse_sd : float
        Largest Monte Carlo error of a mean, in sds.
    """

    r_hat: float = 1.01
    share: float = 0.98
    most: float = 1.03
    ess: float = 400.0
    mcse_sd: float = 0.05

    def mixed(self, members: pd.DataFrame) -> bool:
        """Whether R-hat is as asked; comparisons with NaN are False, as they should be."""
        near = float((members["r_hat"] < self.r_hat).mean())
        enough = near >= self.share or len(members) < MANY
        return bool(enough and (members["r_hat"] < self.most).all())

    def passed(self, members: pd.DataFrame) -> bool:
        """Whether a group is as asked."""
        if members.empty:
            return True
        # What could not be measured has not passed.
        return bool(
            self.mixed(members)
            and (members[["ess_bulk", "ess_tail"]] >= self.ess).to_numpy().all()
            and (members["mcse_sd"] <= self.mcse_sd).all()
        )


LIMITS = {
    "usual": Limits(),
    "singular_value": Limits(share=0.0, most=1.05, ess=100.0, mcse_sd=0.1),
}
"""By group; "usual" for all others."""


def limits_of(name: str) -> Limits:
    """What is asked of the group of that name."""
    return LIMITS.get(name, LIMITS["usual"])


class Summary(NamedTuple):
    """A group of quantities in one line, of those that change.

    Attributes
    ----------
    quantities : int
    share : float
        With R-hat below 1.01.
    r_hat, ess_bulk, ess_tail, mcse_sd : float
        The worst of each.
    passed : bool
    """

    quantities: int
    share: float
    r_hat: float
    ess_bulk: float
    ess_tail: float
    mcse_sd: float
    passed: bool

    @classmethod
    def of(cls, name: str, members: pd.DataFrame) -> Summary:
        """Summarise the group of that name, by its members that change."""
        values = {column: members[column].to_numpy() for column in members}
        if members.empty:
            nothing = float("nan")
            return cls(0, nothing, nothing, nothing, nothing, nothing, passed=True)
        return cls(
            len(members),
            float((values["r_hat"] < LIMITS["usual"].r_hat).mean()),
            float(values["r_hat"].max()),  # NaN where one is
            float(values["ess_bulk"].min()),
            float(values["ess_tail"].min()),
            float(values["mcse_sd"].max()),
            limits_of(name).passed(members),
        )
