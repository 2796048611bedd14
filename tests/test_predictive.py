"""Predictive distributions against numerical integration and simulation."""

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from bayesmf.predictive import FactorDraws, Mixture, predict


@pytest.fixture
def mixture():
    rng = np.random.default_rng(0)
    return Mixture(rng.normal(0, 2, (6, 25)), rng.gamma(2, 0.5, (6, 25)) + 0.05)


def cdf(mixture, cell, x):
    return stats.norm.cdf(x, mixture.means[cell], mixture.sds[cell]).mean()


def test_quantiles_invert_the_distribution_function(mixture):
    probs = np.array([0.01, 0.05, 0.5, 0.9, 0.999])
    found = mixture.quantiles(probs)
    for cell in range(6):
        for k, prob in enumerate(probs):
            root = optimize.brentq(lambda x, c=cell, p=prob: cdf(mixture, c, x) - p, -50, 50)
            assert found[cell, k] == pytest.approx(root, abs=1e-7)


def test_quantiles_of_far_modes():
    """Two narrow modes far apart: Newton alone would jump between them."""
    mixture = Mixture(np.array([[-100.0, 100.0]]), np.array([[0.01, 0.01]]))
    found = mixture.quantiles(np.array([0.25, 0.75]))
    np.testing.assert_allclose(found[0], [-100, 100], atol=1e-6)


def test_point_masses_and_shared_sds(mixture):
    points = Mixture(mixture.means, np.zeros((1, 25)))
    probs = np.array([0.1, 0.6])
    expected = np.quantile(mixture.means, probs, axis=1).T
    np.testing.assert_allclose(points.quantiles(probs), expected)
    mixed = Mixture(mixture.means, np.vstack([mixture.sds[:3], np.zeros((3, 25))]))
    np.testing.assert_allclose(mixed.quantiles(probs)[3:], expected[3:])
    np.testing.assert_allclose(mixed.quantiles(probs)[:3], mixture.quantiles(probs)[:3])
    shared = Mixture(mixture.means, mixture.sds[:1])
    spread = Mixture(mixture.means, np.repeat(mixture.sds[:1], 6, axis=0))
    np.testing.assert_allclose(shared.quantiles(probs), spread.quantiles(probs), rtol=1e-12)
    np.testing.assert_allclose(shared.sd(), spread.sd(), rtol=1e-12)


def test_scores(mixture):
    y = np.random.default_rng(1).normal(0, 3, 6)
    log_density, crps, below = mixture.log_density(y), mixture.crps(y), mixture.cdf(y)
    for cell in range(6):
        logs = stats.norm.logpdf(y[cell], mixture.means[cell], mixture.sds[cell])
        assert log_density[cell] == pytest.approx(np.logaddexp.reduce(logs) - np.log(25), abs=1e-12)
        assert below[cell] == pytest.approx(cdf(mixture, cell, y[cell]), abs=1e-14)
        low = integrate.quad(lambda x, c=cell: cdf(mixture, c, x) ** 2, -60, y[cell], limit=400)
        high = integrate.quad(
            lambda x, c=cell: (1 - cdf(mixture, c, x)) ** 2, y[cell], 60, limit=400
        )
        assert crps[cell] == pytest.approx(low[0] + high[0], abs=1e-8)


def test_log_density_far_out_does_not_underflow():
    mixture = Mixture(np.zeros((1, 3)), np.full((1, 3), 1e-3))
    assert mixture.log_density(np.array([5.0]))[0] == pytest.approx(
        stats.norm.logpdf(5, 0, 1e-3), rel=1e-12
    )


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
    rng = np.random.default_rng(2)
    sample = []
    for s in range(draws.n_draws):
        rows = {}
        for side, code in (("user", user), ("item", item)):
            if code >= 0:
                factors = getattr(draws, f"{side}_factors")[s, code]
                row = np.append(factors, getattr(draws, f"{side}_bias")[s, code])
                rows[side] = np.repeat(row[None].astype(float), 400, axis=0)
            else:
                mean, precision = (part[s] for part in draws._hyper[side])
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
