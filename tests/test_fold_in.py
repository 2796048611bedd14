"""Rows folded in: who they are, what they are given, and what the posterior of them can do.

Their law is tested in statistical/test_folding.py.
"""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest

import bayesmf
from bayesmf.canonical import canonical_factors, canonical_row
from bayesmf.draws.reading import spread

CELLS = [(900, 3), (900, 30), (901, 8), (5, 3), (901, 777)]
NEW = pd.DataFrame(
    {"user": [900, 900, 900, 901, 5], "item": [3, 7, 12, 3, 39], "rating": [5.0, 4, 3, 1, 2]}
)


def bits(posterior):
    return {
        name: values.to_numpy().tobytes()
        for name, values in posterior.data["factors"].data_vars.items()
    }


def row(folded, side, one):
    group = folded.data["factors"].to_dataset().sel({side: one})
    return np.dstack([group[f"{side}_factors"], group[f"{side}_bias"]])


@pytest.fixture(scope="module")
def folded(posterior):
    return posterior.fold_in(NEW, draws=100, random_seed=1)


def test_rows_and_their_ratings(folded, posterior):
    assert isinstance(folded, bayesmf.Posterior)
    assert folded.ratings.user_ids.tolist() == [5, 900, 901]
    assert folded.ratings.item_ids.equals(posterior.ratings.item_ids)
    theirs = posterior.ratings.to_frame()
    expected = pd.concat([theirs[theirs["user"] == 5], NEW])
    expected = expected.drop_duplicates(["user", "item"], keep="last")
    pd.testing.assert_frame_equal(
        folded.ratings.to_frame(),
        expected.sort_values(["user", "item"], ignore_index=True),
    )
    sizes = folded.data["factors"].sizes
    assert (sizes["chain"], sizes["draw"], sizes["user"], sizes["item"]) == (2, 50, 3, 40)
    assert folded.protocol().startswith("3 users folded into a fit of K=2, biases on, in 100 of")


def test_a_new_rating_of_a_known_cell_replaces_the_old(posterior):
    table = posterior.ratings.to_frame()
    own = table[table["user"] == 5]
    changed = own.iloc[[2]].assign(rating=9.0)
    found = posterior.fold_in(changed, random_seed=1).ratings.to_frame()
    assert found["rating"].tolist() == [*own["rating"][:2], 9.0, *own["rating"][3:]]


def test_what_is_not_folded_is_the_parents(folded, posterior):
    """Draws stay paired: the other side, noise and centres are those of the same draws."""
    group, theirs = folded.data["factors"], posterior.data["factors"].to_dataset()
    same = theirs.sel(chain=group["chain"], draw=group["draw"])
    for name in set(theirs.data_vars) - {"user_factors", "user_bias"}:
        np.testing.assert_array_equal(group[name], same[name], name)
    # The other side's first rows are where they were in each draw, not only on average.
    cell = folded.predict([(5, 3)], kind="latent", prob=None)["mean"][0]
    u, v = row(folded, "user", 5), row(folded, "item", 3)
    drawn = (u[..., :2] * v[..., :2]).sum(axis=2) + u[..., 2] + v[..., 2]
    center = float(posterior.data["constant_data"]["center"])
    assert cell == pytest.approx(center + drawn.mean(), rel=1e-6)


def test_nothing_of_the_parent_changes(posterior):
    before, table = bits(posterior), posterior.ratings.to_frame()
    given = NEW.copy()
    posterior.fold_in(given, draws=40, random_seed=1).fold_weights  # noqa: B018
    assert bits(posterior) == before
    assert posterior.ratings.to_frame().equals(table)
    pd.testing.assert_frame_equal(given, NEW)


def test_known_rows_are_predicted_and_unknown_ones_from_the_prior(folded, posterior):
    found = folded.predict(CELLS)
    assert np.isfinite(found[["mean", "sd", "lower", "upper"]].to_numpy()).all()
    few = posterior.data.copy()
    group = folded.data["factors"]
    few["factors"] = few["factors"].to_dataset().sel(chain=group["chain"], draw=group["draw"])
    thinned = bayesmf.Posterior(few, posterior.ratings, posterior.model)
    cells = [("nobody", item) for item in (3, 8)]
    strangers = [(10_000, item) for _, item in cells]
    # A user without ratings, whoever is asked: the prior of the same draws.
    np.testing.assert_array_equal(
        folded.predict(strangers).to_numpy(), thinned.predict(strangers).to_numpy()
    )
    width = found["upper"] - found["lower"]
    assert (width > 0).all()


