"""Networks: what every fit promises, and that gradients, masks and forward passes are right."""

import os
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest

import bayesmf
from bayesmf.neural import autoencoder, embeddings
from bayesmf.neural.backend import need_keras
from bayesmf.neural.training import Pace, train, validation
from bayesmf.point.forward import decode, embedding_means, encode, rated_rows
from bayesmf.progress import Progress
from bayesmf.seeds import generator

fit_neural_mf, fit_autorec = bayesmf.neural.fit_neural_mf, bayesmf.neural.fit_autorec
RATINGS = bayesmf.simulate(30, 20, 250, n_factors=2, random_seed=1).ratings
TABLE = RATINGS.to_frame()
UNSEEN = TABLE.drop_duplicates("item").assign(user=999)
QUIET = {"progressbar": False}
CELLS = [(1, 2), (5, 3), (999, 2), (1, 999), (999, 999)]


def by_dots(data, **kw):
    return fit_neural_mf(data, n_factors=2, max_epochs=4, batch_size=64, **QUIET, **kw)


def by_layers(kind):
    return lambda data, **kw: fit_neural_mf(
        data, kind=kind, n_factors=2, n_hidden=7, max_epochs=4, batch_size=64, **QUIET, **kw
    )


def by_rows(by):
    return lambda data, **kw: fit_autorec(
        data, by=by, n_hidden=6, max_epochs=4, batch_size=8, reg=1.0, **QUIET, **kw
    )


FITS = {
    "dot": by_dots,
    "deep": by_layers("deep"),
    "residual": by_layers("residual"),
    "item": by_rows("item"),
    "user": by_rows("user"),
    "two": lambda data, **kw: by_rows("item")(data, n_members=2, **kw),
}


@pytest.fixture(scope="module")
def results():
    return {name: fit(TABLE, random_seed=7) for name, fit in FITS.items()}


@pytest.fixture(params=FITS)
def result(request, results):
    return results[request.param]


@pytest.fixture(scope="module")
def keras():
    return need_keras("a test")


def numbers(result, cells=CELLS):
    return result.predict(cells)["mean"].to_numpy()


# What every fit promises.


def test_predicts_known_and_unknown_ids(result):
    assert np.isfinite(numbers(result)).all()
    assert len(result.predict([])) == 0
    low, high = RATINGS.bounds
    clipped = result.predict(TABLE, clip=True)["mean"]
    assert clipped.between(low, high).all()


@pytest.mark.parametrize("ending", ["zarr", "nc"])
def test_survives_saving_and_pickling(result, tmp_path, ending):
    for again in (
        bayesmf.load(result.save(tmp_path / f"result.{ending}")),
        pickle.loads(pickle.dumps(result)),
    ):
        assert type(again) is type(result)
        assert repr(again) == repr(result)
        assert again.n_parameters == result.n_parameters
        np.testing.assert_array_equal(numbers(again), numbers(result))
        np.testing.assert_array_equal(again.loss, result.loss)
        pd.testing.assert_frame_equal(again.tried, result.tried)
        pd.testing.assert_frame_equal(again.recommend(n=2), result.recommend(n=2))
        found, expected = (
            bayesmf.compare({"model": one}, UNSEEN).table.drop(columns="fit_seconds")
            for one in (again, result)
        )
        pd.testing.assert_frame_equal(found, expected)


def test_recommends_what_it_predicts(result):
    lists = result.recommend([3, 999], n=4)
    assert lists["rank"].tolist() == [1, 2, 3, 4] * 2
    for user in (3, 999):
        unseen = sorted(set(TABLE["item"]) - set(TABLE.loc[TABLE["user"] == user, "item"]))
        cells = result.predict([(user, item) for item in unseen]).sort_values("mean")
        found = lists[lists["user"] == user]
        assert found["item"].tolist() == cells["item"][::-1][:4].tolist()
        np.testing.assert_allclose(found["mean"], cells["mean"][::-1][:4], rtol=1e-9)


