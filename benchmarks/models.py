"""The models under one call each: fit to `train`, predict `test`, RMSE without clipping, seconds.

Only `train` reaches a fit. SMURFF and myFM are given what they ask of their user: codes, ratings
with the mean taken out (SMURFF), one-hot rows (myFM). What they leave to their user, `choose` takes
by validation.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse

import bayesmf
from bayesmf.evaluation import rmse
from benchmarks.common import limited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bayesmf import Posterior

SMURFF_NOISES = {
    "adaptive": ("AdaptiveNoise", 1.0, 10.0),
    "sampled": ("SampledNoise", 1.0),
    "fixed 1": ("FixedNoise", 1.0),
    "fixed 1.5": ("FixedNoise", 1.5),
    "fixed 2": ("FixedNoise", 2.0),
}
"""Noise models of SMURFF. Its default, fixed at precision 5, is far from any table of stars."""

MYFM_PRIORS = ("a prior for each side", "one prior for all")
"""Whether myFM is told which columns are users and which are items (`group_shapes`)."""


class Fit(NamedTuple):
    """RMSE on the test ratings, and the wall seconds of the fit."""

    rmse: float
    seconds: float


class Codes(NamedTuple):
    """Codes of users and items over train and test, as the peers need them."""

    shape: tuple[int, int]
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, train: pd.DataFrame, test: pd.DataFrame) -> Codes:
        """Number all ids of both tables."""
        sides = ("user", "item")
        ids = [pd.Index(train[side]).union(test[side]).unique() for side in sides]
        train_codes, test_codes = (
            tuple(known.get_indexer(part[side]) for known, side in zip(ids, sides, strict=True))
            for part in (train, test)
        )
        return cls((len(ids[0]), len(ids[1])), train_codes, test_codes)


def bpmf(
    train: pd.DataFrame, test: pd.DataFrame, *, threads: int, **options: Any
) -> tuple[Fit, Posterior]:
    """Fit ours. Every draw must count in the mean, as it does for the peers: none thinned away."""
    with limited(threads):
        post = bayesmf.fit_bpmf(
            train, cores=threads, memory_budget="2GB", progressbar=False, **options
        )
    if post.data["factors"].sizes["draw"] != post.data["posterior"].sizes["draw"]:
        raise ValueError("the memory budget does not hold all draws")
    means = post.predict(test)["mean"].to_numpy()
    return Fit(rmse(means, test["rating"].to_numpy()), post.fit_seconds), post


def smurff(
    train: pd.DataFrame,
    test: pd.DataFrame,
    *,
    n_factors: int,
    tune: int,
    draws: int,
    threads: int,
    seed: int,
    noise: str,
) -> Fit:
    """SMURFF's BPMF: normal priors, no biases."""
    import smurff as package

    codes = Codes.of(train, test)
    center = train["rating"].mean()

    def matrix(part: pd.DataFrame, cells: tuple[np.ndarray, np.ndarray]) -> scipy.sparse.coo_matrix:
        return scipy.sparse.coo_matrix((part["rating"].to_numpy() - center, cells), codes.shape)

    kind, *precision = SMURFF_NOISES[noise]
    with limited(threads):
        session = package.TrainSession(
            priors=["normal", "normal"],
            num_latent=n_factors,
            burnin=tune,
            nsamples=draws,
            num_threads=threads,
            seed=seed,
            verbose=0,
        )
        held_out = matrix(test, codes.test)
        session.addTrainAndTest(
            matrix(train, codes.train), held_out, getattr(package, kind)(*precision)
        )
        start = time.perf_counter()
        predicted = session.run()
        seconds = time.perf_counter() - start
    means = np.array([cell.pred_avg for cell in predicted])
    truth = np.array([cell.val for cell in predicted])
    if len(means) != len(test):
        raise ValueError(f"SMURFF predicted {len(means)} of {len(test)} test ratings")
    return Fit(rmse(means, truth), seconds)


def myfm(
    train: pd.DataFrame,
    test: pd.DataFrame,
    *,
    n_factors: int,
    tune: int,
    draws: int,
    seed: int,
    prior: str,
) -> Fit:
    """Fit myFM's Bayesian factorization machine with biases; it has one thread."""
    import myfm as package

    codes = Codes.of(train, test)
    n_users, n_items = codes.shape

    def one_hot(cells: tuple[np.ndarray, np.ndarray]) -> scipy.sparse.csr_matrix:
        n = len(cells[0])
        columns = np.column_stack([cells[0], n_users + cells[1]]).ravel()
        starts = np.arange(0, 2 * n + 1, 2)
        return scipy.sparse.csr_matrix(
            (np.ones(2 * n), columns, starts), shape=(n, n_users + n_items)
        )

    with limited(1):
        model = package.MyFMRegressor(rank=n_factors, random_seed=seed)
        rows = one_hot(codes.train)
        start = time.perf_counter()
        model.fit(
            rows,
            train["rating"].to_numpy(),
            n_iter=tune + draws,
            n_kept_samples=draws,
            group_shapes=[n_users, n_items] if prior == MYFM_PRIORS[0] else None,
        )
        seconds = time.perf_counter() - start
        means = model.predict(one_hot(codes.test))
    return Fit(rmse(means, test["rating"].to_numpy()), seconds)


def choose(
    train: pd.DataFrame,
    fit: Callable[[pd.DataFrame, pd.DataFrame, str], Fit],
    variants: Iterable[str],
) -> str:
    """Variant of a peer with the smallest RMSE on a tenth of the training ratings."""
    inner, validation = bayesmf.train_test_split(train, test_size=0.1, random_seed=0)
    tried = {variant: fit(inner, validation, variant).rmse for variant in variants}
    return min(tried, key=tried.__getitem__)
