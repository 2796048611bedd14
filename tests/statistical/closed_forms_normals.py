"""Normals by their place: the published generator, and the transform in the standard library."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tests.statistical.closed_forms_rows import part

if TYPE_CHECKING:
    from collections.abc import Callable

WORD = 2**32
KNOWN = {
    # Counter and key, and the four words of Philox4x32-10: known answers of Random123, by the
    # authors of Salmon et al. (2011).
    ((0, 0, 0, 0), (0, 0)): (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ((WORD - 1,) * 4, (WORD - 1,) * 2): (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)): (
        0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1,
    ),
}  # fmt: skip


def philox(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """Philox4x32-10 on integers, by section 3.3 of the paper."""
    (a, b, c, d), (k, l) = counter, key
    for _ in range(10):
        even, odd = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = odd // WORD ^ b ^ k, odd % WORD, even // WORD ^ d ^ l, even % WORD
        k, l = (k + 0x9E3779B9) % WORD, (l + 0xBB67AE85) % WORD
    return a, b, c, d


def pair(uniform: float, turn: float) -> tuple[float, float]:
    """Box & Muller (1958), from a number in (0, 1) and an angle in turns."""
    radius = math.sqrt(-2 * math.log(uniform))
    return radius * math.cos(2 * math.pi * turn), radius * math.sin(2 * math.pi * turn)


def angle(word: int, fraction: float) -> float:
    """Turns: eighths by the upper 30 bits, from -1 to 1, less quarters by the last two."""
    signed = (word - WORD if word >= WORD // 2 else word) // 4
    return (signed + fraction) / 2**29 / 8 - word % 4 / 4


def normals_of(words: tuple[int, ...], dtype: str) -> list[float]:
    """All normals of one counter's words."""
    a, b, c, d = words
    if dtype == "float32":
        pairs = [pair((x + 0.5) / WORD, angle(y, 0.0)) for x, y in ((a, b), (c, d))]
        return [number for two in pairs for number in two]
    return list(pair((a + (b + 0.5) / WORD) / WORD, angle(c, d / WORD)))


def check_normals(package: str) -> None:
    """Each number is that of its counter, to rounding, whatever part of a stream is asked for."""
    for (counter, key), words in KNOWN.items():
        assert philox(counter, key) == words
    module = part(package, "kernels.normals")
    key, purpose, sweep = (123456789, 4000000000), 5, 7
    for dtype, per, error in (("float32", 4, 2e-6), ("float64", 2, 1e-14)):
        n = 1000
        # Near the start, and where the number of the counter has more than one word.
        for first in (0, WORD - 100):
            expected = np.array(
                [
                    normals_of(philox((at % WORD, at // WORD, purpose, sweep), key), dtype)
                    for at in range(first, first + n // per)
                ]
            ).ravel()
            start = first * per
            found = module.standard_normals(start, start + n, purpose, sweep, key, np.dtype(dtype))
            assert found.dtype == dtype
            np.testing.assert_allclose(found, expected, rtol=0, atol=error)
            for low, high in ((0, 1), (1, 3), (511, 517), (333, 999), (5, 5)):
                some = module.standard_normals(
                    start + low, start + high, purpose, sweep, key, np.dtype(dtype)
                )
                np.testing.assert_array_equal(some, found[low:high])


NORMALS_CHECKS: dict[str, Callable[[str], None]] = {"normals": check_normals}