def test_an_unknown_user_gets_what_is_well_liked_with_wide_intervals(posterior):
    table = posterior.ratings.to_frame()
    liked = table.groupby("item")["rating"].mean()
    top = posterior.recommend(10_000, n=5, kind="latent")
    assert liked[top["item"]].mean() > liked.quantile(0.8)
    # Twenty users whose ratings come in one after the other are known better and better.
    own = table[table["user"] < 20].assign(user=lambda t: t["user"] + 900)
    cells = [(user, item) for user in range(900, 920) for item in posterior.ratings.item_ids]
    widths = []
    for n in (0, 2, 6, 40):
        some = own.groupby("user").head(n)
        asked = posterior.fold_in(some, random_seed=1) if n else posterior
        found = asked.predict(cells, kind="latent")
        widths.append((found["upper"] - found["lower"]).mean())
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 1.1 * widths[-1]


def test_recommends_what_is_not_seen(folded):
    seen = set(folded.ratings.to_frame().query("user == 5")["item"])
    found = folded.recommend(n=4)
    assert found["user"].tolist() == [5] * 4 + [900] * 4 + [901] * 4
    assert not seen & set(found.query("user == 5")["item"])
    assert not {3, 7, 12} & set(found.query("user == 900")["item"])


def test_new_items(posterior):
    new = pd.DataFrame({"user": [3, 4, 5, 3], "item": [70, 70, 70, 71], "rating": [5.0, 4, 5, 1]})
    found = posterior.fold_in(new, random_seed=1)
    assert found.side == "item"
    assert found.ratings.item_ids.tolist() == [70, 71]
    assert found.ratings.user_ids.equals(posterior.ratings.user_ids)
    means = found.predict([(10, 70), (10, 71)])["mean"]
    assert means[0] > means[1]
    assert found.recommend(10, n=5)["item"].tolist() == [70, 71]
    assert found.recommend(4, n=5)["item"].tolist() == [71]
    assert 70 not in found.similar_items(70)["item"].tolist()
    assert found.similar_users(3).equals(posterior.similar_users(3))


def test_sides_are_inferred_and_may_be_said(posterior):
    known = pd.DataFrame({"user": [3], "item": [4], "rating": [5.0]})
    assert posterior.fold_in(known).side == "user"
    assert posterior.fold_in(known, side="item").side == "item"
    assert posterior.fold_in(known, side="item").ratings.item_ids.tolist() == [4]


@pytest.mark.parametrize(
    ("table", "arguments", "error", "message"),
    [
        ([(900, 900, 1.0)], {}, ValueError, "one side after the other.*user 900 and item 900"),
        ([(900, 3, 1.0), (3, 901, 2.0)], {}, ValueError, "known items.*Got the unknown items 901"),
        ([(900, 3, 1.0)], {"side": "item"}, ValueError, "known users.*unknown users 900"),
        ([(3, 901, 1.0)], {"side": "user"}, ValueError, "known items.*unknown items 901"),
        ([("ann", 3, 1.0)], {}, TypeError, "'user' ids that are int.*Got 'ann'"),
        ([(900, 3, np.nan)], {}, ValueError, "'new_ratings' argument of fold_in.*finite"),
        ([(900, 3, 1.0), (900, 3, 2.0)], {}, ValueError, r"occurs once.*duplicates of \(900, 3\)"),
        ([(900, 3, 1.0)], {"side": "film"}, ValueError, "'side' argument of fold_in"),
        ([(900, 3, 1.0)], {"draws": 0}, ValueError, "'draws' argument.*positive integer. Got 0"),
        ([(900, 3, 1.0)], {"random_seed": -1}, ValueError, "'random_seed' argument of fold_in"),
        ([(900, 3, 1.0)], {"memory_budget": 8}, ValueError, "'memory_budget'.*at least 1.2e-05MB"),
        ([], {}, ValueError, "'new_ratings' argument of fold_in.*at least one rating"),
    ],
)
def test_bad_input_is_named(posterior, table, arguments, error, message):
    frame = pd.DataFrame(table, columns=["user", "item", "rating"])
    with pytest.raises(error, match=message):
        posterior.fold_in(frame, **arguments)


