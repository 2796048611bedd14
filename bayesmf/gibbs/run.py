"""A run of the Gibbs sampler: data laid out, chains started, draws handed to a recorder."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from bayesmf.gibbs.chains import Chain, block_executor, run_chains
from bayesmf.gibbs.engines import ENGINES
from bayesmf.gibbs.sampler import build_step, initial_state
from bayesmf.kernels.blocks import Data
from bayesmf.kernels.streams import Streams
from bayesmf.progress import Progress

if TYPE_CHECKING:
    from bayesmf.gibbs.chains import DrawRecorder, Plan
    from bayesmf.model import BPMF
    from bayesmf.ratings import Ratings


def run_gibbs(
    ratings: Ratings,
    model: BPMF,
    recorder: DrawRecorder,
    plan: Plan,
    *,
    chains: int,
    cores: int,
    seed: int,
    backend: str,
    dtype: str,
    progressbar: bool,
) -> tuple[int, bool]:
    """Run all chains; return how many draws each has, and whether the user interrupted them."""
    executor = block_executor(chains, cores)
    with executor or nullcontext():
        engine = ENGINES[backend]._replace(executor=executor)
        working = model.working_scale(ratings)
        prepared = Data.build(ratings, working, model.n_factors, model.biases, dtype)
        step = build_step(prepared, model, engine)
        runs = []
        for number in range(chains):
            streams = Streams.of_chain(seed, number)
            state = initial_state(prepared, model, streams)
            runs.append(Chain(number, state, streams, step, plan))
        names = [f"Chain {number}" for number in range(chains)]
        with Progress(names, plan.sweeps, show=progressbar) as progress:
            interrupted = run_chains(runs, recorder, cores, progress)
    return min(chain.draws for chain in runs), interrupted
