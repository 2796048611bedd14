"""The models under one call each: fit to `train`, predict `test`, RMSE without clipping, seconds.

Only `train` reaches a fit. SMURFF and myFM are given what they ask of their user: codes, ratings
with the mean taken out (SMURFF), one-hot rows (myFM). What they leave to their user, `choose` takes
by validation.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import pandas as pd
import scipy.sparse

import bayesmf
from bayesmf.evaluation import rmse
from benchmarks.common import limited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bayesmf import Posterior, Ratings

SMURFF_NOISES = {
    "adaptive": ("AdaptiveNoise", 1.0, 10.0),
    "sampled": ("SampledNoise", 1.0),
    "fixed 1": ("FixedNoise", 1.0),
    "fixed 1.5": ("FixedNoise", 1.5),
    "fixed 2": ("FixedNoise", 2.0),
}
"""Noise models of SMURFF. Its default, fixed at precision 5, is far from any table of stars."""

MYFM_PRIORS = ("a prior for each side", "one prior for all")
"""Whether myFM is told which columns are users and which are items (`group_shapes`)."""


class Fit(NamedTuple):
    """RMSE on the test ratings, and the wall seconds of the fit."""

    rmse: float
    seconds: float


class Codes(NamedTuple):
    """Codes of users and items over train and test, as the peers need them."""

    shape: tuple[int, int]
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, train: pd.DataFrame, test: pd.DataFrame) -> Codes:
        """Number all ids of both tables."""
        sides = ("user", "item")
        ids = [pd.Index(train[side]).union(test[side]).unique() for side in sides]
        train_codes, test_codes = (
            tuple(known.get_indexer(part[side]) for known, side in zip(ids, sides, strict=True))
            for part in (train, test)
        )
        return cls((len(ids[0]), len(ids[1])), train_codes, test_codes)


def bpmf(
    train: pd.DataFrame, test: pd.DataFrame, *, threads: int, **options: Any
) -> tuple[Fit, Posterior]:
    """Fit ours. Every draw must count in the mean, as it does for the peers: none thinned away."""
    with limited(threads):
        post = bayesmf.fit_bpmf(
            train, cores=threads, memory_budget="2GB", progressbar=False, **options
        )
    if post.data["factors"].sizes["draw"] != post.data["posterior"].sizes["draw"]:
        raise ValueError("the memory budget does not hold all draws")
    means = post.predict(test)["mean"].to_numpy()
    return Fit(rmse(means, test["rating"].to_numpy()), post.fit_seconds), post


def smurff(
    train: pd.DataFrame,
    test: pd.DataFrame,
    *,
    n_factors: int,
    tune: int,
    draws: int,
    threads: int,
    seed: int,
    noise: str,
) -> Fit:
    """SMURFF's BPMF: normal priors, no biases."""
    import smurff as package

    codes = Codes.of(train, test)
    center = train["rating"].mean()

    def matrix(part: pd.DataFrame, cells: tuple[np.ndarray, np.ndarray]) -> scipy.sparse.coo_matrix:
        return scipy.sparse.coo_matrix((part["rating"].to_numpy() - center, cells), codes.shape)

    kind, *precision = SMURFF_NOISES[noise]
    with limited(threads):
        session = package.TrainSession(
            priors=["normal", "normal"],
            num_latent=n_factors,
            burnin=tune,
            nsamples=draws,
            num_threads=threads,
            seed=seed,
            verbose=0,
        )
        held_out = matrix(test, codes.test)
        session.addTrainAndTest(
            matrix(train, codes.train), held_out, getattr(package, kind)(*precision)
        )
        start = time.perf_counter()
        predicted = session.run()
        seconds = time.perf_counter() - start
    means = np.array([cell.pred_avg for cell in predicted])
    truth = np.array([cell.val for cell in predicted])
    if len(means) != len(test):
        raise ValueError(f"SMURFF predicted {len(means)} of {len(test)} test ratings")
    return Fit(rmse(means, truth), seconds)


def myfm(
    train: pd.DataFrame,
    test: pd.DataFrame,
    *,
    n_factors: int,
    tune: int,
    draws: int,
    seed: int,
    prior: str,
) -> Fit:
    """Fit myFM's Bayesian factorization machine with biases; it has one thread."""
    import myfm as package

    codes = Codes.of(train, test)
    n_users, n_items = codes.shape

    def one_hot(cells: tuple[np.ndarray, np.ndarray]) -> scipy.sparse.csr_matrix:
        n = len(cells[0])
        columns = np.column_stack([cells[0], n_users + cells[1]]).ravel()
        starts = np.arange(0, 2 * n + 1, 2)
        return scipy.sparse.csr_matrix(
            (np.ones(2 * n), columns, starts), shape=(n, n_users + n_items)
        )

    with limited(1):
        model = package.MyFMRegressor(rank=n_factors, random_seed=seed)
        rows = one_hot(codes.train)
        start = time.perf_counter()
        model.fit(
            rows,
            train["rating"].to_numpy(),
            n_iter=tune + draws,
            n_kept_samples=draws,
            group_shapes=[n_users, n_items] if prior == MYFM_PRIORS[0] else None,
        )
        seconds = time.perf_counter() - start
        means = model.predict(one_hot(codes.test))
    return Fit(rmse(means, test["rating"].to_numpy()), seconds)


