"""ML-1M: lists for all users by each strategy, each in a process of its own; questions too."""

from __future__ import annotations

import json
import pickle
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    timed,
)
from benchmarks.fits import movielens_1m, one_chain

if TYPE_CHECKING:
    import bayesmf
    from benchmarks.common import Numbers, Settings

TITLE = "ML-1M: lists by each strategy, and questions"
SETTINGS = {"rank": 32, "tune": 20, "draws": 200, "n": 10, "threads": 2, "repeats": 3}
QUICK = {"tune": 1, "draws": 5, "repeats": 1}
STRATEGIES: dict[str, dict[str, Any]] = {
    "mean": {},
    "ucb": {},
    "thompson": {"random_seed": 1},
    "probability": {"threshold": 4.0},
    "affinity": {},
}
SECONDS = 60.0


def measure(settings: Settings) -> Numbers:
    """Seconds, and peak memory beyond what was held before, of each task over repeats."""
    ratings = movielens_1m()
    post = one_chain(ratings, settings)
    found: Numbers = {"users": ratings.n_users, "items": ratings.n_items, "tasks": {}}
    found["draws_mb"] = post.data["factors"].to_dataset().nbytes / 1e6
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "posterior.pickle"
        path.write_bytes(pickle.dumps(post))
        for task in (*STRATEGIES, "next_to_ask"):
            each = [
                spawn("recommending", settings | {"task": task, "path": str(path)})
                for _ in range(settings["repeats"])
            ]
            found["tasks"][task] = {name: [one[name] for one in each] for name in ("seconds", "mb")}
            progress(f"{task}:", shown(found["tasks"][task]["seconds"], 2), "s")
    return found


def child() -> None:
    """One task in this process: the compiled code loaded, then the clock."""
    asked = json.load(sys.stdin)
    post: bayesmf.Posterior = pickle.loads(Path(asked["path"]).read_bytes())  # noqa: S301
    post.cores = asked["threads"]
    task, n = asked["task"], asked["n"]
    with limited(asked["threads"]):
        some = post.ratings.user_ids[:2]
        if task == "next_to_ask":
            post.next_to_ask(-1, 1, candidates=post.ratings.item_ids[:2])
        else:
            post.recommend(some, n, strategy=task, **STRATEGIES[task])
        seconds, beyond = timed(lambda: _task(post, task, n))
    print(json.dumps({"seconds": seconds, "mb": beyond}))


def _task(post: bayesmf.Posterior, task: str, n: int) -> None:
    if task == "next_to_ask":
        post.next_to_ask(-1, n)
    else:
        post.recommend(n=n, strategy=task, **STRATEGIES[task])


def bars(numbers: Numbers) -> list[Bar]:
    """Lists for everyone in a minute, whatever the strategy."""
    return [
        at_most(f"lists by {name}", SECONDS, median(numbers["tasks"][name]["seconds"]), 1, " s")
        for name in STRATEGIES
    ]


def text(numbers: Numbers, settings: Settings) -> str:
    """Seconds and memory by task."""
    n = settings["n"]
    what = {name: f"top {n} of {numbers['users']:,} users, {name}" for name in STRATEGIES}
    what["next_to_ask"] = f"{n} questions for one new user, of {numbers['items']:,} items"
    rows = []
    for name, line in what.items():
        found = numbers["tasks"][name]
        rows.append([line, shown(found["seconds"], 2), f"{max(found['mb']):.0f}"])
    protocol = f"""`Posterior.recommend(strategy=...)` and `Posterior.next_to_ask` after one chain
        at K={settings["rank"]} on all 1,000,209 ratings, {settings["draws"]} draws kept,
        {settings["threads"]} threads, over all {numbers["items"]:,} items less those that a user
        has rated, with 90% intervals of what is listed. Each call in a process of its own, which
        has loaded the draws, {numbers["draws_mb"]:,.0f} MB, the ratings and the compiled code;
        *beyond* is the largest peak of the process over what it held when the call began, its table
        of results included. Seconds: median of {settings["repeats"]} processes (range)."""
    header = ["", "seconds", "MB beyond"]
    return f"{prose(protocol)}\n\n{table(header, rows)}"


if __name__ == "__main__":
    run("recommending")