def test_enters_compare_and_says_what_it_is(result):
    scores = bayesmf.compare({"model": result}, UNSEEN).table.loc["model"]
    errors = numbers(result, UNSEEN) - UNSEEN["rating"]
    assert scores["RMSE"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-6)
    assert scores["width_90"] > 0
    assert "seed 7" in result.protocol()
    assert f"{len(result.loss) - 1} epoch" in result.protocol()
    assert result._repr_html_().count("<table") == 1


def test_ids_do_not_matter(results):
    renamed = TABLE.assign(user=TABLE["user"].map("u{:04d}".format))[::-1]
    again = FITS["item"](renamed, random_seed=7)
    found = numbers(again, [("u0001", 2), ("u0005", 3), ("nobody", 2)])
    np.testing.assert_array_equal(found, numbers(results["item"])[:3])


def test_units_do_not_matter(results):
    """Ratings of 1000 to 5000 are those of 1 to 5, if penalties are given in their units."""
    for name in ("residual", "item"):
        other = FITS[name](TABLE.assign(rating=1000 * TABLE["rating"] + 7), random_seed=7)
        found = (numbers(other) - 7) / 1000
        np.testing.assert_allclose(found, numbers(results[name]), rtol=1e-4)


def test_same_seed_same_bits_in_another_process(results):
    """And Keras comes in only when a network is fitted, on JAX unless told otherwise."""
    code = """
        import sys, bayesmf
        assert not {"bayesmf.neural", "keras"} & set(sys.modules)
        bayesmf.neural
        assert "keras" not in sys.modules
        from tests.test_neural import FITS, TABLE, numbers
        print([numbers(FITS[name](TABLE, random_seed=7)).tolist() for name in ("residual", "two")])
        import keras
        print(keras.backend.backend())
    """
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, backend = done.stdout.splitlines()
    assert backend == "jax"
    if need_keras("a test").backend.backend() == "jax":
        assert found == str([numbers(results[name]).tolist() for name in ("residual", "two")])
    assert (numbers(FITS["item"](TABLE, random_seed=8)) != numbers(results["item"])).any()


BAD = {
    "kind": (fit_neural_mf, "wide", ValueError),
    "n_factors": (fit_neural_mf, 0, ValueError),
    "n_hidden": (fit_neural_mf, 2.5, TypeError),
    "reg": (fit_neural_mf, -1, ValueError),
    "reg_bias": (fit_neural_mf, "auto", TypeError),
    "momentum": (fit_neural_mf, 1, ValueError),
    "learning_rate": (fit_neural_mf, 0, ValueError),
    "batch_size": (fit_neural_mf, 0, ValueError),
    "max_epochs": (fit_neural_mf, 0, ValueError),
    "patience": (fit_neural_mf, 0, ValueError),
    "n_members": (fit_neural_mf, 2, ValueError),
    "validation_size": (fit_neural_mf, 1, ValueError),
    "random_seed": (fit_neural_mf, -1, ValueError),
    "by": (fit_autorec, "row", ValueError),
    "activation": (fit_autorec, "relu", ValueError),
    "dropout": (fit_autorec, 1.0, ValueError),
    "progressbar": (fit_autorec, 1, TypeError),
}


@pytest.mark.parametrize("argument", BAD)
def test_bad_input(argument, monkeypatch):
    function, value, error = BAD[argument]
    monkeypatch.setitem(sys.modules, "keras", None)  # nothing has been imported by then
    with pytest.raises(error, match=f"The '{argument}' argument of {function.__name__} must be"):
        function(TABLE, **{argument: value})


def test_without_keras(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    for function in (fit_neural_mf, fit_autorec):
        message = rf"{function.__name__} needs Keras: pip install 'bayesmf\[neural\]'"
        with pytest.raises(ImportError, match=message):
            function(TABLE)


def test_smallest_tables():
    tiny = pd.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1], "rating": [1.0, 5.0, 3.0]})
    for fit in (FITS["dot"], FITS["item"]):
        result = fit(tiny, random_seed=1)
        assert np.isfinite(result.predict([(1, 1), (2, 2), (3, 3)])["mean"]).all()
        assert len(result.recommend(2)) == 1


