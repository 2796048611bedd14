"""Determinism and faults: one seed, one set of bits; and nothing goes wrong in silence.

The bits of a run depend on the table, the model, the seed and the versions of the software. All
stored draws are compared, never a prediction alone.
"""

import hashlib
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesmf
from bayesmf.draws.recorder import Recorder
from bayesmf.gibbs import conditionals
from bayesmf.gibbs.conditionals import Hyper
from bayesmf.gibbs.engines import ENGINES, RowTask
from bayesmf.kernels.blocks import Data
from bayesmf.model import WorkingScale
from bayesmf.progress import Progress

ROOT = Path(__file__).parents[2]
RUN = {"n_factors": 2, "tune": 4, "draws": 6, "chains": 2, "random_seed": 9, "progressbar": False}
RATINGS = bayesmf.simulate(40, 30, 400, n_factors=2, random_seed=21).ratings


def numbers(post) -> dict[str, np.ndarray]:
    """Every number that is stored, but for the seconds that sweeps took."""
    return {
        f"{group.name}/{name}": array.to_numpy()
        for group in post.data.children.values()
        for name, array in group.variables.items()
        if name != "seconds"
    }


def digest(post) -> str:
    """SHA-256 of every name and number that is stored."""
    sha = hashlib.sha256()
    for name, array in sorted(numbers(post).items()):
        sha.update(f"{name} {array.dtype} {array.shape}".encode())
        sha.update(array.tobytes() if array.dtype != object else repr(array.tolist()).encode())
    return sha.hexdigest()


def fit(ratings=RATINGS, **kwargs):
    return bayesmf.fit_bpmf(ratings, **(RUN | kwargs))


@pytest.fixture
def small_blocks(monkeypatch):
    """Several blocks of rows a side, so that threads have something to share."""
    monkeypatch.setattr("bayesmf.kernels.blocks.RATINGS_PER_BLOCK", 60)


def test_the_digest_sees_every_number():
    """One bit of one draw, in any group, is another digest; seconds are none of them."""
    post = fit()
    plain = digest(post)
    for group, name in [
        ("posterior", "alpha"), ("posterior", "singular_value"), ("factors", "user_factors"),
        ("factors", "precision_item"), ("constant_data", "scale"), ("observed_data", "rating"),
    ]:  # fmt: skip
        array = post.data[group][name]
        before = array.to_numpy().copy()
        array.data = np.nextafter(before, np.inf, dtype=before.dtype)
        assert digest(post) != plain, name
        array.data = before
    post.data["sample_stats"]["seconds"].data = np.zeros((2, 6))
    assert digest(post) == plain


# --- The same bits -------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ENGINES)
@pytest.mark.parametrize("chains", [1, 2, 3])
def test_cores_and_turns_change_no_bit(small_blocks, monkeypatch, backend, chains):
    """Threads for chains, threads for blocks of rows, and the length of a turn."""
    expected = digest(fit(backend=backend, chains=chains, cores=1))
    for cores in (1, 2, 4, 7):
        assert digest(fit(backend=backend, chains=chains, cores=cores)) == expected
    monkeypatch.setattr("bayesmf.gibbs.chains.TURN_SECONDS", 0.0005)
    for cores in (1, 3):
        assert digest(fit(backend=backend, chains=chains, cores=cores)) == expected


def test_a_chain_is_the_same_among_any_number_of_chains(small_blocks):
    """Chain i of any run is chain i of every run, however many run beside it."""
    many = numbers(fit(chains=5, cores=2))
    for chains in (1, 2, 4):
        for name, array in numbers(fit(chains=chains, cores=3)).items():
            if name.startswith(("posterior/", "factors/")) and array.ndim > 1:
                np.testing.assert_array_equal(array, many[name][:chains], err_msg=name)


def test_tuning_is_only_what_is_thrown_away():
    """A run is the beginning of every longer one, wherever tuning ends."""
    long = numbers(fit(tune=0, draws=30))
    for tune, draws in ((0, 5), (10, 20), (29, 1)):
        for name, array in numbers(fit(tune=tune, draws=draws)).items():
            if name.startswith(("posterior/", "factors/")) and array.ndim > 1:
                expected = long[name][:, tune : tune + draws]
                np.testing.assert_array_equal(array, expected, err_msg=name)


