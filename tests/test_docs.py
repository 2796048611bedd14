"""The documents are finished, and their links lead somewhere."""

import pathlib
import re
import shlex

import matplotlib as mpl
import matplotlib.pyplot as plt
import pymc as pm
import pytest

import bayesmf
from bayesmf.cli.main import main
from bayesmf.diagnostics import convergence
from bayesmf.report import page as page_of_a_report

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
GUIDE = [*sorted((ROOT / "docs" / "guide").glob("*.md")), ROOT / "docs" / "ladder.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_placeholders_and_no_dead_links(page):
    text = page.read_text()
    assert not re.findall(r"@[A-Z_]+@", text)
    for target in re.findall(r"\]\(([^)#]+)", text):
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
    monkeypatch.setattr(bayesmf, "fit_bpmf", lambda data, **kw: fit(data, **(kw | short)))
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


@pytest.mark.parametrize("name", ["bpmf_model", "pmf_model"])
def test_the_graphs_in_the_docs_are_those_of_the_models(name):
    """docs/models.md shows what PyMC draws of a model of 60 users and 40 items."""
    ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    model = getattr(bayesmf, name)(ratings, n_factors=2)
    text = (ROOT / "docs" / "models.md").read_text()
    shown = re.search(rf"<!-- graph of {name} -->\n```mermaid\n(.*?)```", text, re.DOTALL)
    assert shown is not None
    # PyMC goes through sets: the order of lines changes from process to process.
    drawn, expected = (
        sorted(filter(None, map(str.strip, graph.splitlines())))
        for graph in (shown[1], pm.model_to_mermaid(model))
    )
    assert drawn == expected
