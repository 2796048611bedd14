"""Lists by each strategy against every cell of every draw; what may stand in them; stores."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import special, stats

import bayesmf
from bayesmf.draws.reading import KeptDraws
from tests.statistical.rates import assert_plausible

NEW = [9_000, 9_001]
ARGUMENTS = {
    "mean": {},
    "ucb": {"width": 1.7},
    "thompson": {"random_seed": 3},
    "probability": {"threshold": 3.4},
    "affinity": {},
}


@pytest.fixture(scope="module", params=["with biases", "without biases"])
def post(request, split):
    return bayesmf.fit_bpmf(
        split[0], n_factors=2, biases=request.param == "with biases", tune=20, draws=50, chains=2,
        random_seed=5, progressbar=False,
    )  # fmt: skip


def rows_of(post, side):
    """All rows (n_draws, n, D) in float64, and the biases, zero where there are none."""
    group = post.data["factors"].to_dataset().stack(s=("chain", "draw"))
    factors = group[f"{side}_factors"].transpose("s", side, "factor").values.astype(float)
    if f"{side}_bias" not in group:
        return factors, np.zeros(factors.shape[:2])
    return factors, group[f"{side}_bias"].transpose("s", side).values.astype(float)


def hyper(post, name):
    return post.data["factors"][name].stack(s=("chain", "draw")).transpose("s", ...).values


def expected(post):
    """Expected ratings (n_draws, n_users, n_items)."""
    (u, b), (v, c) = rows_of(post, "user"), rows_of(post, "item")
    center = float(post.data["constant_data"]["center"])
    return center + np.einsum("sik,sjk->sij", u, v) + b[:, :, None] + c[:, None]


def expected_of_new(post):
    """Means and variances (n_draws, n_items) of the expected rating of a user never seen."""
    v, c = rows_of(post, "item")
    mean, covariance = hyper(post, "mu_user"), np.linalg.inv(hyper(post, "precision_user"))
    x = np.dstack([v, np.ones_like(c)])[:, :, : mean.shape[1]]
    means = float(post.data["constant_data"]["center"]) + c + np.einsum("sjd,sd->sj", x, mean)
    return means, np.einsum("sjd,sde,sje->sj", x, covariance, x)


def scores(post, strategy):
    """What each cell is worth, by brute force."""
    cells = expected(post)
    if strategy == "mean":
        return cells.mean(axis=0)
    if strategy == "ucb":
        return cells.mean(axis=0) + 1.7 * cells.std(axis=0)
    if strategy == "probability":
        root = np.sqrt(hyper(post, "alpha"))[:, None, None]
        return special.ndtr((cells - 3.4) * root).mean(axis=0)
    u, v = (rows_of(post, side)[0] for side in ("user", "item"))
    u, v = u - u.mean(axis=1, keepdims=True), v - v.mean(axis=1, keepdims=True)
    return np.einsum("sik,sjk->ij", u, v) / len(u)


def assert_lists(post, lists, by, n, column):
    """Each list has the n best of a matrix of scores, in order, up to rounding of float32."""
    for user, part in lists.groupby("user"):
        row = by[post.ratings.user_ids.get_loc(user)]
        at = post.ratings.item_ids.get_indexer(part["item"])
        best = np.sort(row[np.isfinite(row)])[::-1][:n]
        np.testing.assert_allclose(row[at], best, atol=1e-5)
        np.testing.assert_allclose(part[column], row[at], atol=1e-5)
        assert part["rank"].tolist() == list(range(1, len(best) + 1))


def without_seen(post, by):
    by = by.copy()
    by[post.ratings.users, post.ratings.items] = -np.inf
    return by


@pytest.mark.parametrize("strategy", ["mean", "ucb", "probability", "affinity"])
def test_lists_against_every_cell_of_every_draw(post, strategy):
    by = scores(post, strategy)
    asked = ARGUMENTS[strategy]
    column = "mean" if strategy == "mean" else "score"
    lists = post.recommend(n=5, strategy=strategy, **asked)
    assert_lists(post, lists, without_seen(post, by), 5, column)
    everything = post.recommend([3, 1], n=99, strategy=strategy, exclude_seen=False, **asked)
    assert_lists(post, everything, by, 99, column)
    names = ["user", "rank", "item", "score", "mean", "lower", "upper"]
    if strategy == "mean":
        names.remove("score")
    assert lists.columns.tolist() == names
    cells = post.predict(lists, prob=0.9)
    assert cells[["mean", "lower", "upper"]].equals(lists[["mean", "lower", "upper"]])


def test_thompson_is_one_draw_for_everybody(post):
    draws = expected(post)
    seen = set()
    for seed in range(6):
        lists = post.recommend(
            n=99, strategy="thompson", random_seed=seed, exclude_seen=False, prob=None
        )
        found = lists.pivot_table(index="user", columns="item", values="score").to_numpy()
        wrong = np.abs(draws - found).max(axis=(1, 2))
        assert wrong.min() < 1e-5
        seen.add(int(wrong.argmin()))
        again = post.recommend([2], n=4, strategy="thompson", random_seed=seed)
        whole = post.recommend([5, 2], n=4, strategy="thompson", random_seed=seed)
        part = whole[whole["user"] == 2].reset_index(drop=True)
        # Another product of matrices: the same up to rounding.
        pd.testing.assert_frame_equal(again, part, rtol=1e-6)
    assert len(seen) > 3
    # Without a seed 20 calls would give one list of 100 with a probability of 100^-19.
    free = {post.recommend(2, 1, strategy="thompson")["score"].item() for _ in range(20)}
    assert len(free) > 1


@pytest.mark.parametrize("strategy", ["mean", "ucb", "probability", "affinity"])
def test_unknown_users_are_integrated_over_their_prior(post, strategy):
    means, variances = expected_of_new(post)
    asked = ARGUMENTS[strategy]
    by = means.mean(axis=0)
    if strategy == "ucb":
        by = by + 1.7 * np.sqrt(means.var(axis=0) + variances.mean(axis=0))
    if strategy == "probability":
        spread = np.sqrt(variances + 1 / hyper(post, "alpha")[:, None])
        by = special.ndtr((means - 3.4) / spread).mean(axis=0)
    lists = post.recommend([NEW[0], 4, NEW[1]], n=6, strategy=strategy, **asked)
    assert lists["user"].tolist() == [NEW[0]] * 6 + [4] * 6 + [NEW[1]] * 6
    alone = post.recommend(NEW[1], n=6, strategy=strategy, **asked)
    assert alone.equals(lists[12:].reset_index(drop=True))
    at = post.ratings.item_ids.get_indexer(alone["item"])
    np.testing.assert_allclose(by[at], np.sort(by)[::-1][:6], atol=1e-9)
    if strategy == "affinity":  # of which nothing is known: the mean decides
        assert (alone["score"] == 0).all()
    elif strategy != "mean":
        np.testing.assert_allclose(alone["score"], by[at], rtol=1e-9)


def test_thompson_draws_each_unknown_user_from_the_prior(post):
    """The row behind the scores, standardised, is Normal(0, I): Kolmogorov-Smirnov."""
    means, covariances = hyper(post, "mu_user"), np.linalg.inv(hyper(post, "precision_user"))
    v, c = rows_of(post, "item")
    x = np.dstack([v, np.ones_like(c)])[:, :, : means.shape[1]]
    center, z = float(post.data["constant_data"]["center"]), []
    for seed in range(60):
        lists = post.recommend(
            [*NEW, NEW[0]], n=99, strategy="thompson", random_seed=seed, prob=None
        )
        assert lists[:40][["item", "score"]].equals(
            lists[80:][["item", "score"]].reset_index(drop=True)
        )
        found = lists[:80].pivot_table(index="user", columns="item", values="score").to_numpy()
        # The draw is the one in which items and a row explain all scores of both.
        left = [
            np.linalg.lstsq(x[s], (found - center - c[s]).T, rcond=None)[0] for s in range(len(x))
        ]
        wrong = [np.abs(x[s] @ left[s] - (found - center - c[s]).T).max() for s in range(len(x))]
        s = int(np.argmin(wrong))
        assert wrong[s] < 1e-6
        root = np.linalg.cholesky(covariances[s])
        z.append(np.linalg.solve(root, left[s] - means[s][:, None]))
    z = np.array(z)
    assert_plausible(
        {
            "normal": stats.kstest(z.ravel(), "norm").pvalue,
            "independent": stats.pearsonr(z[:, :, 0].ravel(), z[:, :, 1].ravel()).pvalue,
        }
    )


def test_affinity_has_neither_biases_nor_what_everybody_likes(post):
    """A constant for an item or a user, in biases or in factors, changes no affinity."""
    lists = post.recommend(n=5, strategy="affinity", prob=None)
    factors = post.data["factors"].to_dataset()
    moved = factors.copy()
    moved["user_factors"] = factors["user_factors"] + 1.5
    moved["user_center"] = factors["user_center"] + 1.5
    if "item_bias" in factors:
        moved["item_bias"] = factors["item_bias"] + 3 * np.arange(factors.sizes["item"])
    data = post.data.copy()
    data["factors"] = moved
    other = replace(post, data=data).recommend(n=5, strategy="affinity", prob=None)
    np.testing.assert_allclose(other["score"], lists["score"], atol=1e-4)
    assert (other["item"] == lists["item"]).mean() > 0.98


def test_affinity_is_measured_from_all_users_not_from_those_at_hand(post):
    """As of rows that were folded in: few users, and the centres of the fit."""
    few = post.ratings.user_ids[:7]
    data = post.data.copy()
    data["factors"] = post.data["factors"].to_dataset().sel(user=few)
    asked = {"n": 5, "strategy": "affinity"}
    found = replace(post, data=data).recommend(few, **asked)
    pd.testing.assert_frame_equal(found, post.recommend(few, **asked), rtol=1e-5)


def test_candidates_and_filters(post):
    by = without_seen(post, scores(post, "ucb"))
    rng = np.random.default_rng(0)
    ids = post.ratings.item_ids.to_numpy()
    some = rng.permutation(ids)[:25]
    users = post.ratings.user_ids.to_numpy()
    table = pd.DataFrame(
        rng.random((len(users) + 1, len(ids) + 1)) < 0.6,
        index=[*users[::-1], NEW[0]], columns=[*rng.permutation(ids), 777],
    )  # fmt: skip
    outside = ~np.isin(ids, some)
    for allowed in (None, table.iloc[0], table, table.astype(object), table.astype("boolean")):
        kept = by.copy()
        kept[:, outside] = -np.inf
        if allowed is not None and allowed.ndim == 1:
            kept[:, ~table.iloc[0].reindex(ids).to_numpy()] = -np.inf
        elif allowed is not None:
            kept[~table.loc[users, ids].to_numpy()] = -np.inf
        lists = post.recommend(
            users, n=4, strategy="ucb", width=1.7, candidates=some, allowed=allowed, prob=None
        )
        assert_lists(post, lists, kept, 4, "score")
        listed = set(lists["user"])
        assert all(
            np.isfinite(row).any() == (u in listed) for u, row in zip(users, kept, strict=True)
        )
        alone = post.recommend(NEW[0], n=99, candidates=some, allowed=allowed)
        if allowed is None:
            assert set(alone["item"]) == set(some)
        elif allowed.ndim == 2:
            assert set(alone["item"]) == {i for i in some if table.loc[NEW[0], i]}
    assert len(post.recommend([1, NEW[0]], candidates=[])) == 0
    assert len(post.recommend([1, NEW[0]], allowed=pd.Series(False, index=ids))) == 0


GOOD = pd.DataFrame(True, index=range(60), columns=range(40))
REFUSED = [
    ({"strategy": "best"}, ValueError, "'strategy' argument of recommend must be one of 'mean'"),
    ({"width": 2.0}, ValueError, "'width' .* left out unless strategy is 'ucb'.*Got 2.0"),
    ({"random_seed": 1}, ValueError, "'random_seed' .* unless strategy is 'thompson'"),
    ({"strategy": "ucb", "threshold": 3}, ValueError, "'threshold' .* is 'probability'"),
    ({"strategy": "ucb", "width": np.nan}, ValueError, "'width' .* a finite number. Got nan"),
    ({"strategy": "probability"}, ValueError, "'threshold' .* good enough. Got None"),
    ({"strategy": "probability", "threshold": "4"}, TypeError, "finite number. Got '4'"),
    ({"strategy": "thompson", "random_seed": -1}, ValueError, "'random_seed' .* Got -1"),
    ({"candidates": [1, 999]}, ValueError, "'candidates' .* training ratings. Got 999"),
    ({"candidates": ["1"]}, TypeError, "'item' ids that are int"),
    ({"candidates": 3}, TypeError, "a sequence of ids of items .* Got 3"),
    ({"candidates": "ab"}, TypeError, "a sequence of ids of items .* Got 'ab'"),
    ({"allowed": [True]}, TypeError, "'allowed' .* a DataFrame of bool.* Got list"),
    ({"allowed": GOOD.drop(columns=[7, 9])}, ValueError, "in its columns. Got no 7 and 1 more"),
    ({"allowed": GOOD.iloc[0].drop(7)}, ValueError, "in its index. Got no 7[.]"),
    ({"allowed": GOOD.drop(index=3)}, ValueError, "each user who is .* Got no 3"),
    ({"allowed": GOOD.astype(int)}, TypeError, "True and False, none missing. Got 1"),
    ({"allowed": GOOD.astype(object).shift(4)}, ValueError, "Got None"),
    ({"allowed": GOOD.rename(columns={7: 6})}, ValueError, "once in its columns. Got 6 twice"),
    ({"allowed": GOOD.rename(index={7: 6})}, ValueError, "once in its index. Got 6 twice"),
    ({"allowed": GOOD.rename(columns=str)}, TypeError, "'item' ids that are int"),
    ({"allowed": GOOD.rename(index=str)}, TypeError, "'user' ids that are int"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "error", "message"), REFUSED)
def test_what_is_refused(posterior, arguments, error, message):
    with pytest.raises(error, match=message):
        posterior.recommend([3, 4], **arguments)


def test_a_point_estimate_knows_means_and_affinities(als):
    with pytest.raises(ValueError, match="must be one of 'mean', 'affinity'. Got 'ucb'"):
        als.recommend(1, strategy="ucb")
    u, v = als.user_factors, als.item_factors
    by = (u - u.mean(axis=0)) @ (v - v.mean(axis=0)).T
    assert_lists(als, als.recommend(n=4, strategy="affinity"), without_seen(als, by), 4, "score")
    some = als.ratings.item_ids[::3]
    lists = als.recommend(
        [3, *NEW], n=4, candidates=some, allowed=GOOD.iloc[0] & (GOOD.columns > 9)
    )
    assert set(lists["item"]) <= set(some[some > 9])
    assert len(lists) == 12


def test_no_affinity_without_factors(split):
    flat = bayesmf.fit_bpmf(
        split[0], n_factors=0, tune=5, draws=5, chains=1, random_seed=1, progressbar=False
    )
    with pytest.raises(ValueError, match="affinity needs factors, but this model has n_factors=0"):
        flat.recommend(1, strategy="affinity")
    for strategy, asked in ARGUMENTS.items():
        if strategy != "affinity":
            assert len(flat.recommend([1, NEW[0]], 3, strategy=strategy, **asked)) == 6


def small_pieces(monkeypatch, n_items):
    for name in ("PASS_BYTES", "FAR_PASS_BYTES"):
        monkeypatch.setattr(f"bayesmf.scoring.{name}", 16 * n_items * 23)
    monkeypatch.setattr("bayesmf.scoring.LAID_BYTES", 8 * n_items * 4 * 9)
    monkeypatch.setattr("bayesmf.scoring.USERS_AT_ONCE", 5)
    monkeypatch.setattr("bayesmf.scoring.TILE", (6, 17, 3))
    monkeypatch.setattr("bayesmf.ranking.LISTS_AT_ONCE", 4)


@pytest.mark.parametrize("strategy", list(ARGUMENTS))
def test_pieces_change_nothing_and_threads_no_bit(posterior, monkeypatch, strategy):
    asked = {"n": 4, "strategy": strategy} | ARGUMENTS[strategy]
    users = [*posterior.ratings.user_ids[::-1], *NEW]
    whole = posterior.recommend(users, **asked)
    small_pieces(monkeypatch, posterior.ratings.n_items)
    one, *others = (
        replace(posterior, cores=cores).recommend(users, **asked) for cores in (1, 2, 5)
    )
    for other in others:
        pd.testing.assert_frame_equal(other, one, check_exact=True)
    column = "mean" if strategy == "mean" else "score"
    np.testing.assert_allclose(one[column], whole[column], atol=1e-5)


@pytest.fixture(scope="module")
def stored(posterior, tmp_path_factory):
    """The same posterior with its draws in a store, eleven to a chunk."""
    path = tmp_path_factory.mktemp("store") / "draws.zarr"
    data = posterior.data.copy()
    factors = data["factors"].to_dataset()
    sizes = {name: {"chunks": tuple({"chain": 1, "draw": 11}.get(d, n) for d, n in v.sizes.items())}
             for name, v in factors.data_vars.items()}  # fmt: skip
    data.to_zarr(path, mode="w", encoding={"/factors": sizes}, consolidated=False)
    return replace(posterior, data=xr.open_datatree(path, engine="zarr", consolidated=False))


@pytest.mark.parametrize("strategy", list(ARGUMENTS))
def test_draws_in_a_store(posterior, stored, monkeypatch, strategy):
    monkeypatch.setattr("bayesmf.draws.reading.IN_MEMORY", 0)
    small_pieces(monkeypatch, posterior.ratings.n_items)
    assert not KeptDraws(stored.data).in_memory
    users = [*posterior.ratings.user_ids[::-1], *NEW]
    asked = {"n": 4, "strategy": strategy} | ARGUMENTS[strategy]
    expected, found = (one.recommend(users, **asked) for one in (posterior, stored))
    column = "mean" if strategy == "mean" else "score"
    np.testing.assert_allclose(found[column], expected[column], atol=1e-5)
    assert (found["item"] == expected["item"]).mean() > 0.98


def test_neighbours_and_loadings_from_a_store(posterior, stored, monkeypatch):
    monkeypatch.setattr("bayesmf.ranking.MAX_DRAWS", 1000)
    similar, top = posterior.similar_items(3, n=5), posterior.top_items(0, n=3)
    monkeypatch.setattr("bayesmf.draws.reading.IN_MEMORY", 0)
    pd.testing.assert_frame_equal(stored.similar_items(3, n=5), similar)
    pd.testing.assert_frame_equal(stored.top_items(0, n=3), top)
