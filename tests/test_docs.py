"""The documents are finished, and their links lead somewhere."""

import pathlib
import re

import pymc as pm
import pytest

import bayesmf

ROOT = pathlib.Path(__file__).parent.parent
GUIDE = sorted((ROOT / "docs" / "guide").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")), *GUIDE]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_placeholders_and_no_dead_links(page):
    text = page.read_text()
    assert not re.findall(r"@[A-Z_]+@", text)
    for target in re.findall(r"\]\(([^)#]+)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", GUIDE, ids=lambda page: page.name)
def test_the_guide_runs(page, monkeypatch):
    """Every block of a page, one after another, with short fits in place of the defaults."""
    short = {"n_factors": 2, "tune": 5, "draws": 20, "chains": 1, "progressbar": False}
    fit = bayesmf.fit_bpmf
    monkeypatch.setattr(bayesmf, "fit_bpmf", lambda data, **asked: fit(data, **(asked | short)))
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    names: dict[str, object] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)  # noqa: S102


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
