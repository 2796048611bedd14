"""The front of the Gibbs sampler: `fit_bpmf`. Validate, choose the engine, run, wrap."""

from __future__ import annotations

import time
import warnings
from contextlib import nullcontext
from typing import TYPE_CHECKING

from bayesmf.checks import check_cores, check_data
from bayesmf.draws.probes import choose_probes
from bayesmf.draws.recorder import Recorder
from bayesmf.draws.schema import build_tree
from bayesmf.gibbs.chains import Chain, Plan, block_executor, run_chains
from bayesmf.gibbs.engines import ENGINES
from bayesmf.gibbs.sampler import build_step, initial_state
from bayesmf.kernels.blocks import Data
from bayesmf.kernels.streams import Streams
from bayesmf.model import BPMF
from bayesmf.progress import Progress
from bayesmf.results import Posterior
from bayesmf.seeds import fresh_seed
from bayesmf.validation import (
    Described,
    check_bool,
    check_bytes,
    check_choice,
    check_integer,
    check_seed,
    fail,
)

if TYPE_CHECKING:
    from bayesmf.model import GammaPrior, NormalWishart, WorkingScale
    from bayesmf.ratings import Ratings

DTYPES = ("float32", "float64")
FAR = 1e4
"""How far from 1 sizes on the working scale may be for single precision, which has seven digits:
three are then left below the noise."""


def fit_bpmf(
    ratings: object,
    *,
    n_factors: int = 10,
    biases: bool = True,
    backend: str = "numba",
    dtype: str | None = None,
    prior: NormalWishart | None = None,
    alpha: float | GammaPrior | None = None,
    center: str | float = "mean",
    scale: str | float = "sd",
    tune: int = 500,
    draws: int = 1500,
    chains: int = 4,
    cores: int | None = None,
    random_seed: int | None = None,
    test: object = None,
    probe: int = 500,
    memory_budget: str | int = "512MB",
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
    dtype : {"float32", "float64"}, optional
        Type in which users' and items' rows are drawn; hyperparameters, the noise precision and
        sums over all ratings are float64 in both. By default float32, in which nothing that can be
        tested differs and which is up to twice as fast, and float64 where `center`, `scale`,
        `alpha` or the prior mean are so far from the ratings that rounding would show.
    prior : NormalWishart, optional
        Prior of the rows' means and precisions; by default its strength is learned.
    alpha : float or GammaPrior, optional
        Noise precision on the working scale (ratings less centre, over scale): a number fixes it.
        By default it is sampled, with a Gamma(1, 1) prior.
    center : "mean" or float, default "mean"
        Taken from the ratings before fitting.
    scale : "sd" or float, default "sd"
        What the ratings are then divided by: their sd, or a number that the prior takes for it.
        Results are on the rating scale all the same.
    tune, draws : int, default 500 and 1500
        Sweeps of each chain that are thrown away, and that are kept.
    chains : int, default 4
        Independent chains.
    cores : int, optional
        Threads; by default all that the process may use. Never changes a result.
    random_seed : int, optional
        Non-negative. The same seed, data, versions and kind of processor give the same bits.
    test : DataFrame or Ratings, optional
        Held-out ratings, whose RMSE under each chain's running mean is kept for every draw in
        `sample_stats`.
    probe : int, default 500
        Cells whose every draw is kept for convergence diagnostics, spread over popular and rare
        users and items.
    memory_budget : str or int, default "512MB"
        Memory for the factor draws of all chains; they are thinned to fit. What is kept of every
        draw, `probe` cells and some 60 numbers, takes 8 bytes each beside it.
    progressbar : bool, default True
        Whether to show progress.

    Returns
    -------
    Posterior

    Raises
    ------
    ValueError, TypeError
        For wrong arguments or data, before any work starts.
    FloatingPointError, numpy.linalg.LinAlgError
        If draws are not finite or a row's precision is lost to rounding: the prior is too extreme,
        or nearly noise-free ratings need ``dtype="float64"``.
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
    if dtype is not None:
        check_choice(dtype, "dtype", function, DTYPES)
    plan = Plan(
        check_integer(tune, "tune", function), check_integer(draws, "draws", function, minimum=1)
    )
    chains = check_integer(chains, "chains", function, minimum=1)
    cores = check_cores(cores, function)
    seed = fresh_seed(check_seed(random_seed, function))
    probe = check_integer(probe, "probe", function, minimum=1)
    budget = check_bytes(memory_budget, "memory_budget", function)
    check_bool(progressbar, "progressbar", function)
    data, held_out = check_data(ratings, test, function)
    working = model.working_scale(data)
    dtype = _choose_dtype(dtype, data, model, working, function)

    started = time.perf_counter()
    executor = block_executor(chains, cores)
    with executor or nullcontext():
        engine = ENGINES[backend]._replace(executor=executor)
        recorder = Recorder(
            data, model, working, chains=chains, draws=plan.draws, memory_budget=budget,
            probes=choose_probes(data, probe), test=held_out, function=function,
        )  # fmt: skip
        prepared = Data.build(data, working, model.n_factors, model.biases, dtype)
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
            "dtype": dtype,
            "sampling_time": seconds,
            "interrupted": int(interrupted),
        },
    )
    return Posterior(tree, data, model, cores, seconds)


def _choose_dtype(
    dtype: str | None, data: Ratings, model: BPMF, working: WorkingScale, function: str
) -> str:
    """Single precision unless it would show; an error where it would and was asked for."""
    sd, size = data.sd / working.scale, abs(data.mean - working.center) / working.scale
    far = {"an sd": sd, "a mean": size / sd, "an inverse sd": 1 / sd}
    alpha = model.alpha if isinstance(model.alpha, float) else model.alpha.mean
    far |= {"noise of sd": alpha**-0.5, "noise of precision": alpha}
    far |= {"a prior mean of size": abs(model.prior.mu0)}
    for what, value in far.items():
        if value > FAR:
            if dtype == "float32":
                must = "None or 'float64' for a centre, scale or noise so far from the ratings"
                got = f"'float32' with {what} of {value:.3g} on the working scale"
                fail("dtype", function, must, Described(got))
            return "float64"
    return dtype or "float32"
