"""Seconds a sweep over rank and size against SMURFF, myFM and LensKit; how near to BLAS's rate."""

from __future__ import annotations

import gc
import math
import time
import warnings
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

import bayesmf
from benchmarks.common import (
    Bar,
    Points,
    limited,
    median,
    progress,
    prose,
    run,
    shown,
    table,
    worst,
)
from benchmarks.models import LensKit, SmurffSweeps, myfm_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bayesmf import Ratings
    from benchmarks.common import Numbers, Settings

TITLE = "One sweep"
SETTINGS: dict[str, Any] = {
    # The shapes of three MovieLens releases, with a long tail of activity on both sides.
    "shapes": {
        "100K": [943, 1_682, 100_000],
        "1M": [6_040, 3_706, 1_000_000],
        "10M": [69_878, 10_677, 10_000_000],
    },
    "activity_sd": 1.0,
    "round_to": 0.5,
    "ranks": [8, 16, 32, 64, 128],
    # Of some tables only some ranks.
    "ranks_at": {},
    "threads": 2,
    "probe": 500,
    # Ours: a long run less a short one, over the sweeps that it has more: as many as take about
    # `seconds`, between `fewest` and `most`.
    "repeats": {"100K": 5, "1M": 3, "10M": 1},
    "fewest": {"100K": 8, "1M": 4, "10M": 4},
    "seconds": 0.6,
    "most": 200,
    # Theirs: each sweep by itself, `sweeps` of them, or fewer, but `least`, in about `budget`
    # seconds at a point.
    "sweeps": 7,
    "least": 2,
    "budget": 10.0,
    # Half a minute a sweep, and more.
    "left_out": {"10M, K=64": ["myFM"], "10M, K=128": ["myFM"]},
    "gemm": 2_560,
    "resume": True,
}
QUICK: dict[str, Any] = {
    "shapes": {"100K": [90, 60, 900], "1M": [300, 200, 9_000], "10M": [900, 600, 40_000]},
    "ranks": [8, 32, 64],
    "ranks_at": {"10M": [32]},
    "repeats": {"100K": 1, "1M": 2, "10M": 1},
    "seconds": 0.01,
    "sweeps": 3,
    "left_out": {"10M, K=64": ["myFM"]},
    "gemm": 256,
    "resume": False,
}
DTYPES = ("float32", "float64")
TIMES_SMURFF = {"float32": 5.0, "float64": 3.0}
TIMES_MYFM, TIMES_LENSKIT_ALS, SPEEDUP = 15.0, 2.0, 1.8
SHARE_OF_BLAS, GROWTH = 0.5, 1.5
# The size and the rank at which what is not measured everywhere is measured.
MIDDLE, LARGE, RANK = "1M", "10M", "32"
RATED = ("64", "128")
PAUSE = 0.1
"""Seconds for the threads of one model to fall asleep before the next is measured."""
# Rows with few ratings drawn as all others are: without the sampler's shortcut for them.
DENSE, ALONE = ", no shortcut", ", one thread"


def measure(settings: Settings) -> Numbers:
    """Seconds a sweep by size, rank and model, and the rate of BLAS beside them."""
    points = Points("sweep", settings)
    numbers: Numbers = {"points": {}}
    for size, shape in settings["shapes"].items():
        ratings = bayesmf.simulate(
            *shape,
            activity_sd=settings["activity_sd"],
            round_to=settings["round_to"],
            random_seed=1,
        ).ratings
        found: Numbers = {"shape": _shape(ratings), "ranks": {}}
        numbers["points"][size] = found
        measured = size == MIDDLE
        with (
            LensKit(ratings, threads=settings["threads"]) if measured else nullcontext() as lenskit
        ):
            if lenskit is not None:
                numbers["lenskit"] = lenskit.version
            for rank in settings["ranks_at"].get(size, settings["ranks"]):
                start = time.perf_counter()
                found["ranks"][str(rank)] = point = points.get(
                    _name(size, rank), partial(_point, ratings, size, rank, lenskit, settings)
                )
                progress(
                    f"{_name(size, rank)}, {time.perf_counter() - start:.0f} s:",
                    {model: shown(values, 4) for model, values in point["seconds"].items()},
                )
    points.clear()
    return numbers


def _shape(ratings: Ratings) -> list[int]:
    return [ratings.n_users, ratings.n_items, len(ratings)]


def _name(size: str, rank: object) -> str:
    return f"{size}, K={rank}"


