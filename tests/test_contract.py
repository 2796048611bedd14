"""What every `fit_*` promises; a new one enters by a line in FITS."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import bayesmf

QUICK = {"tune": 10, "draws": 20, "chains": 2}
FITS = {
    "bpmf": lambda data, **kw: bayesmf.fit_bpmf(data, n_factors=2, **QUICK, **kw),
    "bpmf numpy": lambda data, **kw: bayesmf.fit_bpmf(
        data, n_factors=2, backend="numpy", **QUICK, **kw
    ),
    "bpmf without biases": lambda data, **kw: bayesmf.fit_bpmf(
        data, n_factors=2, biases=False, **QUICK, **kw
    ),
    "bpmf rank 0": lambda data, **kw: bayesmf.fit_bpmf(data, n_factors=0, **QUICK, **kw),
    "bpmf 2008": lambda data, **kw: bayesmf.fit_bpmf(
        data, **bayesmf.published_2008(n_factors=2), **QUICK, **kw
    ),
    "als": lambda data, **kw: bayesmf.fit_als(data, n_factors=2, **kw),
    "als weighted": lambda data, **kw: bayesmf.fit_als(data, n_factors=2, weighted=True, **kw),
    "als plain": lambda data, **kw: bayesmf.fit_als(
        data, n_factors=2, biases=False, center=False, **kw
    ),
    "bias": bayesmf.fit_bias,
    "als in parts": lambda data, **kw: bayesmf.fit_als(
        data, n_factors=2, solve_biases="separate", **kw
    ),
    "sgd": lambda data, **kw: bayesmf.fit_sgd(data, n_factors=2, **kw),
    "mean": lambda data, cores=1, **kw: bayesmf.fit_mean(data, by="item", **kw),
    "neighbors": lambda data, **kw: bayesmf.fit_neighbors(data, shrinkage=5.0, **kw),
    "neighbors by user": lambda data, **kw: bayesmf.fit_neighbors(data, by="user", **kw),
    "svd": lambda data, cores=1, **kw: bayesmf.fit_svd(data, n_factors=2, **kw),
    "svd refilled": lambda data, cores=1, **kw: bayesmf.fit_svd(
        data, n_factors=2, fill="item", max_iter=5, **kw
    ),
    "nmf": lambda data, **kw: bayesmf.fit_nmf(data, n_factors=2, **kw),
    "nmf multiplicative": lambda data, **kw: bayesmf.fit_nmf(
        data, n_factors=2, solver="multiplicative", reg=0.1, **kw
    ),
}
CONVEX = ("bias", "mean", "neighbors", "neighbors by user")
"""The seed of these only moves the held-out part."""


@pytest.fixture(scope="module")
def table():
    ratings = bayesmf.simulate(30, 20, 250, n_factors=2, random_seed=1).ratings
    table = ratings.to_frame().sample(frac=1, random_state=0)
    return table.assign(rating=table["rating"].clip(lower=0.0))  # NMF takes no negative ones


@pytest.fixture(params=FITS)
def name(request):
    return request.param


@pytest.fixture
def fit(name):
    return lambda data, **kw: FITS[name](data, **({"random_seed": 7, "progressbar": False} | kw))


def numbers(result, cells):
    return result.predict(cells).drop(columns=["user", "item"]).to_numpy()


def test_predicts_known_and_unknown_ids(fit, table):
    result = fit(table)
    cells = pd.DataFrame({"user": [3, 999, 3, 999], "item": [2, 2, 999, 999]}, index=list("abcd"))
    predicted = result.predict(cells)
    assert predicted.columns[:3].tolist() == ["user", "item", "mean"]
    assert predicted.index.tolist() == list("abcd")
    assert predicted["user"].tolist() == [3, 999, 3, 999]
    assert np.isfinite(numbers(result, cells)).all()
    assert len(result.predict(cells[:0])) == 0
    if "sd" in predicted:
        width = predicted["upper"] - predicted["lower"]
        assert (width > 0).all()
        assert predicted["mean"].between(predicted["lower"], predicted["upper"]).all()


def test_any_table_gives_the_same_bits(fit, table):
    cells = [(1, 2), (5, 3)]
    expected = numbers(fit(table), cells)
    frames = [pl.from_pandas(table), pa.Table.from_pandas(table, preserve_index=False)]
    arrays = tuple(table[column].to_numpy() for column in ("user", "item", "rating"))
    for other in (bayesmf.Ratings(table), table[::-1], arrays, *frames):
        np.testing.assert_array_equal(numbers(fit(other), cells), expected)


def test_order_preserving_relabelling_gives_the_same_bits(fit, table):
    renamed = table.assign(
        user=table["user"].map("user-{:04d}".format), item=table["item"].map("item-{:04d}".format)
    )
    expected = numbers(fit(table), [(1, 2), (5, 3)])
    found = numbers(fit(renamed), [("user-0001", "item-0002"), ("user-0005", "item-0003")])
    np.testing.assert_array_equal(found, expected)


def test_ids_may_be_dates(fit, table):
    days = table.assign(
        user=np.datetime64("2020-01-01") + table["user"].to_numpy().astype("timedelta64[D]")
    )
    expected = numbers(fit(table), [(1, 2), (999, 2)])
    result = fit(days)
    cells = pd.DataFrame({"user": ["2020-01-02", "2029-01-01"], "item": [2, 2]})
    cells["user"] = pd.to_datetime(cells["user"])
    np.testing.assert_array_equal(numbers(result, cells), expected)
    again = pickle.loads(pickle.dumps(result))
    lists = again.recommend(cells["user"], n=2)
    assert lists["user"].tolist() == [cells["user"][0]] * 2 + [cells["user"][1]] * 2


def test_input_is_not_changed(fit, table):
    before = table.copy()
    fit(table)
    pd.testing.assert_frame_equal(table, before)


def test_seeds_and_cores(fit, table, name, monkeypatch):
    monkeypatch.setattr("bayesmf.kernels.blocks.RATINGS_PER_BLOCK", 60)  # several blocks a side
    monkeypatch.setitem(QUICK, "chains", 1)  # cores to spare for them
    cells = [(1, 2), (5, 3), (999, 2)]
    expected = numbers(fit(table, cores=1), cells)
    for cores in (1, 2, 3):
        np.testing.assert_array_equal(numbers(fit(table, cores=cores), cells), expected)
    other = numbers(fit(table, random_seed=8), cells)
    if name not in CONVEX:
        assert (other != expected).any()


def test_survives_pickling(fit, table):
    result = fit(table)
    cells = [(1, 2), (5, 3), (999, 2)]
    expected = numbers(result, cells)
    again = pickle.loads(pickle.dumps(result))
    np.testing.assert_array_equal(numbers(again, cells), expected)
    assert repr(again) == repr(result)


def test_recommends(fit, table):
    result = fit(table)
    counts = table["user"].value_counts()
    few, fewer = counts.index[-2:]
    lists = result.recommend([few, 999, fewer], n=4)
    assert lists.columns[:4].tolist() == ["user", "rank", "item", "mean"]
    assert lists["user"].tolist() == [few] * 4 + [999] * 4 + [fewer] * 4
    assert lists["rank"].tolist() == [1, 2, 3, 4] * 3
    seen = set(table.loc[table["user"] == few, "item"])
    assert not seen & set(lists.loc[lists["user"] == few, "item"])
    # Against predictions of every cell.
    items = sorted(set(table["item"]) - seen)
    predicted = result.predict([(few, item) for item in items]).sort_values("mean")
    assert lists["item"][:4].tolist() == predicted["item"][::-1][:4].tolist()
    np.testing.assert_allclose(lists["mean"][:4], predicted["mean"][::-1][:4], rtol=1e-6)
    everything = result.recommend(few, n=100, exclude_seen=False)
    assert len(everything) == table["item"].nunique()
    assert len(result.recommend(few, n=100)) == len(items)
    assert len(result.recommend([], n=3)) == 0
    assert set(result.recommend(n=1, exclude_seen=False)["user"]) == set(table["user"])


def test_similar_and_top(fit, table):
    result = fit(table)
    if result.n_factors == 0 and hasattr(result, "top_items"):
        for call in (
            lambda: result.similar_items(1),
            lambda: result.similar_users(1),
            lambda: result.top_items(0),
        ):
            with pytest.raises(ValueError, match="needs factors, but this model has n_factors=0"):
                call()
        return
    similar = result.similar_items(2, n=5)
    assert 2 not in set(similar["item"])
    assert similar["similarity"].is_monotonic_decreasing
    assert similar["similarity"].between(-1, 1).all()
    assert len(result.similar_users(2, n=1000)) == table["user"].nunique() - 1
    if not result.n_factors:
        return
    top = result.top_items(0, n=3)
    assert top["loading"].iloc[:3].is_monotonic_decreasing
    assert top["loading"].iloc[3:].is_monotonic_increasing


@pytest.mark.filterwarnings("ignore:.*rows that were folded in")  # forty draws foretell little
def test_folds_in(fit, table, name):
    """Posteriors and whatever has factors; without a penalty there is one for the asking."""
    result = fit(table)
    if name.startswith("neighbors"):
        assert not hasattr(result, "fold_in")
        return
    drawn = name.startswith("bpmf")
    how = {"random_seed": 1} if drawn else {"reg": 1.0, "reg_bias": 1.0}
    users = pd.DataFrame({"user": [900, 900, 3], "item": [1, 2, 2], "rating": [5.0, 4.0, 1.0]})
    cells = pd.DataFrame({"user": [900, 3, 900, 999], "item": [2, 999, 1, 999]})
    flip = {"user": "item", "item": "user"}
    for side, new, asked in (
        ("user", users, cells),
        ("item", users.rename(columns=flip), cells.rename(columns=flip)),
    ):
        folded = result.fold_in(new, side=side, **how)
        found = numbers(folded, asked)
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(numbers(pickle.loads(pickle.dumps(folded)), asked), found)
        assert not drawn or len(folded.fold_weights) == 2
        assert folded.recommend([3, 4], n=3)["rank"].max() <= 3
        if drawn and result.n_factors:
            assert len(folded.similar_users(3, n=4)) == len(folded.similar_items(3, n=4)) == 4
            assert len(folded.top_items(0, n=3)) == 6
        elif not drawn:  # estimates are of the two rows alone: draws have the fit beside them
            for function in ("similar_users", "similar_items", "top_items"):
                with pytest.raises(ValueError, match=f"{function} is about a whole fit"):
                    getattr(folded, function)(0)
        test = table[table[flip[side]] > 3][:20].assign(**{side: 900})
        entered = bayesmf.compare({"folded": folded}, test, clip=True)
        assert np.isfinite(entered.table["RMSE"]).all()


@pytest.mark.parametrize("ending", ["zarr", "nc"])
def test_survives_saving(fit, table, tmp_path, ending):
    result = fit(table)
    cells = [(1, 2), (5, 3), (999, 2), (999, 999)]
    again = bayesmf.load(result.save(tmp_path / f"result.{ending}"))
    assert type(again) is type(result)
    assert repr(again) == repr(result)
    assert again.fit_seconds == result.fit_seconds
    np.testing.assert_array_equal(numbers(again, cells), numbers(result, cells))
    pd.testing.assert_frame_equal(again.recommend(n=2), result.recommend(n=2))
    test = table.drop_duplicates("item").assign(user=999)
    found, expected = (bayesmf.compare({"model": one}, test).table for one in (again, result))
    scores = [name for name in expected if "seconds" not in name]
    pd.testing.assert_frame_equal(found[scores], expected[scores])


@pytest.mark.filterwarnings("ignore:.*rows that were folded in")  # forty draws foretell little
@pytest.mark.parametrize("ending", ["zarr", "nc"])
def test_one_user_and_one_item_survive_saving(table, tmp_path, ending):
    result = FITS["bpmf"](table, random_seed=7, progressbar=False)
    for side, new in (("user", ([900], [1], [5.0])), ("item", ([1], [900], [5.0]))):
        folded = result.fold_in(new, side=side, random_seed=1)
        again = bayesmf.load(folded.save(tmp_path / f"{side}.{ending}"))
        assert repr(again) == repr(folded)
        cells = [(900, 1), (900, 999)] if side == "user" else [(1, 900), (999, 900)]
        np.testing.assert_array_equal(numbers(again, cells), numbers(folded, cells))
        pd.testing.assert_frame_equal(again.fold_weights, folded.fold_weights)


def test_goes_on(table, name, tmp_path):
    """Every Gibbs fit resumes from a store, and hears of more ratings."""
    if not name.startswith("bpmf"):
        with pytest.raises(TypeError, match="store"):
            FITS[name](table, store=tmp_path / "run.zarr")
        return
    how = {"random_seed": 7, "progressbar": False}
    FITS[name](table, store=tmp_path / "run.zarr", keep=20, **how)
    longer = bayesmf.resume(tmp_path / "run.zarr", draws=3, progressbar=False)
    assert longer.data["posterior"].sizes["draw"] == QUICK["draws"] + 3
    cells = [(1, 2), (900, 2)]
    later = longer.update(([900], [2], [1.0]), tune=2, draws=4, random_seed=1, progressbar=False)
    assert later.ratings.n_users == longer.ratings.n_users + 1
    assert np.isfinite(numbers(later, cells)).all()


def test_represents_itself(fit, table):
    result = fit(table)
    assert "seed 7" in result.protocol()
    assert type(result).__name__ in repr(result)
    page = result._repr_html_()
    assert page.count("<table") == page.count("</table>") > 0


def test_enters_compare(fit, table):
    train, test = bayesmf.train_test_split(table, test_size=0.2, random_seed=1)
    result = fit(train)
    found = bayesmf.compare({"model": result}, test)
    assert found.table.index.tolist() == ["model"]
    means = result.predict(test)["mean"].to_numpy()
    truth = test["rating"].to_numpy()
    row = found.table.loc["model"]
    assert row["RMSE"] == pytest.approx(np.sqrt(np.mean((means - truth) ** 2)), rel=1e-6)
    assert row["MAE"] == pytest.approx(np.mean(np.abs(means - truth)), rel=1e-6)
    assert "random_seed=1" in found.protocol
