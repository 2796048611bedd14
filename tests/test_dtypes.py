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
