"""The front of Bayesian matrix factorization: `fit_bpmf`. Validate, choose, run, wrap."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

from bayesmf.checks import check_cores, check_data
from bayesmf.draws.probes import choose_probes
from bayesmf.draws.recorder import Recorder
from bayesmf.draws.schema import build_tree
from bayesmf.gibbs.engines import ENGINES
from bayesmf.gibbs.run import run_gibbs
from bayesmf.methods import (
    DTYPES,
    METHODS,
    check_chains,
    check_options,
    check_plan,
    check_size,
    choose_batch,
    choose_dtype,
)
from bayesmf.model import BPMF
from bayesmf.results import Posterior
from bayesmf.seeds import fresh_seed
from bayesmf.validation import (
    check_bool,
    check_bytes,
    check_choice,
    check_integer,
    check_seed,
)

if TYPE_CHECKING:
    import numpy as np

    from bayesmf.model import GammaPrior, NormalWishart


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
    check_bool(progressbar, "progressbar", function)
    data, held_out = check_data(ratings, test, function)
    working = model.working_scale(data)
    rows_in = "float64"
    if method == "gibbs":
        rows_in = choose_dtype(dtype, data, model, working, function)
    else:
        check_size(method, model, data, function)

    started = time.perf_counter()
    recorder = Recorder(
        data, model, working, chains=chains, draws=plan.draws, memory_budget=budget,
        probes=choose_probes(data, probe), test=held_out, function=function,
    )  # fmt: skip
    traces: dict[str, np.ndarray] = {}
    about: dict[str, Any] = {"engine": f"{method}/{backend}"}
    if method == "gibbs":
        drawn, interrupted = run_gibbs(
            data, model, recorder, plan, chains=chains, cores=cores, seed=seed, backend=backend,
            dtype=rows_in, progressbar=progressbar,
        )  # fmt: skip
    else:
        from bayesmf.pymc_engine.nuts import Run
        from bayesmf.pymc_engine.run import run_advi, run_nuts

        if method == "nuts":
            run = Run(plan, chains, cores, seed, options.target_accept, progressbar)
            outcome = run_nuts(data, model, recorder, run)
        else:
            outcome = run_advi(
                data, model, recorder, plan, full_rank=method == "fullrank_advi",
                batch_size=choose_batch(options, method, len(data)),
                max_iter=options.max_iter, tol=options.tol, seed=seed, progressbar=progressbar,
            )  # fmt: skip
        about, traces = outcome.about, outcome.traces
        recorder.keep_chains(outcome.chains)
        recorder.stats |= outcome.stats
        chains, drawn, interrupted = outcome.chains, outcome.draws, outcome.interrupted
    seconds = time.perf_counter() - started
    if interrupted:
        kept = f"kept {drawn:,} of {plan.draws:,} draws of each chain"
        if method == "nuts":
            kept = f"kept {drawn:,} of {plan.draws:,} draws of {chains} chains"
        if "advi" in method:
            kept = f"kept {drawn:,} draws from what {about['iterations']:,} iterations had fitted"
        warnings.warn(f"Interrupted: {kept}.", stacklevel=2)
    about |= {
        "random_seed": seed, "tune": 0 if "advi" in method else plan.tune, "dtype": rows_in,
        "sampling_time": seconds, "interrupted": int(interrupted),
    }  # fmt: skip
    return Posterior(build_tree(data, recorder, drawn, about, traces), data, model, cores, seconds)
