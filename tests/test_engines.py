"""The compiled engine is the readable one, to rounding; streams and blocks are addressed."""

import numpy as np
import pytest

from bayesmf.gibbs.conditionals import Hyper, row_conditional
from bayesmf.gibbs.engines import ENGINES
from bayesmf.gibbs.sampler import build_step, initial_state
from bayesmf.kernels import rows as kernels
from bayesmf.kernels.blocks import Data, row_blocks
from bayesmf.kernels.streams import Purpose, Streams
from bayesmf.model import BPMF, published_2008
from bayesmf.ratings import Ratings
from bayesmf.simulation import simulate

CASES = [(0, True), (1, False), (2, True), (3, False), (4, True), (7, True), (10, True), (33, True)]


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    """Some rows with more ratings than a tile, some with one."""
    table = simulate(400, 30, 6000, activity_sd=1.5, random_seed=2).ratings
    degrees = np.diff(table.by_item.indptr)
    assert degrees.max() > 2 * kernels.TILE
    assert np.diff(table.by_user.indptr).min() == 1
    return table


@pytest.mark.parametrize(("n_factors", "biases"), CASES)
def test_sweeps_agree(ratings, n_factors, biases):
    model = BPMF(n_factors, biases)
    data = Data.build(ratings, model.working_scale(ratings), biases)
    streams = Streams.of_chain(3, 0)
    states = []
    for engine in (ENGINES["numpy"], ENGINES["numba"]):
        state = initial_state(data, model, streams)
        step = build_step(data, model, engine)
        for _ in range(2):
            state, info = step(state, streams)
        states.append((state, info))
    (a, info_a), (b, info_b) = states
    for name in ("user_rows", "item_rows"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(a.alpha, b.alpha, rtol=1e-10)
    np.testing.assert_allclose(info_a.squared_error, info_b.squared_error, rtol=1e-10)
    np.testing.assert_allclose(info_a.log_likelihood, info_b.log_likelihood, rtol=1e-10)


@pytest.mark.parametrize(("n_factors", "biases"), CASES)
def test_row_update_is_the_conditional(ratings, n_factors, biases):
    """One row update: mean without normals, mean + L^-T z with them, to 1e-10."""
    rng = np.random.default_rng(4)
    d = n_factors + biases
    side = ratings.by_item
    targets = rng.standard_normal(len(ratings))
    partners = rng.standard_normal((ratings.n_users, d)) / np.sqrt(d)
    root = rng.standard_normal((d, d + 2))
    hyper = Hyper(rng.standard_normal(d), root @ root.T / d, np.ones(d))
    z = rng.standard_normal((ratings.n_items, d))
    args = (side.indptr, side.partners, targets, partners, biases, hyper.precision)
    args += (hyper.precision @ hyper.mean, False, 1.7)
    means, draws = (np.full((ratings.n_items, d), np.nan) for _ in range(2))
    n = ratings.n_items
    assert kernels.update_rows(0, n, *args, np.empty((0, d)), means) == -1
    assert kernels.update_rows(0, n, *args, z, draws) == -1
    for row in range(n):
        own = slice(side.indptr[row], side.indptr[row + 1])
        mean, precision = row_conditional(
            partners[side.partners[own]], targets[own], biases, 1.7, hyper.mean, hyper.precision
        )
        chol = np.linalg.cholesky(precision)
        np.testing.assert_allclose(means[row], mean, rtol=1e-10, atol=1e-10)
        expected = mean + np.linalg.solve(chol.T, z[row])
        np.testing.assert_allclose(draws[row], expected, rtol=1e-10, atol=1e-10)


def test_weighted_prior_counts_ratings(ratings):
    rng = np.random.default_rng(5)
    side, d = ratings.by_item, 3
    targets = rng.standard_normal(len(ratings))
    partners = rng.standard_normal((ratings.n_users, d))
    out = np.empty((ratings.n_items, d))
    precision, shift = 0.3 * np.eye(d), np.zeros(d)
    kernels.update_rows(
        0, ratings.n_items, side.indptr, side.partners, targets, partners, False, precision,
        shift, True, 1.0, np.empty((0, d)), out,
    )  # fmt: skip
    for row in range(ratings.n_items):
        own = slice(side.indptr[row], side.indptr[row + 1])
        n = own.stop - own.start
        X = partners[side.partners[own]]
        expected = np.linalg.solve(X.T @ X + 0.3 * n * np.eye(d), X.T @ targets[own])
        np.testing.assert_allclose(out[row], expected, rtol=1e-9, atol=1e-10)


def test_singular_row_is_reported_and_left_alone():
    ratings = Ratings((np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([1.0, 2.0, 3.0])))
    side = ratings.by_user
    out = np.full((2, 2), 7.0)
    failed = kernels.update_rows(
        0, 2, side.indptr, side.partners, np.ones(3), np.eye(2), False, np.zeros((2, 2)),
        np.zeros(2), False, 1.0, np.empty((0, 2)), out,
    )  # fmt: skip
    assert failed == 1
    np.testing.assert_allclose(out, [[1.0, 1.0], [7.0, 7.0]])


def test_moments_agree():
    rows = np.random.default_rng(6).standard_normal((50, 4)) + 100
    for a, b in zip(ENGINES["numpy"].moments(rows), ENGINES["numba"].moments(rows), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(
        ENGINES["numba"].moments(rows)[1] / 50, np.cov(rows.T, bias=True), rtol=1e-9
    )


def test_step_is_pure(ratings):
    model = BPMF(2)
    data = Data.build(ratings, model.working_scale(ratings), True)
    streams = Streams.of_chain(1, 0)
    state = initial_state(data, model, streams)
    before = [state.user_rows.copy(), state.item_rows.copy()]
    step = build_step(data, model, ENGINES["numba"])
    first, _ = step(state, streams)
    second, _ = step(state, streams)
    np.testing.assert_array_equal(state.user_rows, before[0])
    np.testing.assert_array_equal(state.item_rows, before[1])
    np.testing.assert_array_equal(first.user_rows, second.user_rows)


def test_blocks_cover_rows_evenly(ratings):
    blocks = row_blocks(ratings.by_user, 300)
    assert [row for block in blocks for row in block] == list(range(ratings.n_users))
    assert all(len(block) > 0 for block in blocks)
    work = [int(np.diff(ratings.by_user.indptr)[block].sum()) for block in blocks]
    assert max(work) < 300 + np.diff(ratings.by_user.indptr).max()


def test_streams_are_addressed():
    streams = Streams.of_chain(1, 0)
    first = streams.generator(3, Purpose.USER_ROWS, 2).standard_normal(5)
    again = streams.generator(3, Purpose.USER_ROWS, 2).standard_normal(5)
    np.testing.assert_array_equal(first, again)
    others = [
        streams.generator(4, Purpose.USER_ROWS, 2),
        streams.generator(3, Purpose.ITEM_ROWS, 2),
        streams.generator(3, Purpose.USER_ROWS, 1),
        Streams.of_chain(1, 1).generator(3, Purpose.USER_ROWS, 2),
        Streams.of_chain(2, 0).generator(3, Purpose.USER_ROWS, 2),
    ]
    for other in others:
        assert not np.isin(other.standard_normal(5), first).any()


def test_stream_keys_keep_all_their_bits():
    """A list of two words with one above 2^63 would become floats on its way into NumPy."""
    for seed in range(6):
        streams = Streams.of_chain(seed, 0)
        state = streams.generator(1, Purpose.ALPHA).bit_generator.state["state"]
        assert state["key"].tolist() == list(streams.key)


def test_published_model_is_that_of_the_paper():
    arguments = published_2008(n_factors=4)
    prior = arguments["prior"].resolve(n_rows=100, n_factors=4, biases=False)
    assert (prior.dof, prior.beta0, prior.learned) == (4, 2.0, False)
    np.testing.assert_array_equal(prior.strength, np.ones(4))
    np.testing.assert_array_equal(prior.mu0, np.zeros(4))
    assert (arguments["alpha"], arguments["scale"], arguments["biases"]) == (2.0, 1.0, False)