@pytest.mark.parametrize("rate", [1e4, 1e6])
def test_a_rate_at_which_weights_explode(rate):
    with pytest.raises(ValueError, match="fit_neural_mf diverged: .* smaller 'learning_rate'"):
        fit_neural_mf(TABLE, learning_rate=rate, random_seed=1, **QUIET)


# Forward passes, gradients, masks.


@pytest.mark.parametrize("kind", embeddings.KINDS)
def test_numpy_predicts_what_keras_does(keras, kind):
    shape = embeddings.Shape(kind, 3, 9, 1.0, 1.0)
    network = embeddings.Embeddings(keras, RATINGS, shape, 0.9, 64)
    weights = {
        name: generator(1, name).standard_normal(one.shape)
        for name, one in network.start(generator(1, "start")).items()
    }
    network.reset(weights)
    users, items = RATINGS.users, RATINGS.items
    expected = np.asarray(network.model.predict_on_batch((users, items)))[:, 0]
    found = embedding_means(network.weights(), users, items)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    # An unknown user is the mean of the known ones, without a bias.
    if kind == "dot":
        u = weights["user_factors"].mean(axis=0)
        by_hand = u @ weights["item_factors"][3] + weights["item_bias"][3, 0]
        nobody = embedding_means(weights, np.array([-1]), np.array([3]))
        np.testing.assert_allclose(nobody, by_hand)


@pytest.mark.parametrize("activation", autoencoder.ACTIVATIONS)
def test_numpy_predicts_what_keras_does_with_rows(keras, activation):
    shape = autoencoder.Shape("item", 5, activation, 0.0, 1.0)
    network = autoencoder.AutoRec(keras, RATINGS, shape, 8)
    network.reset(network.start(generator(1, "start")))
    rows = rated_rows(RATINGS, network.targets, "item")
    expected = np.asarray(network.model.predict_on_batch(rows.toarray()))
    hidden = encode(network.weights(), rows, activation)
    grid = np.indices(expected.shape).reshape(2, -1)
    found = decode(network.weights(), hidden, *grid)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-5, atol=1e-5)
    # Row -1 is an empty one.
    empty = np.asarray(network.model.predict_on_batch(np.zeros((1, expected.shape[1]), "f4")))
    found = decode(network.weights(), hidden, np.array([-1, -1]), np.array([0, 4]))
    np.testing.assert_allclose(found, empty[0, [0, 4]], rtol=1e-5)


def test_gradient_of_the_masked_loss(keras):
    """One step of plain descent at rate one is the gradient: here, the one derived by hand."""
    shape = autoencoder.Shape("item", 4, "sigmoid", 0.4, 3.0)
    network = autoencoder.AutoRec(keras, RATINGS, shape, RATINGS.n_items)
    start = {name: one.astype("f4") for name, one in network.start(generator(1, "x")).items()}
    rows = rated_rows(RATINGS, network.targets, "item")
    kept = generator(1, "kept").random(rows.nnz) < 0.6
    inputs = (rows.data * kept / np.float32(0.6)).astype("f4")
    x, y = autoencoder.dense(rows, inputs, np.arange(RATINGS.n_items), RATINGS.n_items)
    unit = RATINGS.n_items / len(RATINGS)
    loss = autoencoder.masked_squares(keras, unit)
    network.model.compile(optimizer=keras.optimizers.SGD(1.0), loss=loss)
    network.model.set_weights([start[name] for name, _ in network._named()])
    network.model.train_on_batch(x, y)
    found = {name: start[name] - one for name, one in network.weights().items()}

    w, n = {name: one.astype(float) for name, one in start.items()}, len(RATINGS)
    h = 1 / (1 + np.exp(-(x @ w["hidden_kernel"] + w["hidden_bias"])))
    e = np.where(np.isnan(y), 0.0, h @ w["output_kernel"] + w["output_bias"] - y)
    back = (e @ w["output_kernel"].T) * h * (1 - h)
    expected = {
        "hidden_kernel": 2 / n * (x.T @ back + 3.0 * w["hidden_kernel"]),
        "hidden_bias": 2 / n * back.sum(axis=0),
        "output_kernel": 2 / n * (h.T @ e + 3.0 * w["output_kernel"]),
        "output_bias": 2 / n * e.sum(axis=0),
    }
    for name, one in expected.items():
        np.testing.assert_allclose(found[name], one, rtol=2e-3, atol=2e-6)


