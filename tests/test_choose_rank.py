"""`choose_rank`: the smallest rank that predicts about as well as the best, honestly judged."""

import math

import arviz
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import bayesmf
from bayesmf import choose, plots
from bayesmf.diagnostics.leave_one_out import loo
from bayesmf.diagnostics.ranks import one_standard_error

mpl.use("Agg")

FIT = {"tune": 100, "draws": 500, "chains": 2}
SHORT = {"tune": 50, "draws": 50, "chains": 2}
QUIET = {"random_seed": 1, "progressbar": False}


@pytest.fixture(scope="module")
def crossed():
    """Ratings with an interaction of rank 2, as large as the noise."""
    rng = np.random.default_rng(8)
    u, v = rng.normal(size=(100, 2)), rng.normal(size=(60, 2))
    return table_of(rng, u @ v.T)


@pytest.fixture(scope="module")
def plain():
    """Biases and noise."""
    return table_of(np.random.default_rng(9), np.zeros((100, 60)))


def table_of(rng, interaction):
    users, items = np.nonzero(rng.random(interaction.shape) < 0.4)
    means = rng.normal(size=100)[users] + rng.normal(size=60)[items] + interaction[users, items]
    ratings = 3 + means + rng.normal(size=len(users))
    return bayesmf.Ratings(pd.DataFrame({"user": users, "item": items, "rating": ratings}))


@pytest.fixture(scope="module")
def choice(crossed):
    return bayesmf.choose_rank(crossed, (2, 0, 4), n_ratings=300, **FIT, **QUIET)


def test_interaction_is_found(choice):
    assert choice.chosen == 2
    table = choice.table
    assert table.index.tolist() == [0, 2, 4]
    # A rating's log score is higher by about half the log of the variances' ratio.
    assert table.loc[0, "difference"] < -0.1
    assert table.loc[choice.best, "difference"] == table.loc[choice.best, "difference_se"] == 0
    assert (choice.method, choice.n_ratings) == ("loo", 300)
    assert (table["share_bad_khat"] <= 0.01).all()
    assert (table["seconds"] > 0).all()


def test_bias_alone_needs_no_factors(plain):
    assert bayesmf.choose_rank(plain, (0, 2), n_ratings=1000, **FIT, **QUIET).chosen == 0


def test_numbers_are_those_of_loo(choice, crossed):
    post = bayesmf.fit_bpmf(crossed, n_factors=2, **FIT, **QUIET)
    found = loo(post, n_ratings=300, random_seed=1)
    assert choice.elpds["K=2"].elpd == pytest.approx(found.elpd.elpd, rel=1e-12)
    assert choice.table.loc[2, "elpd"] == pytest.approx(found.per_rating.mean)
    assert choice.table.loc[2, "se"] == pytest.approx(found.per_rating.se)


def test_arviz_compares_what_was_chosen(choice):
    table, ours = choice.compare(), choice.table
    assert set(table.index) == {"K=0", "K=2", "K=4"}
    apart = arviz.compare(choice.elpds, round_to="none").loc["K=0"]
    assert apart["elpd_diff"] == pytest.approx(300 * ours.loc[0, "difference"])
    assert apart["dse"] * math.sqrt(300 / 299) == pytest.approx(300 * ours.loc[0, "difference_se"])


def test_kfold_scores_every_rating_once(crossed):
    found = bayesmf.choose_rank(crossed, (0, 2), method="kfold", folds=3, **SHORT, **QUIET)
    assert (found.method, found.n_ratings, found.chosen) == ("kfold", len(crossed), 2)
    assert np.isnan(found.table["share_bad_khat"]).all()
    elpd = found.elpds["K=2"]
    assert (elpd.kind, elpd.n_folds) == ("loo_kfold", 3)
    assert np.isfinite(elpd.elpd_i).all()
    # Another fit, which has seen one half of them, says much the same of the others.
    train, test = bayesmf.train_test_split(crossed, test_size=0.33, random_seed=5)
    post = bayesmf.fit_bpmf(train, n_factors=2, **SHORT, **QUIET)
    score = bayesmf.compare({"K=2": post}, test).table.loc["K=2", "log_score"]
    assert found.table.loc[2, "elpd"] == pytest.approx(score, abs=0.15)
    assert set(found.compare().index) == {"K=0", "K=2"}


