"""Ten million ratings and a hundred: seconds a sweep, and the peak memory of whole processes."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from benchmarks.common import (
    Bar,
    Points,
    at_most,
    median,
    peak_mb,
    progress,
    prose,
    run,
    spawn,
    table,
)

if TYPE_CHECKING:
    from benchmarks.common import Numbers, Settings

TITLE = "Large tables: time and memory"
SETTINGS: dict[str, Any] = {
    "shapes": {
        "ML-10M's shape": [69_878, 10_677, 10_000_000],
        "Netflix's shape": [480_189, 17_770, 100_000_000],
    },
    "activity_sd": 1.0,
    "round_to": 0.5,
    "rank": 32,
    "threads": 2,
    # By shape: what is fitted to it. Sweeps of ours are `tune` and `draws`.
    "fits": {
        "ML-10M's shape": ["float32", "float64", "SMURFF"],
        "Netflix's shape": ["float32"],
    },
    "tune": 5,
    "draws": 15,
    "memory_budget": {"ML-10M's shape": "64MB", "Netflix's shape": "512MB"},
    "peer_sweeps": 8,
    "probe": 500,
    "resume": True,
}
QUICK: dict[str, Any] = {
    "shapes": {"ML-10M's shape": [700, 300, 20_000], "Netflix's shape": [900, 400, 40_000]},
    "draws": 3,
    "peer_sweeps": 3,
    "resume": False,
}
SMALLER, LARGER = SETTINGS["shapes"]
PEAK_GB, MEMORY_GB = 0.8, 24
_COLUMNS = ("users", "items", "ratings")


def measure(settings: Settings) -> Numbers:
    """Seconds and peak memory of each process: one simulates, the others read what it wrote."""
    points = Points("scale", settings)
    numbers: Numbers = {}
    for shape in settings["shapes"]:
        with tempfile.TemporaryDirectory() as folder:
            processes = [shape, *(f"{shape}, {model}" for model in settings["fits"][shape])]
            for point in processes:
                numbers[point] = points.get(
                    point, partial(_in_turn, point, shape, folder, settings)
                )
                progress(f"{point}:", numbers[point])
    points.clear()
    return numbers


def _in_turn(point: str, shape: str, folder: str, settings: Settings) -> Numbers:
    simulated = None
    if not (Path(folder) / "users.npy").exists():
        simulated = _spawn("simulate", shape, folder, settings)
    if point == shape:
        assert simulated is not None  # noqa: S101 - the first in a folder
        return simulated
    model = point.rsplit(", ", 1)[1]
    if model != "SMURFF":
        # Compiles, or finds what is on disk, in a process whose memory does not count.
        tiny = {name: [50, 40, 500] for name in settings["shapes"]}
        with tempfile.TemporaryDirectory() as other:
            _spawn("simulate", shape, other, settings | {"shapes": tiny})
            _spawn(model, shape, other, settings | {"tune": 0, "draws": 1})
    return _spawn(model, shape, folder, settings)


def _spawn(what: str, shape: str, folder: str, settings: Settings) -> Numbers:
    return spawn("scale", [what, shape, folder, settings])


def child() -> None:
    """Do one thing in a process of its own; the last line printed has its figures."""
    what, shape, folder, settings = json.loads(sys.stdin.read())
    does = {"simulate": _simulate, "SMURFF": _smurff}
    found = does.get(what, _fit)(what, shape, Path(folder), settings)
    print(json.dumps(found | {"peak_gb": peak_mb() / 1000}, default=float))


def _simulate(_: str, shape: str, folder: Path, settings: Settings) -> Numbers:
    import numpy as np

    import bayesmf

    start = time.perf_counter()
    ratings = bayesmf.simulate(
        *settings["shapes"][shape],
        activity_sd=settings["activity_sd"],
        round_to=settings["round_to"],
        random_seed=1,
    ).ratings
    seconds = time.perf_counter() - start
    # Half stars, so that float32 holds them as they are.
    arrays = (ratings.users, ratings.items, ratings.values)
    for name, array, dtype in zip(_COLUMNS, arrays, ("int32", "int32", "float32"), strict=True):
        np.save(folder / f"{name}.npy", array.astype(dtype, copy=False))
    sizes = [ratings.n_users, ratings.n_items, len(ratings)]
    return {"seconds": seconds, "shape": sizes}


def _columns(folder: Path) -> dict[str, Any]:
    import numpy as np

    return {name: np.load(folder / f"{name}.npy") for name in _COLUMNS}


def _fit(dtype: str, shape: str, folder: Path, settings: Settings) -> Numbers:
    import pandas as pd

    import bayesmf
    from benchmarks.common import limited

    names = {"users": "user", "items": "item", "ratings": "rating"}
    # The table's own memory, once, is part of what a user has.
    frame = pd.DataFrame(
        {names[name]: column for name, column in _columns(folder).items()}, copy=False
    )
    fit, read_gb = bayesmf.fit_bpmf, peak_mb() / 1000
    threads = settings["threads"]
    with limited(threads):
        start = time.perf_counter()
        post = fit(
            frame,
            n_factors=settings["rank"],
            chains=1,
            tune=settings["tune"],
            draws=settings["draws"],
            cores=threads,
            random_seed=1,
            probe=settings["probe"],
            memory_budget=settings["memory_budget"][shape],
            dtype=dtype,
            progressbar=False,
        )
        seconds = time.perf_counter() - start
    each = post.data["sample_stats"]["seconds"].to_numpy().ravel().tolist()
    stored = post.data["factors"].sizes["draw"]
    return {"seconds": seconds, "each": each, "stored": stored, "read_gb": read_gb}


def _smurff(_: str, shape: str, folder: Path, settings: Settings) -> Numbers:
    from benchmarks.models import SmurffSweeps

    columns = _columns(folder)
    n_users, n_items, _ = settings["shapes"][shape]
    read_gb = peak_mb() / 1000
    start = time.perf_counter()
    # Nothing but what SMURFF reads: the matrices that are made of it count.
    ratings: Any = SimpleNamespace(
        users=columns["users"],
        items=columns["items"],
        values=columns["ratings"].astype("float64"),
        mean=float(columns["ratings"].mean(dtype="float64")),
        n_users=n_users,
        n_items=n_items,
    )
    session = SmurffSweeps(
        ratings, n_factors=settings["rank"], threads=settings["threads"], test=settings["probe"]
    )
    each = session.seconds(settings["peer_sweeps"])
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "each": each[2:], "read_gb": read_gb}


def bars(numbers: Numbers) -> list[Bar]:
    """Memory of the smaller fit; the larger one ends on the machine that was named."""
    small, large = numbers[f"{SMALLER}, float32"], numbers[f"{LARGER}, float32"]
    largest = max(numbers[LARGER]["peak_gb"], large["peak_gb"])
    return [
        at_most(
            f"peak memory of the process that fits {SMALLER}, float32, "
            f"memory_budget={SETTINGS['memory_budget'][SMALLER]}",
            PEAK_GB,
            small["peak_gb"],
            2,
            " GB",
        ),
        at_most(
            f"peak memory of simulating {LARGER} and of fitting it, the larger",
            MEMORY_GB,
            largest,
            1,
            " GB",
        ),
    ]


def text(numbers: Numbers, settings: Settings) -> str:
    """A line for every process."""
    rows = []
    for point, found in numbers.items():
        peak = f"{found['peak_gb']:.2f}"
        if "shape" in found:
            n_users, n_items, n = found["shape"]
            rows.append(
                [
                    f"{point} ({n_users:,} x {n_items:,}, {n:,} ratings): `simulate`",
                    f"{found['seconds']:.1f}",
                    "",
                    "",
                    peak,
                ]
            )
            continue
        each = found["each"]
        rows.append(
            [
                point,
                f"{found['seconds']:.1f}",
                f"{median(each):.2f} ({min(each):.2f}-{max(each):.2f})",
                f"{found['read_gb']:.2f}",
                peak,
            ]
        )
    sweeps = settings["tune"] + settings["draws"]
    budgets = " and ".join(settings["memory_budget"][shape] for shape in settings["shapes"])
    protocol = f"""K={settings["rank"]}, one chain, {settings["threads"]} threads. Every line is a
        process of its own, and its peak is the whole process's, Python and packages included. Ours
        reads three columns (int32, int32, float32), makes a DataFrame of them and fits {sweeps}
        sweeps with {settings["probe"]} probe cells and a memory budget of {budgets}; its seconds
        are those of `fit_bpmf`, reading the table in included, and those of its kept sweeps
        without their recording. SMURFF is given a sparse matrix and makes
        {settings["peer_sweeps"]} sweeps, of which the first two are not counted. The compiled code
        comes from the cache."""
    header = ["", "seconds", "a sweep, s", "GB before the fit", "peak, GB"]
    return f"{prose(protocol)}\n\n{table(header, rows)}"


if __name__ == "__main__":
    run("scale")
