"""Invariance and calibration at several times their size; every fault before every kind of test.

`make verify`, which writes docs/verification.md:

    python -m tests.statistical.verify               everything, then the page
    python -m tests.statistical.verify calibration   one part of it, then the page
    python -m tests.statistical.verify --quick       a smoke test: tiny sizes, nothing written
    python -m tests.statistical.verify --seed 7      with random numbers of one's own
    python -m tests.statistical.verify --batches 1   invariance at its usual size

Leave-one-out is held against fits without the rating. Each part leaves its numbers in results/; the
page is made of them by `page`. The exit status says whether everything held.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import math
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import scipy.linalg  # noqa: F401 - its BLAS must be there to be limited
from rich.console import Console
from rich.progress import track
from threadpoolctl import threadpool_limits

from bayesmf.kernels.vectors import VECTOR_BYTES
from tests.statistical import calibration, loo_refits, page
from tests.statistical.calibration_plots import coverage_figure, ecdf_figure
from tests.statistical.closed_forms import CHECKS
from tests.statistical.functionals import functionals
from tests.statistical.invariance import (
    CASES,
    PARTS,
    REPLICATES,
    Case,
    Detection,
    Values,
    changed,
    detection,
    expected_changes,
    p_values,
    parts_of,
    reference,
    run,
)
from tests.statistical.mutants import MUTANTS, STUDY, Mutant
from tests.statistical.planting import planted
from tests.statistical.rates import FALSE_FAILURE_RATE, adjusted
from tests.statistical.uniformity import (
    coverage_p_values,
    power,
    rank_p_values,
    rank_power,
    summary,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BATCHES = 5
"""Runs of REPLICATES worlds, with seeds of their own, that one test of invariance takes."""
MUTANT_REPLICATES = 8_000
"""Worlds that show how far a fault moves things, REPLICATES where these are too few to be sure;
the power that follows is of REPLICATES."""
DATA_SETS = 1000
MUTANT_DATA_SETS = 100
SEED = 20_240_000
"""Chosen before the first run, and not one of the tests' seeds."""

Numbers = list[dict[str, Any]]


def invariance(quick: bool, seed: int, sizes: int) -> Numbers:
    """Every case, as whole sweeps and block by block."""
    tasks = [
        (name, part)
        for part in ("sweep", *PARTS)
        for name, case in CASES.items()
        if part in ("sweep", *parts_of(case))
    ]
    return in_processes(partial(_invariance, quick, seed, sizes), tasks, "invariance")


def _invariance(quick: bool, start: int, sizes: int, task: tuple[str, str]) -> dict[str, Any]:
    name, part = task
    case, replicates = CASES[name], 200 if quick else REPLICATES
    batches: list[Values] = []
    others: list[Values] = []
    moved = True
    for seed in range(start, start + sizes):
        before, after = run(case, part, replicates=replicates, seed=seed)
        moved &= changed(case, before, after, part) == expected_changes(case, part)
        batches.append(functionals(after, case.setting))
        others.append(reference(case, replicates, seed))
    found = p_values(_joined(batches), _joined(others), case.setting)
    worst, p = adjusted(found)
    return {
        "case": name, "part": part, "replicates": sizes * replicates, "functionals": len(found),
        "worst": worst, "p": p, "moved": moved, "p_values": sorted(found.values()),
        "held": moved and p > FALSE_FAILURE_RATE,
    }  # fmt: skip


def _joined(batches: list[Values]) -> Values:
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def mutants(quick: bool, seed: int, _: int) -> Numbers:
    """Every fault that this processor can have before every kind of test."""
    chosen = [mutant for mutant in MUTANTS if mutant.vectors in (0, VECTOR_BYTES)]
    return in_processes(partial(_mutant, quick, seed), chosen, "mutants")


def _mutant(quick: bool, seed: int, mutant: Mutant) -> dict[str, Any]:
    replicates = 400 if quick else MUTANT_REPLICATES
    with tempfile.TemporaryDirectory() as folder, planted(mutant, Path(folder)) as package:
        forms = [name for name, check in CHECKS.items() if _fails(check, package)]
        case = CASES[mutant.case or "learned"]
        still = set()
        for part in ("sweep", "user_hyper", "item_hyper"):
            before, after = run(case, part, seed=seed, replicates=20, package=package)
            still |= expected_changes(case, part) - changed(case, before, after, part)
        own = _seen(case, mutant.part, package, replicates, seed) if mutant.case else None
        if own is not None and not own["power"] > page.SURE and not quick:
            own = _seen(case, mutant.part, package, REPLICATES, seed)
        sweep = _seen(case, "sweep", package, replicates, seed)
        ranks = _ranks(package, quick, seed) if mutant.check == "calibration" else None
    seen = {
        "closed forms": bool(forms),
        "moves": bool(still),
        "": own is not None and own["p"] < FALSE_FAILURE_RATE and own["power"] > page.SURE,
        "calibration": ranks is not None and ranks["p"] < FALSE_FAILURE_RATE,
    }
    return {
        "name": mutant.name, "fault": mutant.fault, "closed_forms": forms,
        "stands_still": sorted(still),
        "replicates": replicates, "case": mutant.case, "part": mutant.part, "own": own,
        "sweep": sweep, "calibration": ranks,
        "held": seen[mutant.check],
    }  # fmt: skip


