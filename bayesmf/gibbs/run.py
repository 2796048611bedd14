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
    from collections.abc import Sequence

    from bayesmf.gibbs.chains import DrawRecorder, Plan
    from bayesmf.gibbs.sampler import State
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
    starts: Sequence[State] | None = None,
) -> tuple[int, bool]:
    """Run all chains; return how many draws each has, and whether the user interrupted them.

    `starts` are the chains' states, by default new ones; a state that has sweeps behind it goes on.
    """
    executor = block_executor(chains, cores)
    with executor or nullcontext():
        engine = ENGINES[backend]._replace(executor=executor)
        working = model.working_scale(ratings)
        prepared = Data.build(ratings, working, model.n_factors, model.biases, dtype)
        step = build_step(prepared, model, engine)
        streams = [Streams.of_chain(seed, number) for number in range(chains)]
        if starts is None:
            starts = [initial_state(prepared, model, own) for own in streams]
            recorder.begin(starts)
        runs = [
            Chain(number, state, own, step, plan)
            for number, (state, own) in enumerate(zip(starts, streams, strict=True))
        ]
        names = [f"Chain {number}" for number in range(chains)]
        with Progress(names, plan.sweeps, show=progressbar) as progress:
            interrupted = run_chains(runs, recorder, cores, progress)
        recorder.end([chain.state for chain in runs])
    return min(chain.draws for chain in runs), interrupted
