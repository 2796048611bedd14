"""What courses teach and show: ways down, overfitting, a leak, links, thumbs, a fit to noise."""

from __future__ import annotations

import warnings
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import bayesmf
from benchmarks import descents, pitfalls
from benchmarks.common import Bar, at_most, limited, run

if TYPE_CHECKING:
    from benchmarks.common import Numbers, Settings

TITLE = "What courses teach, measured"
SETTINGS: dict[str, Any] = {
    "rank": 10,
    "threads": 2,
    "seed": 1,
    "ways": {"seeds": [1, 2, 3], "sweeps": 200, "near": 0.001},
    "overfit": {"ranks": [2, 10], "shares": [0.0001, 0.1, 0.3, 1.0], "sweeps": 40},
    "dense": {"seeds": 20, "max_iter": 10_000},
    "leak": {"ranks": [3, 10, 50], "epochs": 100, "descents": [3, 10]},
    "pmf": {},
    "bpmf": {"chains": 1, "tune": 200, "draws": 500},
}
QUICK: dict[str, Any] = {
    "rank": 2,
    "ways": {"seeds": [1], "sweeps": 5, "near": 0.001},
    "overfit": {"ranks": [2], "shares": [0.1, 1.0], "sweeps": 3},
    "dense": {"seeds": 2, "max_iter": 2000},
    "leak": {"ranks": [3, 10], "epochs": 2, "descents": [3]},
    "pmf": {"n_starts": 1, "max_iter": 20},
    "bpmf": {"chains": 1, "tune": 5, "draws": 10},
}
LOW, HIGH = 0.55, 0.65
"""What is near the validation MSE of about 0.60 of a taught notebook."""


def measure(settings: Settings) -> Numbers:
    """Figures of each part, one after the other."""
    train, test = bayesmf.load_movielens("100k", fold=1)
    with limited(settings["threads"]), warnings.catch_warnings():
        # Fits of a given number of sweeps have not settled, and are not meant to.
        warnings.filterwarnings("ignore", message=".* reached max_iter")
        tuned = descents.als_of(train, settings)
        numbers: Numbers = {"reg": tuned.reg, "reg_bias": tuned.reg_bias}
        numbers["ways"] = descents.ways(tuned, test, settings)
        numbers["overfit"] = descents.overfit(tuned, train, test, settings)
        numbers["dense"] = descents.dense(settings)
        numbers["leak"] = pitfalls.leak(settings)
        numbers["links"] = pitfalls.links(train, test, settings)
        numbers["thumbs"] = pitfalls.thumbs(train, test, settings)
    return numbers


def bars(numbers: Numbers) -> list[Bar]:
    """Eckart & Young's optimum, the published run, and the figure that leaks."""
    plain = numbers["dense"]["plain"]
    free = ("plain", "centred", "biases")
    gap = max(
        mse / optimum - 1
        for form in free
        for mse, optimum in zip(*numbers["dense"][form].values(), strict=True)
    )
    mean, sd = fmean(plain["mse"]), stdev(plain["mse"])
    leaky = [row["leaky"] for row in _as_taught(numbers) if row["rank"] in (3, 10)]
    return [
        at_most(
            "training MSE of ALS above that of the best table of rank 2, worst form and seed",
            1e-6,
            gap,
            9,
        ),
        Bar(
            "published training MSE of 50 × 200 random ratings, in sds from the mean of plain ALS",
            "≤ 2",
            f"{abs(mean - descents.PUBLISHED) / sd:.1f}",
            abs(mean - descents.PUBLISHED) <= 2 * sd,
        ),
        Bar(
            "leaky MSE with the taught penalty and biases, K = 3 and 10",
            f"{LOW}-{HIGH}",
            f"{min(leaky):.3f}-{max(leaky):.3f}",
            min(leaky) >= LOW and max(leaky) <= HIGH,
        ),
    ]


def _as_taught(numbers: Numbers) -> list[Numbers]:
    return [row for row in numbers["leak"] if row["biases"] and row["penalty"] == "taught"]


def text(numbers: Numbers, settings: Settings) -> str:
    """Each part: what was done, and its table."""
    parts = [
        descents.ways_text(numbers, settings),
        descents.overfit_text(numbers, settings),
        descents.dense_text(numbers, settings),
        pitfalls.leak_text(numbers, settings),
        pitfalls.links_text(numbers, settings),
        pitfalls.thumbs_text(numbers, settings),
    ]
    return "\n\n".join(parts)


if __name__ == "__main__":
    run("taught")
