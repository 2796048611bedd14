"""Fold-in: users a second on ML-1M; on ML-100K against a refit; what ratings add; first lists."""

from __future__ import annotations

import gc
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

import bayesmf
from bayesmf.diagnostics.fold_weights import log_weights
from bayesmf.evaluation import rmse
from benchmarks.common import (
    Bar,
    at_most,
    figure_file,
    limited,
    median,
    progress,
    prose,
    run,
    shown,
    table,
)
from benchmarks.fits import movielens_1m, one_chain

if TYPE_CHECKING:
    from collections.abc import Callable

    from bayesmf import Posterior
    from benchmarks.common import Numbers, Settings

TITLE = "Fold-in: new users without a refit"
SETTINGS = {
    "speed": {"rank": 32, "tune": 20, "draws": 200, "few": 20, "repeats": 7},
    "accuracy": {"n_factors": 10, "tune": 500, "draws": 1000, "chains": 2, "memory_budget": "2GB"},
    "held_out": 0.15,
    "seeds": [1, 2, 3],
    "fold_draws": 200,
    "counts": [0, 1, 2, 5, 10, 20, 40],
    "cells": 200,
    "n": 10,
    "weights": {"tune": 200, "draws": 3000, "chains": 2},
    "threads": 2,
    "figure": True,
}
QUICK = {
    "speed": {"rank": 8, "tune": 1, "draws": 10, "few": 5, "repeats": 2},
    "accuracy": {"n_factors": 3, "tune": 10, "draws": 30, "chains": 1, "memory_budget": "2GB"},
    "seeds": [1],
    "fold_draws": 30,
    "weights": {"tune": 10, "draws": 100, "chains": 1},
    "figure": False,
}
IMAGE = Path(__file__).parent.parent / "docs" / "images" / "fold-in.png"
LEAST_USERS = 1000.0
MOST_WORSE = 0.5
NEW = 1_000_000
"""Added to the ids of users, so that they are new."""

BY_COUNT = {"up to 20": (1, 20), "21 to 50": (21, 50), "51 to 100": (51, 100), "more": (101, 10**9)}
"""Ratings folded in, by which it is counted how often a refit is asked for."""

FIRST_USERS = {"ten children's films": "Children's", "ten dramas": "Drama"}

ORDERS: dict[str, Callable[[Posterior, int, int], pd.DataFrame]] = {
    "mean": lambda folded, user, n: folded.recommend(user, n=n, prob=None),
    "affinity": lambda folded, user, n: folded.recommend(user, n=n, strategy="affinity", prob=None),
}
"""How a first list is ordered; another order of `recommend` enters by a line here."""

SAID = {
    "mean": "what is well liked by all comes first, whoever asks",
    "affinity": "taste alone, without what all like",
}


class Task(NamedTuple):
    """Ratings of most users; of the others what is folded in, and what is predicted."""

    rest: pd.DataFrame
    known: pd.DataFrame
    test: pd.DataFrame


def measure(settings: Settings) -> Numbers:
    """Users a second; errors and intervals by seed; widths by count; lists; weights."""
    threads = settings["threads"]
    with limited(threads):
        numbers: Numbers = {"speed": _speed(settings["speed"], threads)}
        numbers["accuracy"] = {}
        for seed in settings["seeds"]:
            task = _task(settings["held_out"], seed)
            found, rest = _accuracy(task, settings, seed)
            for model, scores in found.items():
                kept = numbers["accuracy"].setdefault(model, {name: [] for name in scores})
                for name, value in scores.items():
                    kept[name].append(value)
            progress(f"seed {seed}:", {name: round(one["rmse"], 4) for name, one in found.items()})
            if seed == settings["seeds"][0]:
                numbers["widths"] = _widths(task, rest, settings)
                numbers["lists"] = _first_lists(rest, settings)
                if settings["figure"]:
                    _draw(task, rest)
            del rest
            gc.collect()
        numbers["weights"] = _weights(settings)
    return numbers


