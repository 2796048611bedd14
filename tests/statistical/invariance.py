"""Exact invariance: worlds from prior and likelihood, updated, must still be such worlds.

Geweke (2004), "Getting it right: joint distribution tests of posterior simulators", in independent
replicates as in Gandy & Scott (2020), "Unit testing for MCMC and other Monte Carlo methods": theta0
from the prior, y given theta0, then blocks or sweeps of the sampler. If it leaves p(theta | y)
invariant, (theta_L, y) is distributed as (theta0, y), exactly and for any L. Worlds are
independent, so plain Kolmogorov-Smirnov tests hold at their stated level. theta0 and theta_L of one
world depend on each other, so a reference sample is of other worlds.

A case is a line in CASES: a setting, an engine, and what forces the path that it is there for.
"""

from __future__ import annotations

import math
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple
from unittest import mock

import numpy as np
from scipy import stats

from bayesmf.model import BPMF, GammaPrior, NormalWishart, WorkingScale
from tests.statistical.functionals import functionals, laws
from tests.statistical.paths import PATHS, path_forced
from tests.statistical.rates import FALSE_FAILURE_RATE
from tests.statistical.worlds import Setting, Worlds, draw_worlds

if TYPE_CHECKING:
    from collections.abc import Callable

REPLICATES = 20_000
SWEEPS = 2
MOVES = ("user_shift", "item_shift", "user_scale", "item_scale")
"""Blocks that only models with biases have."""
PARTS = ("user_hyper", "user_rows", "item_hyper", "item_rows", *MOVES, "noise")
"""Blocks of a sweep, each of which must leave the joint distribution invariant alone."""

# Informative (nu0 >= D + 10) but for PUBLISHED, so that rounding is far below what tests can see.
LEARNED = NormalWishart(mu0=0.5, extra_dof=12.0, row_share=0.0, strength=GammaPrior(6.0, 1.0))
FIXED = NormalWishart(mu0=0.5, beta0=1.3, extra_dof=10.0, row_share=0.5, strength=2.0)
PUBLISHED = NormalWishart(extra_dof=0.0, row_share=0.0, strength=1.0)
ALPHA = GammaPrior(4.0, 3.0)
# Data that outweigh the prior: a row's precision is then far from diagonal.
STRONG = GammaPrior(8.0, 0.2)
# So little in one rating that a row of two hundred is about as informative as its prior.
WEAK = GammaPrior(4.0, 200.0)

SMALL = np.array([(0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 1), (3, 0), (3, 1)])
# Two users with more ratings than a tile has columns, and no multiple of its padding.
LONG = np.array([(0, j) for j in range(198)] + [(1, j) for j in range(198) if j % 18])


Values = dict[str, np.ndarray]
"""Functionals (R,) by name."""


class Case(NamedTuple):
    """What is run: a setting on an engine.

    Attributes
    ----------
    name : str
    setting : Setting
    engine : str
        A key of ENGINES.
    many_blocks : bool
        Cut each side into blocks of one row, each drawn by itself.
    dtype : str
        Type that rows are computed in.
    path : str
        A key of PATHS: how rows are drawn.
    """

    name: str
    setting: Setting
    engine: str = "numba"
    many_blocks: bool = False
    dtype: str = "float64"
    path: str = ""


def small(
    n_factors: int,
    biases: bool,
    prior: NormalWishart = LEARNED,
    alpha: GammaPrior | float = ALPHA,
) -> Setting:
    """Four users, three items, eight ratings."""
    return Setting(BPMF(n_factors, biases, prior, alpha, 0.0, 1.0), 4, 3, SMALL)


LONG_SETTING = Setting(BPMF(1, True, LEARNED, WEAK, 0.0, 1.0), 2, 198, LONG)
LOW = "in the space of ratings"

