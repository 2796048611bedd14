"""Write docs/benchmarks.md from the JSON files: no figure in it comes from anywhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import SCRIPTS, climbing, regret, roofline, variational, warming, ways_down
from benchmarks.common import bars, load, section

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"

INTRODUCTION = """# Benchmarks

<!-- Written by `python -m benchmarks.render` from benchmarks/results/*.json. Do not edit. -->

Every figure on this page is printed by a script in `benchmarks/`, which measures bayesmf and its
peers in one run. To repeat them:

    BAYESMF_DATA=/path/to/data make bench      # all of them, then this page
    python -m benchmarks.ml100k_folds          # one of them
    python -m benchmarks.render                # this page from the results there are

The peers are [SMURFF](https://github.com/ExaScience/smurff),
[myFM](https://github.com/tohtsky/myFM) and [Surprise](https://surpriselib.com), installed by
`pip install "bayesmf[bench]"` and never imported by the package, and, for the time of a sweep, [LensKit](https://github.com/lenskit/lkpy),
which needs an environment of its own: `BENCH_LENSKIT_PYTHON` names its Python. `BAYESMF_DATA` names
a folder with `ml-100k`, `ml-1m` and `flixster`; without it MovieLens is downloaded from its
publisher, and Flixster cannot be.

The protocol, unless a table says otherwise:

- The same training ratings, test ratings, rank and number of sweeps for all; RMSE over all test
  ratings, means neither clipped nor rounded, every kept draw in the mean.
- Nothing is chosen on a test set. bayesmf runs with its default prior. What a peer leaves to its
  user (SMURFF's noise, myFM's groups, the penalties of ALS) is chosen on a part of the training
  ratings.
- The same number of threads for both sides, and one for BLAS.
- The median over seeds or repeats, with the range in brackets. SMURFF's seeds fix nothing with
  more than one thread, so its figures vary from run to run."""


def main() -> None:
    """Write the page."""
    results = {name: load(name) for name in SCRIPTS}
    done = {name: result for name, result in results.items() if result is not None}
    parts = [INTRODUCTION, _machines(done), _summary(done)]
    parts += [section(result) for result in done.values()]
    missing = [name for name in SCRIPTS if name not in done]
    if missing:
        parts.append(f"Not measured yet: {', '.join(missing)}.")
    if "sweep" in done:
        roofline.write(done["sweep"]["numbers"])
    if "ladder" in done:
        climbing.write(done["ladder"]["numbers"])
    if "bandit" in done:
        regret.write(done["bandit"]["numbers"])
    if "taught" in done:
        ways_down.write(done["taught"]["numbers"])
    if "pymc_engines" in done:
        variational.write(done["pymc_engines"]["numbers"])
    if "strangers" in done:
        warming.write(done["strangers"]["numbers"])
    PAGE.write_text("\n\n".join(parts) + "\n")
    print(f"wrote {PAGE.name} from {len(done)} of {len(SCRIPTS)} results")


def _summary(done: dict[str, dict[str, Any]]) -> str:
    asked = [bar for result in done.values() for bar in bars(result)]
    missed = [f"{bar.what}: {bar.measured}, asked {bar.asked}" for bar in asked if not bar.met]
    count = f"{len(asked) - len(missed)} of {len(asked)} figures reach what was asked of them"
    if not missed:
        return f"{count}."
    return f"{count}. Missed:\n\n" + "\n".join(f"- {line}" for line in missed)


def _machines(done: dict[str, dict[str, Any]]) -> str:
    lines: dict[str, list[str]] = {}
    for name, result in done.items():
        machine, versions = result["machine"], result["versions"]
        packages = ", ".join(f"{package} {number}" for package, number in versions.items())
        line = (
            f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
            f"{machine['system']}; {packages}."
        )
        lines.setdefault(line, []).append(name)
    if len(lines) == 1:
        return f"Measured on: {next(iter(lines))}"
    listed = [f"- {', '.join(names)}: {line}" for line, names in lines.items()]
    return "Measured on:\n\n" + "\n".join(listed)


if __name__ == "__main__":
    main()
