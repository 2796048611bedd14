"""SGD: its step is the gradient's, its end that of ALS, its stop the validation error's."""

import numpy as np
import pytest

import bayesmf
from bayesmf.kernels.descent import descend
from bayesmf.point.sgd import Descent, rates_of

OPTIONS = {"random_seed": 1, "progressbar": False}


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_the_gradient_is_that_of_the_loss(truth, biases, weighted):
    loss = bayesmf.SquaredLoss(
        truth.ratings, 3, biases=biases, weighted=weighted, reg=2.0, reg_bias=0.7
    )
    check = bayesmf.check_gradient(loss, loss.start(random_seed=1))
    assert check.relative_error < 1e-7
    assert len(check.table) == 200
    assert "e-" in repr(check)


def test_a_wrong_gradient_is_seen(truth):
    """The error of lecture notes: the update of c_j takes c_j off, not b_i."""
    loss = bayesmf.SquaredLoss(truth.ratings, 2, reg=1.0, reg_bias=1.0)
    x = loss.start(random_seed=1)

    def wrong(vector):
        value, gradient = loss(vector)
        parts = loss.split(vector)
        n = len(parts["item_bias"])
        counts = np.bincount(truth.ratings.items)
        own, others = parts["item_bias"], parts["user_bias"][truth.ratings.users]
        gradient[-n:] += 2 * (counts * own - np.bincount(truth.ratings.items, others))
        return value, gradient

    assert bayesmf.check_gradient(wrong, x, n_coordinates=loss.size).relative_error > 1e-3


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"loss": 3}, TypeError, "'loss' argument of check_gradient must be callable. Got int"),
        ({"at": [[1.0]]}, ValueError, "a vector of finite numbers. Got shape"),
        ({"at": [np.nan]}, ValueError, "a vector of finite numbers"),
        ({"loss": lambda x: (0.0, x[:1])}, ValueError, "whose gradient has the shape"),
        ({"at": ["a"]}, TypeError, "a vector of finite numbers. Got list"),
        ({"loss": lambda x: float(x @ x)}, TypeError, "its value, a number, and its gradient"),
        ({"loss": lambda x: (x, 2 * x)}, TypeError, "its value, a number, and its gradient"),
        ({"loss": lambda x: (np.nan, 2 * x)}, ValueError, "Got NaN or infinity"),
        ({"step": 0.0}, ValueError, "greater than 0"),
        ({"n_coordinates": 0}, ValueError, "a positive integer"),
    ],
)
def test_check_gradient_refuses(arguments, error, words):
    given = {"loss": lambda x: (float(x @ x), 2 * x), "at": [1.0, 2.0]} | arguments
    with pytest.raises(error, match=words):
        bayesmf.check_gradient(given.pop("loss"), given.pop("at"), **given)


def test_a_vector_of_another_length_is_refused(truth):
    loss = bayesmf.SquaredLoss(truth.ratings, 2)
    with pytest.raises(ValueError, match=f"a vector of length {loss.size}. Got shape"):
        loss(np.zeros(loss.size + 1))
    assert bayesmf.check_gradient(lambda x: (0.0, 0 * x), [1.0]).relative_error == 0.0


@pytest.mark.parametrize("biases", [True, False])
def test_a_batch_of_all_is_a_step_along_the_gradient(truth, biases):
    """The compiled loop against `SquaredLoss`, whose gradient is checked by differences."""
    ratings, k = truth.ratings, 3
    loss = bayesmf.SquaredLoss(ratings, k, biases=biases)  # the penalty's part is another
    x = loss.start(random_seed=1)
    parts = loss.split(x)
    penalties = np.array([2.0] * k + [0.7] * biases)
    rows, decays = [], []
    for side, codes in (("user", ratings.users), ("item", ratings.items)):
        columns = [parts[f"{side}_factors"]]
        if biases:
            columns.append(parts[f"{side}_bias"][:, None])
        rows.append(np.hstack(columns))
        decays.append(penalties / np.bincount(codes)[:, None])
    order = np.random.default_rng(0).permutation(len(ratings))
    descend(
        order, len(ratings), ratings.users, ratings.items, ratings.values - ratings.mean,
        *rows, k, biases, *decays, np.array([1e-3]),
    )  # fmt: skip
    moved = loss.split(x - 0.5e-3 * loss(x)[1])
    for side, found in zip(("user", "item"), rows, strict=True):
        factors = moved[f"{side}_factors"] / (1 + 1e-3 * 2.0)
        np.testing.assert_allclose(found[:, :k], factors, atol=1e-12)
        if biases:
            bias = moved[f"{side}_bias"] / (1 + 1e-3 * 0.7)
            np.testing.assert_allclose(found[:, k], bias, atol=1e-12)


