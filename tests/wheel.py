"""Is the wheel fit to be given away? `python -m tests.wheel FOLDER`, of `make dist`.

A newcomer's way, with a clock: an environment of its own, the wheel with what it asks for, and the
code of the landing page, away from the sources.
"""

import re
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from pathlib import Path

LANDING = Path(__file__).parent.parent / "docs" / "index.md"
PAGE = """
from importlib.resources import files
assert "<html" in files("bayesmf.report").joinpath("page.html").read_text()
"""
MOST_BYTES, MOST_SECONDS = 1_000_000, 300


def contents(wheel: Path) -> set[str]:
    """Names of the files in a wheel, which must be small."""
    assert wheel.stat().st_size < MOST_BYTES, f"{wheel.name} has {wheel.stat().st_size:,} bytes"
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def landing_code() -> str:
    """Return the one block of Python on the landing page."""
    (block,) = re.findall(r"```python\n(.*?)```", LANDING.read_text(), re.DOTALL)
    return str(block)


def main() -> int:
    """Install the one wheel of a folder, and fit."""
    (wheel,) = Path(sys.argv[1]).resolve().glob("*.whl")
    print(f"{wheel.name}: {len(contents(wheel))} files, {wheel.stat().st_size / 1000:.0f} kB")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        for command in (
            ["-m", "pip", "install", "--quiet", f"bayesmf[datasets] @ {wheel.as_uri()}"],
            ["-I", "-c", landing_code() + 'assert "site-packages" in bayesmf.__file__'],
            ["-I", "-c", PAGE],
        ):
            subprocess.run([python, *command], check=True, cwd=folder)
            print(f"{time.perf_counter() - started:.0f} s: {' '.join(command)[:40]!r} done")
    taken = time.perf_counter() - started
    assert taken < MOST_SECONDS, f"a newcomer's first fit took {taken:.0f} s"
    return 0


if __name__ == "__main__":
    sys.exit(main())