CASES = {
    case.name: case
    for case in (
        Case("learned", small(1, True)),
        Case("no biases", small(2, False, LEARNED, STRONG)),
        Case("rank 0", small(0, True)),
        Case("default prior", small(2, True, NormalWishart(), GammaPrior())),
        Case("fixed strength", small(1, True, FIXED)),
        Case("fixed alpha", small(1, True, LEARNED, 1.5)),
        # nu0 = K: most moments are infinite, distribution functions are not troubled.
        Case("published 2008", small(2, False, PUBLISHED, 2.0)),
        # Five coordinates: one more than the kernel's padding.
        Case("five coordinates", small(4, True)),
        Case("long rows", LONG_SETTING, path="in tiles"),
        Case("many blocks", small(1, True), many_blocks=True),
        Case("numpy", small(1, True), engine="numpy"),
        Case("numpy, no biases", small(2, False, FIXED, STRONG), engine="numpy"),
        Case("in tiles", small(2, True, LEARNED, STRONG), path="in tiles"),
        # Systems of several blocks, the first of them not whole, and more than a vector of factors.
        Case("several blocks", small(13, False, LEARNED, STRONG)),
        Case("several blocks, single precision", small(17, True), dtype="float32"),
        Case("single precision", small(1, True), dtype="float32"),
        # "low": rows with few ratings, drawn in the space of these.
        Case("low", small(2, True, LEARNED, STRONG), path=LOW),
        Case("low, single precision", small(1, True), dtype="float32", path=LOW),
        Case("numpy, low", small(1, True), engine="numpy", path=LOW),
        # Gram sums of many panels, the last of them whole and not.
        Case("low, many panels", LONG_SETTING, path=LOW),
        Case("in segments", LONG_SETTING, path="in segments"),
        Case("in segments, single precision", LONG_SETTING, dtype="float32", path="in segments"),
    )
}


# What differs from another case in nothing but how rows are drawn, or by which engine, has these
# drawn alone; sweeps of a few cases, and blocks of those that have something of their own: the rest
# takes long, and is left to `make verify`.
ROW_CASES = (
    "many blocks",
    "numpy, no biases",
    "in segments",
    "several blocks",
    "several blocks, single precision",
    "in tiles",
    "low, many panels",
    "low, single precision",
    "numpy, low",
    "in segments, single precision",
)
SWEEP_CASES = ("learned", "no biases", "rank 0", "single precision")
ROWS_AND_HYPERS = ("user_rows", "item_hyper")
BLOCK_CASES = ("learned", "no biases", "rank 0", "numpy")


def parts_of(case: Case) -> tuple[str, ...]:
    """Blocks that a case has."""
    return PARTS if case.setting.model.biases else tuple(p for p in PARTS if p not in MOVES)


TESTED = (
    *((name, "sweep") for name in SWEEP_CASES),
    *((name, "user_rows") for name in ROW_CASES),
    *((name, part) for name in BLOCK_CASES for part in PARTS if part not in MOVES),
    *(("single precision", part) for part in PARTS if part not in MOVES),
    *(("learned", part) for part in MOVES),
    *((name, part) for name in ("five coordinates", "long rows") for part in ROWS_AND_HYPERS),
    ("fixed alpha", "noise"),
    ("five coordinates", "user_hyper"),
    ("five coordinates", "user_shift"),
    ("in tiles", "user_scale"),
    ("long rows", "noise"),
    ("rank 0", "user_shift"),
    ("rank 0", "item_scale"),
    ("fixed strength", "user_scale"),
    ("single precision", "item_scale"),
    ("low", "user_rows"),
    ("low", "item_rows"),
)
"""What the suite runs; `make verify` runs every block of every case."""

THOROUGH = (
    ("learned", "sweep"),
    ("rank 0", "sweep"),
    ("single precision", "sweep"),
    ("low, many panels", "user_rows"),
)
"""Of these, what `make test` leaves to `make verify`."""


