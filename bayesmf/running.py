"""A Gibbs run from checked settings to a tree of draws: in memory, to a store, or on from one.

What `fit_bpmf`, `resume` and `Posterior.update` share.
"""

from __future__ import annotations

import json
import shutil
import time
import warnings
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from bayesmf.draws.holding import explained, locked
from bayesmf.draws.keeping import Keeping, plan_keeping
from bayesmf.draws.opening import model_of, open_tree, plain_ids, ratings_of, root_attributes
from bayesmf.draws.probes import choose_probes
from bayesmf.draws.recorder import Recorder, Recording, Watched
from bayesmf.draws.schema import build_tree, fixed_tree
from bayesmf.draws.store import PRIVATE, Store
from bayesmf.draws.streaming import StreamingRecorder
from bayesmf.gibbs.chains import Plan
from bayesmf.gibbs.run import run_gibbs
from bayesmf.validation import Described, fail

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import xarray as xr

    from bayesmf.gibbs.sampler import State
    from bayesmf.model import BPMF
    from bayesmf.ratings import Pairs, Ratings

VERSIONS = ("bayesmf", "numpy", "numba")
"""Packages whose versions a run's bits depend on."""


@dataclass(frozen=True)
class Settings:
    """What a run is told beside the data and the model; stored with it, to go on.

    Attributes
    ----------
    tune, draws, chains : int
    seed : int
    backend, dtype : str
    probe : int
    keeping : Keeping
    """

    tune: int
    draws: int
    chains: int
    seed: int
    backend: str
    dtype: str
    probe: int
    keeping: Keeping

    @property
    def plan(self) -> Plan:
        """Sweeps of each chain."""
        return Plan(self.tune, self.draws)

    def to_json(self) -> str:
        """Everything as text."""
        return json.dumps(asdict(self) | {"keeping": self.keeping._asdict()})

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """Read what `to_json` gave."""
        found = json.loads(text)
        return cls(**{**found, "keeping": Keeping(**found["keeping"])})


class Ran(NamedTuple):
    """Draws of a run, how many each chain has, whether it was interrupted, and its seconds."""

    tree: xr.DataTree
    draws: int
    interrupted: bool
    seconds: float


class Job(NamedTuple):
    """A run: what it is of, what it is told, and what it watches."""

    ratings: Ratings
    model: BPMF
    settings: Settings
    watched: Watched
    cores: int
    progressbar: bool

    def recorder[R: Recorder](self, kind: type[R]) -> R:
        """Make a recorder of a kind."""
        s = self.settings
        return kind(Recording(self.ratings, self.model, s.chains, s.draws, s.keeping, self.watched))

    def run(
        self, recorder: Recorder, starts: Sequence[State] | None = None
    ) -> tuple[int, bool, float]:
        """Run all chains; return their draws, whether they were interrupted, and the seconds."""
        s, started = self.settings, time.perf_counter()
        drawn, interrupted = run_gibbs(
            self.ratings, self.model, recorder, s.plan, chains=s.chains, cores=self.cores,
            seed=s.seed, backend=s.backend, dtype=s.dtype, progressbar=self.progressbar,
            starts=starts,
        )  # fmt: skip
        return drawn, interrupted, time.perf_counter() - started

    def about(self, seconds: float, interrupted: bool) -> dict[str, Any]:
        """Attributes of its draws."""
        s = self.settings
        return {
            "engine": f"gibbs/{s.backend}", "random_seed": s.seed, "tune": s.tune,
            "dtype": s.dtype, "sampling_time": seconds, "interrupted": int(interrupted),
        }  # fmt: skip


def make_job(
    ratings: Ratings,
    model: BPMF,
    *,
    plan: Plan,
    chains: int,
    seed: int,
    backend: str,
    dtype: str,
    probe: int,
    keep: int | None,
    memory_budget: int,
    test: Pairs | None,
    tracked: Pairs | None,
    stored: bool,
    cores: int,
    progressbar: bool,
    function: str,
) -> Job:
    """Plan a run."""
    keeping = plan_keeping(
        ratings, model, chains=chains, draws=plan.draws, keep=keep, memory_budget=memory_budget,
        stored=stored, function=function,
    )  # fmt: skip
    settings = Settings(plan.tune, plan.draws, chains, seed, backend, dtype, probe, keeping)
    watched = Watched(choose_probes(ratings, probe), test, tracked)
    return Job(ratings, model, settings, watched, cores, progressbar)


