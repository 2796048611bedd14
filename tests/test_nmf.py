"""Non-negative factors: what scikit-learn's are on full tables, over observed cells on others."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning

import bayesmf
from bayesmf.point.als import Penalty
from bayesmf.point.nmf import UPDATES, factorize, random_rows

SOLVERS = sorted(UPDATES)


@pytest.fixture(scope="module")
def positive(truth):
    frame = truth.ratings.to_frame()
    return bayesmf.Ratings(frame.assign(rating=frame["rating"].clip(lower=0)))


def loss_of(nmf, step=(0.0, 0.0)):
    ratings, factors = nmf.ratings, (nmf.user_factors + step[0], nmf.item_factors + step[1])
    errors = ratings.values - np.einsum(
        "nk,nk->n", factors[0][ratings.users], factors[1][ratings.items]
    )
    total = (errors**2).sum()
    for rows, codes in zip(factors, (ratings.users, ratings.items), strict=True):
        counts = np.bincount(codes) if nmf.settings["weighted"] else np.ones(len(rows))
        total += nmf.reg * (counts @ (rows**2).sum(axis=1))
    return total


@pytest.mark.parametrize(("solver", "theirs"), [("hals", "cd"), ("multiplicative", "mu")])
def test_a_full_table_is_that_of_scikit_learn(solver, theirs):
    """The same sweeps from the same start: coordinate descent of scikit-learn is HALS."""
    rng = np.random.default_rng(5)
    table = rng.integers(0, 6, (40, 30)).astype(float)
    users, items = np.divmod(np.arange(1200), 30)
    ratings = bayesmf.Ratings((users, items, table.ravel()))
    start = random_rows(ratings, 4, seed=1)
    ours = factorize(
        ratings, solver=solver, penalty=Penalty(0.0, 0.0, False), max_iter=60, tol=0.0, start=start
    )
    model = NMF(4, init="custom", solver=theirs, max_iter=60, tol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # sixty sweeps were asked for
        rows = model.fit_transform(table, W=start[0].copy(), H=start[1].T.copy())
    np.testing.assert_allclose(
        ours.user_rows @ ours.item_rows.T, rows @ model.components_, atol=1e-6
    )
    assert ours.loss[-1] == pytest.approx(model.reconstruction_err_**2, rel=1e-6)
    assert len(ours.loss) == 61


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("solver", SOLVERS)
def test_loss_falls_and_factors_stay_non_negative(positive, solver, weighted):
    nmf = bayesmf.fit_nmf(
        positive, n_factors=3, solver=solver, reg=0.05 if weighted else 1.0, weighted=weighted,
        max_iter=20_000, tol=1e-9, random_seed=1, progressbar=False,
    )  # fmt: skip
    assert (np.diff(nmf.loss) <= 1e-12 * nmf.loss[:-1]).all()
    assert nmf.loss[-1] == pytest.approx(loss_of(nmf), rel=1e-9)
    assert min(nmf.user_factors.min(), nmf.item_factors.min()) >= 0
    assert nmf.user_bias is None
    assert nmf.center == 0
    # The end is stationary: any small step that stays non-negative gains next to nothing.
    rng = np.random.default_rng(0)
    for _ in range(20):
        step = [
            np.maximum(1e-4 * rng.standard_normal(rows.shape), -rows)
            for rows in (nmf.user_factors, nmf.item_factors)
        ]
        assert loss_of(nmf, step) > nmf.loss[-1] - 1e-6


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_update_is_that_of_the_equations(positive, solver):
    """A sweep over users in plain NumPy, over observed cells alone."""
    start = random_rows(positive, 3, seed=2)
    penalty = Penalty(0.4, 0.0, False)
    found = factorize(
        positive, solver=solver, penalty=penalty, max_iter=1, tol=0.0, start=start
    ).user_rows
    U, V = (rows.copy() for rows in start)
    for i in range(positive.n_users):
        at = positive.users == i
        r, W = positive.values[at], V[positive.items[at]]
        if solver == "multiplicative":
            U[i] *= (r @ W) / (W @ U[i] @ W + 0.4 * U[i])
            continue
        for k in range(3):
            others = r - W @ U[i] + W[:, k] * U[i, k]
            U[i, k] = max(0.0, others @ W[:, k] / (W[:, k] @ W[:, k] + 0.4))
    np.testing.assert_allclose(found, U, rtol=1e-10)


def test_threads_do_not_change_a_bit(positive, monkeypatch):
    monkeypatch.setattr("bayesmf.kernels.blocks.RATINGS_PER_BLOCK", 60)
    options = {"penalty": Penalty(0.1, 0.0, True), "max_iter": 5, "tol": 0.0}
    options["start"] = random_rows(positive, 3, seed=2)
    alone = factorize(positive, solver="hals", **options)
    with ThreadPoolExecutor(2) as pool:
        together = factorize(positive, solver="hals", executor=pool, **options)
    for one, other in zip(alone[:4], together[:4], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_column_that_died_stays_and_nothing_breaks(positive):
    start = random_rows(positive, 3, seed=2)
    start[1][:, 1] = 0.0
    start[0][:, 1] = 0.0
    for solver in SOLVERS:
        found = factorize(
            positive, solver=solver, penalty=Penalty(0.0, 0.0, False), max_iter=5, tol=0.0,
            start=start,
        )  # fmt: skip
        assert np.isfinite(found.user_rows).all()
        assert (found.item_rows[:, 1] == 0).all()


def test_auto_chooses_the_best_tried_on_held_out_ratings(positive):
    nmf = bayesmf.fit_nmf(positive, n_factors=2, random_seed=1, progressbar=False)
    best = nmf.tried.loc[nmf.tried["rmse"].idxmin()]
    assert (nmf.reg, nmf.sigma) == (best["reg"], best["rmse"])
    found = nmf.predict([(999, nmf.ratings.item_ids[4])])["mean"].iloc[0]
    assert found == pytest.approx(nmf.user_factors.mean(axis=0) @ nmf.item_factors[4])


def test_negative_ratings_are_refused(truth):
    frame = truth.ratings.to_frame()
    frame.loc[3, "rating"] = -0.5
    frame["rating"] = frame["rating"].clip(lower=-0.5)
    with pytest.raises(ValueError, match=r"without negative ratings. Got a rating of -0.5\."):
        bayesmf.fit_nmf(frame)


def test_stopping_early_is_said(positive):
    with pytest.warns(UserWarning, match="NMF reached max_iter=1 before the loss settled"):
        bayesmf.fit_nmf(positive, reg=0.1, max_iter=1, random_seed=1, progressbar=False)
