"""Predictions of known and unknown rows from the stored draws; scores: statistical/test_scores."""

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special

from bayesmf import predictive
from bayesmf.kernels import mixtures
from bayesmf.predictive import FactorDraws, Mixture, predict


def test_mean_is_of_products_not_a_product_of_means(posterior, split):
    """E[u.v] over draws, recomputed from the stored draws by hand."""
    factors = posterior.data["factors"].to_dataset().stack(s=("chain", "draw"))
    users, items = [0, 3, 7], [1, 2, 5]
    u = factors["user_factors"].sel(user=users).transpose("s", "user", "factor").values
    v = factors["item_factors"].sel(item=items).transpose("s", "item", "factor").values
    b = factors["user_bias"].sel(user=users).transpose("s", "user").values
    c = factors["item_bias"].sel(item=items).transpose("s", "item").values
    center = float(posterior.data["constant_data"]["center"])
    draws = center + (u.astype(float) * v).sum(axis=2) + b + c
    table = posterior.predict(list(zip(users, items, strict=True)), kind="latent")
    np.testing.assert_allclose(table["mean"], draws.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(table["sd"], draws.std(axis=0), rtol=1e-5)
    np.testing.assert_allclose(table["lower"], np.quantile(draws, 0.05, axis=0), rtol=1e-6)
    product_of_means = center + (u.mean(0) * v.mean(0)).sum(1) + b.mean(0) + c.mean(0)
    assert np.abs(table["mean"] - product_of_means).max() > 0.01
    noisy = posterior.predict(list(zip(users, items, strict=True)))
    noise = (1 / factors["alpha"].values).mean()
    np.testing.assert_allclose(noisy["sd"], np.sqrt(draws.var(axis=0) + noise), rtol=1e-5)


@pytest.mark.parametrize("unknown", ["user", "item", "both"])
def test_unknown_rows_are_drawn_from_their_prior(posterior, unknown):
    """Means, sds and quantiles against brute-force draws of the unknown rows."""
    draws = FactorDraws(posterior.data, 1)
    user = -1 if unknown in ("user", "both") else 4
    item = -1 if unknown in ("item", "both") else 2
    found = predict(draws, np.array([user]), np.array([item]), prob=0.8, noise=True, cores=1)
    (kept,) = draws.blocks(np.arange(30), np.arange(20))
    rng = np.random.default_rng(2)
    sample = []
    for s in range(draws.n_draws):
        rows = {}
        for side, code in (("user", user), ("item", item)):
            if code >= 0:
                factors = getattr(kept, f"{side}_factors")[s, code]
                row = np.append(factors, getattr(kept, f"{side}_bias")[s, code])
                rows[side] = np.repeat(row[None].astype(float), 400, axis=0)
            else:
                mean, precision = (part[s] for part in draws.hyper(side))
                rows[side] = rng.multivariate_normal(mean, np.linalg.inv(precision), 400)
        u, v = rows["user"], rows["item"]
        latent = draws.center + (u[:, :2] * v[:, :2]).sum(1) + u[:, 2] + v[:, 2]
        sample.append(latent + draws.noise_sd[s] * rng.standard_normal(400))
    sample = np.concatenate(sample)
    # With both unknown one row is drawn once a draw: its Monte Carlo error is the larger one.
    tolerance = 0.15 if unknown == "both" else 0.03
    assert found.mean[0] == pytest.approx(sample.mean(), abs=tolerance)
    assert found.sd[0] == pytest.approx(sample.std(), rel=tolerance)
    assert found.lower[0] == pytest.approx(np.quantile(sample, 0.1), abs=2 * tolerance)
    assert found.upper[0] == pytest.approx(np.quantile(sample, 0.9), abs=2 * tolerance)


def test_unknown_rows_have_wider_intervals(posterior, split):
    """On average: one known cell may be less certain than another cell's prior."""
    users, items = split[1].user_ids[split[1].users], split[1].item_ids[split[1].items]

    def width(pairs):
        table = posterior.predict(pairs, kind="latent")
        return (table["upper"] - table["lower"]).mean()

    known = width(list(zip(users, items, strict=True)))
    assert width([(999, item) for item in items]) > 1.1 * known
    assert width([(user, 999) for user in users]) > 1.1 * known
    assert width([(999, 999)]) > 1.1 * known
    pairs = [(4, 2), (999, 2), (4, 999), (999, 999)]
    assert posterior.predict(pairs).equals(posterior.predict(pairs))


def test_chunks_and_threads_do_not_change_predictions(posterior, split, monkeypatch):
    cells = split[1]
    whole = posterior.predict(cells)
    monkeypatch.setattr("bayesmf.predictive.CHUNK_BYTES", 8 * 150 * 7)
    posterior.cores, cores = 3, posterior.cores
    pieces = posterior.predict(cells)
    posterior.cores = cores
    assert whole.equals(pieces)


def mixed(split):
    """Cells in no order, many of them twice, with new users, new items and both."""
    cells = split[1].to_frame()[["user", "item"]]
    new = [cells.assign(user=9_000), cells.assign(item=9_001), cells.assign(user=9_002, item=9_003)]
    some = [part.sample(40, random_state=k) for k, part in enumerate([cells, cells, *new])]
    return pd.concat([cells, *some]).sample(frac=1, random_state=9).reset_index(drop=True)


@pytest.mark.parametrize("kind", ["predictive", "latent"])
def test_company_changes_no_bit(posterior, split, kind):
    """A cell alone is the same cell among any others, in any order, as often as it is asked for."""
    cells = mixed(split)
    table = posterior.predict(cells, kind=kind)
    assert table[["user", "item"]].equals(cells)
    pd.testing.assert_frame_equal(
        posterior.predict(cells[::-1], kind=kind)[::-1], table, check_exact=True
    )
    for at in range(0, len(cells), 37):
        alone = posterior.predict(cells.iloc[[at]], kind=kind)
        pd.testing.assert_frame_equal(alone, table.iloc[[at]], check_exact=True)


def test_intervals_of_known_and_new_rows_against_a_root_finder(posterior, split):
    """Each cell's quantiles from its mixture by Brent's method and SciPy's Gaussian."""
    cells = mixed(split)
    table = posterior.predict(cells, prob=0.8)
    pairs, draws = (
        posterior.ratings.pairs(cells, "pairs", "predict"),
        FactorDraws(posterior.data, int(posterior.data.attrs["random_seed"])),
    )
    for at in range(0, len(cells), 23):
        users, items = pairs.users[at : at + 1], pairs.items[at : at + 1]
        means, sds = (part[0] for part in draws.mixture(users, items, noise=True))
        for name, prob in (("lower", 0.1), ("upper", 0.9)):
            expected = optimize.brentq(
                lambda x, p=prob, m=means, s=sds: special.ndtr((x - m) / s).mean() - p,
                means.min() - 9 * sds.max(), means.max() + 9 * sds.max(), xtol=1e-13, rtol=1e-14,
            )  # fmt: skip
            assert table[name][at] == pytest.approx(expected, abs=1e-9)
        assert table["mean"][at] == pytest.approx(means.mean(), rel=1e-13)
        second = means.var() + (sds**2 * np.ones_like(means)).mean()
        assert table["sd"][at] == pytest.approx(np.sqrt(second), rel=1e-13)


@pytest.mark.parametrize("kind", ["predictive", "latent"])
def test_the_interval_may_be_left_out(posterior, split, kind):
    cells = mixed(split)
    whole, short = (posterior.predict(cells, kind=kind, prob=prob) for prob in (0.9, None))
    assert short.columns.tolist() == ["user", "item", "mean", "sd"]
    assert short.equals(whole[["user", "item", "mean", "sd"]])
    assert posterior.predict(cells[:0], prob=None).shape == (0, 4)
    users = [*cells["user"][:5].tolist(), 9_000]
    whole, short = (posterior.recommend(users, n=3, kind=kind, prob=prob) for prob in (0.9, None))
    assert short.equals(whole[["user", "rank", "item", "mean"]])
    means = posterior.cell_means(posterior.ratings.pairs(cells, "pairs", "predict"))
    np.testing.assert_array_equal(means, posterior.predict(cells)["mean"])


@pytest.mark.parametrize("noise", [True, False])
def test_one_draw_is_one_gaussian_or_one_point(posterior, noise):
    draws = FactorDraws(posterior.data, 1, limit=1)
    users, items = np.array([3, 0, -1]), np.array([2, 5, 4])
    found = predict(draws, users, items, prob=0.9, noise=noise, cores=1)
    means, sds = draws.mixture(users, items, noise=noise)
    sds = np.broadcast_to(sds, means.shape)[:, 0]
    np.testing.assert_array_equal(found.mean, means[:, 0])
    np.testing.assert_allclose(found.sd, sds, rtol=1e-15)
    assert (sds[:2] == (draws.noise_sd if noise else 0)).all()
    for end, prob in ((found.lower, 0.05), (found.upper, 0.95)):
        expected = means[:, 0] + sds * special.ndtri(prob)
        np.testing.assert_allclose(end, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("k", [0, 1, 7, 32, 33])
@pytest.mark.parametrize("biases", [True, False])
def test_latent_means_are_sums_in_double_precision(k, biases):
    """Of float32 factors, whose products do not fit float32; draws that no block divides."""
    rng = np.random.default_rng(k)
    n_draws, n_users, n_items = 2 * mixtures.DRAWS_AT_ONCE + 3, 9, 6
    user, item = (rng.normal(size=(n_draws, n, k)).astype("f4") for n in (n_users, n_items))
    b, c = (rng.normal(size=(n_draws, n if biases else 0)).astype("f4") for n in (n_users, n_items))
    users, items = (grid.ravel() for grid in np.indices((n_users, n_items)))
    out = np.full((len(users), n_draws), np.nan)
    mixtures.latent_means(user, item, b, c, users, items, 3.5, out)
    expected = 3.5 + np.einsum("sik,sjk->ijs", user.astype(float), item.astype(float))
    if biases:
        expected += b.astype(float).T[:, None] + c.astype(float).T[None]
    np.testing.assert_allclose(out, expected.reshape(out.shape), rtol=0, atol=2e-14)


@pytest.mark.parametrize("n", [1, 2, 3, 40, 1000])
@pytest.mark.parametrize("law", ["normal", "exponential", "standard_cauchy", "zeros", "two"])
def test_sample_quantiles_are_numpys(n, law):
    """Where a Gaussian tells where they are, and where it does not."""
    rng = np.random.default_rng(n)
    laws = {"zeros": np.zeros((7, n)), "two": 9.0 * rng.integers(0, 2, (7, n))}
    sample = 3.1 + (laws[law] if law in laws else getattr(rng, law)(size=(7, n)))
    probs = np.array([1e-9, 0.05, 0.25, 0.5, 0.77, 0.95, 1 - 1e-9])
    found = Mixture(sample, np.zeros((1, n))).quantiles(probs)
    expected = np.quantile(sample, probs, axis=1).T
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-14 * np.abs(sample).max())


@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
def test_quantiles_of_many_draws(spread):
    """Skewed and heavy-tailed means under one noise sd a draw, as a posterior has them."""
    rng = np.random.default_rng(4)
    means = spread * (rng.exponential(1, (40, 300)) + 0.5 * rng.standard_t(3, (40, 300)))
    sds = rng.uniform(0.8, 0.9, (1, 300))
    probs = np.array([0.005, 0.05, 0.5, 0.95, 0.995])
    found = Mixture(means, sds).quantiles(probs)
    below = special.ndtr((found[:, None] - means[:, :, None]) / sds[0][:, None]).mean(axis=1)
    np.testing.assert_allclose(below, np.broadcast_to(probs, below.shape), rtol=0, atol=1.1e-10)
    assert (np.diff(found, axis=1) > 0).all()
    # The same bits in any company.
    np.testing.assert_array_equal(Mixture(means[7:8], sds).quantiles(probs[3:]), found[7:8, 3:])


@pytest.mark.parametrize("scale", [2.0**-350, 2.0**-30, 2.0**30, 2.0**350])
def test_quantiles_have_the_unit_of_the_ratings(scale):
    """Where the fourth powers of the sds are no floats, too."""
    rng = np.random.default_rng(6)
    means, sds = rng.normal(3, 1, (5, 60)), rng.uniform(0.5, 1, (1, 60))
    probs = np.array([0.01, 0.5, 0.95])
    expected = Mixture(means, sds).quantiles(probs)
    found = Mixture(scale * means, scale * sds).quantiles(probs)
    np.testing.assert_allclose(found / scale, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("n", [0, 1, 50, 3000])
@pytest.mark.parametrize("at_once", [1, 60, 10**6])
def test_distinct_cells_are_all_cells_once(n, at_once):
    rng = np.random.default_rng(n)
    users, items = rng.integers(-1, 40, n), rng.integers(-1, 30, n)
    first, places = predictive._distinct(users, items, at_once)
    np.testing.assert_array_equal(users[first][places], users)
    np.testing.assert_array_equal(items[first][places], items)
    assert len(first) == len(set(zip(users.tolist(), items.tolist(), strict=True)))
    known = (users[first] >= 0) & (items[first] >= 0)
    assert (np.diff(known.astype(int)) >= 0).all()  # the slow ones stand together


def test_neighbours_share_rows():
    """A chunk of a few hundred cells, out of 50 000 at random, has few users and few items."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 1000, 50_000), rng.integers(0, 500, 50_000)
    first, _ = predictive._distinct(users, items, 400)
    chunk = first[10_000:10_400]
    # A square of 64 by 64 holds 400 cells at this density; the ends of a block cost some more.
    assert len(np.unique(users[chunk])) + len(np.unique(items[chunk])) < 256
    assert len(np.unique(users[:400])) + len(np.unique(items[:400])) > 500


def test_clip_and_round_act_on_means_only(posterior, split):
    cells = split[1]
    plain = posterior.predict(cells)
    clipped = posterior.predict(cells, clip=(3.0, 4.0), round_to=0.5)
    assert set(clipped["mean"]) <= {3.0, 3.5, 4.0}
    for name in ("sd", "lower", "upper"):
        np.testing.assert_array_equal(clipped[name], plain[name])
    low, high = posterior.ratings.bounds
    assert posterior.predict(cells, clip=True)["mean"].between(low, high).all()


def test_limit_takes_draws_from_every_chain(posterior):
    few = FactorDraws(posterior.data, 1, limit=4)
    assert few.n_draws == 4
    alpha = posterior.data["factors"]["alpha"].to_numpy()
    noise = 1 / np.sqrt(alpha.astype(float))
    assert few.noise_sd[0] == pytest.approx(noise[0, 0])
    assert few.noise_sd[-1] == pytest.approx(noise[-1, -1])
