"""Stored runs: the draws of a run in memory, readable at any time, never half there."""

import errno
import json
import os
import pickle
import subprocess
import sys
import textwrap

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bayesmf
from bayesmf.draws.holding import locked
from bayesmf.draws.keeping import bytes_per_draw, plan_keeping
from bayesmf.draws.store import Store
from bayesmf.draws.streaming import StreamingRecorder
from bayesmf.model import BPMF

QUICK = {"n_factors": 2, "tune": 5, "draws": 90, "chains": 2, "random_seed": 3}


def fit(ratings, **kwargs):
    return bayesmf.fit_bpmf(ratings, **(QUICK | {"progressbar": False} | kwargs))


@pytest.fixture(scope="module")
def ratings():
    return bayesmf.simulate(30, 20, 250, n_factors=2, random_seed=1).ratings


@pytest.fixture(scope="module")
def in_memory(ratings):
    return fit(ratings, test=ratings, track=[(0, 1), (2, 3)])


@pytest.fixture(scope="module")
def stored(ratings, tmp_path_factory):
    path = tmp_path_factory.mktemp("stored") / "run.zarr"
    fit(ratings, test=ratings, track=[(0, 1), (2, 3)], store=path)
    return path


def assert_same_draws(found, expected):
    """Every variable but the clock's has the same bits."""
    assert set(found.children) == set(expected.children)
    for name, node in expected.children.items():
        for variable in node.data_vars:
            if variable != "seconds":
                pair = found[name][variable].to_numpy(), node[variable].to_numpy()
                np.testing.assert_array_equal(*pair, err_msg=f"{name}/{variable}")
        if "draw" in node.coords:
            np.testing.assert_array_equal(found[name]["draw"], node["draw"])


