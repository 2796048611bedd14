"""Data drawn from the model, with known truth and realistic activity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayesmf.ratings import Ratings
from bayesmf.seeds import fresh_seed, generator
from bayesmf.validation import check_bool, check_integer, check_number, check_seed, fail

DENSE_CELLS = 4_000_000
"""Up to this size, or when a quarter of all cells is wanted, cells are drawn exactly without
replacement from the whole table; drawing with replacement would find few new ones."""


@dataclass(frozen=True)
class Simulation:
    """Ratings and the truth that they were drawn from.

    Attributes
    ----------
    ratings : Ratings
        Ids are 0..n_users-1 and 0..n_items-1; users or items without ratings do not occur.
    user_factors, item_factors : ndarray, shapes (n_users, K) and (n_items, K)
    user_bias, item_bias : ndarray, shapes (n_users,) and (n_items,)
    center, noise_sd : float
    """

    ratings: Ratings
    user_factors: np.ndarray
    item_factors: np.ndarray
    user_bias: np.ndarray
    item_bias: np.ndarray
    center: float
    noise_sd: float

    def mean(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Expected ratings of cells given by id, (n_cells,)."""
        interaction = np.einsum("nk,nk->n", self.user_factors[users], self.item_factors[items])
        expected: np.ndarray = (
            self.center + interaction + self.user_bias[users] + self.item_bias[items]
        )
        return expected


def simulate(
    n_users: int = 500,
    n_items: int = 300,
    n_ratings: int = 15_000,
    *,
    n_factors: int = 5,
    biases: bool = True,
    noise_sd: float = 0.9,
    bias_sd: float = 0.4,
    interaction_sd: float = 0.5,
    center: float = 3.5,
    activity_sd: float = 1.0,
    round_to: float | None = None,
    random_seed: int | None = None,
) -> Simulation:
    """Draw ratings from the model.

    Parameters
    ----------
    n_users, n_items, n_ratings : int, default 500, 300 and 15,000
        Size of the table; memory grows with the number of ratings, not of cells.
    n_factors : int, default 5
        Rank of the interaction.
    biases : bool, default True
        Whether users and items have biases.
    noise_sd, bias_sd, interaction_sd : float, default 0.9, 0.4 and 0.5
        Standard deviations, on the rating scale, of the noise, of the biases on each side, and
        of u.v; the defaults are near what films show.
    center : float, default 3.5
        Mean of all cells.
    activity_sd : float, default 1.0
        Sd of the log of each row's weight: how long the tail of popular items and busy users is.
        0 makes all cells equally likely.
    round_to : float, optional
        Round ratings to a multiple of it, which the model then only approximates.
    random_seed : int, optional
        Non-negative.

    Returns
    -------
    Simulation

    Raises
    ------
    ValueError, TypeError
        For wrong arguments, or more ratings than cells.

    Examples
    --------
    >>> import bayesmf
    >>> truth = bayesmf.simulate(50, 30, 400, random_seed=1)
    >>> len(truth.ratings), truth.user_factors.shape
    (400, (50, 5))
    """
    function = "simulate"
    for name, value in (("n_users", n_users), ("n_items", n_items), ("n_ratings", n_ratings)):
        check_integer(value, name, function, minimum=1)
    check_integer(n_factors, "n_factors", function)
    check_bool(biases, "biases", function)
    noise_sd = check_number(noise_sd, "noise_sd", function, at_least=0)
    bias_sd = check_number(bias_sd, "bias_sd", function, at_least=0)
    interaction_sd = check_number(interaction_sd, "interaction_sd", function, at_least=0)
    center = check_number(center, "center", function)
    activity_sd = check_number(activity_sd, "activity_sd", function, at_least=0)
    if round_to is not None:
        round_to = check_number(round_to, "round_to", function, above=0)
    if n_ratings > n_users * n_items:
        fail("n_ratings", function, f"at most the {n_users * n_items:,} cells", n_ratings)
    rng = generator(fresh_seed(check_seed(random_seed, function)), "simulate")
    # sd of u.v with independent N(0, s^2) coordinates is s^2 sqrt(K).
    spread = np.sqrt(interaction_sd / np.sqrt(max(n_factors, 1)))
    user_factors, item_factors = (
        spread * rng.standard_normal((n, n_factors)) for n in (n_users, n_items)
    )
    user_bias, item_bias = (bias_sd * biases * rng.standard_normal(n) for n in (n_users, n_items))
    users, items = _observed_cells(n_users, n_items, n_ratings, activity_sd, rng)
    values = (
        center
        + np.einsum("nk,nk->n", user_factors[users], item_factors[items])
        + user_bias[users]
        + item_bias[items]
        + noise_sd * rng.standard_normal(n_ratings)
    )
    if round_to is not None:
        values = np.round(values / round_to) * round_to
    ratings = Ratings((users, items, values))
    return Simulation(ratings, user_factors, item_factors, user_bias, item_bias, center, noise_sd)


def _observed_cells(
    n_users: int, n_items: int, n_ratings: int, activity_sd: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    # Log-normal weights have the long tail of real activity; a cell's weight is the product.
    weights = [np.exp(activity_sd * rng.standard_normal(n)) for n in (n_users, n_items)]
    n_cells = n_users * n_items
    if n_cells <= DENSE_CELLS or 4 * n_ratings > n_cells:
        # Weighted sampling without replacement by exponential races (Efraimidis & Spirakis 2006).
        race = rng.standard_exponential(n_cells) / np.outer(*weights).ravel()
        keys = np.argpartition(race, n_ratings - 1)[:n_ratings]
    else:
        cumulative = [np.cumsum(weight / weight.sum()) for weight in weights]
        keys = np.empty(0, dtype=np.int64)
        while len(keys) < n_ratings:
            more = int(1.1 * (n_ratings - len(keys))) + 1000
            drawn = [
                np.minimum(np.searchsorted(part, rng.random(more)), len(part) - 1)
                for part in cumulative
            ]
            keys = np.union1d(keys, drawn[0] * n_items + drawn[1])
        keys = rng.choice(keys, n_ratings, replace=False)
    keys.sort()
    return keys // n_items, keys % n_items