def test_draws_are_limited_and_evenly_spaced(posterior):
    for draws, chains, kept in ((7, 2, [0, 74, 149]), (1, 1, [0]), (10_000, 2, range(150))):
        group = posterior.fold_in(NEW, draws=draws, random_seed=1).data["factors"]
        assert group.sizes["chain"] == chains
        assert group["draw"].to_numpy().tolist() == list(kept)
    # Three rows of three numbers: a hundred draws.
    tight = posterior.fold_in(NEW, memory_budget=4 * 9 * 100).data["factors"]
    assert (tight.sizes["chain"], tight.sizes["draw"]) == (2, 50)


def test_same_bits_with_any_threads_blocks_and_company(posterior, folded, monkeypatch):
    monkeypatch.setattr("bayesmf.folding.drawing.NORMALS_BYTES", 1)  # a row at a time
    monkeypatch.setattr("bayesmf.folding.drawing.DRAWS_AT_ONCE", 7)
    parent = copy.copy(posterior)
    for cores in (1, 2, 3):
        parent.cores = cores
        again = parent.fold_in(NEW, draws=100, random_seed=1)
        assert bits(again) == bits(folded)
        assert again.fold_weights.equals(folded.fold_weights)
    monkeypatch.undo()
    for user in (5, 900, 901):
        alone = posterior.fold_in(NEW[NEW["user"] == user], draws=100, random_seed=1)
        np.testing.assert_array_equal(row(alone, "user", user), row(folded, "user", user))
    other = posterior.fold_in(NEW, draws=100, random_seed=2)
    assert (row(other, "user", 900) != row(folded, "user", 900)).all()


def test_two_rows_of_the_same_ratings_have_draws_of_their_own(posterior):
    twice = pd.DataFrame({"user": [900, 901], "item": [3, 3], "rating": [5.0, 5.0]})
    found = posterior.fold_in(twice, random_seed=1)
    a, b = (row(found, "user", user).reshape(-1, 3) for user in (900, 901))
    assert (a != b).all()


