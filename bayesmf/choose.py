"""The front of choosing a rank: fit several, judge them on the same ratings, take the smallest."""

from __future__ import annotations

import inspect
import math
import time
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from bayesmf.checks import check_cores, check_data
from bayesmf.diagnostics.leave_one_out import N_DRAWS, TOLERATED, leave_one_out
from bayesmf.diagnostics.pointwise import FEWEST_DRAWS
from bayesmf.diagnostics.ranks import RankChoice, one_standard_error
from bayesmf.fit import fit_bpmf
from bayesmf.progress import Progress
from bayesmf.seeds import fresh_seed, generator
from bayesmf.validation import (
    check_bool,
    check_choice,
    check_integer,
    check_seed,
    fail,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from arviz_stats.utils import ELPDData

    from bayesmf.predictive import Mixture
    from bayesmf.ratings import Ratings
    from bayesmf.results import Posterior

METHODS = ("loo", "kfold")
_OURS = {"ratings", "n_factors", "method", "random_seed", "cores", "progressbar", "test"}


class _Judged(NamedTuple):
    # One rank's result: pointwise, its share of bad k-hat, and the time it took.
    elpd: ELPDData
    share_bad_khat: float
    seconds: float


class _Runs(NamedTuple):
    # What all fits have in common.
    data: Ratings
    seed: int
    cores: int
    options: dict[str, Any]
    step: Callable[[str], None]

    def fit(self, data: Ratings, rank: int, what: str) -> Posterior:
        """One fit; an interrupt, which `fit_bpmf` survives, ends the whole choice."""
        found = fit_bpmf(
            data, n_factors=rank, random_seed=self.seed, cores=self.cores, progressbar=False,
            **self.options,
        )  # fmt: skip
        if found.data.attrs["interrupted"]:
            raise KeyboardInterrupt
        self.step(what)
        return found


def choose_rank(
    ratings: object,
    ranks: object = (0, 2, 5, 10, 20),
    *,
    method: str = "loo",
    folds: int = 5,
    n_ratings: int | None = 5000,
    random_seed: int | None = None,
    cores: int | None = None,
    progressbar: bool = True,
    **fit: Any,
) -> RankChoice:
    """Choose the rank of the interaction: the smallest that predicts about as well as the best.

    `fit_bpmf` is run at every rank, by Gibbs with the same seed and settings, and each is judged by
    the log density that it gives to ratings left out: the same ones for all ranks.

    Parameters
    ----------
    ratings : DataFrame, Ratings, scipy sparse array, or tuple of arrays
        Observed ratings, one row each; see `Ratings`. Not changed.
    ranks : sequence of int, default (0, 2, 5, 10, 20)
        Ranks to try, at least two; 0 is the bias-only model.
    method : {"loo", "kfold"}, default "loo"
        "loo" leaves out each rating by itself, by importance weights with a row integrated out, and
        needs one fit a rank. Where more than 1% of its k-hat are bad at a rank, all ranks are
        judged by "kfold" instead, which needs `folds` fits a rank and leaves out parts of the
        ratings.
    folds : int, default 5
        Parts of K-fold, at least 2.
    n_ratings : int or None, default 5000
        Ratings on which leave-one-out judges: a simple random sample; None takes all. K-fold always
        judges on all.
    random_seed : int, optional
        Non-negative; of the fits, the sample and the folds. None draws a fresh one.
    cores : int, optional
        Threads; by default all that the process may use. Never changes a result.
    progressbar : bool, default True
        Whether to show progress, a step for each fit.
    **fit
        Further arguments of `fit_bpmf`, such as `tune`, `draws`, `chains`, `prior`.

    Returns
    -------
    RankChoice

    Raises
    ------
    ValueError, TypeError
        For wrong arguments or data, before any work starts.
    KeyboardInterrupt
        If interrupted.

    Warns
    -----
    UserWarning
        If leave-one-out failed and K-fold was taken instead.

    Notes
    -----
    One posterior is kept at a time. The rule is that of Breiman, Friedman, Olshen & Stone (1984),
    Classification and Regression Trees, section 3.4.3, with the standard error of the difference,
    which is smaller than that of either score: both are of the same ratings. It knows the error of
    the finite number of ratings, not that of the draws.

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> choice = bayesmf.choose_rank(ratings, (0, 1), n_ratings=200, tune=100, draws=100,
    ...                              random_seed=1, progressbar=False)
    >>> choice.table.index.tolist()
    [0, 1]
    """
    function = "choose_rank"
    wanted = _check_ranks(ranks, function)
    check_choice(method, "method", function, METHODS)
    folds = check_integer(folds, "folds", function, minimum=2)
    if n_ratings is not None:
        n_ratings = check_integer(n_ratings, "n_ratings", function, minimum=2)
    seed = fresh_seed(check_seed(random_seed, function))
    cores = check_cores(cores, function)
    check_bool(progressbar, "progressbar", function)
    _check_fit(fit, wanted, method, function)
    data, _ = check_data(ratings, None, function)
    if folds > len(data):
        fail("folds", function, f"at most the number of ratings, {len(data)}", folds)

    fits_of = {"loo": 1, "kfold": folds}
    with Progress(
        ["ranks"], len(wanted) * fits_of[method], show=progressbar, unit="fits"
    ) as progress:
        done = [0, len(wanted) * fits_of[method]]

        def step(what: str) -> None:
            done[0] += 1
            progress.update(0, done[0], what, total=done[1])

        runs = _Runs(data, seed, cores, fit, step)
        shares = dict.fromkeys(wanted, math.nan)
        judged: dict[int, _Judged] = {}
        # From the largest, so that what cannot be fitted is known at once.
        for rank in reversed(wanted):
            if method == "kfold":
                judged[rank] = _by_kfold(runs, rank, folds)
                continue
            judged[rank] = _by_loo(runs, rank, n_ratings)
            shares[rank] = judged[rank].share_bad_khat
            if shares[rank] > TOLERATED:
                warnings.warn(
                    f"{shares[rank]:.1%} of the k-hat of leave-one-out are bad at rank {rank}: all "
                    f"ranks are judged by {folds}-fold cross-validation instead.",
                    stacklevel=2,
                )
                method, done[1] = "kfold", done[0] + len(wanted) * folds
                judged = {other: _by_kfold(runs, other, folds) for other in reversed(wanted)}
                break
    return _chosen({rank: judged[rank] for rank in wanted}, shares, method)


def _check_ranks(ranks: object, function: str) -> list[int]:
    must = "a sequence of at least two different ranks, such as (0, 2, 5, 10)"
    if isinstance(ranks, (str, bytes)) or not hasattr(ranks, "__iter__"):
        fail("ranks", function, must, ranks, TypeError)
    found = [check_integer(rank, "ranks", function) for rank in ranks]
    if len(set(found)) < max(2, len(found)):
        fail("ranks", function, must, ranks)
    return sorted(found)


def _check_fit(fit: Mapping[str, Any], ranks: list[int], method: str, function: str) -> None:
    known = [name for name in inspect.signature(fit_bpmf).parameters if name not in _OURS]
    for name, value in fit.items():
        if name not in known:
            must = f"left out: fit_bpmf takes from choose_rank {', '.join(known)}"
            fail(name, function, must, value, TypeError)
    if ranks[0] == 0 and fit.get("biases", True) is False:
        fail("ranks", function, "positive when biases=False: nothing would be left", 0)
    draws, chains = fit.get("draws"), fit.get("chains")
    if method == "loo" and draws is not None:
        chains = 4 if chains is None else check_integer(chains, "chains", function, minimum=1)
        if check_integer(draws, "draws", function, minimum=1) * chains < FEWEST_DRAWS:
            must = f"so large that the chains have at least {FEWEST_DRAWS} draws with method='loo'"
            fail("draws", function, must, draws)


def _by_loo(runs: _Runs, rank: int, n_ratings: int | None) -> _Judged:
    started = time.perf_counter()
    posterior = runs.fit(runs.data, rank, f"rank {rank}")
    found = leave_one_out(
        posterior, n_ratings, draws=N_DRAWS, integrated=True, seed=runs.seed, function="choose_rank"
    )
    return _Judged(found.elpd, found.bad_share, time.perf_counter() - started)


def _by_kfold(runs: _Runs, rank: int, folds: int) -> _Judged:
    from arviz_stats.utils import ELPDDataLOOKFold  # noqa: PLC0415 - takes seconds to import

    started, n = time.perf_counter(), len(runs.data)
    scores, draws = np.empty(n), 0
    order = generator(runs.seed, "folds").permutation(n)
    for number, part in enumerate(np.array_split(order, folds), 1):
        test = np.sort(part)
        train = runs.data.take(np.setdiff1d(order, test, assume_unique=True))
        posterior = runs.fit(train, rank, f"rank {rank}, fold {number} of {folds}")
        scores[test] = _held_out(posterior, runs.data.take(test))
        draws = min(N_DRAWS, math.prod(posterior.data["factors"]["alpha"].shape))
    elpd = ELPDDataLOOKFold(
        elpd=float(scores.sum()),
        se=float(math.sqrt(n) * scores.std(ddof=1)),
        p=math.nan,  # it takes a fit to all ratings
        n_samples=draws,
        n_data_points=n,
        scale="log",
        warning=False,
        good_k=None,  # type: ignore[arg-type]
        elpd_i=xr.DataArray(scores, {"rating_id": np.arange(n)}, ("rating_id",), "rating"),
        n_folds=folds,
    )
    return _Judged(elpd, math.nan, time.perf_counter() - started)


def _held_out(posterior: Posterior, test: Ratings) -> np.ndarray:
    # Log densities (n,) of ratings by the mixture over draws; rows that the training part has lost
    # are integrated over their prior.
    pairs = posterior.ratings.pairs(test, "test", "choose_rank", with_rating=True)

    def score(cells: slice, mixture: Mixture) -> np.ndarray:
        return mixture.log_density(test.values[cells])

    return np.concatenate(posterior.over_mixtures(pairs, score, limit=N_DRAWS))


def _chosen(judged: Mapping[int, _Judged], shares: Mapping[int, float], method: str) -> RankChoice:
    table, best, chosen = one_standard_error(
        {rank: one.elpd.elpd_i.to_numpy() for rank, one in judged.items()}
    )
    table["share_bad_khat"] = pd.Series(shares)
    table["seconds"] = pd.Series({rank: one.seconds for rank, one in judged.items()})
    elpds = {f"K={rank}": one.elpd for rank, one in judged.items()}
    n = next(iter(elpds.values())).n_data_points
    return RankChoice(table, best, chosen, method, n, elpds)
