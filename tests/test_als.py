"""ALS: the loss never rises, the end is an optimum, and special cases have closed forms."""

import inspect

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD

import bayesmf
from bayesmf.point.tuning import Settings

CASES = [(2, True, False), (2, False, False), (3, True, True), (0, True, False)]


def loss_of(als, weighted):
    ratings = als.ratings
    users, items = ratings.users, ratings.items
    error = ratings.values - als._means(users, items)
    n_user = np.bincount(users) if weighted else np.ones(ratings.n_users)
    n_item = np.bincount(items) if weighted else np.ones(ratings.n_items)
    total = (error.astype(float) ** 2).sum()
    total += als.reg * (n_user @ (als.user_factors**2).sum(1))
    total += als.reg * (n_item @ (als.item_factors**2).sum(1))
    if als.user_bias is not None:
        total += als.reg_bias * (n_user @ als.user_bias**2 + n_item @ als.item_bias**2)
    return total


@pytest.mark.parametrize(("n_factors", "biases", "weighted"), CASES)
def test_loss_falls_to_a_stationary_point(truth, n_factors, biases, weighted):
    als = bayesmf.fit_als(
        truth.ratings, n_factors=n_factors, biases=biases, weighted=weighted, tol=1e-13,
        reg=0.2 if weighted else 3.0, reg_bias=0.1 if weighted else 2.0, max_iter=3000,
        random_seed=1, progressbar=False,
    )  # fmt: skip
    assert (np.diff(als.loss) <= 1e-12 * als.loss[:-1]).all()
    assert als.loss[-1] == pytest.approx(loss_of(als, weighted), rel=1e-9)
    # At the optimum every small step raises the loss, in the second order only.
    rng = np.random.default_rng(0)
    parts = ["user_factors", "item_factors"] + ["user_bias", "item_bias"] * biases
    for name in parts:
        value = getattr(als, name)
        if value.size == 0:
            continue
        step = 1e-4 * rng.standard_normal(value.shape)
        sides = []
        for sign in (1, -1):
            setattr(als, name, value + sign * step)
            sides.append(loss_of(als, weighted) - als.loss[-1])
            setattr(als, name, value)
        assert min(sides) > 0
        slope, curvature = (sides[0] - sides[1]) / 2, (sides[0] + sides[1]) / 2
        assert abs(slope) < 0.02 * curvature


def test_bias_only_is_one_ridge_regression(truth):
    ratings = truth.ratings
    bias = bayesmf.fit_bias(
        ratings, reg_bias=2.0, tol=0.0, max_iter=10_000, random_seed=1, progressbar=False
    )
    X = np.zeros((len(ratings), ratings.n_users + ratings.n_items))
    X[np.arange(len(ratings)), ratings.users] = 1
    X[np.arange(len(ratings)), ratings.n_users + ratings.items] = 1
    y = ratings.values.astype(float) - ratings.mean
    expected = np.linalg.solve(X.T @ X + 2.0 * np.eye(X.shape[1]), X.T @ y)
    np.testing.assert_allclose(
        np.concatenate([bias.user_bias, bias.item_bias]), expected, atol=1e-6
    )


def test_centre(truth):
    plain = bayesmf.fit_als(
        truth.ratings, n_factors=2, biases=False, center=False, reg=1.0, random_seed=1,
        progressbar=False,
    )  # fmt: skip
    assert plain.center == 0.0
    assert plain.user_bias is None
    centred = bayesmf.fit_als(truth.ratings, n_factors=2, reg=1.0, reg_bias=1.0, random_seed=1,
                              progressbar=False)  # fmt: skip
    assert centred.center == pytest.approx(truth.ratings.mean)


def test_auto_chooses_the_best_tried_on_held_out_ratings(als, split):
    tried = als.tried[als.tried["n_factors"] == 2]
    best = tried.loc[tried["rmse"].idxmin()]
    assert (als.reg, als.reg_bias) == (best["reg"], best["reg_bias"])
    assert als.sigma == best["rmse"]
    assert 3 <= len(tried) <= 15
    # The bracket is closed: a weaker and a stronger penalty were tried, and both are worse.
    assert tried["reg"].min() < als.reg < tried["reg"].max()


