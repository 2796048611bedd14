"""The front of Bayesian matrix factorization: `fit_bpmf`. Validate, choose, run, wrap."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING

from bayesmf.checks import check_cores, check_data
from bayesmf.draws.holding import check_free
from bayesmf.draws.recorder import Recorder
from bayesmf.draws.schema import build_tree
from bayesmf.gibbs.engines import ENGINES
from bayesmf.methods import (
    DTYPES,
    METHODS,
    check_chains,
    check_options,
    check_plan,
    check_size,
    check_tracked,
    choose_batch,
    choose_dtype,
    refuse_streaming,
)
from bayesmf.model import BPMF
from bayesmf.results import Posterior
from bayesmf.running import Ran, make_job, run_in_memory, run_to_store
from bayesmf.seeds import fresh_seed
from bayesmf.validation import (
    check_bool,
    check_bytes,
    check_choice,
    check_integer,
    check_seed,
)

if TYPE_CHECKING:
    import os

    from bayesmf.methods import Options
    from bayesmf.model import GammaPrior, NormalWishart
    from bayesmf.running import Job


def fit_bpmf(
    ratings: object,
    *,
    n_factors: int = 10,
    biases: bool = True,
    method: str = "gibbs",
    backend: str = "numba",
    dtype: str | None = None,
    prior: NormalWishart | None = None,
    alpha: float | GammaPrior | None = None,
    center: str | float = "mean",
    scale: str | float = "sd",
    tune: int = 500,
    draws: int = 2500,
    chains: int | None = None,
    cores: int | None = None,
    target_accept: float | None = None,
    batch_size: int | None = None,
    max_iter: int | None = None,
    tol: float | None = None,
    random_seed: int | None = None,
    test: object = None,
    probe: int = 500,
    memory_budget: str | int = "512MB",
    keep: int | None = None,
    track: object = None,
    store: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progressbar: bool = True,
) -> Posterior:
    """Bayesian probabilistic matrix factorization: by Gibbs sampling, or by PyMC.

    Parameters
    ----------
    ratings : DataFrame, Ratings, scipy sparse array, or tuple of arrays
        Observed ratings, one row each; see `Ratings`. Not changed.
    n_factors : int, default 10
        Rank K of the interaction; 0 leaves the bias-only model.
    biases : bool, default True
        Whether users and items have biases.
    method : {"gibbs", "nuts", "advi", "fullrank_advi"}, default "gibbs"
        The engine. "gibbs" is our own sampler; the others work on `bpmf_model`, the same model in
        PyMC: "nuts" by nutpie where that is installed and else by PyMC, "advi" by a Gaussian whose
        parameters are independent, "fullrank_advi" by one with all covariances. NUTS agrees with
        Gibbs and takes far longer; ADVI's intervals are too narrow. All return the same.
    backend : {"numba", "numpy"}, default "numba"
        Of Gibbs: compiled, or the readable reference. Both give the same draws to rounding.
    dtype : {"float32", "float64"}, optional
        Type in which users' and items' rows are drawn; hyperparameters, the noise precision and
        sums over all ratings are float64 in both. By default float32, in which nothing that can be
        tested differs and which is up to twice as fast, and float64 where `center`, `scale`,
        `alpha` or the prior mean are so far from the ratings that rounding would show. PyMC's
        engines work in float64.
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
    tune, draws : int, default 500 and 2500
        Sweeps of each chain that are thrown away, and that are kept; of NUTS, its draws. ADVI
        draws `draws` times from what it has fitted, and has no use for `tune`.
    chains : int, optional
        Independent chains, by default 4. ADVI has one.
    cores : int, optional
        Threads; by default all that the process may use. ADVI fits in one. Never changes a result.
    target_accept : float, optional
        Of NUTS: acceptance rate that its step size is tuned to, by default 0.9.
    batch_size : int, optional
        Of ADVI: ratings in each iteration. By default all, or 100,000 where there are more than
        500,000. A gradient of all ratings is what NUTS needs, and Gibbs has none.
    max_iter, tol : int and float, optional
        Of ADVI: most iterations, by default 20,000 (of each of full rank's two fits); it ends when
        the mean ELBO of a window of iterations is not higher than before by so many nats a rating,
        by default 1e-4.
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
        draw, `probe` cells and some 60 numbers, takes 8 bytes each beside it. With `store`, memory
        for the draws that wait to be written, however many there are.
    keep : int, optional
        Most factor draws of each chain to keep, evenly spaced; by default as many as fit
        `memory_budget`, and 1,000 in a store. 0 keeps none: then predictions are of the cells of
        `track` alone.
    track : DataFrame, Ratings, or list of (user, item), optional
        Cells of known users and items, whose mean and variance over every draw are kept:
        ``post.tracked()``. Of Gibbs.
    store : path, optional
        Folder that draws are written to as they are made, in Zarr's format; readable while the run
        goes on, and to be gone on from after a crash by `resume`. Of Gibbs; any result can be saved
        when it is there.
    overwrite : bool, default False
        Whether a store that is there already may be replaced.
    progressbar : bool, default True
        Whether to show progress.

    Returns
    -------
    Posterior

    Raises
    ------
    ValueError, TypeError, FileExistsError, FileNotFoundError
        For wrong arguments or data, before any work starts.
    OSError
        If the disk is full, or another process runs on the store; what is stored stays.
    FloatingPointError, numpy.linalg.LinAlgError
        If draws are not finite or a row's precision is lost to rounding: the prior is too extreme,
        or nearly noise-free ratings need ``dtype="float64"``.
    KeyboardInterrupt
        If interrupted before every chain has a draw (of NUTS, any chain). Later, an interrupt keeps
        what was drawn, and of ADVI what was fitted.

    Warns
    -----
    UserWarning
        After an interrupt; before NUTS takes ten minutes or more, and when one draw in a hundred
        is divergent; when ADVI has not settled.

    Notes
    -----
    The model and its defaults stand in `bayesmf.model`; the sampler is that of Salakhutdinov & Mnih
    (2008), ICML, with biases, a sampled noise precision and a learned prior strength.
    `published_2008` gives the arguments for the model as published.

    NUTS is that of Hoffman & Gelman (2014), JMLR 15; ADVI that of Kucukelbir, Tran, Ranganath,
    Gelman & Blei (2017), JMLR 18. `docs/models.md` says what each is for and gets wrong; of ADVI
    ``post.data.attrs["pareto_k"]`` tells, and ``post.data["iterations"]`` has its ELBO.

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
    check_choice(method, "method", function, METHODS)
    check_choice(backend, "backend", function, tuple(ENGINES))
    if dtype is not None:
        check_choice(dtype, "dtype", function, DTYPES)
    options = check_options(
        method, backend, dtype, target_accept, batch_size, max_iter, tol, function
    )
    plan = check_plan(tune, draws, method, function)
    chains = check_chains(chains, method, function)
    cores = check_cores(cores, function)
    seed = fresh_seed(check_seed(random_seed, function))
    probe = check_integer(probe, "probe", function, minimum=1)
    budget = check_bytes(memory_budget, "memory_budget", function)
    keep = None if keep is None else check_integer(keep, "keep", function)
    check_bool(overwrite, "overwrite", function)
    check_bool(progressbar, "progressbar", function)
    data, held_out = check_data(ratings, test, function)
    tracked = check_tracked(track, data, keep, function)
    working = model.working_scale(data)
    rows_in = "float64"
    if method == "gibbs":
        rows_in = choose_dtype(dtype, data, model, working, function)
    else:
        check_size(method, model, data, function)
        refuse_streaming(keep, track, store, method, function)
    place = None if store is None else check_free(store, overwrite, data, function)
    job = make_job(
        data, model, plan=plan, chains=chains, seed=seed, backend=backend, dtype=rows_in,
        probe=probe, keep=keep, memory_budget=budget, test=held_out, tracked=tracked,
        stored=store is not None, cores=cores, progressbar=progressbar, function=function,
    )  # fmt: skip
    if method == "gibbs":
        ran = run_in_memory(job) if place is None else run_to_store(job, place)
        kept = f"kept {ran.draws:,} of {plan.draws:,} draws of each chain"
    else:
        ran, kept = _run_pymc(job, method, options)
    if ran.interrupted:
        warnings.warn(f"Interrupted: {kept}.", stacklevel=2)
    return Posterior(ran.tree, data, model, cores, ran.seconds)


def _run_pymc(job: Job, method: str, options: Options) -> tuple[Ran, str]:
    # What was drawn, and in words what an interrupt would have left of it.
    from bayesmf.pymc_engine.nuts import Run
    from bayesmf.pymc_engine.run import run_advi, run_nuts

    data, model, settings, plan = job.ratings, job.model, job.settings, job.settings.plan
    started = time.perf_counter()
    recorder = job.recorder(Recorder)
    if method == "nuts":
        run = Run(
            plan, settings.chains, job.cores, settings.seed, options.target_accept, job.progressbar
        )
        outcome = run_nuts(data, model, recorder, run)
        kept = f"kept {outcome.draws:,} of {plan.draws:,} draws of {outcome.chains} chains"
    else:
        outcome = run_advi(
            data, model, recorder, plan, full_rank=method == "fullrank_advi",
            batch_size=choose_batch(options, method, len(data)), max_iter=options.max_iter,
            tol=options.tol, seed=settings.seed, progressbar=job.progressbar,
        )  # fmt: skip
        iterations = outcome.about["iterations"]
        kept = f"kept {outcome.draws:,} draws from what {iterations:,} iterations had fitted"
    recorder.keep_chains(outcome.chains)
    recorder.stats |= outcome.stats
    seconds = time.perf_counter() - started
    about = {
        "random_seed": settings.seed, "tune": 0 if "advi" in method else plan.tune,
        "dtype": settings.dtype, "sampling_time": seconds, "interrupted": int(outcome.interrupted),
    }  # fmt: skip
    about |= outcome.about
    tree = build_tree(data, recorder, outcome.draws, about, outcome.traces)
    return Ran(tree, outcome.draws, outcome.interrupted, seconds), kept