def files_in(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_stored_run_has_the_bits_of_one_in_memory(in_memory, stored):
    again = bayesmf.load(stored)
    assert_same_draws(again.data, in_memory.data)
    assert repr(again) == repr(in_memory)
    assert again.data.attrs["status"] == "finished"
    cells = [(0, 1), (999, 1), (0, 999), (999, 999)]
    pd.testing.assert_frame_equal(again.predict(cells), in_memory.predict(cells))
    pd.testing.assert_frame_equal(again.recommend(n=2), in_memory.recommend(n=2))


def test_arviz_and_xarray_read_it_alone(stored, in_memory):
    tree = xr.open_datatree(stored, engine="zarr")
    names = {"var_names": ["alpha", "intercept", "probe"]}
    found, expected = az.summary(tree, **names), az.summary(in_memory.data, **names)
    pd.testing.assert_frame_equal(found, expected)
    assert tree["factors"]["user"].to_numpy().tolist() == list(range(30))


def test_it_can_be_read_at_any_moment_of_the_run(ratings, tmp_path, monkeypatch):
    seen = []
    commit = StreamingRecorder.commit

    def look(self, attributes):
        commit(self, attributes)
        if self.store.path == tmp_path / "run.zarr":
            seen.append(bayesmf.load(self.store.path))

    monkeypatch.setattr(StreamingRecorder, "commit", look)
    monkeypatch.setattr("bayesmf.draws.keeping.FEW", 16)
    monkeypatch.setattr("bayesmf.draws.keeping.DRAWS_TOGETHER", 16)
    whole = fit(ratings, store=tmp_path / "run.zarr", keep=45)
    sizes = [post.data["posterior"].sizes["draw"] for post in seen]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 2
    assert sizes[-1] == 90
    for post, n in zip(seen, sizes, strict=True):
        for name, thin in (("posterior", 1), ("factors", 2)):
            found, expected = post.data[name], whole.data[name]
            assert found.sizes["draw"] == -(-n // thin)
            for variable in found.data_vars:
                some = expected[variable].isel(draw=slice(found.sizes["draw"]))
                np.testing.assert_array_equal(found[variable], some)


def test_memory_does_not_grow_with_draws(ratings):
    model = BPMF(n_factors=2)
    for draws in (100, 10_000, 10_000_000):
        for budget in (50_000, 1_000_000):
            keeping = plan_keeping(
                ratings, model, chains=4, draws=draws, keep=draws, memory_budget=budget,
                stored=True, function="fit_bpmf",
            )  # fmt: skip
            assert keeping.kept(draws) == draws
            assert keeping.block * 4 * bytes_per_draw(ratings, model) <= budget
            assert keeping.block <= 64
            assert keeping.every <= 2048


def test_draws_larger_than_memory_are_read_as_needed(stored, in_memory, monkeypatch):
    expected = in_memory
    monkeypatch.setattr("bayesmf.draws.reading.IN_MEMORY", 0)
    monkeypatch.setattr("bayesmf.draws.reading.DRAWS_PER_READ", 40)
    monkeypatch.setattr("bayesmf.predictive.PASS_BYTES", 40_000)  # several passes
    lazy = bayesmf.load(stored)
    assert not lazy._draws.in_memory
    cells = [(u, i) for u in range(30) for i in range(0, 20, 3)] + [(999, 1), (4, 999), (999, 999)]
    for kind in ("predictive", "latent"):
        found, whole = (post.predict(cells, kind=kind) for post in (lazy, expected))
        pd.testing.assert_frame_equal(found, whole, rtol=1e-10)
    pd.testing.assert_frame_equal(
        lazy.recommend([3, 999], n=3), expected.recommend([3, 999], n=3), rtol=1e-6
    )
    assert lazy.similar_users(3, n=4)["user"].tolist()
    assert lazy.diagnose().table.equals(expected.diagnose().table)
    test = in_memory.ratings.to_frame().drop_duplicates("item").assign(user=999)
    table = bayesmf.compare({"lazy": lazy, "in memory": expected}, test).table
    assert table["RMSE"].iloc[0] == pytest.approx(table["RMSE"].iloc[1])


def test_tracked_cells_without_factors(ratings, in_memory, tmp_path):
    """Running moments are those of all draws; nothing else can be predicted."""
    cells = pd.DataFrame({"user": [0, 2], "item": [1, 3]})
    everything = in_memory.predict(cells, prob=None)
    table = in_memory.tracked()
    np.testing.assert_allclose(table["mean"], everything["mean"], rtol=1e-6)
    np.testing.assert_allclose(table["sd"], everything["sd"], rtol=1e-4)
    for where in ({}, {"store": tmp_path / "run.zarr"}):
        few = fit(ratings, track=cells, keep=0, **where)
        pd.testing.assert_frame_equal(few.tracked(), table)
        assert "factors" not in few.data
        with pytest.raises(ValueError, match="keeps no draws of factors"):
            few.predict(cells)
    assert np.isfinite(bayesmf.load(tmp_path / "run.zarr").diagnose().table["ess_bulk"]).any()


def test_keep_thins(ratings, tmp_path):
    expected = fit(ratings)
    for where in ({}, {"store": tmp_path / "run.zarr"}):
        found = fit(ratings, keep=20, **where).data["factors"]
        assert found["draw"].to_numpy().tolist() == list(range(0, 90, 5))
        same = expected.data["factors"]["user_factors"].sel(draw=found["draw"])
        np.testing.assert_array_equal(found["user_factors"], same)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"store": 3}, "The 'store' argument of fit_bpmf must be None, a text or a path. Got 3."),
        ({"store": "nowhere/run.zarr"}, "must be a path in a folder that exists"),
        ({"store": "run.zarr", "overwrite": 1}, "'overwrite' argument .* True or False"),
        (
            {"store": "run.zarr", "method": "advi", "chains": None},
            "left out with method='advi'.*Posterior.save",
        ),
        ({"keep": -1}, "'keep' argument of fit_bpmf must be a non-negative integer. Got -1."),
        ({"keep": 0}, "'keep' argument of fit_bpmf must be positive without `track`"),
        ({"track": [(0, 999)]}, "cells whose items have ratings. Got item 999."),
        ({"track": []}, "'track' argument .* at least one cell. Got no rows."),
        ({"track": [(0, 1)], "method": "nuts"}, "'track' argument .* left out"),
    ],
)
def test_wrong_arguments(ratings, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=message):
        fit(ratings, **arguments)
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_overwritten(stored, ratings, tmp_path):
    before = files_in(stored)
    message = "Got .*run.zarr, the store of a run on the same ratings"
    with pytest.raises(FileExistsError, match=message):
        fit(ratings, store=stored)
    others = bayesmf.simulate(9, 8, 40, random_seed=1).ratings
    with pytest.raises(FileExistsError, match=r"other ratings.*|overwrite=True"):
        fit(others, store=stored)
    assert files_in(stored) == before
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_bytes(b"1")
    for taken in (tmp_path / "photos", tmp_path / "photos" / "one.jpg"):
        with pytest.raises(FileExistsError, match="must be a path that does not exist yet"):
            fit(ratings, store=taken, overwrite=True)
    assert (tmp_path / "photos" / "one.jpg").read_bytes() == b"1"


