"""One form of error for everything that a caller can get wrong.

Every public function checks its arguments here before any work starts, so that each message reads
"The 'n_factors' argument of fit_bpmf must be a non-negative integer. Got -3."
"""

from __future__ import annotations

import math
import operator
import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import NoReturn

LARGEST = 1e30
"""Size of ratings, scales and centres that leaves room for squares, and for draws in float32."""

_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


class Described(str):
    """What came, in words, where the value itself would say less ("no rows")."""

    __slots__ = ()


def fail(
    argument: str, function: str, must: str, got: object, error: type[Exception] = ValueError
) -> NoReturn:
    """Raise `error`, saying what the argument must be and what came."""
    if not isinstance(got, Described):
        # A NumPy scalar is shown as the number that it is.
        got = repr(got.item() if isinstance(got, np.generic) else got)
    shown = str(got)
    if len(shown) > 200:
        shown = f"{shown[:197]}..."
    raise error(f"The '{argument}' argument of {function} must be {must}. Got {shown}.")


def check_integer(
    value: object, argument: str, function: str, *, minimum: int = 0, maximum: int | None = None
) -> int:
    """Return `value` as an int within [minimum, maximum]; bools and floats are refused."""
    must = {0: "a non-negative integer", 1: "a positive integer"}.get(
        minimum, f"an integer of at least {minimum}"
    )
    if maximum is not None:
        must = f"an integer from {minimum} to {maximum}"
    if isinstance(value, bool):
        fail(argument, function, must, value, TypeError)
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        fail(argument, function, must, value, TypeError)
    if number < minimum or (maximum is not None and number > maximum):
        fail(argument, function, must, number)
    return number


def check_number(
    value: object,
    argument: str,
    function: str,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
) -> float:
    """Return `value` as a finite float within the stated bounds."""
    bounds = []
    if above is not None:
        bounds.append(f"greater than {above:g}")
    if at_least is not None:
        bounds.append(f"at least {at_least:g}")
    if below is not None:
        bounds.append(f"less than {below:g}")
    must = "a finite number" + (f" {' and '.join(bounds)}" if bounds else "")
    if isinstance(value, (bool, str, bytes)):
        fail(argument, function, must, value, TypeError)
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        fail(argument, function, must, value, TypeError)
    inside = (
        math.isfinite(number)
        and (above is None or number > above)
        and (at_least is None or number >= at_least)
        and (below is None or number < below)
    )
    if not inside:
        fail(argument, function, must, number)
    return number


def check_auto(value: object, argument: str, function: str) -> float | None:
    """Return a non-negative number, or None for "auto"."""
    if not isinstance(value, str):
        return check_number(value, argument, function, at_least=0)
    if value != "auto":
        fail(argument, function, "'auto' or a non-negative number", value)
    return None


def check_bool(value: object, argument: str, function: str) -> bool:
    """Return `value` if it is True or False."""
    if not isinstance(value, bool):
        fail(argument, function, "True or False", value, TypeError)
    return value


def check_choice[T](value: object, argument: str, function: str, choices: Collection[T]) -> T:
    """Return `value` if it is one of `choices`."""
    for choice in choices:
        if type(value) is type(choice) and value == choice:
            return choice
    fail(argument, function, f"one of {', '.join(map(repr, choices))}", value)


def check_seed(value: object, function: str) -> int | None:
    """Return a seed: None for fresh entropy or a non-negative integer."""
    if value is None:
        return None
    must = "None or a non-negative integer"
    if isinstance(value, bool):
        fail("random_seed", function, must, value, TypeError)
    try:
        seed = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        fail("random_seed", function, must, value, TypeError)
    if seed < 0:
        fail("random_seed", function, must, seed)
    if seed >= 2**63:  # it is stored as a 64-bit integer
        fail("random_seed", function, f"{must} below 2**63", seed)
    return seed


def check_bytes(value: object, argument: str, function: str) -> int:
    """Return a number of bytes from an integer or a text such as "512MB"."""
    must = "a positive number of bytes, or a text such as '512MB' or '2GB'"
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?B)?\s*", value.upper())
        if match is None:
            fail(argument, function, must, value)
        size = int(float(match[1]) * _BYTES[match[2] or ""])
    elif isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        size = int(value)
    else:
        fail(argument, function, must, value, TypeError)
    if size <= 0:
        fail(argument, function, must, value)
    return size