def test_unrated_cells_do_not_count(keras):
    """Neither in the loss, nor in a fit: a network without inputs finds the means of what is rated.

    With zeros in their place the outputs would be far below: each column is rated in a few rows.
    """
    loss = autoencoder.masked_squares(keras, 1.0)
    y = np.array([[1.0, np.nan, 3.0]], dtype="f4")
    for unrated in (0.0, 100.0, np.inf):
        out = np.array([[2.0, unrated, 1.0]], dtype="f4")
        assert float(np.array(keras.ops.convert_to_numpy(loss(y, out)))[0]) == 5.0

    fit = fit_autorec(
        TABLE, by="user", n_hidden=1, activation="identity", dropout=0.999999, reg=0.0,
        learning_rate=0.02, max_epochs=400, patience=None, random_seed=1, **QUIET,
    )  # fmt: skip
    means = TABLE.groupby("item")["rating"].mean()
    found = fit.predict([(999, item) for item in means.index])["mean"]
    np.testing.assert_allclose(found, means, atol=0.02)


def test_users_are_items_of_the_other_way_round(results):
    """A fit by user is one by item with the columns' names changed over."""
    how = {"dropout": 0.0, "patience": None, "random_seed": 3}
    one = FITS["user"](TABLE, **how)
    other = FITS["item"](TABLE.rename(columns={"user": "item", "item": "user"}), **how)
    cells = [(1, 2), (5, 3), (999, 2), (1, 999)]
    turned = numbers(other, [(item, user) for user, item in cells])
    np.testing.assert_allclose(numbers(one, cells), turned, rtol=1e-5)


@pytest.mark.parametrize("by", ["item", "user"])
def test_batches_hold_every_rating_once(keras, by):
    network = autoencoder.AutoRec(keras, RATINGS, autoencoder.Shape(by, 2, "sigmoid", 0.5, 1.0), 7)
    part = validation(RATINGS, 0.3, 1).part
    batches = network.epoch(part, generator(1, "epoch"))
    x, y = (
        np.concatenate(arrays)
        for arrays in zip(*map(batches.__getitem__, range(len(batches))), strict=True)
    )
    assert np.isfinite(y).sum() == len(part)
    assert sorted(y[np.isfinite(y)]) == sorted(network.targets[part])
    assert (x[np.isnan(y)] == 0).all()
    seen = x[np.isfinite(y)]
    kept = seen != 0
    assert 0.3 < kept.mean() < 0.7  # of 175: five sds and more
    np.testing.assert_allclose(seen[kept], 2 * y[np.isfinite(y)][kept], rtol=1e-6)
    shapes = {one.shape for k in range(len(batches)) for one in batches[k]}
    assert len(shapes) == 1  # nothing is compiled twice

    network = embeddings.Embeddings(
        keras, RATINGS, embeddings.Shape("dot", 2, 1, 1.0, 1.0), 0.9, 64
    )
    batches = network.epoch(part, generator(1, "epoch"))
    cells, y, weights = [], [], []
    for k in range(len(batches)):
        (users, items), targets, of_batch = batches[k]
        assert len(users) == len(items) == len(targets) == len(of_batch) == 64
        real = of_batch > 0
        cells += zip(users[real], items[real], strict=True)
        weights += of_batch.tolist()
    assert sorted(cells) == sorted(zip(RATINGS.users[part], RATINGS.items[part], strict=True))
    # The mean over batches of 64 is then the sum over the part, divided by all ratings.
    assert sum(weights) / (64 * len(batches)) == pytest.approx(len(part) / len(RATINGS))


