"""The whole ladder on the same ratings: what each rung buys, and what it costs."""

from __future__ import annotations

import math
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np

import bayesmf
from bayesmf.evaluation import mae, rmse
from benchmarks.common import Bar, Points, at_most, limited, median, progress, prose, run, table
from benchmarks.rungs import RUNGS, Peer

if TYPE_CHECKING:
    import pandas as pd

    from benchmarks.common import Numbers, Settings
    from benchmarks.rungs import Rung

TITLE = "The ladder: from a mean to a network"
SETTINGS = {
    "folds": [1, 2, 3, 4, 5],
    "large": True,
    "seed": 1,
    "threads": 2,
    "left_out": {"100k": [], "1m": []},
    "resume": True,
}
QUICK = {"folds": [1], "large": False, "resume": False}

ASKED = {
    "biases": 0.956,
    "ALS, biases": 0.930,
    "SGD, biases": 0.932,
    "PMF by MAP, biases": 0.930,
    "embeddings": 0.94,
    "residual network": 0.94,
    "AutoRec of items": 0.93,
    "Bayesian MF": 0.907,
}
"""RMSE on u1."""


def measure(settings: Settings) -> Numbers:
    """Each rung on each fold of ML-100K, then on ML-1M."""
    points = Points("ladder", settings)
    numbers: Numbers = {"100k": {}, "1m": {}}
    for fold in settings["folds"]:
        train, test = bayesmf.load_movielens("100k", fold=fold)
        for rung in RUNGS:
            if rung.name not in settings["left_out"]["100k"]:
                found = points.get(
                    f"u{fold} {rung.name}",
                    lambda r=rung, a=train, b=test: _climb(r, a, b, settings),
                )
                numbers["100k"].setdefault(rung.name, {})[str(fold)] = found
    if settings["large"]:
        ratings = bayesmf.load_movielens("1m")
        train, test = bayesmf.train_test_split(ratings, test_size=0.1, random_seed=settings["seed"])
        for rung in RUNGS:
            if rung.name not in settings["left_out"]["1m"]:
                numbers["1m"][rung.name] = points.get(
                    f"1m {rung.name}", lambda r=rung, a=train, b=test: _climb(r, a, b, settings)
                )
    points.clear()
    return numbers


def _climb(rung: Rung, train: pd.DataFrame, test: pd.DataFrame, settings: Settings) -> Numbers:
    """Errors of the candidate with the least validation error."""
    common: dict[str, Any] = {"random_seed": settings["seed"]}
    if not rung.name.startswith("Surprise"):
        common["progressbar"] = False
    if rung.threads:
        common["cores"] = settings["threads"]
    with limited(settings["threads"], blas=settings["threads"]):
        fits = [rung.fit(train, **options, **common) for options in rung.candidates]
    # A posterior is not chosen among others: it has no validation part.
    sigmas = [getattr(fit, "sigma", math.nan) for fit in fits]
    best = int(np.argmin(sigmas)) if len(fits) > 1 else 0
    fit, options = fits[best], rung.candidates[best]
    found = {
        "options": options,
        "validation": sigmas[best],
        "seconds": fit.fit_seconds,
        "all_seconds": sum(one.fit_seconds for one in fits),
        "parameters": _parameters(fit),
        "protocol": "" if isinstance(fit, Peer) else fit.protocol(),
    }
    truth = test["rating"].to_numpy()
    if isinstance(fit, Peer):
        means = fit.predict(test)
        found |= {"rmse": rmse(means, truth), "mae": mae(means, truth)}
    else:
        judged = bayesmf.compare({"it": fit}, test)
        row = judged.table.loc["it"]
        names = {"rmse": "RMSE", "mae": "MAE", "log_score": "log_score", "inside": "coverage_90"}
        found |= {ours: float(row[theirs]) for ours, theirs in names.items()}
        means = judged.cells[("it", "mean")].to_numpy()
    squares = (means - truth) ** 2
    found["rmse_se"] = float(squares.std() / (2 * found["rmse"] * math.sqrt(len(truth))))
    progress(rung.name, options, f"{found['rmse']:.4f} in {found['seconds']:.1f} s")
    return found