def test_sigma_is_the_error_on_held_out_ratings(truth, split):
    """Training residuals are smaller: an interval from them would be too narrow."""
    train, test = split
    als = bayesmf.fit_als(train, n_factors=2, random_seed=2, progressbar=False)
    pairs = train.pairs(test, "pairs", "predict", with_rating=True)
    test_rmse = np.sqrt(np.mean((als.cell_means(pairs) - pairs.ratings) ** 2))
    train_rmse = np.sqrt(np.mean((als._means(train.users, train.items) - train.values) ** 2))
    assert train_rmse < 0.9 * test_rmse
    assert als.sigma == pytest.approx(test_rmse, rel=0.12)


def test_dense_table_reaches_the_truncated_svd():
    """Eckart & Young (1936): without penalty and missing cells ALS ends at the best rank-2 fit."""
    table = np.random.default_rng(3).integers(1, 6, (50, 200)).astype(float)
    users, items = np.divmod(np.arange(10_000), 200)
    als = bayesmf.fit_als(
        (users, items, table.ravel()), n_factors=2, biases=False, center=False, reg=0.0,
        tol=1e-14, max_iter=5000, random_seed=1, progressbar=False,
    )  # fmt: skip
    best = TruncatedSVD(2, algorithm="arpack", random_state=0)
    left = table - best.inverse_transform(best.fit_transform(table))
    assert als.loss[-1] == pytest.approx((left**2).sum(), rel=1e-6)
    np.testing.assert_allclose(
        als.user_factors @ als.item_factors.T, table - left, atol=1e-4 * table.std()
    )


def test_least_squares_without_a_penalty_overfits(split):
    """Maximum likelihood: nearer to the ratings it has seen, farther from those it has not."""
    train, test = split
    few = bayesmf.Ratings(train.to_frame().groupby("user").filter(lambda rows: len(rows) > 8))
    common = {"n_factors": 5, "random_seed": 1, "progressbar": False, "max_iter": 2000}
    least = bayesmf.fit_als(few, reg=1e-4, reg_bias=1e-4, **common)
    penalised = bayesmf.fit_als(few, **common)
    on_train, on_test = (
        {
            name: np.sqrt(np.mean((one.predict(part)["mean"] - part.to_frame()["rating"]) ** 2))
            for name, one in {"MLE": least, "MAP": penalised}.items()
        }
        for part in (few, test)
    )
    assert on_train["MLE"] < 0.8 * on_train["MAP"]
    assert on_test["MLE"] > 1.2 * on_test["MAP"]


@pytest.mark.parametrize("biases", [True, False])
def test_ways_down_end_at_the_same_loss(truth, biases):
    options = {
        "n_factors": 2, "biases": biases, "reg": 3.0, "reg_bias": 2.0, "tol": 1e-10,
        "max_iter": 3000, "random_seed": 1, "progressbar": False,
    }  # fmt: skip
    joint = bayesmf.fit_als(truth.ratings, **options)
    apart = bayesmf.fit_als(truth.ratings, solve_biases="separate", **options)
    assert apart.loss[-1] == pytest.approx(joint.loss[-1], rel=1e-7)
    assert (np.diff(apart.loss) <= 1e-12 * apart.loss[:-1]).all()
    assert loss_of(apart, weighted=False) == pytest.approx(apart.loss[-1], rel=1e-9)
    # Joint blocks get farther in a sweep; without biases both are the same thing.
    if biases:
        assert apart.loss[4] > joint.loss[4]
    else:
        np.testing.assert_array_equal(apart.loss, joint.loss)


def test_separate_biases_with_weights_and_without_factors(truth):
    for n_factors in (0, 2):
        options = {
            "n_factors": n_factors, "reg": 0.2, "reg_bias": 0.1, "weighted": True, "tol": 1e-10,
            "max_iter": 3000, "random_seed": 1, "progressbar": False,
        }  # fmt: skip
        joint = bayesmf.fit_als(truth.ratings, **options)
        apart = bayesmf.fit_als(truth.ratings, solve_biases="separate", **options)
        assert apart.loss[-1] == pytest.approx(joint.loss[-1], rel=1e-7)


