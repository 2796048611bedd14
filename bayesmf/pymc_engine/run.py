"""A run of NUTS or ADVI: model built, engine started, draws handed to a recorder."""

from __future__ import annotations

import math
import time
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from bayesmf.model import GammaPrior
from bayesmf.point.als import Penalty, solve
from bayesmf.progress import Progress
from bayesmf.pymc_engine.advi import fit_independent
from bayesmf.pymc_engine.density import Density
from bayesmf.pymc_engine.draws import Replay, free_values, kept_variables
from bayesmf.pymc_engine.full_rank import fit_full_rank
from bayesmf.pymc_engine.gaussian import pareto_k
from bayesmf.pymc_engine.models import build_bpmf
from bayesmf.pymc_engine.nuts import Run, sample_nuts
from bayesmf.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Callable

    from bayesmf.gibbs.chains import DrawRecorder, Plan
    from bayesmf.model import BPMF
    from bayesmf.ratings import Ratings

NOISE, SWEEPS = 0.7, 30
"""Share of the ratings' variance that is taken for noise at the start, where alpha is not given,
and sweeps of ALS there."""


class Outcome(NamedTuple):
    """What is worth knowing of a run beside its draws.

    Attributes
    ----------
    about : dict
        In plain types.
    stats : dict of ndarray, shapes (chains, draws)
        Of the sampler.
    traces : dict of ndarray, shapes (iterations,)
        Of the optimiser.
    chains, draws : int
        That were recorded: fewer than planned after an interrupt.
    interrupted : bool
    """

    about: dict[str, Any]
    stats: dict[str, np.ndarray]
    traces: dict[str, np.ndarray]
    chains: int
    draws: int
    interrupted: bool


def run_nuts(ratings: Ratings, model: BPMF, recorder: DrawRecorder, run: Run) -> Outcome:
    """Draw by NUTS and record."""
    drawn = sample_nuts(
        build_bpmf(ratings, model, fused=True),
        lambda seed: starting_values(ratings, model, seed),
        kept_variables(model),
        run,
    )
    kept, draws = drawn.values["user_rows"].shape[:2]
    values = drawn.values
    draws = _record(
        Replay(ratings, model, recorder), draws,
        lambda draw: {name: array[:, draw] for name, array in values.items()},
    )  # fmt: skip
    interrupted = kept < run.chains or draws < run.plan.draws
    return Outcome(drawn.about, drawn.stats, {}, kept, draws, interrupted)


def run_advi(
    ratings: Ratings,
    model: BPMF,
    recorder: DrawRecorder,
    plan: Plan,
    *,
    full_rank: bool,
    batch_size: int | None,
    max_iter: int,
    tol: float,
    seed: int,
    progressbar: bool,
) -> Outcome:
    """Fit a Gaussian, draw from it and record.

    A fit of all covariances starts from one of independent parameters.
    """
    built = build_bpmf(ratings, model, fused=True)
    density = Density(built)
    start = density.ravel(built.initial_point() | starting_values(ratings, model, seed))
    batches = None
    if batch_size is not None and batch_size < len(ratings):
        batches = Batches(density, batch_size, generator(seed, "ADVI batches"))
    stages = ["ADVI", "Full-rank ADVI"][: 1 + full_rank]
    options: dict[str, Any] = {"max_iter": max_iter, "tol": tol * len(ratings)}
    rng, started = generator(seed, "ADVI"), time.perf_counter()
    elbo: list[np.ndarray] = []
    with (
        threadpool_limits(1, user_api="blas"),  # as bits would depend on the number of threads
        Progress(stages, max_iter, show=progressbar, unit="iterations") as progress,
    ):

        def tick(done: int, value: float) -> None:
            progress.update(len(elbo), done, f"ELBO {value:,.0f}")

        fitted = fit_independent(
            density, start, rng, tick=tick,
            next_batch=batches.set_next if batches else lambda: None, **options,
        )  # fmt: skip
        elbo.append(fitted.elbo)
        progress.update(0, len(elbo[0]), "settled" if fitted.settled else "", len(elbo[0]))
        if batches:
            batches.set_all()
        if full_rank and not fitted.interrupted:
            fitted = fit_full_rank(density, fitted.gaussian, rng, tick=tick, **options)
            elbo.append(fitted.elbo)
            progress.update(1, len(elbo[1]), "settled" if fitted.settled else "", len(elbo[1]))
    if not elbo[0].size:
        raise KeyboardInterrupt
    if not fitted.settled and not fitted.interrupted:
        message = f"ADVI reached max_iter={max_iter} before its ELBO settled to tol={tol:g}."
        warnings.warn(message, stacklevel=3)
    interrupted, k = fitted.interrupted, math.nan
    try:
        k = pareto_k(density, fitted.gaussian, generator(seed, "importance ratios"))
    except KeyboardInterrupt:
        interrupted = True
    rng, names = generator(seed, "ADVI draws"), kept_variables(model)

    def drawn(_: int) -> dict[str, np.ndarray]:
        x = fitted.gaussian.transform(rng.standard_normal((1, density.n_parameters)))
        return free_values(density.unravel(x), names)

    draws = _record(Replay(ratings, model, recorder), plan.draws, drawn)
    about = {
        "engine": f"{'fullrank_' * full_rank}advi/pymc",
        "iterations": sum(map(len, elbo)),
        "converged": int(fitted.settled),
        "batch_size": len(ratings) if batches is None else batch_size,
        "pareto_k": k,
        "engine_seconds": time.perf_counter() - started,
    }
    traces = {
        "elbo": np.concatenate(elbo),
        "stage": np.repeat(np.arange(len(elbo)), [len(one) for one in elbo]),
    }
    return Outcome(about, {}, traces, 1, draws, interrupted or draws < plan.draws)


