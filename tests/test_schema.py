"""What is stored: ArviZ's schema, the rating scale, the budget, reproducible probes."""

import json

import arviz as az
import numpy as np
import pytest
import xarray as xr

import bayesmf
from bayesmf.canonical import canonical_factors, effects, singular_values
from bayesmf.draws.probes import choose_probes


def fit(ratings, **kwargs):
    defaults = {"n_factors": 2, "tune": 10, "draws": 40, "chains": 2, "random_seed": 3}
    return bayesmf.fit_bpmf(ratings, **(defaults | {"progressbar": False} | kwargs))


def test_groups_dimensions_and_coordinates(posterior, split):
    train = split[0]
    tree = posterior.data
    assert set(tree.children) == {
        "posterior", "factors", "sample_stats", "constant_data", "observed_data",
    }  # fmt: skip
    n, m = train.n_users, train.n_items
    sizes = {name: dict(tree["factors"][name].sizes) for name in tree["factors"].data_vars}
    both = {"chain": 2, "draw": 150}
    assert sizes["user_factors"] == both | {"user": n, "factor": 2}
    assert sizes["item_bias"] == both | {"item": m}
    assert sizes["precision_user"] == both | {"coordinate": 3, "coordinate_2": 3}
    assert tree["factors"]["coordinate"].to_numpy().tolist() == ["0", "1", "bias"]
    assert tree["factors"]["user_factors"].dtype == np.float32
    assert dict(tree["posterior"]["probe"].sizes) == both | {"cell": 500}
    np.testing.assert_array_equal(tree["factors"]["user"], train.user_ids)
    rating = tree["observed_data"]["rating"].to_numpy()
    users = train.user_ids[tree["constant_data"]["user_code"].to_numpy()]
    frame = train.to_frame()
    np.testing.assert_array_equal(rating, frame["rating"])
    np.testing.assert_array_equal(users, frame["user"])
    attributes = tree.attrs
    assert attributes["random_seed"] == 5
    assert attributes["data_fingerprint"] == train.fingerprint
    assert json.loads(attributes["model"])["n_factors"] == 2


def test_arviz_reads_it(posterior):
    table = az.summary(posterior.data, var_names=["alpha", "intercept", "singular_value"])
    assert table.index.tolist() == ["alpha", "intercept", "singular_value[0]", "singular_value[1]"]
    rhat = az.rhat(posterior.data, var_names=["probe"])
    assert np.isfinite(rhat["probe"].to_numpy()).all()


def test_netcdf_round_trip(posterior, tmp_path):
    path = tmp_path / "run.nc"
    posterior.data.to_netcdf(path, engine="h5netcdf")
    with xr.open_datatree(path, engine="h5netcdf") as again:
        xr.testing.assert_equal(
            again["factors"].to_dataset(), posterior.data["factors"].to_dataset()
        )


def test_identified_draws_follow_from_the_factors(posterior, split):
    """Every kept quantity, recomputed from the factor draws of the same iteration."""
    tree, train = posterior.data, split[0]
    center = float(tree["constant_data"]["center"])
    for chain, draw in [(0, 0), (1, 149)]:
        at = tree["factors"].to_dataset().isel(chain=chain, draw=draw)
        U, V, b, c = (
            at[name].to_numpy().astype(float)
            for name in ("user_factors", "item_factors", "user_bias", "item_bias")
        )
        kept = tree["posterior"].to_dataset().isel(chain=chain, draw=draw)
        dense = center + U @ V.T + b[:, None] + c
        # The two-way decomposition of the dense matrix of means is the canonical form.
        assert float(kept["intercept"]) == pytest.approx(dense.mean(), rel=1e-5)
        user_effect = dense.mean(axis=1) - dense.mean()
        item_effect = dense.mean(axis=0) - dense.mean()
        found = kept["user_effect"]
        rows = train.user_ids.get_indexer(found["effect_user"].to_numpy())
        np.testing.assert_allclose(found, user_effect[rows], atol=1e-5)
        found = kept["item_effect"]
        rows = train.item_ids.get_indexer(found["effect_item"].to_numpy())
        np.testing.assert_allclose(found, item_effect[rows], atol=1e-5)
        interaction = dense - dense.mean() - user_effect[:, None] - item_effect
        values = np.linalg.svd(interaction, compute_uv=False)[:2]
        np.testing.assert_allclose(kept["singular_value"], values, rtol=1e-4)
        i = train.user_ids.get_indexer(tree["constant_data"]["probe_user"].to_numpy())
        j = train.item_ids.get_indexer(tree["constant_data"]["probe_item"].to_numpy())
        np.testing.assert_allclose(kept["probe"], dense[i, j], rtol=1e-5)
        error = train.values - dense[train.users, train.items]
        assert float(kept["train_rmse"]) == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
        alpha = float(kept["alpha"])
        log_likelihood = 0.5 * (len(train) * np.log(alpha / 2 / np.pi) - alpha * (error**2).sum())
        assert float(kept["total_log_likelihood"]) == pytest.approx(log_likelihood, rel=1e-5)