class SmurffSweeps:
    """A run of SMURFF's, a few sweeps at a time, so that ours can be measured between them."""

    def __init__(self, ratings: Ratings, *, n_factors: int, threads: int, test: int) -> None:
        import smurff as package

        cells = ratings.values - ratings.mean, (ratings.users, ratings.items)
        shape = ratings.n_users, ratings.n_items
        held_out = cells[0][:test], (ratings.users[:test], ratings.items[:test])
        self._threads = threads
        with limited(threads):
            self._session = package.TrainSession(
                priors=["normal", "normal"],
                num_latent=n_factors,
                burnin=1,
                nsamples=10_000,
                num_threads=threads,
                seed=1,
                verbose=0,
            )
            self._session.addTrainAndTest(
                scipy.sparse.coo_matrix(cells, shape),
                scipy.sparse.coo_matrix(held_out, shape),
                package.AdaptiveNoise(*SMURFF_NOISES["adaptive"][1:]),
            )
            self._session.init()

    def seconds(self, sweeps: int) -> list[float]:
        """Wall seconds of each of the next sweeps."""
        found = []
        with limited(self._threads):
            for _ in range(sweeps):
                start = time.perf_counter()
                self._session.step()
                found.append(time.perf_counter() - start)
        return found


def myfm_seconds(
    ratings: Ratings, *, n_factors: int, sweeps: int, least: int, budget: float
) -> list[float]:
    """Wall seconds of each of myFM's sweeps but the first; fewer, if they take over `budget`."""
    import myfm as package

    n, sizes = len(ratings), [ratings.n_users, ratings.n_items]
    columns = np.column_stack([ratings.users, sizes[0] + ratings.items]).ravel()
    rows = scipy.sparse.csr_matrix(
        (np.ones(2 * n), columns, np.arange(0, 2 * n + 1, 2)), shape=(n, sum(sizes))
    )
    ends: list[float] = []

    def ended(*_: object) -> tuple[bool, None]:
        ends.append(time.perf_counter())
        enough = len(ends) > sweeps or (len(ends) > least and ends[-1] - ends[0] > budget)
        return enough, None

    with limited(1):
        package.MyFMRegressor(rank=n_factors, random_seed=1).fit(
            rows, ratings.values, n_iter=sweeps + 1, group_shapes=sizes, callback=ended
        )
    return np.diff(ends).tolist()


class LensKit:
    """LensKit's ALS in a process of its own: its requirements exclude those of this package.

    BENCH_LENSKIT_PYTHON names a Python that has LensKit; by default it is this one.
    """

    def __init__(self, ratings: Ratings, *, threads: int) -> None:
        python = os.environ.get("BENCH_LENSKIT_PYTHON", sys.executable)
        # Its threads are Rayon's; the backends are BLAS and torch.
        limits = {"LK_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads}
        limits |= dict.fromkeys(("LK_NUM_BACKEND_THREADS", "OMP_NUM_THREADS"), 1)
        environment = os.environ | {name: str(number) for name, number in limits.items()}
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "table.npz"
            np.savez(table, users=ratings.users, items=ratings.items, ratings=ratings.values)
            # -P: this folder is not on its path, so that no module here hides one of its own.
            self._process = subprocess.Popen(
                [python, "-P", str(Path(__file__).with_name("lenskit_worker.py")), str(table)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            try:
                self.version: str = self._reply()["version"]
            except ValueError:
                self.__exit__()
                raise RuntimeError(
                    "LensKit does not run here. Install it into an environment of its own "
                    "(pip install lenskit) and name its Python in BENCH_LENSKIT_PYTHON."
                ) from None

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - a pipe
        reply: dict[str, Any] = json.loads(self._process.stdout.readline())
        return reply

    def start(self, n_factors: int) -> None:
        """Begin a new run."""
        self._ask({"n_factors": n_factors})

    def seconds(self, sweeps: int) -> list[float]:
        """Wall seconds of each of the next sweeps over both sides."""
        return list(self._ask({"sweeps": sweeps})["seconds"])

    def _ask(self, what: dict[str, int]) -> dict[str, Any]:
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._reply()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The end of its input ends the process.
        self._process.communicate()


def choose(
    train: pd.DataFrame,
    fit: Callable[[pd.DataFrame, pd.DataFrame, str], Fit],
    variants: Iterable[str],
) -> str:
    """Variant of a peer with the smallest RMSE on a tenth of the training ratings."""
    inner, validation = bayesmf.train_test_split(train, test_size=0.1, random_seed=0)
    tried = {variant: fit(inner, validation, variant).rmse for variant in variants}
    return min(tried, key=tried.__getitem__)
