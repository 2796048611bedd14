"""What is believed before the data: the model and its priors, stated once for all engines.

    y_ij | ...  ~ Normal(u_i . v_j + b_i + c_j, 1 / alpha)           (i, j) observed
    (u_i, b_i)  ~ Normal(mu_U, Lambda_U^-1)         (v_j, c_j) ~ Normal(mu_V, Lambda_V^-1)
    mu | Lambda ~ Normal(mu0, (beta0 Lambda)^-1)    Lambda ~ Wishart(W0, nu0), E Lambda = nu0 W0
    W0^-1       = diag(w), w_k ~ Gamma(a_k, b_k)    alpha ~ Gamma(a0, b0)

on the working scale y = (rating - centre) / scale. Everything that is kept or shown is on the
rating scale; `bayesmf.scales` has the way there and back.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bayesmf.scales import WorkingScale
from bayesmf.validation import LARGEST, check_bool, check_choice, check_integer, check_number, fail

if TYPE_CHECKING:
    from bayesmf.ratings import Ratings

__all__ = [
    "BPMF", "FAR", "VAGUE", "GammaPrior", "NormalWishart", "SidePrior", "WorkingScale",
    "published_2008",
]  # fmt: skip


@dataclass(frozen=True)
class GammaPrior:
    """Gamma distribution with mean shape / rate.

    Parameters
    ----------
    shape, rate : float
        Positive.

    Examples
    --------
    >>> GammaPrior(2.0, 4.0).mean
    0.5
    """

    shape: float = 1.0
    rate: float = 1.0

    def __post_init__(self) -> None:
        for name in ("shape", "rate"):
            number = check_number(getattr(self, name), name, "GammaPrior", above=0)
            object.__setattr__(self, name, number)  # a plain float, whatever was given

    @property
    def mean(self) -> float:
        """Expected value."""
        return self.shape / self.rate


FAR = 1e4
"""How far from 1 sizes on the working scale may be for single precision, which has seven digits:
three are then left below the noise."""
VAGUE = GammaPrior(1.0, 0.01)
"""Prior of the strength of biases, which every row informs."""


class SidePrior(NamedTuple):
    """The prior of one side's rows in numbers, for rows of D coordinates.

    Attributes
    ----------
    mu0 : ndarray, shape (D,)
    beta0, dof : float
    learned : bool
        Whether the strength w is sampled.
    shape, rate : ndarray, shape (D,)
        Gamma prior of w where it is learned.
    strength : ndarray, shape (D,)
        w where it is fixed, its prior mean where it is learned.
    """

    mu0: np.ndarray
    beta0: float
    dof: float
    learned: bool
    shape: np.ndarray
    rate: np.ndarray
    strength: np.ndarray


@dataclass(frozen=True)
class NormalWishart:
    """Prior of the mean and precision of the rows on each side.

    Parameters
    ----------
    mu0 : float, default 0
        Prior mean of every coordinate of a row.
    beta0 : float, default 2
        How many rows the prior mean counts for.
    extra_dof : float, default 20
        With `row_share`, the degrees of freedom of the Wishart: for N rows of D coordinates
        nu0 = D + extra_dof + row_share N.
    row_share : float, default 0.4
        How much the prior of the precision counts, as a share of the rows that there are.
    interaction_share : float, default 0.025
        Share of the variance on the working scale, `scale` squared, that u.v is expected to
        explain. It centres the prior of the factors: their variance there is then
        sqrt(interaction_share / K).
    strength : float, GammaPrior or None, default None
        w in W0 = diag(1 / w), so that E Lambda = nu0 / w. A number fixes it, a GammaPrior lets
        each coordinate learn its own. None learns it too, with a Gamma(nu0 / 2, ...) around what
        `interaction_share` says for factors and a vague Gamma(1, 0.01) for biases.

    Notes
    -----
    Without information on the scale of the factors, sparse tables are overfitted by the posterior
    itself: noise that differs between users looks like interaction, the noise precision grows from
    sweep to sweep, and predictions become worse the longer the sampler runs. docs/model.md shows
    it, and how the defaults were chosen.

    Examples
    --------
    >>> NormalWishart().resolve(n_rows=1000, n_factors=10, biases=True).dof
    431.0
    """

    mu0: float = 0.0
    beta0: float = 2.0
    extra_dof: float = 20.0
    row_share: float = 0.4
    interaction_share: float = 0.025
    strength: float | GammaPrior | None = None

    def __post_init__(self) -> None:
        bounds: dict[str, dict[str, float]] = {
            "mu0": {},
            "beta0": {"above": 0},
            "extra_dof": {"above": -1},
            "row_share": {"at_least": 0},
            "interaction_share": {"above": 0},
        }
        if self.strength is not None and not isinstance(self.strength, GammaPrior):
            bounds["strength"] = {"above": 0}
        for name, limits in bounds.items():
            number = check_number(getattr(self, name), name, "NormalWishart", **limits)
            object.__setattr__(self, name, number)  # a plain float, whatever was given

    def resolve(self, n_rows: int, n_factors: int, biases: bool) -> SidePrior:
        """Work out the numbers for a side of `n_rows` rows; nu0 > D - 1 always."""
        d = n_factors + biases
        dof = d + self.extra_dof + self.row_share * n_rows
        if self.strength is None:
            variance = np.sqrt(self.interaction_share / max(n_factors, 1))
            shape = np.array([dof / 2] * n_factors + [VAGUE.shape] * biases)
            rate = np.array([dof / 2 / (dof * variance)] * n_factors + [VAGUE.rate] * biases)
        elif isinstance(self.strength, GammaPrior):
            shape, rate = np.full(d, self.strength.shape), np.full(d, self.strength.rate)
        else:
            shape = rate = np.full(d, np.nan)
        learned = self.strength is None or isinstance(self.strength, GammaPrior)
        strength = shape / rate if learned else np.full(d, float(self.strength))  # type: ignore[arg-type]
        return SidePrior(np.full(d, self.mu0), self.beta0, dof, learned, shape, rate, strength)


@dataclass(frozen=True)
class BPMF:
    """Bayesian matrix factorization: rank, biases, priors, centre and scale.

    Parameters
    ----------
    n_factors : int, default 10
        Rank of the interaction; 0 leaves the bias-only model.
    biases : bool, default True
        Whether users and items have biases.
    prior : NormalWishart
        Prior of the rows of each side.
    alpha : float or GammaPrior
        Precision of the noise on the working scale: fixed by a number, sampled with a GammaPrior.
    center : "mean" or float
        What is taken from the ratings.
    scale : "sd" or float
        What they are then divided by.
    """

    n_factors: int = 10
    biases: bool = True
    prior: NormalWishart = field(default_factory=NormalWishart)
    alpha: float | GammaPrior = field(default_factory=GammaPrior)
    center: str | float = "mean"
    scale: str | float = "sd"

    @classmethod
    def checked(
        cls,
        function: str,
        *,
        n_factors: object,
        biases: object,
        prior: object,
        alpha: object,
        center: object,
        scale: object,
    ) -> BPMF:
        """Build from what a caller of `function` gave, with its errors in that name."""
        rank = check_integer(n_factors, "n_factors", function)
        with_biases = check_bool(biases, "biases", function)
        if rank == 0 and not with_biases:
            fail("n_factors", function, "positive when biases=False: nothing would be left", 0)
        if prior is None:
            prior = NormalWishart()
        elif not isinstance(prior, NormalWishart):
            fail("prior", function, "None or a bayesmf.NormalWishart", prior, TypeError)
        if alpha is None:
            alpha = GammaPrior()
        elif not isinstance(alpha, GammaPrior):
            alpha = check_number(alpha, "alpha", function, above=0)
        if isinstance(center, str):
            check_choice(center, "center", function, ("mean",))
        else:
            center = check_number(center, "center", function, above=-LARGEST, below=LARGEST)
        if isinstance(scale, str):
            check_choice(scale, "scale", function, ("sd",))
        else:
            scale = check_number(scale, "scale", function, above=1 / LARGEST, below=LARGEST)
        return cls(rank, with_biases, prior, alpha, center, scale)

    @property
    def n_coordinates(self) -> int:
        """D: coordinates of a row, its factors and its bias."""
        return self.n_factors + self.biases

    def working_scale(self, ratings: Ratings) -> WorkingScale:
        """Centre and scale in force for these ratings."""
        center = ratings.mean if isinstance(self.center, str) else self.center
        scale = ratings.sd if isinstance(self.scale, str) else self.scale
        return WorkingScale(center, scale)

    def as_dict(self) -> dict[str, Any]:
        """Everything in plain types, for the attributes of stored draws."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> BPMF:
        """Build what `as_dict` gave."""
        prior, alpha = dict(stored["prior"]), stored["alpha"]
        if isinstance(prior["strength"], dict):
            prior["strength"] = GammaPrior(**prior["strength"])
        if isinstance(alpha, dict):
            alpha = GammaPrior(**alpha)
        return cls(**{**stored, "prior": NormalWishart(**prior), "alpha": alpha})


