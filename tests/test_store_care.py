"""What a store does where others meddle: taken paths, leftovers, missing or crafted files."""

import _thread
import datetime as dt
import json
import os
import pickle
import shutil
import time

import numpy as np
import pandas as pd
import pytest
import zarr

import bayesmf
from bayesmf.atomic import OLD, PARTIAL, free_name
from bayesmf.draws.reading import KeptDraws, runs_of
from bayesmf.draws.store import Store
from bayesmf.draws.streaming import StreamingRecorder
from bayesmf.ranking import top_n
from tests.test_store import Trap, files_in, fit


@pytest.fixture(scope="module")
def ratings():
    return bayesmf.simulate(30, 20, 250, n_factors=2, random_seed=1).ratings


@pytest.fixture
def path(ratings, tmp_path):
    fit(ratings, store=tmp_path / "run.zarr", draws=20)
    return tmp_path / "run.zarr"


@pytest.fixture
def from_disk(monkeypatch):
    """Draws are read as they are needed, however few."""
    monkeypatch.setattr("bayesmf.draws.reading.IN_MEMORY", 0)


def test_an_older_format_within_the_metadata_is_not_decoded(path, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    root = json.loads((path / "zarr.json").read_text())
    root["consolidated_metadata"]["metadata"]["posterior/alpha"] = {
        "zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "fill_value": None,
        "order": "C", "compressor": None, "filters": [{"id": "pickle"}], "node_type": "array",
    }  # fmt: skip
    (path / "zarr.json").write_text(json.dumps(root))
    (path / "posterior" / "alpha" / "0").write_bytes(pickle.dumps([Trap()]))
    with pytest.raises(ValueError, match="posterior/alpha is not of Zarr's third format"):
        bayesmf.load(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["factors/user_factors", "posterior/alpha"])
def test_a_missing_chunk_is_damage(path, name):
    next((path / name).glob("c.*")).unlink()
    for reading in (bayesmf.load, lambda one: bayesmf.resume(one, draws=2, progressbar=False)):
        with pytest.raises(ValueError, match=f"chunk .* of {name} is missing"):
            reading(path)


def test_a_store_that_was_replaced_is_not_read_on(path, ratings, from_disk):
    lazy = bayesmf.load(path)
    before = lazy.predict([(0, 1)])
    fit(ratings, store=path, draws=20, overwrite=True, random_seed=8)
    with pytest.raises(ValueError, match="was replaced or removed since it was opened"):
        lazy.predict([(0, 1)])
    shutil.rmtree(path)
    with pytest.raises(ValueError, match="was replaced or removed since it was opened"):
        lazy.recommend(0)
    assert np.isfinite(before["mean"]).all()


def test_a_path_that_was_taken_meanwhile_is_left_alone(ratings, tmp_path, monkeypatch):
    path = tmp_path / "run.zarr"
    begin = StreamingRecorder.begin

    def taken(self, states):
        path.mkdir()
        (path / "precious").touch()
        begin(self, states)

    monkeypatch.setattr(StreamingRecorder, "begin", taken)
    with pytest.raises(FileExistsError, match="made by another process meanwhile"):
        fit(ratings, store=path)
    assert [file.name for file in tmp_path.rglob("*")] == ["run.zarr", "precious"]


def test_save_replaces_what_was_saved_and_nothing_else(path, ratings, tmp_path):
    post = bayesmf.load(path)
    before = files_in(path)
    with pytest.raises(FileExistsError, match="another path than that of a run"):
        post.save(path, overwrite=True)
    assert files_in(path) == before
    other = tmp_path / "other.zarr"
    zarr.open_group(other, mode="w", zarr_format=3)
    with pytest.raises(ValueError, match="must be a sound store of bayesmf"):
        post.save(other, overwrite=True)
    assert other.exists()
    saved = post.save(tmp_path / "saved.zarr")
    fit(ratings, draws=3).save(saved, overwrite=True)
    assert bayesmf.load(saved).data["posterior"].sizes["draw"] == 3
    assert not list(tmp_path.glob(".*"))


def test_an_exchange_that_was_cut_off_leaves_the_old_store(path, ratings, monkeypatch):
    before = files_in(path)
    monkeypatch.setattr(Store, "open_arrays", lambda self: None)
    new, lock = Store.begin(path)
    shutil.copytree(path, new, dirs_exist_ok=True)
    store = Store(new)
    rename = type(path).rename

    def fails(self, target):
        if self == new:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(type(path), "rename", fails)
    with pytest.raises(OSError, match="Input/output"):
        store.settle(path, replace=True)
    monkeypatch.undo()
    assert files_in(path) == before
    lock.release()
    # Killed between the two renames: the next one to look puts it back.
    path.rename(free_name(path, OLD))
    assert len(bayesmf.load(path).predict([(0, 1)])) == 1
    # And the next run sweeps out what nobody holds.
    free_name(path, PARTIAL).mkdir()
    held, lock = Store.begin(path.with_name("else.zarr"))
    fit(ratings, store=path, draws=5, overwrite=True)
    assert sorted(one.name for one in path.parent.iterdir()) == sorted([held.name, path.name])
    lock.release()


def test_others_may_read_it(path):
    modes = {file.stat().st_mode & 0o777 for file in path.rglob("*") if file.is_file()}
    umask = os.umask(0)
    os.umask(umask)
    own = (path / ".bayesmf" / "lock").stat().st_mode & 0o777  # filelock's choice
    assert modes - {own} <= {0o666 & ~umask}


def test_a_link_to_another_disk(ratings, tmp_path):
    (tmp_path / "scratch").mkdir()
    link = tmp_path / "run.zarr"
    fit(ratings, store=tmp_path / "scratch" / "run.zarr", draws=5)
    link.symlink_to(tmp_path / "scratch" / "run.zarr")
    fit(ratings, store=link, draws=7, overwrite=True)
    assert link.is_symlink()
    assert bayesmf.load(link).data["posterior"].sizes["draw"] == 7


def test_before_the_first_draw_it_says_so(ratings, tmp_path, monkeypatch):
    seen = []
    begin = StreamingRecorder.begin

    def look(self, states):
        begin(self, states)
        seen.append(bayesmf.load(self.store.path))

    monkeypatch.setattr(StreamingRecorder, "begin", look)
    fit(ratings, store=tmp_path / "run.zarr", draws=5)
    (early,) = seen
    assert "0 draws" in early._repr_html_()
    for ask in (
        lambda: early.predict([(0, 1)]), lambda: early.recommend(0), early.diagnose,
        lambda: early.fold_in(([900], [1], [3.0])), lambda: early.update(([900], [1], [3.0])),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="has no draws yet"):
            ask()
    assert early.save(tmp_path / "early.zarr").exists()
    assert 0 < early.fit_seconds < bayesmf.load(tmp_path / "run.zarr").fit_seconds


def test_an_error_is_not_lost_in_an_interrupt(ratings, tmp_path, monkeypatch):
    def fails(self, chain, draw, *args):
        if chain == 1 and draw == 3:
            _thread.interrupt_main()
            time.sleep(0.3)  # the interrupt has come
            raise OSError(28, "No space left on device")
        record(self, chain, draw, *args)

    record = StreamingRecorder.record
    monkeypatch.setattr(StreamingRecorder, "record", fails)
    with pytest.raises(OSError, match="with room for more bayesmf.resume goes on"):
        fit(ratings, store=tmp_path / "run.zarr", cores=2)
    monkeypatch.undo()
    found = bayesmf.resume(tmp_path / "run.zarr", progressbar=False)
    expected = fit(ratings).data["posterior"]["probe"]
    np.testing.assert_array_equal(found.data["posterior"]["probe"], expected)


@pytest.mark.parametrize("lazy", [False, True])
def test_thompson_draws_come_from_all_chains(path, monkeypatch, lazy):
    if lazy:
        monkeypatch.setattr("bayesmf.draws.reading.IN_MEMORY", 0)
    post = bayesmf.load(path)
    limited = KeptDraws(post.data, 8)
    picked = [limited.number_of(index) for index in range(8)]
    assert sum(number < 20 for number in picked) == 4  # of two chains with twenty draws each
    lists = [
        post.recommend(0, n=1, strategy="thompson", draws=8, random_seed=seed, prob=None)["score"]
        for seed in range(60)
    ]
    assert len({round(float(one.iloc[0]), 6) for one in lists}) > 5


def test_runs_of_draws_lie_apart_and_count():
    for kept in (1, 5, 64, 65, 193, 1000):
        for n in {1, 2, kept // 3 + 1, kept - 1, kept} - {0}:
            for together in (1, 16, 64):
                runs = runs_of(kept, n, together)
                draws = np.concatenate([np.r_[run] for run in runs])
                assert len(draws) == len(set(draws.tolist())) == min(n, kept)
                assert (np.diff(draws) > 0).all()
                assert draws[-1] < kept
                assert len(runs) <= -(-n // together) or n == kept


def test_ties_go_to_the_lower_column():
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 3, (50, 400)).astype(float)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :7]
    np.testing.assert_array_equal(top_n(scores, 7), expected)


def test_timestamps_that_no_file_holds(ratings, tmp_path):
    frame = ratings.to_frame()
    dates = frame.assign(timestamp=[dt.date(2020, 1, 1)] * len(frame))
    with pytest.raises(TypeError, match="Timestamps must be numbers, datetimes or texts"):
        fit(dates, store=tmp_path / "run.zarr")
    with pytest.raises(TypeError, match="objects of the types date: make them datetimes"):
        fit(dates, draws=3).save(tmp_path / "post.nc")
    assert not list(tmp_path.iterdir())
    texts = fit(frame.assign(timestamp="2020-01-01"), draws=3)
    again = bayesmf.load(texts.save(tmp_path / "post.zarr"))
    assert again.ratings.timestamps.tolist() == ["2020-01-01"] * len(frame)
    new = pd.DataFrame({"user": [0], "item": [1], "rating": [3.0], "timestamp": [5]})
    with pytest.raises(TypeError, match="timestamps are of the kind of those there are"):
        texts.update(new, progressbar=False)
