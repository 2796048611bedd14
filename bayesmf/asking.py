"""Which rating would tell most about a user: variance that an answer takes away, in closed form.

Given the items and the hyperparameters of a draw, a user's row theta = (u, b) is Gaussian. With
x_j = (v_j, 1), the precision of the noise alpha and the rated items R its covariance is

    C = (Lambda + alpha sum_R x_j x_j')^-1

whatever the ratings are: a linear model's variance depends on what was asked, not on the answer
(Chaloner & Verdinelli 1995, Bayesian experimental design). A rating of item j takes C to
C - C x_j x_j' C alpha / (1 + alpha x_j' C x_j), and with it from the variances x' C x of the
expected ratings of the items T in question, summed up,

    x_j' C M C x_j alpha / (1 + alpha x_j' C x_j),      M = sum_T x_k x_k'

This is averaged over draws. What the answer would tell of the items themselves is left out: it is
one rating among all that others have given.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from bayesmf.indexing import chunks

if TYPE_CHECKING:
    from collections.abc import Callable

    from bayesmf.draws.reading import KeptDraws

LAID_BYTES = 4_000_000
"""Bytes of items' rows that one thread works on at a time."""


class Questions(NamedTuple):
    """Items to ask, best first, and the variance that each answer is expected to take away.

    Attributes
    ----------
    items : ndarray
        Codes (n,).
    reductions : ndarray
        Summed over the items in question, mean over draws (n,).
    """

    items: np.ndarray
    reductions: np.ndarray


def best_questions(
    draws: KeptDraws,
    rated: np.ndarray,
    candidates: np.ndarray,
    about: np.ndarray,
    n: int,
    *,
    together: bool,
    cores: int,
) -> Questions:
    """Choose n of the candidates (codes) for a user who has rated some items.

    `together` chooses each given that those before it are answered; its reduction is what it adds.
    """
    covariance = row_covariances(draws, rated, cores=cores)
    if not together:
        found = reductions(draws, covariance, candidates, about, cores=cores)
        order = np.argsort(-found, kind="stable")[:n]
        return Questions(candidates[order], found[order])
    chosen: list[int] = []
    gained: list[float] = []
    left = np.ones(len(candidates), dtype=bool)
    for _ in range(min(n, len(candidates))):
        found = reductions(draws, covariance, candidates, about, cores=cores)
        best = int(np.where(left, found, -np.inf).argmax())
        left[best] = False
        chosen.append(best)
        gained.append(float(found[best]))
        answer(draws, covariance, candidates[best], cores=cores)
    return Questions(candidates[np.array(chosen, dtype=np.intp)], np.array(gained))


def row_covariances(draws: KeptDraws, rated: np.ndarray, *, cores: int) -> np.ndarray:
    """Covariance of the user's row in each draw (n_draws, D, D), given the rated items."""
    # A copy: what is read of draws in memory is theirs.
    precision = draws.hyper("user")[1].copy()
    alpha = 1 / draws.noise_sd**2

    def condition(part: slice, x: np.ndarray) -> None:
        precision[part] += alpha[part, None, None] * (x.transpose(0, 2, 1) @ x)

    if len(rated):
        _over_rows(draws, rated, condition, cores)
    covariance: np.ndarray = np.linalg.inv(precision)
    return covariance


def answer(draws: KeptDraws, covariance: np.ndarray, item: int, *, cores: int) -> None:
    """Change covariances (n_draws, D, D) to those after a rating of one item (code)."""
    alpha = 1 / draws.noise_sd**2

    def condition(part: slice, x: np.ndarray) -> None:
        shared = np.einsum("sde,sne->sd", covariance[part], x)
        weight = alpha[part] / (1 + alpha[part] * np.einsum("sd,snd->s", shared, x))
        covariance[part] -= np.einsum("s,sd,se->sde", weight, shared, shared)

    _over_rows(draws, np.array([item]), condition, cores)


def reductions(
    draws: KeptDraws,
    covariance: np.ndarray,
    candidates: np.ndarray,
    about: np.ndarray,
    *,
    cores: int,
) -> np.ndarray:
    """Variance that each candidate's rating takes away (n_candidates,), mean over draws."""
    items = np.union1d(candidates, about)
    asked, target = np.searchsorted(items, candidates), np.searchsorted(items, about)
    alpha = 1 / draws.noise_sd**2

    def gain(part: slice, x: np.ndarray) -> np.ndarray:
        own, partners = x[:, asked], x[:, target]
        shared = own @ covariance[part]
        variances = np.einsum("snd,snd->sn", shared, own)
        scatter = partners.transpose(0, 2, 1) @ partners
        removed = np.einsum("snd,snd->sn", shared @ scatter, shared)
        weight = alpha[part, None]
        total: np.ndarray = (removed * weight / (1 + weight * variances)).sum(axis=0)
        return total

    total = np.zeros(len(candidates))
    for found in _over_rows(draws, items, gain, cores):
        total += found
    return total / draws.n_draws


def _over_rows[R](
    draws: KeptDraws, items: np.ndarray, function: Callable[[slice, np.ndarray], R], cores: int
) -> list[R]:
    """Call `function(draws, x)` with rows x = (v, 1) (n_draws, n_items, D), results in order."""
    k, d = draws.n_factors, draws.n_factors + draws.has_bias
    at_once = max(1, LAID_BYTES // (8 * len(items) * d))
    found: list[R] = []
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(cores) as pool:
        for block in draws.blocks(items[:0], items):

            def one(
                part: slice,
                first: int = block.draws.start,
                factors: np.ndarray = block.item_factors,
                at: np.ndarray = block.items,
            ) -> R:
                x = np.ones((len(factors[part]), len(at), d))
                x[:, :, :k] = factors[part][:, at]
                return function(slice(first + part.start, first + part.stop), x)

            found += pool.map(one, chunks(len(block.item_factors), at_once))
    return found