def test_no_penalty_is_too_strong_for_a_rate(truth):
    sgd = bayesmf.fit_sgd(truth.ratings, n_factors=2, reg=1e9, reg_bias=1e9, **OPTIONS)
    assert np.abs(sgd.user_factors).max() < 1e-6
    assert np.abs(sgd.item_bias).max() < 1e-6


def test_rows_that_occur_twice_in_a_batch_move_once():
    """Two ratings of one cell's rows: their sum, from the rows as they were."""
    rows = np.array([[0.5]]), np.array([[2.0]])
    descend(
        np.array([0, 1]), 2, np.zeros(2, int), np.zeros(2, int), np.array([3.0, 4.0]), *rows, 1,
        False, np.zeros((1, 1)), np.zeros((1, 1)), np.array([0.1]),
    )  # fmt: skip
    # e = 3 - 1 and 4 - 1: u moves by 0.1 (2 + 3) 2, v by 0.1 (2 + 3) 0.5.
    assert rows[0][0, 0] == pytest.approx(0.5 + 1.0)
    assert rows[1][0, 0] == pytest.approx(2.0 + 0.25)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sgd_als_and_map_reach_the_same_loss(truth, seed):
    """From different starts, within 0.5%."""
    common = {"n_factors": 2, "random_seed": seed, "progressbar": False}
    penalties = {"reg": 3.0, "reg_bias": 2.0}
    als = bayesmf.fit_als(truth.ratings, tol=1e-9, max_iter=2000, **penalties, **common)
    sgd = bayesmf.fit_sgd(
        truth.ratings, patience=None, max_epochs=300, batch_size=16, learning_rate=0.1,
        **penalties, **common,
    )  # fmt: skip
    spreads = {"sigma_user": 3.0**-0.5, "sigma_item": 3.0**-0.5, "sigma_bias": 2.0**-0.5}
    pmf = bayesmf.fit_pmf(truth.ratings, sigma=1.0, **spreads, **common)
    assert sgd.loss[-1] == pytest.approx(als.loss[-1], rel=0.005)
    assert pmf.loss[-1] == pytest.approx(als.loss[-1], rel=0.005)
    assert len(sgd.loss) == 301


@pytest.mark.parametrize("weighted", [True, False])
def test_the_loss_is_that_of_als(truth, weighted):
    """At the same rows, given as the start; and the descent goes down from there but little."""
    penalties = {"reg": 0.2, "reg_bias": 0.1} if weighted else {"reg": 3.0, "reg_bias": 2.0}
    als = bayesmf.fit_als(
        truth.ratings, n_factors=2, weighted=weighted, tol=1e-12, max_iter=5000, **penalties,
        **OPTIONS,
    )  # fmt: skip
    sgd = bayesmf.fit_sgd(
        truth.ratings, n_factors=2, weighted=weighted, init=als, learning_rate=1e-3, max_epochs=20,
        patience=None, **penalties, **OPTIONS,
    )  # fmt: skip
    assert sgd.loss[0] == pytest.approx(als.loss[-1], rel=1e-9)
    assert sgd.loss[-1] == pytest.approx(als.loss[-1], rel=1e-3)
    assert sgd.loss.min() > als.loss[-1] * (1 - 1e-6)


