"""Lessons in least squares: four ways down, penalties that go to zero, and noise of rank 2."""

from __future__ import annotations

from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np

import bayesmf
from bayesmf.evaluation import rmse
from benchmarks.common import progress, prose, table

if TYPE_CHECKING:
    import pandas as pd

    from benchmarks.common import Numbers, Settings

WAYS = {
    f"{biases}, {sides}": {"solve_biases": biases, "solve_sides": sides}
    for sides in ("alternating", "simultaneous")
    for biases in ("joint", "separate")
}
FORMS: dict[str, dict[str, Any]] = {
    "plain": {"biases": False, "center": False},
    "plain, penalty 0.1": {"biases": False, "center": False, "reg": 0.1},
    "plain, weighted penalty 0.1": {
        "biases": False, "center": False, "reg": 0.1, "weighted": True,
    },
    "centred": {"biases": False},
    "biases": {},
    "biases, penalties 0.1": {"reg": 0.1, "reg_bias": 0.1},
}  # fmt: skip
PUBLISHED = 1.87
"""Training MSE of a published run of rank 2 on 50 x 200 random ratings from 1 to 5."""


def als_of(train: object, settings: Settings, **more: Any) -> bayesmf.FactorEstimate:
    """ALS with the rank, seed and threads of the settings."""
    given = {"n_factors": settings["rank"], "random_seed": settings["seed"]} | more
    return bayesmf.fit_als(train, cores=settings["threads"], progressbar=False, **given)


def rmse_of(estimate: bayesmf.PointEstimate, cells: pd.DataFrame) -> float:
    """RMSE on a table of ratings."""
    return rmse(estimate.predict(cells)["mean"], cells["rating"])


def ways(tuned: bayesmf.FactorEstimate, test: pd.DataFrame, settings: Settings) -> Numbers:
    """By way and seed, at the same penalties: the loss after each sweep, and where it ends."""
    found: Numbers = {name: {"rmse": [], "rises": [], "sweeps": [], "last": []} for name in WAYS}
    chosen = settings["ways"]
    for seed in chosen["seeds"]:
        losses = {}
        for name, way in WAYS.items():
            als = als_of(
                tuned.ratings, settings, reg=tuned.reg, reg_bias=tuned.reg_bias, tol=0.0,
                max_iter=chosen["sweeps"], random_seed=seed, **way,
            )  # fmt: skip
            losses[name] = loss = als.loss[:: als.steps.often]
            found[name]["rmse"].append(rmse_of(als, test))
            # What is less is rounding.
            found[name]["rises"].append(int((np.diff(loss) > 1e-9 * loss[:-1]).sum()))
        limit = (1 + chosen["near"]) * min(loss.min() for loss in losses.values())
        for name, loss in losses.items():
            near = np.flatnonzero(loss <= limit)
            found[name]["sweeps"].append(int(near[0]) if len(near) else None)
            found[name]["last"].append(float(loss[-1]))
            # The figure shows the first seed.
            found[name].setdefault("loss", loss.tolist())
    for name, one in found.items():
        progress(name, {key: value for key, value in one.items() if key != "loss"})
    return found


def overfit(
    tuned: bayesmf.FactorEstimate, train: pd.DataFrame, test: pd.DataFrame, settings: Settings
) -> Numbers:
    """RMSE on training and test ratings after each sweep, by rank and share of the penalties."""
    found: Numbers = {}
    for rank in settings["overfit"]["ranks"]:
        best = tuned if rank == tuned.n_factors else als_of(train, settings, n_factors=rank)
        found[str(rank)] = {"reg": best.reg, "reg_bias": best.reg_bias, "shares": {}}
        for share in settings["overfit"]["shares"]:
            errors: dict[str, list[float]] = {"train": [], "test": []}
            als = None
            for _ in range(settings["overfit"]["sweeps"]):
                # Each fit is one sweep more, from where the last one ended.
                als = als_of(
                    tuned.ratings, settings, n_factors=rank, init=als, max_iter=1,
                    reg=share * best.reg, reg_bias=share * best.reg_bias,
                )  # fmt: skip
                errors["train"].append(rmse_of(als, train))
                errors["test"].append(rmse_of(als, test))
            found[str(rank)]["shares"][str(share)] = errors
            progress(f"K={rank}, {share:g} of the penalties:", errors["test"][-1])
    return found


