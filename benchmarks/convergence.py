"""`fit_bpmf` with its defaults on all of ML-100K: does it converge, and how long does it take."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import bayesmf
from benchmarks.common import Bar, limited, median, progress, prose, run, shown, table

if TYPE_CHECKING:
    from benchmarks.common import Numbers, Settings

TITLE = "Defaults on ML-100K: convergence and time"
SETTINGS = {"seeds": [1, 2, 3], "threads": 2, "options": {}}
QUICK = {"seeds": [1], "options": {"tune": 10, "draws": 20}}


def measure(settings: Settings) -> Numbers:
    """Seconds, R-hat of the probe cells and ESS of alpha, by seed."""
    import arviz

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
            seconds = time.perf_counter() - start
            posterior = post.data["posterior"].to_dataset()
            # ArviZ's default for rhat: rank-normalised, split chains.
            rhat = arviz.rhat(posterior[["probe"]])["probe"].to_numpy()
            ess = arviz.ess(posterior[["alpha", "probe"]])
            kept = {
                "seed": seed,
                "seconds": seconds,
                "cells": len(rhat),
                "below": float((rhat < 1.01).mean()),
                "worst": float(rhat.max()),
                "alpha_ess": float(ess["alpha"]),
                "alpha_rhat": float(arviz.rhat(posterior[["alpha"]])["alpha"]),
                "probe_ess": float(ess["probe"].min()),
            }
            numbers["runs"].append(kept)
            progress(kept)
    # The last seed's; the table below names them all.
    numbers["protocol"] = post.protocol()
    return numbers


def _each(numbers: Numbers, name: str) -> list[float]:
    return [one[name] for one in numbers["runs"]]


def bars(numbers: Numbers) -> list[Bar]:
    """Every seed must pass, not the median."""
    share, worst, seconds = (_each(numbers, name) for name in ("below", "worst", "seconds"))
    cells = numbers["runs"][0]["cells"]
    return [
        Bar(
            f"probe cells of {cells} with R-hat < 1.01, worst seed",
            "≥ 95%",
            f"{100 * min(share):.1f}%",
            min(share) >= 0.95,
        ),
        Bar(
            "largest R-hat of a probe cell, worst seed",
            "≤ 1.04",
            f"{max(worst):.3f}",
            max(worst) <= 1.04,
        ),
        Bar(
            "wall time of `fit_bpmf(ratings)`, median",
            "≤ 60 s",
            f"{median(seconds):.1f} s",
            median(seconds) <= 60,
        ),
    ]


def text(numbers: Numbers, settings: Settings) -> str:
    """One row a seed."""
    rows = [
        [
            f"seed {one['seed']}",
            f"{one['seconds']:.1f}",
            f"{100 * one['below']:.1f}%",
            f"{one['worst']:.3f}",
            f"{one['probe_ess']:.0f}",
            f"{one['alpha_ess']:.0f}",
            f"{one['alpha_rhat']:.3f}",
        ]
        for one in numbers["runs"]
    ]
    header = [
        "",
        "wall, s",
        "cells with R-hat < 1.01",
        "largest R-hat",
        "smallest ESS of a cell",
        "ESS of α",
        "R-hat of α",
    ]
    protocol = f"""`fit_bpmf(ratings)` on all 100,000 ratings, {settings["threads"]} cores, compiled
        code in memory: {numbers["protocol"]} Rank-normalised split R-hat and bulk ESS by ArviZ.
        Wall time, median (range): {shown(_each(numbers, "seconds"), 1)} s."""
    return f"{prose(protocol)}\n\n{table(header, rows)}"


if __name__ == "__main__":
    run("convergence")