def test_everything_is_on_the_rating_scale(truth):
    """Standardising by hand and by the model give the same draws, once scaled back."""
    ratings = truth.ratings
    center, scale = ratings.mean, ratings.sd
    by_model = fit(ratings)
    frame = ratings.to_frame()
    frame["rating"] = (frame["rating"].astype(float) - center) / scale
    by_hand = fit(frame, center=0.0, scale=1.0)
    a, b = by_model.data["factors"], by_hand.data["factors"]
    root = np.sqrt(scale)
    for name, power in {
        "user_factors": 0.5, "item_factors": 0.5, "user_bias": 1.0, "item_bias": 1.0, "alpha": -2.0,
    }.items():  # fmt: skip
        np.testing.assert_allclose(a[name], b[name] * scale**power, rtol=1e-3, atol=1e-4)
    unit = np.array([root, root, scale])
    for side in ("user", "item"):
        np.testing.assert_allclose(a[f"mu_{side}"], b[f"mu_{side}"] * unit, rtol=1e-3, atol=1e-4)
        expected = b[f"precision_{side}"] / np.outer(unit, unit)
        np.testing.assert_allclose(a[f"precision_{side}"], expected, rtol=2e-3, atol=1e-3)
    cells = [(1, 2), (5, 3), (999, 2), (999, 999)]
    here, there = by_model.predict(cells), by_hand.predict(cells)
    np.testing.assert_allclose(here["mean"], center + scale * there["mean"], rtol=1e-3)
    np.testing.assert_allclose(here["sd"], scale * there["sd"], rtol=1e-3)


def test_budget_thins_factors_only(truth):
    full = fit(truth.ratings)
    per_draw = (4 * (60 + 40) * 3 + 8 * (2 * 3 * 4 + 1)) * 2
    thinned = fit(truth.ratings, memory_budget=per_draw * 13)
    assert thinned.data.attrs["thin"] == 4
    assert thinned.data["factors"]["draw"].to_numpy().tolist() == list(range(0, 40, 4))
    np.testing.assert_array_equal(
        thinned.data["factors"]["user_factors"],
        full.data["factors"]["user_factors"].isel(draw=slice(0, None, 4)),
    )
    np.testing.assert_array_equal(
        thinned.data["posterior"]["probe"], full.data["posterior"]["probe"]
    )
    stored = sum(array.nbytes for array in thinned.data["factors"].data_vars.values())
    assert stored <= per_draw * 13


def test_held_out_ratings_are_followed(split):
    train, test = split[0], split[1].to_frame()
    test = test[test["user"].isin(train.user_ids) & test["item"].isin(train.item_ids)]
    post = fit(train, test=test)
    path = post.data["sample_stats"]["test_rmse"].to_numpy()
    assert path.shape == (2, 40)
    # The running mean of a chain ends at the RMSE of that chain's posterior mean.
    tree = post.data["factors"].to_dataset().isel(chain=1)
    pairs = train.pairs(test, "test", "fit_bpmf", with_rating=True)
    U, V = tree["user_factors"].to_numpy()[:, pairs.users], tree["item_factors"].to_numpy()
    cells = (U * V[:, pairs.items]).sum(axis=2) + tree["user_bias"].to_numpy()[:, pairs.users]
    cells += tree["item_bias"].to_numpy()[:, pairs.items]
    means = train.mean + cells.mean(axis=0)
    assert path[1, -1] == pytest.approx(np.sqrt(np.mean((means - pairs.ratings) ** 2)), rel=1e-4)


def test_probes_are_spread_and_fixed(truth):
    ratings = truth.ratings
    probes = choose_probes(ratings, 500)
    cells = set(zip(probes.users.tolist(), probes.items.tolist(), strict=True))
    assert len(cells) == 500
    again = choose_probes(ratings, 500)
    np.testing.assert_array_equal(probes.users, again.users)
    degree = np.diff(ratings.by_user.indptr)
    strata = np.array_split(np.argsort(degree, kind="stable"), 5)
    counts = [int(np.isin(probes.users, part).sum()) for part in strata]
    assert min(counts) > 70
    tiny = choose_probes(bayesmf.simulate(3, 3, 9, random_seed=1).ratings, 500)
    assert len(tiny.users) == 9


def test_canonical_form_keeps_the_interaction():
    rng = np.random.default_rng(0)
    U, V = rng.normal(1, 1, (12, 3)), rng.normal(-1, 2, (9, 3))
    P, Q = canonical_factors(U, V)
    centred = (U - U.mean(0)) @ (V - V.mean(0)).T
    np.testing.assert_allclose(P @ Q.T, centred, atol=1e-10)
    np.testing.assert_allclose(P.mean(0), 0, atol=1e-12)
    values = np.linalg.svd(centred, compute_uv=False)[:3]
    np.testing.assert_allclose(P.T @ P, np.diag(values), atol=1e-9)
    np.testing.assert_allclose(Q.T @ Q, np.diag(values), atol=1e-9)
    assert (Q[np.abs(Q).argmax(0), np.arange(3)] > 0).all()
    scatters = [(X - X.mean(0)).T @ (X - X.mean(0)) for X in (U, V)]
    np.testing.assert_allclose(singular_values(*scatters), values, rtol=1e-10)
    # A change of basis and a shift between factors and biases change nothing that is identified.
    A, e, b, c = (
        rng.normal(size=(3, 3)),
        rng.normal(size=3),
        rng.normal(size=12),
        rng.normal(size=9),
    )
    V2 = V @ np.linalg.inv(A).T

    def split(U, V, b, c):
        users, items = np.column_stack([U, b]), np.column_stack([V, c])
        return effects(users, items, users.mean(axis=0), items.mean(axis=0), True)

    moved, plain = split((U @ A) + e, V2, b, c - V2 @ e), split(U, V, b, c)
    left, right = U - U.mean(axis=0), V - V.mean(axis=0)
    whole = plain.intercept + plain.user_effect[:, None] + plain.item_effect + left @ right.T
    np.testing.assert_allclose(whole, U @ V.T + b[:, None] + c, atol=1e-9)
    np.testing.assert_allclose(plain.user_effect.sum(), 0, atol=1e-9)
    np.testing.assert_allclose(moved.intercept, plain.intercept, atol=1e-9)
    np.testing.assert_allclose(moved.user_effect, plain.user_effect, atol=1e-9)
    np.testing.assert_allclose(moved.item_effect, plain.item_effect, atol=1e-9)
