"""Every deliberate fault is seen, and how surely is bounded from below."""

import numpy as np
import pytest

from bayesmf.kernels.vectors import VECTOR_BYTES
from tests.statistical.calibration import run_study
from tests.statistical.closed_forms import CHECKS
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
from tests.statistical.mutants import MUTANTS, STUDY, Mutant
from tests.statistical.planting import planted
from tests.statistical.rates import FALSE_FAILURE_RATE, adjusted
from tests.statistical.uniformity import coverage_p_values, rank_p_values

SEED = 1859
POWER = 0.99
KERNELS_EACH = 1
"""Faults of each compiled file that `make test` plants, since each is compiled anew; `make verify`
plants all, and `test_tools.py` holds that it has seen them."""


def planted_here(mutant: Mutant) -> bool:
    """Whether `make test` plants it."""
    of_file = [other for other in MUTANTS if other.case and other.file == mutant.file]
    return not mutant.file.startswith("kernels/") or mutant in of_file[:KERNELS_EACH]


BY_INVARIANCE = [mutant for mutant in MUTANTS if mutant.case and planted_here(mutant)]
BY_CALIBRATION = [mutant for mutant in MUTANTS if mutant.check == "calibration"]
FEW_REPLICATES = 6_000
DATA_SETS = (12, 40)
"""Studies of so many data sets, the second where the first has not seen a fault."""


@pytest.mark.parametrize("mutant", BY_INVARIANCE, ids=lambda mutant: mutant.name)
def test_invariance_sees(mutant, tmp_path):
    """By its own case: the test would fail under 99% of all seeds, and does so here.

    Most faults show in fewer worlds than the test takes; the power is of as many as it takes.
    """
    case = CASES[mutant.case]
    with planted(mutant, tmp_path) as package:
        for replicates in (FEW_REPLICATES, REPLICATES):
            _, after = run(case, mutant.part, replicates=replicates, seed=SEED, package=package)
            found, other = functionals(after, case.setting), reference(case, replicates, SEED)
            seen = adjusted(p_values(found, other, case.setting))[1] < FALSE_FAILURE_RATE
            sure = detection(found, other, case.setting, REPLICATES).power > POWER
            if seen and sure:
                return
    pytest.fail(f"{mutant.fault}: seen is {seen}, and surely is {sure}")


def test_a_part_that_does_not_move_is_seen(tmp_path):
    """A block that never draws w leaves every distribution as it is: it must also move."""
    (mutant,) = (mutant for mutant in MUTANTS if mutant.check == "moves")
    case, part = CASES["learned"], "user_hyper"
    with planted(mutant, tmp_path) as package:
        before, after = run(case, part, replicates=10, seed=SEED, package=package)
    missing = expected_changes(case, part) - changed(case, before, after, part)
    assert missing == {"user strength"}


SEEN_BY_CLOSED_FORMS = {
    "rounded_partners": ("rows in extreme units, numba, usual", "row update, numba"),
    "triangle_columns_lost": ("row update, numba",),
}


@pytest.mark.parametrize(
    "mutant",
    [
        mutant
        for mutant in MUTANTS
        if mutant.check == "closed forms" and mutant.vectors in (0, VECTOR_BYTES)
    ],
    ids=lambda mutant: mutant.name,
)
def test_closed_forms_see(mutant, tmp_path):
    """Faults that are too small or too rare for invariance, such as rounding to three decimals."""
    with planted(mutant, tmp_path) as package:
        for name in SEEN_BY_CLOSED_FORMS[mutant.name]:
            with pytest.raises((AssertionError, np.linalg.LinAlgError)):
                CHECKS[name](package)


@pytest.mark.parametrize("mutant", BY_CALIBRATION, ids=lambda mutant: mutant.name)
def test_calibration_sees(mutant, tmp_path):
    """Faults of what is stored and predicted, which leave the chain itself untouched."""
    with planted(mutant, tmp_path) as package:
        for data_sets in DATA_SETS:
            study = run_study(STUDY, data_sets, SEED, package)
            if adjusted(rank_p_values(study) | coverage_p_values(study))[1] < FALSE_FAILURE_RATE:
                return
    pytest.fail(f"{mutant.fault}: not seen in {data_sets} data sets")
