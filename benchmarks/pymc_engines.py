"""PMF by MAP, and NUTS, ADVI and Gibbs on one model: accuracy, time, memory, draws a second."""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.common import Bar, at_most, limited, peak_mb, progress, prose, run, spawn, table

if TYPE_CHECKING:
    import pandas as pd

    from benchmarks.common import Numbers, Settings

TITLE = "PMF by MAP, and NUTS and ADVI beside Gibbs"
SETTINGS: dict[str, Any] = {
    "rank": 10,
    "threads": 2,
    "seed": 1,
    # The most active users and films, for NUTS.
    "slice": [200, 200],
    "test_size": 0.2,
    "probe": 50,
    # Whether a fit that has not settled ends the run.
    "settled": True,
    "fold": {
        "MAP, biases": ["fit_pmf", {}],
        "MAP": ["fit_pmf", {"biases": False}],
        "MAP, free prior means": ["fit_pmf", {"biases": False, "learn_means": True}],
        "MAP, logistic, biases": ["fit_pmf", {"link": "logistic"}],
        "MAP, logistic": ["fit_pmf", {"link": "logistic", "biases": False}],
        "ALS, biases": ["fit_als", {}],
        "Gibbs": ["fit_bpmf", {}],
        "ADVI": ["fit_bpmf", {"method": "advi", "draws": 1000}],
    },
    "dense": {
        "Gibbs": ["fit_bpmf", {"tune": 1000, "draws": 4000}],
        "NUTS": ["fit_bpmf", {"method": "nuts", "tune": 1000, "draws": 1000}],
        "ADVI": ["fit_bpmf", {"method": "advi", "draws": 4000}],
    },
    # The same, of a corner that all covariances fit.
    "corner": [40, 40],
    "small": {
        "Gibbs": ["fit_bpmf", {"n_factors": 3, "tune": 1000, "draws": 8000}],
        "NUTS": ["fit_bpmf", {"n_factors": 3, "method": "nuts", "tune": 1000, "draws": 2000}],
        "ADVI": ["fit_bpmf", {"n_factors": 3, "method": "advi", "draws": 4000}],
        "ADVI, full rank": ["fit_bpmf", {"n_factors": 3, "method": "fullrank_advi", "draws": 4000}],
    },
}
QUICK: dict[str, Any] = {
    "rank": 2,
    "slice": [30, 30],
    "settled": False,
    "fold": {"MAP, biases": ["fit_pmf", {"n_starts": 1, "max_iter": 20}]},
    "dense": {
        "Gibbs": ["fit_bpmf", {"tune": 20, "draws": 40}],
        "NUTS": ["fit_bpmf", {"method": "nuts", "tune": 20, "draws": 20}],
    },
    "corner": [20, 20],
    "small": {
        "Gibbs": ["fit_bpmf", {"n_factors": 1, "tune": 20, "draws": 40}],
        "ADVI": ["fit_bpmf", {"n_factors": 1, "method": "advi", "draws": 40, "max_iter": 1000}],
    },
}
PLACES = ("fold", "dense", "small")
# Of a first fit that does next to nothing, in an empty cache: what compiling takes.
NOTHING: dict[str, dict[str, Any]] = {
    "fit_pmf": {"n_starts": 1, "max_iter": 1},
    "fit_als": {},
    "gibbs": {"tune": 0, "draws": 1, "chains": 1},
    "nuts": {"tune": 1, "draws": 1, "chains": 1},
    "advi": {"max_iter": 1, "draws": 1},
    "fullrank_advi": {"max_iter": 1, "draws": 1},
}
JUDGED = (
    "alpha", "total_log_likelihood", "intercept", "probe", "user_effect", "item_effect",
    "singular_value",
)  # fmt: skip
MAP_SECONDS, MAP_GB, ADVI_SECONDS, TIMES_NUTS = 60.0, 0.5, 90.0, 50.0
RMSE = {"MAP, biases": 0.930, "MAP": 0.940, "MAP, free prior means": 0.940, "Gibbs": 0.907}


def measure(settings: Settings) -> Numbers:
    """By table and engine: scores of held-out ratings, seconds, peak memory, ESS, sds."""
    numbers: Numbers = {}
    for place in PLACES:
        numbers[place] = {}
        for engine in settings[place]:
            with tempfile.TemporaryDirectory() as cache:
                first = _spawn(place, engine, settings, Path(cache), nothing=True)
                found = _spawn(place, engine, settings, Path(cache), nothing=False)
            found["first_seconds"] = first["seconds"]
            numbers[place][engine] = found
            progress(
                place,
                engine,
                {key: value for key, value in found.items() if key not in ("means", "sds")},
            )
    return numbers