def test_overwrite_replaces_the_whole_store(ratings, tmp_path):
    path = tmp_path / "run.zarr"
    fit(ratings, store=path, draws=40)
    others = bayesmf.simulate(9, 8, 40, random_seed=1).ratings
    expected = fit(others, store=path, overwrite=True)
    assert_same_draws(bayesmf.load(path).data, expected.data)
    assert [file.name for file in tmp_path.iterdir()] == ["run.zarr"]


def test_of_two_processes_the_second_is_refused(stored, ratings):
    before = files_in(stored)
    with locked(Store(stored), "test"):
        for run in (
            lambda: bayesmf.resume(stored, draws=5, progressbar=False),
            lambda: fit(ratings, store=stored, overwrite=True),
        ):
            with pytest.raises(BlockingIOError, match="another process is running on it"):
                run()
        assert len(bayesmf.load(stored).predict([(0, 1)])) == 1
    assert files_in(stored) == before


def damage(path, how):
    """Spoil a store in one way."""
    chunk = path / "posterior" / "probe" / "c.0.0.0"
    checkpoint = path / ".bayesmf" / "chain-1.npz"
    root = json.loads((path / "zarr.json").read_text())
    if how == "cut metadata":
        (path / "zarr.json").write_bytes((path / "zarr.json").read_bytes()[:300])
    elif how == "no metadata":
        (path / "zarr.json").unlink()
    elif how == "cut chunk":
        chunk.write_bytes(chunk.read_bytes()[:-10])
    elif how == "flipped bit":
        content = bytearray(chunk.read_bytes())
        content[len(content) // 2] ^= 1
        chunk.write_bytes(content)
    elif how == "newer":
        root["attributes"]["schema_version"] = 999
        (path / "zarr.json").write_text(json.dumps(root))
    elif how == "other ratings":
        root["attributes"]["data_fingerprint"] = "0" * 64
        (path / "zarr.json").write_text(json.dumps(root))
    elif how == "cut checkpoint":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-200])
    elif how == "no checkpoint":
        checkpoint.unlink()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut metadata", "must be a sound store of bayesmf. Got .*run.zarr"),
        ("no metadata", "zarr.json.* is missing"),
        ("cut chunk", "must be a sound store of bayesmf"),
        ("flipped bit", "must be a sound store of bayesmf"),
        ("newer", "its format is version 999, newer than .*: install a newer bayesmf"),
        ("other ratings", "its ratings are not those that it was fitted to"),
        ("cut checkpoint", "checkpoint chain-1.npz"),
        ("no checkpoint", "checkpoint chain-1.npz"),
    ],
)
def test_a_damaged_store_is_named_and_left_alone(ratings, tmp_path, how, message):
    path = tmp_path / "run.zarr"
    fit(ratings, store=path, draws=20)
    damage(path, how)
    before = files_in(path)
    if "checkpoint" in how:
        assert bayesmf.load(path).data["posterior"].sizes["draw"] == 20
    else:
        with pytest.raises(ValueError, match=message):
            bayesmf.load(path)
    with pytest.raises(ValueError, match=message):
        bayesmf.resume(path, draws=10, progressbar=False)
    assert files_in(path) == before


class Trap:
    """What unpickling would execute."""

    def __reduce__(self):
        return os.mkdir, (os.environ["TRAP"],)


