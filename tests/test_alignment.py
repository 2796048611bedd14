"""Aligned factors: the product untouched, simple structure found, a known truth given back.

Everything is seeded. The bounds of the main test held for 40 other seeds, with R-hat at most 1.044
and congruence at least 0.990: their false-failure rate is below 7% a seed with confidence 95%.
"""

from __future__ import annotations

import time
from types import SimpleNamespace

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayesmf
from bayesmf.canonical import canonical_factors, effects, nearest_rotation, singular_values
from bayesmf.diagnostics import alignment as module
from bayesmf.diagnostics.alignment import align, shares
from bayesmf.diagnostics.rotation import random_rotation, signed_matching, simplicity, varimax

METHODS = ("procrustes", "matchalign")


def posterior(users, items, *, user_ids=None, item_ids=None, attrs=None):
    """Factor draws (chain, draw, row, factor) in the schema, with nothing else around them."""
    names = {"user": user_ids, "item": item_ids}
    coords = {"chain": np.arange(users.shape[0]), "draw": np.arange(users.shape[1])}
    coords |= {
        side: np.arange(rows.shape[2]) if names[side] is None else names[side]
        for side, rows in (("user", users), ("item", items))
    }
    group = xr.Dataset(
        {
            "user_factors": (("chain", "draw", "user", "factor"), users),
            "item_factors": (("chain", "draw", "item", "factor"), items),
        },
        coords=coords | {"factor": np.arange(users.shape[3])},
    )
    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs or {}), "factors": group})
    return SimpleNamespace(data=tree)


def sparse(rng, n, k):
    """Loadings (n, k): one factor a row, a tenth of the rows with two; weaker and weaker factors.

    Both sides have columns that are all but orthogonal: sparse truths that are not have no balanced
    form with these very columns.
    """
    loads = np.arange(n)[:, None] % k == np.arange(k)
    loads[rng.random((n, k)) < 0.1 / k] = True
    return loads * rng.normal(size=(n, k)) * np.linspace(1.6, 0.8, k)


def invertible(rng, k):
    """A general matrix of condition number 5."""
    return random_rotation(rng, k) * np.geomspace(1, 5, k) @ random_rotation(rng, k)


def centred(rows):
    return rows - rows.mean(axis=-2, keepdims=True)


def congruence(a, b):
    """Tucker's coefficient of each column of a with each of b."""
    return a.T @ b / np.outer(np.linalg.norm(a, axis=0), np.linalg.norm(b, axis=0))


# --- the product --------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(40, 30, 4), (200, 7, 5), (30, 25, 1), (4, 30, 6), (30, 3, 3)])
def test_the_interaction_is_untouched(method, shape, monkeypatch):
    n, m, k = shape
    rng = np.random.default_rng(1)
    users, items = rng.normal(size=(2, 3, n, k)), rng.normal(size=(2, 3, m, k)) + 2.0
    # Kept in single precision; the arithmetic before that is in double, which is what is tested.
    monkeypatch.setattr(module, "STORED", np.float64)
    found = align(posterior(users, items), method=method, draws=6)
    assert found.n_factors == min(shape)
    want = centred(users) @ np.swapaxes(centred(items), -1, -2)
    got = found.user_loadings.to_numpy() @ np.swapaxes(found.item_loadings.to_numpy(), -1, -2)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-10 * np.abs(want).max())
    # Centred, users' sds 1 where there is anything, and shares that add up.
    loadings = found.user_loadings.to_numpy()
    np.testing.assert_allclose(loadings.mean(axis=2), 0, atol=1e-12)
    sd = np.sqrt((loadings**2).mean(axis=2))
    assert (np.isclose(sd, 1) | (sd == 0)).all()
    assert ((sd > 0).sum(axis=-1) == min(n - 1, m - 1, k)).all()
    np.testing.assert_allclose(found.draws["share"].sum("factor"), 1)


def test_stored_in_single_precision(truth):
    post = bayesmf.fit_bpmf(
        truth.ratings, n_factors=2, tune=20, draws=30, chains=2, random_seed=1, progressbar=False
    )
    found = align(post)
    assert found.item_loadings.dtype == np.float32
    assert found.item_loadings.dims == ("chain", "draw", "item", "factor")
    np.testing.assert_array_equal(found.draws["item"], truth.ratings.item_ids)
    np.testing.assert_array_equal(found.draws["user"], truth.ratings.user_ids)
    users, items = (
        centred(post.data["factors"][name].to_numpy().astype(float))
        for name in ("user_factors", "item_factors")
    )
    want = users @ np.swapaxes(items, -1, -2)
    got = found.user_loadings.to_numpy() @ np.swapaxes(found.item_loadings.to_numpy(), -1, -2)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())


