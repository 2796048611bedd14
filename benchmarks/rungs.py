"""The rungs of the ladder: every system that the field is taught with, and how each is chosen.

A rung is fitted with each of its candidates; the one with the least error on a validation part of
the training ratings (the same part for all) is the one that is judged.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import bayesmf
from bayesmf.point.held_out import hold_out

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd


class Rung(NamedTuple):
    """One system.

    Attributes
    ----------
    name : str
    fit : callable
        Of training ratings and options; gives a result, or a `Peer`.
    candidates : tuple of dict
        Options to choose among.
    threads : bool
        Whether `fit` takes `cores`.
    """

    name: str
    fit: Callable[..., Any]
    candidates: tuple[dict[str, Any], ...] = ({},)
    threads: bool = True


class Peer(NamedTuple):
    """What another package has fitted."""

    predict: Callable[[pd.DataFrame], np.ndarray]
    sigma: float
    fit_seconds: float
    n_parameters: int


def _ranks(*ranks: int, **more: Any) -> tuple[dict[str, Any], ...]:
    return tuple({"n_factors": rank} | more for rank in ranks)


def surprise_svd(train: pd.DataFrame, *, random_seed: int, **options: Any) -> Peer:
    """Funk's descent as Surprise has it: `SVD`, biases included."""
    import surprise

    def fit(part: pd.DataFrame) -> Callable[[pd.DataFrame], np.ndarray]:
        reader = surprise.Reader(rating_scale=(part["rating"].min(), part["rating"].max()))
        table = surprise.Dataset.load_from_df(part[["user", "item", "rating"]], reader)
        model = surprise.SVD(random_state=random_seed, **options)
        model.fit(table.build_full_trainset())

        def predict(cells: pd.DataFrame) -> np.ndarray:
            pairs = zip(cells["user"].tolist(), cells["item"].tolist(), strict=True)
            return np.array([model.predict(u, i, clip=False).est for u, i in pairs])

        return predict

    held = hold_out(bayesmf.Ratings(train), 0.1, random_seed)
    inside = held.train.to_frame()
    outside = train.merge(inside[["user", "item"]], how="left", indicator=True)
    outside = outside[outside["_merge"] == "left_only"]
    means = fit(inside)(outside)
    sigma = float(np.sqrt(np.mean((means - outside["rating"].to_numpy()) ** 2)))
    start = time.perf_counter()
    predict = fit(train)
    seconds = time.perf_counter() - start
    rows = train["user"].nunique() + train["item"].nunique()
    return Peer(predict, sigma, seconds, rows * (options.get("n_factors", 100) + 1) + 1)


RUNGS = (
    Rung("mean of all", bayesmf.fit_mean, threads=False),
    Rung("mean of the user", bayesmf.fit_mean, ({"by": "user", "shrinkage": "auto"},), False),
    Rung("mean of the item", bayesmf.fit_mean, ({"by": "item", "shrinkage": "auto"},), False),
    Rung("biases", bayesmf.fit_bias),
    Rung("nearest users", bayesmf.fit_neighbors, ({"by": "user", "shrinkage": "auto"},)),
    Rung("nearest items", bayesmf.fit_neighbors, ({"by": "item", "shrinkage": "auto"},)),
    Rung("SVD of zeros filled in", bayesmf.fit_svd, _ranks(2, 5, 10, fill="zero"), False),
    Rung("SVD of biases filled in", bayesmf.fit_svd, _ranks(2, 5, 10, fill="bias"), False),
    Rung("SVD, filled again", bayesmf.fit_svd, _ranks(2, 5, 10, max_iter=50), False),
    Rung("NMF", bayesmf.fit_nmf, _ranks(5, 10)),
    Rung("ALS", bayesmf.fit_als, _ranks(2, 5, 10, biases=False)),
    Rung("ALS, biases", bayesmf.fit_als, _ranks(5, 10, 20)),
    Rung("SGD, biases", bayesmf.fit_sgd, _ranks(5, 10, 20)),
    Rung("PMF by MAP", bayesmf.fit_pmf, _ranks(5, 10, biases=False, n_starts=1)),
    Rung("PMF by MAP, biases", bayesmf.fit_pmf, _ranks(10, n_starts=1)),
    Rung("PMF, logistic link", bayesmf.fit_pmf, _ranks(10, link="logistic", n_starts=1)),
    Rung("embeddings", bayesmf.neural.fit_neural_mf, ({"kind": "dot"},), False),
    Rung("deep network", bayesmf.neural.fit_neural_mf, ({"kind": "deep"},), False),
    Rung("residual network", bayesmf.neural.fit_neural_mf, ({"kind": "residual"},), False),
    Rung("AutoRec of users", bayesmf.neural.fit_autorec, ({"by": "user"},), False),
    Rung("AutoRec of items", bayesmf.neural.fit_autorec, ({"by": "item"},), False),
    Rung("Bayesian MF", bayesmf.fit_bpmf, _ranks(10)),
    Rung(
        "Surprise's SVD",
        surprise_svd,
        ({}, {"n_factors": 20, "n_epochs": 40, "reg_all": 0.05}),
        False,
    ),
)
"""From the ground up."""
