"""Every sweep and every block leaves the joint distribution of parameters and data as it is.

Each test holds all of its functionals together to the suite's rate; the power of each is shown by
test_mutants.py.
"""

import pytest

from tests.statistical.functionals import functionals
from tests.statistical.invariance import (
    CASES,
    REPLICATES,
    TESTED,
    THOROUGH,
    changed,
    expected_changes,
    p_values,
    reference,
    run,
)
from tests.statistical.rates import assert_plausible

SEED = 2004


@pytest.mark.parametrize(
    ("name", "part"),
    [pytest.param(*one, marks=[pytest.mark.thorough] if one in THOROUGH else []) for one in TESTED],
)
def test_invariant(name, part):
    case = CASES[name]
    before, after = run(case, part, seed=SEED)
    other = reference(case, REPLICATES, SEED)
    assert changed(case, before, after, part) == expected_changes(case, part)
    assert_plausible(p_values(functionals(after, case.setting), other, case.setting))
