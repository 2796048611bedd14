"""One decorator for all compiled functions, with a disk cache that never serves stale code.

Numba's cache looks at the file of the compiled function alone and does not see a change in a file
that it imports. The cache directory is therefore keyed by a hash of every source in this package.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import platformdirs
from numba.core import config

if TYPE_CHECKING:
    from collections.abc import Callable

# Fused multiply-add and reassociated sums let LLVM vectorise dot products. NaN and infinity keep
# their meaning: a failed Cholesky must be seen.
_FASTMATH = {"contract", "reassoc", "nsz"}
# A division by zero gives infinity or NaN, as in NumPy: a check before each would cost branches.
_JIT: Any = numba.njit  # whose stub does not know all of its options
_OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": _FASTMATH, "error_model": "numpy"}


@cache
def sources_digest() -> str:
    """A hash of every source in this package, in 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def cache_directory() -> Path:
    """Where compiled code is kept: under NUMBA_CACHE_DIR if set, else the user's cache."""
    base = os.environ.get("NUMBA_CACHE_DIR")
    root = Path(base) if base else platformdirs.user_cache_path("bayesmf")
    return root / f"kernels-{sources_digest()}"


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile for calls from compiled functions only: into them, with nothing kept on disk.

    Arguments that are literal numbers make a version of their own, which costs compile time:
    callers pass `np.intp(1)`.
    """
    return _JIT(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)(function)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `inner`, for a function that is called from one place or two: part of their text.

    That takes less time than to compile it apart.
    """
    return _JIT(inline="always", no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)(
        function
    )


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first call, without the GIL, cached on disk where a disk can be written."""
    theirs = config.CACHE_DIR  # type: ignore[attr-defined]
    try:
        # Read while the cache is set up, that is by the decorator, and given back at once.
        config.CACHE_DIR = str(cache_directory())  # type: ignore[attr-defined]
        return _JIT(cache=True, no_cfunc_wrapper=True, **_OPTIONS)(function)
    except RuntimeError:  # "cannot cache function": nowhere to write
        return _JIT(no_cfunc_wrapper=True, **_OPTIONS)(function)
    finally:
        config.CACHE_DIR = theirs  # type: ignore[attr-defined]
