"""Real processes, killed while they write a store, and what `resume` makes of it.

`python -m tests.resuming N` kills N runs; the suite kills five (`test_resume.py`).
"""

import json
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np

import bayesmf

RUN = {"n_factors": 3, "tune": 4, "draws": 24, "chains": 2, "keep": 12, "random_seed": 4}
CELLS = [(0, 1), (3, 4)]
EVENTS = 3400
"""Events of a run, less some that the order of threads decides: one that is over was not killed."""

CHILD = """
    import os, signal, sys
    from pathlib import Path
    import bayesmf
    from bayesmf import atomic
    from bayesmf.draws import keeping, streaming
    from tests.resuming import CELLS, RUN, data

    # Chunks of a few draws and a checkpoint every sweep, so that there is much to interrupt.
    keeping.DRAWS_TOGETHER = keeping.FEW = 8
    streaming.CHECKPOINT_SECONDS = 0.0
    last, events = int(sys.argv[2]), []

    def counted(name, function):
        def call(*args, **kwargs):
            events.append(name)
            if len(events) == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)
        return call

    # Before every sweep's end, and sync and renaming of every file.
    streaming.StreamingRecorder.swept = counted("sweep", streaming.StreamingRecorder.swept)
    os.fsync = counted("sync", os.fsync)
    Path.replace = counted("rename", Path.replace)
    ratings = data()
    watched = {"test": ratings, "track": CELLS, "progressbar": False}
    bayesmf.fit_bpmf(ratings, store=sys.argv[1], **watched, **RUN)
    print(len(events))
"""


def data():
    """The table of every run."""
    return bayesmf.simulate(40, 30, 500, n_factors=2, random_seed=2).ratings


def start(path, last):
    """Start a run that kills itself at an event, 0 for never."""
    code = textwrap.dedent(CHILD)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path), str(last)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip


def differences(found, expected):
    """Names of variables whose bits differ, but for the clock's."""
    return [
        f"{group}/{name}"
        for group, node in expected.children.items()
        for name in node.data_vars
        if name != "seconds"
        and not np.array_equal(found[group][name].to_numpy(), node[name].to_numpy())
    ]


def kill_and_resume(folder, n_kills, seed):
    """Kill runs at random events; yield for each the event, draws in the store, differences."""
    ratings = data()
    expected = bayesmf.fit_bpmf(ratings, test=ratings, track=CELLS, progressbar=False, **RUN)
    moments = np.random.default_rng(seed).integers(1, EVENTS, n_kills).tolist()
    for first in range(0, n_kills, 2):
        children = {last: start(folder / f"{last}.zarr", last) for last in moments[first:][:2]}
        for last, child in children.items():
            _, errors = child.communicate()
            assert child.returncode == -9, errors
            path = folder / f"{last}.zarr"
            if not path.exists():  # killed before there was anything to go on from
                yield {"event": last, "draws": None, "differs": []}
                continue
            draws = bayesmf.load(path).data["posterior"].sizes["draw"]
            found = bayesmf.resume(path, progressbar=False)
            yield {
                "event": last, "draws": draws,
                "differs": differences(found.data, expected.data)
                + [file.name for file in path.rglob("*.partial")],
            }  # fmt: skip


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        for report in kill_and_resume(Path(name), int(sys.argv[1]), 1):
            print(json.dumps(report))  # noqa: T201 - what it is run for
            assert not report["differs"], report
