"""What probabilistic matrix factorization believes (Salakhutdinov & Mnih 2007).

On the rating scale:

    r_ij | ... ~ Normal(link(centre + u_i . v_j + b_i + c_j), sigma^2)        (i, j) observed
    u_i ~ Normal(m_user, sigma_user^2 I)      v_j ~ Normal(m_item, sigma_item^2 I)
    b_i, c_j ~ Normal(0, sigma_bias^2)

The means m are zero, or free with priors of their own, Normal(0, unit I) where `Link.unit` is the
size of what is explained: then a user's product with the mean item is as good as a bias.

With given standard deviations the mode of the posterior (MAP) is the solution of regularised least
squares with penalties lambda = sigma^2 / sigma_user^2 and so on; they cannot be estimated by it,
since the density grows without bound as sigma_user and U go to zero together.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from scipy.special import expit

from bayesmf.validation import LARGEST, check_bool, check_choice, check_integer, check_number, fail

if TYPE_CHECKING:
    import numpy as np

    from bayesmf.ratings import Ratings

LINKS = ("identity", "logistic")
SPREADS = ("sigma", "sigma_user", "sigma_item", "sigma_bias")


class Link(NamedTuple):
    """From centre + u.v + b + c to the expected rating: itself, or squashed into [low, high]."""

    name: str = "identity"
    low: float = 0.0
    high: float = 1.0

    def mean(self, cells: np.ndarray) -> np.ndarray:
        """Expected ratings, of the shape of what is given."""
        if self.name == "identity":
            return cells
        squashed: np.ndarray = self.low + (self.high - self.low) * expit(cells)
        return squashed

    def center(self, ratings: Ratings) -> float:
        """Where the link gives the mean rating."""
        if self.name == "identity":
            return ratings.mean
        share = (ratings.mean - self.low) / (self.high - self.low)
        return math.log(share / (1 - share))

    def unit(self, ratings: Ratings) -> float:
        """Size of what biases and products of factors explain: the ratings' sd, or 1 on the logit.

        That of a factor is its root.
        """
        return ratings.sd if self.name == "identity" else 1.0


class Spreads(NamedTuple):
    """Standard deviations: of the noise, of factors, of biases; None where they are learned."""

    sigma: float | None
    sigma_user: float | None
    sigma_item: float | None
    sigma_bias: float | None

    def penalties(self) -> dict[str, float]:
        """Give the penalties that a MAP with these implies, sigma^2 over the prior's variance."""
        found = {}
        for name, spread in zip(("reg_user", "reg_item", "reg_bias"), self[1:], strict=True):
            if self.sigma is not None and spread is not None:
                found[name] = (self.sigma / spread) ** 2
        return found


class PMF(NamedTuple):
    """Probabilistic matrix factorization of one table.

    Attributes
    ----------
    n_factors : int
    biases : bool
    link : Link
    center : float
        On the link's scale.
    learn_means : bool
        Whether the means of the factors' priors are free, Normal(0, unit), and not zero.
    spreads : Spreads
    """

    n_factors: int
    biases: bool
    link: Link
    center: float
    learn_means: bool
    spreads: Spreads


def check_pmf(
    ratings: Ratings,
    function: str,
    *,
    n_factors: object,
    biases: object,
    link: object,
    center: object,
    learn_means: object,
    rating_range: object,
) -> PMF:
    """Build from what a caller of `function` gave; the spreads are all left to be learned."""
    rank = check_integer(n_factors, "n_factors", function)
    with_biases = check_bool(biases, "biases", function)
    if rank == 0 and not with_biases:
        fail("n_factors", function, "positive when biases=False: nothing would be left", 0)
    if rank > min(ratings.n_users, ratings.n_items):
        must = "at most the number of users and of items, which no factor can add to"
        fail("n_factors", function, must, rank)
    name = check_choice(link, "link", function, LINKS)
    check_bool(center, "center", function)
    with_means = check_bool(learn_means, "learn_means", function)
    if name == "identity":
        if rating_range is not None:
            fail("rating_range", function, "None with link='identity'", rating_range)
        chosen = Link()
    else:
        chosen = Link(name, *_check_range(rating_range, ratings, function))
    middle = chosen.center(ratings) if center else 0.0
    return PMF(rank, with_biases, chosen, middle, with_means, Spreads(*[None] * 4))


def _check_range(given: object, ratings: Ratings, function: str) -> tuple[float, float]:
    low, high = ratings.bounds
    if given is None:
        return low, high
    must = f"None or a tuple (low, high) around the ratings, which go from {low:g} to {high:g}"
    if not isinstance(given, tuple) or len(given) != 2:
        fail("rating_range", function, must, given, TypeError)
    ends = [
        check_number(end, "rating_range", function, above=-LARGEST, below=LARGEST) for end in given
    ]
    if not (ends[0] <= low and high <= ends[1]):
        fail("rating_range", function, must, given)
    return ends[0], ends[1]


def check_spread(value: object, argument: str, function: str) -> float:
    """Return a standard deviation that was given as a number."""
    return check_number(value, argument, function, above=1 / LARGEST, below=LARGEST)
