"""Several chains over several cores, in turns, so that all of them are equally far at any moment.

Chains run as short turns in a thread pool (the kernels release the GIL). When the user interrupts,
every chain has about the same number of draws, and all of them are kept. Threads that no chain
needs go to blocks of rows. Neither changes a bit of the result.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, NamedTuple, Protocol

from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from bayesmf.gibbs.sampler import Info, State, Step
    from bayesmf.kernels.streams import Streams
    from bayesmf.progress import Progress

TURN_SECONDS = 0.1


class DrawRecorder(Protocol):
    """What chains need of a recorder."""

    def record(self, chain: int, draw: int, state: State, info: Info, seconds: float) -> None:
        """Keep one draw of one chain."""

    def train_rmse(self, info: Info) -> float:
        """Training RMSE on the rating scale."""

    def begin(self, states: Sequence[State]) -> None:
        """Take notice of where chains start."""

    def swept(self, chain: int, state: State) -> None:
        """Take notice of a sweep whose draw, if it has one, is recorded."""

    def end(self, states: Sequence[State]) -> None:
        """Take notice of where chains have ended or been interrupted."""


class Plan(NamedTuple):
    """How long a run is."""

    tune: int
    draws: int

    @property
    def sweeps(self) -> int:
        """Sweeps of a chain."""
        return self.tune + self.draws


class Chain:
    """One chain: its state, and turns of sweeps that hand draws to the recorder."""

    def __init__(self, number: int, state: State, streams: Streams, step: Step, plan: Plan) -> None:
        self.number, self.state, self.streams = number, state, streams
        self.step, self.plan, self.rmse = step, plan, float("nan")

    @property
    def done(self) -> bool:
        """Whether all sweeps are done."""
        return self.state.sweep >= self.plan.sweeps

    @property
    def draws(self) -> int:
        """Draws recorded."""
        return max(0, self.state.sweep - self.plan.tune)

    def take_turn(self, recorder: DrawRecorder, stop: threading.Event) -> None:
        """Sweep for a short while, or until `stop` is set."""
        until = time.perf_counter() + TURN_SECONDS
        while not self.done and not stop.is_set() and time.perf_counter() < until:
            start = time.perf_counter()
            state, info = self.step(self.state, self.streams)
            seconds = time.perf_counter() - start
            draw = state.sweep - self.plan.tune - 1
            if draw >= 0:
                recorder.record(self.number, draw, state, info, seconds)
            # Only now: an interrupted chain counts a draw when it is recorded.
            self.state, self.rmse = state, recorder.train_rmse(info)
            recorder.swept(self.number, state)


def worker_threads(chains: int, cores: int) -> tuple[int, int]:
    """Threads that run chains, and the rest, which help them with blocks of rows."""
    workers = min(chains, cores)
    return workers, cores - workers


def block_executor(chains: int, cores: int) -> ThreadPoolExecutor | None:
    """Pool for row blocks, where there are more cores than chains."""
    spare = worker_threads(chains, cores)[1]
    return ThreadPoolExecutor(spare, thread_name_prefix="bayesmf-rows") if spare else None


def run_chains(chains: list[Chain], recorder: DrawRecorder, cores: int, progress: Progress) -> bool:
    """Run all chains to their end; return whether the user interrupted them.

    Raises
    ------
    KeyboardInterrupt
        If the user interrupts before every chain has a draw.
    """
    stop = threading.Event()
    workers = worker_threads(len(chains), cores)[0]
    # Small matrices in several threads: BLAS threads of their own would only get in the way.
    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(workers, thread_name_prefix="bayesmf-chain") as pool,
    ):
        running: dict[Future[None], Chain] = {}
        try:
            _take_turns(chains, recorder, pool, running, stop, progress)
        except KeyboardInterrupt:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            for future in running:
                if not future.cancelled():
                    future.result()  # an error of a chain is not lost in an interrupt
            if min(chain.draws for chain in chains) == 0:
                raise
            return True
        except BaseException:
            stop.set()
            raise
    return False


def _take_turns(
    chains: list[Chain],
    recorder: DrawRecorder,
    pool: Executor,
    running: dict[Future[None], Chain],
    stop: threading.Event,
    progress: Progress,
) -> None:
    for chain in chains:
        running[pool.submit(chain.take_turn, recorder, stop)] = chain
    while running:
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            chain = running.pop(future)
            future.result()
            progress.update(chain.number, chain.state.sweep, f"RMSE {chain.rmse:.3f}")
            if not chain.done:
                running[pool.submit(chain.take_turn, recorder, stop)] = chain
