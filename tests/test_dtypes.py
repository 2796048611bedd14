"""Single and double precision: which is taken, and that they tell the same."""

import numpy as np
import pytest

import bayesmf

RUN = {"n_factors": 3, "chains": 2, "cores": 2, "random_seed": 5, "progressbar": False}


@pytest.fixture(scope="module")
def ratings():
    return bayesmf.simulate(120, 60, 2500, random_seed=4).ratings


def dtype_of(ratings, **options) -> str:
    return bayesmf.fit_bpmf(ratings, **RUN | {"tune": 1, "draws": 1} | options).data.attrs["dtype"]


def test_single_precision_is_the_default(ratings):
    assert dtype_of(ratings) == "float32"
    assert dtype_of(ratings, dtype="float64") == "float64"
    assert dtype_of(ratings, center=0.0, scale=1.0, alpha=2.0) == "float32"


@pytest.mark.parametrize(
    ("far", "what"),
    [
        ({"center": 1e6}, "a mean of"),
        ({"scale": 1e-6}, "an sd of"),
        ({"scale": 1e6}, "an inverse sd of"),
        ({"alpha": 1e9}, "noise of precision"),
        ({"alpha": 1e-10}, "noise of sd"),
        ({"alpha": bayesmf.GammaPrior(1e9, 1.0)}, "noise of precision"),
        ({"prior": bayesmf.NormalWishart(mu0=1e5)}, "a prior mean of size"),
    ],
)
def test_double_precision_is_taken_where_rounding_would_show(ratings, far, what):
    assert dtype_of(ratings, **far) == "float64"
    with pytest.raises(ValueError, match=f"The 'dtype' argument of fit_bpmf .*'float32'.*{what}"):
        bayesmf.fit_bpmf(ratings, dtype="float32", **far)


@pytest.mark.parametrize("bad", ["single", "float16", 32, np.float32])
def test_other_types_are_refused(ratings, bad):
    with pytest.raises((ValueError, TypeError), match="The 'dtype' argument of fit_bpmf must be"):
        bayesmf.fit_bpmf(ratings, dtype=bad)
    with pytest.raises((ValueError, TypeError), match="The 'dtype' argument of fit_als must be"):
        bayesmf.fit_als(ratings, dtype=bad)


def test_als_in_single_precision_refuses_what_it_cannot_tell_apart(ratings):
    frame = ratings.to_frame()
    for scale, shift, what in ((1e6, 0, "an sd"), (1e-6, 0, "an inverse sd"), (1, 1e6, "a mean")):
        far = frame.assign(rating=scale * frame["rating"] + shift)
        with pytest.raises(
            ValueError, match=f"'dtype' argument of fit_als .*'float32' with {what}"
        ):
            bayesmf.fit_als(far, dtype="float32", biases=False, center=False)
    with pytest.raises(ValueError, match="in single precision: try dtype='float64'"):
        bayesmf.fit_als(
            ratings, dtype="float32", reg=1e-6, reg_bias=1e-6, random_seed=1, progressbar=False
        )


def test_als_in_single_precision_has_the_same_bits_for_any_number_of_threads(ratings):
    options = {"dtype": "float32", "reg": 3.0, "reg_bias": 2.0, "random_seed": 1}
    one, three = (
        bayesmf.fit_als(ratings, cores=cores, progressbar=False, **options) for cores in (1, 3)
    )
    np.testing.assert_array_equal(one.user_factors, three.user_factors)
    np.testing.assert_array_equal(one.loss, three.loss)


def test_both_tell_the_same(ratings):
    """Their random numbers differ, so that means differ by Monte Carlo error, about 0.05 sd here:
    the bounds are three times that, for averages over 500 cells."""
    single, double = (
        bayesmf.fit_bpmf(ratings, **RUN | {"tune": 300, "draws": 2000}, dtype=dtype)
        for dtype in ("float32", "float64")
    )
    cells = [(user, item) for user in range(50) for item in range(10)]
    a, b = (post.predict(cells, kind="latent") for post in (single, double))
    assert np.sqrt(np.mean(((a["mean"] - b["mean"]) / b["sd"]) ** 2)) < 0.15
    assert abs(np.log(a["sd"] / b["sd"]).mean()) < 0.03
    alphas = [float(post.data["posterior"]["alpha"].mean()) for post in (single, double)]
    assert abs(alphas[0] / alphas[1] - 1) < 0.01
