"""Random generators for everything outside the chains, told apart by their purpose.

The same seed may be given to a simulation, a split and a fit: with one stream for all of them the
truth, the test set and the start of the fit would be made of the same numbers.
"""

from __future__ import annotations

import zlib

import numpy as np


def fresh_seed(seed: int | None) -> int:
    """Return the seed, or a fresh one, which the result keeps so that any run can be repeated."""
    return int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Start the generator of a seed for one purpose."""
    key = (zlib.crc32(purpose.encode()),)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
