"""The front: `fit_bpmf`, `fit_als`, `fit_bias`. Validate, choose the engine, run, wrap."""

from __future__ import annotations

import os
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmf.draws.probes import choose_probes
from bayesmf.draws.recorder import Recorder
from bayesmf.draws.schema import build_tree
from bayesmf.gibbs.chains import Chain, Plan, block_executor, run_chains
from bayesmf.gibbs.engines import ENGINES
from bayesmf.gibbs.sampler import build_step, initial_state
from bayesmf.kernels.blocks import Data
from bayesmf.kernels.streams import Streams
from bayesmf.model import BPMF
from bayesmf.point.als import SingularRowError
from bayesmf.point.tuning import Settings, fit, tune as tune_penalties
from bayesmf.progress import Progress
from bayesmf.ratings import Pairs, Ratings, check_fittable
from bayesmf.results import PointEstimate, Posterior
from bayesmf.validation import (
    check_bool,
    check_bytes,
    check_choice,
    check_integer,
    check_number,
    check_seed,
    fail,
)

if TYPE_CHECKING:
    from bayesmf.model import GammaPrior, NormalWishart


def fit_bpmf(
    ratings: object,
    *,
    n_factors: int = 10,
    biases: bool = True,
    backend: str = "numba",
    prior: NormalWishart | None = None,
    alpha: float | GammaPrior | None = None,
    center: str | float = "mean",
    scale: str | float = "sd",
    tune: int = 1000,
    draws: int = 2000,
    chains: int = 4,
    cores: int | None = None,
    random_seed: int | None = None,
    test: object = None,
    probe: int = 500,
    memory_budget: str | int = "256MB",
    progressbar: bool = True,
) -> Posterior:
    """Bayesian probabilistic matrix factorization, by Gibbs sampling.

    Parameters
    ----------
    ratings : DataFrame, Ratings, scipy sparse array, or tuple of arrays
        Observed ratings, one row each; see `Ratings`. Not changed.
    n_factors : int, default 10
        Rank K of the interaction; 0 leaves the bias-only model.
    biases : bool, default True
        Whether users and items have biases.
    backend : {"numba", "numpy"}, default "numba"
        Compiled, or the readable reference. Both give the same draws to rounding.
    prior : NormalWishart, optional
        Prior of the rows' means and precisions; by default its strength is learned.
    alpha : float or GammaPrior, optional
        Noise precision on the working scale (ratings less centre, over scale): a number fixes it.
        By default it is sampled, with a Gamma(1, 1) prior.
    center : "mean" or float, default "mean"
        Taken from the ratings before fitting.
    scale : "sd" or float, default "sd"
        What the ratings are then divided by. Results are on the rating scale all the same.
    tune, draws : int, default 1000 and 2000
        Sweeps of each chain that are thrown away, and that are kept.
    chains : int, default 4
        Independent chains.
    cores : int, optional
        Threads; by default all that the process may use. Never changes a result.
    random_seed : int, optional
        Non-negative. The same seed, data and versions give the same bits.
    test : DataFrame or Ratings, optional
        Held-out ratings, whose RMSE under each chain's running mean is kept for every draw in
        `sample_stats`.
    probe : int, default 500
        Cells whose every draw is kept for convergence diagnostics, spread over popular and rare
        users and items.
    memory_budget : str or int, default "256MB"
        Memory for the factor draws of all chains; they are thinned to fit.
    progressbar : bool, default True
        Whether to show progress.

    Returns
    -------
    Posterior

    Raises
    ------
    ValueError, TypeError
        For wrong arguments or data, before any work starts.
    KeyboardInterrupt
        If interrupted before every chain has a draw. Later, an interrupt keeps what was drawn.

    Notes
    -----
    The model and its defaults stand in `bayesmf.model`; the sampler is that of Salakhutdinov & Mnih
    (2008), ICML, with biases, a sampled noise precision and a learned prior strength.
    `published_2008` gives the arguments for the model as published.

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
    ...                         progressbar=False)
    >>> post.predict([(0, 1)]).columns.tolist()
    ['user', 'item', 'mean', 'sd', 'lower', 'upper']
    """
    function = "fit_bpmf"
    model = BPMF.checked(
        function, n_factors=n_factors, biases=biases, prior=prior, alpha=alpha, center=center,
        scale=scale,
    )  # fmt: skip
    check_choice(backend, "backend", function, tuple(ENGINES))
    plan = Plan(
        check_integer(tune, "tune", function), check_integer(draws, "draws", function, minimum=1)
    )
    chains = check_integer(chains, "chains", function, minimum=1)
    cores = _check_cores(cores, function)
    seed = _fresh(check_seed(random_seed, function))
    probe = check_integer(probe, "probe", function, minimum=1)
    budget = check_bytes(memory_budget, "memory_budget", function)
    check_bool(progressbar, "progressbar", function)
    data, held_out = _check_data(ratings, test, function)
    working = model.working_scale(data)

    started = time.perf_counter()
    executor = block_executor(chains, cores)
    with executor or nullcontext():
        engine = ENGINES[backend](executor)
        recorder = Recorder(
            data, model, working, chains=chains, draws=plan.draws, memory_budget=budget,
            probes=choose_probes(data, probe), test=held_out, moments=engine.moments,
            function=function,
        )  # fmt: skip
        prepared = Data.build(data, working, model.biases)
        step = build_step(prepared, model, engine)
        runs = []
        for number in range(chains):
            streams = Streams.of_chain(seed, number)
            state = initial_state(prepared, model, streams)
            runs.append(Chain(number, state, streams, step, plan))
        names = [f"Chain {number}" for number in range(chains)]
        with Progress(names, plan.sweeps, show=progressbar) as progress:
            interrupted = run_chains(runs, recorder, cores, progress)
    seconds = time.perf_counter() - started
    drawn = min(chain.draws for chain in runs)
    if interrupted:
        message = f"Interrupted: kept {drawn:,} of {plan.draws:,} draws of each chain."
        warnings.warn(message, stacklevel=2)
    tree = build_tree(
        data,
        recorder,
        drawn,
        {
            "random_seed": seed,
            "tune": plan.tune,
            "engine": f"gibbs/{backend}",
            "sampling_time": seconds,
            "interrupted": int(interrupted),
        },
    )
    return Posterior(tree, data, model, cores, seconds)


