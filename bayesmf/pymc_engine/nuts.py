"""NUTS on the PyMC model: by nutpie where it is installed, else by PyMC's own sampler.

nutpie takes the compiled density of `density.py`, whose code is on disk after the first time; what
it would compile of a model itself, it would compile anew in each process.
"""

from __future__ import annotations

import time
import warnings
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bayesmf.progress import Progress
from bayesmf.pymc_engine.density import Density
from bayesmf.pymc_engine.draws import free_values
from bayesmf.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Callable

    import pymc as pm
    import xarray as xr

    from bayesmf.gibbs.chains import Plan

JITTER = 0.1
"""Standard deviation of a chain's start around its mode, in unconstrained space."""

STATS = {
    "diverging": "diverging", "n_steps": "n_steps", "depth": "tree_depth", "energy": "energy",
    "step_size": "step_size", "mean_tree_accept": "acceptance_rate",
}  # fmt: skip
"""Statistics that are kept: nutpie's names, and PyMC's, which are ArviZ's."""

STEPS = 127
"""Gradients of a draw, taken for granted before there are any: a tree of depth 7.
`benchmarks/pymc_engines.py` prints what they were."""

LARGE = 4.0
"""Gigabytes of draws from which on a warning comes before NUTS starts."""

DIVERGENT = 0.01
"""Share of divergent draws above which a warning comes after."""

SHORT = 2e-4
"""Seconds of a gradient below which chains are drawn one after the other: threads that ask for
Python's lock so often take longer side by side."""

LONG = 600.0
"""Seconds from which on a warning comes before NUTS starts."""


class Run(NamedTuple):
    """How NUTS is to draw."""

    plan: Plan
    chains: int
    cores: int
    seed: int
    target_accept: float
    progressbar: bool


class Drawn(NamedTuple):
    """What NUTS has drawn.

    Attributes
    ----------
    values : dict of ndarray, shapes (chains, draws, ...)
        By variable of the model, on its own scale.
    stats : dict of ndarray, shapes (chains, draws)
        Of the sampler, under ArviZ's names.
    about : dict
        What is worth knowing of the run, in plain types.
    """

    values: dict[str, np.ndarray]
    stats: dict[str, np.ndarray]
    about: dict[str, Any]


