"""Data drawn from the model, with known truth and realistic activity."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bayesmf.indexing import CHUNK, MOST_ROWS, chunks
from bayesmf.ratings import Ratings
from bayesmf.seeds import fresh_seed, generator
from bayesmf.validation import check_bool, check_integer, check_number, check_seed, fail

DENSE_CELLS = 4_000_000
"""Up to this size, or when a quarter of all cells is wanted, cells are drawn exactly without
replacement from the whole table; drawing with replacement would find few new ones."""

ROWS_AT_A_TIME = 1 << 16
"""Cells whose rows of factors are gathered at a time: 16 MB a side for 32 factors."""


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
        return _means(
            np.asarray(users),
            np.asarray(items),
            (self.user_factors, self.item_factors),
            (self.user_bias, self.item_bias),
            self.center,
        )


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
    if n_ratings > MOST_ROWS:
        fail("n_ratings", function, f"at most {MOST_ROWS:,}", n_ratings)
    rng = generator(fresh_seed(check_seed(random_seed, function)), "simulate")
    # sd of u.v with independent N(0, s^2) coordinates is s^2 sqrt(K).
    spread = np.sqrt(interaction_sd / np.sqrt(max(n_factors, 1)))
    factors = [spread * rng.standard_normal((n, n_factors)) for n in (n_users, n_items)]
    bias = [bias_sd * biases * rng.standard_normal(n) for n in (n_users, n_items)]
    # Log-normal weights have the long tail of real activity; a cell's weight is the product.
    weights = [np.exp(activity_sd * rng.standard_normal(n)) for n in (n_users, n_items)]
    n_cells = n_users * n_items
    choose = _race if n_cells <= DENSE_CELLS or 4 * n_ratings > n_cells else _draw_distinct
    users, items = _cells(choose(weights[0], weights[1], n_ratings, rng), n_items)
    values = _means(users, items, (factors[0], factors[1]), (bias[0], bias[1]), center)
    for part in chunks(n_ratings):
        values[part] += noise_sd * rng.standard_normal(part.stop - part.start)
        if round_to is not None:
            values[part] = np.round(values[part] / round_to) * round_to
    ratings = Ratings((users, items, values))
    return Simulation(ratings, factors[0], factors[1], bias[0], bias[1], center, noise_sd)


def _means(
    users: np.ndarray,
    items: np.ndarray,
    factors: tuple[np.ndarray, np.ndarray],
    bias: tuple[np.ndarray, np.ndarray],
    center: float,
) -> np.ndarray:
    means = np.empty(len(users))
    for part in chunks(len(users), ROWS_AT_A_TIME):
        i, j = users[part], items[part]
        interaction = np.einsum("nk,nk->n", factors[0][i], factors[1][j])
        means[part] = center + interaction + bias[0][i] + bias[1][j]
    return means


def _cells(keys: np.ndarray, n_items: int) -> tuple[np.ndarray, np.ndarray]:
    users, items = (np.empty(len(keys), dtype=np.int32) for _ in range(2))
    for part in chunks(len(keys)):
        users[part], items[part] = np.divmod(keys[part], n_items)
    return users, items


def _race(
    user_weight: np.ndarray, item_weight: np.ndarray, n_ratings: int, rng: np.random.Generator
) -> np.ndarray:
    # Weighted sampling without replacement by exponential races (Efraimidis & Spirakis 2006).
    n_items = len(item_weight)
    race = rng.standard_exponential(len(user_weight) * n_items)
    table = race.reshape(-1, n_items)
    for rows in chunks(len(table), max(1, CHUNK // n_items)):
        table[rows] /= np.outer(user_weight[rows], item_weight)
    keys = np.argpartition(race, n_ratings - 1)[:n_ratings]
    keys.sort()
    return keys


def _draw_distinct(
    user_weight: np.ndarray, item_weight: np.ndarray, n_ratings: int, rng: np.random.Generator
) -> np.ndarray:
    """Sorted keys of the first `n_ratings` distinct cells of a sequence of independent draws.

    That, too, is weighted sampling without replacement, and its memory does not grow with the
    number of cells.
    """
    n_items, n_cells = len(item_weight), len(user_weight) * len(item_weight)
    user_share = user_weight / user_weight.sum()
    user_cumulative = np.cumsum(user_share)
    item_cumulative = np.cumsum(item_weight / item_weight.sum())
    # As many draws as ratings are wanted never hold too many cells, so that their order in the
    # sequence does not matter and they can be drawn user by user.
    keys = _draw_by_user(rng.multinomial(n_ratings, user_share), item_cumulative, rng)
    fresh, n_more = 0.5, 0  # share of draws that find a new cell, and draws of one by one
    while len(keys) < n_ratings:
        missing = n_ratings - len(keys)
        if n_more > n_cells // 4:  # weights so uneven that to visit every cell once takes less
            rest = _race_for_rest(keys, np.log(user_weight), np.log(item_weight), missing, rng)
            return np.sort(np.concatenate([keys, rest]))
        n_draws = min(int(missing / max(fresh, 1e-3)) + 1000, 4 * CHUNK)
        n_more += n_draws
        drawn = _draw(user_cumulative, n_draws, rng) * n_items
        drawn += _draw(item_cumulative, n_draws, rng)
        drawn, first = np.unique(drawn, return_index=True)
        at = np.searchsorted(keys, drawn)
        new = keys[np.minimum(at, len(keys) - 1)] != drawn
        fresh = float(new.mean())
        if new.sum() > missing:  # of the new cells, those that came first in the sequence
            new &= first <= np.partition(first[new], missing - 1)[missing - 1]
        keys = np.insert(keys, at[new], drawn[new])
    return keys


def _draw_by_user(
    counts: np.ndarray, item_cumulative: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    n_items, ends = len(item_cumulative), np.cumsum(counts)
    keys, n_keys = np.empty(ends[-1], dtype=np.int64), 0
    # Runs of users with about a chunk of draws, each sorted by itself.
    cuts = np.searchsorted(ends, np.arange(CHUNK, ends[-1], CHUNK))
    for start, stop in pairwise([0, *np.unique(cuts[cuts > 0]).tolist(), len(counts)]):
        drawn = np.repeat(np.arange(start, stop), counts[start:stop]) * n_items
        drawn += _draw(item_cumulative, len(drawn), rng)
        drawn.sort()
        distinct = drawn[np.diff(drawn, prepend=-1) > 0]
        keys[n_keys : n_keys + len(distinct)] = distinct
        n_keys += len(distinct)
    return keys[:n_keys]


def _race_for_rest(
    keys: np.ndarray,
    user_log_weight: np.ndarray,
    item_log_weight: np.ndarray,
    missing: int,
    rng: np.random.Generator,
) -> np.ndarray:
    # As `_race`, but among the cells that are not in `keys`, and keeping the first so far alone.
    n_items = len(item_log_weight)
    best, times, slowest = np.empty(0, dtype=np.int64), np.empty(0), np.inf
    for rows in chunks(len(user_log_weight), max(1, CHUNK // n_items)):
        race = np.log(rng.standard_exponential((rows.stop - rows.start, n_items)))
        race -= user_log_weight[rows, None] + item_log_weight
        race = race.ravel()
        edges = np.array([rows.start, rows.stop]) * n_items
        taken = slice(*np.searchsorted(keys, edges).tolist())
        race[keys[taken] - edges[0]] = np.inf
        near = np.flatnonzero(race < slowest)
        best, times = np.append(best, edges[0] + near), np.append(times, race[near])
        if len(best) > missing:
            keep = np.argpartition(times, missing - 1)[:missing]
            best, times = best[keep], times[keep]
            slowest = times.max()
    return best


def _draw(cumulative: np.ndarray, n_draws: int, rng: np.random.Generator) -> np.ndarray:
    # The sum of all shares may end a rounding error below one.
    return np.minimum(np.searchsorted(cumulative, rng.random(n_draws)), len(cumulative) - 1)
