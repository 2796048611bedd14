"""What every `fit_*` checks before it starts: the data, the threads, the seed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from bayesmf.ratings import Ratings, check_fittable
from bayesmf.validation import Described, check_integer, fail

if TYPE_CHECKING:
    from bayesmf.ratings import Pairs


def check_data(ratings: object, test: object, function: str) -> tuple[Ratings, Pairs | None]:
    """Return the ratings to fit and the held-out cells, or say what is wrong with them."""
    data = Ratings.coerce(ratings, "ratings", function)
    check_fittable(data, function)
    if test is None:
        return data, None
    held_out = data.pairs(test, "test", function)
    if held_out.ratings is None or len(held_out.ratings) == 0:
        fail("test", function, "a table with a 'rating' column and rows", Described("no ratings"))
    return data, held_out


def check_cores(cores: object, function: str) -> int:
    """Return a number of threads; by default all that the process may use."""
    if cores is None:
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else os.cpu_count() or 1
    return check_integer(cores, "cores", function, minimum=1)


def fresh_seed(seed: int | None) -> int:
    """Return the seed, or a fresh one, which the result keeps so that any run can be repeated."""
    return int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