def build_update(
    case: Case, part: str, sweeps: int, package: str
) -> Callable[[Worlds, int, int], object]:
    """Make `update(worlds, world, seed)`, the state reached by a block or by sweeps."""
    blocks = import_module(f"{package}.kernels.blocks")
    sampler = import_module(f"{package}.gibbs.sampler")
    engine = import_module(f"{package}.gibbs.engines").ENGINES[case.engine]
    streams_of = import_module(f"{package}.kernels.streams").Streams
    table, model = case.setting.table, case.setting.model
    with path_forced(blocks, PATHS[case.path]):
        data = blocks.Data.build(
            table, WorkingScale(0.0, 1.0), model.n_factors, model.biases, case.dtype
        )
    if case.many_blocks:
        users, items = (
            side._replace(blocks=blocks.row_blocks(side.side, ratings_per_block=1))
            for side in (data.users, data.items)
        )
        assert (len(users.blocks), len(items.blocks)) == (table.n_users, table.n_items)
        data = data._replace(users=users, items=items)
    item_order = table.in_item_order(np.arange(len(table)))
    single = data.dtype == np.float32
    if part == "sweep":
        one = sampler.build_step(data, model, engine)
    else:
        one = sampler.build_blocks(data, model, engine)[part]

    def update(worlds: Worlds, world: int, seed: int) -> object:
        # The arrays of the targets are written in place, so that nothing is built again.
        y = worlds.ratings[world]
        data.users.targets[:] = y
        data.items.targets[:] = y[item_order]
        state, streams = worlds.state(world), streams_of((seed, world))
        if single:
            state = state._replace(
                user_rows=state.user_rows.astype(np.float32),
                item_rows=state.item_rows.astype(np.float32),
            )
        if part != "sweep":
            return one(state, streams)
        for _ in range(sweeps):
            state, _ = one(state, streams)
        return state

    return update


def run(
    case: Case,
    part: str = "sweep",
    *,
    replicates: int = REPLICATES,
    sweeps: int = SWEEPS,
    seed: int,
    package: str = "bayesmf",
) -> tuple[Worlds, Worlds]:
    """Worlds before and after a block, or after sweeps, of the package's sampler."""
    before = draw_worlds(case.setting, replicates, np.random.default_rng([seed, 1]))
    if case.dtype == "float32":
        # What a block leaves alone must stay the same to the last bit.
        user, item = (
            side._replace(rows=side.rows.astype(np.float32).astype(np.float64))
            for side in (before.user, before.item)
        )
        before = before._replace(user=user, item=item)
    update = build_update(case, part, sweeps, package)
    blocks = import_module(f"{package}.kernels.blocks")
    alone = 1 if case.many_blocks else blocks.BLOCKS_ALONE
    with mock.patch.object(blocks, "BLOCKS_ALONE", alone):
        states = [update(before, world, seed) for world in range(replicates)]
    return before, Worlds.of_states(states, before.ratings)


def reference(case: Case, replicates: int, seed: int) -> Values:
    """Functionals of other worlds, untouched, for those without a known law."""
    return _reference(_Same(case.setting), replicates, seed)


