"""Defaults on all of ML-100K: does `fit_bpmf` converge, and how long does it take.

And how long do its verdict, leave-one-out and its report.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import bayesmf
from benchmarks.common import Bar, limited, median, progress, prose, run, shown, table

if TYPE_CHECKING:
    from benchmarks.common import Numbers, Settings

TITLE = "Defaults on ML-100K: convergence and time"
SETTINGS = {"seeds": [1, 2, 3, 4, 5], "threads": 2, "options": {}}
QUICK = {"seeds": [1], "options": {"tune": 10, "draws": 40}}
SLOW = ("alpha", "total_log_likelihood", "singular_value")
"""Groups whose effective sample sizes are shown beside those of the probe cells."""


def measure(settings: Settings) -> Numbers:
    """Seconds, and what `Posterior.diagnose` finds, by seed; seconds of what follows from it."""
    import arviz  # noqa: F401 - takes seconds to import, once

    threads = settings["threads"]
    ratings = bayesmf.load_movielens("100k")
    common = {"cores": threads, "progressbar": False} | settings["options"]
    numbers: Numbers = {"runs": []}
    with limited(threads):
        # After the first compile: this call pays for it, or for loading what is on disk.
        bayesmf.fit_bpmf(ratings, random_seed=0, **common | {"tune": 1, "draws": 1})
        for seed in settings["seeds"]:
            start = time.perf_counter()
            post = bayesmf.fit_bpmf(ratings, random_seed=seed, **common)
            fitted = time.perf_counter()
            found = post.diagnose()
            seconds = {"fit": fitted - start, "diagnose": time.perf_counter() - fitted}
            probe = found.groups.loc["probe"]
            kept = {
                "seed": seed,
                "seconds": seconds,
                "cells": int(probe["quantities"]),
                "below": float(probe["share"]),
                "worst": float(probe["r_hat"]),
                "probe_ess": float(probe["ess_bulk"]),
                "status": found.verdict.status,
                **{
                    f"{name}_{column}": float(found.groups.loc[name, column])
                    for name in SLOW
                    for column in ("ess_bulk", "r_hat")
                },
            }
            numbers["runs"].append(kept)
            progress(kept)
        short = bayesmf.fit_bpmf(ratings, random_seed=1, **common | {"tune": 0, "draws": 20})
        numbers["short"] = short.diagnose().verdict.status
        numbers |= _worked_out(common)
    # The last seed's; the table below names them all.
    numbers["protocol"] = post.protocol()
    return numbers


def _worked_out(common: Settings) -> Numbers:
    """Seconds of the report, with held-out ratings and everything from nothing, and of LOO."""
    train, test = bayesmf.load_movielens("100k", fold=1)
    post = bayesmf.fit_bpmf(train, random_seed=1, **common)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        path = post.report(Path(folder, "report.html"), test=test, name="MovieLens 100K")
        seconds, size = time.perf_counter() - start, path.stat().st_size
    start = time.perf_counter()
    found = post.loo(random_seed=1)
    plain = post.loo(random_seed=1, integrated=False)
    progress({"report": seconds, "loo": found.bad_share, "plain": plain.bad_share})
    return {
        "report": seconds,
        "megabytes": size / 1e6,
        "loo_seconds": (time.perf_counter() - start) / 2,
        "bad": found.bad_share,
        "bad_plain": plain.bad_share,
        "loo_ratings": found.n_ratings,
    }


def _each(numbers: Numbers, name: str) -> list[float]:
    return [one[name] for one in numbers["runs"]]


def _seconds(numbers: Numbers, name: str) -> list[float]:
    return [one["seconds"][name] for one in numbers["runs"]]


def bars(numbers: Numbers) -> list[Bar]:
    """Every seed must pass, not the median; times are medians."""
    share, worst = _each(numbers, "below"), _each(numbers, "worst")
    cells = numbers["runs"][0]["cells"]
    least = {
        "of a probe cell": min(_each(numbers, "probe_ess")),
        "of α": min(_each(numbers, "alpha_ess_bulk")),
        "of the log likelihood": min(_each(numbers, "total_log_likelihood_ess_bulk")),
    }
    statuses = [one["status"] for one in numbers["runs"]]
    fit, diagnose = (median(_seconds(numbers, name)) for name in ("fit", "diagnose"))
    return [
        Bar(
            f"probe cells of {cells} with R-hat < 1.01, worst seed",
            "≥ 98%",
            f"{100 * min(share):.1f}%",
            min(share) >= 0.98,
        ),
        Bar(
            "largest R-hat of a probe cell, worst seed",
            "≤ 1.03",
            f"{max(worst):.3f}",
            max(worst) <= 1.03,
        ),
        *(
            Bar(f"least bulk ESS {of}, worst seed", "≥ 400", f"{ess:,.0f}", ess >= 400)
            for of, ess in least.items()
        ),
        Bar(
            'verdict "converged"',
            f"{len(statuses)} of {len(statuses)} seeds",
            f"{statuses.count('converged')}",
            set(statuses) == {"converged"},
        ),
        Bar(
            "verdict with `tune=0, draws=20`",
            "not converged",
            numbers["short"],
            numbers["short"] == "not converged",
        ),
        Bar("wall time of `fit_bpmf(ratings)`, median", "≤ 30 s", f"{fit:.1f} s", fit <= 30),
        Bar("wall time of `diagnose()`, median", "≤ 5 s", f"{diagnose:.1f} s", diagnose <= 5),
        Bar(
            "wall time of `report()` with a test set",
            "≤ 30 s",
            f"{numbers['report']:.1f} s",
            numbers["report"] <= 30,
        ),
    ]


def text(numbers: Numbers, settings: Settings) -> str:
    """One row a seed."""
    rows = [
        [
            f"seed {one['seed']}",
            f"{one['seconds']['fit']:.1f}",
            one["status"],
            f"{100 * one['below']:.1f}%",
            f"{one['worst']:.3f}",
            f"{one['probe_ess']:,.0f}",
            *(f"{one[f'{name}_ess_bulk']:,.0f} ({one[f'{name}_r_hat']:.3f})" for name in SLOW),
        ]
        for one in numbers["runs"]
    ]
    header = [
        "",
        "wall, s",
        "verdict",
        "cells with R-hat < 1.01",
        "largest R-hat",
        "smallest ESS of a cell",
        "α, ESS (R-hat)",
        "log likelihood",
        "singular values, worst",
    ]
    protocol = f"""`fit_bpmf(ratings)` on all 100,000 ratings, {settings["threads"]} cores, compiled
        code in memory: {numbers["protocol"]} Rank-normalised split R-hat and bulk ESS by ArviZ.
        Wall time of the fit, median (range): {shown(_seconds(numbers, "fit"), 1)} s; of
        `diagnose()`: {shown(_seconds(numbers, "diagnose"), 1)} s."""
    after = f"""On fold u1, `report(test=...)` fits ALS, compares, diagnoses and draws in
        {numbers["report"]:.1f} s; the page has {numbers["megabytes"]:.1f} MB. `loo()` takes
        {numbers["loo_seconds"]:.1f} s for {numbers["loo_ratings"]:,} ratings:
        {100 * numbers["bad"]:.2f}% of k-hat are above the limit with a row integrated out, and
        {100 * numbers["bad_plain"]:.2f}% without."""
    return f"{prose(protocol)}\n\n{table(header, rows)}\n\n{prose(after)}"


if __name__ == "__main__":
    run("convergence")
