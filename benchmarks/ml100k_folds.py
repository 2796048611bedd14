"""ML-100K, the official folds u1..u5: RMSE of one short chain, and coverage of 90% intervals."""

from __future__ import annotations

from itertools import chain
from statistics import fmean
from typing import TYPE_CHECKING

import bayesmf
from benchmarks.common import Bar, at_most, limited, median, progress, prose, run, shown, table
from benchmarks.models import MYFM_PRIORS, SMURFF_NOISES, bpmf, choose, myfm, smurff

if TYPE_CHECKING:
    import pandas as pd

    from benchmarks.common import Numbers, Settings

TITLE = "ML-100K, official folds: accuracy and honest intervals"
SETTINGS = {
    "folds": [1, 2, 3, 4, 5],
    "seeds": [1, 2, 3],
    "n_factors": 10,
    "tune": 50,
    "draws": 300,
    "defaults": {"tune": 1000, "draws": 2000},
    "threads": 2,
}
QUICK = {"folds": [1], "seeds": [1], "tune": 5, "draws": 10, "defaults": {"tune": 5, "draws": 10}}
INTERVALS = {
    "BPMF": "bayesmf, one chain",
    "defaults": "bayesmf, four chains of 1,000 + 2,000",
    "ALS": "ALS",
}


def measure(settings: Settings) -> Numbers:
    """RMSE by model, fold and seed; coverage and width by model and fold; the peers' choices."""
    numbers: Numbers = {"rmse": {}, "seconds": {}, "intervals": {}, "noise": {}, "prior": {}}
    for fold in settings["folds"]:
        train, test = bayesmf.load_movielens("100k", fold=fold)
        _accuracy(numbers, settings, fold, train, test)
        _intervals(numbers, settings, fold, train, test)
    return numbers


def _accuracy(
    numbers: Numbers, settings: Settings, fold: int, train: pd.DataFrame, test: pd.DataFrame
) -> None:
    length = {name: settings[name] for name in ("n_factors", "tune", "draws")}
    # From this fold's training part: the training parts of other folds hold its test ratings.
    noise = choose(
        train, lambda a, b, x: smurff(a, b, **length, threads=1, seed=0, noise=x), SMURFF_NOISES
    )
    prior = choose(train, lambda a, b, x: myfm(a, b, **length, seed=0, prior=x), MYFM_PRIORS)
    numbers["noise"][str(fold)], numbers["prior"][str(fold)] = noise, prior
    for seed in settings["seeds"]:
        with limited(1):
            als = bayesmf.fit_als(
                train,
                n_factors=settings["n_factors"],
                cores=1,
                random_seed=seed,
                progressbar=False,
            )
        row = bayesmf.compare({"ALS": als}, test).table.loc["ALS"]
        one_chain, _ = bpmf(train, test, threads=1, chains=1, random_seed=seed, **length)
        found = {
            "bayesmf": one_chain,
            "SMURFF, adaptive noise": smurff(
                train, test, **length, threads=1, seed=seed, noise="adaptive"
            ),
            "SMURFF, noise by validation": smurff(
                train, test, **length, threads=1, seed=seed, noise=noise
            ),
            "myFM": myfm(train, test, **length, seed=seed, prior=prior),
            "ALS": (float(row["RMSE"]), float(row["fit_seconds"])),
        }
        for model, (error, seconds) in found.items():
            for what, value in (("rmse", error), ("seconds", seconds)):
                by_fold = numbers[what].setdefault(model, {})
                by_fold.setdefault(str(fold), []).append(value)
        progress(f"u{fold} seed {seed}:", {name: round(fit[0], 4) for name, fit in found.items()})


