"""What is given away is whole, small and typed, and has one version."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import bayesmf
from tests import wheel

ROOT = Path(__file__).parent.parent


def test_the_wheel_is_small_whole_and_typed(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    (built,) = tmp_path.glob("*.whl")
    names = wheel.contents(built)
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "bayesmf").rglob("*.py")}
    assert sources <= names
    others = {name for name in names - sources if ".dist-info/" not in name}
    assert others == {"bayesmf/py.typed", "bayesmf/report/page.html"}


def test_the_version_stands_in_one_place():
    """The others take it from there, or are held against it."""
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert bayesmf.__version__ == importlib.metadata.version("bayesmf") == stated
    assert (
        re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1]
        == stated
    )
    assert f"## {stated}" in (ROOT / "CHANGELOG.md").read_text()
