"""What all scripts share: the machine, threads, spreads, tables, JSON, the command line."""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

RESULTS = Path(__file__).parent / "results"
SOURCES = Path(__file__).parent.parent / "bayesmf"
PACKAGES = (
    "bayesmf", "numpy", "scipy", "numba", "pandas", "arviz", "pymc", "keras", "jax", "smurff",
    "myfm", "scikit-surprise",
)  # fmt: skip

Numbers = dict[str, Any]
Settings = dict[str, Any]


class Bar(NamedTuple):
    """One thing that was asked for, and what came."""

    what: str
    asked: str
    measured: str
    met: bool


def worst(what: str, limit: float, ratios: dict[str, float], digits: int = 1) -> Bar:
    """How many times as fast something is, which must reach a limit at every point."""
    where = min(ratios, key=ratios.__getitem__)
    least, reached = ratios[where], sum(ratio >= limit for ratio in ratios.values())
    measured = f"{least:.{digits}f} x"
    if len(ratios) > 1:
        measured = f"{measured} at {where}, at most {max(ratios.values()):.{digits}f} x"
    if 0 < reached < len(ratios):
        measured = f"{measured}; {reached} of {len(ratios)} reach it"
    return Bar(what, f"≥ {limit:g} x", measured, reached == len(ratios))


def at_most(what: str, limit: float, value: float, digits: int, unit: str = "") -> Bar:
    """A figure that must not exceed a limit."""
    return Bar(what, f"≤ {limit:g}{unit}", f"{value:.{digits}f}{unit}", value <= limit)


def machine() -> dict[str, Any]:
    """Describe the machine, without names or paths."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = models[0].split(":", 1)[1].strip() if models else cpu
    return {
        "cpu": cpu,
        "cores": available_cores(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9),
        "system": platform.system(),
        # Of the minute before the start: whether something else was running.
        "load_before": round(os.getloadavg()[0], 1),
    }


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def versions() -> dict[str, str]:
    """Versions of what was measured and what it stands on."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def peak_mb() -> float:
    """Peak memory of this process: getrusage's would include that of the parent at its start."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return kilobytes * 1024 / 1e6


def timed(task: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and the peak of memory beyond what was held before, in MB."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is from now on
    before, start = peak_mb(), time.perf_counter()
    task()
    return time.perf_counter() - start, peak_mb() - before


def spawn(name: str, asked: Any, environment: dict[str, str] | None = None) -> Numbers:
    """Run `child` of a script in a process of its own, whose last line has its figures.

    What is asked comes to it as JSON by standard input.
    """
    done = subprocess.run(
        [sys.executable, "-c", f"from benchmarks import {name}; {name}.child()"],
        input=json.dumps(asked),
        env=os.environ | (environment or {}),
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{name} of {asked} ended with {done.returncode}: {done.stderr[-2000:]}")
    found: Numbers = json.loads(done.stdout.splitlines()[-1])
    return found


@contextmanager
def figure_file(path: Path, *shape: int, size: tuple[float, float]) -> Iterator[Any]:
    """Axes of a figure in the package's style on white, written to a file in the end."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    from bayesmf.plots.style import style

    white: Any = {"figure.facecolor": "white", "savefig.facecolor": "white"}
    with style(), mpl.rc_context(white):
        figure, axes = plt.subplots(*shape, figsize=size, layout="constrained")
        yield axes
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
        plt.close(figure)
    print(f"wrote {path.name}")


def draw_again(name: str, script: str, write: Callable[[Numbers], None]) -> None:
    """Draw what a script has measured: the command line of a figure."""
    argparse.ArgumentParser(prog=f"python -m benchmarks.{name}").parse_args()
    result = load(script)
    if result is None:
        raise SystemExit(f"python -m benchmarks.{script} has not been run")
    write(result["numbers"])


