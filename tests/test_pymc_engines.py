"""NUTS and ADVI return what Gibbs returns; what they cannot do is said before they start."""

import os
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

import bayesmf
from bayesmf.gibbs.chains import Plan
from bayesmf.methods import Options, choose_batch
from bayesmf.pymc_engine import nuts
from bayesmf.pymc_engine.draws import Replay

FEW = {"n_factors": 1, "random_seed": 1, "progressbar": False, "probe": 30}


@pytest.fixture(scope="module")
def table():
    return bayesmf.simulate(25, 20, 260, n_factors=1, random_seed=6).ratings


@pytest.fixture(scope="module")
def gibbs(table):
    return bayesmf.fit_bpmf(table, tune=500, draws=2000, **FEW)


@pytest.fixture(scope="module")
def by_nuts(table):
    return bayesmf.fit_bpmf(table, method="nuts", tune=500, draws=500, **FEW)


@pytest.fixture(scope="module")
def by_advi(table):
    return bayesmf.fit_bpmf(table, method="advi", draws=1000, **FEW)


def shapes(post):
    """Variables of all groups, with their dimensions and without their numbers of draws."""
    return {
        (name, variable, array.dims)
        for name in ("posterior", "factors", "constant_data", "observed_data")
        for variable, array in post.data[name].data_vars.items()
    }


def test_all_engines_return_the_same_schema(gibbs, by_nuts, by_advi):
    assert shapes(by_nuts) == shapes(gibbs)
    assert shapes(by_advi) == shapes(gibbs)
    assert by_nuts.data.attrs["engine"] == "nuts/nutpie"
    assert by_nuts.protocol().endswith(" divergences).")
    assert "1,000 draws from a Gaussian, " in by_advi.protocol()
    assert by_advi.protocol().endswith(": not the posterior).")
    assert by_advi.data.attrs["engine"] == "advi/pymc"
    assert {"diverging", "n_steps", "step_size"} <= set(by_nuts.data["sample_stats"].data_vars)
    sizes = by_nuts.data["posterior"].sizes
    assert (sizes["chain"], sizes["draw"]) == (4, 500)


def test_all_engines_predict_and_compare(table, gibbs, by_nuts, by_advi):
    """Over five seeds 0.08 at most by NUTS and 0.07 by ADVI: bounds are twice that and more."""
    posts = {"Gibbs": gibbs, "NUTS": by_nuts, "ADVI": by_advi}
    cells = [(user, item) for user in table.user_ids[:8] for item in table.item_ids[:8]]
    means = {name: post.predict(cells)["mean"].to_numpy() for name, post in posts.items()}
    sd = gibbs.predict(cells, kind="latent")["sd"].to_numpy()
    assert np.abs((means["NUTS"] - means["Gibbs"]) / sd).max() < 0.2
    assert np.sqrt(np.mean(((means["ADVI"] - means["Gibbs"]) / sd) ** 2)) < 0.2
    with pytest.warns(UserWarning, match="were in the training"):
        scores = bayesmf.compare(posts, table).table
    assert np.ptp(scores["RMSE"]) < 0.05 * scores["RMSE"].mean()
    assert by_nuts.recommend(table.user_ids[0], n=3)["rank"].tolist() == [1, 2, 3]


def sd_ratio(one, other, name):
    """Median of the sds of one over those of the other."""
    sds = [post.data["posterior"][name].std(("chain", "draw")) for post in (one, other)]
    return float((sds[0] / sds[1]).median())


def test_advi_is_too_sure_and_full_rank_less_so(table, gibbs, by_advi):
    """What depends on users and items together; a Pareto k above 0.7 says so of both.

    Over five seeds the ratio of its sd is 0.77-0.84 of the singular value and 0.63-0.67 of the log
    likelihood; of full rank 0.84-0.91 and 0.68-0.72. Pareto k is 1.2-1.6 and 0.8-1.1.
    """
    full = bayesmf.fit_bpmf(table, method="fullrank_advi", draws=1000, **FEW)
    for name in ("singular_value", "total_log_likelihood"):
        independent, all_covariances = sd_ratio(by_advi, gibbs, name), sd_ratio(full, gibbs, name)
        assert independent < 0.9
        assert independent + 0.02 < all_covariances < 1.0
    assert by_advi.data.attrs["pareto_k"] > max(full.data.attrs["pareto_k"], 0.7)
    assert full.data.attrs["engine"] == "fullrank_advi/pymc"
    assert full.data.attrs["converged"] == 1