# --- varimax ------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3, 6])
def test_no_random_rotation_is_simpler(k):
    rng = np.random.default_rng(2)
    users, items = canonical_factors(rng.laplace(size=(80, k)), rng.laplace(size=(50, k)))
    rotation = varimax(users, items)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(k), atol=1e-12)
    best = simplicity(users @ rotation, items @ rotation)
    others = (random_rotation(rng, k) for _ in range(200))
    assert best >= max(simplicity(users @ one, items @ one) for one in others)
    # A maximum: no small turn about any axis is better.
    for a, b in zip(*np.triu_indices(k, 1), strict=True):
        for angle in (-0.01, 0.01):
            turn = np.eye(k)
            turn[[a, a, b, b], [a, b, a, b]] = np.array(
                [np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)]
            )
            turned = rotation @ turn
            assert simplicity(users @ turned, items @ turned) < best


def test_in_two_dimensions_it_is_the_best_of_all_angles():
    rng = np.random.default_rng(3)
    for _ in range(5):
        users, items = canonical_factors(rng.normal(size=(20, 2)), rng.normal(size=(30, 2)))
        rotation = varimax(users, items)
        angles = np.linspace(0, np.pi / 2, 2001)
        turns = ([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]] for t in angles)
        grid = max(simplicity(users @ turn, items @ turn) for turn in turns)
        assert simplicity(users @ rotation, items @ rotation) == pytest.approx(grid, rel=1e-5)


def test_simple_structure_is_found():
    rng = np.random.default_rng(4)
    # One factor a row, and as many rows of each: orthogonal columns, and balanced.
    users, items = np.kron(np.eye(4), rng.normal(size=(20, 1))), np.kron(np.eye(4), np.ones((9, 1)))
    users *= np.linalg.norm(items[:, 0]) / np.linalg.norm(users[:, 0])
    turn = random_rotation(rng, 4)
    rotation = varimax(users @ turn, items @ turn)
    found = np.abs(turn @ rotation)
    # A signed permutation.
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(np.eye(4), axis=0), atol=1e-5)


def test_the_longer_side_does_not_outvote_the_shorter():
    rng = np.random.default_rng(5)
    users, items = canonical_factors(rng.laplace(size=(60, 3)), rng.laplace(size=(40, 3)))
    # Each user ten times, a tenth as long in square: the same distribution of loadings.
    again = np.repeat(users, 10, axis=0) / np.sqrt(10)
    assert simplicity(again, items) == pytest.approx(simplicity(users, items))
    found, first = varimax(again, items), varimax(users, items)
    np.testing.assert_allclose(found, first, atol=1e-6)


def test_procrustes_gives_back_a_turn():
    rng = np.random.default_rng(6)
    rows, turn = rng.normal(size=(50, 4)), random_rotation(rng, 4)
    np.testing.assert_allclose(nearest_rotation((rows @ turn).T @ rows), turn.T, atol=1e-12)


# --- matching -----------------------------------------------------------------


def test_permutations_and_signs_are_undone_exactly():
    rng = np.random.default_rng(7)
    reference = rng.normal(size=(40, 6)) * np.linspace(2, 1, 6)
    order, signs = rng.permutation(6), rng.choice([-1.0, 1.0], 6)
    rows = reference[:, order] * signs
    lengths, own = ((side**2).sum(axis=0) for side in (rows, reference))
    turn = signed_matching(rows.T @ reference, lengths, own)
    np.testing.assert_array_equal(rows @ turn, reference)


@pytest.mark.parametrize("method", METHODS)
def test_permuted_draws_align_to_the_same_loadings(method):
    rng = np.random.default_rng(8)
    users = sparse(rng, 60, 3) + 0.1 * rng.normal(size=(2, 10, 60, 3))
    items = sparse(rng, 40, 3) + 0.1 * rng.normal(size=(2, 10, 40, 3))
    first = align(posterior(users, items), method=method)
    for at in np.ndindex(2, 10):
        order, signs = rng.permutation(3), rng.choice([-1.0, 1.0], 3)
        users[at], items[at] = users[at][:, order] * signs, items[at][:, order] * signs
    again = align(posterior(users, items), method=method)
    for side in ("user_loadings", "item_loadings"):
        np.testing.assert_allclose(again.draws[side], first.draws[side], atol=2e-5)


# --- a known truth, chains turned away from one another -----------------------