def dense(settings: Settings) -> Numbers:
    """Training MSE of each form, and that of the best table of rank 2, by seed."""
    found: Numbers = {form: {"mse": [], "optimum": []} for form in FORMS}
    users, items = (codes.ravel() for codes in np.indices((50, 200)))
    for seed in range(settings["dense"]["seeds"]):
        X = np.random.default_rng(seed).integers(1, 6, (50, 200)).astype(float)
        for form, given in FORMS.items():
            usual = {"reg": 0.0, "reg_bias": 0.0, "tol": 1e-10, "n_factors": 2}
            usual["max_iter"] = settings["dense"]["max_iter"]
            als = als_of((users, items, X.ravel()), settings, **(usual | given))
            left = X - als.predict(als.ratings)["mean"].to_numpy().reshape(X.shape)
            found[form]["mse"].append(float((left**2).mean()))
            # What biases leave free is in the table of which no row or column has a mean.
            centre = X.mean() if given.get("center", True) else 0.0
            if given.get("biases", True):
                centre = X.mean(0) + X.mean(1)[:, None] - X.mean()
            values = np.linalg.svd(X - centre, compute_uv=False)
            found[form]["optimum"].append(float((values[2:] ** 2).sum() / X.size))
    for form, one in found.items():
        progress(form, fmean(one["mse"]), fmean(one["optimum"]))
    return found


def ways_text(numbers: Numbers, settings: Settings) -> str:
    chosen = settings["ways"]
    protocol = f"""**Ways down.** ALS on ML-100K u1, K = {settings["rank"]}, with the penalties that
        `fit_als` chooses (λ = {numbers["reg"]:.3g}, of biases {numbers["reg_bias"]:.3g}), seeds
        {chosen["seeds"]}, {chosen["sweeps"]} sweeps. A row's bias is solved for with its factors or
        after them; items are solved for given the users' new rows, or simultaneously, given the
        old ones. Near the end: within {chosen["near"]:.1%} of the least loss of the seed. Range
        over seeds."""
    rows = []
    for name, way in numbers["ways"].items():
        near = [sweeps for sweeps in way["sweeps"] if sweeps is not None]
        rows.append(
            [
                name,
                _range(way["last"], ",.0f"),
                _range(near, "d") if len(near) == len(way["sweeps"]) else "never",
                _range(way["rises"], "d"),
                _range(way["rmse"], ".4f"),
            ]
        )
    header = ["biases, sides", "last loss", "sweeps to near the end", "sweeps that raise the loss"]
    figure = "![Loss by way down, and errors by penalty](images/ways-down.png)"
    return "\n\n".join((prose(protocol), table([*header, "test RMSE"], rows), figure))


def _range(values: list[Any], form: str) -> str:
    low, high = (f"{value:{form}}" for value in (min(values), max(values)))
    return low if low == high else f"{low}-{high}"


def overfit_text(numbers: Numbers, settings: Settings) -> str:
    sweeps = settings["overfit"]["sweeps"]
    protocol = f"""**Overfitting.** The same, both penalties times a share that goes to zero: from
        maximum a posteriori to maximum likelihood. RMSE on training and test ratings after
        {sweeps} sweeps, and the least that the test RMSE was on the way."""
    header = ["K", "share of the chosen penalties", "λ", "training", "test", "least, after sweep"]
    rows = [
        [
            rank,
            f"{float(share):g}",
            f"{float(share) * found['reg']:.3g}",
            f"{errors['train'][-1]:.4f}",
            f"{errors['test'][-1]:.4f}",
            f"{min(errors['test']):.4f}, {int(np.argmin(errors['test'])) + 1}",
        ]
        for rank, found in numbers["overfit"].items()
        for share, errors in found["shares"].items()
    ]
    return "\n\n".join((prose(protocol), table(header, rows)))


def dense_text(numbers: Numbers, settings: Settings) -> str:
    protocol = f"""**Noise of rank 2.** A full table of 50 × 200 random whole ratings from 1 to 5,
        K = 2; mean ± sd over {settings["dense"]["seeds"]} seeds of the training MSE, where a
        published run has {PUBLISHED}. The variance of a rating is 2, and there is nothing to learn.
        Without penalties the best table is known: that of the two largest singular values, of the
        table less what centre and biases take."""
    rows = [
        [
            form,
            f"{fmean(one['mse']):.4f} ± {stdev(one['mse']):.4f}",
            f"{fmean(one['optimum']):.4f}",
            f"{max(a / b - 1 for a, b in zip(*one.values(), strict=True)):.1e}",
            f"{(PUBLISHED - fmean(one['mse'])) / stdev(one['mse']):+.1f}",
        ]
        for form, one in numbers["dense"].items()
    ]
    header = ["form", "training MSE", "best of rank 2", "above it, worst seed"]
    return "\n\n".join((prose(protocol), table([*header, f"{PUBLISHED} less it, in sds"], rows)))