def _point(
    ratings: Ratings, size: str, rank: int, lenskit: LensKit | None, settings: Settings
) -> Numbers:
    """Every model at one size and rank, in turns: what else the machine does falls on all."""
    threads, repeats = settings["threads"], settings["repeats"][size]
    ours = _our_variants(ratings, size, rank, settings)
    theirs = {"SMURFF": _smurff(ratings, rank, settings)}
    if lenskit is not None:
        lenskit.start(rank)
        lenskit.seconds(1)
        theirs["LensKit"] = _within(settings, lenskit.seconds)
    seconds: dict[str, list[float]] = {name: [] for name in (*ours, *theirs)}
    rates: dict[str, list[float]] = {name: [] for name in DTYPES}
    left_out = settings["left_out"].get(_name(size, rank), [])
    for repeat in range(repeats):
        for name, sweep in ours.items():
            time.sleep(PAUSE)
            seconds[name].append(sweep())
        for name, sweeps in theirs.items():
            time.sleep(PAUSE)
            seconds[name] += sweeps(repeats - repeat)
        if size == MIDDLE:
            for name in DTYPES:
                rates[name] += _gemm_rates(settings["gemm"], name, threads)
        if repeat == repeats // 2 and "myFM" not in left_out:
            seconds["myFM"] = myfm_seconds(
                ratings,
                n_factors=rank,
                **{name: settings[name] for name in ("sweeps", "least", "budget")},
            )
    return {"seconds": seconds, "gemm": rates}


def _our_variants(
    ratings: Ratings, size: str, rank: int, settings: Settings
) -> dict[str, Callable[[], float]]:
    found: dict[str, Callable[[], float]] = {}
    threads, fewest = settings["threads"], settings["fewest"][size]
    for dtype in DTYPES:
        # Compiles, or loads what is on disk, and says how long a sweep takes.
        one = _fit(ratings, rank, 2, threads, settings, dtype=dtype)[1]
        wanted = math.ceil(settings["seconds"] / one)
        extra = min(max(wanted, fewest), settings["most"])

        def difference(
            threads: int = threads, *, shortcut: bool = True, dtype: str = dtype, extra: int = extra
        ) -> float:
            with nullcontext() if shortcut else _no_shortcut():
                short, long = (
                    _fit(ratings, rank, draws, threads, settings, dtype=dtype)[0]
                    for draws in (1, 1 + extra)
                )
            return (long - short) / extra

        found[dtype] = difference
        if size == MIDDLE:
            found[dtype + DENSE] = partial(difference, shortcut=False)
        if size in (MIDDLE, LARGE) and str(rank) == RANK:
            found[dtype + ALONE] = partial(difference, 1)
    if size == MIDDLE:
        found["ALS"] = lambda: _als_difference(ratings, rank, extra, threads)
    return found


def _fit(
    ratings: Ratings, rank: int, draws: int, threads: int, settings: Settings, **options: Any
) -> tuple[float, float]:
    """Wall seconds of a fit, and those of its last sweep without the recording."""
    gc.collect()  # the draws of the fit before this one
    with limited(threads):
        start = time.perf_counter()
        post = bayesmf.fit_bpmf(
            ratings,
            n_factors=rank,
            chains=1,
            tune=0,
            draws=draws,
            cores=threads,
            random_seed=1,
            probe=settings["probe"],
            progressbar=False,
            **options,
        )
        seconds = time.perf_counter() - start
    return seconds, float(post.data["sample_stats"]["seconds"].to_numpy()[0, -1])


def _no_shortcut() -> Any:
    from bayesmf.kernels import blocks

    return mock.patch.dict(blocks.LOW_DEGREE, dict.fromkeys(DTYPES, 0.0))


def _als_difference(ratings: Ratings, rank: int, extra: int, threads: int) -> float:
    def seconds(sweeps: int) -> float:
        with limited(threads), warnings.catch_warnings():
            # That it has not converged is what is wanted here.
            warnings.filterwarnings("ignore", message="ALS reached max_iter")
            start = time.perf_counter()
            found = bayesmf.fit_als(
                ratings,
                n_factors=rank,
                reg=5.0,
                reg_bias=2.0,
                max_iter=sweeps,
                tol=0,
                dtype="float32",  # as LensKit's
                validation_size=1e-9,
                cores=threads,
                random_seed=1,
                progressbar=False,
            )
            wall = time.perf_counter() - start
        if len(found.loss) != 1 + 2 * sweeps:
            raise ValueError(f"ALS stopped before {sweeps} sweeps")
        return wall

    # It fits twice, once without the validation part: a single rating here.
    return (seconds(1 + extra) - seconds(1)) / (2 * extra)


