"""One false-failure rate for the whole suite, and how a test holds its p-values to it."""

from collections.abc import Mapping

FALSE_FAILURE_RATE = 1e-5
"""Most probability with which a correct sampler may fail one test, under a random seed."""


def adjusted(p_values: Mapping[str, float]) -> tuple[str, float]:
    """The smallest of a test's p-values, by name, times their number (Bonferroni), at most 1.

    NaN, which a statistic of draws that are not finite would give, is an AssertionError.
    """
    broken = {name: p for name, p in p_values.items() if not 0 <= p <= 1}
    assert p_values, "no p-values"
    assert not broken, f"these are not p-values: {broken}"
    worst = min(p_values, key=lambda name: p_values[name])
    return worst, min(1.0, len(p_values) * p_values[worst])


def assert_plausible(p_values: Mapping[str, float]) -> None:
    """Fail if the p-values of one test, taken together, are below the suite's rate."""
    worst, p = adjusted(p_values)
    assert p > FALSE_FAILURE_RATE, (
        f"{worst}: p = {p_values[worst]:.2g}, {p:.2g} among {len(p_values)}"
    )
