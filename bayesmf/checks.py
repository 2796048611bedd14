"""What every `fit_*` checks before it starts: the data and the threads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bayesmf.ratings import Ratings, check_fittable
from bayesmf.validation import check_integer

if TYPE_CHECKING:
    from bayesmf.ratings import Pairs


def check_data(ratings: object, test: object, function: str) -> tuple[Ratings, Pairs | None]:
    """Return the ratings to fit and the held-out cells, or say what is wrong with them."""
    data = Ratings.coerce(ratings, "ratings", function)
    check_fittable(data, function)
    if test is None:
        return data, None
    return data, data.pairs(test, "test", function, with_rating=True)


def check_cores(cores: object, function: str) -> int:
    """Return a number of threads; by default all that the process may use."""
    if cores is None:
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else os.cpu_count() or 1
    return check_integer(cores, "cores", function, minimum=1)
