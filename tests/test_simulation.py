"""Simulated tables follow the stated model, with long tails, at any size."""

import tracemalloc

import numpy as np
import pytest

import bayesmf
from bayesmf import indexing, simulation


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


def test_long_tables_are_drawn_in_chunks(monkeypatch):
    size = (5000, 3000, 150_000)
    for module in (indexing, simulation):
        monkeypatch.setattr(module, "CHUNK", 4096)
    monkeypatch.setattr(simulation, "ROWS_AT_A_TIME", 1000)
    sim = bayesmf.simulate(*size, noise_sd=0.5, random_seed=4)
    ratings = sim.ratings
    users = ratings.user_ids.to_numpy()[ratings.users]
    items = ratings.item_ids.to_numpy()[ratings.items]
    keys = users * size[1] + items
    assert len(keys) == size[2]
    assert (np.diff(keys) > 0).all()  # sorted, and no cell twice
    noise = ratings.values - sim.mean(users, items)
    assert noise.std() == pytest.approx(0.5, rel=0.01)
    assert np.corrcoef(noise[:-1], noise[1:])[0, 1] == pytest.approx(0, abs=0.02)
    interaction = np.einsum("nk,nk->n", sim.user_factors[users], sim.item_factors[items])
    whole = sim.center + interaction + sim.user_bias[users] + sim.item_bias[items]
    np.testing.assert_allclose(sim.mean(users, items), whole, rtol=1e-12)
    for side in (ratings.by_user, ratings.by_item):
        counts = np.sort(np.diff(side.indptr))[::-1]
        assert counts[: len(counts) // 10].sum() > 0.3 * len(keys)


def test_memory_does_not_grow_with_cells():
    tracemalloc.start()
    try:
        sim = bayesmf.simulate(300_000, 100_000, 50_000, n_factors=1, random_seed=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(sim.ratings) == 50_000
    assert peak < 60e6  # the table has 3e10 cells


@pytest.mark.parametrize("spread", [0.5, 1.5])
def test_both_ways_to_choose_cells_agree(spread):
    rng = np.random.default_rng(6)
    weights = [np.exp(spread * rng.standard_normal(n)) for n in (6, 5)]
    found, n_runs = {}, 4000
    for way in (simulation._race, simulation._draw_distinct):
        times = np.zeros(30)
        for _ in range(n_runs):
            keys = way(*weights, 12, rng)
            assert (np.diff(keys) > 0).all()
            assert len(keys) == 12
            times[keys] += 1
        found[way] = times / n_runs
    race, drawn = found.values()
    share = (race + drawn) / 2
    error = np.sqrt(2 * share * (1 - share) / n_runs) + 1e-12
    assert (np.abs(race - drawn) < 4.5 * error).all()
    assert share.max() > 1.5 * share.min()


def test_very_uneven_weights_end():
    # The last ratings are ones that independent draws would hardly ever meet.
    weights = np.exp(6 * np.random.default_rng(2).standard_normal(3000))
    rng = np.random.default_rng(3)
    keys = simulation._draw_distinct(weights[:2000], weights[2000:], 30_000, rng)
    assert len(keys) == 30_000
    assert (np.diff(keys) > 0).all()
    product = np.outer(weights[:2000], weights[2000:]).ravel()
    assert product[keys].min() < np.median(product[keys]) < product[keys].max()
    heaviest = np.argsort(product)[-3000:]
    assert np.isin(heaviest, keys).mean() > 0.99
    assert np.median(product[keys]) > 50 * np.median(product)
