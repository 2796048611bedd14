"""The notebooks are in order; two of them run here from top to bottom, all in `make docs`."""

import ast
import re
import subprocess
import sys
import warnings
from pathlib import Path

import jupytext
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.md"))
WITH_EXERCISES = ("02", "03", "04", "05", "06")
PLOTS = re.compile(r"plt\.show\(\)|\bplots\.plot_")


def cells(path, kind):
    return [cell for cell in jupytext.read(path).cells if cell.cell_type == kind]


def prose(path):
    return "\n\n".join(cell.source for cell in cells(path, "markdown"))


def executed(path):
    with warnings.catch_warnings():
        # The kernel's client asks for an event loop in a way that newer Pythons warn about.
        warnings.simplefilter("ignore", DeprecationWarning)
        from nbclient import NotebookClient

        notebook = jupytext.read(path)
        client = NotebookClient(
            notebook, timeout=240, resources={"metadata": {"path": path.parent}}
        )
        return client.execute()


def text_of(notebook, start):
    """Plain text of the outputs of the cell that contains `start`."""
    cell = next(cell for cell in notebook.cells if start in cell.source)
    return "".join(
        output.get("data", {}).get("text/plain", "") + output.get("text", "")
        for output in cell.outputs
    )


def said_on_standard_error(notebook):
    return [
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stderr"
    ]


def numbers(lines):
    """The rows of two numbers of a table in plain text, by name."""
    rows = {}
    for name, *values in map(str.split, filter(str.strip, lines)):
        if len(values) == 2 and all(re.fullmatch(r"-?\d+\.\d+", value) for value in values):
            rows[name] = [float(value) for value in values]
    return rows


def test_there_are_eleven_notebooks():
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{number:02}" for number in range(1, 12)]
    listed = re.findall(
        r"^\.\./notebooks/(\S+)$", (ROOT / "docs/tutorials.md").read_text(), re.MULTILINE
    )
    assert listed == [path.stem for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_has_what_all_have(path):
    text = prose(path)
    assert re.match(rf"# {int(path.name[:2])}\. \S", text)
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    for heading in ("What to take along", "Where next", "References"):
        assert f"## {heading}" in text
    exercises = re.findall(r"^:{3,}\{admonition\} Exercise (\d+\.\d+)", text, re.MULTILINE)
    solutions = re.findall(r"^:{3,}\{dropdown\} Solution (\d+\.\d+)", text, re.MULTILINE)
    assert exercises == solutions
    assert bool(exercises) == (path.name[:2] in WITH_EXERCISES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_asserts_what_it_claims_and_says_what_it_draws(path):
    code = cells(path, "code")
    asserted = [
        node
        for cell in code
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Assert)
    ]
    assert len(asserted) >= 5
    assert not [node for node in asserted if isinstance(node.test, ast.Constant)]
    for cell in code:
        if PLOTS.search(cell.source):
            assert cell.metadata.get("mystnb", {}).get("image", {}).get("alt"), cell.source


def test_code_of_notebooks_is_linted(tmp_path):
    for path in NOTEBOOKS:
        jupytext.write(jupytext.read(path), tmp_path / f"{path.stem}.ipynb")
    ruff = [sys.executable, "-m", "ruff"]
    config = ["--no-cache", "--config", str(ROOT / "pyproject.toml")]
    # They print and assert, run programs of their own, and a cell may end in what it shows.
    about = ["--ignore", "B018,D,E402,E501,N999,S101,S603,T201"]
    for command in (["check", *about], ["format", "--diff", "--line-length", "92"]):
        ran = subprocess.run(
            [*ruff, *command, *config, tmp_path], check=False, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_errata_are_boxed_where_they_are_met():
    """Each of those that docs/errata.md lists stands in a box of the notebook that it names."""
    named = re.findall(r"notebooks/(\d\d)_\w+\.md", (ROOT / "docs/errata.md").read_text())
    boxes = {
        path.name[:2]: len(
            re.findall(
                r"^:{3,}\{admonition\} Erratum of common course notes", prose(path), re.MULTILINE
            )
        )
        for path in NOTEBOOKS
    }
    assert sum(boxes.values()) == 7
    assert set(named) == {number for number, count in boxes.items() if count}


@pytest.mark.timeout(600)
def test_the_first_notebook_says_what_the_readme_and_the_landing_page_say():
    notebook = executed(NOTEBOOKS[0])
    assert said_on_standard_error(notebook) == []
    scores = numbers(text_of(notebook, "comparison = bayesmf.compare(").splitlines())
    readme = (ROOT / "README.md").read_text()
    promised = numbers(readme.splitlines())
    assert len(scores) == len(promised) == 13
    for name in set(scores) - {"fit_seconds"}:
        assert scores[name] == pytest.approx(promised[name], abs=0.005), name
    assert scores["RMSE"][1] < scores["RMSE"][0]
    bars = next(cell for cell in notebook.cells if "= bayesmf.fit_bpmf(" in cell.source).outputs
    assert "max='3000'" in "".join(bar.get("data", {}).get("text/html", "") for bar in bars)
    # The three fit the same models to the same split of the same table.
    landing = (ROOT / "docs" / "index.md").read_text()
    for call in (
        'bayesmf.load_movielens("dslabs")', "test_size=0.1, random_seed=1)",
        "bayesmf.fit_als(train, random_seed=1", "bayesmf.fit_bpmf(train, random_seed=1)",
    ):  # fmt: skip
        for text in ("\n".join(cell.source for cell in notebook.cells), readme, landing):
            assert call in text


@pytest.mark.timeout(600)
def test_going_bayesian():
    """Its own assertions hold: conditionals, the sampler by hand, NUTS, ADVI."""
    notebook = executed(NOTEBOOKS[4])
    assert said_on_standard_error(notebook) == []
    assert "30 lines" in text_of(notebook, "lines = sum(")
    misses = [
        float(miss)
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        for miss in re.findall(r"misses the joint density by (\S+)", output.get("text", ""))
    ]
    assert len(misses) == 3
    assert max(map(abs, misses)) < 1e-9
