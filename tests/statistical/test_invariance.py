"""Every sweep and every block leaves the joint distribution of parameters and data as it is.

Each test holds all of its functionals together to the suite's rate; the power against 30 faults is
shown by test_mutants.py.
"""

import pytest

from tests.statistical.functionals import functionals
from tests.statistical.invariance import (
    CASES,
    PARTS,
    REPLICATES,
    changed,
    expected_changes,
    p_values,
    reference,
    run,
)
from tests.statistical.rates import assert_plausible

SEED = 2004
# One case for each path that a block has; the whole sweeps below run all of them.
BLOCK_CASES = ("learned", "no biases", "rank 0", "five coordinates", "long rows", "numpy")


def assert_invariant(name: str, part: str) -> None:
    case = CASES[name]
    before, after = run(case, part, seed=SEED)
    other = reference(case, REPLICATES, SEED)
    assert changed(before, after) == expected_changes(case, part)
    assert_plausible(p_values(functionals(after, case.setting), other, case.setting))


@pytest.mark.parametrize("case", CASES)
def test_sweeps(case):
    assert_invariant(case, "sweep")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("case", BLOCK_CASES)
def test_blocks(case, part):
    assert_invariant(case, part)
