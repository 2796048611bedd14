"""On one core: ways to add up a Gram matrix and to solve rows, normals, a sweep by its parts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from unittest import mock

import numba
import numpy as np
import scipy.linalg.blas

import bayesmf
from bayesmf.draws.keeping import plan_keeping
from bayesmf.draws.probes import choose_probes
from bayesmf.draws.recorder import Recorder, Recording, Watched
from bayesmf.gibbs.engines import ENGINES
from bayesmf.gibbs.sampler import build_blocks, build_step, initial_state
from bayesmf.indexing import Side
from bayesmf.kernels import blocks
from bayesmf.kernels.blocks import Data, SideData
from bayesmf.kernels.dense import add_gram, buffer, padded_rows, whole
from bayesmf.kernels.normals import standard_normals
from bayesmf.kernels.streams import Streams
from bayesmf.kernels.updates import prepare
from bayesmf.model import BPMF
from benchmarks.common import Bar, limited, median, progress, prose, run, shown, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.common import Numbers, Settings

TITLE = "Inside the row update"
SETTINGS = {
    "ranks": [16, 32, 64, 128],
    "tile": 128,
    "rows": 400,
    "ratings": 512,
    "shares": [0.125, 0.25, 0.5, 0.75],
    "normals": 100_000,
    # Users, items, ratings and rank of the tables whose sweeps are taken apart.
    "sweeps": [[943, 1_682, 100_000, 10], [6_040, 3_706, 1_000_000, 64]],
    "repeats": 9,
    "gemm": 1_536,
    "seconds": 0.05,
}
QUICK = {
    "sweeps": [[90, 60, 900, 10]],
    "ranks": [16], "rows": 20, "ratings": 130, "repeats": 2, "gemm": 64, "seconds": 0.001,
}  # fmt: skip
DTYPES = ("float32", "float64")
PARTS = (
    "user_hyper", "user_rows", "item_hyper", "item_rows", "user_shift", "item_shift", "user_scale",
    "item_scale", "noise", "moments", "recording",
)  # fmt: skip
WAYS = ("plain loops", "BLAS, a call a tile", "micro-kernel", "whole row update", "gemm")


@numba.njit(fastmath={"contract", "reassoc", "nsz"})
def _plain(tile, gram, times):
    # What one writes first: LLVM vectorises the inner loop and stores every sum at every rating.
    n, k = tile.shape
    for _ in range(times):
        for t in range(n):
            for a in range(k):
                x = tile[t, a]
                for b in range(a + 1):
                    gram[a, b] += x * tile[t, b]


@numba.njit
def _micro(tile, k, n, times):
    width = tile.shape[1]
    gram = buffer(padded_rows(k) * whole(width, tile.itemsize), tile)
    flat = tile.reshape(-1)
    for _ in range(times):
        add_gram(gram, width, flat, width, k, n)
    return gram[0]


def measure(settings: Settings) -> Numbers:
    """GF/s by way and rank, microseconds of rows by way, normals, and sweeps by their parts."""
    numbers: Numbers = {"rates": {}, "rows": {}}
    with limited(1):
        numbers["normals"] = _normals(settings)
        numbers["sweeps"] = [_parts(*sweep, settings) for sweep in settings["sweeps"]]
        for dtype in DTYPES:
            numbers["rates"][dtype], numbers["rows"][dtype] = {}, {}
            for rank in settings["ranks"]:
                numbers["rates"][dtype][str(rank)] = _rates(rank, dtype, settings)
                numbers["rows"][dtype][str(rank)] = _short_rows(rank, dtype, settings)
                found = numbers["rates"][dtype][str(rank)]
                progress(dtype, rank, {way: shown(rates, 1) for way, rates in found.items()})
    return numbers


def _rates(rank: int, dtype: str, settings: Settings) -> dict[str, list[float]]:
    rng, n = np.random.default_rng(rank), settings["tile"]
    tile = np.zeros((n, whole(rank, np.dtype(dtype).itemsize)), dtype)
    tile[:, :rank] = rng.standard_normal((n, rank))
    dense = np.asfortranarray(tile[:, :rank].T)
    gram = np.zeros((rank, rank), dtype)
    syrk = scipy.linalg.blas.ssyrk if dtype == "float32" else scipy.linalg.blas.dsyrk
    square = rng.standard_normal((settings["gemm"],) * 2).astype(dtype)
    update, rows = _update(np.full(settings["rows"], settings["ratings"]), rank, dtype, 0.0)
    operations = n * rank * (rank + 1)

    def blas(times: int) -> None:
        for _ in range(times):
            syrk(1.0, dense)

    ways: dict[str, tuple[Callable[[int], object], float]] = {
        "plain loops": (lambda times: _plain(tile[:, :rank].copy(), gram, times), operations),
        "BLAS, a call a tile": (blas, operations),
        "micro-kernel": (lambda times: _micro(tile, rank, n, times), operations),
        "whole row update": (
            lambda times: [update() for _ in range(times)],
            rows * (settings["ratings"] * rank * (rank + 1) + rank**3 / 3),
        ),
        "gemm": (lambda times: [square @ square for _ in range(times)], 2 * len(square) ** 3),
    }
    found: dict[str, list[float]] = {way: [] for way in ways}
    counts = {way: _count(work, settings["seconds"]) for way, (work, _) in ways.items()}
    for _ in range(settings["repeats"]):
        for way, (work, each) in ways.items():
            found[way].append(each * counts[way] / _seconds(work, counts[way]) / 1e9)
    return found


def _short_rows(rank: int, dtype: str, settings: Settings) -> dict[str, list[list[float]]]:
    """Microseconds a row of K/8, K/4 ... ratings: drawn as all are, and in their space."""
    found: dict[str, list[list[float]]] = {}
    for share in settings["shares"]:
        degrees = np.full(4 * settings["rows"], max(1, round(share * rank)))
        ways = [_update(degrees, rank, dtype, low) for low in (0.0, 1.0)]
        for update, _ in ways:
            update()
        found[f"{share:g}"] = [
            [_seconds(lambda _, u=update: u(), 1) / rows * 1e6 for _ in range(settings["repeats"])]
            for update, rows in ways
        ]
    return found


def _normals(settings: Settings) -> dict[str, list[list[float]]]:
    """Nanoseconds a normal, by type: NumPy's Philox generator, and the kernels'."""
    found, n = {}, settings["normals"]
    rng = np.random.Generator(np.random.Philox(1))
    for dtype in DTYPES:
        ways: list[Callable[[int], object]] = [
            lambda _, dtype=dtype: rng.standard_normal(n, np.dtype(dtype)),
            lambda _, dtype=dtype: standard_normals(0, n, 0, 1, (1, 2), np.dtype(dtype)),
        ]
        for way in ways:
            way(1)
        found[dtype] = [
            [_seconds(way, 1) / n * 1e9 for _ in range(settings["repeats"])] for way in ways
        ]
    return found


def _parts(
    n_users: int, n_items: int, n_ratings: int, rank: int, settings: Settings
) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of each block of a sweep, and of recording it, by type."""
    ratings = bayesmf.simulate(
        n_users, n_items, n_ratings, activity_sd=1.0, round_to=0.5, random_seed=1
    ).ratings
    model, streams, engine = BPMF(rank), Streams.of_chain(1, 0), ENGINES["numba"]
    working, found = model.working_scale(ratings), {}
    for dtype in DTYPES:
        data = Data.build(ratings, working, rank, True, dtype)
        keeping = plan_keeping(
            ratings, model, chains=1, draws=settings["repeats"], keep=None, memory_budget=10**9,
            stored=False, function="kernels",
        )  # fmt: skip
        watched = Watched(choose_probes(ratings, 500))
        recorder = Recorder(Recording(ratings, model, 1, settings["repeats"], keeping, watched))
        blocks_of = build_blocks(data, model, engine)
        state, info = build_step(data, model, engine)(initial_state(data, model, streams), streams)
        each: dict[str, list[float]] = {part: [] for part in PARTS}
        for draw in range(settings["repeats"]):
            new = state._replace(sweep=state.sweep + 1)
            for name, block in blocks_of.items():
                start = time.perf_counter()
                new = block(new, streams)
                each[name].append(1e3 * (time.perf_counter() - start))
            start = time.perf_counter()
            engine.moments(state.user_rows)
            engine.moments(state.item_rows)
            each["moments"].append(1e3 * (time.perf_counter() - start))
            start = time.perf_counter()
            recorder.record(0, draw, state, info, 0.0)
            each["recording"].append(1e3 * (time.perf_counter() - start))
        found[dtype] = each
    return found


