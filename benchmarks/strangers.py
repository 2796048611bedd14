"""ML-100K: users whom a fit has never seen, by how many of their ratings they give.

What is classically done for them (nothing, others' rows, ridge regression), and Bayesian fold-in.
"""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

import bayesmf
from benchmarks.common import Bar, limited, progress, prose, run, table

if TYPE_CHECKING:
    from bayesmf import FactorEstimate, PointEstimate, Posterior
    from benchmarks.common import Numbers, Settings

    type Models = dict[str, PointEstimate | Posterior]
    type Pulls = dict[tuple[str, str], list[pd.Series]]

TITLE = "ML-100K: strangers, by the ratings that they give"
SETTINGS = {
    "held_out": 0.2,
    "counts": [0, 1, 2, 5, 10, 20],
    "least_test": 20,
    "seeds": [1, 2, 3],
    "fit": {},
    "fold_draws": 200,
    "threads": 2,
}
QUICK = {"seeds": [1], "fit": {"n_factors": 3, "tune": 5, "draws": 10, "chains": 1}}

UNKNOWN, MEAN, NEAREST, NEAR = "unknown user", "mean user", "nearest user", "20 nearest users"
RIDGE, BAYES = "ridge regression", "Bayesian fold-in"
CLASSICAL = (UNKNOWN, MEAN, NEAREST, NEAR, RIDGE)
METHODS = (*CLASSICAL, BAYES)
MOST_APART = 1e-8


class Task(NamedTuple):
    """Ratings of most users; of strangers those in the order given, and those predicted."""

    rest: pd.DataFrame
    given: pd.DataFrame
    test: pd.DataFrame


def measure(settings: Settings) -> Numbers:
    """Scores by method, count and seed; differences in error; two ridge regressions apart."""
    people = bayesmf.load_movielens_users("100k")
    numbers: Numbers = {"scores": {}, "users": [], "cells": [], "penalties": [], "apart": []}
    pulls: Pulls = {}
    with limited(settings["threads"]):
        for seed in settings["seeds"]:
            task = _task(settings, seed)
            common = {"cores": settings["threads"], "random_seed": seed, "progressbar": False}
            als = bayesmf.fit_als(task.rest, **common)
            post = bayesmf.fit_bpmf(task.rest, **settings["fit"], **common)
            progress(f"seed {seed}: fitted in {als.fit_seconds:.0f} and {post.fit_seconds:.0f} s")
            numbers["users"].append(int(task.test["user"].nunique()))
            numbers["cells"].append(len(task.test))
            numbers["penalties"].append([als.reg, als.reg_bias])
            silent = _silent(als, task, described(people, task.rest["user"]))
            for count in settings["counts"]:
                models = silent | {RIDGE: als, BAYES: post}
                if count:
                    some = task.given[task.given.groupby("user").cumcount() < count]
                    folded = als.fold_in(some)
                    numbers["apart"].append(_apart(als, folded, some))
                    draws = settings["fold_draws"]
                    models[RIDGE] = folded
                    models[BAYES] = post.fold_in(some, draws=draws, random_seed=seed)
                _add(numbers["scores"], pulls, models, task.test, str(count))
    numbers["against"] = {
        method: {
            str(count): _against(numbers, pulls, method, str(count)) for count in settings["counts"]
        }
        for method in CLASSICAL
    }
    return numbers


def _task(settings: Settings, seed: int) -> Task:
    """Hold a share of the users out, drawn from those who rated enough for both parts."""
    everything = bayesmf.load_movielens("100k")
    most = max(settings["counts"])
    enough = most + settings["least_test"]
    sizes = everything["user"].value_counts().sort_index()
    n_out = round(settings["held_out"] * len(sizes))
    out = np.random.default_rng(seed).choice(sizes.index[sizes >= enough], n_out, replace=False)
    rest = everything[~everything["user"].isin(out)]
    # What nobody else has rated cannot be folded in, and nobody knows anything of it.
    theirs = everything[everything["user"].isin(out) & everything["item"].isin(rest["item"])]
    theirs = theirs.sample(frac=1, random_state=seed)
    theirs = theirs[theirs.groupby("user")["item"].transform("size") >= enough]
    first = theirs.groupby("user").cumcount() < most
    return Task(rest, theirs[first], theirs[~first])


