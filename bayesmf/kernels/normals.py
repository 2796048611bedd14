"""Standard normals by their place in a stream: Philox4x32 and the Box-Muller transform, in vectors.

A counter-based generator (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") turns
a counter of four words and a key of two into four random words, so that any part of a stream can be
made by itself. Box & Muller (1958) turn two uniform numbers into two normals without a branch that
depends on them. Both are loops over a chunk of counters that LLVM vectorises; a ziggurat takes one
number at a time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmf.kernels.compiling import compiled, inlined

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 128
"""Counters at a time: their words stay in the first-level cache."""

ROUNDS = 10
MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL = np.uint32(0x9E3779B9), np.uint32(0xBB67AE85)
WORD = np.uint64(32)
ONE, TWO = np.uint32(1), np.uint32(2)

PER_COUNTER = {"float32": 4, "float64": 2}
"""Normals made of one counter's four words: a float64 takes two words for each uniform number."""


@inlined
def _scramble(c0, c1, c2, c3, key0, key1):
    # Philox4x32, section 3.3 and table 2 of the paper, on a chunk of counters in place.
    for _ in range(ROUNDS):
        for i in range(CHUNK):
            even = MULTIPLIERS[0] * np.uint64(c0[i])
            odd = MULTIPLIERS[1] * np.uint64(c2[i])
            c0[i], c2[i] = (
                np.uint32(odd >> WORD) ^ c1[i] ^ key0,
                np.uint32(even >> WORD) ^ c3[i] ^ key1,
            )
            c1[i], c3[i] = np.uint32(odd), np.uint32(even)
        key0, key1 = np.uint32(key0 + WEYL[0]), np.uint32(key1 + WEYL[1])


@inlined
def _count(first, purpose, sweep, key0, key1, words):
    # The words of the counters first, first + 1, ... of a stream.
    c0, c1, c2, c3 = words[0], words[1], words[2], words[3]
    for i in range(CHUNK):
        number = np.uint64(first + i)
        c0[i], c1[i] = np.uint32(number), np.uint32(number >> WORD)
        c2[i], c3[i] = np.uint32(purpose), np.uint32(sweep)
    _scramble(c0, c1, c2, c3, np.uint32(key0), np.uint32(key1))


def _box_muller(dtype: str, log_terms: int, turn_terms: int) -> Callable[..., Any]:
    """Make the transform of one type; the numbers of terms leave errors below its rounding."""
    real = np.dtype(dtype).type
    integer: Any = {"float32": np.int32, "float64": np.int64}[dtype]
    # log m = 2 artanh((m - 1) / (m + 1)), and sine and cosine up to an eighth of a turn, as series.
    artanh = tuple(real(1 / (2 * k + 1)) for k in range(log_terms))[::-1]
    sine = tuple(real((-1) ** k / math.factorial(2 * k + 1)) for k in range(turn_terms))[::-1]
    cosine = tuple(real((-1) ** k / math.factorial(2 * k)) for k in range(turn_terms + 1))[::-1]
    fraction_bits = integer(np.finfo(dtype).nmant)
    root_half = integer(real(math.sqrt(0.5)).view(integer))
    log_2, one, two = real(math.log(2)), real(1), real(2)
    eighth = real(math.pi / 4)

    @inlined
    def box_muller(uniform, turns, quarters, x, y):
        """Write x, y = sqrt(-2 log u) (cos, sin) of an angle.

        It is `turns`, in [-1, 1], eighths of a turn, less the last two bits of `quarters` quarters.
        """
        bits = uniform.view(integer)
        for i in range(CHUNK):
            # u = 2^e m, with m between the root of 1/2 and that of 2.
            exponent = integer(bits[i] - root_half) >> fraction_bits
            bits[i] = integer(bits[i] - integer(exponent << fraction_bits))
            x[i] = real(exponent)
        for i in range(CHUNK):
            s = (uniform[i] - one) / (uniform[i] + one)
            square, series = s * s, real(0)
            for a in artanh:
                series = series * square + a
            radius = np.sqrt(max(-two * (x[i] * log_2 + two * s * series), real(0)))
            t = turns[i] * eighth
            square, sin, cos = t * t, real(0), real(0)
            for a in sine:
                sin = sin * square + a
            for a in cosine:
                cos = cos * square + a
            sin, cos = sin * t * radius, cos * radius
            sideways, back = quarters[i] & ONE != 0, quarters[i] & TWO != 0
            first, second = (sin, cos) if sideways else (cos, sin)
            x[i] = -first if back else first
            y[i] = -second if back != sideways else second

    return box_muller


_box_muller_32 = _box_muller("float32", 5, 5)
_box_muller_64 = _box_muller("float64", 10, 8)


@compiled
def fill_float32(first, purpose, sweep, key0, key1, out):
    """Write the normals of the counters first, first + 1, ...; `out` takes four of each."""
    words, z = np.empty((4, CHUNK), np.uint32), np.empty((6, CHUNK), np.float32)
    uniform, turns = z[4], z[5]
    half, unit = np.float32(2**-33), np.float32(2**-32)
    n = out.size // 4
    for at in range(0, n, CHUNK):
        _count(first + at, purpose, sweep, key0, key1, words)
        for pair in range(0, 4, 2):
            a, b = words[pair], words[pair + 1]
            for i in range(CHUNK):
                uniform[i] = np.float32(a[i]) * unit + half
                turns[i] = np.float32(np.int32(b[i]) >> np.int32(2)) * np.float32(2**-29)
            _box_muller_32(uniform, turns, b, z[pair], z[pair + 1])
        for i in range(min(CHUNK, n - at)):
            for j in range(4):
                out[4 * (at + i) + j] = z[j, i]


@compiled
def fill_float64(first, purpose, sweep, key0, key1, out):
    """Write the normals of the counters first, first + 1, ...; `out` takes two of each."""
    words, z = np.empty((4, CHUNK), np.uint32), np.empty((4, CHUNK), np.float64)
    uniform, turns = z[2], z[3]
    n = out.size // 2
    for at in range(0, n, CHUNK):
        _count(first + at, purpose, sweep, key0, key1, words)
        a, b, c, d = words[0], words[1], words[2], words[3]
        for i in range(CHUNK):
            uniform[i] = (np.float64(a[i]) + (np.float64(b[i]) + 0.5) * 2**-32) * 2**-32
            turns[i] = (
                np.float64(np.int32(c[i]) >> np.int32(2)) + np.float64(d[i]) * 2**-32
            ) * 2**-29
        _box_muller_64(uniform, turns, c, z[0], z[1])
        for i in range(min(CHUNK, n - at)):
            for j in range(2):
                out[2 * (at + i) + j] = z[j, i]


FILL = {"float32": fill_float32, "float64": fill_float64}


def standard_normals(
    start: int, stop: int, purpose: int, sweep: int, key: tuple[int, int], dtype: np.dtype
) -> np.ndarray:
    """Numbers start..stop of a stream, (stop - start,), whatever part of it is asked for.

    The key's words and `purpose` and `sweep` are below 2^32.
    """
    name = np.dtype(dtype).name
    per = PER_COUNTER[name]
    first = start // per
    made = np.empty((-(-stop // per) - first) * per, name)
    FILL[name](first, purpose, sweep, *key, made)
    return made[start - first * per : stop - first * per]