def _intervals(
    numbers: Numbers, settings: Settings, fold: int, train: pd.DataFrame, test: pd.DataFrame
) -> None:
    seed, threads = settings["seeds"][0], settings["threads"]
    common = {"cores": threads, "random_seed": seed, "progressbar": False}
    with limited(threads):
        models = {
            "BPMF": bayesmf.fit_bpmf(
                train,
                n_factors=settings["n_factors"],
                chains=1,
                tune=settings["tune"],
                draws=settings["draws"],
                **common,
            ),
            "defaults": bayesmf.fit_bpmf(train, **settings["defaults"], **common),
            "ALS": bayesmf.fit_als(train, **common),
        }
        found = bayesmf.compare(models, test).table
    for model, row in found.iterrows():
        kept = {name: float(value) for name, value in row.items()}
        numbers["intervals"].setdefault(str(model), {})[str(fold)] = kept
    progress(f"u{fold} coverage:", found["coverage_90"].round(4).to_dict())


def _fold_means(by_fold: dict[str, list[float]]) -> list[float]:
    return [fmean(values) for values in zip(*by_fold.values(), strict=True)]


def bars(numbers: Numbers) -> list[Bar]:
    """Mean RMSE, u1, coverage."""
    ours = numbers["rmse"]["bayesmf"]
    found = [
        at_most("mean RMSE over the folds", 0.8975, median(_fold_means(ours)), 4),
        at_most("RMSE on u1", 0.907, median(ours["1"]), 4),
    ]
    for model in ("BPMF", "defaults"):
        by_fold = numbers["intervals"][model].values()
        inside = [100 * row["coverage_90"] for row in by_fold]
        found.append(
            Bar(
                f"coverage of 90% intervals on every fold, {INTERVALS[model]}",
                "88-92%",
                f"{min(inside):.1f}-{max(inside):.1f}%",
                min(inside) >= 88 and max(inside) <= 92,
            )
        )
    return found


def text(numbers: Numbers, settings: Settings) -> str:
    """RMSE by fold, and the intervals."""
    folds = [str(fold) for fold in settings["folds"]]
    errors = table(
        ["RMSE", *(f"u{fold}" for fold in folds), "mean", "fit, s"],
        [
            [
                model,
                *(f"{median(by_fold[fold]):.4f}" for fold in folds),
                shown(_fold_means(by_fold), 4),
                f"{median([*chain(*numbers['seconds'][model].values())]):.1f}",
            ]
            for model, by_fold in numbers["rmse"].items()
        ],
    )
    shares = table(
        ["", *(f"coverage u{fold}" for fold in folds), "mean width", "RMSE", "log score", "CRPS"],
        [
            [
                INTERVALS[model],
                *(f"{100 * by_fold[fold]['coverage_90']:.1f}%" for fold in folds),
                *(
                    f"{fmean(row[name] for row in by_fold.values()):.{digits}f}"
                    for name, digits in [
                        ("width_90", 3),
                        ("RMSE", 4),
                        ("log_score", 4),
                        ("CRPS", 4),
                    ]
                ),
            ]
            for model, by_fold in numbers["intervals"].items()
        ],
    )
    noises, priors = (
        ", ".join(dict.fromkeys(numbers[name].values())) for name in ("noise", "prior")
    )
    protocol = f"""K = {settings["n_factors"]}, one chain of {settings["tune"]} +
        {settings["draws"]} sweeps, one thread, RMSE without clipping. A fold's figure is the median
        over seeds {settings["seeds"]}; the mean over folds is the median of the seeds' means, with
        their range. SMURFF has no biases; its noise is `AdaptiveNoise(1, 10)`, or what a tenth of
        each fold's training part chose ({noises}); so it is with myFM's ({priors}) and with the
        penalties of ALS."""
    honesty = """Predictive 90% intervals from `bayesmf.compare`, first seed; the scores are means
        over the folds. The interval of ALS is a Gaussian with the error that ALS made on ratings
        held out of its training. Neither peer gives predictive intervals."""
    return "\n\n".join([prose(protocol), errors, prose(honesty), shares])


if __name__ == "__main__":
    run("ml100k_folds")