def test_survives_pickling_with_its_parent(folded, posterior):
    expected = folded.predict(CELLS), folded.similar_users(900), folded.fold_weights
    again = pickle.loads(pickle.dumps(folded))
    found = again.predict(CELLS), again.similar_users(900), again.fold_weights
    for one, other in zip(expected, found, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert repr(again) == repr(folded)
    lone = copy.copy(folded)
    lone.parent = None
    small = pickle.loads(pickle.dumps(lone))
    assert len(pickle.dumps(lone)) < len(pickle.dumps(folded))
    assert small.predict(CELLS).equals(expected[0])
    assert set(small.similar_users(900)["user"]) == {5, 901}  # among themselves
    assert len(small.similar_items(3)) == 10


def test_a_row_folded_in_has_the_canonical_place_of_a_fitted_one(posterior):
    factors = posterior.data["factors"].isel(chain=0, draw=3)
    users, items = (factors[f"{side}_factors"].to_numpy() for side in ("user", "item"))
    both = canonical_factors(users, items)
    for own, other, turned, turned_other in ((users, items, *both), (items, users, *both[::-1])):
        for code in (0, 7):
            found = canonical_row(own[code], own, other, turned_other)
            np.testing.assert_allclose(found, turned[code], atol=1e-5)


def test_similar_users_are_the_parents(posterior):
    table = posterior.ratings.to_frame()
    counts = table["user"].value_counts()
    one = counts.index[0]
    twin = table[table["user"] == one].assign(user=900)
    found = posterior.fold_in(twin, random_seed=1)
    nearest = found.similar_users(900, n=60)
    assert len(nearest) == posterior.ratings.n_users
    assert nearest["user"].tolist().index(one) < 6
    # Of a known row its own old one is no neighbour, and the list is about that of the parent.
    itself = posterior.fold_in(twin.assign(user=one), random_seed=1).similar_users(one, n=100)
    theirs = posterior.similar_users(one, n=100)
    assert set(itself["user"]) == set(theirs["user"])
    one_way, other_way = (t.set_index("user")["similarity"].sort_index() for t in (itself, theirs))
    assert np.corrcoef(one_way, other_way)[0, 1] > 0.9
    with pytest.raises(ValueError, match="'user' argument.*users that were folded in. Got 3"):
        found.similar_users(3)


def test_more_ratings_of_a_folded_row(folded, posterior):
    """Folding in piece by piece is folding in all of it."""
    more = pd.DataFrame({"user": [900, 902], "item": [20, 20], "rating": [1.0, 2.0]})
    found = folded.fold_in(more, draws=100, random_seed=1)
    everything = pd.concat([NEW[NEW["user"] == 900], more])
    at_once = posterior.fold_in(everything, draws=100, random_seed=1)
    assert found.parent is posterior
    assert found.ratings.fingerprint == at_once.ratings.fingerprint
    assert bits(found) == bits(at_once)
    assert found.fold_weights.equals(at_once.fold_weights)


def test_one_side_after_the_other(folded):
    new = pd.DataFrame({"user": [900, 901, 5], "item": [70, 70, 70], "rating": [5.0, 4.0, 4.5]})
    found = folded.fold_in(new, random_seed=1)
    assert found.side == "item"
    assert found.ratings.user_ids.tolist() == [5, 900, 901]
    assert found.predict([(900, 70)])["mean"][0] > found.data["constant_data"]["center"]
    assert len(found.fold_weights) == 1
    assert len(found.similar_items(70, n=100)) == folded.ratings.n_items
    assert found.similar_users(900).equals(folded.similar_users(900))
    known = new.assign(item=8)
    with pytest.raises(ValueError, match="new items, since users were folded in.*Got item 8"):
        folded.fold_in(known, side="item")


def test_what_is_about_a_whole_fit_is_refused(folded):
    for name in (
        "diagnose", "summary", "align", "check_predictive", "loo", "add_log_likelihood", "report",
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"{name} is about a whole fit"):
            getattr(folded, name)()
    page = folded._repr_html_()
    assert page.count("<table") == page.count("</table>") > 0


def test_clip_is_to_the_ratings_of_the_fit(folded, posterior):
    low, high = posterior.ratings.bounds
    assert folded.bounds == (low, max(high, 5.0))
    wild = posterior.fold_in(([900] * 3, [3, 4, 7], [60.0] * 3), random_seed=1)
    clipped = wild.predict([(900, item) for item in range(20)], clip=True)
    assert clipped["mean"].max() <= 60
    assert wild.bounds == (low, 60.0)


@pytest.mark.parametrize("kind", ["text", "date"])
def test_ids_of_any_kind(kind):
    table = bayesmf.simulate(30, 20, 250, n_factors=2, random_seed=1).ratings.to_frame()
    if kind == "text":
        users = "Zoë-" + table["user"].map("{:03d}".format)
        new = "Łukasz"
    else:
        users = pd.Timestamp("2020-01-01") + pd.to_timedelta(table["user"], unit="D")
        new = pd.Timestamp("2031-05-01")
    fitted = bayesmf.fit_bpmf(
        table.assign(user=users), n_factors=2, tune=5, draws=10, chains=2, random_seed=1,
        progressbar=False,
    )  # fmt: skip
    known = users.iloc[0]
    frame = pd.DataFrame({"user": [new, known, new], "item": [3, 4, 5], "rating": [5.0, 1.0, 4.0]})
    found = pickle.loads(pickle.dumps(fitted.fold_in(frame, random_seed=1)))
    assert found.ratings.user_ids.tolist() == sorted([known, new])
    assert found.recommend([new], n=2)["user"].tolist() == [new] * 2
    alone = fitted.fold_in(frame[frame["user"] == new], random_seed=1)
    np.testing.assert_array_equal(row(alone, "user", new), row(found, "user", new))


def test_columns_are_read_by_the_names_of_the_fit():
    table = bayesmf.simulate(30, 20, 250, n_factors=2, random_seed=1).ratings.to_frame()
    renamed = table.rename(columns={"user": "who", "item": "what", "rating": "much"})
    ratings = bayesmf.Ratings(renamed, user_col="who", item_col="what", rating_col="much")
    fitted = bayesmf.fit_bpmf(
        ratings, n_factors=1, tune=2, draws=3, chains=1, random_seed=1, progressbar=False
    )
    found = fitted.fold_in(renamed.head(3).assign(who=900, what=[1, 2, 3]), random_seed=1)
    assert found.ratings.to_frame().columns.tolist() == ["who", "what", "much"]


@pytest.mark.parametrize("unit", [1e-20, 1e20])
def test_units_of_ratings_do_not_matter(unit):
    table = bayesmf.simulate(30, 20, 250, n_factors=2, random_seed=1).ratings.to_frame()
    found = []
    for factor in (1.0, unit):
        fitted = bayesmf.fit_bpmf(
            table.assign(rating=factor * table["rating"]), n_factors=2, tune=5, draws=30, chains=1,
            random_seed=1, progressbar=False,
        )  # fmt: skip
        folded = fitted.fold_in(([99, 99], [3, 4], [3.0 * factor, 5.0 * factor]), random_seed=1)
        cells = folded.predict([(99, 5), (99, 3)])[["mean", "sd", "lower", "upper"]].to_numpy()
        found.append((cells / factor, folded.fold_weights))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-4)
    np.testing.assert_allclose(found[1][1]["ess"], found[0][1]["ess"], rtol=1e-2)


