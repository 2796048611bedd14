"""A lover of children's films and a lover of dramas: lists by mean, and by taste alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

import bayesmf
from benchmarks.common import Bar, progress, prose, run, table
from benchmarks.fits import one_chain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.common import Numbers, Settings

TITLE = "ML-1M: two newcomers of different taste"
SETTINGS = {
    "data": "1m",
    "rank": 32,
    "tune": 100,
    "draws": 300,
    "seeds": [1, 2, 3],
    "rated": 10,
    "stars": 5.0,
    "n": 20,
    "least_ratings": 20,
    "threads": 2,
}
QUICK = {"data": "100k", "rank": 5, "tune": 5, "draws": 20, "seeds": [1]}
CHILD, DRAMA = -1, -2
"""Ids of the newcomers."""
NAMES = {CHILD: "children's", DRAMA: "drama"}


class Films(NamedTuple):
    """Films of a table: by item, whether of a genre and how often rated; what newcomers rate."""

    is_child: pd.Series
    is_drama: pd.Series
    counts: pd.Series
    title: pd.Series
    rated: Mapping[int, list[int]]


def films_of(ratings: pd.DataFrame, n: int) -> Films:
    """Genres, and the n most often rated films for children, and dramas that are nothing else."""
    grouped = ratings.groupby("item")
    genres = grouped["genres"].first().fillna("").str.split("|").map(set)
    child = genres.map(lambda of: bool(of & {"Children", "Children's"}))
    drama = genres.map(lambda of: "Drama" in of)
    counts = grouped.size().sort_values(ascending=False, kind="stable")
    order = counts.index
    rated = {
        CHILD: order[(child & ~drama)[order]][:n].tolist(),
        DRAMA: order[(genres == {"Drama"})[order]][:n].tolist(),
    }
    return Films(child, drama, counts, grouped["title"].first(), rated)


def newcomers(films: Films, stars: float) -> pd.DataFrame:
    """Ratings of both, each of what is near to the heart alone."""
    rows = [(user, item, stars) for user, items in films.rated.items() for item in items]
    return pd.DataFrame(rows, columns=["user", "item", "rating"])


def cold_start_lists(
    post: bayesmf.Posterior, films: Films, n: int, least_ratings: int
) -> dict[str, dict[str, float]]:
    """By strategy: films that stand in both lists, and shares of genres in each, and by chance.

    `post` is any posterior that knows the users CHILD and DRAMA.
    """
    known = films.counts.index[films.counts >= least_ratings]
    found = {}
    for strategy in ("mean", "affinity"):
        lists = post.recommend([CHILD, DRAMA], n, strategy=strategy, candidates=known, prob=None)
        own = {user: lists.loc[lists["user"] == user, "item"] for user in (CHILD, DRAMA)}
        found[strategy] = {"overlap": len(set(own[CHILD]) & set(own[DRAMA]))} | {
            f"{genre} for {NAMES[user]}": float(of[own[user]].mean())
            for user in own
            for genre, of in (("children's", films.is_child), ("drama", films.is_drama))
        }
    return found


def measure(settings: Settings) -> Numbers:
    """Overlap and shares over seeds, and the first seed's lists by title."""
    ratings = bayesmf.load_movielens(settings["data"])
    films = films_of(ratings, settings["rated"])
    new = newcomers(films, settings["stars"])
    both = pd.concat([ratings[["user", "item", "rating"]], new])
    every: dict[str, list[dict[str, float]]] = {"mean": [], "affinity": []}
    titles: dict[str, dict[str, list[str]]] = {}
    for seed in settings["seeds"]:
        post = one_chain(both, settings, seed=seed)
        asked = {"n": settings["n"], "least_ratings": settings["least_ratings"]}
        for strategy, shares in cold_start_lists(post, films, **asked).items():
            every[strategy].append(shares)
            progress(f"seed {seed}, {strategy}:", shares)
            known = films.counts.index[films.counts >= settings["least_ratings"]]
            lists = post.recommend([CHILD, DRAMA], 6, strategy=strategy, candidates=known)
            titles.setdefault(
                strategy,
                {
                    NAMES[user]: films.title[part["item"]].tolist()
                    for user, part in lists.groupby("user")
                },
            )
    known = films.counts >= settings["least_ratings"]
    return {
        "lists": every,
        "titles": titles,
        "chance": {
            "children's": float(films.is_child[known].mean()),
            "drama": float(films.is_drama[known].mean()),
        },
        "rated": {NAMES[u]: films.title[items].tolist() for u, items in films.rated.items()},
    }


def _mean(numbers: Numbers, strategy: str, name: str) -> float:
    return float(np.mean([shares[name] for shares in numbers["lists"][strategy]]))


def bars(numbers: Numbers) -> list[Bar]:
    """The lists by taste must not be the same, and each must have more of its genre."""
    overlap = max(shares["overlap"] for shares in numbers["lists"]["affinity"])
    found = [Bar("films in both lists by affinity, worst seed", "≤ 1", str(overlap), overlap <= 1)]
    for own, other in (("children's", "drama"), ("drama", "children's")):
        here = [shares[f"{own} for {own}"] for shares in numbers["lists"]["affinity"]]
        there = [shares[f"{own} for {other}"] for shares in numbers["lists"]["affinity"]]
        gap = min(a - b for a, b in zip(here, there, strict=True))
        what = f"{own} films: share in the own list by affinity less that in the other, worst seed"
        found.append(Bar(what, "≥ 25%", f"{gap:.0%}", gap >= 0.25))
    return found


def text(numbers: Numbers, settings: Settings) -> str:
    """Overlap and shares by strategy, and the first films of each list."""
    rows = []
    for strategy in ("mean", "affinity"):
        shares = [
            f"{_mean(numbers, strategy, f'{genre} for {who}'):.0%}"
            for who in NAMES.values()
            for genre in NAMES.values()
        ]
        rows.append([f"by {strategy}", f"{_mean(numbers, strategy, 'overlap'):.1f}", *shares])
    header = ["", f"in both lists of {settings['n']}"]
    header += [f"{genre} in the {who} list" for who in NAMES.values() for genre in NAMES.values()]
    chance = numbers["chance"]
    protocol = f"""Two users are added to the table, and to the fit: one gives {settings["stars"]:g}
        stars to the {settings["rated"]} most often rated films for children that are no dramas, one
        to the {settings["rated"]} most often rated dramas that are nothing else. K =
        {settings["rank"]}, one chain of {settings["tune"]} + {settings["draws"]}, means over seeds
        {settings["seeds"]}; films of at least {settings["least_ratings"]} ratings may be
        recommended, {chance["children's"]:.0%} of which are for children and {chance["drama"]:.0%}
        dramas. First seed, first six:"""
    lists = [
        f"- {who}, by {strategy}: {'; '.join(titles)}"
        for strategy, both in numbers["titles"].items()
        for who, titles in both.items()
    ]
    return "\n\n".join((prose(protocol), "\n".join(lists), table(header, rows)))


if __name__ == "__main__":
    run("cold_start")