def _record(replay: Replay, draws: int, values: Callable[[int], dict[str, np.ndarray]]) -> int:
    """Record draw after draw; return how many, which after an interrupt are fewer."""
    with threadpool_limits(1, user_api="blas"):
        for draw in range(draws):
            try:
                replay.record(values(draw), draw)
            except KeyboardInterrupt:
                if draw == 0:
                    raise
                return draw
    return draws


class Batches:
    """Ratings of a density in batches, every rating once before any comes again."""

    def __init__(self, density: Density, size: int, rng: np.random.Generator) -> None:
        self._set: Callable[..., None] = density.set_data
        self._all = {name: density.data(name) for name in ("user_code", "item_code", "target")}
        self._n, self._size, self._rng = len(self._all["target"]), size, rng
        self._order, self._next = rng.permutation(self._n), 0

    def set_next(self) -> None:
        """The next batch; the last of a round may be smaller."""
        if self._next >= self._n:
            self._order, self._next = self._rng.permutation(self._n), 0
        chosen = np.sort(self._order[self._next : self._next + self._size])
        self._next += self._size
        part = {name: values[chosen] for name, values in self._all.items()}
        self._set(share=len(chosen) / self._n, **part)

    def set_all(self) -> None:
        """All ratings, as at first."""
        self._set(share=1.0, **self._all)


def starting_values(ratings: Ratings, model: BPMF, seed: int) -> dict[str, np.ndarray]:
    """Rows at the mode for the spreads that the prior expects, which is what ALS finds.

    Not near zero: there is a saddle, and beside it a Gaussian that explains factors away as noise.
    """
    scale, k = model.working_scale(ratings), model.n_factors
    priors = [model.prior.resolve(n, k, model.biases) for n in (ratings.n_users, ratings.n_items)]
    # On the working scale; a factor has the unit of the root of a rating.
    noise = NOISE * (ratings.sd / scale.scale) ** 2
    if not isinstance(model.alpha, GammaPrior):
        noise = 1 / model.alpha
    penalties = noise / np.mean([prior.strength / prior.dof for prior in priors], axis=0)
    penalty = Penalty(
        float(penalties[0]) * scale.scale if k else 0.0,
        float(penalties[-1]) if model.biases else 0.0,
        weighted=False,
    )
    found = solve(
        ratings, n_factors=k, biases=model.biases, penalty=penalty, center=scale.center,
        max_iter=SWEEPS, tol=1e-4, seed=seed,
    )  # fmt: skip
    units = scale.units(k, model.biases)
    users, items = found.user_rows / units, found.item_rows / units
    return {
        "user_rows": users, "item_rows": items,
        "mu_user": users.mean(axis=0), "mu_item": items.mean(axis=0),
    }  # fmt: skip