def _within(
    settings: Settings, sweeps: Callable[[int], list[float]]
) -> Callable[[int], list[float]]:
    """Share the sweeps of a peer out over the turns that are left, within its budget."""
    spent: list[float] = []

    def turn(turns: int) -> list[float]:
        found: list[float] = []
        for _ in range(math.ceil((settings["sweeps"] - len(spent)) / turns)):
            # At least one a turn: what makes the middle of the run as it is falls on both.
            if found and len(spent) >= settings["least"] and sum(spent) > settings["budget"]:
                break
            found += sweeps(1)
            spent.append(found[-1])
        return found

    return turn


def _smurff(ratings: Ratings, rank: int, settings: Settings) -> Callable[[int], list[float]]:
    session = SmurffSweeps(
        ratings, n_factors=rank, threads=settings["threads"], test=settings["probe"]
    )
    session.seconds(2)  # the first kept draw, its second, is slower than all others
    return _within(settings, session.seconds)


def _gemm_rates(n: int, dtype: str, threads: int) -> list[float]:
    """GF/s of square matrix products."""
    matrix = np.random.default_rng(0).random((n, n)).astype(dtype)
    found = []
    with limited(threads, blas=threads):
        for _ in range(3):
            start = time.perf_counter()
            _ = matrix @ matrix
            found.append(2 * n**3 / (time.perf_counter() - start) / 1e9)
    return found


def operations(shape: Sequence[int], rank: int) -> float:
    """Operations of a sweep: a Gram matrix and a right-hand side per rating, a Cholesky per row.

    The bias is not counted, for anyone.
    """
    n_users, n_items, n_ratings = shape
    return 2 * n_ratings * rank * (rank + 1) + (n_users + n_items) * rank**3 / 3


def rate(numbers: Numbers, rank: str, model: str) -> float:
    """GF/s of a model at the middle size."""
    found = numbers["points"][MIDDLE]
    seconds = median(found["ranks"][rank]["seconds"][model])
    return operations(found["shape"], int(rank)) / seconds / 1e9


def gemm_rate(numbers: Numbers, dtype: str) -> float:
    """GF/s of BLAS over the whole run."""
    points = numbers["points"][MIDDLE]["ranks"].values()
    return median([one for point in points for one in point["gemm"][dtype]])


def _share(numbers: Numbers, rank: str, dtype: str, variant: str = "") -> float:
    """Of the rate of BLAS in the same minutes."""
    blas = median(numbers["points"][MIDDLE]["ranks"][rank]["gemm"][dtype])
    return rate(numbers, rank, dtype + variant) / blas


def _points(numbers: Numbers) -> Iterator[tuple[str, str, dict[str, list[float]]]]:
    for size, found in numbers["points"].items():
        for rank, point in found["ranks"].items():
            yield size, rank, point["seconds"]


def _times(numbers: Numbers, theirs: str, ours: str, sizes: Sequence[str] = ()) -> dict[str, float]:
    """How many times as fast one is as the other, where both were measured."""
    return {
        _name(size, rank): median(seconds[theirs]) / median(seconds[ours])
        for size, rank, seconds in _points(numbers)
        if theirs in seconds and ours in seconds and (not sizes or size in sizes)
    }


def _per_rating(numbers: Numbers, size: str, dtype: str) -> float:
    """Nanoseconds."""
    found = numbers["points"][size]
    return median(found["ranks"][RANK]["seconds"][dtype]) / found["shape"][2] * 1e9


