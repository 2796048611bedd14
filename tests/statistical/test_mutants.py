"""Every deliberate fault is seen, and how surely is bounded from below."""

import pytest

from tests.statistical.functionals import functionals
from tests.statistical.invariance import (
    CASES,
    REPLICATES,
    changed,
    detection,
    expected_changes,
    p_values,
    reference,
    run,
)
from tests.statistical.mutants import MUTANTS
from tests.statistical.planting import planted
from tests.statistical.rates import FALSE_FAILURE_RATE, adjusted

SEED = 1859
POWER = 0.99
BY_INVARIANCE = [mutant for mutant in MUTANTS if mutant.case]


@pytest.mark.parametrize("mutant", BY_INVARIANCE, ids=lambda mutant: mutant.name)
def test_invariance_sees(mutant, tmp_path):
    """By its own case: the test fails here, and would under 99% of all seeds."""
    case = CASES[mutant.case]
    with planted(mutant, tmp_path) as package:
        _, after = run(case, mutant.part, seed=SEED, package=package)
    found, other = functionals(after, case.setting), reference(case, REPLICATES, SEED)
    assert adjusted(p_values(found, other, case.setting))[1] < FALSE_FAILURE_RATE
    assert detection(found, other, case.setting, REPLICATES).power > POWER


def test_a_part_that_does_not_move_is_seen(tmp_path):
    """A sampler that never draws w leaves every distribution as it is: it must also move."""
    (mutant,) = (mutant for mutant in MUTANTS if mutant.check == "moves")
    case = CASES["learned"]
    with planted(mutant, tmp_path) as package:
        before, after = run(case, replicates=10, seed=SEED, package=package)
    missing = expected_changes(case, "sweep") - changed(before, after)
    assert missing == {"user strength", "item strength"}