def described(people: pd.DataFrame, known: pd.Series) -> pd.DataFrame:
    """Attributes as numbers: ages on the scale of those of known users, the rest one-hot."""
    ages = people.loc[people.index.isin(known), "age"]
    one_hot = pd.get_dummies(people[["gender", "occupation"]], dtype=float)
    return one_hot.assign(age=(people["age"] - ages.mean()) / ages.std())


def _silent(als: FactorEstimate, task: Task, attributes: pd.DataFrame) -> Models:
    """What can be said of strangers who give no rating, and says the same when they do."""
    strangers = task.test["user"].unique()
    return {
        UNKNOWN: als,
        MEAN: als.borrow(strangers),
        NEAREST: als.borrow(strangers, attributes=attributes),
        NEAR: als.borrow(strangers, attributes=attributes, n_nearest=20),
    }


def _apart(als: FactorEstimate, folded: FactorEstimate, some: pd.DataFrame) -> float:
    """Largest distance of a factor or bias from that of scikit-learn's ridge regression.

    It has one penalty: the bias is a column whose size makes its penalty that of a factor.
    """
    from sklearn.linear_model import Ridge

    items, size = als.rows_of("item"), np.sqrt(als.reg / als.reg_bias)
    worst = 0.0
    for user, own in some.groupby("user"):
        rows = items[als.ratings.item_ids.get_indexer(own["item"])]
        x = np.column_stack([rows[:, :-1], np.full(len(own), size)])
        y = own["rating"].to_numpy() - als.center - rows[:, -1]
        found = Ridge(alpha=als.reg, fit_intercept=False, solver="cholesky").fit(x, y).coef_
        found[-1] *= size
        mine = folded.rows_of("user")[folded.ratings.user_ids.get_loc(user)]
        worst = max(worst, float(np.abs(found - mine).max()))
    return worst


def _add(scores: Numbers, pulls: Pulls, models: Models, test: pd.DataFrame, count: str) -> None:
    """Put the scores of one seed and count with the others."""
    found = bayesmf.compare(models, test)
    for method, row in found.table.iterrows():
        kept = scores.setdefault(method, {}).setdefault(count, {})
        for name in ("RMSE", "coverage_90", "width_90"):
            kept.setdefault(name, []).append(float(row[name]))
        squares = (found.cells[method, "mean"].to_numpy() - test["rating"].to_numpy()) ** 2
        pulls.setdefault((str(method), count), []).append(_pull(squares, test["user"]))
    progress(f"{count} given:", found.table["RMSE"].round(4).to_dict())


def _pull(squares: np.ndarray, users: pd.Series) -> pd.Series:
    """By how much each user moves the RMSE, to first order; this adds up to zero."""
    mean = squares.mean()
    moved = (squares - mean) / (2 * np.sqrt(mean) * len(squares))
    return pd.Series(moved, index=users.index).groupby(users).sum()


def _against(numbers: Numbers, pulls: Pulls, method: str, count: str) -> dict[str, float]:
    """By how much a method's RMSE is above the Bayesian one's, mean over seeds, with its error.

    The standard error is over users; one whom two seeds hold out counts once, with both.
    """
    pairs = zip(pulls[method, count], pulls[BAYES, count], strict=True)
    apart = [mine - theirs for mine, theirs in pairs]
    by_user = pd.concat(apart).groupby(level=0).sum() / len(apart)
    n = len(by_user)
    return {
        "difference": _mean(numbers, method, count) - _mean(numbers, BAYES, count),
        "error": float(np.sqrt((by_user**2).sum() * n / (n - 1))),
    }


def _mean(numbers: Numbers, method: str, count: str, what: str = "RMSE") -> float:
    return fmean(numbers["scores"][method][count][what])


def _best(numbers: Numbers, count: str) -> str:
    """Return the classical method with the lowest error."""
    return min(CLASSICAL, key=lambda method: _mean(numbers, method, count))


