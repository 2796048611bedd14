"""ML-1M: seconds a sweep against SMURFF, two threads each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import bayesmf
from benchmarks.common import Bar, limited, median, progress, prose, run, shown, table
from benchmarks.models import smurff

if TYPE_CHECKING:
    import pandas as pd

    from benchmarks.common import Numbers, Settings

TITLE = "ML-1M: one sweep"
SETTINGS = {
    "ranks": [10, 16, 32],
    "repeats": 5,
    "short": 5,
    "long": 25,
    "threads": 2,
    "test": 500,
}
QUICK = {"ranks": [10, 32], "repeats": 1, "short": 1, "long": 3}
FACTOR = 2.0


def measure(settings: Settings) -> Numbers:
    """Seconds a sweep by rank and model, over repeats: a long run less a short one."""
    ratings = bayesmf.load_movielens("1m")
    test = ratings.sample(settings["test"], random_state=0)
    extra = settings["long"] - settings["short"]
    numbers: Numbers = {}
    for rank in settings["ranks"]:
        found: dict[str, list[float]] = {"bayesmf": [], "SMURFF": []}
        _ours(ratings, rank, 1, settings)  # compiles, or loads what is on disk
        # In turns, so that whatever else the machine does falls on both.
        for _ in range(settings["repeats"]):
            for model, seconds in (("bayesmf", _ours), ("SMURFF", _smurff)):
                args = (test, settings) if model == "SMURFF" else (settings,)
                short, long = (
                    seconds(ratings, rank, settings[length], *args) for length in ("short", "long")
                )
                found[model].append((long - short) / extra)
        numbers[str(rank)] = found
        progress(f"K={rank}:", {model: shown(values, 3) for model, values in found.items()})
    return numbers


def _ours(ratings: pd.DataFrame, rank: int, draws: int, settings: Settings) -> float:
    threads = settings["threads"]
    with limited(threads):
        start = time.perf_counter()
        bayesmf.fit_bpmf(
            ratings,
            n_factors=rank,
            chains=1,
            tune=1,
            draws=draws,
            cores=threads,
            random_seed=1,
            probe=settings["test"],
            progressbar=False,
        )
        return time.perf_counter() - start


def _smurff(
    ratings: pd.DataFrame, rank: int, draws: int, test: pd.DataFrame, settings: Settings
) -> float:
    return smurff(
        ratings,
        test,
        n_factors=rank,
        tune=1,
        draws=draws,
        threads=settings["threads"],
        seed=1,
        noise="adaptive",
    ).seconds


def bars(numbers: Numbers) -> list[Bar]:
    """K=32 within a factor of SMURFF."""
    ours, theirs = (median(numbers["32"][model]) for model in ("bayesmf", "SMURFF"))
    return [
        Bar(
            "seconds a sweep, K=32, against SMURFF's",
            f"≤ {FACTOR:g} x {theirs:.3f} s",
            f"{ours:.3f} s ({ours / theirs:.2f} x)",
            ours <= FACTOR * theirs,
        )
    ]


def text(numbers: Numbers, settings: Settings) -> str:
    """Seconds by rank and model."""
    rows = [
        [
            f"K={rank}",
            *(shown(found[model], 3) for model in ("bayesmf", "SMURFF")),
            f"{median(found['bayesmf']) / median(found['SMURFF']):.2f}",
        ]
        for rank, found in numbers.items()
    ]
    protocol = f"""All 1,000,209 ratings, one chain, {settings["threads"]} threads each. A sweep is
        the wall time of a run with {settings["long"]} kept draws less that of one with
        {settings["short"]}, over the difference: median of {settings["repeats"]} repeats (range),
        the two sides in turns. Both keep what they keep by default: bayesmf the draws and its
        {settings["test"]} probe cells, SMURFF the predictions of {settings["test"]} test cells.
        bayesmf has biases, which makes a row longer by one."""
    header = ["seconds a sweep", "bayesmf", "SMURFF", "ratio"]
    return f"{prose(protocol)}\n\n{table(header, rows)}"


if __name__ == "__main__":
    run("sweep")