def test_advi_keeps_its_elbo(by_advi):
    elbo = by_advi.data["iterations"]["elbo"].to_numpy()
    assert len(elbo) == by_advi.data.attrs["iterations"]
    assert elbo[-1000:].mean() > elbo[:1000].mean()
    assert by_advi.data.attrs["converged"] == 1


def test_advi_says_when_it_has_not_settled(table):
    with pytest.warns(UserWarning, match="ADVI reached max_iter=300"):
        post = bayesmf.fit_bpmf(table, method="advi", draws=10, max_iter=300, **FEW)
    assert post.data.attrs["converged"] == 0


def test_pymcs_own_sampler_serves_where_nutpie_is_missing(table, monkeypatch):
    monkeypatch.setattr(nuts, "find_spec", lambda name: None)
    post = bayesmf.fit_bpmf(table, method="nuts", tune=50, draws=20, chains=1, cores=1, **FEW)
    assert post.data.attrs["engine"] == "nuts/pymc"
    assert post.data["posterior"].sizes["draw"] == 20
    assert np.isfinite(post.data["posterior"]["probe"]).all()


def slow(x):
    time.sleep(2e-3)


slow.n_parameters = 33_022


def test_a_long_run_is_told_before_it_starts():
    length = nuts.Length.of(slow, np.zeros(1), nuts.Run(Plan(1000, 1000), 4, 2, 1, 0.9, False))
    assert (length.cores, length.draws) == (2, 4000)
    assert length.seconds == pytest.approx(4000 * 127 * length.gradient)
    with pytest.warns(UserWarning, match=r"about \d+ minutes here: 33,022 parameters"):
        length.warn()
    with pytest.warns(UserWarning, match="about 2.0 hours .* method='gibbs' draws from the same"):
        length._replace(seconds=7200.0).warn()
    with pytest.warns(UserWarning, match="take 9 GB of memory for its draws here"):
        length._replace(seconds=1.0, gigabytes=9.0).warn()
    length._replace(seconds=599.0).warn()


SAME_BITS = """
import hashlib, warnings, bayesmf
warnings.simplefilter("ignore")  # so short a run says so
ratings = bayesmf.simulate(12, 10, 60, random_seed=1).ratings
fit = bayesmf.fit_bpmf(ratings, method="nuts", n_factors=2, tune=50, draws=50, chains=2,
                       random_seed=1, progressbar=False)
print(hashlib.sha256(fit.data["posterior"]["probe"].to_numpy().tobytes()).hexdigest())
"""


@pytest.mark.thorough
def test_code_just_compiled_gives_the_bits_of_code_from_the_cache(tmp_path):
    where = {"NUMBA_CACHE_DIR": str(tmp_path), "PYTENSOR_FLAGS": f"base_compiledir={tmp_path}"}
    runs = [
        subprocess.run(
            [sys.executable, "-c", SAME_BITS], env=os.environ | where, check=True,
            capture_output=True,
        ).stdout
        for _ in range(2)
    ]  # fmt: skip
    assert len(runs[0]) > 60
    assert runs[0] == runs[1]


def test_short_gradients_are_taken_by_one_thread(monkeypatch):
    monkeypatch.setattr(nuts, "SHORT", 1.0)
    length = nuts.Length.of(slow, np.zeros(1), nuts.Run(Plan(1000, 1000), 4, 2, 1, 0.9, False))
    assert (length.cores, length.draws) == (1, 8000)


def test_fit_warns_before_nuts_has_begun(table, monkeypatch):
    monkeypatch.setattr(nuts, "LONG", 0.0)
    monkeypatch.setattr(nuts, "_by_nutpie", None)
    with (
        pytest.warns(UserWarning, match=r"about 0 minutes here: \d+ parameters"),
        pytest.raises(TypeError, match="NoneType"),
    ):
        bayesmf.fit_bpmf(table, method="nuts", tune=1, draws=1, **FEW)


def test_after_an_interrupt_nuts_keeps_most_draws():
    draws = np.zeros((3, 5, 4, 2))
    for lengths, chains, kept in (
        ((5, 5, 5), [0, 1, 2], 5),
        ((5, 4, 4), [0, 1, 2], 4),
        ((5, 5, 1), [0, 1], 5),
        ((5, 0, 0), [0], 5),
        ((0, 2, 0), [1], 2),
    ):
        draws[:] = 0
        for chain, length in enumerate(lengths):
            draws[chain, length:] = np.nan
        found, count = nuts.complete(draws)
        assert (found.tolist(), count) == (chains, kept)
    draws[:] = np.nan
    with pytest.raises(KeyboardInterrupt):
        nuts.complete(draws)