def bars(numbers: Numbers) -> list[Bar]:
    """Two ridge regressions agree, and the Bayesian fold-in is no worse at any count."""
    apart = max(numbers["apart"])
    line = "ridge regression: largest distance of a factor or bias from scikit-learn's"
    found = [Bar(line, f"≤ {MOST_APART:g}", f"{apart:.1g}", apart <= MOST_APART)]
    for count in numbers["scores"][BAYES]:
        best, bayes = _best(numbers, count), _mean(numbers, BAYES, count)
        least = _mean(numbers, best, count)
        what = f"RMSE of strangers, Bayesian fold-in, {count} rating{'s' * (count != '1')} given"
        found.append(Bar(what, f"≤ {least:.4f} ({best})", f"{bayes:.4f}", bayes <= least))
    return found


def text(numbers: Numbers, settings: Settings) -> str:
    """Errors with their paired differences, what wins, and intervals."""
    counts = list(numbers["scores"][BAYES])
    users, cells = numbers["users"], numbers["cells"]
    penalties = "; ".join(f"{reg:.3g} and {bias:.3g}" for reg, bias in numbers["penalties"])
    protocol = f"""{settings["held_out"]:.0%} of the users are held out with all their ratings,
        drawn from those with at least {max(settings["counts"]) + settings["least_test"]};
        {len(settings["seeds"])} seeds, which split anew. ALS (K = 10, penalties of factors and
        biases chosen on a part of the others' ratings: {penalties}) and BPMF, with their defaults,
        are fitted to the others. Each stranger ({", ".join(map(str, users))} of them) gives some
        ratings in random order; all beyond the first {max(settings["counts"])} are predicted, the
        same cells for every count ({", ".join(f"{n:,}" for n in cells)}). *Unknown user* has
        neither factors nor a bias; *mean user* is the mean row of all users; *nearest* are those
        of greatest cosine in age (standardised), gender and occupation (one-hot); *ridge
        regression* is `FactorEstimate.fold_in`, the *Bayesian fold-in* `Posterior.fold_in` with
        {settings["fold_draws"]} draws. RMSE, mean over seeds; in brackets how far it is above that
        of the Bayesian fold-in, with the standard error of this paired difference over users."""
    intervals = """Share of the test ratings in predictive 90% intervals, and the mean width of
        these. Those of ALS are Gaussian with one sd for all: its error on held-out ratings of users
        whom it knows. Those of the Bayesian fold-in are of each cell."""
    return "\n\n".join(
        (
            prose(protocol),
            table(
                ["RMSE by ratings given", *counts],
                [[name, *(_error(numbers, name, count) for count in counts)] for name in METHODS],
            ),
            _verdict(numbers, counts),
            prose(
                """On the right ridge regression's differences with 95% intervals. ![Error on
                ratings of strangers by how many they have given](images/strangers.png)"""
            ),
            prose(intervals),
            table(
                ["90% intervals by ratings given", *counts],
                [
                    [name, *(_interval(numbers, name, count) for count in counts)]
                    for name in METHODS
                ],
            ),
        )
    )


def _error(numbers: Numbers, method: str, count: str) -> str:
    mean = f"{_mean(numbers, method, count):.4f}"
    if method == BAYES:
        return mean
    found = numbers["against"][method][count]
    return f"{mean} ({found['difference']:+.4f} ± {found['error']:.4f})"


def _interval(numbers: Numbers, method: str, count: str) -> str:
    inside, width = (_mean(numbers, method, count, name) for name in ("coverage_90", "width_90"))
    return f"{inside:.1%}, {width:.2f}"


def _verdict(numbers: Numbers, counts: list[str]) -> str:
    """Say what has the lowest error at each count, and by how much."""
    said = []
    for count in counts:
        best = _best(numbers, count)
        found = numbers["against"][best][count]
        first, second = (BAYES, best) if found["difference"] > 0 else (best, BAYES)
        sure = abs(found["difference"]) / found["error"]
        said.append(f"{count}: {first}, before {second} by {sure:.1f} standard errors")
    return prose(f"The lowest error by ratings given: {'; '.join(said)}.")


if __name__ == "__main__":
    run("strangers")
