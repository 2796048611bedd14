"""Two programs, one posterior: means and sds of cells against SMURFF on the same priors."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse

import bayesmf
from bayesmf import NormalWishart
from benchmarks.common import Bar, at_most, limited, progress, prose, run, table

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

    from benchmarks.common import Numbers, Settings

TITLE = "Agreement with SMURFF: posterior means and sds"
SETTINGS = {
    "tables": {
        "ML-100K, densest 200 x 150": {"n_factors": 5, "tune": 300, "draws": 1500},
        "simulated, 40 x 30, sparse": {"n_factors": 3, "tune": 500, "draws": 3000},
    },
    "chains": 16,
    "probe": 300,
    "control": {"table": "simulated, 40 x 30, sparse", "extra_dof": 3.0},
    "relabellings": 2500,
    "seed": 1,
    "threads": 2,
}
QUICK = {
    "tables": {
        "ML-100K, densest 200 x 150": {"n_factors": 5, "tune": 20, "draws": 40},
        "simulated, 40 x 30, sparse": {"n_factors": 3, "tune": 20, "draws": 40},
    },
    "chains": 4,
    "relabellings": 50,
}
ALPHA = 2.0
SAME, CONTROL = "SMURFF", "SMURFF, our prior changed on purpose"
LEVEL = 0.01


class Cells(NamedTuple):
    """Cells by id, and draws of their means (chain, draw, cell) less the mean training rating."""

    users: np.ndarray
    items: np.ndarray
    draws: np.ndarray


def measure(settings: Settings) -> Numbers:
    """Every table with our draws against SMURFF's, and one with a prior that is not SMURFF's."""
    numbers: Numbers = {}
    control = settings["control"]
    for name, length in settings["tables"].items():
        ratings = data(name, settings["seed"])
        ours = bpmf_draws(ratings, settings, length, {})
        theirs = smurff_draws(ratings, ours, settings, length)
        found = {SAME: compare(ours.draws, theirs, settings)}
        if name == control["table"]:
            changed = NormalWishart(extra_dof=control["extra_dof"], row_share=0.0, strength=1.0)
            other = bpmf_draws(ratings, settings, length, {"prior": changed})
            found[CONTROL] = compare(other.draws, theirs, settings)
        for against, row in found.items():
            numbers[f"{name}: {against}"] = row | {"ratings": len(ratings), "table": name}
            progress(name, against, row)
    return numbers


def data(name: str, seed: int) -> pd.DataFrame:
    """A table: real and dense, where the data speak, or small and sparse, where the prior does."""
    if name.startswith("simulated"):
        simulated = bayesmf.simulate(40, 30, 240, n_factors=2, biases=False, random_seed=seed)
        return simulated.ratings.to_frame()
    ratings = bayesmf.load_movielens("100k")
    users, items = (
        ratings[side].value_counts(sort=False).sort_index().nlargest(number, keep="first").index
        for side, number in (("user", 200), ("item", 150))
    )
    return ratings[ratings["user"].isin(users) & ratings["item"].isin(items)]


def bpmf_draws(
    ratings: pd.DataFrame, settings: Settings, length: dict[str, int], changed: dict[str, Any]
) -> Cells:
    """Draw ours, by the published model or with one argument of it changed."""
    threads = settings["threads"]
    arguments = bayesmf.published_2008(length["n_factors"]) | changed
    with limited(threads):
        post = bayesmf.fit_bpmf(
            ratings,
            **arguments,
            tune=length["tune"],
            draws=length["draws"],
            chains=settings["chains"],
            cores=threads,
            random_seed=settings["seed"],
            probe=settings["probe"],
            memory_budget="32MB",
            progressbar=False,
        )
    constant = post.data["constant_data"]
    return Cells(
        constant["probe_user"].to_numpy(),
        constant["probe_item"].to_numpy(),
        post.data["posterior"]["probe"].to_numpy() - float(constant["center"]),
    )


def smurff_draws(
    ratings: pd.DataFrame, cells: Cells, settings: Settings, length: dict[str, int]
) -> np.ndarray:
    """SMURFF's draws of the same cells, (chain, draw, cell); every chain is a run with one thread.

    From `pred_all`, one prediction a draw: its `var` is a sum of squares, never divided.
    """
    import smurff

    users, items = (np.unique(ratings[side]) for side in ("user", "item"))
    shape = (len(users), len(items))

    def matrix(values: np.ndarray, user: np.ndarray, item: np.ndarray) -> scipy.sparse.coo_matrix:
        codes = np.searchsorted(users, user), np.searchsorted(items, item)
        return scipy.sparse.coo_matrix((values, codes), shape)

    values = ratings["rating"].to_numpy(dtype=np.float64)
    train = matrix(values - values.mean(), ratings["user"], ratings["item"])
    # The number of each cell stands where its rating would: results come in an order of their own.
    wanted = matrix(np.arange(1.0, len(cells.users) + 1), cells.users, cells.items)
    draws = np.empty((settings["chains"], length["draws"], len(cells.users)))
    seeds = np.random.default_rng(settings["seed"]).integers(2**31 - 1, size=settings["chains"])
    for chain, seed in enumerate(seeds):
        with limited(1):
            session = smurff.TrainSession(
                priors=["normal", "normal"],
                num_latent=length["n_factors"],
                burnin=length["tune"],
                nsamples=length["draws"],
                num_threads=1,
                seed=int(seed),
                verbose=0,
            )
            session.addTrainAndTest(train, wanted, smurff.FixedNoise(ALPHA))
            for cell in session.run():
                draws[chain, :, round(cell.val) - 1] = cell.pred_all
    return draws


def compare(ours: np.ndarray, theirs: np.ndarray, settings: Settings) -> dict[str, Any]:
    """Differences of means and of sds in standard errors, which come from the spread of chains.

    A chain's average of x, and of (x - m)^2 with m the mean of all chains of both programs, is one
    number a cell. If the programs draw from one posterior by chains that mix alike, the 2C numbers
    are exchangeable, and what a statistic should be is seen by giving the labels out at random.
    """
    import arviz

    both = np.concatenate([ours, theirs])
    center = both.mean(axis=(0, 1))
    sd = np.sqrt(((both - center) ** 2).mean(axis=(0, 1)))
    rng = np.random.default_rng(settings["seed"])
    chains = len(ours)
    orders = [rng.permutation(2 * chains) for _ in range(settings["relabellings"])]
    found: dict[str, Any] = {
        "cells": len(sd),
        # Of all chains together: programs that disagree are chains that have not converged. Every
        # fifth draw will do for it.
        "rhat": float(arviz.rhat(arviz.from_dict({"posterior": {"x": both[:, ::5]}}))["x"].max()),
    }
    for what, averages in (
        ("means", both.mean(axis=1)),
        ("sds", ((both - center) ** 2).mean(axis=1)),
    ):
        gap, error = difference(averages, chains)
        observed = np.mean((gap / error) ** 2)
        relabelled = [
            np.mean(np.divide(*difference(averages[order], chains)) ** 2) for order in orders
        ]
        first, second = averages[:chains].mean(axis=0), averages[chains:].mean(axis=0)
        # A variance's difference is one of sds after division by twice the sd.
        unit = sd if what == "means" else 2 * sd**2
        found[what] = {
            "mean_z2": float(observed),
            "relabelled": [float(q) for q in np.quantile(relabelled, [0.025, 0.5, 0.975])],
            "p": float((1 + np.sum(relabelled >= observed)) / (1 + len(relabelled))),
            "within_2": float(np.mean(np.abs(gap / error) <= 2)),
            "within_4": float(np.mean(np.abs(gap / error) <= 4)),
            "largest": float(np.max(np.abs(gap) / unit)),
            "error": float(np.median(error / unit)),
            "worst_error": float(np.max(error / unit)),
            "correlation": float(np.corrcoef(first, second)[0, 1]),
        }
    return found


def difference(averages: np.ndarray, chains: int) -> tuple[np.ndarray, np.ndarray]:
    """First chains less the others, (cells,), and the standard error of that."""
    parts = averages[:chains], averages[chains:]
    gap = parts[0].mean(axis=0) - parts[1].mean(axis=0)
    return gap, np.sqrt(sum(part.var(axis=0, ddof=1) / chains for part in parts))


def _rows(numbers: Numbers, against: str) -> list[dict[str, Any]]:
    return [row for name, row in numbers.items() if name.endswith(f": {against}")]


def bars(numbers: Numbers) -> list[Bar]:
    """No sign of a difference, and none that matters; the changed prior is seen."""
    same, changed = _rows(numbers, SAME), _rows(numbers, CONTROL)
    found = []
    for row in same:
        p = min(1.0, 2 * min(row[what]["p"] for what in ("means", "sds")))
        asked, met = f"p ≥ {LEVEL:g}", p >= LEVEL
        found.append(Bar(f"{row['table']}: means and sds differ by chance", asked, f"{p:.2f}", met))
        for what in ("means", "sds"):
            label = f"{row['table']}: largest difference of {what}, in posterior sds"
            found.append(at_most(label, 0.1, row[what]["largest"], 3))
    for row in changed:
        p = min(1.0, 2 * min(row[what]["p"] for what in ("means", "sds")))
        label = f"{row['table']}: a prior changed on purpose is seen"
        found.append(Bar(label, "p < 0.001", f"{p:.4f}", p < 0.001))
    return found


def text(numbers: Numbers, settings: Settings) -> str:
    """One row for the means and one for the sds of each comparison."""
    rows = [
        [
            f"{name.split(': ')[0]}{', prior changed' if name.endswith(CONTROL) else ''}: {what}",
            f"{row[what]['mean_z2']:.2f}",
            "{1:.2f} ({0:.2f}-{2:.2f})".format(*row[what]["relabelled"]),
            f"{row[what]['p']:.4f}",
            f"{100 * row[what]['within_2']:.1f}%",
            f"{100 * row[what]['within_4']:.1f}%",
            f"{row[what]['largest']:.3f}",
            f"{row[what]['error']:.3f}",
            f"{row[what]['correlation']:.4f}",
        ]
        for name, row in numbers.items()
        for what in ("means", "sds")
    ]
    header = [
        "",
        "mean z²",
        "mean z² by relabelling",
        "p",
        "cells within 2 s.e.",
        "within 4 s.e.",
        "largest difference, posterior sds",
        "median s.e., posterior sds",
        "correlation",
    ]
    return "\n\n".join([_protocol(numbers, settings), table(header, rows), prose(SOURCE)])


SOURCE = """The priors are the same without any matching. SMURFF's source says so: mean 0, b0 = 2,
    df = K and inverse scale I (`NormalPrior::init`), updated as a Normal-Wishart should be
    (`CondNormalWishart`), and rows drawn from the same Gaussian as ours. Its sweep visits the
    blocks in the same cyclic order. The spread of its predictions must be worked out from its
    draws: their `var` is a sum of squares that is never divided by the number of draws."""


def _protocol(numbers: Numbers, settings: Settings) -> str:
    lengths = "; ".join(
        f"{name}: {_ratings(numbers, name):,} ratings, K = {length['n_factors']}, "
        f"{length['tune']:,} + {length['draws']:,} sweeps"
        for name, length in settings["tables"].items()
    )
    rhat = max(row["rhat"] for row in _rows(numbers, SAME))
    return prose(
        f"""`published_2008`: no biases, noise precision {ALPHA:g}, Λ ~ Wishart(I, K), β0 = 2, on
        ratings less their mean. {settings["chains"]} chains of each program, one thread for each of
        SMURFF's. {lengths}. Largest R-hat of a cell over the chains of both programs: {rhat:.3f}.
        The figures are over {settings["probe"]} cells, popular and rare, rated and not: z is the
        difference of the programs' posterior means (sds) over its standard error, which comes from
        the spread of independent chains. Cells are strongly dependent, so what mean z² should be is
        found by giving the programs' names to the chains at random, {settings["relabellings"]:,}
        times: median (95% range), and p, the share that are at least as large as what came. The
        last rows are a check of the check: our Wishart has {settings["control"]["extra_dof"]:g}
        degrees of freedom more than SMURFF's."""
    )


def _ratings(numbers: Numbers, name: str) -> int:
    return next(row["ratings"] for row in numbers.values() if row["table"] == name)


if __name__ == "__main__":
    run("agreement")
