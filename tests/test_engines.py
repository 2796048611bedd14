"""The compiled engine is the readable one, to rounding; streams and blocks are addressed."""

import numpy as np
import pytest

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
    data = Data.build(ratings, model.working_scale(ratings), n_factors, biases)
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


def test_step_is_pure(ratings):
    model = BPMF(2)
    data = Data.build(ratings, model.working_scale(ratings), 2, True)
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
    addresses = [(streams, 3, Purpose.USER_ROWS)] * 2
    addresses += [
        (streams, 4, Purpose.USER_ROWS),
        (streams, 3, Purpose.ITEM_ROWS),
        (Streams.of_chain(1, 1), 3, Purpose.USER_ROWS),
        (Streams.of_chain(2, 0), 3, Purpose.USER_ROWS),
    ]
    for drawn in (
        [of.generator(*where).standard_normal(5) for of, *where in addresses],
        [of.normals(7, 12, *where, np.float64) for of, *where in addresses],
    ):
        np.testing.assert_array_equal(drawn[0], drawn[1])
        assert len(np.unique(drawn)) == 5 * (len(addresses) - 1)


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
