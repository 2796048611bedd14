"""Fresh processes: `import bayesmf`, and the way to the end of the first sweep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from benchmarks.common import Bar, at_most, median, progress, prose, run, shown, table

if TYPE_CHECKING:
    from benchmarks.common import Numbers, Settings

TITLE = "Start-up and memory"
SETTINGS = {"repeats": 7, "cold_repeats": 3, "draws": 5, "threads": 2}
QUICK = {"repeats": 1, "cold_repeats": 1}
_MOMENTS = ("ready", "loaded", "first_sweep", "returned")

# The child prints, as its last line, the moments of what happened and its peak memory. The peak is
# read from /proc: that of getrusage would include the parent's, which the child starts as.
_REPORT = """
import json, pathlib, time
def report(**moments):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    print(json.dumps(moments | {"peak_mb": peak * 1024 / 1e6}))
"""
_BARE = _REPORT + "report(ready=time.time())"
_IMPORT = "import bayesmf, time; ready = time.time()" + _REPORT + "report(ready=ready)"
# Only the recorder's first call tells when the first sweep has ended: nothing public does.
_FIT = """
import time, bayesmf
from bayesmf.draws.recorder import Recorder
table = bayesmf.load_movielens("100k")
loaded = time.time()
moments, record = [], Recorder.record
def timed(*args, **kwargs):
    moments.append(time.time())
    return record(*args, **kwargs)
Recorder.record = timed
post = bayesmf.fit_bpmf(
    table, tune=0, draws={draws}, cores={threads}, random_seed=1, progressbar=False
)
returned = time.time()
sweep = float(post.data["sample_stats"]["seconds"][:, 2:].median())
""" + (
    _REPORT + "report(loaded=loaded, first_sweep=moments[0], returned=returned, one_sweep=sweep)"
)


def measure(settings: Settings) -> Numbers:
    """Seconds since the process was started, for each moment, over fresh processes."""
    fit = _FIT
    for name in ("threads", "draws"):
        fit = fit.replace(f"{{{name}}}", str(settings[name]))
    numbers: Numbers = {"cold": []}
    for _ in range(settings["cold_repeats"]):
        with tempfile.TemporaryDirectory() as cache:
            numbers["cold"].append(_spawn(fit, cache))
    progress("cold:", numbers["cold"][-1])
    with tempfile.TemporaryDirectory() as cache:
        _spawn(fit, cache)  # fills the cache
        for name, code in (("bare", _BARE), ("import", _IMPORT), ("cached", fit)):
            numbers[name] = [_spawn(code, cache) for _ in range(settings["repeats"])]
            progress(f"{name}:", numbers[name][-1])
    return numbers


def _spawn(code: str, cache: str) -> dict[str, float]:
    environment = os.environ | {"NUMBA_CACHE_DIR": cache}
    started = time.time()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return {name: x - started if name in _MOMENTS else x for name, x in found.items()}


def _each(numbers: Numbers, name: str, moment: str) -> list[float]:
    return [one[moment] for one in numbers[name]]


def _import_seconds(numbers: Numbers) -> list[float]:
    return _each(numbers, "import", "ready")


def _before_first_sweep(numbers: Numbers) -> list[float]:
    # The first sweep loads the compiled code as it goes: all but a warm sweep's time counts.
    return [one["first_sweep"] - one["one_sweep"] for one in numbers["cached"]]


def bars(numbers: Numbers) -> list[Bar]:
    """Medians over fresh processes."""
    return [
        at_most(
            "`import bayesmf`, from process start", 1, median(_import_seconds(numbers)), 2, " s"
        ),
        at_most(
            "first `fit_bpmf`, compiled code cached, from process start to the first sweep",
            3,
            median(_before_first_sweep(numbers)),
            2,
            " s",
        ),
    ]


def text(numbers: Numbers, settings: Settings) -> str:
    """Seconds and peak memory."""

    def row(what: str, name: str, seconds: list[float], *, ended: bool = True) -> list[str]:
        # The peak is the whole process's: it says nothing of a moment on the way.
        return [what, shown(seconds, 2), shown(_each(numbers, name, "peak_mb"), 0) if ended else ""]

    rows = [
        row("Python alone", "bare", _each(numbers, "bare", "ready")),
        row("`import bayesmf`", "import", _import_seconds(numbers)),
        row("cached: ML-100K read", "cached", _each(numbers, "cached", "loaded"), ended=False),
        row("cached: before the first sweep", "cached", _before_first_sweep(numbers), ended=False),
        row("cached: fit returned", "cached", _each(numbers, "cached", "returned")),
        row("nothing compiled yet: fit returned", "cold", _each(numbers, "cold", "returned")),
    ]
    protocol = f"""Seconds since the process was started, reading ML-100K included, for a fit of
        four chains of {settings["draws"]} sweeps on {settings["threads"]} cores: median of
        {settings["repeats"]} fresh processes (range), files in the page cache; the last line is
        {settings["cold_repeats"]} processes, each with an empty cache of its own. Compiled code is
        loaded during the first sweep, so the time before it is taken as the end of the first sweep
        less the time of a later one."""
    header = ["", "seconds", "peak memory of the process, MB"]
    return f"{prose(protocol)}\n\n{table(header, rows)}"


if __name__ == "__main__":
    run("startup")