def _speed(settings: Settings, threads: int) -> Numbers:
    """Users a second, and what one user takes."""
    ratings = movielens_1m()
    post = one_chain(ratings, settings | {"threads": threads}, memory_budget="2GB")
    everyone = ratings.to_frame().assign(user=lambda frame: frame["user"] + NEW)
    few = everyone.groupby("user").sample(settings["few"], random_state=1)
    tables = {"few": few, "natural": everyone, "one": few.head(settings["few"])}
    found: Numbers = {"mean_ratings": len(ratings) / ratings.n_users, "users": ratings.n_users}
    for name, new in tables.items():
        given = bayesmf.Ratings(new)
        post.fold_in(given, random_seed=0)  # loads what is compiled
        seconds = []
        for seed in range(settings["repeats"]):
            start = time.perf_counter()
            post.fold_in(given, random_seed=seed)
            seconds.append(time.perf_counter() - start)
        found[name] = [given.n_users / one for one in seconds]
        progress(f"{name}:", shown(found[name], 0), "users/s")
    folded = post.fold_in(bayesmf.Ratings(few), random_seed=1)
    import arviz_stats  # noqa: F401 - its import is not what is timed

    start = time.perf_counter()
    weights = log_weights(folded.data, folded.ratings, folded.before, "user", threads)
    found["evidence"] = weights.shape[1] / (time.perf_counter() - start)
    return found


def _task(share: float, seed: int) -> Task:
    """Hold a share of the users out, and of these one half of the ratings for a test."""
    everything = bayesmf.load_movielens("100k")
    rng = np.random.default_rng(seed)
    users = np.unique(everything["user"])
    out = rng.choice(users, round(share * len(users)), replace=False)
    theirs = everything[everything["user"].isin(out)].sample(frac=1, random_state=seed)
    first = theirs.groupby("user").cumcount() < theirs.groupby("user")["item"].transform("size") / 2
    rest = everything[~everything["user"].isin(out)]
    # What nobody else has rated cannot be folded in.
    known = theirs[first & theirs["item"].isin(rest["item"])]
    return Task(rest, known, theirs[~first])


def _accuracy(
    task: Task, settings: Settings, seed: int
) -> tuple[dict[str, dict[str, float]], Posterior]:
    quick = settings["accuracy"] | {"cores": settings["threads"], "progressbar": False}
    rest = bayesmf.fit_bpmf(task.rest, random_seed=seed, **quick)
    refit = bayesmf.fit_bpmf(pd.concat([task.rest, task.known]), random_seed=seed + 100, **quick)
    folded = {
        "few": rest.fold_in(task.known, draws=settings["fold_draws"], random_seed=seed),
        "all": rest.fold_in(task.known, random_seed=seed),
    }
    # Users whom the refit knows, with ratings that it has seen: nothing may be lost.
    again = refit.fold_in(task.known, random_seed=seed)
    found = {
        name: _scores(post, task.test)
        for name, post in {"refit": refit, "itself": again, **folded, "nothing": rest}.items()
    }
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of rows to refit
        for name, post in folded.items():
            weights = post.fold_weights
            for label, (least, most) in BY_COUNT.items():
                bad = weights["refit"][weights["n_ratings"].between(least, most)]
                found[name][label] = float(bad.mean())
            found[name]["refit_share"] = float(weights["refit"].mean())
            found[name]["ess"] = float(weights["ess"].median()) / (
                post.data["factors"].sizes["chain"] * post.data["factors"].sizes["draw"]
            )
    return found, rest


def _scores(post: Posterior, test: pd.DataFrame) -> dict[str, float]:
    predicted = post.predict(test)
    truth = test["rating"].to_numpy()
    inside = predicted["lower"].to_numpy() <= truth
    inside &= truth <= predicted["upper"].to_numpy()
    return {
        "rmse": rmse(predicted["mean"].to_numpy(), truth),
        "coverage": float(inside.mean()),
        "width": float((predicted["upper"] - predicted["lower"]).mean()),
        "latent_sd": float(post.predict(test, prob=None, kind="latent")["sd"].mean()),
    }


