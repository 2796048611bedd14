"""A recorder whose draws go to a store as they are made, with checkpoints to go on from.

Draws wait in memory until a chunk is full, or a checkpoint is due. Then they are written, the
chain's checkpoint is replaced, and the store says what it has, in this order: whenever the process
is killed, every checkpoint belongs to draws that are on the disk. Draws after it are made again,
with the same bits, since random numbers are addressed by sweep.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmf.draws.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from bayesmf.draws.recorder import Recorder
from bayesmf.draws.schema import dims_of, tracked_cells
from bayesmf.draws.store import ArrayPlan, GroupPlan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bayesmf.draws.recorder import Recording
    from bayesmf.draws.store import Store
    from bayesmf.gibbs.sampler import Info, State

CHECKPOINT_SECONDS = 20.0
"""Time of a chain between two checkpoints, at most: what a crash can cost."""


class StreamingRecorder(Recorder):
    """A recorder that hands its draws on to a store.

    Parameters
    ----------
    recording : Recording
        Whose `keeping` says how many draws wait in memory.

    Attributes
    ----------
    store : Store
        Where draws go; set before a run.
    place : Path
        Where a new store goes when it is complete enough to go on from.
    replace : bool
        Whether an older store there may give way.
    spent : float
        Seconds that earlier parts of the run have taken.
    """

    def __init__(self, recording: Recording) -> None:
        super().__init__(recording)
        self.store: Store | None = None
        self.place: Path | None = None
        self.replace = False
        self.spent = 0.0
        self._began = time.perf_counter()
        self._in_store = [0] * self.chains
        self._saved_at = [time.perf_counter()] * self.chains
        self._written = {name: values.copy() for name, values in self.sums.items()}
        self._committing = threading.Lock()

    def begin(self, states: Sequence[State]) -> None:
        """Write the first checkpoints, before the first sweep; only then the store is there."""
        for chain, state in enumerate(states):
            self._save(chain, state)
        self.commit({})
        assert self.store is not None  # noqa: S101 - a run begins with one
        assert self.place is not None  # noqa: S101
        self.store.settle(self.place, replace=self.replace)

    @property
    def settled(self) -> bool:
        """Whether the store is in its place, with checkpoints to go on from."""
        return self.store is not None and self.store.path == self.place

    def elapsed(self) -> float:
        """Seconds that the run has taken, its earlier parts included."""
        return self.spent + time.perf_counter() - self._began

    def plans(self) -> dict[str, GroupPlan]:
        """Room that its draws take in a store."""
        found = {}
        labels = self.labels()
        for group, arrays, size, _ in self._buffers(0):
            if arrays:
                plan = {
                    name: ArrayPlan(array.shape[2:], dims_of(name), array.dtype)
                    for name, array in arrays.items()
                }
                found[group] = GroupPlan(plan, self.chains, labels[group], size)
        return found

    def labels(self) -> dict[str, np.ndarray]:
        """Numbers of all draws that are planned; factors keep the numbers of theirs."""
        every, keeping = np.arange(self.draws), self.keeping
        kept = np.arange(keeping.kept(self.draws)) * keeping.thin
        return {"posterior": every, "sample_stats": every, "factors": kept}

    def restore(self, store: Store) -> list[State]:
        """Go on with a store: counters and running sums of each chain, and their states.

        Raises
        ------
        ValueError
            If a checkpoint is damaged, or belongs to another run.
        """
        self.store = store
        states = []
        for chain in range(self.chains):
            file = store.checkpoint(chain)
            found = load_checkpoint(file)
            if set(found.sums) != set(self.sums):
                raise ValueError(f"checkpoint {file.name}: it is of another run")
            for name, values in found.sums.items():
                self.sums[name][chain] = self._written[name][chain] = values
            self._fill(chain, found.draws)
            states.append(found.state)
        return states

    def _fill(self, chain: int, draws: int) -> None:
        # Chunks that are not full yet go back to memory, to be written again as a whole.
        assert self.store is not None  # noqa: S101 - the caller has set it
        self._in_store[chain] = self.recorded[chain] = draws
        for group, arrays, size, n in self._buffers(draws):
            start = _chunk_start(n, size)
            for name, values in self.store.read(group, chain, start, n).items():
                arrays[name][chain, : n - start] = values

    def _buffers(self, draws: int) -> list[tuple[str, dict[str, np.ndarray], int, int]]:
        # Name, arrays, draws that they hold, and draws that there are after so many of the chain.
        keeping = self.keeping
        return [
            ("posterior", self.posterior, keeping.every, draws),
            ("sample_stats", self.stats, keeping.every, draws),
            ("factors", self.factors, keeping.block, keeping.kept(draws)),
        ]

    def record(self, chain: int, draw: int, state: State, info: Info, seconds: float) -> None:
        """Keep one draw of one chain, and write what is full."""
        super().record(chain, draw, state, info, seconds)
        draws, thin = draw + 1, self.keeping.thin
        full = draws % self.keeping.every == 0
        if thin and draw % thin == 0:
            full |= self.keeping.kept(draws) % self.keeping.block == 0
        if full:
            self._save(chain, state)

    def swept(self, chain: int, state: State) -> None:
        """Write a checkpoint when the last one is old."""
        if time.perf_counter() - self._saved_at[chain] > CHECKPOINT_SECONDS:
            self._save(chain, state)

    def end(self, states: Sequence[State]) -> None:
        """Write what is left."""
        for chain, state in enumerate(states):
            self._save(chain, state)

    def _save(self, chain: int, state: State) -> None:
        store = self.store
        assert store is not None  # noqa: S101 - a run begins with one
        draws = int(self.recorded[chain])
        if draws > self._in_store[chain]:
            for group, arrays, size, n in self._buffers(draws):
                start = _chunk_start(n, size)
                values = {name: array[chain, : n - start] for name, array in arrays.items()}
                store.write(group, chain, start, values)
        sums = {name: values[chain] for name, values in self.sums.items()}
        save_checkpoint(store.checkpoint(chain), Checkpoint(state, draws, sums))
        self._saved_at[chain] = time.perf_counter()
        with self._committing:
            before = min(self._in_store)
            self._in_store[chain] = draws
            for name, values in sums.items():
                self._written[name][chain] = values
            if min(self._in_store) > before:
                self.commit({})

    def commit(self, attributes: dict[str, Any]) -> None:
        """Say what the store has, with new values of attributes.

        Tracked cells have the moments that each chain had when it was written last.
        """
        assert self.store is not None  # noqa: S101 - a run begins with one
        draws = min(self._in_store)
        cells = self.watched.tracked
        if cells is not None:
            found = tracked_cells(cells, self._written, np.array(self._in_store))
            moments = found[["mean", "variance"]]
            self.store.write_tracked({str(name): moments[name].to_numpy() for name in moments})
        elapsed = {"sampling_time": self.elapsed()}
        n_draws = {group: n for group, _, _, n in self._buffers(draws)}
        self.store.commit(n_draws, elapsed | attributes)


def _chunk_start(n: int, size: int) -> int:
    """Where the last chunk of the first n draws begins."""
    return max(0, n - 1) // size * size if size else 0
