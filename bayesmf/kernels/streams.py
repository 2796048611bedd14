"""Random streams addressed by what they are for, not by who asks first.

A stream is the counter-based generator Philox (Salmon et al. 2011) keyed by (seed, chain), with
(sweep, purpose) in the upper words of its counter. So the same normals reach the same rows whatever
the number of threads, and a resumed run needs no generator state but the sweep number.

Rows take their normals by their place in the stream (`normals.py`), a run of rows at a time; all
else draws from a NumPy generator, which knows more distributions.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.random.bit_generator import ISeedSequence

from bayesmf.kernels.normals import standard_normals


class Purpose(IntEnum):
    """What a stream is used for; the numbers are part of a seed's meaning."""

    INITIAL = 0
    USER_HYPER = 1
    ITEM_HYPER = 2
    USER_ROWS = 3
    ITEM_ROWS = 4
    ALPHA = 5
    USER_SHIFT = 6
    ITEM_SHIFT = 7
    USER_SCALE = 8
    ITEM_SCALE = 9
    FOLD_IN = 10


class _Unseeded(ISeedSequence):
    """A seed that costs nothing, for a generator whose state is set as a whole.

    Philox(key=..., counter=...) gathers entropy that it does not use, for longer than a small draw
    takes.
    """

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        return np.zeros(n_words, dtype)


_UNSEEDED: Any = _Unseeded()  # which the stub of Philox does not know to be enough
_EMPTY = np.zeros(4, dtype=np.uint64)
_LOW_WORD = 0xFFFFFFFF


class Streams(NamedTuple):
    """The random streams of one chain."""

    key: tuple[int, int]

    @classmethod
    def of_chain(cls, seed: int, chain: int) -> Streams:
        """Streams of chain `chain` of a run with that seed."""
        words = np.random.SeedSequence(seed, spawn_key=(chain,)).generate_state(2, np.uint64)
        return cls((int(words[0]), int(words[1])))

    def normals(
        self, start: int, stop: int, sweep: int, purpose: Purpose, dtype: np.dtype
    ) -> np.ndarray:
        """Standard normals start..stop of the stream for one purpose and sweep."""
        key = self.key[0] & _LOW_WORD, self.key[1] & _LOW_WORD
        return standard_normals(start, stop, int(purpose), sweep, key, dtype)

    def generator(self, sweep: int, purpose: Purpose) -> np.random.Generator:
        """Start the stream for one purpose and sweep."""
        bits = np.random.Philox(_UNSEEDED)
        bits.state = {
            "bit_generator": "Philox",
            "state": {
                # The lowest counter word runs on as numbers are drawn; 2^64 of them never reach
                # the next.
                "counter": np.array([0, 0, int(purpose), sweep], dtype=np.uint64),
                "key": np.array(self.key, dtype=np.uint64),  # a list would pass through float64
            },
            "buffer": _EMPTY,
            "buffer_pos": len(_EMPTY),
            "has_uint32": 0,
            "uinteger": 0,
        }
        return np.random.Generator(bits)
