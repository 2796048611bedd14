"""ML-1M: means, sds and intervals of a million cells, and lists for all users; memory beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmarks.common import (
    Bar,
    at_most,
    limited,
    median,
    progress,
    prose,
    run,
    shown,
    table,
    timed,
)
from benchmarks.fits import movielens_1m, one_chain

if TYPE_CHECKING:
    from collections.abc import Callable

    import bayesmf
    from benchmarks.common import Numbers, Settings

TITLE = "ML-1M: predictions and lists"
SETTINGS = {
    "rank": 32,
    "tune": 5,
    "draws": 1000,
    "memory_budget": "2GB",
    "cells": 1_000_000,
    "list_draws": 200,
    "n": 10,
    "threads": 2,
    "repeats": 3,
}
QUICK = {"tune": 1, "draws": 20, "cells": 20_000, "list_draws": 5, "repeats": 1}
SECONDS = 60.0


def measure(settings: Settings) -> Numbers:
    """Seconds, and peak memory beyond what was held before, of each task over repeats."""
    ratings = movielens_1m()
    threads, n = settings["threads"], settings["n"]
    post = one_chain(ratings, settings, memory_budget=settings["memory_budget"])
    kept = post.data["factors"].sizes["draw"]
    if kept != settings["draws"]:
        raise RuntimeError(f"{kept} draws were kept, not {settings['draws']}: a larger budget")
    few = _thinned(post, settings["list_draws"])
    cells = _cells(ratings, settings["cells"])
    tasks: dict[str, Callable[[], pd.DataFrame]] = {
        "interval": lambda: post.predict(cells),
        "moments": lambda: post.predict(cells, prob=None),
        "latent": lambda: post.predict(cells, kind="latent"),
        "lists": lambda: few.recommend(n=n),
    }
    factors = post.data["factors"].to_dataset()
    found: Numbers = {"draws_mb": factors.nbytes / 1e6, "users": ratings.n_users}
    with limited(threads):
        for some in (cells[:10], cells[10:20]):  # compiles, or loads what is on disk
            post.predict(some)
            few.recommend(some["user"].iloc[0], n=n)
        for name, task in tasks.items():
            each = [timed(task) for _ in range(settings["repeats"])]
            found[name] = {"seconds": [one[0] for one in each], "mb": [one[1] for one in each]}
            progress(f"{name}:", shown(found[name]["seconds"], 2), "s")
    return found


def _thinned(post: bayesmf.Posterior, draws: int) -> bayesmf.Posterior:
    """Make a posterior with every so-manyth of the draws kept for predictions."""
    factors, data = post.data["factors"], post.data.copy()
    step = factors.sizes["draw"] // draws
    data["factors"] = factors.isel(draw=slice(0, draws * step, step))
    return replace(post, data=data)


def _cells(ratings: bayesmf.Ratings, n: int) -> pd.DataFrame:
    """Cells at random, each user and each item as likely as any other."""
    rng = np.random.default_rng(1)
    users, items = (rng.integers(0, size, n) for size in (ratings.n_users, ratings.n_items))
    ids = {"user": ratings.user_ids.to_numpy()[users], "item": ratings.item_ids.to_numpy()[items]}
    return pd.DataFrame(ids)


def bars(numbers: Numbers) -> list[Bar]:
    """A million cells, and lists for everyone, in a minute each."""
    asked = {
        "interval": "mean, sd and 90% interval of the cells",
        "moments": "mean and sd of the cells",
        "lists": "a list for every user from 200 draws",
    }
    return [
        at_most(what, SECONDS, median(numbers[name]["seconds"]), 1, " s")
        for name, what in asked.items()
    ]


def text(numbers: Numbers, settings: Settings) -> str:
    """Seconds and memory by task."""
    cells = f"{settings['cells']:,} cells"
    what = {
        "interval": f"{cells}: mean, sd, 90% interval",
        "moments": f"{cells}: mean, sd (`prob=None`)",
        "latent": f"{cells}: the same as the first, without noise",
        "lists": f"top {settings['n']} of {numbers['users']:,} users, with intervals",
    }
    rows = [
        [line, shown(numbers[name]["seconds"], 1), f"{max(numbers[name]['mb']):.0f}"]
        for name, line in what.items()
    ]
    protocol = f"""`Posterior.predict` and `Posterior.recommend` after one chain of
        {settings["draws"]:,} kept draws at K={settings["rank"]} on all 1,000,209 ratings,
        {settings["threads"]} threads; lists from {settings["list_draws"]} of the draws, over all
        items that a user has not rated. The draws of factors, {numbers["draws_mb"]:,.0f} MB, are in
        memory before; *beyond* is the largest peak of the process over what it held when the call
        began, its table of results included. Seconds: median of {settings["repeats"]} calls
        (range), compiled code loaded."""
    header = ["", "seconds", "MB beyond"]
    return f"{prose(protocol)}\n\n{table(header, rows)}"


if __name__ == "__main__":
    run("predicting")