def test_draws_in_a_store_are_read_in_runs(posterior, tmp_path, monkeypatch):
    """The same draws from a store as from memory, the other side read where it is rated."""
    xarray = pytest.importorskip("xarray")
    path = tmp_path / "draws.zarr"
    stored = {"draw": 10, "chain": 1, "user": 60, "item": 40, "factor": 2}
    group = posterior.data["factors"].to_dataset()
    encoding = {
        "/factors": {
            name: {"chunks": tuple(stored[dim] for dim in group[name].dims)}
            for name in ("user_factors", "item_factors", "user_bias", "item_bias")
        }
    }
    posterior.data.to_zarr(path, encoding=encoding, consolidated=False)
    lazy = bayesmf.Posterior(
        xarray.open_datatree(path, engine="zarr", consolidated=False),
        posterior.ratings, posterior.model,
    )  # fmt: skip
    expected = posterior.fold_in(NEW, random_seed=1)
    for size in (10**9, 0):
        monkeypatch.setattr("bayesmf.draws.reading.IN_MEMORY", size)
        found = lazy.fold_in(NEW, random_seed=1)
        assert bits(found) == bits(expected)
        assert found.predict(CELLS).equals(expected.predict(CELLS))
        assert found.fold_weights.equals(expected.fold_weights)
        pd.testing.assert_frame_equal(found.similar_users(900), expected.similar_users(900))
    assert not found._draws.in_memory
    chains, draws = spread(lazy.data["factors"].to_dataset(), 50)
    assert chains.tolist() == [0, 1]
    # 25 of each chain are three runs of eight or nine, at the beginning of chunks of ten.
    assert draws.tolist() == [*range(20, 28), *range(70, 78), *range(120, 129)]
    few = lazy.fold_in(NEW, draws=50, random_seed=1)
    assert few.data["factors"].sizes["draw"] == 25
    assert np.isfinite(few.predict(CELLS)["mean"]).all()
    lazy.data.close()


def test_a_run_in_a_store_is_folded_into(tmp_path):
    table = bayesmf.simulate(30, 20, 250, n_factors=2, random_seed=1).ratings
    quick = {"n_factors": 2, "tune": 5, "draws": 30, "chains": 2, "random_seed": 1}
    kept, stored = (
        bayesmf.fit_bpmf(table, progressbar=False, **quick, **where)
        for where in ({}, {"store": tmp_path / "run.zarr"})
    )
    new = ([90, 90], [3, 4], [5.0, 2.0])
    expected, found = (post.fold_in(new, random_seed=1) for post in (kept, stored))
    assert bits(found) == bits(expected)
    assert found.recommend(90, n=3, strategy="affinity").equals(
        expected.recommend(90, n=3, strategy="affinity")
    )
    nothing = bayesmf.fit_bpmf(
        table, progressbar=False, track=[(1, 2)], keep=0, store=tmp_path / "none.zarr", **quick
    )
    with pytest.raises(ValueError, match="keeps no draws of factors"):
        nothing.fold_in(new)


def test_affinity_is_to_the_mean_of_all_that_were_fitted(posterior, folded):
    """A list by taste does not depend on who is folded in beside a user."""
    alone = posterior.fold_in(NEW[NEW["user"] == 900], draws=100, random_seed=1)
    one, other = (f.recommend(900, n=5, strategy="affinity") for f in (alone, folded))
    pd.testing.assert_frame_equal(one, other)


@pytest.mark.filterwarnings("error")
def test_wild_ratings_are_bad_ratings_or_an_error(posterior):
    wild = posterior.fold_in(([900, 900], [3, 4], [1e20, 1.0]), draws=50, random_seed=1)
    assert np.isfinite(wild.predict([(900, 5)])["mean"]).all()
