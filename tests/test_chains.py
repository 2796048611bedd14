"""Running: chains differ, interrupts keep draws, progress is shown."""

import signal
import subprocess
import sys
import textwrap

import numpy as np

import bayesmf


def test_chains_and_draws_are_distinct(posterior):
    alpha = posterior.data["posterior"]["alpha"].to_numpy()
    assert alpha.shape == (2, 150)
    assert len(np.unique(alpha)) == alpha.size


INTERRUPTED = """
    import os, signal, threading, time, warnings
    import bayesmf
    from bayesmf.draws.recorder import Recorder

    original = Recorder.record
    killed = []
    def record(self, chain, draw, *args):
        original(self, chain, draw, *args)
        if draw == {at} and chain == 1 and not killed:
            killed.append(True)
            os.kill(os.getpid(), signal.SIGINT)
    Recorder.record = record
    ratings = bayesmf.simulate(60, 40, 900, random_seed=11).ratings
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        post = bayesmf.fit_bpmf(ratings, n_factors=2, tune={tune}, draws=10**6, chains=3, cores=2,
                                random_seed=1, progressbar=False, memory_budget="20MB")
    sizes = post.data["posterior"].sizes
    print(sizes["chain"], sizes["draw"], post.data.attrs["interrupted"], caught[0].message)
    full = bayesmf.fit_bpmf(ratings, n_factors=2, tune={tune}, draws=sizes["draw"], chains=3,
                            random_seed=1, progressbar=False)
    same = (full.data["posterior"]["probe"].values == post.data["posterior"]["probe"].values).all()
    print("same bits:", bool(same), "(interrupted)" in post.protocol())
    print(post.predict([(0, 1)]).notna().all(axis=None))
"""


def run(code):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )


def test_interrupt_keeps_the_draws_so_far():
    """A real Ctrl-C: every chain keeps its draws, and they are those of an uninterrupted run."""
    finished = run(INTERRUPTED.format(at=800, tune=5))
    assert finished.returncode == 0, finished.stderr
    first, second, third = finished.stdout.splitlines()
    chains, draws, flag, *message = first.split()
    assert (chains, flag) == ("3", "1")
    assert 500 < int(draws) < 10**5
    assert " ".join(message).startswith(f"Interrupted: kept {int(draws):,} of 1,000,000 draws")
    assert second == "same bits: True True"
    assert third == "True"


def test_interrupt_soon_after_tuning_leaves_a_posterior_that_predicts():
    """Fewer draws than the thinning: one row of factors all the same."""
    finished = run(INTERRUPTED.replace("20MB", "100KB").format(at=200, tune=5))
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines()[-1] == "True"


def test_interrupt_before_the_first_draw_raises():
    code = INTERRUPTED.replace("draw == {at}", "draw == -1").format(tune=10**6)
    code += """
    """
    code = code.replace(
        "ratings = bayesmf.simulate",
        "threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "    ratings = bayesmf.simulate",
        1,
    )
    finished = run(code)
    assert finished.returncode in (1, 130, -signal.SIGINT)
    assert "KeyboardInterrupt" in finished.stderr


def test_progress_shows_sweeps_and_rmse(split, capsys):
    bayesmf.fit_bpmf(split[0], n_factors=2, tune=5, draws=15, chains=2, random_seed=1)
    out, shown = capsys.readouterr()
    assert out == ""
    assert "Chain 0" in shown
    assert "Chain 1" in shown
    assert "20/20" in shown
    assert "RMSE" in shown
    bayesmf.fit_bpmf(
        split[0], n_factors=2, tune=5, draws=5, chains=1, random_seed=1, progressbar=False
    )
    assert capsys.readouterr() == ("", "")
