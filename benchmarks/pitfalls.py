"""Lessons in judging: a figure that leaks, what is done to predictions, and thumbs for stars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import bayesmf
from bayesmf.evaluation import mae, rmse
from benchmarks.common import progress, prose, table
from benchmarks.descents import als_of, rmse_of

if TYPE_CHECKING:
    import pandas as pd

    from benchmarks.common import Numbers, Settings

TAUGHT_PENALTY = 0.0002
"""In a taught notebook, beside the mean squared error."""
LINKS = ("identity", "logistic")
KINDS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "clipped": {"clip": True},
    "clipped, rounded": {"clip": True, "round_to": 1},
}
EDGE = 0.01
"""What a linear model of thumbs expects is no probability: it is kept so far from 0 and 1."""


def leak(settings: Settings) -> list[Numbers]:
    """MSE on training and validation ratings, trained without the latter and with them."""
    films = bayesmf.load_movielens("latest-small")
    train, validation = bayesmf.train_test_split(films, test_size=0.2, random_seed=settings["seed"])
    found: list[Numbers] = []

    def fit(data: pd.DataFrame, by: str, **more: Any) -> bayesmf.FactorEstimate:
        if by == "ALS":
            return als_of(data, settings, **more)
        return bayesmf.fit_sgd(
            data, max_epochs=settings["leak"]["epochs"], patience=None, progressbar=False,
            cores=settings["threads"], random_seed=settings["seed"], **more,
        )  # fmt: skip

    def both(by: str, penalty: str, honest: Any, leaky: Any, **model: Any) -> None:
        found.append(
            {
                "rank": model["n_factors"],
                "biases": model["biases"],
                "by": by,
                "penalty": penalty,
                "train": rmse_of(honest, train) ** 2,
                "honest": rmse_of(honest, validation) ** 2,
                "leaky": rmse_of(leaky, validation) ** 2,
            }
        )
        progress(found[-1])

    for rank in settings["leak"]["ranks"]:
        for biases in (True, False):
            model = {"n_factors": rank, "biases": biases}
            ways = ["ALS", "SGD"] if biases and rank in settings["leak"]["descents"] else ["ALS"]
            for by in ways:
                # The penalty of a sum of squares, where the course's is that of their mean.
                fits = [
                    fit(data, by, **model, **_penalties(TAUGHT_PENALTY * len(data)))
                    for data in (train, films)
                ]
                both(by, "taught", *fits, **model)
            tuned = fit(train, "ALS", **model)
            chosen = {"reg": tuned.reg, "reg_bias": tuned.reg_bias}
            both("ALS", "chosen", tuned, fit(films, "ALS", **model, **chosen), **model)
    return found


def _penalties(value: float) -> dict[str, float]:
    return {"reg": value, "reg_bias": value}


def links(train: pd.DataFrame, test: pd.DataFrame, settings: Settings) -> Numbers:
    """RMSE and MAE by link and what is done to predictions afterwards."""
    found: Numbers = {}
    for link in LINKS:
        pmf = _pmf(train, settings, link=link)
        found[link] = {}
        for kind, given in KINDS.items():
            means = pmf.predict(test, **given)["mean"]
            found[link][kind] = {
                "RMSE": rmse(means, test["rating"]),
                "MAE": mae(means, test["rating"]),
            }
        progress(link, found[link])
    return found


def _pmf(train: pd.DataFrame, settings: Settings, **more: Any) -> bayesmf.MapEstimate:
    given = {"n_factors": settings["rank"]} | settings["pmf"] | more
    return bayesmf.fit_pmf(
        train, cores=settings["threads"], random_seed=settings["seed"], progressbar=False, **given
    )


def thumbs(train: pd.DataFrame, test: pd.DataFrame, settings: Settings) -> Numbers:
    """Scores of the probabilities that a rating is four stars or more."""
    up = [data.assign(rating=(data["rating"] >= 4).astype(float)) for data in (train, test)]
    share = float(up[0]["rating"].mean())
    bias = bayesmf.fit_bias(
        up[0], cores=settings["threads"], random_seed=settings["seed"], progressbar=False
    )
    stars, post = (
        bayesmf.fit_bpmf(
            data, n_factors=settings["rank"], cores=settings["threads"], progressbar=False,
            random_seed=settings["seed"], **settings["bpmf"],
        )
        for data in (train, up[0])
    )  # fmt: skip
    above = stars.over_mixtures(
        stars.ratings.pairs(test, "test", "taught"),
        lambda cells, mixture: 1 - mixture.cdf(np.full(cells.stop - cells.start, 3.5)),
        limit=settings["bpmf"]["draws"],
    )
    probabilities = {
        "the share of thumbs up": np.full(len(test), share),
        "biases, least squares": bias.predict(test, clip=(EDGE, 1 - EDGE))["mean"],
        "biases, logistic": _pmf(up[0], settings, link="logistic", n_factors=0).predict(test)[
            "mean"
        ],
        "PMF, logistic": _pmf(up[0], settings, link="logistic").predict(test)["mean"],
        "BPMF of the thumbs": post.predict(test, clip=(EDGE, 1 - EDGE), prob=None)["mean"],
        "BPMF of the stars": np.concatenate(above),
    }
    found = {
        name: _scores(up[1]["rating"].to_numpy(), np.asarray(chances))
        for name, chances in probabilities.items()
    }
    progress(found)
    return found


def _scores(up: np.ndarray, chances: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score

    return {
        "accuracy": float(accuracy_score(up, chances >= 0.5)),
        "AUC": float(roc_auc_score(up, chances)),
        "log loss": float(log_loss(up, chances)),
        "Brier score": float(brier_score_loss(up, chances)),
    }


def leak_text(numbers: Numbers, settings: Settings) -> str:
    protocol = f"""**A figure that leaks.** ml-latest-small, 80/20. *Honest*: trained on the 80%,
        MSE on the 20%. *Leaky*: trained on all ratings, with the 20% among them, MSE on the 20%. A
        taught notebook prints about 0.60 as a validation MSE. Its penalty is
        {TAUGHT_PENALTY} beside the *mean* squared error, so {TAUGHT_PENALTY} N beside their sum,
        which is our loss. *Chosen*: the penalties that `fit_als` chooses on a tenth of the 80%. SGD
        takes {settings["leak"]["epochs"]} epochs."""
    rows = [
        [
            f"{row['rank']}",
            "yes" if row["biases"] else "no",
            row["penalty"],
            row["by"],
            *(f"{row[name]:.3f}" for name in ("train", "honest", "leaky")),
        ]
        for row in numbers["leak"]
    ]
    header = ["K", "biases", "penalty", "by", "training MSE", "honest", "leaky"]
    return "\n\n".join((prose(protocol), table(header, rows)))


def links_text(numbers: Numbers, settings: Settings) -> str:
    protocol = f"""**Links.** PMF by MAP on ML-100K u1, K = {settings["rank"]}, with biases: the
        expected rating as it is, clipped to the range of the ratings, and clipped and rounded to
        whole stars."""
    rows = [
        [link, *(f"{found[kind][score]:.4f}" for score in ("RMSE", "MAE") for kind in KINDS)]
        for link, found in numbers["links"].items()
    ]
    header = ["link", *(f"{score}, {kind}" for score in ("RMSE", "MAE") for kind in KINDS)]
    return "\n\n".join((prose(protocol), table(header, rows)))


def thumbs_text(numbers: Numbers, settings: Settings) -> str:
    bpmf = settings["bpmf"]
    protocol = f"""**Thumbs.** ML-100K u1, four stars or more as 1, the others as 0; scores of
        probabilities on the test ratings. All but the last see thumbs alone; BPMF of the stars
        gives P(rating ≥ 3.5). BPMF: one chain of {bpmf["tune"]} + {bpmf["draws"]}. Biases by least
        squares and BPMF of the thumbs, whose means may lie outside, are clipped to {EDGE:g} and
        {1 - EDGE:g}."""
    scores = list(next(iter(numbers["thumbs"].values())))
    rows = [
        [name, *(f"{found[score]:.4f}" for score in scores)]
        for name, found in numbers["thumbs"].items()
    ]
    return "\n\n".join((prose(protocol), table(["", *scores], rows)))
