"""How the default prior was chosen: on held-out tenths of training ratings, never on a test set."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

import bayesmf
from bayesmf import GammaPrior, NormalWishart
from bayesmf.evaluation import rmse
from benchmarks.common import Bar, progress, prose, run, table
from benchmarks.models import bpmf

if TYPE_CHECKING:
    import pandas as pd

    from benchmarks.common import Numbers, Settings

TITLE = "The default prior: why it knows the scale of the factors"
SETTINGS = {
    "data": ["Flixster train", "ML-100K u1 base", "ML latest-small", "InstEval"],
    "candidates": [
        [None, None],
        [0.1, 0.025],
        [0.2, 0.025],
        [0.4, 0.025],
        [0.2, 0.0125],
        [0.2, 0.05],
        [0.4, 0.05],
    ],
    "tune": 600,
    "draws": 500,
    "path": [[50, 350], [600, 1100], [2000, 3000]],
    "seed": 1,
    "split_seed": 77,
}
QUICK = {"tune": 5, "draws": 10, "path": [[5, 10]], "candidates": [[None, None], [0.4, 0.025]]}


def measure(settings: Settings) -> Numbers:
    """Held-out RMSE of every candidate, and two priors followed along a chain on Flixster."""
    numbers: Numbers = {"candidates": {}, "path": {}}
    for data in settings["data"]:
        train, held = split(data, settings["split_seed"])
        for candidate in settings["candidates"]:
            fit, post = bpmf(
                train, held, threads=1, chains=1, prior=prior(*candidate),
                tune=settings["tune"], draws=settings["draws"], random_seed=settings["seed"],
            )  # fmt: skip
            alpha = post.data["posterior"]["alpha"].to_numpy()
            row = {"rmse": fit.rmse, "noise_sd": float((alpha**-0.5).mean())}
            numbers["candidates"].setdefault(name(*candidate), {})[data] = row
            progress(data, name(*candidate), f"{fit.rmse:.4f}")
    train, held = split("Flixster train", settings["split_seed"])
    for candidate in (settings["candidates"][0], [None, "default"]):
        numbers["path"][name(*candidate)] = follow(train, held, prior(*candidate), settings)
    return numbers


def split(data: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training ratings of a data set, a tenth of them held out."""
    ratings = {
        "Flixster train": lambda: bayesmf.load_flixster()[0],
        "ML-100K u1 base": lambda: bayesmf.load_movielens("100k", fold=1)[0],
        "ML latest-small": lambda: bayesmf.load_movielens("latest-small"),
        "InstEval": bayesmf.load_insteval,
    }[data]()
    return bayesmf.train_test_split(ratings, test_size=0.1, random_seed=seed)


def prior(row_share: float | None, interaction_share: float | str | None) -> NormalWishart:
    """Make a candidate; without numbers, the vague prior or the package's default."""
    if interaction_share == "default":
        return NormalWishart()
    if row_share is None:
        return NormalWishart(row_share=0.0, strength=GammaPrior(1.0, 0.01))
    return NormalWishart(row_share=row_share, interaction_share=float(interaction_share or 0))


def name(row_share: float | None, interaction_share: float | str | None) -> str:
    """What a candidate is called in the tables."""
    if interaction_share == "default":
        return "default"
    if row_share is None:
        return "vague: w ~ Gamma(1, 0.01), ν0 = D + 20"
    return f"row_share={row_share:g}, interaction_share={interaction_share:g}"


def follow(
    train: pd.DataFrame, held: pd.DataFrame, prior: NormalWishart, settings: Settings
) -> list[dict[str, float]]:
    """Noise and held-out error from windows of one long chain."""
    sweeps = max(stop for _, stop in settings["path"])
    _, post = bpmf(
        train, held, threads=1, chains=1, prior=prior, tune=0, draws=sweeps,
        random_seed=settings["seed"],
    )  # fmt: skip
    truth = held["rating"].to_numpy()
    rows = []
    for start, stop in settings["path"]:
        tree = post.data.copy()
        tree["factors"] = tree["factors"].isel(draw=slice(start, stop))
        means = dataclasses.replace(post, data=tree).predict(held)["mean"].to_numpy()
        alpha = post.data["posterior"]["alpha"].to_numpy()[0, start:stop]
        rows.append(
            {"start": start, "stop": stop, "rmse": rmse(means, truth),
             "noise_sd": float(np.mean(alpha**-0.5))}
        )  # fmt: skip
    return rows


def bars(numbers: Numbers) -> list[Bar]:
    """Longer chains must not predict worse under the default."""
    path = [row["rmse"] for row in numbers["path"]["default"]]
    change = path[-1] - path[0]
    return [Bar("RMSE late minus early, Flixster", "≤ 0.002", f"{change:+.4f}", change <= 0.002)]


def text(numbers: Numbers, settings: Settings) -> str:
    """Both tables."""
    windows = [f"sweeps {a:,}-{b:,}" for a, b in settings["path"]]
    path = [
        [prior, *(f"{row['rmse']:.4f} (noise sd {row['noise_sd']:.2f})" for row in rows)]
        for prior, rows in numbers["path"].items()
    ]
    data = list(settings["data"])
    tried = [
        [candidate, *(f"{found[one]['rmse']:.4f} ({found[one]['noise_sd']:.2f})" for one in data)]
        for candidate, found in numbers["candidates"].items()
    ]
    first = """RMSE on a held-out tenth of Flixster's training ratings, K=10, from windows of one
        chain, and the posterior mean of the noise sd in stars. Under the vague prior the noise
        shrinks and the error grows with the length of the chain."""
    second = f"""All that was tried, one chain of {settings["tune"]} + {settings["draws"]} sweeps,
        held-out RMSE (noise sd); the default is row_share=0.4, interaction_share=0.025."""
    return "\n\n".join(
        [
            prose(first),
            table(["prior", *windows], path),
            prose(second),
            table(["prior", *data], tried),
        ]
    )


if __name__ == "__main__":
    run("prior")