class Points:
    """What a long script has measured so far, on disk: a run that is cut short goes on from there.

    Figures of other settings, or of other sources of the package or the benchmarks, are not taken
    up.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        self._path = RESULTS / f"{name}.part.json" if settings["resume"] else None
        digest = hashlib.sha256(json.dumps(settings).encode())
        for source in sorted([*SOURCES.rglob("*.py"), *Path(__file__).parent.glob("*.py")]):
            digest.update(source.read_bytes())
        self._key = digest.hexdigest()
        self._done: Numbers = {}
        if self._path is not None and self._path.exists():
            kept = json.loads(self._path.read_text())
            self._done = kept["done"] if kept["key"] == self._key else {}

    def get(self, point: str, measure: Callable[[], Numbers]) -> Numbers:
        """Figures of one point, measured unless they are there."""
        if point not in self._done:
            self._done[point] = measure()
            if self._path is not None:
                RESULTS.mkdir(exist_ok=True)
                kept = {"key": self._key, "done": self._done}
                self._path.write_text(json.dumps(kept, default=float))
        found: Numbers = self._done[point]
        return found

    def clear(self) -> None:
        """Forget them: the script has come to its end."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


@contextmanager
def limited(threads: int, *, blas: int = 1) -> Iterator[None]:
    """Give both sides the same threads: `threads` of their own, and one for each BLAS.

    All of them call BLAS on matrices as small as the rank, if at all, from threads of their own.
    """
    import numba
    from threadpoolctl import threadpool_limits

    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    try:
        with threadpool_limits(blas, user_api="blas"):
            yield
    finally:
        numba.set_num_threads(before)


def median(values: Sequence[float]) -> float:
    """Middle value."""
    return statistics.median(values)


def shown(values: Sequence[float], digits: int) -> str:
    """Median, and the range where there is one."""
    middle = f"{median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def prose(words: str) -> str:
    """One paragraph, wrapped after its figures have been put in."""
    text = " ".join(words.split())
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown table; the first column is text, the others are figures."""
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bars_table(bars: Sequence[Bar]) -> str:
    """Asked → measured."""
    rows = [[bar.what, bar.asked, bar.measured, "yes" if bar.met else "**no**"] for bar in bars]
    return table(["", "asked", "measured", "met"], rows)


def load(name: str) -> dict[str, Any] | None:
    """Result of a script, if it has been run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def bars(result: dict[str, Any]) -> list[Bar]:
    """What was asked of one script's result."""
    return import_module(f"benchmarks.{result['name']}").bars(result["numbers"])


def section(result: dict[str, Any]) -> str:
    """One script's part of the page: what was asked, then its tables."""
    name = result["name"]
    module = import_module(f"benchmarks.{name}")
    parts = (
        f"## {module.TITLE}",
        bars_table(bars(result)),
        module.text(result["numbers"], result["settings"]),
        f"`python -m benchmarks.{name}` · {result['seconds'] / 60:.1f} min · {result['date']}",
    )
    return "\n\n".join(parts)


def progress(*what: object) -> None:
    """Say what was just measured: some scripts run for many minutes."""
    print("  ", *what, flush=True)


def run(name: str) -> None:
    """Measure, print, and write the JSON file, as the command line asks."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--quick", action="store_true", help="tiny runs; nothing is written")
    quick = parser.parse_args().quick
    # Read by tqdm, the progress bar of both peers, when it is imported.
    os.environ.setdefault("TQDM_DISABLE", "1")
    module = import_module(f"benchmarks.{name}")
    settings = module.SETTINGS | (module.QUICK if quick else {})
    described = {"machine": machine(), "versions": versions()}
    start = time.perf_counter()
    numbers = module.measure(settings)
    result = {
        "name": name,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "seconds": round(time.perf_counter() - start, 1),
        **described,
        "settings": settings,
        "numbers": numbers,
    }
    # Through JSON and back, so that a script prints just what the page will show.
    written = json.dumps(result, indent=1, default=float) + "\n"
    print(section(json.loads(written)), flush=True)
    if not quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(written)
