"""ML-1M: what a store costs while a run writes it, the memory of such a run, and reading."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import bayesmf
from benchmarks.common import (
    Bar,
    at_most,
    limited,
    median,
    peak_mb,
    progress,
    prose,
    run,
    shown,
    spawn,
    table,
    timed,
)

if TYPE_CHECKING:
    from benchmarks.common import Numbers, Settings

TITLE = "ML-1M: a run with a store"
SETTINGS = {
    "rank": 32, "chains": 4, "tune": 10, "draws": 1000, "threads": 2, "pair_draws": 256,
    "pairs": 3, "reads": 3,
}  # fmt: skip
QUICK = {"tune": 1, "draws": 10, "pair_draws": 4, "pairs": 1, "reads": 1}
PEAK_MB, COST, FEW_SECONDS, ALL_SECONDS = 1000.0, 0.15, 1.0, 20.0


def measure(settings: Settings) -> Numbers:
    """Pairs of runs with and without a store, one long run with one, and reads of that."""
    found: Numbers = {"few": [], "all": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.zarr"
        found |= spawn("store", settings | {"task": "pairs", "path": str(path)})
        progress("pairs:", found)
        found["run"] = spawn("store", settings | {"task": "fit", "path": str(path)})
        progress("run:", found["run"])
        files = [file for file in path.rglob("*") if file.is_file()]
        found["store_mb"] = sum(file.stat().st_size for file in files) / 1e6
        found["files"] = len(files)
        for _ in range(settings["reads"]):
            read = spawn("store", settings | {"task": "read", "path": str(path)})
            for name in ("few", "all"):
                found[name].append(read[name])
            found["read_mb"] = max(found.get("read_mb", 0.0), read["mb"])
            progress("read:", read)
    return found


def child() -> None:
    """Runs, or one reading, in this process."""
    asked = json.load(sys.stdin)
    tasks = {"pairs": _pairs, "fit": _fit, "read": _read}
    with limited(asked["threads"]):
        print(json.dumps(tasks[asked["task"]](asked)))


def _pairs(asked: Settings) -> Numbers:
    # In turns, so that what else the machine does meets both alike.
    found: Numbers = {}
    short = asked | {"draws": asked["pair_draws"]}
    for number in range(asked["pairs"]):
        both = [("in_memory", None), ("stored", asked["path"])]
        for name, path in both if number % 2 == 0 else both[::-1]:
            one = _fit(short | {"path": path})
            found.setdefault(name, []).append(one["seconds"])
            found.setdefault(f"{name}_cpu", []).append(one["cpu"])
    return found


def _fit(asked: Settings) -> Numbers:
    ratings = bayesmf.Ratings(bayesmf.load_movielens("1m"))
    how = {"n_factors": asked["rank"], "chains": asked["chains"], "cores": asked["threads"]}
    how |= {"random_seed": 1, "progressbar": False}
    bayesmf.fit_bpmf(ratings, tune=1, draws=1, **how)  # loads the compiled code
    started, worked = time.perf_counter(), time.process_time()
    bayesmf.fit_bpmf(
        ratings, tune=asked["tune"], draws=asked["draws"], keep=asked["draws"], overwrite=True,
        # Without a store all kept draws are in memory.
        memory_budget="8GB" if asked["path"] is None else "512MB", store=asked["path"], **how,
    )  # fmt: skip
    seconds, cpu = time.perf_counter() - started, time.process_time() - worked
    return {"seconds": seconds, "cpu": cpu, "mb": peak_mb()}


def _read(asked: Settings) -> Numbers:
    post = bayesmf.load(asked["path"], cores=asked["threads"])
    items = post.ratings.item_ids.to_numpy()
    some = np.random.default_rng(1).choice(items, 100, replace=False)
    user = post.ratings.user_ids[1000]
    post.predict([(user, items[0])], draws=1)  # loads the compiled code
    few, _ = timed(lambda: post.predict([(user, item) for item in some], draws=200))
    everything, _ = timed(lambda: post.predict([(user, item) for item in items]))
    return {"few": few, "all": everything, "mb": peak_mb()}


def bars(numbers: Numbers) -> list[Bar]:
    """What issue and design ask for."""
    pairs = zip(numbers["stored"], numbers["in_memory"], strict=True)
    cost = median([stored / in_memory for stored, in_memory in pairs]) - 1
    return [
        at_most("peak memory of the run", PEAK_MB, numbers["run"]["mb"], 0, " MB"),
        Bar("time that storing adds", f"≤ {COST:.0%}", f"{cost:.1%}", cost <= COST),
        at_most("one user, 100 items, 200 draws", FEW_SECONDS, median(numbers["few"]), 2, " s"),
        at_most("one user, all items and draws", ALL_SECONDS, median(numbers["all"]), 1, " s"),
    ]


def text(numbers: Numbers, settings: Settings) -> str:
    """Seconds, memory and sizes."""
    kept = settings["chains"] * settings["draws"]
    longest = numbers["run"]
    few = f"{settings['pair_draws']} draws of each chain"
    rows = [
        [f"{few}, in memory", shown(numbers["in_memory"], 1), shown(numbers["in_memory_cpu"], 1)],
        [f"{few}, to a store", shown(numbers["stored"], 1), shown(numbers["stored_cpu"], 1)],
        [
            f"{settings['draws']:,} draws of each chain, to a store",
            f"{longest['seconds']:.0f}",
            f"{longest['cpu']:.0f}",
        ],
        ["one user, 100 items, 200 draws from the store", shown(numbers["few"], 2), ""],
        [f"one user, all items, {kept:,} draws from the store", shown(numbers["all"], 1), ""],
    ]
    protocol = f"""`fit_bpmf(store=...)` at K={settings["rank"]} on all 1,000,209 ratings,
        {settings["chains"]} chains, every draw kept, {settings["threads"]} threads; the long run
        and each reading in a process of their own. {settings["pairs"]} pairs of runs are the same
        work but for where draws go, in turns in one process; what storing adds is the median of
        their ratios. The long run's peak memory, ratings and compiled code included, is
        {longest["mb"]:,.0f} MB; its store has {numbers["store_mb"]:,.0f} MB in
        {numbers["files"]:,} files. Reading, in a process that peaks at
        {numbers["read_mb"]:,.0f} MB, finds the files in the cache of the operating system.
        Seconds: median (range); CPU seconds are those of all threads, which other work on the
        machine moves less."""
    return f"{prose(protocol)}\n\n{table(['', 'seconds', 'CPU seconds'], rows)}"


if __name__ == "__main__":
    run("store")
