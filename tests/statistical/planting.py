"""Copies of the package that have a fault, under names of their own.

The edited file, and every file that imports it, are copies; all other modules are those of bayesmf
itself, so that priors and tables pass between the two. The text to be edited must occur exactly
once: when the code changes, its mutants must be looked at again.
"""

from __future__ import annotations

import importlib
import re
import sys
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import bayesmf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.statistical.mutants import Mutant

ROOT = Path(bayesmf.__file__).parent
STUB = """import importlib
import sys

sys.modules[__name__] = importlib.import_module("{original}")
"""


@cache
def _modules() -> dict[str, str]:
    """Text of every module of the package, by its path below bayesmf/."""
    files = sorted(ROOT.rglob("*.py"))
    return {file.relative_to(ROOT).as_posix(): file.read_text() for file in files}


def _imports(text: str, dotted: str) -> bool:
    package, _, name = dotted.rpartition(".")
    direct = rf"\bbayesmf\.{re.escape(dotted)}\b"
    names = r"(?:\([^)]*|[^\n(]*)"  # on one line, or in brackets over several
    from_package = rf"from bayesmf\.{re.escape(package)} import {names}\b{name}\b"
    return bool(re.search(direct, text) or (package and re.search(from_package, text)))


def _dotted(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def _importers(dotted: str) -> set[str]:
    """Find the files that import a module."""
    return {file for file, text in _modules().items() if _imports(text, dotted)}


def _touched(edited: str) -> set[str]:
    """Find the edited file and all that import it, directly or not."""
    touched, fresh = {edited}, [edited]
    while fresh:
        more = _importers(_dotted(fresh.pop())) - touched
        touched |= more
        fresh += sorted(more)
    return touched


@contextmanager
def planted(mutant: Mutant, folder: Path) -> Iterator[str]:
    """Write the mutated package into a folder, and give its name for as long as it lives."""
    texts = dict(_modules())
    count = texts[mutant.file].count(mutant.old)
    if count != 1:
        raise ValueError(f"{mutant.name}: the text to be edited occurs {count} times, not once")
    # Packages are copies too: a submodule of the original would be the original.
    copied = _touched(mutant.file) | {file for file in texts if file.endswith("__init__.py")}
    texts[mutant.file] = texts[mutant.file].replace(mutant.old, mutant.new)
    alias = f"bayesmf_{mutant.name}"
    for file, text in texts.items():
        target = folder / alias / file
        target.parent.mkdir(parents=True, exist_ok=True)
        # Names in imports, and in the strings that the package imports its modules by.
        renamed = re.sub(r'((?:from|import) |f")bayesmf\b', rf"\g<1>{alias}", text)
        original = f"bayesmf.{_dotted(file)}"
        target.write_text(renamed if file in copied else STUB.format(original=original))
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield alias
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] == alias]:
            del sys.modules[name]