def test_kfold_knows_rows_that_a_fold_has_lost():
    """A user with one rating is unknown to the fold that holds it."""
    table = bayesmf.simulate(60, 15, 130, random_seed=3).ratings
    assert (np.bincount(table.users) == 1).any()
    found = bayesmf.choose_rank(table, (0, 1), method="kfold", folds=2, **SHORT, **QUIET)
    assert np.isfinite(found.elpds["K=1"].elpd_i).all()


def test_bad_khat_fall_back_to_kfold(crossed, monkeypatch):
    monkeypatch.setattr(choose, "TOLERATED", -1.0)
    with pytest.warns(UserWarning, match=r"% of the k-hat .* bad at rank 1: all ranks .* 2-fold"):
        found = bayesmf.choose_rank(crossed, (0, 1), folds=2, **SHORT, **QUIET)
    assert (found.method, found.n_ratings) == ("kfold", len(crossed))
    assert {elpd.kind for elpd in found.elpds.values()} == {"loo_kfold"}
    assert found.table["share_bad_khat"].isna().tolist() == [True, False]
    assert "K-fold" in found.sentence


def test_few_draws_fall_back_to_kfold(crossed):
    with pytest.warns(UserWarning, match="judged by 2-fold"):
        found = bayesmf.choose_rank(crossed, (0, 1), folds=2, tune=20, draws=15, chains=2, **QUIET)
    assert found.method == "kfold"


def test_one_standard_error_rule():
    """By hand: four ratings, differences from the best of -1, +1 and so on."""
    best = np.array([-1.0, -2.0, -3.0, -2.0])
    scores = {
        0: best - [0.4, 0.6, 0.4, 0.6],  # 0.5 below, standard error 0.1 / sqrt(3)
        2: best - [1.0, -0.8, 1.0, -0.8],  # 0.1 below, standard error 0.9 / sqrt(3)
        5: best,
        10: best - [0.3, -0.3, 0.3, -0.1],
    }
    table, found, chosen = one_standard_error(scores)
    assert (found, chosen) == (5, 2)
    assert table.loc[0, "elpd"] == pytest.approx(-2.5)
    assert table.loc[0, ["difference", "difference_se"]].tolist() == pytest.approx(
        [-0.5, 0.1 / 3**0.5]
    )
    assert table.loc[2, ["difference", "difference_se"]].tolist() == pytest.approx(
        [-0.1, 0.9 / 3**0.5]
    )
    assert table.loc[5, "se"] == pytest.approx(math.sqrt(1 / 6))
    # Equal scores: the smaller rank.
    assert one_standard_error({0: best, 1: best})[1:] == (0, 0)
    # Certainly worse: the best itself.
    assert one_standard_error({0: best - 1, 1: best})[1:] == (1, 1)


def test_it_says_what_it_chose(choice):
    assert choice.sentence in str(choice)
    assert choice.sentence.startswith("Rank 2: ")
    assert "by PSIS-LOO on 300 ratings" in choice.sentence
    assert "<table" in choice._repr_html_()
    table, best, chosen = one_standard_error({0: np.array([0.0, -1]), 3: np.array([-0.5, -0.4])})
    made = bayesmf.RankChoice(
        table.assign(share_bad_khat=math.nan, seconds=1.0), best, chosen, "kfold", 2, {}
    )
    want = "Rank 0: the smallest within one standard error of the best, rank 3, by K-fold"
    assert made.sentence.startswith(want)
    assert "nan" not in str(made)