def _fails(check: Callable[[str], None], package: str) -> bool:
    try:
        check(package)
    except (AssertionError, ArithmeticError, ValueError):  # LinAlgError is a ValueError
        return True
    return False


def _seen(case: Case, part: str, package: str, replicates: int, seed: int) -> dict[str, Any]:
    try:
        _, after = run(case, part, replicates=replicates, seed=seed, package=package)
    except (ArithmeticError, np.linalg.LinAlgError) as error:
        # Rows that cannot be drawn are seen by anyone.
        return {"p": 0.0, **Detection(type(error).__name__, 1.0, 1.0)._asdict()}
    found, other = functionals(after, case.setting), reference(case, replicates, seed)
    p = adjusted(p_values(found, other, case.setting))[1]
    return {"p": p, **detection(found, other, case.setting, REPLICATES)._asdict()}


def _ranks(package: str, quick: bool, seed: int) -> dict[str, Any]:
    study = calibration.run_study(STUDY, 10 if quick else MUTANT_DATA_SETS, seed, package)
    worst, p = adjusted(rank_p_values(study) | coverage_p_values(study))
    return {"worst": worst, "p": p}


def calibrate(quick: bool, seed: int, _: int) -> Numbers:
    """Every study of fits, and its figures."""
    data_sets = 6 if quick else DATA_SETS
    tasks = list(calibration.CASES)
    studies = in_processes(partial(_study, data_sets, seed), tasks, "calibration")
    return [_drawn(number, study, quick, seed) for number, study in enumerate(studies)]


def _study(data_sets: int, seed: int, name: str) -> calibration.Study:
    return calibration.run_study(name, data_sets, seed)


def _drawn(number: int, study: calibration.Study, quick: bool, seed: int) -> dict[str, Any]:
    mpl.use("agg")
    if not quick:
        for kind, figure in (("ranks", ecdf_figure(study)), ("coverage", coverage_figure(study))):
            figure.savefig(page.IMAGES / f"calibration-{kind}-{number + 1}.png", dpi=110)
    numbers, case = summary(study), calibration.CASES[study.name]
    worst, p = adjusted(numbers["p_values"])
    rate = FALSE_FAILURE_RATE / len(numbers["p_values"])
    rng = np.random.default_rng(seed)
    ranks = {
        f"{shift:g}, {ratio:g}": rank_power(
            study.data_sets, study.n_ranked, shift, ratio, rate, rng, 10 if quick else 200
        )
        for shift, ratio in page.RANK_FAULTS
    }
    return numbers | {
        "worst": worst, "p": p, "power": power(study, 0.9, rate), "rank_power": ranks,
        "held": p > FALSE_FAILURE_RATE, "chains": case.chains, "tune": case.tune,
        "draws": case.draws, "thin": case.thin,
    }  # fmt: skip


def in_processes[T, R](function: Callable[[T], R], tasks: Sequence[T], what: str) -> list[R]:
    """Map over tasks in two processes, each with one thread for BLAS."""
    limit = partial(threadpool_limits, 1, "blas")
    with ProcessPoolExecutor(2, get_context("spawn"), limit) as pool:
        return list(
            track(pool.map(function, tasks), what, len(tasks), console=Console(stderr=True))
        )


def leave_one_out(quick: bool, seed: int, _: int) -> Numbers:
    """PSIS-LOO against fits without the rating."""
    return [loo_refits.compare(seed, quick=quick)]


STAGES = dict(zip(page.STAGES, (invariance, mutants, calibrate, leave_one_out), strict=True))


def main() -> int:
    """Run what the command line asks for; 0 if everything held."""
    parser = argparse.ArgumentParser(prog="python -m tests.statistical.verify")
    # Without any, argparse asks whether the empty list is among the choices.
    parser.add_argument("parts", nargs="*", choices=[*STAGES, []], help="all by default")
    parser.add_argument("--quick", action="store_true", help="tiny sizes; nothing is written")
    parser.add_argument("--seed", type=int, default=SEED, help="of all random numbers")
    parser.add_argument("--batches", type=int, default=BATCHES, help="of worlds, for invariance")
    arguments = parser.parse_args()
    held, console = True, Console()
    for name in arguments.parts or STAGES:
        start = time.perf_counter()
        rows = STAGES[name](arguments.quick, arguments.seed, arguments.batches)
        held &= all(row["held"] for row in rows)
        minutes = math.ceil((time.perf_counter() - start) / 6) / 10
        date = dt.datetime.now(dt.UTC).date().isoformat()
        count = sum(row["held"] for row in rows)
        console.print(f"{name}: {count} of {len(rows)} held, {minutes} min")
        if not arguments.quick:
            page.RESULTS.mkdir(exist_ok=True)
            result = {"date": date, "minutes": minutes, "seed": arguments.seed, "rows": rows}
            text = json.dumps(result, indent=1, default=float) + "\n"
            (page.RESULTS / f"{name}.json").write_text(text)
    if not arguments.quick:
        page.write()
    return 0 if held or arguments.quick else 1


if __name__ == "__main__":
    sys.exit(main())