def fit_als(
    ratings: object,
    *,
    n_factors: int = 10,
    biases: bool = True,
    reg: float | str = "auto",
    reg_bias: float | str = "auto",
    weighted: bool = False,
    center: bool = True,
    max_iter: int = 200,
    tol: float = 1e-4,
    validation_size: float = 0.1,
    cores: int | None = None,
    random_seed: int | None = None,
    progressbar: bool = True,
) -> PointEstimate:
    """Matrix factorization by regularised alternating least squares.

    Parameters
    ----------
    ratings : DataFrame, Ratings, scipy sparse array, or tuple of arrays
        Observed ratings, one row each; see `Ratings`. Not changed.
    n_factors : int, default 10
        Rank of the interaction; 0 leaves the bias-only model.
    biases : bool, default True
        Whether users and items have biases, each solved jointly with its row's factors.
    reg, reg_bias : float or "auto", default "auto"
        Penalties of squared factors and squared biases. "auto" chooses by the error on a random
        part of the ratings, then fits all of them.
    weighted : bool, default False
        Multiply each row's penalty by its number of ratings (Zhou et al. 2008).
    center : bool, default True
        Take the mean rating out first. `center=False, biases=False` is plain ALS.
    max_iter : int, default 200
        Most sweeps over both sides.
    tol : float, default 1e-4
        Stop when a sweep lowers the loss by less than this share of it.
    validation_size : float, default 0.1
        Share of the ratings held out to choose penalties and to measure `sigma`.
    cores : int, optional
        Threads; by default all that the process may use. Never changes a result.
    random_seed : int, optional
        Non-negative, for the start and the held-out part.
    progressbar : bool, default True
        Whether to show progress.

    Returns
    -------
    PointEstimate

    Raises
    ------
    ValueError, TypeError
        For wrong arguments or data before any work starts; and when, with a penalty of zero, a row
        has too few ratings for a unique solution.

    Notes
    -----
    The loss is that of Koren, Bell & Volinsky (2009), eq. 5. It is the negative log posterior of
    probabilistic matrix factorization (Salakhutdinov & Mnih 2007) up to scale.

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> als = bayesmf.fit_als(ratings, n_factors=2, reg=5.0, reg_bias=2.0, random_seed=1,
    ...                       progressbar=False)
    >>> bool((als.loss[1:] <= als.loss[:-1]).all())
    True
    """
    function = "fit_als"
    rank = check_integer(n_factors, "n_factors", function)
    check_bool(biases, "biases", function)
    if rank == 0 and not biases:
        fail("n_factors", function, "positive when biases=False: nothing would be left", 0)
    penalties = []
    for name, value in (("reg", reg), ("reg_bias", reg_bias)):
        if isinstance(value, str):
            if value != "auto":
                fail(name, function, "'auto' or a non-negative number", value)
            penalties.append(None)
        else:
            penalties.append(check_number(value, name, function, at_least=0))
    check_bool(weighted, "weighted", function)
    check_bool(center, "center", function)
    max_iter = check_integer(max_iter, "max_iter", function, minimum=1)
    tol = check_number(tol, "tol", function, at_least=0)
    share = check_number(validation_size, "validation_size", function, above=0, below=1)
    cores = _check_cores(cores, function)
    seed = _fresh(check_seed(random_seed, function))
    check_bool(progressbar, "progressbar", function)
    data, _ = _check_data(ratings, None, function)

    started = time.perf_counter()
    settings = Settings(rank, biases, weighted, center, max_iter, tol, seed)
    fits = 1
    with (
        ThreadPoolExecutor(cores) as pool,
        Progress(["ALS"], 1, show=progressbar, unit="fits") as progress,
    ):
        executor = pool if cores > 1 else None

        def tick(rmse: float) -> None:
            nonlocal fits
            fits += 1
            # How many fits the search takes is not known: always one more, the final one.
            progress.update(0, fits - 1, f"validation RMSE {rmse:.4f}", total=fits)

        try:
            tuned = tune_penalties(
                data, settings, reg=penalties[0], reg_bias=penalties[1], validation_size=share,
                executor=executor, tick=tick,
            )  # fmt: skip
            solution = fit(data, settings, tuned.penalty, executor)
        except SingularRowError as error:
            raise ValueError(f"fit_als cannot solve with these penalties: {error}. Give positive "
                             f"'reg' and 'reg_bias'.") from None
        progress.update(0, fits, f"validation RMSE {tuned.validation_rmse:.4f}")
    if not solution.converged:
        message = f"ALS reached max_iter={max_iter} before the loss settled to tol={tol:g}."
        warnings.warn(message, stacklevel=2)
    chosen = tuned.penalty
    return PointEstimate(
        ratings=data,
        user_factors=solution.user_rows[:, :rank].copy(),
        item_factors=solution.item_rows[:, :rank].copy(),
        user_bias=solution.user_rows[:, rank].copy() if biases else None,
        item_bias=solution.item_rows[:, rank].copy() if biases else None,
        center=solution.center,
        sigma=tuned.validation_rmse,
        reg=chosen.reg,
        reg_bias=chosen.reg_bias,
        loss=solution.loss,
        settings={
            "weighted": weighted,
            "center": center,
            "max_iter": max_iter,
            "tol": tol,
            "validation_size": share,
            "random_seed": seed,
        },
        tried=pd.DataFrame(tuned.tried, columns=["reg", "reg_bias", "rmse"]),
        fit_seconds=time.perf_counter() - started,
    )


