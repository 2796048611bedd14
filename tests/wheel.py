"""Is the wheel fit to be given away? `python -m tests.wheel FOLDER`, of `make dist`.

It is installed with what it asks for into an environment of its own, and a first fit is made there,
away from the sources.
"""

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

MOST_BYTES = 1_000_000

FIRST_FIT = """
import pathlib
import bayesmf

assert "site-packages" in bayesmf.__file__
world = bayesmf.simulate(60, 40, 900, n_factors=2, random_seed=1)
train, test = bayesmf.train_test_split(world.ratings, test_size=0.2, random_seed=1)
quiet = {"n_factors": 2, "random_seed": 1, "progressbar": False}
als = bayesmf.fit_als(train, **quiet)
post = bayesmf.fit_bpmf(train, tune=100, draws=200, chains=2, **quiet)
errors = bayesmf.compare({"ALS": als, "BPMF": post}, test).table["RMSE"]
assert errors["BPMF"] < 1.1 * errors["ALS"] < 10
assert post.report("report.html", test=test).stat().st_size > 10_000
print(bayesmf.__version__, errors.round(3).to_dict())
"""


def contents(wheel: Path) -> set[str]:
    """Names of the files in a wheel, which must be small."""
    assert wheel.stat().st_size < MOST_BYTES, f"{wheel.name} has {wheel.stat().st_size:,} bytes"
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def main() -> int:
    """Install the one wheel of a folder, and fit."""
    (wheel,) = Path(sys.argv[1]).resolve().glob("*.whl")
    print(f"{wheel.name}: {len(contents(wheel))} files, {wheel.stat().st_size / 1000:.0f} kB")
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        for command in (["-m", "pip", "install", "--quiet", str(wheel)], ["-I", "-c", FIRST_FIT]):
            subprocess.run([python, *command], check=True, cwd=folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
