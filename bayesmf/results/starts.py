"""Where a fit starts when it is told where: the rows of a result, or arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmf.results.factor_estimate import FactorEstimate
from bayesmf.validation import Described, fail

if TYPE_CHECKING:
    from bayesmf.ratings import Ratings


def starting_rows(
    init: object, ratings: Ratings, n_factors: int, biases: bool, function: str
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, D) of users and of items, the bias last.

    Raises
    ------
    ValueError, TypeError
        If it is neither a result nor a tuple of arrays, if shapes are others than these ratings and
        factors need, if ids are missing, or if a number is not finite.
    """
    if isinstance(init, FactorEstimate):
        parts = _parts_of(init, ratings, function)
    elif isinstance(init, tuple | list) and len(init) in (2, 4):
        parts = tuple(init)
    else:
        must = "a FactorEstimate, (user_factors, item_factors), or these and (user_bias, item_bias)"
        got = f"{len(init)} arrays" if isinstance(init, tuple | list) else type(init).__name__
        fail("init", function, must, Described(got), TypeError)
    rows = []
    for place, (side, n) in enumerate((("user", ratings.n_users), ("item", ratings.n_items))):
        factors = _checked(parts[place], (n, n_factors), f"{side}_factors", function)
        if biases:
            given = parts[place + 2] if len(parts) == 4 else None
            bias = np.zeros(n) if given is None else _checked(given, (n,), f"{side}_bias", function)
            factors = np.column_stack([factors, bias])
        rows.append(factors)
    return rows[0], rows[1]


def _parts_of(init: FactorEstimate, ratings: Ratings, function: str) -> tuple[Any, ...]:
    factors, biases = [], []
    for side in ("user", "item"):
        known, needed = (getattr(one, f"{side}_ids") for one in (init.ratings, ratings))
        at = known.get_indexer(needed)
        if (at < 0).any():
            unknown = needed.tolist()[int(np.argmax(at < 0))]
            must = f"a result that knows every {side} of the ratings"
            fail("init", function, must, Described(f"one that does not know {side} {unknown!r}"))
        bias = getattr(init, f"{side}_bias")
        factors.append(getattr(init, f"{side}_factors")[at])
        biases.append(None if bias is None else bias[at])
    return *factors, *biases


def _checked(values: object, shape: tuple[int, ...], what: str, function: str) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        fail("init", function, f"numbers as {what}", Described(type(values).__name__), TypeError)
    if array.shape != shape:
        fail("init", function, f"{what} of shape {shape}", Described(f"shape {array.shape}"))
    if not np.isfinite(array).all():
        fail("init", function, f"finite {what}", Described("NaN or infinity among them"))
    return array
