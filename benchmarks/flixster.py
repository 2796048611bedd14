"""Flixster's published split and ML-100K u1 with one and the same default prior."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bayesmf
from benchmarks.common import Bar, at_most, median, progress, prose, run, shown, table
from benchmarks.models import MYFM_PRIORS, bpmf, choose, myfm

if TYPE_CHECKING:
    import pandas as pd

    from benchmarks.common import Numbers, Settings

TITLE = "Flixster and ML-100K u1: one prior for both"
SETTINGS = {
    "seeds": [1, 2, 3],
    "cases": [["Flixster", 0], ["Flixster", 10], ["ML-100K u1", 10]],
    "lengths": [[50, 300], [200, 1000]],
}
QUICK = {"seeds": [1], "lengths": [[5, 10]]}
LIMITS = {"Flixster, K=0": 0.880, "Flixster, K=10": 0.886, "ML-100K u1, K=10": 0.907}
MODELS = ("bayesmf", "myFM")


def measure(settings: Settings) -> Numbers:
    """RMSE and seconds by case, length and model, over seeds."""
    numbers: Numbers = {}
    for data, rank in settings["cases"]:
        if data == "Flixster":
            train, test = bayesmf.load_flixster()
        else:
            train, test = bayesmf.load_movielens("100k", fold=1)
        case = numbers[f"{data}, K={rank}"] = {}
        for tune, draws in settings["lengths"]:
            found = _both(train, test, settings["seeds"], n_factors=rank, tune=tune, draws=draws)
            case[f"{tune} + {draws}"] = found
            errors = {model: shown(found[model]["rmse"], 4) for model in MODELS}
            progress(f"{data}, K={rank}, {tune} + {draws}:", errors)
    return numbers


def _both(
    train: pd.DataFrame, test: pd.DataFrame, seeds: list[int], **options: int
) -> dict[str, dict[str, Any]]:
    prior = choose(train, lambda a, b, x: myfm(a, b, **options, seed=0, prior=x), MYFM_PRIORS)
    fits = {
        "bayesmf": [
            bpmf(train, test, threads=1, chains=1, random_seed=seed, **options)[0] for seed in seeds
        ],
        "myFM": [myfm(train, test, seed=seed, prior=prior, **options) for seed in seeds],
    }
    found = {
        model: {"rmse": [fit.rmse for fit in each], "seconds": [fit.seconds for fit in each]}
        for model, each in fits.items()
    }
    return found | {"prior": prior}


def bars(numbers: Numbers) -> list[Bar]:
    """RMSE of ours in each case, for the last and longest run."""
    found = []
    for case, limit in LIMITS.items():
        length, models = list(numbers[case].items())[-1]
        error = median(models["bayesmf"]["rmse"])
        found.append(at_most(f"RMSE, {case}, {length} sweeps", limit, error, 4))
    return found


def text(numbers: Numbers, settings: Settings) -> str:
    """RMSE and seconds by case, length and model."""
    rows = [
        [
            case,
            length,
            *(shown(models[name]["rmse"], 4) for name in MODELS),
            *(f"{median(models[name]['seconds']):.1f}" for name in MODELS),
            models["prior"],
        ]
        for case, lengths in numbers.items()
        for length, models in lengths.items()
    ]
    protocol = f"""Default prior in all; one chain for both, one thread, RMSE without clipping:
        median over seeds {settings["seeds"]} (range). myFM's prior is what a tenth of the training
        part chose."""
    header = ["RMSE", "sweeps", *MODELS, *(f"{name} fit, s" for name in MODELS), "myFM's prior"]
    return f"{prose(protocol)}\n\n{table(header, rows)}"


if __name__ == "__main__":
    run("flixster")
