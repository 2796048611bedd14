"""What is checked in many places before work starts: data, threads, factors, titles."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from bayesmf.ratings import Ratings
from bayesmf.seeds import fresh_seed
from bayesmf.validation import (
    LARGEST,
    Described,
    check_auto,
    check_bool,
    check_integer,
    check_number,
    check_seed,
    fail,
)

if TYPE_CHECKING:
    from bayesmf.ratings import Pairs

FINEST = 1e-11
"""Smallest sd of ratings in units of their size: differences then have five digits or more."""


def check_data(ratings: object, test: object, function: str) -> tuple[Ratings, Pairs | None]:
    """Return the ratings to fit and the held-out cells, or say what is wrong with them."""
    data = Ratings.coerce(ratings, "ratings", function)
    check_fittable(data, function)
    if test is None:
        return data, None
    return data, data.pairs(test, "test", function, with_rating=True)


def check_fit(
    ratings: object, validation_size: object, random_seed: object, progressbar: object,
    function: str,
) -> tuple[Ratings, float, int]:  # fmt: skip
    """Return what every fit of a point estimate needs: ratings, the share held out, and a seed."""
    share = check_number(validation_size, "validation_size", function, above=0, below=1)
    seed = fresh_seed(check_seed(random_seed, function))
    check_bool(progressbar, "progressbar", function)
    return check_data(ratings, None, function)[0], share, seed


def check_fittable(ratings: Ratings, function: str) -> None:
    """Refuse tables from which no factor model can be learned."""
    for what, count in (("users", ratings.n_users), ("items", ratings.n_items)):
        if count < 2:
            fail("ratings", function, f"a table with at least two {what}", Described(f"{count}"))
    low, high = ratings.bounds
    if low == high:
        must = "a table with at least two different ratings"
        fail("ratings", function, must, Described(f"{len(ratings)} ratings that are all {low:g}"))
    size = max(abs(low), abs(high))
    if size < 1 / LARGEST:
        must = f"a table whose largest rating is at least {1 / LARGEST:g} in size"
        fail("ratings", function, must, Described(f"{size:g}"))
    if not ratings.sd > size * FINEST:
        must = "a table whose ratings differ by more than rounding; take their mean off first"
        fail("ratings", function, must, Described(f"an sd of {ratings.sd:g} at {size:g}"))


def check_cores(cores: object, function: str) -> int:
    """Return a number of threads; by default all that the process may use."""
    if cores is None:
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else os.cpu_count() or 1
    return check_integer(cores, "cores", function, minimum=1)


def check_factors(n_factors: int, function: str) -> None:
    """Refuse a model of biases alone."""
    if n_factors == 0:
        message = f"{function} needs factors, but this model has n_factors=0 (biases only)."
        raise ValueError(message)


def check_titles(titles: object, argument: str, function: str) -> dict[Any, str]:
    """Titles by id, from a mapping or a Series; none for None. An id without one is left out."""
    if titles is None:
        return {}
    if not isinstance(titles, (Mapping, pd.Series)):
        must = "a mapping or a Series of titles by id"
        fail(argument, function, must, Described(type(titles).__name__), TypeError)
    return {one: str(title) for one, title in titles.items() if not pd.isna(title)}


def check_reg(
    reg: object, reg_bias: object, function: str
) -> tuple[float | None, float | None, float | None]:
    """Penalties of users' factors, of items' if it is another, of biases; None to be chosen."""
    given_bias = check_auto(reg_bias, "reg_bias", function)
    if not isinstance(reg, tuple | list):
        return check_auto(reg, "reg", function), None, given_bias
    if len(reg) != 2:
        fail("reg", function, "'auto', a number, or two of them for users and items", reg)
    user, item = (check_number(one, "reg", function, at_least=0) for one in reg)
    return user, item, given_bias