def _update(
    degrees: np.ndarray, rank: int, dtype: str, low: float
) -> tuple[Callable[[], int], int]:
    """One call that updates rows with these numbers of ratings, and how many rows there are."""
    rng, n_partners, d = np.random.default_rng(1), 4_000, rank + 1
    indptr = np.concatenate([[0], np.cumsum(degrees)])
    side = Side(indptr, rng.integers(0, n_partners, indptr[-1]).astype(np.int32))
    partner_rows = 0.3 * rng.standard_normal((n_partners, d)).astype(dtype)
    with (
        mock.patch.dict(blocks.LOW_DEGREE, dict.fromkeys(DTYPES, low)),
        mock.patch.multiple(blocks, WHITEN_COST=0.0, LOW_FROM=0),
    ):
        data = SideData.build(side, rng.standard_normal(indptr[-1]).astype(dtype), d, n_partners)
    update = prepare(data, partner_rows, True, 1.3, np.zeros(d), 3.0 * np.eye(d), None)
    normals = rng.standard_normal(data.normal_starts[-1]).astype(dtype)
    out = np.empty((len(degrees), d), dtype)
    return lambda: update.block(range(len(degrees)), normals, out), len(degrees)


def _seconds(work: Callable[[int], object], times: int) -> float:
    start = time.perf_counter()
    work(times)
    return time.perf_counter() - start


