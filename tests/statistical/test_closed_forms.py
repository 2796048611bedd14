"""Every conditional, every path of the row update and the sweep, against closed forms to 1e-9.

The checks are in closed_forms*.py, by name in `CHECKS`. None is random: a failure is a fault.
"""

from itertools import pairwise

import numpy as np
import pytest

from bayesmf.gibbs import conditionals
from bayesmf.gibbs.engines import ENGINES
from bayesmf.kernels import rows as kernels
from bayesmf.kernels import vectors
from bayesmf.model import GammaPrior, NormalWishart
from tests.statistical.closed_forms import CHECKS
from tests.statistical.closed_forms_rows import (
    ENGINE_NAMES,
    SHAPES,
    Drawn,
    assert_close,
    row_world,
)
from tests.statistical.paths import DEGREES


@pytest.mark.parametrize("name", CHECKS)
def test_closed_form(name):
    CHECKS[name]("bayesmf")


def test_every_path_is_taken():
    """The worlds hold all sides of the kernel's tile, its padding, and both engines."""
    assert set(ENGINES) == set(ENGINE_NAMES)
    assert {0, 1, kernels.TILE - 1, kernels.TILE, kernels.TILE + 1, 2 * kernels.TILE} < set(DEGREES)
    assert {n % 8 for n in DEGREES} >= {0, 1, 7}
    assert max(DEGREES) > 2 * kernels.TILE
    # Last blocks of every kind: whole, by vectors, by single numbers; several blocks and one.
    assert {d % vectors.PANEL for d, _ in SHAPES} >= {0, 1, vectors.PANEL - 2}
    assert max(d for d, _ in SHAPES) > 2 * vectors.VECTOR_BYTES // 4
    assert (1, True) in SHAPES  # a bias and no factor
    later_is_shorter = [a > b for a, b in pairwise(DEGREES)]
    assert any(later_is_shorter)
    assert not all(later_is_shorter)


def test_priors_resolve_to_the_numbers_of_the_model():
    """Written out by hand from docs/model.md: all else takes these numbers from the package.

    1000 rows of 10 factors and a bias: nu0 = 11 + 20 + 0.4 x 1000 = 431; the factors' variance is
    sqrt(0.025 / 10) = 0.05, so that w, of shape 431 / 2, has mean 431 x 0.05 = 21.55 and rate 10.
    """
    found = NormalWishart().resolve(1000, 10, True)
    assert (found.beta0, found.dof, found.learned) == (2.0, 431.0, True)
    np.testing.assert_array_equal(found.mu0, np.zeros(11))
    np.testing.assert_allclose(found.shape, [215.5] * 10 + [1.0], rtol=1e-12)
    np.testing.assert_allclose(found.rate, [10.0] * 10 + [0.01], rtol=1e-12)
    np.testing.assert_allclose(found.strength, [21.55] * 10 + [100.0], rtol=1e-12)
    other = NormalWishart(0.5, 3.0, 7.0, 0.1, strength=GammaPrior(2.0, 5.0)).resolve(50, 2, False)
    assert (other.beta0, other.dof, other.learned) == (3.0, 14.0, True)
    np.testing.assert_array_equal(
        [other.mu0, other.shape, other.rate], [[0.5] * 2, [2] * 2, [5] * 2]
    )
    fixed = NormalWishart(strength=3.0).resolve(50, 0, True)
    assert (fixed.dof, fixed.learned, fixed.strength.tolist()) == (41.0, False, [3.0])


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_read_only_arrays_give_the_same_bits(engine):
    """`Ratings` hands out arrays that cannot be written, for which the kernel is compiled apart."""
    world = row_world(4, True)
    normals = np.random.default_rng(1).standard_normal(len(DEGREES) * 4)
    expected = Drawn.by("bayesmf", engine, world)(normals)
    partners = world.side.partners.copy()
    partners.flags.writeable = False
    locked = world._replace(side=world.side._replace(partners=partners))
    np.testing.assert_array_equal(Drawn.by("bayesmf", engine, locked)(normals), expected)


FAULTS = {
    # One fault each, small or in a corner, and the checks that must see it.
    "conjugate update without the shift": (
        "hyper_conditional",
        lambda right: (
            lambda n, mean, scatter, prior, strength: right(
                n, mean, scatter, prior, strength
            )._replace(inverse_scale=np.diag(strength) + scatter)
        ),
        ("hyperparameters by quadrature", "hyperparameters by their density"),
    ),
    "one degree of freedom too many": (
        "hyper_conditional",
        lambda right: (
            lambda n, mean, scatter, prior, strength: right(
                n, mean, scatter, prior._replace(dof=prior.dof + 1), strength
            )
        ),
        ("hyperparameters by quadrature", "hyperparameters by uncentred sums"),
    ),
    "half a rating too many": (
        "alpha_conditional",
        lambda right: lambda error, n, prior: right(error, n + 0.5, prior),
        ("alpha by quadrature", "alpha drawn or fixed"),
    ),
    "moments in single precision": (
        "moments",
        lambda right: lambda rows: right(rows.astype(np.float32).astype(float)),
        ("hyperparameters by quadrature",),
    ),
    "a Wishart whose root is not of W": (
        "draw_wishart_root",
        lambda right: lambda inverse_scale, dof, rng: right(inverse_scale, dof, rng).T,
        ("Wishart draw as a map",),
    ),
    "a bias that is not taken from the target": (
        "row_conditional",
        lambda right: (
            lambda rows, y, has_bias, *rest: right(
                rows, y + rows[:, -1] if has_bias else y, has_bias, *rest
            )
        ),
        ("row conditional", "row update, numpy", "bias alone"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_checks_see_a_fault(fault, monkeypatch):
    attribute, spoil, seen_by = FAULTS[fault]
    right = getattr(conditionals, attribute)
    spoilt = spoil(right)
    monkeypatch.setattr(conditionals, attribute, spoilt)
    for name in seen_by:
        with pytest.raises(AssertionError):
            CHECKS[name]("bayesmf")


def test_numbers_are_held_to_their_tolerance():
    expected = np.array([1e20, -3e20])
    assert_close(expected * (1 + 0.9e-9), expected, "within")
    for wrong in (expected * (1 + 1.1e-9), expected * [1, np.nan], expected[:1], -expected):
        with pytest.raises(AssertionError):
            assert_close(wrong, expected, "beyond")