def test_ranks_are_drawn(choice):
    ax = plots.plot_ranks(choice)
    points = ax.containers[0].lines[0]
    np.testing.assert_allclose(points.get_ydata(), choice.table["difference"])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "2", "4"]
    words = {text.get_text() for text in ax.texts}
    assert words == ({"best and chosen"} if choice.best == choice.chosen else {"best", "chosen"})
    with plots.style(dark=True):
        ax = plt.figure().add_subplot()
        assert plots.plot_ranks(choice, ax=ax) is ax
    plt.close("all")


def test_same_seed_same_choice_with_any_threads(choice, crossed):
    again = bayesmf.choose_rank(crossed, (0, 2), n_ratings=300, cores=1, **FIT, **QUIET)
    same = ["elpd", "se", "share_bad_khat"]
    pd.testing.assert_frame_equal(
        again.table[same], choice.table.loc[[0, 2], same], check_exact=True
    )


def test_an_interrupt_ends_it(crossed, monkeypatch):
    def interrupted(*args, **options):
        post = bayesmf.fit_bpmf(*args, **options)
        post.data.attrs = post.data.attrs | {"interrupted": 1}
        return post

    monkeypatch.setattr(choose, "fit_bpmf", interrupted)
    monkeypatch.setattr(choose, "_check_fit", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        bayesmf.choose_rank(crossed, (0, 1), **SHORT, **QUIET)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ranks": 5}, TypeError, "'ranks' argument of choose_rank must be a sequence of at least"),
        ({"ranks": "02"}, TypeError, "'ranks' argument of choose_rank"),
        ({"ranks": (3,)}, ValueError, "at least two different ranks"),
        ({"ranks": (0, 2, 2)}, ValueError, "at least two different ranks"),
        ({"ranks": (0, -1)}, ValueError, "'ranks' .* must be a non-negative integer. Got -1"),
        ({"ranks": (0, 1.5)}, TypeError, "'ranks' .* must be a non-negative integer. Got 1.5"),
        ({"biases": False}, ValueError, "'ranks' .* positive when biases=False"),
        ({"method": "waic"}, ValueError, "'method' .* one of 'loo', 'kfold'. Got 'waic'"),
        ({"folds": 1}, ValueError, "'folds' argument of choose_rank"),
        ({"folds": 10**6}, ValueError, "'folds' .* at most the number of ratings"),
        ({"n_ratings": 1}, ValueError, "'n_ratings' argument of choose_rank"),
        ({"random_seed": -3}, ValueError, "'random_seed' argument of choose_rank"),
        ({"cores": 0}, ValueError, "'cores' argument of choose_rank"),
        ({"progressbar": "yes"}, TypeError, "'progressbar' argument of choose_rank"),
        ({"n_factors": 3}, TypeError, "'n_factors' argument of choose_rank must be left out"),
        ({"test": None}, TypeError, "'test' argument of choose_rank must be left out"),
        ({"sweeps": 3}, TypeError, "'sweeps' argument .* fit_bpmf takes from choose_rank biases"),
        ({"draws": 5, "chains": 4}, ValueError, "'draws' .* at least 25 draws with method='loo'"),
        ({"draws": 0}, ValueError, "'draws' argument of choose_rank must be a positive integer"),
        ({"chains": 0, "draws": 9}, ValueError, "'chains' argument of choose_rank"),
        ({"ratings": [1, 2]}, TypeError, "'ratings' argument of choose_rank"),
        ({"tune": -1}, ValueError, "'tune' argument of fit_bpmf"),
    ],
)
def test_wrong_arguments_are_named(crossed, monkeypatch, options, error, message):
    def never(*_):
        raise AssertionError("work was started")

    monkeypatch.setattr("bayesmf.fit.Recorder", never)
    with pytest.raises(error, match=message):
        bayesmf.choose_rank(**{"ratings": crossed, "progressbar": False, **options})