def _parameters(fit: Any) -> int:
    if hasattr(fit, "n_parameters"):
        return int(fit.n_parameters)
    rows = fit.ratings.n_users + fit.ratings.n_items
    d = fit.model.n_coordinates
    return int(rows * d + 2 * (d + d * (d + 1) // 2) + 1)


def bars(numbers: Numbers) -> list[Bar]:
    """RMSE on u1, AutoRec on ML-1M within ten minutes."""
    found = [
        at_most(f"RMSE on u1, {name}", limit, numbers["100k"][name]["1"]["rmse"], 4)
        for name, limit in ASKED.items()
    ]
    large = numbers["1m"].get("AutoRec of items")
    if large is not None:
        found.append(at_most("RMSE on ML-1M, AutoRec of items", 0.850, large["rmse"], 4))
        minutes = large["seconds"] / 60
        found.append(at_most("its fit on two cores", 10, minutes, 1, " min"))
    return found


def _pm(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{fmean(values):.4f} ± {stdev(values) / math.sqrt(len(values)):.4f}"


def text(numbers: Numbers, settings: Settings) -> str:
    """A table of each data set, and what was chosen."""
    small = table(
        ["ML-100K", "RMSE u1", "RMSE, five folds", "MAE", "log score", "90% covers", "fit, s",
         "parameters"],
        [
            [
                name,
                f"{by_fold['1']['rmse']:.4f}",
                _pm([one["rmse"] for one in by_fold.values()]),
                _mean(by_fold, "mae", 4),
                _mean(by_fold, "log_score", 4),
                _mean(by_fold, "inside", 3),
                f"{median([one['seconds'] for one in by_fold.values()]):.1f}",
                f"{by_fold['1']['parameters']:,}",
            ]
            for name, by_fold in numbers["100k"].items()
        ],
    )  # fmt: skip
    large = table(
        ["ML-1M, 90/10", "RMSE", "MAE", "log score", "90% covers", "fit, s", "parameters"],
        [
            [
                name,
                f"{one['rmse']:.4f} ± {one['rmse_se']:.4f}",
                *(_mean({"": one}, what, digits) for what, digits in
                  (("mae", 4), ("log_score", 4), ("inside", 3), ("seconds", 1))),
                f"{one['parameters']:,}",
            ]
            for name, one in numbers["1m"].items()
        ],
    )  # fmt: skip
    protocol = f"""Seed {settings["seed"]}, {settings["threads"]} threads, means not clipped. What
        a rung leaves open is chosen by its error on a random tenth of the training ratings, the
        same for all; then it is fitted to all of them. The time is that of the fit that was chosen,
        its own search for penalties or epochs included; of five folds the median. Log scores and
        intervals of point estimates are Gaussian, with the validation error as their sd. ± is one
        standard error: over the folds of ML-100K, over the test ratings of ML-1M. The settings of
        the networks are their defaults, which were found on a validation part of u1's training
        ratings; a fold's training part holds other folds' test ratings, and so these have been
        seen, if only by the defaults. {_left_out(settings)}"""
    chosen = [
        f"- {name}: " + "; ".join(
            f"{where} {_said(one)}"
            for where, one in [
                ("u1", numbers["100k"].get(name, {}).get("1")), ("ML-1M", numbers["1m"].get(name)),
            ]
            if one is not None
        )
        for name in numbers["100k"]
    ]  # fmt: skip
    picture = "![Error against the time of the fit](images/ladder.png)"
    return "\n\n".join(
        [prose(protocol), small, large, picture, "What was chosen:", "\n".join(chosen)]
    )


def _mean(by_fold: Numbers, what: str, digits: int) -> str:
    values = [one[what] for one in by_fold.values() if what in one]
    return f"{fmean(values):.{digits}f}" if values else ""


def _left_out(settings: Settings) -> str:
    missing = settings["left_out"]["1m"]
    if not missing:
        return ""
    why = "its search for penalties takes tens of fits by PyMC"
    return f"Not fitted to ML-1M: {', '.join(missing)}, since {why}."


def _said(one: Numbers) -> str:
    if one["protocol"]:
        return str(one["protocol"]).rstrip(".")
    options = ", ".join(f"{name}={value}" for name, value in one["options"].items())
    return options or "its defaults"


if __name__ == "__main__":
    run("ladder")
