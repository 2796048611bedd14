"""Predictions of known and unknown rows from the stored draws; scores: statistical/test_scores."""

import numpy as np
import pytest

from bayesmf.predictive import FactorDraws, predict


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
