"""The public face: its names, its examples, its cost."""

import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
import textwrap

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

import bayesmf
from bayesmf import plots

mpl.use("Agg")

PUBLIC = [
    "Comparison", "FactorEstimate", "GammaPrior", "GradientCheck", "MapEstimate",
    "NeighborEstimate", "NetworkEstimate", "NormalWishart", "PointEstimate", "Posterior",
    "RankChoice", "Ratings", "Simulation", "SquaredLoss", "bpmf_model", "check_gradient",
    "choose_rank", "compare", "fit_als", "fit_bias", "fit_bpmf", "fit_mean", "fit_neighbors",
    "fit_nmf", "fit_pmf", "fit_sgd", "fit_svd", "kfold", "leave_out_per_user", "load",
    "load_flixster", "load_insteval", "load_movielens", "load_movielens_users", "load_ratings",
    "pmf_model", "published_2008", "resume", "simulate", "split_by_time", "train_test_split",
]  # fmt: skip


def test_public_names():
    assert sorted(bayesmf.__all__) == PUBLIC
    assert set(PUBLIC) <= set(dir(bayesmf))
    with pytest.raises(AttributeError, match="has no attribute 'fit_everything'"):
        bayesmf.fit_everything  # noqa: B018


def documented():
    for name in PUBLIC:
        thing = getattr(bayesmf, name)
        yield name, thing
        if inspect.isclass(thing):
            for method, function in inspect.getmembers(thing, inspect.isfunction):
                if not method.startswith("_") and "Parameters" in (function.__doc__ or ""):
                    yield f"{name}.{method}", function
    for name in bayesmf.neural.__all__:
        yield f"neural.{name}", getattr(bayesmf.neural, name)


DOCUMENTED = list(documented())
FIGURES = [(name, getattr(plots, name)) for name in plots.__all__]


def examples_elsewhere():
    """Examples of what users meet beyond the public names: methods of results, diagnostics."""
    seen = {f"{thing.__module__}.{thing.__qualname__}" for _, thing in DOCUMENTED + FIGURES}
    for module in pkgutil.walk_packages(bayesmf.__path__, "bayesmf."):
        if "pymc" not in module.name:  # takes seconds to import
            for test in doctest.DocTestFinder().find(importlib.import_module(module.name)):
                if test.examples and test.name not in seen:
                    yield test


def check_examples(test):
    failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test)
    plt.close("all")
    assert failed == 0


@pytest.mark.parametrize(
    ("name", "thing"), DOCUMENTED + FIGURES, ids=[name for name, _ in DOCUMENTED + FIGURES]
)
def test_docstring_and_its_example(name, thing, monkeypatch, request):
    text = inspect.getdoc(thing)
    assert text, f"{name} has no docstring"
    if name.startswith("load_"):
        folder = request.getfixturevalue("data_dir") if name != "load_insteval" else None
        if folder is not None:
            monkeypatch.setenv("BAYESMF_DATA", str(folder))
    tests = [
        test for test in doctest.DocTestFinder(recurse=False).find(thing, name) if test.examples
    ]
    if inspect.isfunction(thing):
        assert tests, f"{name} has no example"
        for section in ("Parameters", "Returns"):
            assert f"{section}\n----" in text or not inspect.signature(thing).parameters
    for test in tests:
        check_examples(test)


@pytest.mark.parametrize("test", list(examples_elsewhere()), ids=lambda test: test.name)
def test_example_elsewhere(test):
    check_examples(test)


@pytest.mark.parametrize("function", [f for _, f in DOCUMENTED + FIGURES if inspect.isfunction(f)])
def test_every_parameter_is_documented(function):
    text = inspect.getdoc(function)
    for parameter in inspect.signature(function).parameters:
        if parameter != "self":
            assert parameter in text


def run(code):
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_import_brings_nothing_heavy():
    out = run(
        """
        import sys, bayesmf
        heavy = {"pymc", "pytensor", "arviz", "matplotlib", "numba", "pandas", "xarray", "sklearn"}
        print(sorted(heavy & set(sys.modules)))
        """
    )
    assert out.strip() == "[]"


def test_fit_brings_only_what_it_uses():
    out = run(
        """
        import sys, bayesmf
        ratings = bayesmf.simulate(20, 15, 120, random_seed=1).ratings
        bayesmf.fit_bpmf(ratings, n_factors=2, tune=2, draws=2, chains=1, progressbar=False)
        heavy = {"pymc", "pytensor", "arviz", "matplotlib", "sklearn", "IPython", "pooch"}
        print(sorted(heavy & set(sys.modules)))
        """
    )
    assert out.strip() == "[]"


def test_results_are_the_same_in_two_processes():
    code = """
        import bayesmf
        ratings = bayesmf.simulate(40, 30, 300, random_seed=1).ratings
        post = bayesmf.fit_bpmf(ratings, n_factors=3, tune=20, draws=20, chains=2, cores={cores},
                                random_seed=4, progressbar=False)
        print(post.predict([(1, 2), (3, 999)]).to_numpy().tobytes().hex())
        """
    assert run(code.format(cores=1)) == run(code.format(cores=2))


def test_compiled_code_is_keyed_by_its_sources(tmp_path, monkeypatch):
    from bayesmf.kernels import compiling

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    compiling.sources_digest.cache_clear()
    before = compiling.cache_directory()
    assert before.parent == tmp_path
    copy = tmp_path / "kernels"
    copy.mkdir()
    for source in compiling.Path(compiling.__file__).parent.glob("*.py"):
        (copy / source.name).write_bytes(source.read_bytes())
    monkeypatch.setattr(compiling, "__file__", str(copy / "compiling.py"))
    compiling.sources_digest.cache_clear()
    assert compiling.cache_directory() == before
    (copy / "rows.py").write_text((copy / "rows.py").read_text() + "\n# changed\n")
    compiling.sources_digest.cache_clear()
    assert compiling.cache_directory() != before
    compiling.sources_digest.cache_clear()


def test_no_module_hides_a_public_name():
    """A submodule that is imported becomes an attribute of the package, over any function."""
    modules = {module.name for module in pkgutil.iter_modules(bayesmf.__path__)}
    assert not modules & set(PUBLIC)