class Length(NamedTuple):
    """How long NUTS may take: parameters x seconds of a gradient x gradients of a draw x draws."""

    n_parameters: int
    gradient: float
    cores: int
    draws: int
    seconds: float
    gigabytes: float

    @classmethod
    def of(cls, density: Density, x: np.ndarray, run: Run) -> Length:
        """Measure a gradient at x."""
        times = []
        for _ in range(4):
            started = time.perf_counter()
            density(x)
            times.append(time.perf_counter() - started)
        gradient = min(times)
        chains, plan = run.chains, run.plan
        cores = min(run.cores, chains) if gradient > SHORT else 1
        # Chains run in rounds of as many as there are cores.
        draws = -(-chains // cores) * plan.sweeps
        n = density.n_parameters
        # Twice: the sampler's copy, and that of all chains together.
        gigabytes = 2 * 8e-9 * n * chains * plan.draws
        return cls(n, gradient, cores, draws, draws * STEPS * gradient, gigabytes)

    def warn(self) -> None:
        """Say so before NUTS starts on data where it takes long or much memory."""
        hours = self.seconds / 3600
        needs = []
        if self.seconds >= LONG:
            length = f"{hours:.1f} hours" if hours >= 1 else f"{self.seconds / 60:.0f} minutes"
            needs.append(f"about {length}")
        if self.gigabytes >= LARGE:
            needs.append(f"{self.gigabytes:.0f} GB of memory for its draws")
        if not needs:
            return
        message = (
            f"NUTS may take {' and '.join(needs)} here: {self.n_parameters:,} parameters, "
            f"{1e3 * self.gradient:.3g} ms a gradient, some {STEPS} gradients a draw, "
            f"{self.draws:,} draws one after the other. method='gibbs' draws from the same "
            "posterior in a small part of that."
        )
        warnings.warn(message, stacklevel=5)


def sample_nuts(
    model: pm.Model,
    start: Callable[[int], dict[str, np.ndarray]],
    names: list[str],
    run: Run,
) -> Drawn:
    """Draw the variables `names` of a model.

    `start` makes values of some variables of a seed, a mode, by their names in unconstrained space;
    PyMC knows the others' initial values. Every chain has a start of its own.

    Raises
    ------
    KeyboardInterrupt
        If interrupted before any chain has a draw.
    """
    density = Density(model)
    initial = model.initial_point()

    def begin(seed: int) -> np.ndarray:
        noise = generator(seed, "NUTS start").standard_normal(density.n_parameters)
        return density.ravel(initial | start(seed)) + JITTER * noise

    length = Length.of(density, begin(run.seed), run)
    length.warn()
    started = time.perf_counter()
    if find_spec("nutpie") is not None:
        sampler = "nutpie"
        tree = _by_nutpie(density, begin, run._replace(cores=length.cores))
        values = free_values(density.unravel(tree["posterior"]["x"].to_numpy()), names)
    else:
        sampler = "pymc"
        starts = [density.unravel(begin(run.seed + chain)) for chain in range(run.chains)]
        tree = _by_pymc(model, starts, names, run)
        values = {name: tree["posterior"][name].to_numpy() for name in names}
    kept, draws = complete(values["user_rows"])
    found = tree["sample_stats"]
    stats = {
        common: found[name].to_numpy()[kept, :draws]
        for theirs, common in STATS.items()
        for name in {theirs, common} & set(found)
    }
    stats["diverging"] = stats["diverging"].astype(bool)
    share = float(stats["diverging"].mean())
    if share > DIVERGENT:
        message = (
            f"{share:.1%} of the draws of NUTS are divergent, so that places may have been left "
            "out. A higher target_accept takes smaller steps."
        )
        warnings.warn(message, stacklevel=4)
    about = {
        "engine": f"nuts/{sampler}",
        f"{sampler}_version": version(sampler),
        "target_accept": run.target_accept,
        "divergences": int(stats["diverging"].sum()),
        "engine_seconds": time.perf_counter() - started,
    }
    return Drawn({name: array[kept, :draws] for name, array in values.items()}, stats, about)


def complete(draws: np.ndarray) -> tuple[np.ndarray, int]:
    """Choose the chains to keep of draws (chains, draws, ...), and how many draws of each.

    All, or, after an interrupt, those that make most draws together. A chain that was behind, or
    had not begun, ends with NaN.
    """
    lengths = np.isfinite(draws[:, :, 0, 0]).sum(axis=1)
    if lengths.max(initial=0) == 0:
        raise KeyboardInterrupt
    most = max(lengths, key=lambda length: length * (lengths >= length).sum())
    return np.flatnonzero(lengths >= most), int(most)


def _by_nutpie(density: Density, begin: Callable[[int], np.ndarray], run: Run) -> xr.DataTree:
    import nutpie
    from nutpie.compiled_pyfunc import from_pyfunc

    n, plan = density.n_parameters, run.plan
    model = from_pyfunc(
        n,
        make_logp_fn=lambda: density,
        make_expand_fn=lambda *_: lambda x: {"x": x},
        expanded_dtypes=[np.dtype("float64")],
        expanded_shapes=[(n,)],
        expanded_names=["x"],
        make_initial_point_fn=begin,
    )
    names = [f"Chain {number}" for number in range(run.chains)]
    with (
        Progress(names, plan.sweeps, show=run.progressbar) as progress,
        warnings.catch_warnings(),
    ):
        # ArviZ's thoughts about few draws.
        warnings.filterwarnings("ignore", "Found chain dimension to be longer", UserWarning)

        def show(states: list[Any]) -> None:
            for number, state in enumerate(states):
                note = f"{state.latest_num_steps} steps, {state.divergences} divergences"
                progress.update(number, state.finished_draws, note)

        tree = nutpie.sample(
            model, draws=plan.draws, tune=plan.tune, chains=run.chains, cores=run.cores,
            seed=run.seed, target_accept=run.target_accept, save_warmup=False,
            progress_bar=False, progress_callback=show, progress_rate=250,
        )  # fmt: skip
        if tree["posterior"].sizes["draw"] == plan.draws:
            for number in range(run.chains):
                progress.update(number, plan.sweeps)
    return tree


def _by_pymc(
    model: pm.Model, starts: list[dict[str, np.ndarray]], names: list[str], run: Run
) -> xr.DataTree:
    import pymc as pm

    with model:
        return pm.sample(
            draws=run.plan.draws, tune=run.plan.tune, chains=run.chains,
            cores=min(run.cores, run.chains),
            # One number for all chains: the sampler makes their streams of it.
            random_seed=run.seed, nuts_sampler="pymc", target_accept=run.target_accept,
            initvals=starts, init="adapt_diag", var_names=names,
            compute_convergence_checks=False, progressbar=run.progressbar,
            quiet=not run.progressbar,
        )  # fmt: skip
