"""The command line: what each command says, where it says it, and how it ends."""

import dataclasses
import functools
import inspect
import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

import bayesmf
from bayesmf.cli import runs, tables
from bayesmf.cli.main import main
from bayesmf.diagnostics import convergence

SHORT = ("--factors", "2", "--tune", "20", "--draws", "30", "--chains", "2", "--seed", "1")
COMMANDS = ("fit", "resume", "predict", "recommend", "diagnose", "report", "compare", "demo")


@pytest.fixture
def say(capsys):
    """Run a command; its exit code, standard output and standard error."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(one) for one in arguments])
        return (code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory, split):
    """Tables, and a run that was stored by the library."""
    folder = tmp_path_factory.mktemp("cli")
    train, test = (part.to_frame() for part in split)
    train.to_csv(folder / "train.csv", index=False)
    test.to_csv(folder / "test.csv", index=False)
    pairs = pd.DataFrame({"user": [3, 0, 999], "item": [1, 2, 3]})
    pairs.to_csv(folder / "pairs.csv", index=False)
    pairs.to_parquet(folder / "pairs.parquet")
    bayesmf.fit_bpmf(
        train, n_factors=2, tune=20, draws=30, chains=2, random_seed=1, progressbar=False,
        store=folder / "run.zarr",
    )  # fmt: skip
    return folder


@pytest.fixture
def quick_verdict(folder, monkeypatch):
    """A verdict on another run, for tests that are not about it."""
    monkeypatch.setattr(bayesmf.Posterior, "diagnose", lambda self: verdict_on(folder))


@functools.cache
def verdict_on(folder):
    return convergence.diagnose(bayesmf.load(folder / "run.zarr"))


def read(out):
    return pd.read_csv(io.StringIO(out))


def one_line(err, *parts):
    """An error in one line, after at most what was begun."""
    *before, last = err.splitlines()
    assert [line.split(" ")[0] for line in before] in ([], ["Fitting"]), err
    assert last.startswith("bayesmf: error: ")
    for part in parts:
        assert part in last, err


def test_help_is_there_at_once_and_teaches():
    """It imports neither PyMC nor what draws figures, nor even what reads tables."""
    code = """
        import sys
        from bayesmf.cli.main import main
        ends = [main([]), *(main([name, "--help"]) for name in {commands})]
        heavy = {{"pymc", "pytensor", "arviz", "matplotlib", "numba", "pandas", "xarray", "scipy"}}
        print(ends, sorted(heavy & set(sys.modules)), file=sys.stderr)
        """
    finished = subprocess.run(
        [sys.executable, "-c", inspect.cleandoc(code.format(commands=COMMANDS))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert finished.stderr.strip() == f"{[0] * (len(COMMANDS) + 1)} []"
    for name in COMMANDS:
        assert finished.stdout.count(f"• bayesmf {name}") >= 2 or name in finished.stdout
    assert finished.stdout.count("Examples") == len(COMMANDS)
    assert "130: interrupted by Ctrl-C" in finished.stdout


def test_defaults_are_those_of_the_library():
    library = inspect.signature(bayesmf.fit_bpmf).parameters
    ours = inspect.signature(runs.fit).parameters
    for name, theirs in {"factors": "n_factors", "draws": "draws", "tune": "tune"}.items():
        assert ours[name].default == library[theirs].default


def test_fit_stores_what_the_library_stores(say, folder, tmp_path, monkeypatch):
    store = tmp_path / "run.zarr"
    code, out, err = say("fit", folder / "train.csv", "--store", store, *SHORT)
    assert (code, out) == (0, "")
    assert "30 draws of each chain" in err
    assert "Verdict: not converged" in err
    cells = [(0, 1), (3, 999)]
    ours, theirs = (bayesmf.load(path) for path in (store, folder / "run.zarr"))
    pd.testing.assert_frame_equal(ours.predict(cells), theirs.predict(cells))

    monkeypatch.setattr(bayesmf.Posterior, "diagnose", lambda self: verdict_on(folder))
    again = ("fit", folder / "train.csv", "--store", store, *SHORT)
    code, _, err = say(*again)
    assert code == 2
    assert "or --overwrite with it (bayesmf resume goes on with a stored run)" in err
    code, out, err = say(*again, "--overwrite", "--no-biases", "--test", folder / "test.csv")
    assert code == 0
    assert not bayesmf.load(store).model.biases
    scores = read(out)
    assert scores["model"].tolist() == ["BPMF"]
    assert scores["RMSE"].between(0.1, 5).all()
    assert "Test: 180 ratings" in err


def test_resume_goes_on(say, folder, tmp_path, quick_verdict):
    store = tmp_path / "run.zarr"
    assert say("fit", folder / "train.csv", "-s", store, *SHORT)[0] == 0
    code, out, err = say("resume", store, "--draws", 10)
    assert (code, out) == (0, "")
    assert "40 draws of each chain" in err
    assert bayesmf.load(store).data["posterior"].sizes["draw"] == 40


def test_predict_says_what_the_library_says(say, folder, tmp_path):
    expected = bayesmf.load(folder / "run.zarr").predict([(3, 1), (0, 2), (999, 3)])
    for file in ("pairs.csv", "pairs.parquet"):
        code, out, err = say("predict", folder / "run.zarr", folder / file)
        assert code == 0
        pd.testing.assert_frame_equal(read(out), expected, check_exact=True)
        assert "1 of 3 pairs have a user or an item without ratings" in err
    readers = {".csv": pd.read_csv, ".tsv.gz": lambda p: pd.read_csv(p, sep="\t")}
    for suffix, reader in (readers | {".parquet": pd.read_parquet}).items():
        file = tmp_path / f"predictions{suffix}"
        code, out, _ = say("predict", folder / "run.zarr", folder / "pairs.csv", "--out", file)
        assert (code, out) == (0, "")
        pd.testing.assert_frame_equal(reader(file), expected)
    assert sorted(tmp_path.iterdir()) == sorted(
        tmp_path / f"predictions{s}" for s in (*readers, ".parquet")
    )


def test_columns_by_name(say, folder, tmp_path, quick_verdict):
    renamed = pd.read_csv(folder / "train.csv").set_axis(["who", "what", "liked"], axis=1)
    renamed.to_csv(tmp_path / "train.tsv", sep="\t", index=False)
    renamed.iloc[:5, [1, 0]].to_csv(tmp_path / "pairs.csv", index=False)
    fit = ("fit", tmp_path / "train.tsv", "--store", tmp_path / "run.zarr", *SHORT)
    code, _, err = say(*fit)
    assert code == 2
    one_line(err, "train.tsv must be a table with a 'user' column (or name it: --user-col)")
    names = ("--user-col", "who", "--item-col", "what")
    assert say(*fit, *names, "--rating-col", "liked")[0] == 0
    # The store knows the names.
    code, out, _ = say("predict", tmp_path / "run.zarr", tmp_path / "pairs.csv")
    assert code == 0
    assert read(out)["user"].tolist() == renamed["who"].iloc[:5].tolist()


def test_recommend(say, folder):
    post = bayesmf.load(folder / "run.zarr")
    code, out, err = say("recommend", folder / "run.zarr", "--user", "3", "-u", "999", "-n", 4)
    assert code == 0
    pd.testing.assert_frame_equal(read(out), post.recommend([3, 999], 4), check_exact=True)
    assert "no ratings by user 999" in err
    code, out, err = say("recommend", folder / "run.zarr", "-n", 1, "--latent", "--seen")
    assert (code, err) == (0, "")
    assert len(read(out)) == post.ratings.n_users
    code, out, err = say("recommend", folder / "run.zarr", "--user", "ann")
    assert (code, out) == (2, "")
    one_line(err, "--user must be a whole number", "'ann'")


@pytest.mark.parametrize(
    ("name", "option", "argument"),
    [
        ("ucb", ("--width", 2.0), {"width": 2.0}),
        ("probability", ("--threshold", 4.0), {"threshold": 4.0}),
        ("thompson", ("--seed", 3), {"random_seed": 3}),
        ("affinity", (), {}),
    ],
)
def test_lists_by_strategy(say, folder, name, option, argument):
    arguments = ("recommend", folder / "run.zarr", "-u", 3, "-n", 4)
    code, out, _ = say(*arguments, "--strategy", name, *option)
    assert code == 0
    expected = bayesmf.load(folder / "run.zarr").recommend(3, 4, strategy=name, **argument)
    pd.testing.assert_frame_equal(read(out), expected, check_exact=True)


def test_a_point_estimate_is_not_asked(say, als, tmp_path):
    als.save(tmp_path / "als.zarr")
    for command in (("diagnose",), ("recommend",), ("report", "--out", tmp_path / "a.html")):
        code, _, err = say(command[0], tmp_path / "als.zarr", *command[1:])
        assert code == 2
        one_line(err, "must be what `bayesmf fit` has stored. Got a FactorEstimate.")


@pytest.mark.parametrize("kind", ["text", "date"])
def test_ids_are_typed_as_the_stored_ones(say, folder, tmp_path, kind, quick_verdict):
    """Texts that look like numbers, with their zeros, and dates."""
    frame = pd.read_csv(folder / "train.csv")
    if kind == "text":
        frame["user"] = [f"{user:03d}" for user in frame["user"]]
        users = ["003", "007"]
    else:
        frame["user"] = np.datetime64("2020-01-01") + frame["user"].to_numpy()
        users = ["2020-01-04", "2020-01-08"]
    frame.to_parquet(tmp_path / "train.parquet")
    fit = ("fit", tmp_path / "train.parquet", "--store", tmp_path / "run.zarr")
    assert say(*fit, *SHORT, "--chains", 1)[0] == 0
    pairs = pd.DataFrame({"user": users, "item": [1, 2]})
    pairs.to_csv(tmp_path / "pairs.csv", index=False)
    code, out, err = say("predict", tmp_path / "run.zarr", tmp_path / "pairs.csv")
    assert (code, err) == (0, "")
    assert [line.split(",")[0] for line in out.splitlines()[1:]] == users
    code, out, err = say("recommend", tmp_path / "run.zarr", "-u", users[0], "-n", 1)
    assert (code, err) == (0, "")
    assert out.splitlines()[1].startswith(users[0])
    if kind == "date":
        one_line(say("recommend", tmp_path / "run.zarr", "-u", "ann")[2], "--user must be dates")


def test_diagnose_says_it_in_words_and_by_its_exit_code(say, folder, monkeypatch):
    code, out, err = say("diagnose", folder / "run.zarr")
    assert (code, err) == (1, "")
    assert out.startswith("Verdict: not converged.")
    found = verdict_on(folder)
    assert out == f"{found}\n"
    monkeypatch.setattr(bayesmf.Posterior, "diagnose", lambda self: found)
    code, out, err = say("diagnose", folder / "run.zarr", "--table")
    assert code == 1
    assert read(out)["r_hat"].to_numpy() == pytest.approx(found.table["r_hat"].to_numpy())
    assert err == f"{found.verdict}\n"
    for status, code in (("converged", 0), ("cannot say", 1)):
        verdict = dataclasses.replace(found.verdict, status=status)
        found = dataclasses.replace(found, verdict=verdict)
        assert say("diagnose", folder / "run.zarr")[0] == code


def test_report(say, folder, tmp_path, monkeypatch):
    asked = {}

    def report(self, path, **rest):
        asked.update(rest)
        return path

    pd.DataFrame({"item": [1, 2], "title": ["Alien", "Brazil"]}).to_csv(
        tmp_path / "titles.csv", index=False
    )
    with monkeypatch.context() as patch:
        patch.setattr(bayesmf.Posterior, "report", report)
        code, out, err = say(
            *("report", folder / "run.zarr", "--out", "page.html", "--name", "films"),
            *("--test", folder / "test.csv", "--titles", tmp_path / "titles.csv"),
        )
    assert (code, out, err) == (0, "", "Wrote page.html.\n")
    assert asked["items"] == {1: "Alien", 2: "Brazil"}
    assert asked["name"] == "films"
    pd.testing.assert_frame_equal(asked["test"], pd.read_csv(folder / "test.csv"))
    code, _, err = say("report", folder / "run.zarr", "--titles", folder / "pairs.csv")
    assert code == 2
    one_line(err, "pairs.csv must be a table with the columns item and title. Got user, item.")


def test_compare(say, folder, quick_verdict):
    arguments = ("compare", folder / "train.csv", *SHORT)
    code, out, err = say(*arguments, "--test", folder / "test.csv")
    assert code == 0
    assert read(out)["model"].tolist() == ["bias only", "ALS", "BPMF"]
    assert "Test: 180 ratings" in err


def test_compare_interrupted_says_so(say, folder, quick_verdict, monkeypatch):
    fit = bayesmf.fit_bpmf

    def interrupted(data, **settings):
        post = fit(data, **settings)
        post.data.attrs["interrupted"] = 1
        return post

    monkeypatch.setattr(bayesmf, "fit_bpmf", interrupted)
    code, out, err = say("compare", folder / "train.csv", *SHORT)
    assert code == 130
    assert len(read(out)) == 3
    assert err.splitlines()[-1] == "Interrupted: this is of 30 of 30 draws of each chain."


def test_demo_is_the_tour(say, monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr("bayesmf.demo.main", lambda arguments: given.append(arguments) or 0)
    assert say("demo", "--quick", "--output", tmp_path / "a.html")[0] == 0
    assert given == [["--output", str(tmp_path / "a.html"), "--quick"]]


def test_a_terminal_shows_a_table(say, folder, monkeypatch, quick_verdict):
    monkeypatch.setattr(tables, "MOST_SHOWN", 5)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    code, out, err = say("recommend", folder / "run.zarr", "-u", "3", "-n", 7)
    assert code == 0
    assert "┃" in out
    assert "," not in out
    assert "and 2 more rows" in err
    # A comparison is a table and its protocol, of a split where there is no test table.
    code, out, _ = say("compare", folder / "train.csv", "--test-size", 0.2, *SHORT)
    assert "coverage_90" in out
    assert "test of train_test_split(test_size=0.2, random_seed=1)" in out


WRONG = {
    "an option that is none": (("fit", "train.csv", "--rank", "3"), "No such option", "--help"),
    "an argument that is missing": (("predict", "run.zarr"), "Missing argument 'PAIRS'"),
    "a command that is none": (("fitt",), "No such command 'fitt'", "bayesmf --help"),
    "a file that is not there": (("fit", "no.csv", "-s", "a.zarr"), "no.csv", "exists"),
    "a table of another kind": (("fit", "run.zarr", "-s", "a.zarr"), "a file ending in .csv"),
    "a table without ratings": (("fit", "pairs.csv", "-s", "a.zarr"), "fewer than three columns"),
    "a number out of range": (("fit", "train.csv", "-s", "a.zarr", "--draws", "0"), "--draws must"),
    "a rank below zero": (("fit", "train.csv", "-s", "a.zarr", "--factors=-1"), "--factors must"),
    "a pair rated twice": (("fit", "twice.csv", "-s", "a.zarr"), "or give --duplicates mean or"),
    "a store that is none": (("predict", "train.csv", "pairs.csv"), "the folder of a Zarr store"),
    "an output of no kind": (
        ("predict", "run.zarr", "pairs.csv", "--out", "a.xls"), "--out must be a file ending in",
    ),
    "an output nowhere": (
        ("predict", "run.zarr", "pairs.csv", "--out", "no/a.csv"), "--out must be", "folder",
    ),
    "a strategy that is none": (
        ("recommend", "run.zarr", "--strategy", "best"), "--strategy must be one of 'mean'",
    ),
    "a probability beyond one": (("recommend", "run.zarr", "--prob", "1.5"), "--prob must be"),
    "a list of no length": (("recommend", "run.zarr", "-u", "3", "-n", "0"), "--n must be"),
    "ids of another kind": (("predict", "run.zarr", "names.csv"), "'user' ids that are int"),
    "a page nowhere": (("report", "run.zarr", "--out", "no/a.html"), "the path must be"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage_is_one_line(say, folder, monkeypatch, case):
    monkeypatch.chdir(folder)
    (folder / "twice.csv").write_text("user,item,rating\n1,2,3\n1,2,4\n2,1,5\n")
    (folder / "names.csv").write_text("user,item\nann,2\n")
    before = sorted(folder.iterdir())
    arguments, *parts = WRONG[case]
    code, out, err = say(*arguments)
    assert (code, out) == (2, "")
    one_line(err, *parts)
    assert sorted(folder.iterdir()) == before


def test_failures_are_one_line_and_debug_shows_where(say, folder, monkeypatch):
    def fail(*_, **__):
        raise KeyError("nobody thought\nof this")

    monkeypatch.setattr(bayesmf, "load", fail)
    code, out, err = say("diagnose", folder / "run.zarr")
    assert (code, out) == (1, "")
    one_line(err, "KeyError", "--debug shows where")
    code, _, err = say("diagnose", folder / "run.zarr", "--debug")
    assert code == 1
    assert "Traceback" in err

    def full(*_, **__):
        raise OSError(28, "resume could not write to run.zarr")

    monkeypatch.setattr(bayesmf, "resume", full)
    code, _, err = say("resume", folder / "run.zarr")
    assert code == 1
    one_line(err, "could not write to run.zarr")


def test_an_interrupt_before_there_are_draws(say, folder, monkeypatch, tmp_path):
    store = tmp_path / "a run.zarr"

    def stop(*_, **__):
        raise KeyboardInterrupt

    def stop_later(*_, **__):
        store.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(bayesmf, "fit_bpmf", stop)
    fit = ("fit", folder / "train.csv", "--store", store)
    code, _, err = say(*fit)
    assert code == 130
    assert err.splitlines()[-1] == "Interrupted before the first sweep: nothing was stored."
    monkeypatch.setattr(bayesmf, "fit_bpmf", stop_later)
    code, _, err = say(*fit)
    assert code == 130
    assert err.splitlines()[-1].endswith(f"To go on: bayesmf resume '{store}'")
    monkeypatch.setattr(bayesmf, "load", stop)
    assert say("diagnose", store) == (130, "", "Interrupted.\n")


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is another thing there")
def test_ctrl_c_says_what_is_kept_and_how_to_go_on(folder, tmp_path):
    """A real process, interrupted as by a user."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-W", "error", "-m", "bayesmf", "fit", str(folder / "train.csv")),
            *("--store", "run.zarr", "--factors", "2", "--tune", "20", "--draws", "100000"),
            *("--chains", "2", "--keep", "100000"),  # small chunks: draws are stored soon
        ],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    store = tmp_path / "run.zarr"
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        if store.exists() and bayesmf.load(store).data["posterior"].sizes["draw"] > 0:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    lines = err.splitlines()
    assert len(lines) == 2, err
    kept = bayesmf.load(store).data["posterior"].sizes["draw"]
    assert lines[1] == (
        f"Interrupted: kept {kept:,} of 100,000 draws of each chain in run.zarr. "
        "To go on: bayesmf resume run.zarr"
    )


def test_a_pipe_that_closes_is_no_news(folder, monkeypatch, capsys):
    """As into `head`: nobody hears of the rest."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(["recommend", str(folder / "run.zarr"), "-n", "40"]) == 1
        assert capsys.readouterr().err == ""
