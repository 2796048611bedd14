"""The suite at several times its size: `make verify`, which writes docs/verification.md.

    python -m tests.statistical.verify               everything, then the page
    python -m tests.statistical.verify calibration   one part of it, then the page
    python -m tests.statistical.verify --quick       a smoke test: tiny sizes, nothing written

Each part leaves its numbers in results/; the page is made of them by `page`. The exit status says
whether everything held.
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

from tests.statistical import calibration, page
from tests.statistical.calibration_plots import coverage_figure, ecdf_figure
from tests.statistical.closed_forms import CHECKS
from tests.statistical.functionals import functionals, laws
from tests.statistical.invariance import (
    CASES,
    PARTS,
    REPLICATES,
    Case,
    Values,
    changed,
    detection,
    expected_changes,
    p_values,
    reference,
    run,
)
from tests.statistical.mutants import MUTANTS, Mutant
from tests.statistical.planting import planted
from tests.statistical.rates import FALSE_FAILURE_RATE, adjusted
from tests.statistical.uniformity import coverage_p_values, power, rank_p_values, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BATCHES = 5
"""Runs of REPLICATES worlds, with seeds of their own, that one test of invariance takes."""
DATA_SETS = 1500
STUDY = "no biases, K=2, fixed strength"
"""The study that mutants meet; its scale of 0.5 shows what has not been brought back from it."""
SEED = 20_240_000
"""Far from the seeds of the tests: what is seen here is not what was seen there."""

Numbers = list[dict[str, Any]]


def invariance(quick: bool) -> Numbers:
    """Every case, as whole sweeps and block by block."""
    tasks = [(name, part) for part in ("sweep", *PARTS) for name in CASES]
    return in_processes(partial(_invariance, quick), tasks, "invariance")


def _invariance(quick: bool, task: tuple[str, str]) -> dict[str, Any]:
    name, part = task
    case, replicates = CASES[name], 200 if quick else REPLICATES
    batches: list[Values] = []
    others: list[Values] = []
    moved = True
    for seed in range(SEED, SEED + BATCHES):
        before, after = run(case, part, replicates=replicates, seed=seed)
        moved &= changed(before, after) == expected_changes(case, part)
        batches.append(functionals(after, case.setting))
        others.append(reference(case, replicates, seed))
    found = p_values(_joined(batches), _joined(others), case.setting)
    worst, p = adjusted(found)
    return {
        "case": name, "part": part, "replicates": BATCHES * replicates, "functionals": len(found),
        "known": len(laws(case.setting)), "worst": worst, "p": p, "moved": moved,
        "held": moved and p > FALSE_FAILURE_RATE,
    }  # fmt: skip


def _joined(batches: list[Values]) -> Values:
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def mutants(quick: bool) -> Numbers:
    """Every fault before every kind of test."""
    return in_processes(partial(_mutant, quick), MUTANTS, "mutants")


def _mutant(quick: bool, mutant: Mutant) -> dict[str, Any]:
    replicates = 400 if quick else REPLICATES
    with tempfile.TemporaryDirectory() as folder, planted(mutant, Path(folder)) as package:
        forms = [name for name, check in CHECKS.items() if _fails(check, package)]
        case = CASES[mutant.case or "learned"]
        before, after = run(case, seed=SEED, replicates=20, package=package)
        stands_still = sorted(expected_changes(case, "sweep") - changed(before, after))
        own = mutant.case and _seen(case, mutant.part, package, replicates)
        sweep = _seen(case, "sweep", package, replicates)
        ranks = mutant.check == "calibration" and _calibration_sees(package, quick)
    return {
        "name": mutant.name, "fault": mutant.fault, "closed_forms": forms,
        "stands_still": stands_still, "case": mutant.case, "part": mutant.part,
        "own": own or None, "sweep": sweep, "calibration": ranks or None,
        "held": bool(forms or stands_still or ranks) and (not own or own["power"] > 0.99),
    }  # fmt: skip


def _fails(check: Callable[[str], None], package: str) -> bool:
    try:
        check(package)
    except (AssertionError, ArithmeticError, ValueError):  # LinAlgError is a ValueError
        return True
    return False


def _seen(case: Case, part: str, package: str, replicates: int) -> dict[str, Any]:
    _, after = run(case, part, replicates=replicates, seed=SEED, package=package)
    found, other = functionals(after, case.setting), reference(case, replicates, SEED)
    p = adjusted(p_values(found, other, case.setting))[1]
    return {"p": p, **detection(found, other, case.setting, REPLICATES)._asdict()}


def _calibration_sees(package: str, quick: bool) -> dict[str, Any]:
    study = calibration.run_study(STUDY, 10 if quick else 100, SEED, package)
    worst, p = adjusted(rank_p_values(study) | coverage_p_values(study))
    return {"worst": worst, "p": p}


def calibrate(quick: bool) -> Numbers:
    """Every study of fits, and its figures."""
    tasks = list(calibration.CASES)
    studies = in_processes(partial(_study, 6 if quick else DATA_SETS), tasks, "calibration")
    return [_drawn(number, study, quick) for number, study in enumerate(studies)]


def _study(data_sets: int, name: str) -> calibration.Study:
    return calibration.run_study(name, data_sets, SEED)


def _drawn(number: int, study: calibration.Study, quick: bool) -> dict[str, Any]:
    mpl.use("agg")
    if not quick:
        for kind, figure in (("ranks", ecdf_figure(study)), ("coverage", coverage_figure(study))):
            figure.savefig(page.IMAGES / f"calibration-{kind}-{number + 1}.png", dpi=110)
    numbers = summary(study)
    worst, p = adjusted(numbers["p_values"])
    seen = power(study, 0.9, FALSE_FAILURE_RATE / len(numbers["p_values"]))
    return numbers | {"worst": worst, "p": p, "power": seen, "held": p > FALSE_FAILURE_RATE}


def in_processes[T, R](function: Callable[[T], R], tasks: Sequence[T], what: str) -> list[R]:
    """Map over tasks in two processes, each with one thread for BLAS."""
    limit = partial(threadpool_limits, 1, "blas")
    with ProcessPoolExecutor(2, get_context("spawn"), limit) as pool:
        return list(
            track(pool.map(function, tasks), what, len(tasks), console=Console(stderr=True))
        )


STAGES = {"invariance": invariance, "mutants": mutants, "calibration": calibrate}


def main() -> int:
    """Run what the command line asks for; 0 if everything held."""
    parser = argparse.ArgumentParser(prog="python -m tests.statistical.verify")
    parser.add_argument("parts", nargs="*", choices=[*STAGES, []], help="all by default")
    parser.add_argument("--quick", action="store_true", help="tiny sizes; nothing is written")
    arguments = parser.parse_args()
    held, console = True, Console()
    for name in arguments.parts or STAGES:
        start = time.perf_counter()
        rows = STAGES[name](arguments.quick)
        held &= all(row["held"] for row in rows)
        minutes = math.ceil((time.perf_counter() - start) / 6) / 10
        date = dt.datetime.now(dt.UTC).date().isoformat()
        count = sum(row["held"] for row in rows)
        console.print(f"{name}: {count} of {len(rows)} held, {minutes} min")
        if not arguments.quick:
            page.RESULTS.mkdir(exist_ok=True)
            result = {"date": date, "minutes": minutes, "rows": rows}
            text = json.dumps(result, indent=1, default=float) + "\n"
            (page.RESULTS / f"{name}.json").write_text(text)
    if not arguments.quick:
        page.write()
    return 0 if held or arguments.quick else 1


if __name__ == "__main__":
    sys.exit(main())
