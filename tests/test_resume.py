"""Runs that go on: after a kill, after Ctrl-C, for more draws, with the bits of an unbroken run."""

import _thread
import json
import warnings

import pytest

import bayesmf
from bayesmf.draws import keeping, streaming
from tests.resuming import CELLS, RUN, data, differences, kill_and_resume


@pytest.fixture(scope="module")
def ratings():
    return data()


@pytest.fixture
def small(monkeypatch):
    """Chunks of a few draws."""
    monkeypatch.setattr(keeping, "DRAWS_TOGETHER", 8)
    monkeypatch.setattr(keeping, "FEW", 8)


def fit(ratings, **kwargs):
    return bayesmf.fit_bpmf(ratings, test=ratings, track=CELLS, progressbar=False, **(RUN | kwargs))


def test_killed_at_any_moment_and_resumed(tmp_path):
    """SIGKILL before a random sweep's end, write, sync or rename of a real process."""
    reports = list(kill_and_resume(tmp_path, 5, seed=1))
    assert [report["differs"] for report in reports] == [[]] * 5
    assert any(report["draws"] for report in reports)


@pytest.mark.parametrize("moment", ["write", "rename"])
def test_cut_off_in_the_middle_of_a_checkpoint(ratings, tmp_path, small, monkeypatch, moment):
    """A checkpoint half written, or written and not renamed, is as if it had not been begun."""
    from bayesmf import atomic

    monkeypatch.setattr(streaming, "CHECKPOINT_SECONDS", 0.0)
    count = []

    class PowerCutError(BaseException):
        pass

    def cut(path, content):
        count.append(path.name)
        if count.count("chain-1.npz") == 15 and path.name == "chain-1.npz":
            part = content[: len(content) // 2] if moment == "write" else content
            (path.parent / f"{path.name}.x.partial").write_bytes(part)
            raise PowerCutError
        atomic_write(path, content)

    atomic_write = atomic.write_atomically
    monkeypatch.setattr("bayesmf.draws.checkpoints.write_atomically", cut)
    path = tmp_path / "run.zarr"
    with pytest.raises(PowerCutError):
        fit(ratings, store=path)
    monkeypatch.undo()
    assert bayesmf.load(path).data.attrs["status"] == "running"
    found = bayesmf.resume(path, progressbar=False)
    assert differences(found.data, fit(ratings).data) == []


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize("cores", [1, 3])
def test_more_draws_are_those_of_a_longer_run(ratings, tmp_path, small, backend, cores):
    path = tmp_path / "run.zarr"
    how = {"backend": backend, "keep": None, "chains": 1, "tune": 3}
    fit(ratings, store=path, **(how | {"draws": 21}), cores=2)
    once = bayesmf.resume(path, draws=4, cores=cores, progressbar=False)
    assert once.data["posterior"].sizes["draw"] == 25
    twice = bayesmf.resume(path, draws=20, cores=cores, progressbar=False)
    assert differences(twice.data, fit(ratings, **(how | {"draws": 45})).data) == []
    assert repr(twice) == repr(bayesmf.load(path))


def test_a_finished_run_is_what_it_is(ratings, tmp_path):
    path = tmp_path / "run.zarr"
    done = fit(ratings, store=path)
    again = bayesmf.resume(path, progressbar=False)
    assert differences(again.data, done.data) == []
    for wrong, message in (({"draws": -1}, "'draws' argument"), ({"cores": 0}, "'cores' argument")):
        with pytest.raises(ValueError, match=message):
            bayesmf.resume(path, **wrong)
    with pytest.raises(FileNotFoundError, match="'path' argument of resume must be a path that"):
        bayesmf.resume(tmp_path / "nothing.zarr")


def test_an_interrupted_run_goes_on(ratings, tmp_path, small, monkeypatch):
    """Ctrl-C keeps the draws; `resume` makes the rest."""
    record = streaming.StreamingRecorder.record

    def interrupt(self, chain, draw, *args):
        record(self, chain, draw, *args)
        if draw == 11 and chain == 0:
            _thread.interrupt_main()

    monkeypatch.setattr(streaming.StreamingRecorder, "record", interrupt)
    path = tmp_path / "run.zarr"
    with pytest.warns(UserWarning, match="Interrupted: kept .* of 24 draws"):
        part = fit(ratings, store=path)
    monkeypatch.undo()
    assert part.data.attrs["status"] == "interrupted"
    drawn = part.data["posterior"].sizes["draw"]
    assert 0 < drawn < 24
    whole = fit(ratings).data
    some = whole["posterior"]["probe"].isel(draw=slice(drawn))
    assert (part.data["posterior"]["probe"] == some).all()
    found = bayesmf.resume(path, progressbar=False)
    assert differences(found.data, whole) == []
    assert found.data.attrs["status"] == "finished"
    assert not found.data.attrs["interrupted"]


def test_another_version_is_said(ratings, tmp_path):
    path = tmp_path / "run.zarr"
    fit(ratings, store=path, draws=10)
    root = json.loads((path / "zarr.json").read_text())
    root["attributes"]["numpy_version"] = "1.0"
    (path / "zarr.json").write_text(json.dumps(root))
    with pytest.warns(UserWarning, match=r"begun with numpy 1.0 \(now .*bits may differ"):
        bayesmf.resume(path, progressbar=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bayesmf.load(path)