def _spawn(place: str, engine: str, settings: Settings, cache: Path, *, nothing: bool) -> Numbers:
    """In a process of its own, so that peak memory is that of one engine, with its own caches."""
    caches = {"NUMBA_CACHE_DIR": str(cache), "PYTENSOR_FLAGS": f"base_compiledir={cache}"}
    return spawn("pymc_engines", [place, engine, settings, nothing], caches)


def child() -> None:
    """Fit, and print figures."""
    import bayesmf

    place, engine, settings, nothing = json.loads(sys.stdin.read())
    train, test = _tables(place, settings)
    function, options = settings[place][engine]
    common = {"n_factors": settings["rank"], "random_seed": settings["seed"]}
    common |= {"cores": settings["threads"], "progressbar": False}
    if function == "fit_bpmf":
        common["probe"] = settings["probe"]
    options = common | options
    if nothing:
        options |= NOTHING[options.get("method", "gibbs") if function == "fit_bpmf" else function]
    with limited(settings["threads"]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        if settings["settled"] and not nothing:
            warnings.filterwarnings("error", ".* reached max_iter=", UserWarning)
        start = time.perf_counter()
        fitted = getattr(bayesmf, function)(train, **options)
        seconds = time.perf_counter() - start
        memory = peak_mb() / 1000
        scores = bayesmf.compare({"it": fitted}, test).table.loc["it"]
    found = {
        "seconds": seconds,
        "gb": memory,
        "ratings": len(fitted.ratings),
        "rmse": float(scores["RMSE"]),
        "log_score": float(scores["log_score"]),
        "coverage": float(scores["coverage_90"]),
    }
    if function == "fit_bpmf" and not nothing:
        attributes = fitted.data.attrs
        found["engine"] = attributes["engine"]
        for name in ("pareto_k", "converged", "iterations", "divergences"):
            found[name] = attributes.get(name)
        posterior = fitted.data["posterior"].to_dataset()[list(JUDGED)]
        for name, take in (("means", posterior.mean), ("sds", posterior.std)):
            found[name] = {
                key: values.to_numpy().ravel().tolist()
                for key, values in take(("chain", "draw")).data_vars.items()
            }
        if posterior.sizes["chain"] > 1:
            found |= _mixing(fitted)
    print(json.dumps(found, default=float))


def _tables(place: str, settings: Settings) -> tuple[pd.DataFrame, pd.DataFrame]:
    import bayesmf

    if place == "fold":
        found: tuple[pd.DataFrame, pd.DataFrame] = bayesmf.load_movielens("100k", fold=1)
        return found
    ratings = bayesmf.load_movielens("100k")
    sizes = settings["slice" if place == "dense" else "corner"]
    for side, count in zip(("user", "item"), sizes, strict=True):
        ratings = ratings[ratings[side].isin(ratings[side].value_counts().index[:count])]
    return bayesmf.train_test_split(  # type: ignore[return-value]
        ratings.reset_index(drop=True), test_size=settings["test_size"],
        random_seed=settings["seed"],
    )  # fmt: skip


def _mixing(fitted: Any) -> Numbers:
    import arviz

    posterior = fitted.data["posterior"].to_dataset()[list(JUDGED)]
    ess, rhat = arviz.ess(posterior), arviz.rhat(posterior)
    stats = fitted.data["sample_stats"]
    return {
        "min_ess": min(float(ess[name].min()) for name in JUDGED),
        "max_rhat": max(float(rhat[name].max()) for name in JUDGED),
        "steps": float(stats["n_steps"].mean()) if "n_steps" in stats else None,
    }


def _rate(one: Numbers) -> float:
    return float(one["min_ess"] / one["seconds"])


def bars(numbers: Numbers) -> list[Bar]:
    """Time and memory of MAP, time of ADVI, accuracy, and draws a second of Gibbs and NUTS."""
    fold, dense = numbers["fold"], numbers["dense"]
    limits = {"MAP, biases": ("MAP", MAP_SECONDS), "ADVI": ("ADVI", ADVI_SECONDS)}
    found = []
    for engine, (name, limit) in limits.items():
        if engine in fold:
            first = fold[engine]["first_seconds"] + fold[engine]["seconds"]
            found.append(
                at_most(f"{name}, u1, seconds with compiling from nothing", limit, first, 0, " s")
            )
    found.append(at_most("MAP, u1, peak memory", MAP_GB, fold["MAP, biases"]["gb"], 2, " GB"))
    found += [
        at_most(f"RMSE on u1, {engine}", limit, fold[engine]["rmse"], 4)
        for engine, limit in RMSE.items()
        if engine in fold
    ]
    ratio = _rate(dense["Gibbs"]) / _rate(dense["NUTS"])
    found.append(
        Bar(
            "least ESS a second, Gibbs against NUTS, the densest slice",
            f"≥ {TIMES_NUTS:g} x", f"{ratio:.0f} x", ratio >= TIMES_NUTS,
        )
    )  # fmt: skip
    return found


def text(numbers: Numbers, settings: Settings) -> str:
    """A table of scores for each set of ratings, and what ADVI makes of the posterior."""
    users, items = settings["slice"]
    protocol = f"""K={settings["rank"]}, each engine in a process of its own on
        {settings["threads"]} cores, all defaults but what is said. Seconds are of the whole fit
        with compiled code on disk, of MAP with choosing the spreads on a tenth of the training
        ratings; "first" is what a fit that does next to nothing takes with nothing compiled, and
        comes on top of them once. "MAP" alone has factors with spherical priors of mean zero, as
        the paper's first model; with prior means that are free they can do what biases do.
        ML-100K, fold u1:"""
    dense = f"""The {users} most active users of ML-100K and their {items} most rated films,
        {settings["test_size"]:.0%} held out. ESS and R-hat are the worst over the noise precision,
        log likelihood, intercept, {settings["probe"]} cells, effects and the singular values; steps
        are gradients of a draw. Divergent draws: {numbers["dense"]["NUTS"]["divergences"]}."""
    corner = """What ADVI makes of the posterior: median ratio of its standard deviations to those
        of Gibbs, and median distance of its means from those of Gibbs in standard deviations of
        Gibbs. NUTS, which draws from the same posterior, shows what of that is Monte Carlo error.
        A Pareto k above 0.7 says that a Gaussian is not the posterior. The slice, and its {} x {}
        corner with K=3:"""
    scores = ["RMSE", "log score", "coverage of 90%", "seconds", "first", "GB"]
    parts = [
        prose(protocol),
        table(["", *scores], [[name, *_scores(one)] for name, one in numbers["fold"].items()]),
        prose(dense),
        table(
            ["", *scores, "least ESS", "ESS a second", "R-hat", "steps", "by"],
            [[name, *_scores(one), *_mixed(one)] for name, one in numbers["dense"].items()],
        ),
        prose(corner.format(*settings["corner"])),
        table(["", *(name.replace("_", " ") for name in JUDGED), "Pareto k"], _narrow(numbers)),
        prose("And posterior means of the noise precision and of the singular values:"),
        table(["", "alpha", "singular values"], _pruned(numbers)),
    ]
    return "\n\n".join(parts)


def _scores(one: Numbers) -> list[str]:
    return [
        f"{one['rmse']:.4f}", f"{one['log_score']:.3f}", f"{one['coverage']:.3f}",
        f"{one['seconds']:.1f}", f"{one['first_seconds']:.0f}", f"{one['gb']:.2f}",
    ]  # fmt: skip


def _mixed(one: Numbers) -> list[str]:
    if "min_ess" not in one:
        return ["", "", "", "", one["engine"]]
    return [
        f"{one['min_ess']:,.0f}", f"{_rate(one):.1f}", f"{one['max_rhat']:.3f}",
        f"{one['steps']:.0f}" if one["steps"] else "", one["engine"],
    ]  # fmt: skip


def _pruned(numbers: Numbers) -> list[list[str]]:
    return [
        [
            f"{engine}, {where}",
            f"{one['means']['alpha'][0]:.2f}",
            ", ".join(f"{value:.1f}" for value in one["means"]["singular_value"]),
        ]
        for place, where in (("dense", "slice"), ("small", "corner"))
        for engine, one in numbers[place].items()
    ]


def _narrow(numbers: Numbers) -> list[list[str]]:
    rows = []
    for place in ("dense", "small"):
        exact = numbers[place]["Gibbs"]
        for engine, one in numbers[place].items():
            if engine == "Gibbs":
                continue
            cells = []
            for name in JUDGED:
                sd = np.array(exact["sds"][name])
                ratio = np.median(np.array(one["sds"][name]) / sd)
                apart = np.abs(np.array(one["means"][name]) - np.array(exact["means"][name])) / sd
                cells.append(f"{ratio:.2f}, {np.median(apart):.2f}")
            k = one["pareto_k"]
            label = f"{engine}, {'slice' if place == 'dense' else 'corner'}"
            rows.append([label, *cells, "" if k is None else f"{k:.1f}"])
    return rows


if __name__ == "__main__":
    run("pymc_engines")
