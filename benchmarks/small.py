"""ML-100K: the wall time of four chains, and what compiling adds to the first fit."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesmf.kernels.blocks import LOW_FROM
from benchmarks.common import (
    Bar,
    at_most,
    limited,
    median,
    progress,
    prose,
    run,
    shown,
    spawn,
    table,
)

if TYPE_CHECKING:
    from benchmarks.common import Numbers, Settings

TITLE = "ML-100K: wall time and compiling"
SETTINGS: dict[str, Any] = {
    "rank": 10,
    "chains": 4,
    "tune": 500,
    "draws": 1_000,
    "threads": 2,
    "repeats": 3,
    # Of the processes that compile, or load; the first rank is the one that compiles.
    "ranks": [10, 8, 33, 64],
    "fresh": 2,
}
QUICK: dict[str, Any] = {"tune": 5, "draws": 10, "repeats": 1, "fresh": 1, "ranks": [10, 33]}
DTYPES = ("float32", "float64")
WALL, COMPILE, CACHED = 10.0, 8.0, 1.0


def measure(settings: Settings) -> Numbers:
    """Seconds of the whole fit by dtype, and of first fits in fresh processes."""
    numbers: Numbers = {"wall": _wall(settings), "cold": {}, "cached": {}}
    for dtype in DTYPES:
        for _ in range(settings["fresh"]):
            # A cache of its own, which the processes after the first one find filled.
            with tempfile.TemporaryDirectory() as cache:
                cold = _spawn(dtype, settings["ranks"], cache, settings)
                numbers["cold"].setdefault(dtype, []).append(cold)
                for rank in settings["ranks"]:
                    cached = _spawn(dtype, [rank], cache, settings)
                    by_rank = numbers["cached"].setdefault(dtype, {})
                    by_rank.setdefault(str(rank), []).append(cached["added"][0])
            progress(f"{dtype}, cold:", cold, "cached:", by_rank)
    return numbers


def _wall(settings: Settings) -> dict[str, list[float]]:
    import bayesmf

    ratings = bayesmf.load_movielens("100k")
    found: dict[str, list[float]] = {dtype: [] for dtype in DTYPES}
    options = {name: settings[name] for name in ("chains", "tune", "draws")}
    for repeat in range(-1, settings["repeats"]):
        for dtype, seconds in found.items():
            # The first compiles, or loads what is on disk, and does not count.
            asked = options if repeat >= 0 else options | {"tune": 0, "draws": 1}
            one = _seconds(ratings, dtype, settings["rank"], settings["threads"], repeat + 1, asked)
            if repeat >= 0:
                seconds.append(one)
    progress("wall:", {dtype: shown(seconds, 2) for dtype, seconds in found.items()})
    return found


def _seconds(
    ratings: object, dtype: str, rank: int, threads: int, seed: int, options: dict[str, Any]
) -> float:
    import bayesmf

    # Looked up outside: importing the package is not part of the fit.
    fit = bayesmf.fit_bpmf
    with limited(threads):
        start = time.perf_counter()
        fit(
            ratings,
            n_factors=rank,
            cores=threads,
            random_seed=seed,
            dtype=dtype,
            progressbar=False,
            **options,
        )
        return time.perf_counter() - start


def _spawn(dtype: str, ranks: list[int], cache: str, settings: Settings) -> Numbers:
    return spawn("small", [dtype, ranks, cache, settings], {"NUMBA_CACHE_DIR": cache})


def child() -> None:
    """By rank: the first one-sweep fit less the fastest of the next three; machine code on disk."""
    import bayesmf

    dtype, ranks, cache, settings = json.loads(sys.stdin.read())
    ratings = bayesmf.load_movielens("100k")
    added, compiled = [], []
    for rank in ranks:
        options = {"chains": settings["chains"], "tune": 0, "draws": 1}
        first, *later = (
            _seconds(ratings, dtype, rank, settings["threads"], 1, options) for _ in range(4)
        )
        added.append(first - min(later))
        compiled.append(sum(1 for _ in Path(cache).rglob("*.nbc")))
    print(json.dumps({"added": added, "compiled": compiled}))


def bars(numbers: Numbers) -> list[Bar]:
    """Medians, of the slowest rank where there are several."""
    found = [
        at_most(
            "wall time of 6,000 sweeps, K=10, float32", WALL, median(numbers["wall"]["float32"]),
            2, " s",
        )
    ]  # fmt: skip
    for dtype in DTYPES:
        cold = numbers["cold"][dtype]
        slowest = max(median(seconds) for seconds in numbers["cached"][dtype].values())
        found += [
            at_most(
                f"compiling, {dtype}: added to first fits, all ranks together",
                COMPILE,
                median([sum(one["added"]) for one in cold]),
                2,
                " s",
            ),
            at_most(f"from the cache, {dtype}, slowest rank", CACHED, slowest, 2, " s"),
        ]
    return found


def text(numbers: Numbers, settings: Settings) -> str:
    """Wall times, then what is added to first fits."""
    sweeps = settings["chains"] * (settings["tune"] + settings["draws"])
    protocol = f"""All 100,000 ratings, K={settings["rank"]}, {settings["chains"]} chains of
        {settings["tune"]:,} tune and {settings["draws"]:,} kept sweeps, {sweeps:,} in all, on
        {settings["threads"]} cores, probe cells and stored draws included, compiled code in
        memory: median of {settings["repeats"]} (range)."""
    wall = [
        [dtype, shown(seconds, 2), f"{1e3 * median(seconds) / sweeps:.2f}"]
        for dtype, seconds in numbers["wall"].items()
    ]
    compiling = f"""What a process's first fit of one sweep takes more than its next ones: median of
        {settings["fresh"]} fresh processes (range). The first column is a process with an empty
        cache, where the next ranks need nothing compiled but what draws rows in the space of their
        ratings, from D = {LOW_FROM} on; from the cache every rank is the first of its process."""
    ranks = settings["ranks"]
    rows = []
    for dtype in DTYPES:
        cold = numbers["cold"][dtype]
        counts = sorted({one["compiled"][-1] for one in cold})
        rows.append(
            [
                f"{dtype}, empty cache, one process",
                *(shown([one["added"][place] for one in cold], 2) for place in range(len(ranks))),
                "-".join(str(count) for count in counts),
            ]
        )
        cached = numbers["cached"][dtype]
        rows.append(
            [f"{dtype}, from the cache", *(shown(cached[str(rank)], 2) for rank in ranks), ""]
        )
    header = ["seconds added to the first fit", *(f"K={rank}" for rank in ranks)]
    return "\n\n".join(
        [
            prose(protocol),
            table(["", "wall, s", "ms a sweep"], wall),
            prose(compiling),
            table([*header, "compiled functions"], rows),
        ]
    )


if __name__ == "__main__":
    run("small")