def test_it_stops_where_the_validation_error_was_least(truth):
    sgd = bayesmf.fit_sgd(
        truth.ratings, n_factors=4, reg=0.0, reg_bias=0.0, learning_rate=0.1, **OPTIONS
    )
    errors = sgd.tried.query("epoch > 0")["rmse"].to_numpy()
    best = int(errors.argmin()) + 1
    assert 1 < best < 95  # it overfits from there on
    assert len(errors) == best + 5
    assert len(sgd.loss) == best + 1
    assert sgd.sigma == errors.min()
    longer = bayesmf.fit_sgd(
        truth.ratings, n_factors=4, reg=0.0, reg_bias=0.0, learning_rate=0.1, patience=None,
        max_epochs=60, **OPTIONS,
    )  # fmt: skip
    assert longer.sigma > sgd.sigma
    assert longer.loss[-1] < sgd.loss[-1]


def test_penalties_are_chosen_by_als(truth):
    sgd = bayesmf.fit_sgd(truth.ratings, n_factors=2, **OPTIONS)
    als = bayesmf.fit_als(truth.ratings, n_factors=2, **OPTIONS)
    assert (sgd.reg, sgd.reg_bias) == (als.reg, als.reg_bias)
    assert sgd.tried.query("epoch == 0")["rmse"].tolist() == als.tried["rmse"].tolist()


def test_factors_without_a_penalty_need_no_solution_of_als(truth):
    """Rows with fewer ratings than factors: least squares has many answers, descent goes to one."""
    n_factors = np.bincount(truth.ratings.items).min() + 1
    sgd = bayesmf.fit_sgd(truth.ratings, n_factors=n_factors, reg=0.0, max_epochs=2, **OPTIONS)
    assert (sgd.reg, sgd.n_factors) == (0, n_factors)
    assert np.isfinite(sgd.loss).all()


def test_other_units_are_another_name_for_the_same_fit(truth):
    """Ratings ten times as large and far from zero: the same fit, ten times as large."""
    frame = truth.ratings.to_frame()
    options = {"n_factors": 2, "max_epochs": 8, "patience": None} | OPTIONS
    small = bayesmf.fit_sgd(frame, reg=3.0, reg_bias=2.0, **options)
    large = bayesmf.fit_sgd(
        frame.assign(rating=frame["rating"] * 10.0 + 700), reg=30.0, reg_bias=2.0, **options
    )
    cells = frame[:50]
    np.testing.assert_allclose(
        large.predict(cells)["mean"], small.predict(cells)["mean"] * 10 + 700, rtol=1e-9
    )


def test_learning_rates():
    at = {
        name: np.concatenate([rates_of(Descent(2, True, 5, 0.4, name, 4), e, 10) for e in range(4)])
        for name in ("constant", "inverse", "cosine")
    }
    np.testing.assert_array_equal(at["constant"], np.full(8, 0.4))
    np.testing.assert_allclose(at["inverse"], 0.4 / (1 + np.arange(8) / 20))
    assert at["cosine"][[0, 4]].tolist() == pytest.approx([0.4, 0.2])
    assert at["cosine"][-1] < 0.02


def test_a_rate_that_is_too_large_is_said(truth):
    with pytest.raises(ValueError, match="fit_sgd diverged: .* Give a 'learning_rate' below 50"):
        bayesmf.fit_sgd(
            truth.ratings, n_factors=2, reg=1.0, reg_bias=1.0, learning_rate=50.0, **OPTIONS
        )


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("biases", [True, False])
def test_it_learns_by_every_schedule(schedule, biases):
    world = bayesmf.simulate(80, 60, 3000, n_factors=2, noise_sd=0.4, random_seed=4)
    train, test = bayesmf.train_test_split(world.ratings, test_size=0.2, random_seed=1)
    options = {"n_factors": 4, "biases": biases} | OPTIONS
    sgd = bayesmf.fit_sgd(train, schedule=schedule, learning_rate=0.1, **options)
    als = bayesmf.fit_als(train, **options)
    table = bayesmf.compare({"SGD": sgd, "ALS": als}, test).table
    assert table.loc["SGD", "RMSE"] < 1.05 * table.loc["ALS", "RMSE"] < 0.8 * train.sd
    assert (sgd.user_bias is not None) == biases
    assert f"SGD, learning rate 0.1 {schedule}" in sgd.protocol()