def turned_chains(seed=9, *, n=120, m=90, k=3, chains=4, draws=100, noise=0.15):
    """A sparse truth; noisy draws around it; the same draws, each chain in frames of its own.

    Each chain is turned by A on the users and A^-T on the items, with constants moved between
    factors and biases, and by another half-way. No mean of a cell changes.
    """
    rng = np.random.default_rng(seed)
    truth = {"users": centred(sparse(rng, n, k)), "items": centred(sparse(rng, m, k))}
    plain = {
        "users": truth["users"] + noise * rng.normal(size=(chains, draws, n, k)),
        "items": truth["items"] + noise * rng.normal(size=(chains, draws, m, k)),
        "user_bias": rng.normal(size=(1, 1, n)) + noise * rng.normal(size=(chains, draws, n)),
        "item_bias": rng.normal(size=(1, 1, m)) + noise * rng.normal(size=(chains, draws, m)),
    }
    turned = {name: array.copy() for name, array in plain.items()}
    for chain in range(chains):
        for half in (slice(draws // 2), slice(draws // 2, None)):
            at = (chain, half)
            a, (p, q) = invertible(rng, k), rng.normal(size=(2, k))
            constant = float(rng.normal())
            # (u + p).(v + q) = u.v + u.q + p.v + p.q: the biases take back what was added.
            turned["users"][at] = (plain["users"][at] + p) @ a
            turned["items"][at] = (plain["items"][at] + q) @ np.linalg.inv(a).T
            turned["user_bias"][at] -= plain["users"][at] @ q + p @ q + constant
            turned["item_bias"][at] -= plain["items"][at] @ p - constant
    return truth, plain, turned


def identified(state, at):
    """Cell means, effects and singular values of one draw."""
    users, items, b, c = (state[name][at] for name in ("users", "items", "user_bias", "item_bias"))
    rows = np.column_stack([users, b]), np.column_stack([items, c])
    means = [side.mean(axis=0) for side in rows]
    found = effects(*rows, *means, has_bias=True)
    scatters = [centred(side).T @ centred(side) for side in (users, items)]
    cells = users @ items.T + b[:, None] + c
    return np.concatenate(
        [cells.ravel(), [found.intercept], found.user_effect, found.item_effect,
         singular_values(*scatters)]
    )  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_turned_chains_give_the_truth_back(method):
    truth, plain, turned = turned_chains()
    for at in [(0, 0), (1, 49), (2, 50), (3, 99)]:
        want = identified(plain, at)
        got = identified(turned, at)
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-8 * np.abs(want).max())
    raw = az.rhat(turned["items"])
    assert np.median(raw) > 1.1
    found = align(posterior(turned["users"], turned["items"]), method=method, draws=400)
    assert found.draws.sizes["draw"] == 100
    for side in ("users", "items"):
        loadings = found.draws[f"{side[:-1]}_loadings"].to_numpy().astype(float)
        rhat = az.rhat(loadings)
        assert rhat.max() < 1.05
        with_truth = congruence(truth[side], loadings.mean(axis=(0, 1)))
        order = np.abs(with_truth).argmax(axis=1)
        assert sorted(order) == [0, 1, 2]
        assert np.abs(with_truth).max(axis=1).min() > 0.98
        # In each draw too, not only on average.
        for draw in loadings.reshape(-1, *loadings.shape[2:])[::20]:
            assert np.abs(np.diag(congruence(draw, loadings.mean(axis=(0, 1))))).min() > 0.85
    # Strongest first, as in the truth, whose shares are these.
    want = np.sort(shares(truth["users"], truth["items"]))[::-1]
    np.testing.assert_allclose(found.strength["share"], want, atol=0.03)
    assert (found.strength["steady"] > 0.8).all()
    table = found.rhat(rows=40)
    assert (table["r_hat_worst"] < 1.05).all()
    assert (table["ess_median"] > 250).all()


def test_chains_in_other_places_are_still_told():
    """Alignment turns; it does not make chains agree that are about different interactions."""
    rng = np.random.default_rng(10)
    users = sparse(rng, 60, 2) + 0.1 * rng.normal(size=(2, 50, 60, 2))
    items = sparse(rng, 40, 2) + 0.1 * rng.normal(size=(2, 50, 40, 2))
    items[1] += rng.normal(size=(40, 2))
    table = align(posterior(users, items)).rhat()
    assert (table.loc["item", "r_hat_median"] > 1.1).all()


@pytest.mark.parametrize("method", METHODS)
def test_of_noise_little_is_steady(method):
    rng = np.random.default_rng(11)
    post = posterior(rng.normal(size=(2, 100, 300, 3)), rng.normal(size=(2, 100, 200, 3)))
    assert (align(post, method=method).strength["steady"] < 0.1).all()


# --- what is shown ------------------------------------------------------------


@pytest.fixture(scope="module")
def aligned():
    _, _, turned = turned_chains()
    ids = np.array([f"<b>{j}</b>" for j in range(90)], dtype=object)
    return align(posterior(turned["users"], turned["items"], item_ids=ids))


def test_top_items_are_the_extreme_means(aligned):
    loadings = aligned.item_loadings.isel(factor=1).to_numpy().reshape(-1, 90).astype(float)
    mean = loadings.mean(axis=0)
    titles = {"<b>3</b>": "Three"}
    table = aligned.top_items(1, n=4, prob=0.8, titles=titles)
    top, bottom = table[table["end"] == "top"], table[table["end"] == "bottom"]
    np.testing.assert_allclose(top["loading"], np.sort(mean)[::-1][:4], rtol=1e-5)
    np.testing.assert_allclose(bottom["loading"], np.sort(mean)[:4], rtol=1e-5)
    rows = aligned.draws["item"].to_index().get_indexer(table["item"])
    np.testing.assert_allclose(table["lower"], np.quantile(loadings[:, rows], 0.1, axis=0))
    np.testing.assert_allclose(table["upper"], np.quantile(loadings[:, rows], 0.9, axis=0))
    same = (np.sign(loadings[:, rows]) == np.sign(mean[rows])).mean(axis=0)
    np.testing.assert_allclose(table["same_sign"], same)
    assert table["rank"].tolist() == [1, 2, 3, 4] * 2
    assert table["title"].tolist() == [titles.get(one, one) for one in table["item"]]
    series = pd.Series(titles)
    pd.testing.assert_frame_equal(aligned.top_items(1, n=4, prob=0.8, titles=series), table)


def test_signs_and_order(aligned):
    mean = aligned.item_loadings.mean(("chain", "draw")).to_numpy()
    assert (mean[np.abs(mean).argmax(axis=0), np.arange(3)] > 0).all()
    assert aligned.strength["share"].is_monotonic_decreasing
    ends = aligned.strength[["lower", "share", "upper"]].to_numpy()
    assert (np.diff(ends, axis=1) > 0).all()


def test_top_users_and_more_than_there_are(aligned):
    table = aligned.top_users(0, n=500)
    assert len(table) == 240
    assert table.columns[2] == "user"
    assert sorted(table.loc[table["end"] == "top", "user"]) == list(range(120))


def test_shown_as_text_and_html(aligned):
    text = str(aligned)
    assert text.startswith("Alignment (procrustes) of 3 factors, 4 chains x 50 draws.")
    assert repr(aligned) == text
    assert str(aligned.top_items(0, 1)["item"][0]) in text
    html = aligned._repr_html_()
    assert "<b>" not in html
    assert "&lt;b&gt;" in html


# --- few draws, few rows, nothing there ---------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_degenerate_factor_stays_where_it_is(method):
    rng = np.random.default_rng(12)
    users = sparse(rng, 60, 3) + 0.1 * rng.normal(size=(2, 20, 60, 3))
    items = sparse(rng, 40, 3) + 0.1 * rng.normal(size=(2, 20, 40, 3))
    users[..., 2] = users[..., 1]
    found = align(posterior(users, items), method=method)
    want = centred(users) @ np.swapaxes(centred(items), -1, -2)
    got = found.user_loadings.to_numpy() @ np.swapaxes(found.item_loadings.to_numpy(), -1, -2)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())
    assert found.strength["share"].iloc[2] < 1e-10
    assert np.isfinite(found.draws["user_loadings"]).all()
    assert "factor" in str(found)