def published_2008(n_factors: int = 10) -> dict[str, Any]:
    """Arguments that make `fit_bpmf` the model of Salakhutdinov & Mnih (2008), exactly.

    No biases, noise precision fixed at 2, W0 = I, nu0 = n_factors, beta0 = 2, mu0 = 0, ratings
    centred on their mean and not scaled (ICML 2008, "Bayesian probabilistic matrix factorization
    using Markov chain Monte Carlo", section 3 and the settings of section 5).

    Parameters
    ----------
    n_factors : int, default 10
        Rank, positive.

    Returns
    -------
    dict
        Keyword arguments for `fit_bpmf`.

    Raises
    ------
    ValueError, TypeError
        If `n_factors` is not a positive integer.

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(40, 30, 300, random_seed=1).ratings
    >>> post = bayesmf.fit_bpmf(ratings, **bayesmf.published_2008(n_factors=2), tune=20, draws=20,
    ...                         chains=1, random_seed=1, progressbar=False)
    >>> post.model.alpha
    2.0
    """
    check_integer(n_factors, "n_factors", "published_2008", minimum=1)
    return {
        "n_factors": n_factors,
        "biases": False,
        "prior": NormalWishart(extra_dof=0.0, row_share=0.0, strength=1.0),
        "alpha": 2.0,
        "center": "mean",
        "scale": 1.0,
    }