def run_in_memory(job: Job, starts: Sequence[State] | None = None) -> Ran:
    """Run, and keep the draws in memory."""
    recorder = job.recorder(Recorder)
    drawn, interrupted, seconds = job.run(recorder, starts)
    about = job.about(seconds, interrupted)
    return Ran(build_tree(job.ratings, recorder, drawn, about), drawn, interrupted, seconds)


def run_to_store(job: Job, path: Path) -> Ran:
    """Run, and write the draws to a new store as they are made.

    A store that is there already is replaced when the new one can be gone on from.

    Raises
    ------
    OSError
        If the disk is full, or another process runs on the store.
    """
    function = "fit_bpmf"
    with ExitStack() as held:
        replace = path.exists()
        if replace:
            held.enter_context(locked(Store(path), function))
        recorder = job.recorder(StreamingRecorder)
        begun = {"run": job.settings.to_json(), "status": "running"}
        fixed = fixed_tree(job.ratings, recorder, job.about(0.0, interrupted=False) | begun)
        with explained(path, function, lambda: recorder.settled):
            partial, lock = Store.begin(path)
            try:
                recorder.store = Store.create(partial, fixed, recorder.plans())
                recorder.place, recorder.replace = path, replace
                return _finish(job, recorder, path, None)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
                lock.release()


def run_on(path: Path, more: int, cores: int, progressbar: bool) -> tuple[Job, Ran]:
    """Go on with a stored run, with `more` draws of each chain than were planned."""
    function = "resume"
    attributes = root_attributes(path, function)
    if "run" not in attributes or not (path / PRIVATE).is_dir():
        must = "the store of a run, as fit_bpmf(..., store=...) makes it: what was saved later "
        must += "has no checkpoints"
        fail("path", function, must, str(path))
    with locked(Store(path), function), explained(path, function, lambda: True):
        store = Store(path)  # as whoever had it before has left it
        store.sweep_out()
        job, states, recorder = _restore(store, more, cores, progressbar, function)
        return job, _finish(job, recorder, path, states)


def _restore(
    store: Store, more: int, cores: int, progressbar: bool, function: str
) -> tuple[Job, list[State], StreamingRecorder]:
    path = store.path
    _, tree = open_tree(path, function)
    ratings, model = ratings_of(tree, path, function), model_of(tree, path, function)
    settings = Settings.from_json(store.attributes["run"])
    settings = replace(settings, draws=settings.draws + more)
    watched = Watched(
        choose_probes(ratings, settings.probe), _cells(tree, ratings, "held_out"),
        _cells(tree, ratings, "tracked"),
    )  # fmt: skip
    _warn_of_versions(store.attributes, path)
    job = Job(ratings, model, settings, watched, cores, progressbar)
    recorder = job.recorder(StreamingRecorder)
    recorder.spent = float(store.attributes["sampling_time"])
    try:
        store.open_arrays()
        states = recorder.restore(store)
        rows = [(len(state.user_rows), len(state.item_rows)) for state in states]
        if set(rows) != {(ratings.n_users, ratings.n_items)}:
            raise ValueError("its checkpoints are of other ratings")  # noqa: TRY301
    except (ValueError, KeyError) as error:
        fail("path", function, "a sound store of bayesmf", Described(f"{path}: {error}"))
    if more:
        store.extend(recorder.labels())
    recorder.commit({"run": settings.to_json(), "status": "running"})
    return job, states, recorder


def _cells(tree: xr.DataTree, ratings: Ratings, group: str) -> Pairs | None:
    # The cells that a run watches, from the ids in its store.
    if group not in tree:
        return None
    found = tree[group]
    columns = {side: plain_ids(found[side].to_numpy()) for side in ("user", "item")}
    if "rating" in found:
        columns["rating"] = found["rating"].to_numpy()
    names = {ratings.columns.get(name, name): values for name, values in columns.items()}
    return ratings.pairs(pd.DataFrame(names), group, "resume", with_rating="rating" in found)


def _warn_of_versions(attributes: dict[str, Any], path: Path) -> None:
    changed = [
        f"{name} {attributes[f'{name}_version']} (now {version(name)})"
        for name in VERSIONS
        if attributes[f"{name}_version"] != version(name)
    ]
    if changed:
        message = f"{path} was begun with {', '.join(changed)}: its bits may differ from here on."
        warnings.warn(message, stacklevel=5)


def _finish(job: Job, recorder: StreamingRecorder, path: Path, starts: list[State] | None) -> Ran:
    drawn, interrupted, _ = job.run(recorder, starts)
    seconds = recorder.elapsed()
    status = {"status": "interrupted" if interrupted else "finished"}
    recorder.commit(job.about(seconds, interrupted) | status)
    return Ran(open_tree(path, "fit_bpmf")[1], drawn, interrupted, seconds)
