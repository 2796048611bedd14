"""Ratings of any size: the same answers in other units, or one clear sentence; never inf or NaN."""

import numpy as np
import pytest

import bayesmf
from bayesmf import NormalWishart

USERS, ITEMS = np.divmod(np.sort(np.random.default_rng(0).permutation(96)[:50]), 8)
VALUES = np.random.default_rng(1).integers(1, 6, 50).astype(float)
CELLS = [(int(USERS[0]), int(ITEMS[0])), (99, 1), (1, 99), (99, 99)]
QUICK = {
    "n_factors": 2, "tune": 5, "draws": 20, "chains": 1, "random_seed": 1, "progressbar": False,
}  # fmt: skip


def predictions(values, **arguments):
    post = bayesmf.fit_bpmf((USERS, ITEMS, values), **(QUICK | arguments))
    return post.predict(CELLS)[["mean", "sd", "lower", "upper"]].to_numpy()


@pytest.mark.parametrize("unit", [1e-28, 1e-19, 1e-12, 1e12, 1e22, 1e29])
def test_units_of_ratings_do_not_matter(unit):
    """Known and unknown rows: the latter are drawn by inverting the stored precisions."""
    np.testing.assert_allclose(predictions(unit * VALUES), unit * predictions(VALUES), rtol=1e-5)


@pytest.mark.parametrize(("shift", "digits"), [(1e5, 6), (1.6e9, 5)])
def test_ratings_far_from_zero_keep_their_differences(shift, digits):
    """Serial numbers, years, seconds since 1970: their digits are beyond single precision."""
    here, there = predictions(VALUES), predictions(shift + VALUES)
    shifts = shift * np.array([1, 0, 1, 1])
    np.testing.assert_allclose(there - shifts, here, rtol=10.0**-digits)


@pytest.mark.parametrize("center", [1e6, -1e20])
def test_a_careless_centre_is_only_a_bad_prior(center):
    assert np.isfinite(predictions(VALUES, center=center)).all()


def test_one_wild_rating_is_only_a_bad_rating():
    values = VALUES.copy()
    values[3] = 1e30
    assert np.isfinite(predictions(values)).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (1e31 * VALUES, "finite numbers of at most 1e[+]30 in size. Got .* in row 0 and 49 more"),
        (1e-31 * VALUES, "a table whose largest rating is at least 1e-30 in size. Got 5e-31"),
        (1e15 + VALUES, "differ by more than rounding; take their mean off first. Got an sd of 1"),
    ],
)
def test_ratings_beyond_float64_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        predictions(values)
    with pytest.raises(ValueError, match=message):
        bayesmf.fit_als((USERS, ITEMS, values), n_factors=2, progressbar=False)


@pytest.mark.parametrize("prior", [NormalWishart(mu0=1e39), NormalWishart(mu0=1e200)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # a warning of NumPy would not be enough
def test_a_prior_beyond_floats_is_an_error_and_not_a_result(prior):
    with pytest.raises((FloatingPointError, np.linalg.LinAlgError)):
        predictions(VALUES, prior=prior)