def bars(numbers: Numbers) -> list[Bar]:
    """Against the peers, BLAS, one thread and a tenth of the ratings; the worst point counts."""
    found = [
        worst(
            f"sweeps of {dtype} against SMURFF's, worst point",
            limit,
            _times(numbers, "SMURFF", dtype),
        )
        for dtype, limit in TIMES_SMURFF.items()
    ]
    found.append(
        worst(
            "sweeps of float32 against myFM's, worst point",
            TIMES_MYFM,
            _times(numbers, "myFM", "float32"),
        )
    )
    found.append(
        worst(
            f"Gibbs sweeps of float32 against LensKit's ALS, {MIDDLE}, worst rank",
            1.0,
            _times(numbers, "LensKit", "float32"),
            2,
        )
    )
    found.append(
        worst(
            f"sweeps of `fit_als` against LensKit's ALS, {MIDDLE}, worst rank",
            TIMES_LENSKIT_ALS,
            _times(numbers, "LensKit", "ALS"),
            2,
        )
    )
    for dtype in DTYPES:
        for rank in RATED:
            if rank not in numbers["points"][MIDDLE]["ranks"]:
                continue
            share, shorter = (_share(numbers, rank, dtype, variant) for variant in (DENSE, ""))
            found.append(
                Bar(
                    f"share of BLAS's rate, {dtype}, {_name(MIDDLE, rank)}, shortcut off",
                    f"≥ {SHARE_OF_BLAS:.0%}",
                    f"{share:.0%} ({shorter:.0%} with the shortcut)",
                    share >= SHARE_OF_BLAS,
                )
            )
    found += [
        worst(
            f"two threads against one, {dtype}, {_name(size, RANK)}",
            SPEEDUP,
            {k: x for k, x in _times(numbers, dtype + ALONE, dtype).items() if k.startswith(size)},
            2,
        )
        for dtype in DTYPES
        for size in (MIDDLE, LARGE)
    ]
    for dtype in DTYPES:
        large, middle = (_per_rating(numbers, size, dtype) for size in (LARGE, MIDDLE))
        found.append(
            Bar(
                f"time per rating, {dtype}, K={RANK}: {LARGE} against {MIDDLE}",
                f"≤ {GROWTH:g} x {middle:.1f} ns",
                f"{large:.1f} ns ({large / middle:.2f} x)",
                large <= GROWTH * middle,
            )
        )
    return found


def _digits(values: Sequence[float]) -> int:
    """As many as show three figures of the smallest."""
    return max(0, 2 - math.floor(math.log10(min(values))))


def _seconds(seconds: dict[str, list[float]], model: str, usual: int = 0) -> str:
    if model not in seconds:
        return "-"
    values = seconds[model]
    few = f", {len(values)} sweeps" if len(values) < usual else ""
    return f"{shown(values, min(_digits(values), 5))}{few}"


def _exponent(xs: Sequence[float], ys: Sequence[float]) -> str:
    measured = np.isfinite(ys)
    if measured.sum() < 2:
        return "-"
    found = np.polyfit(np.log(np.array(xs)[measured]), np.log(np.array(ys)[measured]), 1)
    return f"{found[0]:.2f}"


def text(numbers: Numbers, settings: Settings) -> str:
    """Seconds at every point, then what is measured at the middle size, then how it grows."""
    shapes = "; ".join(
        f"{size}: {found['shape'][0]:,} x {found['shape'][1]:,}, {found['shape'][2]:,} ratings"
        for size, found in numbers["points"].items()
    )
    protocol = f"""Simulated ratings with the shapes of MovieLens and log-normal activity on both
        sides, rounded to half stars ({shapes}). One chain, {settings["threads"]} threads each, but
        myFM has one. Ours is a whole `fit_bpmf`, with its recording, {settings["probe"]} probe
        cells and stored factors: the wall time of a long run less that of a short one, over the
        sweeps between them, as many as take {settings["seconds"]:g} s and {_fewest(settings)} at
        least; median (range) of {_repeats(settings)} repeats. Peers' sweeps are timed one by one
        after their first, {settings["sweeps"]} of them, or fewer where said, in turns with ours
        (myFM's in the middle): median (range). SMURFF predicts
        {settings["probe"]} test cells. Ours and myFM have biases, which make our rows longer by
        one. {_left_out(settings)}"""
    return "\n\n".join(
        [
            prose(protocol),
            _peers_table(numbers, settings),
            *_middle(numbers, settings),
            *_growth(numbers),
        ]
    )


def _repeats(settings: Settings) -> str:
    return ", ".join(f"{n} ({size})" for size, n in settings["repeats"].items())


def _fewest(settings: Settings) -> int:
    return min(settings["fewest"].values())


def _left_out(settings: Settings) -> str:
    said = [f"{' and '.join(who)} at {where}" for where, who in settings["left_out"].items()]
    if not said:
        return ""
    return (
        f"Left out: {'; '.join(said)}, where its cost, which is linear in K and in the ratings, "
        "makes every sweep take half a minute or more."
    )


def _peers_table(numbers: Numbers, settings: Settings) -> str:
    rows = []
    for size, rank, seconds in _points(numbers):
        ratios = [
            f"{median(seconds[theirs]) / median(seconds[ours]):.1f}" if theirs in seconds else "-"
            for theirs in ("SMURFF", "myFM")
            for ours in DTYPES
        ]
        rows.append(
            [
                _name(size, rank),
                *(_seconds(seconds, ours) for ours in DTYPES),
                *(_seconds(seconds, peer, settings["sweeps"]) for peer in ("SMURFF", "myFM")),
                *ratios,
            ]
        )
    header = ["seconds a sweep", *DTYPES, "SMURFF", "myFM"]
    header += [f"{peer} / {dtype}" for peer in ("SMURFF", "myFM") for dtype in DTYPES]
    return table(header, rows)


