"""More ratings, from where the chains have ended."""

import numpy as np
import pandas as pd
import pytest

import bayesmf
from bayesmf.warm import joined, last_states


@pytest.fixture(scope="module")
def truth():
    return bayesmf.simulate(80, 50, 2400, n_factors=2, random_seed=5)


@pytest.fixture(scope="module")
def parts(truth):
    """What is known at first, and what comes: new ratings, users and items."""
    frame = truth.ratings.to_frame()
    late = (frame["user"] >= 70) | (frame["item"] >= 45) | (np.arange(len(frame)) % 20 == 0)
    return frame[~late], frame[late]


HOW = {"n_factors": 2, "random_seed": 1, "progressbar": False}


@pytest.fixture(scope="module")
def first(parts):
    return bayesmf.fit_bpmf(parts[0], tune=300, draws=500, chains=2, **HOW)


def test_it_is_a_fit_to_all_ratings(first, parts, truth):
    """Means of known and new cells within Monte Carlo error of a fit from nothing."""
    updated = first.update(parts[1], tune=100, draws=1500, random_seed=2, progressbar=False)
    whole = bayesmf.fit_bpmf(truth.ratings, tune=500, draws=1500, chains=2, **HOW)
    assert updated.ratings.fingerprint == whole.ratings.fingerprint
    cells = [(u, i) for u in (0, 30, 72, 79) for i in (0, 20, 46, 49)]
    found, expected = (post.predict(cells, kind="latent") for post in (updated, whole))
    # 16 cells; an effective 400 draws each, so a cell is off by 5.5 standard errors of a
    # difference less than once in ten million.
    error = np.hypot(found["sd"], expected["sd"]) / np.sqrt(400)
    assert (np.abs(found["mean"] - expected["mean"]) < 5.5 * error).all()
    np.testing.assert_allclose(found["sd"], expected["sd"], rtol=0.25)
    assert updated.diagnose().verdict.status == "converged"
    assert first.ratings.n_users == 70


def test_it_says_when_it_was_too_short(first, parts):
    hasty = first.update(parts[1], tune=0, draws=20, random_seed=2, progressbar=False)
    assert hasty.diagnose().verdict.status == "not converged"


@pytest.mark.parametrize("biases", [True, False])
def test_a_chain_goes_on_from_its_last_draw(parts, biases):
    """Rows of old ids predict what they did, whatever centre and scale the new ratings bring."""
    post = bayesmf.fit_bpmf(parts[0], tune=20, draws=30, chains=2, biases=biases, **HOW)
    new = parts[1].assign(rating=parts[1]["rating"] * 3 + 2 * biases)
    everything = joined(post.ratings, new, "update")
    states = last_states(post.data, post.ratings, everything, post.model, "float64", 1)
    scale = post.model.working_scale(everything)
    factors = post.data["factors"].to_dataset().isel(draw=-1)
    users = everything.user_ids.get_indexer(post.ratings.user_ids)
    items = everything.item_ids.get_indexer(post.ratings.item_ids)
    for chain, state in enumerate(states):
        draw = factors.isel(chain=chain)
        own = draw["user_factors"].to_numpy() @ draw["item_factors"].to_numpy().T.astype(float)
        u, v = state.user_rows[users], state.item_rows[items]
        cells = u[:, :2] @ v[:, :2].T
        if biases:
            own = own + draw["user_bias"].to_numpy()[:, None] + draw["item_bias"].to_numpy()
            cells = cells + u[:, 2:] + v[:, 2] + (scale.center - everything.mean) / scale.scale
            own = own + float(post.data["constant_data"]["center"])
            cells = scale.center + scale.scale * cells
        else:
            cells = scale.scale * cells
        np.testing.assert_allclose(cells, own, rtol=1e-5, atol=1e-5)
        assert state.alpha == pytest.approx(float(draw["alpha"]) * scale.scale**2)


def test_the_same_seed_and_any_cores_give_the_same_bits(first, parts):
    how = {"tune": 2, "draws": 5, "random_seed": 3, "progressbar": False}
    found = []
    for cores in (1, 3):
        first.cores = cores
        found.append(first.update(parts[1], **how).data["factors"]["user_factors"].to_numpy())
    np.testing.assert_array_equal(*found)


def test_a_new_rating_of_a_known_pair_counts(first, parts):
    cell = parts[0].iloc[[0]].assign(rating=4.75)
    later = first.update(cell, tune=0, draws=1, random_seed=1, progressbar=False)
    frame = later.ratings.to_frame()
    same = frame[["user", "item"]].eq(cell[["user", "item"]].iloc[0]).all(axis=1)
    assert frame["rating"][same].tolist() == [4.75]
    assert len(frame) == len(parts[0])


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        ((["ann"], [1], [3.0]), {}, "'new_ratings' argument of update .* ids that are int"),
        (pd.DataFrame({"user": [1]}), {}, "'new_ratings' argument of update"),
        (([1], [1], [3.0]), {"draws": 0}, "'draws' argument of update must be a positive"),
        (([1], [1], [3.0]), {"tune": -1}, "'tune' argument of update must be a non-negative"),
        (([1], [1], [float("nan")]), {}, "'new_ratings' argument of update .*finite"),
    ],
)
def test_wrong_arguments(first, table, arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        first.update(table, progressbar=False, **arguments)