def _count(work: Callable[[int], object], seconds: float) -> int:
    work(1)  # compiles
    return max(1, round(seconds / _seconds(work, 1)))


def bars(numbers: Numbers) -> list[Bar]:
    """The micro-kernel beside plain loops."""
    found = []
    for dtype, ranks in numbers["rates"].items():
        rank = max(ranks, key=int)
        plain, micro = (median(ranks[rank][way]) for way in ("plain loops", "micro-kernel"))
        what = f"micro-kernel against plain loops, {dtype}, K={rank}"
        found.append(Bar(what, "≥ 2 x", f"{micro / plain:.1f} x", micro >= 2 * plain))
    return found


def text(numbers: Numbers, settings: Settings) -> str:
    """Rates by way, then short rows."""
    rates = [
        [f"{dtype}, K={rank}", *(shown(found[way], 1) for way in WAYS)]
        for dtype, ranks in numbers["rates"].items()
        for rank, found in ranks.items()
    ]
    rows = [
        [
            f"{dtype}, K={rank}",
            *(
                " / ".join(f"{median(way):.2f}" for way in found[f"{share:g}"])
                for share in settings["shares"]
            ),
        ]
        for dtype, ranks in numbers["rows"].items()
        for rank, found in ranks.items()
    ]
    protocol = f"""One core, GF/s: ways to add the lower triangle of X'X of {settings["tile"]}
        ratings, counted as n K (K + 1) operations; the whole update of rows of
        {settings["ratings"]} ratings, gathering, Cholesky factor, solves and all, with K^3 / 3 more
        for each; and a product of square matrices of {settings["gemm"]}. Median (range) of
        {settings["repeats"]} turns."""
    short = f"""Microseconds a row with few ratings, drawn by a D x D system / in the space of its
        ratings, the whitening of the partners not counted. From D = {blocks.LOW_FROM} on rows with
        up to {blocks.LOW_DEGREE["float32"]:.2g} D ratings ({blocks.LOW_DEGREE["float64"]:.2g} D in
        double precision) go the second way, where the whitening pays."""
    header = ["n / K", *(f"{share:g}" for share in settings["shares"])]
    normals = [[dtype, *(shown(way, 1) for way in numbers["normals"][dtype])] for dtype in DTYPES]
    sweeps = [
        [
            f"{n_ratings:,} ratings, K={rank}, {dtype}",
            *(f"{median(found[dtype][part]):.2f}" for part in PARTS),
        ]
        for (_, _, n_ratings, rank), found in zip(
            settings["sweeps"], numbers["sweeps"], strict=True
        )
        for dtype in DTYPES
    ]
    return "\n\n".join(
        [
            prose(protocol),
            table(["GF/s", *WAYS], rates),
            prose(short),
            table(header, rows),
            "Nanoseconds a standard normal, median (range).",
            table(["", "NumPy, Philox", "kernels"], normals),
            "Milliseconds of the parts of a sweep, medians.",
            table(["", *(part.replace("_", " ") for part in PARTS)], sweeps),
        ]
    )


if __name__ == "__main__":
    run("kernels")