def test_simultaneous_sides_take_each_the_old_rows(truth):
    """Against Jacobi by hand, which is two descents that never meet."""
    ratings, rng = truth.ratings, np.random.default_rng(2)
    start = tuple(rng.normal(size=(n, 2)) for n in (ratings.n_users, ratings.n_items))
    with pytest.warns(UserWarning, match="before the loss settled"):
        als = bayesmf.fit_als(
            ratings, n_factors=2, biases=False, solve_sides="simultaneous", init=start, reg=3.0,
            tol=0.0, max_iter=40, random_seed=1, progressbar=False,
        )  # fmt: skip
    U, V = start
    error = ratings.values - ratings.mean

    def solved(own, partners, rows):
        return np.array(
            [
                np.linalg.solve(
                    rows[partners[own == i]].T @ rows[partners[own == i]] + 3.0 * np.eye(2),
                    rows[partners[own == i]].T @ error[own == i],
                )
                for i in range(own.max() + 1)
            ]
        )

    for _ in range(40):
        U, V = solved(ratings.users, ratings.items, V), solved(ratings.items, ratings.users, U)
    np.testing.assert_allclose(als.user_factors, U, atol=1e-8)
    np.testing.assert_allclose(als.item_factors, V, atol=1e-8)
    assert len(als.loss) == 41
    alternating = bayesmf.fit_als(
        ratings, n_factors=2, biases=False, reg=3.0, random_seed=1, progressbar=False
    )
    assert als.loss[-1] > 1.02 * alternating.loss[-1]


def test_penalties_of_two_sides_are_those_of_pmf(truth):
    """The mode of PMF with spreads of its own for each side."""
    pmf = bayesmf.fit_pmf(
        truth.ratings, n_factors=2, sigma=0.9, sigma_user=0.5, sigma_item=0.8, sigma_bias=0.6,
        random_seed=1, progressbar=False,
    )  # fmt: skip
    reg = pmf.penalties
    als = bayesmf.fit_als(
        truth.ratings, n_factors=2, reg=(reg["reg_user"], reg["reg_item"]),
        reg_bias=reg["reg_bias"], tol=1e-12, max_iter=5000, random_seed=1, progressbar=False,
    )  # fmt: skip
    assert als.loss[-1] == pytest.approx(pmf.loss[-1], rel=1e-6)
    assert als.reg == (reg["reg_user"], reg["reg_item"])
    assert "reg=3.24/1.27" in als.protocol()
    # Balance at the optimum: the penalties of both sides are equal.
    sides = zip(als.reg, (als.user_factors, als.item_factors), strict=True)
    penalties = [reg * (factors**2).sum() for reg, factors in sides]
    assert penalties[0] == pytest.approx(penalties[1], rel=1e-3)


def test_a_start_is_gone_on_from(truth):
    options = {"n_factors": 2, "reg": 3.0, "reg_bias": 2.0, "random_seed": 1, "progressbar": False}
    first = bayesmf.fit_als(truth.ratings, **options)
    for init in (
        first,
        (first.user_factors, first.item_factors, first.user_bias, first.item_bias),
    ):
        again = bayesmf.fit_als(truth.ratings, init=init, **options)
        assert again.loss[0] == pytest.approx(first.loss[-1], rel=1e-12)
        assert len(again.loss) < len(first.loss)
    some = truth.ratings.to_frame().query("user < 30")
    part = bayesmf.fit_als(some, init=first, **options)
    assert part.loss[-1] < part.loss[0]