def test_an_interrupted_nuts_returns_the_chains_it_has(table, monkeypatch):
    by_nutpie = nuts._by_nutpie

    def cut(*arguments):
        tree = by_nutpie(*arguments)
        x = tree["posterior"]["x"].copy()
        x[1, 4:] = np.nan
        x[2] = np.nan
        tree["posterior"] = tree["posterior"].to_dataset().assign(x=x)
        return tree

    monkeypatch.setattr(nuts, "_by_nutpie", cut)
    with pytest.warns(UserWarning, match="kept 20 of 20 draws of 1 chains"):
        post = bayesmf.fit_bpmf(table, method="nuts", tune=20, draws=20, chains=3, **FEW)
    assert dict(post.data["posterior"].sizes) | {"chain": 1, "draw": 20} == dict(
        post.data["posterior"].sizes
    )
    assert post.data["factors"].sizes["chain"] == 1
    assert post.data.attrs["interrupted"] == 1
    assert np.isfinite(post.predict([(table.user_ids[0], table.item_ids[0])])["mean"]).all()


def test_an_interrupt_while_recording_keeps_what_is_recorded(table, monkeypatch):
    record, calls = Replay.record, []

    def interrupted(self, values, draw):
        if len(calls) == 7:
            raise KeyboardInterrupt
        calls.append(draw)
        record(self, values, draw)

    monkeypatch.setattr(Replay, "record", interrupted)
    with pytest.warns(UserWarning, match="kept 7 draws from what .* iterations had fitted"):
        post = bayesmf.fit_bpmf(table, method="advi", draws=20, **FEW)
    assert post.data["posterior"].sizes["draw"] == 7


SMALL = bayesmf.simulate(10, 8, 50, n_factors=2, random_seed=2)
CASES = {
    "biases alone": {"n_factors": 0},
    "no biases": {"n_factors": 2, "biases": False},
    "published": bayesmf.published_2008(n_factors=2),
}


@pytest.mark.parametrize(
    ("name", "method"),
    # Each is compiled anew, and the way to the rating scale is one for both engines.
    [
        ("biases alone", "advi"),
        ("no biases", "nuts"),
        ("published", "advi"),
        *(
            pytest.param(*one, marks=pytest.mark.thorough)
            for one in (("biases alone", "nuts"), ("no biases", "advi"), ("published", "nuts"))
        ),
    ],
)
def test_identified_quantities_are_those_of_the_factors(name, method):
    """Of every draw kept, worked out anew on the rating scale; and one draw, one chain, a test."""
    ratings, options = SMALL.ratings, CASES[name]
    run = {"chains": 1, "tune": 10} if method == "nuts" else {"max_iter": 50}
    quiet = {"random_seed": 1, "progressbar": False}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "ADVI reached max_iter=50")
        warnings.filterwarnings("ignore", ".* are divergent")
        posts = [
            bayesmf.fit_bpmf(
                ratings, method=method, draws=draws, cores=cores, test=ratings.to_frame()[:9],
                **run, **options, **quiet,
            )
            for draws, cores in ((1, 1), (3, 2), (3, 1))
        ]  # fmt: skip
    for one, other in zip(
        *[post.data["posterior"].data_vars.values() for post in posts[1:]], strict=True
    ):
        np.testing.assert_array_equal(one, other)
    for post in posts:
        draws, rows = post.data["posterior"], post.data["factors"]
        u, v = (rows[f"{side}_factors"].to_numpy()[0] for side in ("user", "item"))
        cells = (u[:, ratings.users] * v[:, ratings.items]).sum(axis=2)
        if options.get("biases", True):
            cells += rows["user_bias"].to_numpy()[0][:, ratings.users]
            cells += rows["item_bias"].to_numpy()[0][:, ratings.items]
        errors = ratings.values - post.model.working_scale(ratings).center - cells
        rmse = np.sqrt((errors**2).mean(axis=1))
        np.testing.assert_allclose(draws["train_rmse"].to_numpy()[0], rmse, rtol=1e-5)
        alpha = draws["alpha"].to_numpy()[0]
        likelihood = 0.5 * (np.log(alpha / (2 * np.pi)) - alpha * rmse**2) * len(ratings)
        np.testing.assert_allclose(
            draws["total_log_likelihood"].to_numpy()[0], likelihood, rtol=1e-4
        )
        assert np.isfinite(post.data["sample_stats"]["test_rmse"]).all()
        assert "Posterior" in post._repr_html_()


