"""Every notebook runs from top to bottom, and what it says of its numbers is true."""

import pathlib
import warnings

import nbformat
import pytest

ROOT = pathlib.Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def executed(path):
    with warnings.catch_warnings():
        # The kernel's client asks for an event loop in a way that newer Pythons warn about.
        warnings.simplefilter("ignore", DeprecationWarning)
        from nbclient import NotebookClient

        notebook = nbformat.read(path, as_version=4)
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


def test_there_are_notebooks():
    assert [path.name for path in NOTEBOOKS] == ["quickstart.ipynb", "svd_and_missing_cells.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_stored_with_its_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert not any(out.output_type == "error" for cell in code for out in cell.outputs)


def test_quickstart():
    notebook = executed(ROOT / "notebooks" / "quickstart.ipynb")
    rows = {}
    for line in text_of(notebook, "bayesmf.compare(").splitlines():
        name, *values = line.split()
        if len(values) == 2 and values[0].lstrip("-").replace(".", "").isdigit():
            rows[name] = [float(value) for value in values]
    als, bpmf = rows["RMSE"]
    assert bpmf < als
    assert 0.88 < rows["coverage_90"][1] < 0.92
    assert rows["CRPS"][1] < rows["CRPS"][0]
    lists = text_of(notebook, "post.recommend(").splitlines()
    assert {line.split()[0] for line in lists if line[:1].isdigit()} == set("01234")
    fit = next(cell for cell in notebook.cells if "= bayesmf.fit_bpmf(" in cell.source)
    bars = "".join(out.get("data", {}).get("text/html", "") for out in fit.outputs)
    assert "max='800'" in bars
    assert "RMSE 0." in bars
    assert "singular_value[9]" in text_of(notebook, "az.summary(")


def test_svd_and_missing_cells():
    """Its own assertions hold, and what the text says of the figures is in them."""
    notebook = executed(ROOT / "notebooks" / "svd_and_missing_cells.ipynb")
    lines = text_of(notebook, "share of its loss").splitlines()
    ratings, expected = (float(line.split(":")[1]) for line in lines[:2])
    assert expected < 0.4 * ratings
    shares = [line.split("'")[1] for line in text_of(notebook, "svd.settings[").splitlines()]
    zero, mean, bias = (int(share.rstrip("%")) for share in shares)
    assert zero > bias > mean
    errors = {
        line.split("  ")[0]: float(line.split()[-4])
        for line in text_of(notebook, "judged.table[[").splitlines()[1:]
    }
    assert errors["ALS"] < errors["SVD, filled again"] < errors["biases"] < errors["SVD, zeros"]