def _middle(numbers: Numbers, settings: Settings) -> list[str]:
    points = numbers["points"][MIDDLE]["ranks"]
    models = ("float32", "float64", "LensKit", "ALS")
    als = [
        [
            f"K={rank}",
            *(_seconds(point["seconds"], model) for model in models),
            *(
                f"{median(point['seconds']['LensKit']) / median(point['seconds'][ours]):.2f}"
                for ours in ("float32", "float64", "ALS")
            ),
        ]
        for rank, point in points.items()
    ]
    lenskit = f"""LensKit {numbers["lenskit"]}'s `BiasedMFScorer`, ALS in float32, in a process of
        its own. A sweep of ALS goes over both sides, as a Gibbs sweep does; that of `fit_als`, in
        float32 too, works out the loss after each side."""
    header = ["seconds a sweep", *(f"Gibbs, {dtype}" for dtype in DTYPES), "LensKit's ALS"]
    header += ["`fit_als`", "LensKit / float32", "LensKit / float64", "LensKit / `fit_als`"]
    rates = f"""Operations are counted alike for all: 2 n K (K + 1) + (N + M) K³ / 3 a sweep, n
        ratings of N users and M items. BLAS's rate is that of products of {settings["gemm"]} x
        {settings["gemm"]} matrices by {settings["threads"]} threads, between the sweeps. With the
        shortcut, rows with few ratings are drawn in the space of their ratings, which takes fewer
        operations than are counted."""
    shares = [
        [
            f"K={rank}, {dtype}",
            shown(point["gemm"][dtype], 0),
            *(f"{rate(numbers, rank, dtype + variant):.1f}" for variant in (DENSE, "")),
            *(f"{_share(numbers, rank, dtype, variant):.0%}" for variant in (DENSE, "")),
        ]
        for dtype in DTYPES
        for rank, point in points.items()
    ]
    gemm_header = [MIDDLE, "BLAS, GF/s", "shortcut off, GF/s", "on, GF/s", "off, of BLAS"]
    return [
        f"### {MIDDLE}: LensKit",
        prose(lenskit),
        table(header, als),
        f"### {MIDDLE}: operations a second",
        "![Operations a second by rank](images/roofline.png)",
        prose(rates),
        table([*gemm_header, "on, of BLAS"], shares),
    ]


def _growth(numbers: Numbers) -> list[str]:
    threads = [
        [
            f"{_name(size, rank)}, {dtype}",
            _seconds(seconds, dtype + ALONE),
            _seconds(seconds, dtype),
            f"{median(seconds[dtype + ALONE]) / median(seconds[dtype]):.2f}",
        ]
        for size, rank, seconds in _points(numbers)
        for dtype in DTYPES
        if dtype + ALONE in seconds
    ]
    ranks = list(numbers["points"][MIDDLE]["ranks"])
    sizes = list(numbers["points"])

    def times(size: str, rank: str, dtype: str) -> float:
        point = numbers["points"][size]["ranks"].get(rank)
        return median(point["seconds"][dtype]) if point else math.nan

    shapes = [found["shape"] for found in numbers["points"].values()]
    ratings = [float(shape[2]) for shape in shapes]
    rows = []
    for dtype in DTYPES:
        for size, n in zip(sizes, ratings, strict=True):
            cost = [times(size, rank, dtype) for rank in ranks]
            each = [f"{1e9 * x / n:.1f}" if x > 0 else "-" for x in cost]
            rows.append([f"{size}, {dtype}", *each, _exponent([float(k) for k in ranks], cost)])
        over = [_exponent(ratings, [times(size, rank, dtype) for size in sizes]) for rank in ranks]
        rows.append([f"exponent over ratings, {dtype}", *over, ""])
    # A rating is read from both sides.
    lengths = [2 * shape[2] / sum(shape[:2]) for shape in shapes]
    words = f"""Nanoseconds a rating, from the medians above, and the exponents fitted to seconds a
        sweep: over K at each size, over the number of ratings at each K. The shapes differ in more
        than the number of their ratings: rows are {", ".join(f"{n:.0f}" for n in lengths)} ratings
        long on average."""
    return [
        "### Threads",
        table(["seconds a sweep", "one thread", "two threads", "ratio"], threads),
        "### Growth",
        prose(words),
        table(["ns a rating", *(f"K={rank}" for rank in ranks), "exponent over K"], rows),
    ]


if __name__ == "__main__":
    run("sweep")