def test_what_is_watched_changes_no_draw():
    """Held-out ratings, the number of probe cells and the memory for factors only look on."""
    plain = numbers(fit())
    held_out = pd.DataFrame({"user": [0, 999], "item": [1, 2], "rating": [3.0, 4.0]})
    watched = numbers(fit(test=held_out, probe=7, memory_budget="8KB", progressbar=True))
    assert len(watched["posterior/probe"][0, 0]) == 7
    thin = 6 // len(watched["factors/alpha"][0])
    assert thin > 1
    for name in ("alpha", "total_log_likelihood", "train_rmse", "intercept", "singular_value"):
        np.testing.assert_array_equal(watched[f"posterior/{name}"], plain[f"posterior/{name}"])
    for name in ("user_factors", "item_bias", "mu_user", "precision_item", "alpha"):
        expected = plain[f"factors/{name}"][:, ::thin]
        np.testing.assert_array_equal(watched[f"factors/{name}"], expected)


def test_types_of_columns_change_no_bit():
    """Whole and half stars in any number type, ids in any integer type."""
    frame = RATINGS.to_frame()
    frame["rating"] = frame["rating"].round()
    expected = digest(fit(frame))
    for dtype in ("int8", "int64", "uint16", "float32", "float64", "Int32", "Float64", object):
        assert digest(fit(frame.astype({"rating": dtype}))) == expected, dtype
    for dtype in ("uint8", "int16", "int32", "Int64"):
        assert digest(fit(frame.astype({"user": dtype, "item": dtype}))) == expected, dtype


def test_runs_side_by_side_are_independent():
    """Two fits at once in one process, whatever NumPy's global generator does, and untouched by it.

    Nothing is shared: neither a generator nor a buffer.
    """
    seeds = [1, 2, 3, 4]
    alone = [digest(fit(random_seed=seed)) for seed in seeds]
    assert len(set(alone)) == len(seeds)
    np.random.seed(0)  # noqa: NPY002 - the global generator is what is tested
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: digest(fit(random_seed=seed, cores=2)), seeds))
    assert together == alone
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


PROCESS = """
    import bayesmf
    from tests.statistical.test_determinism import digest, fit
    post = fit(cores={cores})
    print(digest(post))
    table = post.predict([(1, 2), (3, 999), (999, 3), (999, 999)])
    print(table.to_numpy().tobytes().hex(), post.recommend([1, 999], n=3).to_csv())
"""


def in_a_process(cores, **environment) -> list[str]:
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROCESS.format(cores=cores))],
        capture_output=True, text=True, check=False, env=os.environ | environment, cwd=ROOT,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()


def test_processes_and_compilers_change_no_bit(tmp_path):
    """Other hashes of strings, other thread counts, and code compiled anew: nothing moves."""
    cached = in_a_process(
        1, PYTHONHASHSEED="1", NUMBA_NUM_THREADS="1", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"
    )
    compiled = in_a_process(
        3, PYTHONHASHSEED="2", NUMBA_NUM_THREADS="2", OMP_NUM_THREADS="3",
        OPENBLAS_NUM_THREADS="2", NUMBA_CACHE_DIR=str(tmp_path),
    )  # fmt: skip
    assert list(tmp_path.rglob("rows.update_rows*.nbc"))
    assert cached == compiled
    assert cached[0] == digest(fit(cores=2))


# --- Faults --------------------------------------------------------------------------------------


class OnPurposeError(Exception):
    """An error that nothing else raises."""


def break_once(monkeypatch, place, at, error) -> list[None]:
    """Let one call of a part of a run fail; return a list that grows with every call."""
    made: list[None] = []

    def breaking(original):
        def broken(*args):
            made.append(None)
            if len(made) == at:
                raise error
            return original(*args)

        return broken

    engine = ENGINES["numba"]
    if place == "moments":
        monkeypatch.setattr(conditionals, "moments", breaking(conditionals.moments))
    elif place in ("drawer", "errors"):
        # Not while it is made ready, but in the threads that take blocks.
        def broken_blocks(*args):
            return breaking(getattr(engine, place)(*args))

        monkeypatch.setitem(ENGINES, "numba", engine._replace(**{place: broken_blocks}))
    else:
        owner = {"record": Recorder, "train_rmse": Recorder, "update_progress": Progress}[place]
        name = place.removesuffix("_progress")
        monkeypatch.setattr(owner, name, breaking(getattr(owner, name)))
    return made


