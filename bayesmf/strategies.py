"""What a list may be sorted by, and the arguments that belong to each."""

from __future__ import annotations

from typing import NamedTuple

from bayesmf.seeds import fresh_seed
from bayesmf.validation import Described, check_choice, check_number, check_seed, fail

STRATEGIES = ("mean", "ucb", "thompson", "probability", "affinity")
WIDTH = 1.0
"""Standard deviations that "ucb" adds to the mean unless told otherwise."""


class Strategy(NamedTuple):
    """What a list is sorted by, with what only one strategy has."""

    name: str = "mean"
    width: float = WIDTH
    threshold: float = 0.0
    seed: int = 0


def check_strategy(
    strategy: object,
    function: str,
    choices: tuple[str, ...] = STRATEGIES,
    *,
    width: object = None,
    threshold: object = None,
    random_seed: object = None,
) -> Strategy:
    """Return a strategy with its own arguments; those of another are refused."""
    name = check_choice(strategy, "strategy", function, choices)
    owners = {"width": "ucb", "threshold": "probability", "random_seed": "thompson"}
    given = {"width": width, "threshold": threshold, "random_seed": random_seed}
    for argument, owner in owners.items():
        if given[argument] is not None and name != owner:
            must = f"left out unless strategy is '{owner}', since '{name}' does not use it"
            fail(argument, function, must, given[argument])
    if name == "probability" and threshold is None:
        must = "given with strategy 'probability': the rating that is good enough"
        fail("threshold", function, must, Described("None"))
    seed = check_seed(random_seed, function)
    return Strategy(
        name,
        WIDTH if width is None else check_number(width, "width", function),
        0.0 if threshold is None else check_number(threshold, "threshold", function),
        fresh_seed(seed) if name == "thompson" else 0,
    )