def _widths(task: Task, rest: Posterior, settings: Settings) -> Numbers:
    """Mean width of 90% intervals of expected ratings by how many ratings a user has given."""
    counts = settings["counts"]
    sizes = task.known["user"].value_counts()
    users = sizes.index[sizes >= max(counts)]
    known = task.known[task.known["user"].isin(users)]
    rng = np.random.default_rng(0)
    rated = set(zip(known["user"], known["item"], strict=True))
    cells = [
        (user, item)
        for user in users
        for item in rng.choice(rest.ratings.item_ids, settings["cells"], replace=False)
        if (user, item) not in rated
    ]
    widths = []
    for count in counts:
        post = rest
        if count:
            some = known.groupby("user").head(count)
            post = rest.fold_in(some, draws=settings["fold_draws"], random_seed=1)
        found = post.predict(cells, kind="latent")
        widths.append(float((found["upper"] - found["lower"]).mean()))
    progress("widths:", [round(width, 3) for width in widths])
    return {"users": len(users), "widths": widths}


def _draw(task: Task, rest: Posterior) -> None:
    from bayesmf.plots import plot_fold_in

    films = bayesmf.load_movielens("100k").drop_duplicates("item").set_index("item")["title"]
    sizes = task.known["user"].value_counts()
    one = task.known[task.known["user"] == sizes.index[len(sizes[sizes >= 40]) // 2]]
    popular = rest.ratings.to_frame()["item"].value_counts().index
    items = [item for item in popular if item not in set(one["item"])][:200:67]
    with figure_file(IMAGE, size=(7.6, 4.6)) as ax:
        plot_fold_in(rest, one, items, titles=films, ax=ax)


def _first_lists(rest: Posterior, settings: Settings) -> Numbers:
    """Lists for users of ten films of a kind, five stars each: the most rated of the kind."""
    films = bayesmf.load_movielens("100k").drop_duplicates("item").set_index("item")
    popular = rest.ratings.to_frame()["item"].value_counts().index
    found: Numbers = {}
    given = []
    for number, (name, genre) in enumerate(FIRST_USERS.items()):
        genres = films["genres"].str.split("|")
        others = set.union(*({other} for other in FIRST_USERS.values() if other != genre))
        fits = genres.map(
            lambda one, genre=genre, others=others: genre in one and not others & {*one}
        )
        ten = [item for item in popular if fits[item]][:10]
        found[name] = {"given": [films.loc[item, "title"] for item in ten]}
        given.append(pd.DataFrame({"user": NEW + number, "item": ten, "rating": 5.0}))
    folded = rest.fold_in(pd.concat(given), draws=settings["fold_draws"], random_seed=1)
    for order, best in ORDERS.items():
        lists = {
            name: best(folded, NEW + number, settings["n"])["item"].tolist()
            for number, name in enumerate(FIRST_USERS)
        }
        for name, items in lists.items():
            found[name][order] = [films.loc[item, "title"] for item in items]
        found[f"{order}: in both"] = len(set.intersection(*map(set, lists.values())))
    return found


def _weights(settings: Settings) -> Numbers:
    """A small table, one user's ratings folded in: plain and weighted draws against two refits."""
    ratings = bayesmf.simulate(30, 20, 240, n_factors=1, random_seed=21).ratings
    frame = ratings.to_frame()
    own = frame["user"] == frame["user"].value_counts().index[2]
    one = frame["user"][own].iloc[0]
    quick = settings["weights"] | {
        "n_factors": 1, "cores": settings["threads"], "progressbar": False,
    }  # fmt: skip
    rest = bayesmf.fit_bpmf(frame[~own], random_seed=1, **quick)
    scale = {name: float(rest.data.attrs[name]) for name in ("center", "scale")}
    refits = [bayesmf.fit_bpmf(frame, random_seed=seed, **quick, **scale) for seed in (2, 3)]
    folded = rest.fold_in(frame[own], random_seed=3)
    logs = log_weights(folded.data, folded.ratings, folded.before, "user", 1)[:, 0]
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()

    def latent(post: Posterior) -> np.ndarray:
        group = post.data["factors"].to_dataset().sel(user=[one]).squeeze("user")
        cells = (group["user_factors"] * group["item_factors"]).sum("factor")
        cells = cells + group["user_bias"] + group["item_bias"]
        found: np.ndarray = cells.transpose("chain", "draw", "item").to_numpy()
        return found.reshape(-1, ratings.n_items)

    mine, theirs, again = latent(folded), latent(refits[0]), latent(refits[1])

    def apart(means: np.ndarray) -> float:
        away = (means - theirs.mean(axis=0)) / theirs.std(axis=0)
        return float(np.sqrt(np.mean(away**2)))

    return {
        "ratings": int(own.sum()),
        "plain": apart(mine.mean(axis=0)),
        "weighted": apart(weights @ mine),
        "another refit": apart(again.mean(axis=0)),
    }


def _worse(numbers: Numbers, model: str) -> list[float]:
    """By how many percent an error is above the refit's, by seed."""
    errors = numbers["accuracy"]
    return [
        100 * (mine / theirs - 1)
        for mine, theirs in zip(errors[model]["rmse"], errors["refit"]["rmse"], strict=True)
    ]


def bars(numbers: Numbers) -> list[Bar]:
    """Speed, and an error near that of a refit."""
    found = []
    for name, what in (("few", "20 ratings each"), ("natural", "all ratings of each")):
        speed = median(numbers["speed"][name])
        asked = f"≥ {LEAST_USERS:,.0f}"
        measured = f"{speed:,.0f}"
        line = f"ML-1M, K=32, 200 draws, 2 cores: users a second, {what}"
        found.append(Bar(line, asked, measured, speed >= LEAST_USERS))
    for model, what in (("few", "200 draws"), ("all", "all draws")):
        line = f"ML-100K, RMSE above that of a refit, {what}"
        found.append(at_most(line, MOST_WORSE, max(_worse(numbers, model)), 2, "%"))
    return found


def text(numbers: Numbers, settings: Settings) -> str:
    """All tables."""
    speed, fit, size = numbers["speed"], settings["accuracy"], settings["speed"]
    parts = [
        prose(
            f"""Speed: all {speed["users"]:,} users of ML-1M under new ids, folded into a fit of
            their ratings with K={size["rank"]} and {size["draws"]} draws,
            {settings["threads"]} threads; median of {size["repeats"]} calls (range), compiled code
            loaded. *Natural* are all of a user's ratings, {speed["mean_ratings"]:.0f} on average.
            The evidence behind `fold_weights` is worked out at {speed["evidence"]:,.0f} users a
            second."""
        ),
        table(
            ["", "users a second", "ms a call"],
            [
                [
                    f"{speed['users']:,} users, {size['few']} ratings each",
                    shown(speed["few"], 0),
                    f"{1000 * speed['users'] / median(speed['few']):,.0f}",
                ],
                [
                    f"{speed['users']:,} users, natural",
                    shown(speed["natural"], 0),
                    f"{1000 * speed['users'] / median(speed['natural']):,.0f}",
                ],
                [
                    f"one user, {size['few']} ratings",
                    shown(speed["one"], 0),
                    f"{1000 / median(speed['one']):,.0f}",
                ],
            ],
        ),
        prose(
            f"""Against a refit: {settings["held_out"]:.0%} of the users of ML-100K are held out
            with all their ratings. Half of these are folded into a fit of the other users, or are
            among the ratings of a full refit; the other half is predicted. K={fit["n_factors"]},
            {fit["chains"]} chains of {fit["tune"]:,} + {fit["draws"]:,} draws; median of
            {len(settings["seeds"])} seeds, which split anew (range). Folded into the refit, which
            has seen the ratings, users come out as they are there: what is lost otherwise is what
            the films' rows would have learned from all the users held out."""
        ),
        _accuracy_table(numbers, settings),
        prose(
            """Share of the users for whom `fold_weights` asks for a refit, by how many ratings were
            folded in. Many ratings are more than reweighted draws could answer for, whether or not
            predictions are worse without the answer."""
        ),
        table(
            ["", *BY_COUNT],
            [
                [
                    name,
                    *(f"{median(numbers['accuracy'][model][label]):.0%}" for label in BY_COUNT),
                ]
                for model, name in (
                    ("few", f"{settings['fold_draws']} draws"),
                    ("all", "all draws"),
                )
            ],
        ),
        prose(
            f"""What ratings add: mean width of 90% intervals of the expected rating (without
            noise), by how many of their ratings {numbers["widths"]["users"]} of the users held out
            have given, over {settings["cells"]} other films each. ![A user's expected ratings of
            three films as ratings come in](images/fold-in.png)"""
        ),
        table(
            ["ratings given", *(f"{count}" for count in settings["counts"])],
            [["mean width", *(f"{width:.3f}" for width in numbers["widths"]["widths"])]],
        ),
        _lists_text(numbers["lists"], settings),
        _weights_text(numbers["weights"]),
    ]
    return "\n\n".join(parts)


def _accuracy_table(numbers: Numbers, settings: Settings) -> str:
    names = {
        "refit": "full refit",
        "itself": "folded into that refit, without news",
        "few": f"folded in, {settings['fold_draws']} draws",
        "all": "folded in, all draws",
        "nothing": "unknown: the prior predictive",
    }
    rows = []
    for model, name in names.items():
        one = numbers["accuracy"][model]
        rows.append(
            [
                name,
                shown(one["rmse"], 4),
                "" if model == "refit" else f"{median(_worse(numbers, model)):+.2f}%",
                shown(one["coverage"], 3),
                f"{median(one['width']):.2f}",
                f"{median(one['latent_sd']):.3f}",
                f"{median(one['refit_share']):.1%}" if "refit_share" in one else "",
                f"{median(one['ess']):.0%}" if "ess" in one else "",
            ]
        )
    header = ["", "RMSE", "above refit", "coverage of 90%", "width", "latent sd"]
    return table([*header, "`refit` says", "median ESS of weights"], rows)


def _lists_text(lists: Numbers, settings: Settings) -> str:
    names = list(FIRST_USERS)
    blocks = []
    for order in ORDERS:
        shared = lists[f"{order}: in both"]
        given = "; ".join(f"{name}: {', '.join(lists[name]['given'][:3])} ..." for name in names)
        opening = f"""First lists: two new users give five stars to the ten most rated films of a
            kind ({given}).""" * (order == next(iter(ORDERS)))  # said once
        words = prose(
            f"""{opening} Their top {settings["n"]} by {order} share {shared} films:
            {SAID[order]}."""
        )
        rows = [
            [f"{rank}", *pair]
            for rank, pair in enumerate(
                zip(*(lists[name][order] for name in names), strict=True), start=1
            )
        ]
        blocks += [words, table([f"by {order}", *names], rows)]
    return "\n\n".join(blocks)


def _weights_text(weights: Numbers) -> str:
    return prose(
        f"""Why there are weights: in a small simulated table (30 x 20, 240 ratings) one user's
        {weights["ratings"]} ratings matter to all items. Folded in, that user's expected ratings
        are {weights["plain"]:.3f} sd (root mean square over items) from those of a refit; with
        draws weighted by the evidence of the ratings {weights["weighted"]:.3f}; a second refit is
        {weights["another refit"]:.3f} from the first."""
    )


if __name__ == "__main__":
    run("fold_in")