@pytest.mark.parametrize("cores", [1, 2, 5], ids=["one thread", "chains in threads", "row threads"])
@pytest.mark.parametrize("place", ["drawer", "errors", "moments", "record", "train_rmse"])
def test_an_error_in_a_chain_ends_the_run(small_blocks, monkeypatch, place, cores):
    """The very error comes out, the other chains stop in the middle, and no thread is left.

    A turn is as long as the run, so that nothing but the stop ends a chain that goes on.
    """
    monkeypatch.setattr("bayesmf.gibbs.chains.TURN_SECONDS", 10**6)
    error, before = OnPurposeError("on purpose"), set(threading.enumerate())
    made = break_once(monkeypatch, place, 40, error)
    with pytest.raises(OnPurposeError) as caught:
        fit(chains=3, cores=cores, tune=0, draws=20_000)
    assert caught.value is error
    assert set(threading.enumerate()) == before
    assert 40 <= len(made) < 15_000  # of 60 000 at least


def test_an_error_of_the_progress_bar_ends_the_run(small_blocks, monkeypatch):
    """The thread that waits for the chains fails: they stop too."""
    monkeypatch.setattr("bayesmf.gibbs.chains.TURN_SECONDS", 0.001)
    error, before = OnPurposeError("on purpose"), set(threading.enumerate())
    break_once(monkeypatch, "update_progress", 5, error)
    with pytest.raises(OnPurposeError) as caught:
        fit(chains=2, cores=5, tune=10**6, draws=1)
    assert caught.value is error
    assert set(threading.enumerate()) == before


def test_an_interrupt_among_row_threads_keeps_the_draws_so_far(small_blocks, monkeypatch):
    """One chain and threads for its rows: what is kept is the beginning of the whole run."""
    monkeypatch.setattr("bayesmf.gibbs.chains.TURN_SECONDS", 0.001)
    before = set(threading.enumerate())
    with monkeypatch.context() as interrupted:
        break_once(interrupted, "update_progress", 20, KeyboardInterrupt())
        with pytest.warns(UserWarning, match="Interrupted: kept") as caught:
            part = fit(chains=1, cores=4, tune=1, draws=50_000)
    assert set(threading.enumerate()) == before
    kept = part.data["posterior"].sizes["draw"]
    assert 1 <= kept < 50_000
    assert f"kept {kept:,} of 50,000 draws" in str(caught[0].message)
    assert part.data.attrs["interrupted"] == 1
    assert digest(part) == digest(fit(chains=1, cores=1, tune=1, draws=kept))


def test_a_precision_that_is_not_positive_definite_names_its_row():
    """The row of the table, not its place in a block of rows; the rows before it are drawn."""
    data = Data.build(RATINGS, WorkingScale(0.0, 1.0), 2, False).users
    partners = np.zeros((RATINGS.n_items, 2))
    # Only rows with this item have a precision at all.
    partners[data.side.partners[data.side.indptr[7]]] = 1.0
    hyper = Hyper(np.zeros(2), np.zeros((2, 2)), np.ones(2))
    task, z = RowTask(data, partners, False, 1.0, hyper), np.zeros(8)
    for engine in ENGINES.values():
        with pytest.raises(np.linalg.LinAlgError, match="of row 6 is not positive definite"):
            engine.drawer(task, None)(range(6, 10), z, np.zeros((RATINGS.n_users, 2)))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # a warning of NumPy would not be enough
@pytest.mark.parametrize("backend", ENGINES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("n_factors", [0, 2])
def test_a_row_that_is_no_number_never_becomes_a_result(monkeypatch, backend, bad, n_factors):
    """NaN or infinity among the rows of either side, in any sweep, is an error."""
    engine = ENGINES[backend]
    for at in (1, 2, 7, 19, 20):  # two updates a sweep, ten sweeps
        made = []

        def spoiled(task, executor, made=made, at=at):
            draw = engine.drawer(task, executor)

            def draw_spoiled(block, normals, out):
                draw(block, normals, out)
                made.append(None)
                if len(made) == at:
                    out[block[-1], 0] = bad

            return draw_spoiled

        monkeypatch.setitem(ENGINES, backend, engine._replace(drawer=spoiled))
        with pytest.raises((FloatingPointError, np.linalg.LinAlgError)):
            fit(backend=backend, chains=1, n_factors=n_factors)