def test_no_interaction_at_all():
    found = align(posterior(np.zeros((1, 5, 4, 2)), np.ones((1, 5, 6, 2))))
    assert (found.strength == 0).all(axis=None)
    assert np.isnan(found.rhat()["r_hat_median"]).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1), (3, 2), (2, 2)])
def test_the_fewest_rows(method, shape):
    rng = np.random.default_rng(20)
    users, items = (rng.normal(size=(2, 6, n, 3)) for n in shape)
    found = align(posterior(users, items), method=method)
    # Centring leaves nothing of a single row, and one direction of two. Of two on both sides the
    # squared loadings are all alike: every turn is as simple.
    alive = (found.draws["share"] > 1e-12).sum("factor")
    assert shape == (2, 2) or (alive == min(shape) - 1).all()
    assert len(found.rhat()) == 2 * min(shape)
    assert len(found.top_users(0)) == 2 * shape[0]
    assert str(found).startswith("Alignment")


def test_one_chain_and_too_few_draws():
    rng = np.random.default_rng(13)
    users, items = rng.normal(size=(1, 40, 30, 2)), rng.normal(size=(1, 40, 20, 2))
    table = align(posterior(users, items)).rhat()
    assert table["r_hat_median"].isna().all()
    assert (table["ess_worst"] > 5).all()
    few = align(posterior(users[:, :3], items[:, :3]))
    assert few.rhat().isna().all(axis=None)