# What is learned.


def test_the_dot_product_reaches_the_loss_of_als():
    how = {"n_factors": 2, "reg": 4.0, "reg_bias": 2.0, "random_seed": 1, **QUIET}
    als = bayesmf.fit_als(TABLE, tol=1e-9, max_iter=2000, **how)
    dot = fit_neural_mf(
        TABLE, learning_rate=0.1, batch_size=250, max_epochs=400, patience=None, **how
    )
    assert dot.loss[-1] == pytest.approx(als.loss[-1], rel=0.005)
    # The loss that was followed is that of the factors, at the start too.
    rated = dot.predict(TABLE)["mean"].to_numpy() - TABLE["rating"].to_numpy()
    factors = sum(np.sum(one**2) for one in (dot.user_factors, dot.item_factors))
    biases = sum(np.sum(one**2) for one in (dot.user_bias, dot.item_bias))
    whole = np.sum(rated**2) + 4.0 * factors + 2.0 * biases
    assert dot.loss[-1] == pytest.approx(whole, rel=0.005)
    assert dot.loss[0] > 1.3 * dot.loss[-1]
    assert dot.item_bias.shape == (20,)
    assert len(dot.similar_items(2, n=5)) == 5


def test_stops_early_and_fits_all_for_as_long():
    fit = fit_autorec(TABLE, n_hidden=20, reg=0.1, learning_rate=0.02, random_seed=1, **QUIET)
    tried = fit.tried
    best = tried["epoch"][tried["rmse"].idxmin()]
    assert len(tried) == best + 5 < 200
    assert len(fit.loss) == best + 1
    assert fit.loss[-1] < fit.loss[0]
    rates = tried["learning_rate"].to_numpy()
    assert (rates[best:] == rates[best - 1] * np.array([1, 1, 0.5, 0.5, 0.25])).all()
    assert fit.sigma == tried["rmse"].min()


def test_members_differ_and_their_spread_makes_the_error(keras, results):
    two = results["two"]
    assert two.n_members == 2
    assert two.n_parameters == 2 * results["item"].n_parameters
    np.testing.assert_array_equal(
        two.weights["hidden_kernel"][0], results["item"].weights["hidden_kernel"][0]
    )
    assert two.noise < two.sigma
    pairs = two.ratings.pairs([(1, 2), (5, 3)], "pairs", "a test")
    (mixture,) = two.over_mixtures(pairs, lambda _, mixture: mixture, limit=10)
    assert mixture.means.shape == (2, 2)
    assert (mixture.means[:, 0] != mixture.means[:, 1]).all()
    np.testing.assert_allclose(mixture.mean(), numbers(two, [(1, 2), (5, 3)]))
    np.testing.assert_allclose(mixture.sd() ** 2, two.noise**2 + np.var(mixture.means, axis=1))

    shape = autoencoder.Shape("item", 6, "sigmoid", 0.3, 1.0)
    network = autoencoder.AutoRec(keras, RATINGS, shape, 8)
    with Progress(["a", "b"], 9, show=False) as progress:
        trained = train(
            network, Pace(0.01, 8, 3, 2), n_members=3, validation_size=0.2, seed=1,
            progress=progress, function="a test",
        )  # fmt: skip
    assert progress.done == progress.totals
    assert 0 < trained.noise < trained.sigma
    assert trained.tried.groupby("member").size().tolist() == [3, 3, 3]


def test_real_ratings(data_dir):
    train_part, test_part = bayesmf.load_movielens("100k", fold=1, path=data_dir)
    fit = fit_autorec(
        train_part, n_hidden=100, batch_size=128, max_epochs=12, random_seed=1, **QUIET
    )
    assert bayesmf.compare({"AutoRec": fit}, test_part).table.loc["AutoRec", "RMSE"] < 0.93