class _Same:
    """A setting that is the same as itself alone, for a cache: its arrays have no hash."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.setting is self.setting

    def __hash__(self) -> int:
        return id(self.setting)


@lru_cache(maxsize=8)
def _reference(same: _Same, replicates: int, seed: int) -> Values:
    worlds = draw_worlds(same.setting, replicates, np.random.default_rng([seed, 2]))
    return functionals(worlds, same.setting)


def p_values(found: Values, other: Values, setting: Setting) -> dict[str, float]:
    """Kolmogorov-Smirnov p-value of every functional: one sample where its law is known."""
    for name, values in found.items():
        bad = int((~np.isfinite(values)).sum())
        assert not bad, f"{name} is not finite in {bad} of {len(values)} worlds"
    known = laws(setting)
    return {
        name: float(
            stats.kstest(values, known[name].cdf).pvalue
            if name in known
            else stats.ks_2samp(values, other[name]).pvalue
        )
        for name, values in found.items()
    }


def changed(case: Case, before: Worlds, after: Worlds, part: str = "sweep") -> set[str]:
    """Name what is new in every world; a part that is new in some worlds only is an error.

    A move may leave some coordinates of a part alone, in all worlds.
    """
    names, single = set(), case.dtype == "float32"
    for side in ("user", "item"):
        for what in ("rows", "mean", "precision", "strength"):
            old, new = (getattr(getattr(worlds, side), what) for worlds in (before, after))
            share = (old != new).reshape(len(old), -1).mean(axis=0)
            if share.any():
                # In single precision a number may be by chance what it was; no place always is.
                kept = 1e-3 if single and what == "rows" else 0.0
                still = (share == 0) & (part in MOVES)
                assert (still | (1 - share <= kept)).all(), f"{side} {what} moved in part"
                names.add(f"{side} {what}")
    if (before.alpha != after.alpha).any():
        assert (before.alpha != after.alpha).all()
        names.add("alpha")
    return names


def expected_changes(case: Case, part: str) -> set[str]:
    """Name what a block must make new: everything that it draws, nothing else."""
    names: set[str] = set()
    side, _, move = part.partition("_")
    other = "item" if side == "user" else "user"
    has_factors = case.setting.model.n_factors > 0
    if move == "shift":
        # Without factors a shift is a constant: precisions know nothing of it.
        names |= {f"{side} rows", f"{side} mean", f"{other} rows", f"{other} mean"}
        return names | ({f"{other} precision"} if has_factors else set())
    if move == "scale":
        learned = case.setting.priors[side == "item"].learned
        return {f"{side} rows", f"{side} precision"} | ({f"{side} strength"} if learned else set())
    for side, prior in zip(("user", "item"), case.setting.priors, strict=True):
        if part in (f"{side}_hyper", "sweep"):
            names |= {f"{side} mean", f"{side} precision"}
            names |= {f"{side} strength"} if prior.learned else set()
        if part in (f"{side}_rows", "sweep"):
            names.add(f"{side} rows")
    if part in ("noise", "sweep") and isinstance(case.setting.model.alpha, GammaPrior):
        names.add("alpha")
    return names


class Detection(NamedTuple):
    """How surely a fault is seen.

    Attributes
    ----------
    functional : str
        The one that shows it best.
    distance : float
        Lower confidence bound of how far its distribution function is from the right one.
    power : float
        Lower bound of the probability that the test fails, by that functional alone.
    """

    functional: str
    distance: float
    power: float


CONFIDENCE = 0.999
"""Of the bound on a distance."""


def detection(found: Values, other: Values, setting: Setting, replicates: int) -> Detection:
    """Bound the power of the test with so many replicates against what made these values.

    Half of the worlds choose the functional and the point x where its distribution function is
    furthest from the right one; the other half, independent of that choice, bound the distance at
    x (Clopper & Pearson 1934). The test's statistic is at least the distance at x, a binomial share
    taken as Gaussian.
    """
    known, level = laws(setting), FALSE_FAILURE_RATE / len(found)
    half = len(found["cell 0"]) // 2
    critical = {
        True: float(stats.kstwo.isf(level, replicates)),
        False: float(stats.kstwobign.isf(level)) / math.sqrt(replicates / 2),
    }
    best, at, margin = "", 0.0, -math.inf
    for name, sample in found.items():
        x = np.sort(sample[:half])
        right = known[name].cdf(x) if name in known else _ecdf(other[name][:half], x)
        gaps = np.abs((np.arange(half) + 0.5) / half - right)
        if gaps.max() - critical[name in known] > margin:
            best, at, margin = name, float(x[gaps.argmax()]), gaps.max() - critical[name in known]
    one_sample = best in known
    low, high = _interval(found[best][half:] <= at)
    if one_sample:
        right_low = right_high = float(known[best].cdf(at))
    else:
        right_low, right_high = _interval(other[best][half:] <= at)
    distance = max(low - right_high, right_low - high, 0.0)
    if distance <= critical[one_sample]:
        return Detection(best, distance, 0.0)
    # The largest variance that a share can have.
    spread = 0.5 / math.sqrt(replicates if one_sample else replicates / 2)
    power = float(stats.norm.cdf((distance - critical[one_sample]) / spread))
    return Detection(best, distance, power)


def _ecdf(sample: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.sort(sample), x, side="right") / len(sample)


def _interval(below: np.ndarray) -> tuple[float, float]:
    found = stats.binomtest(int(below.sum()), len(below)).proportion_ci(CONFIDENCE, "exact")
    return float(found.low), float(found.high)