def test_independent_draws_have_no_rhat():
    rng = np.random.default_rng(14)
    users, items = rng.normal(size=(1, 40, 30, 2)), rng.normal(size=(1, 40, 20, 2))
    table = align(posterior(users, items, attrs={"pareto_k": 0.4})).rhat()
    assert table["r_hat_worst"].isna().all()
    assert (table["ess_median"] > 0).all()


def test_draws_are_evenly_spaced_and_keep_their_numbers():
    rng = np.random.default_rng(15)
    users, items = rng.normal(size=(2, 100, 10, 2)), rng.normal(size=(2, 100, 8, 2))
    found = align(posterior(users, items), draws=9)
    np.testing.assert_array_equal(found.draws["draw"], [0, 33, 66, 99])
    chain, draw = found.reference
    assert chain in (0, 1)
    assert draw in (0, 33, 66, 99)


def test_the_reference_has_the_median_condition_number():
    rng = np.random.default_rng(16)
    users, items = (
        rng.normal(size=(1, 5, 30, 2)),
        np.broadcast_to(rng.normal(size=(20, 2)), (1, 5, 20, 2)),
    )
    users[0] *= np.array([1, 16, 4, 2, 8])[:, None, None] ** np.array([0, 1])

    def condition(d):
        cells = centred(users[0, d]) @ centred(items[0, d]).T
        values = np.linalg.svd(cells, compute_uv=False)
        return values[0] / values[1]

    order = np.argsort([condition(d) for d in range(5)])
    assert align(posterior(users, items)).reference == (0, order[2])


def test_memory_is_bounded(monkeypatch):
    rng = np.random.default_rng(17)
    users, items = rng.normal(size=(2, 50, 10, 2)), rng.normal(size=(2, 50, 8, 2))
    monkeypatch.setattr(module, "MOST_BYTES", 5 * 2 * 4 * 2 * 18)
    found = align(posterior(users, items))
    assert found.draws.sizes["draw"] == 5
    assert "10 draws, not 100" in found.note
    assert found.note in str(found)


def test_a_large_table_is_never_dense():
    # Its 10^10 cells would take 80 GB.
    rng = np.random.default_rng(18)
    users = rng.standard_normal((2, 3, 200_000, 2), dtype=np.float32)
    items = rng.standard_normal((2, 3, 50_000, 2), dtype=np.float32)
    began = time.perf_counter()
    found = align(posterior(users, items))
    assert found.top_items(0, n=3).shape == (6, 7)
    assert time.perf_counter() - began < 30


# --- bad input ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p, a: align(p, draws=1), ValueError, "'draws' argument of align.*least 2.*Got 1"),
        (lambda p, a: align(p, draws=2.5), TypeError, "'draws' argument of align.*Got 2.5"),
        (lambda p, a: align(p, method="varimax"), ValueError, "'method'.*'procrustes'.*'varimax'"),
        (lambda p, a: a.top_items(2), ValueError, "'factor' argument of top_items.*from 0 to 1"),
        (lambda p, a: a.top_users(-1), ValueError, "'factor' argument of top_users.*Got -1"),
        (lambda p, a: a.top_items(0, n=0), ValueError, "'n' argument of top_items.*Got 0"),
        (lambda p, a: a.top_items(0, prob=1), ValueError, "'prob' argument of top_items"),
        (lambda p, a: a.top_items(0, titles=["A"]), TypeError, "'titles'.*mapping.*Got list"),
        (lambda p, a: a.rhat(rows=0), ValueError, "'rows' argument of rhat.*Got 0"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(call, error, message):
    rng = np.random.default_rng(19)
    post = posterior(rng.normal(size=(2, 10, 10, 2)), rng.normal(size=(2, 10, 8, 2)))
    with pytest.raises(error, match=message):
        call(post, align(post))


def test_a_model_without_factors_is_refused():
    post = posterior(np.zeros((2, 5, 10, 0)), np.zeros((2, 5, 8, 0)))
    with pytest.raises(ValueError, match="align needs factors.*n_factors=0"):
        align(post)