def test_the_verdict_on_advi_is_by_its_weights(by_advi):
    verdict = by_advi.diagnose().verdict
    assert verdict.status == "not converged"
    assert verdict.reasons[0].startswith("ADVI has settled")
    assert verdict.reasons[1].endswith("it is not the posterior.")


def test_divergences_are_told_where_they_are_many(table, monkeypatch):
    monkeypatch.setattr(nuts, "DIVERGENT", -1.0)
    with pytest.warns(UserWarning, match=r"% of the draws of NUTS are divergent"):
        post = bayesmf.fit_bpmf(table, method="nuts", tune=20, draws=10, chains=2, **FEW)
    assert post.data["sample_stats"]["diverging"].dtype == bool


def test_advi_takes_ratings_in_batches(table, by_advi):
    """Posterior means of cells are those of all ratings at once: 0.04 sd apart, over five seeds."""
    post = bayesmf.fit_bpmf(table, method="advi", batch_size=100, draws=1000, **FEW)
    assert post.data.attrs["batch_size"] == 100
    assert by_advi.data.attrs["batch_size"] == 260
    means = [p.data["posterior"]["probe"].mean(("chain", "draw")) for p in (post, by_advi)]
    sd = by_advi.data["posterior"]["probe"].std(("chain", "draw"))
    assert float(np.sqrt((((means[0] - means[1]) / sd) ** 2).mean())) < 0.12


BAD = {
    "method": ({"method": "vi"}, "'method' .* one of 'gibbs', 'nuts'"),
    "backend": ({"method": "nuts", "backend": "numpy"}, "'backend' .* left out with method='nuts'"),
    "dtype": ({"method": "advi", "dtype": "float32"}, "'dtype' .* left out with method='advi'"),
    "accept": ({"target_accept": 0.9}, "'target_accept' .* left out with method='gibbs'"),
    "iterations": ({"method": "nuts", "max_iter": 9}, "'max_iter' .* left out with method='nuts'"),
    "tol": ({"method": "nuts", "tol": 0.1}, "'tol' .* left out with method='nuts'"),
    "batch": ({"method": "nuts", "batch_size": 9}, "'batch_size' .* left out with method='nuts'"),
    "batches": (
        {"method": "fullrank_advi", "batch_size": 9},
        "'batch_size' .* left out with method='fullrank_advi'",
    ),
    "tune": ({"method": "nuts", "tune": 0}, "'tune' .* at least 1 with method='nuts'"),
    "none": ({"method": "advi", "batch_size": 0}, "'batch_size' .* positive integer"),
    "chains": ({"method": "advi", "chains": 4}, "'chains' .* None or 1 with method='advi'"),
    "rank": ({"method": "nuts", "n_factors": 21}, "'n_factors' .* at most the number of users"),
    "high": ({"method": "nuts", "target_accept": 1.0}, "'target_accept' .* less than 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_wrong_combinations_are_refused_before_anything_is_compiled(name, table, monkeypatch):
    options, match = BAD[name]
    monkeypatch.setattr("pymc.Model.__init__", None)
    with pytest.raises(ValueError, match=match):
        bayesmf.fit_bpmf(table, **({"random_seed": 1, "progressbar": False} | options))


def test_batches_are_for_very_many_ratings_and_one_kind_of_fit():
    left_out, given = (Options(0.9, size, 10, 1e-4) for size in (None, 7))
    assert choose_batch(left_out, "advi", 500_000) is None
    assert choose_batch(left_out, "advi", 500_001) == 100_000
    assert choose_batch(left_out, "fullrank_advi", 500_001) is None
    assert choose_batch(given, "advi", 100) == 7


def test_covariances_of_too_many_parameters_are_refused():
    ratings = bayesmf.simulate(120, 80, 900, random_seed=1).ratings
    match = "'method' .* 'advi' or 'gibbs' .* Got 'fullrank_advi' with 2,289 parameters"
    with pytest.raises(ValueError, match=match):
        bayesmf.fit_bpmf(ratings, method="fullrank_advi", random_seed=1, progressbar=False)