@pytest.mark.parametrize(
    ("init", "error", "words"),
    [
        ("warm", TypeError, "must be a FactorEstimate, .*Got str"),
        ((np.zeros((60, 2)),), TypeError, "Got 1 arrays"),
        ((np.zeros((60, 3)), np.zeros((40, 2))), ValueError, "user_factors of shape .60, 2."),
        ((np.zeros((60, 2)), np.full((40, 2), np.nan)), ValueError, "must be finite item_factors"),
        ((np.zeros((60, 2)), [["x", "y"]] * 40), TypeError, "must be numbers as item_factors"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(truth, init, error, words):
    with pytest.raises(error, match=f"The 'init' argument of fit_als .*{words}"):
        bayesmf.fit_als(truth.ratings, n_factors=2, init=init, progressbar=False)


def test_a_start_that_lacks_a_user_is_refused(truth):
    part = bayesmf.fit_als(truth.ratings.to_frame().query("user < 30"), n_factors=2, reg=1.0,
                           reg_bias=1.0, random_seed=1, progressbar=False)  # fmt: skip
    with pytest.raises(ValueError, match="knows every user of the ratings. Got one that does not"):
        bayesmf.fit_als(truth.ratings, n_factors=2, init=part, progressbar=False)


def test_unknown_rows_fall_back_to_what_is_known(als):
    table = als.predict([(999, 2), (4, 999), (999, 999)])
    j = als.ratings.item_ids.get_loc(2)
    i = als.ratings.user_ids.get_loc(4)
    expected = [als.center + als.item_bias[j], als.center + als.user_bias[i], als.center]
    np.testing.assert_allclose(table["mean"], expected)


def test_stopping_early_is_said(truth):
    with pytest.warns(UserWarning, match="reached max_iter=1 before the loss settled"):
        als = bayesmf.fit_als(
            truth.ratings, reg=1.0, reg_bias=1.0, max_iter=1, random_seed=1, progressbar=False
        )
    assert len(als.loss) == 3


def test_sigma_is_that_of_the_model_itself():
    """Without a penalty on factors as with a tiny one; the bias-only search is another model."""
    dense = bayesmf.simulate(60, 50, 3000, n_factors=3, noise_sd=0.2, random_seed=1).ratings
    sigmas = [
        bayesmf.fit_als(dense, n_factors=3, reg=reg, random_seed=1, progressbar=False).sigma
        for reg in (0.0, 1e-9)
    ]
    assert sigmas[0] == pytest.approx(sigmas[1], rel=0.02)
    assert 0.2 < sigmas[0] < 0.26


def test_a_validation_fit_without_solution_is_an_error():
    """The whole table may be solvable where nine tenths of it are not."""
    frame = bayesmf.simulate(12, 10, 120, n_factors=2, random_seed=3).ratings.to_frame()
    with pytest.raises(
        ValueError, match="held out.*fewer ratings than coordinates.*Give positive 'reg'"
    ):
        bayesmf.fit_als(
            frame, n_factors=3, reg=0, reg_bias=0, validation_size=0.9, random_seed=0,
            progressbar=False,
        )  # fmt: skip


def test_ratings_without_noise_can_be_compared():
    users, items = np.divmod(np.arange(200), 10)
    frame = bayesmf.Ratings((users, items, users * 0.1 + items)).to_frame()
    train, test = bayesmf.train_test_split(frame, random_seed=1)
    bias = bayesmf.fit_bias(train, reg_bias=0.001, random_seed=1, progressbar=False)
    table = bayesmf.compare({"bias": bias}, test).table
    assert np.isfinite(table.to_numpy(float)).all()


def test_single_precision_is_the_same_solution(truth):
    """To its rounding, and not by being double precision all the same."""
    options = {"n_factors": 2, "reg": 3.0, "reg_bias": 2.0, "tol": 1e-6, "random_seed": 1}
    double, single = (
        bayesmf.fit_als(truth.ratings, dtype=dtype, progressbar=False, **options)
        for dtype in ("float64", "float32")
    )
    cells = [(user, item) for user in range(30) for item in range(30)]
    difference = np.abs(double.predict(cells)["mean"] - single.predict(cells)["mean"])
    assert 0 < difference.max() < 1e-3
    assert single.user_factors.dtype == np.float64


def test_a_report_s_als_has_the_defaults_of_fit_als():
    """`Posterior.report` gives what it must, and leaves all else as it is."""
    said = inspect.signature(bayesmf.fit_als).parameters
    kept = dict(Settings._field_defaults)
    way = kept.pop("way")
    assert kept == {name: said[name].default for name in kept}
    assert way == (said["solve_biases"].default, said["solve_sides"].default)
