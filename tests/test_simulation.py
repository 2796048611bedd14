"""Simulated tables follow the stated model, with long tails, at any size."""

import numpy as np
import pytest

import bayesmf


@pytest.mark.parametrize("size", [(200, 100, 8000), (6000, 2000, 60_000)])
def test_sizes_and_truth(size):
    n_users, n_items, n_ratings = size
    sim = bayesmf.simulate(*size, noise_sd=0.5, random_seed=1)
    ratings = sim.ratings
    assert len(ratings) == n_ratings
    assert ratings.n_users <= n_users
    assert ratings.user_ids.max() < n_users
    assert ratings.item_ids.max() < n_items
    users, items = ratings.user_ids[ratings.users], ratings.item_ids[ratings.items]
    noise = ratings.values - sim.mean(users.to_numpy(), items.to_numpy())
    assert noise.std() == pytest.approx(0.5, rel=0.05)
    assert abs(noise.mean()) < 0.03


def test_spreads():
    sim = bayesmf.simulate(
        3000, 2000, 20_000, n_factors=8, interaction_sd=0.7, bias_sd=0.3, random_seed=2
    )
    rng = np.random.default_rng(0)
    i, j = rng.integers(3000, size=50_000), rng.integers(2000, size=50_000)
    interaction = np.einsum("nk,nk->n", sim.user_factors[i], sim.item_factors[j])
    assert interaction.std() == pytest.approx(0.7, rel=0.05)
    assert sim.user_bias.std() == pytest.approx(0.3, rel=0.1)
    assert (bayesmf.simulate(30, 20, 100, biases=False, random_seed=1).user_bias == 0).all()


def test_activity_has_a_long_tail():
    tail = bayesmf.simulate(1000, 500, 20_000, activity_sd=1.2, random_seed=3).ratings
    flat = bayesmf.simulate(1000, 500, 20_000, activity_sd=0.0, random_seed=3).ratings
    top = {}
    for name, ratings in (("tail", tail), ("flat", flat)):
        counts = np.sort(np.diff(ratings.by_item.indptr))[::-1]
        top[name] = counts[:25].sum() / len(ratings)
    assert top["tail"] > 3 * top["flat"]


def test_seeds_and_rounding():
    one, two = (bayesmf.simulate(random_seed=5).ratings for _ in range(2))
    assert one.fingerprint == two.fingerprint
    assert bayesmf.simulate(random_seed=6).ratings.fingerprint != one.fingerprint
    halves = bayesmf.simulate(30, 20, 200, round_to=0.5, random_seed=1).ratings.values
    np.testing.assert_array_equal(halves * 2, np.round(halves * 2))
    full = bayesmf.simulate(10, 10, 100, random_seed=1).ratings
    assert len(full) == 100


def test_nearly_full_large_tables_end():
    full = bayesmf.simulate(2100, 2000, 4_100_000, random_seed=1).ratings
    assert len(full) == 4_100_000
