"""The documents are finished, and their links lead somewhere."""

import html
import itertools
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from pymc.model_graph import ModelGraph

import bayesmf
from bayesmf.cli.main import main
from bayesmf.diagnostics import convergence
from bayesmf.report import page as page_of_a_report
from docs import check_site, house, plates

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "notebooks").glob("*.md")),
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in page.parts),
]
GUIDE = [
    *sorted((ROOT / "docs" / "guide").glob("*.md")),
    ROOT / "docs" / "ladder.md",
    ROOT / "README.md",
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_placeholders_and_no_dead_links(page):
    text = page.read_text()
    assert not re.findall(r"@[A-Z_]+@", text)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)", prose):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", GUIDE, ids=lambda page: page.name)
def test_the_guide_runs(page, monkeypatch, tmp_path):
    """Every code block, one after the other, with short fits to the busiest corner of the data."""
    films = bayesmf.load_movielens("dslabs")
    fit = bayesmf.fit_bpmf
    short = {"n_factors": 2, "tune": 20, "draws": 30, "chains": 2, "progressbar": False}
    for side, rows in (("item", 200), ("user", 100)):
        films = films[films[side].isin(films[side].value_counts().index[:rows])]
    monkeypatch.setattr(bayesmf, "load_movielens", lambda name: films)
    # One engine serves for all: the others have tests of their own.
    monkeypatch.setattr(
        bayesmf, "fit_bpmf", lambda data, *, method="gibbs", **kw: fit(data, **(kw | short))
    )
    for name in bayesmf.neural.__all__:
        network = getattr(bayesmf.neural, name)
        few = {"max_epochs": 2, "progressbar": False}
        monkeypatch.setattr(
            bayesmf.neural, name, lambda data, of=network, few=few, **kw: of(data, **(few | kw))
        )
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    spare_what_is_tested_elsewhere(monkeypatch)
    names = {}
    blocks = re.findall(r"```(python|bash)\n(.*?)```", page.read_text(), re.DOTALL)
    assert blocks
    for language, block in blocks:
        if language == "python":
            exec(compile(block, page.name, "exec"), names)  # noqa: S102 - our own pages
        else:
            for line in block.splitlines():
                if not line.startswith("make "):  # of the README, which CI and people run
                    run_command(line)
    plt.close("all")


def spare_what_is_tested_elsewhere(monkeypatch):
    """One verdict serves all commands, and the page of a report is not drawn."""
    real, found = convergence.diagnose, []

    def diagnose(posterior, **rest):
        if rest or not found:
            found.append(real(posterior, **rest))
        return found[-1] if rest else found[0]

    monkeypatch.setattr(convergence, "diagnose", diagnose)
    monkeypatch.setattr(page_of_a_report, "write_report", lambda path, *_, **__: path)


def run_command(line):
    """A line of the shell, in this process; what it would write to a file is let go."""
    program, *arguments = shlex.split(line.split(" > ")[0])
    assert program == "bayesmf"
    # Of short fits the verdict is that they have not converged.
    assert main(arguments) == int(arguments[0] == "diagnose"), line


def test_readme_opens_with_the_two_commands():
    opening = (ROOT / "README.md").read_text().split("## ")[0]
    assert opening.index("make demo") < opening.index("make test")


def test_every_module_has_its_place_in_the_architecture():
    text = (ROOT / "docs" / "architecture.md").read_text()
    package = ROOT / "bayesmf"
    rooms = [path.name for path in package.glob("*.py") if path.name != "__init__.py"]
    rooms += [f"{path.parent.name}/" for path in package.glob("*/__init__.py")]
    assert [room for room in rooms if f"`{room}`" not in text] == []


