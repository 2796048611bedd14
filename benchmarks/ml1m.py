"""ML-1M, a seeded 90/10 split: RMSE against SMURFF with the same number of sweeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bayesmf
from benchmarks.common import Bar, median, progress, prose, run, shown, table
from benchmarks.models import SMURFF_NOISES, bpmf, choose, smurff

if TYPE_CHECKING:
    from benchmarks.common import Numbers, Settings

TITLE = "ML-1M, 90/10: accuracy against SMURFF"
SETTINGS = {
    "ranks": [10, 30],
    "seeds": [1, 2],
    "tune": 50,
    "draws": 300,
    "validation_tune": 50,
    "validation_draws": 50,
    "threads": 2,
}
QUICK = {"seeds": [1], "tune": 2, "draws": 2, "validation_tune": 1, "validation_draws": 1}


def measure(settings: Settings) -> Numbers:
    """RMSE and seconds by rank and model, over seeds; SMURFF's noise by rank."""
    split = {"test_size": 0.1, "random_seed": 0}
    train, test = bayesmf.train_test_split(bayesmf.load_movielens("1m"), **split)
    threads = settings["threads"]
    length = {name: settings[name] for name in ("tune", "draws")}
    numbers: Numbers = {"fits": {}, "noise": {}}
    for rank in settings["ranks"]:
        chosen = choose(
            train,
            lambda a, b, noise, rank=rank: smurff(
                a,
                b,
                n_factors=rank,
                tune=settings["validation_tune"],
                draws=settings["validation_draws"],
                threads=threads,
                seed=0,
                noise=noise,
            ),
            SMURFF_NOISES,
        )
        numbers["noise"][str(rank)] = chosen
        progress(f"K={rank}: SMURFF's noise by validation is {chosen}")
        fits = numbers["fits"].setdefault(str(rank), {})
        for seed in settings["seeds"]:
            ours, _ = bpmf(
                train,
                test,
                threads=threads,
                chains=1,
                n_factors=rank,
                random_seed=seed,
                **length,
            )
            found = {"bayesmf": ours}
            for name in dict.fromkeys(["adaptive", chosen]):
                found[f"SMURFF, {name} noise"] = smurff(
                    train, test, n_factors=rank, threads=threads, seed=seed, noise=name, **length
                )
            for model, fit in found.items():
                kept = fits.setdefault(model, {"rmse": [], "seconds": []})
                kept["rmse"].append(fit.rmse)
                kept["seconds"].append(fit.seconds)
            progress(
                f"K={rank} seed {seed}:", {name: round(fit.rmse, 4) for name, fit in found.items()}
            )
    return numbers


def bars(numbers: Numbers) -> list[Bar]:
    """Ours against SMURFF with each noise."""
    found = []
    for rank, fits in numbers["fits"].items():
        errors = {model: median(kept["rmse"]) for model, kept in fits.items()}
        ours = errors.pop("bayesmf")
        for model, theirs in errors.items():
            what = f"RMSE, K={rank}, against {model}"
            found.append(Bar(what, f"≤ {theirs:.4f}", f"{ours:.4f}", ours <= theirs))
    return found


def text(numbers: Numbers, settings: Settings) -> str:
    """RMSE by rank and model."""
    rows = [
        [
            f"K={rank}, {model}",
            shown(kept["rmse"], 4),
            shown(kept["seconds"], 0),
        ]
        for rank, fits in numbers["fits"].items()
        for model, kept in fits.items()
    ]
    noises = ", ".join(f"{noise} for K={rank}" for rank, noise in numbers["noise"].items())
    protocol = f"""`bayesmf.train_test_split(test_size=0.1, random_seed=0)`, one chain of
        {settings["tune"]} + {settings["draws"]} sweeps, {settings["threads"]} threads each, RMSE
        without clipping: median over seeds {settings["seeds"]} (range). SMURFF's noise is
        `AdaptiveNoise(1, 10)`, and what a tenth of the training part chose in
        {settings["validation_tune"]} + {settings["validation_draws"]} sweeps: {noises}."""
    return f"{prose(protocol)}\n\n{table(['', 'RMSE', 'fit, s'], rows)}"


if __name__ == "__main__":
    run("ml1m")