def fit_bias(ratings: object, *, reg_bias: float | str = "auto", **options: Any) -> PointEstimate:
    """User and item biases alone, by least squares: `fit_als` with `n_factors=0`.

    Parameters
    ----------
    ratings : DataFrame, Ratings, scipy sparse array, or tuple of arrays
        Observed ratings.
    reg_bias : float or "auto", default "auto"
        Penalty of squared biases.
    **options
        `weighted`, `center`, `max_iter`, `tol`, `validation_size`, `cores`, `random_seed` and
        `progressbar`, as in `fit_als`.

    Returns
    -------
    PointEstimate

    Raises
    ------
    ValueError, TypeError
        As `fit_als`.

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> bayesmf.fit_bias(ratings, random_seed=1, progressbar=False).n_factors
    0
    """
    return fit_als(ratings, n_factors=0, reg=0.0, reg_bias=reg_bias, **options)


def _check_data(ratings: object, test: object, function: str) -> tuple[Ratings, Pairs | None]:
    data = Ratings.coerce(ratings, "ratings", function)
    check_fittable(data, function)
    if test is None:
        return data, None
    held_out = data.pairs(test, "test", function)
    if held_out.ratings is None or len(held_out.ratings) == 0:
        fail("test", function, "a table with a 'rating' column and rows", "no ratings")
    return data, held_out


def _check_cores(cores: object, function: str) -> int:
    if cores is None:
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else os.cpu_count() or 1
    return check_integer(cores, "cores", function, minimum=1)


def _fresh(seed: int | None) -> int:
    # A fresh seed is kept with the result, so that any run can be repeated.
    return int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