def test_floors_are_those_of_the_contract_of_imports():
    """The table in the architecture, and so its picture, has rooms where imports have them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = [c["layers"] for c in settings["contracts"] if c["id"] == "floors"]
    level = {
        room: -depth
        for depth, layer in enumerate(layers)
        for room in layer.replace("bayesmf.", "").split(" | ")
    }
    heights = [[level.pop(room) for room in rooms] for rooms in house.floors().values()]
    assert level == {}
    for below, above in itertools.pairwise(heights):
        assert max(below) < min(above)


@pytest.mark.parametrize(
    ("picture", "shown"),
    [
        ("house", house.description()),
        *((f"plates-{name}", plates.description(name)) for name in plates.GRAPHS),
    ],
)
def test_pictures_are_those_of_today(picture, shown):
    """They say what they show: `python -m docs.house`, `python -m docs.plates` draw them anew."""
    assert html.escape(shown, quote=False) in (ROOT / f"docs/images/{picture}.svg").read_text()


@pytest.mark.timeout(600)
def test_the_site_builds_and_is_whole(tmp_path):
    """Without a warning, notebooks unexecuted: `make docs` executes them."""
    site = tmp_path / "html"
    command = ["sphinx", "-W", "--keep-going", "-q", "-b", "html", "-c", "docs", ".", str(site)]
    ran = subprocess.run(
        [sys.executable, "-m", *command, "-d", str(tmp_path / "doctrees")],
        check=False, cwd=ROOT, env=os.environ | {"DOCS_EXECUTE": "off"}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert check_site.faults(site, executed=False) == []


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ('<a href="other.html">x</a>', "other.html leads nowhere"),
        ('<a href="#nowhere">x</a>', "has no such place"),
        (
            '<script src="https://elsewhere.org/x.js"></script>',
            "fetches https://elsewhere.org/x.js",
        ),
        ('<a href="../outside.html">x</a>', "outside.html leads nowhere"),
        ('<a href="file:///page.html">x</a>', "is of no use elsewhere"),
        ('<script>import("https://a.org/x.js")</script>', "fetches https://a.org/x.js"),
        ('<img alt="x" srcset="//a.org/x.png 2x">', "fetches //a.org/x.png"),
        ('<p style="background: url(//a.org/x.png)">x</p>', "fetches //a.org/x.png"),
        ('<article><img src="page.html"></article>', "page.html has no alt text"),
        ('<div class="output stderr">UserWarning: no</div>', "printed 'UserWarning: no'"),
    ],
)
def test_a_fault_of_the_site_is_seen(tmp_path, page, fault):
    (tmp_path / "page.html").write_text(page)
    (found,) = check_site.faults(tmp_path)
    assert found.startswith("page.html: ")
    assert found.endswith(fault)


def test_a_site_without_pages_or_with_foreign_styles_is_faulty(tmp_path):
    assert check_site.faults(tmp_path) == [f"{tmp_path} has no pages"]
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "page.html").write_text("<p>code</p>")
    (tmp_path / "look.css").write_text("@import 'https://elsewhere.org/x.css'; a {b: url(//c.org)}")
    assert check_site.faults(tmp_path) == [
        "look.css: fetches https://elsewhere.org/x.css",
        "look.css: fetches //c.org",
        "notebooks/page.html: has no outputs: it was not run",
    ]


def reached(parents, start):
    """All that lies upstream of a node."""
    above = set(parents.get(start, ()))
    return above.union(*(reached(parents, node) for node in above)) if above else above


@pytest.mark.parametrize("name", ["bpmf", "pmf"])
def test_plates_have_the_arrows_of_the_models(name):
    """What depends on what in docs/images/plates-*.svg is what PyMC has of the model.

    PyMC's graph of the first has more arrows, since its rows are stated by the root of their
    precision: what lies upstream of each variable is the same.
    """
    ratings = bayesmf.simulate(8, 6, 30, random_seed=1).ratings
    model = getattr(bayesmf, f"{name}_model")(ratings, n_factors=2)
    nodes = plates.GRAPHS[name].nodes
    home = {variable: key for key, node in nodes.items() for variable in node.variables}
    assert set(home) <= set(model.named_vars)
    assert {variable.name for variable in model.basic_RVs} <= set(home)
    drawn, stated = {}, {}
    for start, end in plates.GRAPHS[name].arrows:
        drawn.setdefault(end, set()).add(start)
    for end, starts in ModelGraph(model).make_compute_graph().items():
        if end in home:
            stated.setdefault(home[end], set()).update(home[s] for s in starts if s in home)
    stated = {end: starts - {end} for end, starts in stated.items()}
    for node in nodes:
        assert reached(drawn, node) == reached(stated, node)