def test_loading_executes_nothing(ratings, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    path = tmp_path / "run.zarr"
    fit(ratings, store=path, draws=10)
    bait = np.array([Trap()], dtype=object)
    checkpoint = path / ".bayesmf" / "chain-0.npz"
    sound = checkpoint.read_bytes()
    np.savez(checkpoint, user_rows=bait, sweep=bait)
    with pytest.raises(ValueError, match="checkpoint chain-0"):
        bayesmf.resume(path, draws=5, progressbar=False)
    checkpoint.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="checkpoint chain-0"):
        bayesmf.resume(path, draws=5, progressbar=False)
    checkpoint.write_bytes(sound)
    root = json.loads((path / "zarr.json").read_text())
    array = root["consolidated_metadata"]["metadata"]["posterior/alpha"]
    array["codecs"] = [{"name": "numcodecs.pickle", "configuration": {}}]
    (path / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(ValueError, match="codecs numcodecs.pickle are not bayesmf's"):
        bayesmf.load(path)
    old = tmp_path / "old.zarr"
    old.mkdir()
    (old / ".zgroup").write_text('{"zarr_format": 2}')
    (old / ".zattrs").write_text('{"schema_version": 1}')
    with pytest.raises(ValueError, match="must be a sound store"):
        bayesmf.load(old)
    assert not (tmp_path / "sprung").exists()


FULL = """
    import os, resource, signal, sys, numpy as np
    from pathlib import Path
    import bayesmf
    import bayesmf.draws.keeping as keeping
    keeping.DRAWS_TOGETHER = keeping.FEW = 16  # several writes
    folder, kind = Path(sys.argv[1]), sys.argv[2]
    ratings = bayesmf.simulate(300, 200, 3000, random_seed=1).ratings
    how = dict(n_factors=4, tune=3, draws=96, chains=2, random_seed=1, progressbar=False)
    if kind == "tmpfs":
        (folder / "ballast").write_bytes(b"0" * 14_500_000)
        make_room = (folder / "ballast").unlink
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, resource.RLIM_INFINITY))
        make_room = lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    try:
        bayesmf.fit_bpmf(ratings, store=folder / "run.zarr", **how)
    except OSError as error:
        print(error.errno, error)
    if kind == "tmpfs":
        print(bayesmf.load(folder / "run.zarr").data["posterior"].sizes["draw"] < 96)
    else:
        print(True)
    make_room()
    found = bayesmf.resume(folder / "run.zarr", progressbar=False)
    whole = bayesmf.fit_bpmf(ratings, **how)
    same = [
        np.array_equal(found.data[g][v], whole.data[g][v])
        for g, v in (("factors", "user_factors"), ("posterior", "probe"))
    ]
    print(same, list(folder.rglob("*.partial")))
"""


def test_a_full_disk_ends_the_run_and_leaves_a_store(tmp_path):
    """On a disk of 16 MB where one can be mounted, else with a quota on files."""
    code = textwrap.dedent(FULL)
    mount = f"mount -t tmpfs -o size=16m none {tmp_path} && exec "
    own = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    try:
        can = subprocess.run([*own, mount + "true"], capture_output=True, check=False).returncode
    except FileNotFoundError:
        can = 1
    script = tmp_path.parent / "full.py"
    script.write_text(code)
    kind = "tmpfs" if can == 0 else "quota"
    command = f'"{sys.executable}" "{script}" "{tmp_path}" {kind}'
    line = [*own, mount + command] if can == 0 else ["sh", "-c", command]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    error, opened, same = done.stdout.splitlines()
    wanted = errno.ENOSPC if can == 0 else errno.EFBIG
    assert error.startswith(f"{wanted} [Errno {wanted}] fit_bpmf could not write to")
    assert "bayesmf.resume goes on" in error
    assert opened == "True"
    assert same == "[True, True] []"


@st.composite
def tables(draw):
    """Small tables with ids of any kind."""
    kind = draw(st.sampled_from(["text", "int", "date"]))
    ids = {
        "text": st.text(min_size=0, max_size=6),
        "int": st.integers(-(2**63), 2**63 - 1),
        "date": st.datetimes().map(pd.Timestamp),
    }[kind]
    users = draw(st.lists(ids, min_size=2, max_size=5, unique=True))
    items = draw(st.lists(st.text(max_size=4), min_size=2, max_size=4, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    frame = pd.DataFrame([(u, i) for u in users for i in items], columns=["who", "what"])
    return frame.assign(stars=rng.normal(3, 1, len(frame)), timestamp=np.arange(len(frame)))


@settings(
    max_examples=8, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(table=tables(), ending=st.sampled_from(["zarr", "nc"]))
def test_any_ids_come_back(table, ending, tmp_path):
    ratings = bayesmf.Ratings(table, user_col="who", item_col="what", rating_col="stars")
    path = tmp_path / f"run.{ending}"
    post = fit(ratings, draws=3, tune=1, chains=1)
    post.save(path, overwrite=True)
    again = bayesmf.load(path)
    assert again.ratings.fingerprint == ratings.fingerprint
    pd.testing.assert_frame_equal(again.ratings.to_frame(), ratings.to_frame(), check_dtype=False)
    cells = table[["who", "what"]]
    pd.testing.assert_frame_equal(again.predict(cells), post.predict(cells))


def test_saving_leaves_what_is_there(in_memory, tmp_path):
    path = in_memory.save(tmp_path / "post.nc")
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="'path' argument of save must be a path that does"):
        in_memory.save(path)
    for wrong, message in (("post.pkl", "ending in .zarr"), ("no/post.nc", "folder that exists")):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            in_memory.save(tmp_path / wrong)
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="must be the store of a run.*no checkpoints"):
        bayesmf.resume(in_memory.save(tmp_path / "post.zarr"))
    path.write_bytes(before[: len(before) // 2])
    with pytest.raises(ValueError, match="must be a sound store of bayesmf"):
        bayesmf.load(path)
