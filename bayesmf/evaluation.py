"""How good predictions are: point errors, proper scores, coverage; and `compare`.

Every model is judged by the same functions on the same cells. A point estimate enters as a
Gaussian around its prediction with one standard deviation, its error on ratings held out of its
training: training residuals would make it a straw man.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from bayesmf.ratings import read_note
from bayesmf.validation import Described, check_bool, check_integer, fail

if TYPE_CHECKING:
    from collections.abc import Callable

    from bayesmf.predictive import Mixture
    from bayesmf.ratings import Pairs, Ratings

TRUSTED_K = 0.7
"""Pareto k below which importance weights can mend an approximation (Vehtari, Simpson, Gelman, Yao
& Gabry 2024, JMLR 25)."""

INTERVALS = (0.5, 0.8, 0.9, 0.95)


class Predictor(Protocol):
    """What `compare` needs of a result."""

    ratings: Ratings
    fit_seconds: float

    def protocol(self) -> str:
        """Say in one line how it was fitted."""

    def cell_means(self, pairs: Pairs) -> np.ndarray:
        """Predicted means of cells, from all draws."""

    def over_mixtures[R](
        self, pairs: Pairs, function: Callable[[slice, Mixture], R], *, limit: int
    ) -> list[R]:
        """Call `function(cells, mixture)` over chunks of cells, with at most `limit` draws."""


@dataclass(frozen=True, repr=False)
class Comparison:
    """Models side by side on the same held-out ratings.

    Attributes
    ----------
    table : pandas.DataFrame
        A row for each model. `RMSE`, `MAE` and `CRPS` (smaller is better) and `width_P`, the mean
        width of the P% interval, are on the rating scale; `log_score` is the mean log predictive
        density of a test rating (larger is better); `coverage_P` is the share of test ratings
        inside the P% interval; `fit_seconds` the wall time of the fit.
    protocol : str
        Test set, split, and each model's settings.
    cells : pandas.DataFrame
        One row for each test rating: ids, rating, and each model's mean and 90% interval, for
        plots; columns (model, quantity).
    """

    table: pd.DataFrame
    protocol: str
    cells: pd.DataFrame

    def __str__(self) -> str:
        return f"{_rounded(self.table).T.to_string()}\n{self.protocol}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        lines = self.protocol.replace("\n", "<br>")
        return f"{_rounded(self.table).T.to_html()}<p><small>{lines}</small></p>"


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    shown = {}
    for name in table.columns:
        digits = 3 if name.startswith(("coverage", "width")) else 4
        shown[name] = table[name].map(
            lambda x, d=1 if name == "fit_seconds" else digits: f"{x:.{d}f}"
        )
    return pd.DataFrame(shown)


def rmse(means: np.ndarray, truth: np.ndarray) -> float:
    """Root mean squared error."""
    return float(np.sqrt(np.mean((means - truth) ** 2)))


def mae(means: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute error."""
    return float(np.mean(np.abs(means - truth)))


def compare(
    models: Mapping[str, Predictor], test: object, *, clip: bool = False, draws: int = 200
) -> Comparison:
    """Judge models on held-out ratings: errors, proper scores, and the honesty of intervals.

    Parameters
    ----------
    models : mapping of str to Posterior or PointEstimate
        Results by the name that the table shows.
    test : DataFrame, Ratings, or other table of ratings
        Held-out ratings with user, item and rating. Unknown users and items are allowed.
    clip : bool, default False
        Clip means to the range of the training ratings for RMSE and MAE; scores and intervals
        are never clipped.
    draws : int, default 200
        Posterior draws, evenly spaced over all chains, from which distributions are scored (the
        CRPS of a mixture costs the square of their number). Means use all kept draws.

    Returns
    -------
    Comparison
        Prints as the table and the protocol.

    Raises
    ------
    ValueError, TypeError
        For an empty mapping, values that are not results, or a test table without ids or ratings.

    Warns
    -----
    UserWarning
        If cells of the test table were in the training ratings of a model.

    Notes
    -----
    A point estimate's interval is Gaussian with one sd, its RMSE on ratings held out of training.
    CRPS: Gneiting & Raftery (2007), eq. 20; for mixtures the form of Grimit et al. (2006).

    Examples
    --------
    >>> import bayesmf
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> train, test = bayesmf.train_test_split(ratings, test_size=0.2, random_seed=1)
    >>> als = bayesmf.fit_als(train, n_factors=2, random_seed=1, progressbar=False)
    >>> bias = bayesmf.fit_bias(train, random_seed=1, progressbar=False)
    >>> bayesmf.compare({"ALS": als, "bias": bias}, test).table.index.tolist()
    ['ALS', 'bias']
    """
    function = "compare"
    check_bool(clip, "clip", function)
    check_integer(draws, "draws", function, minimum=2)
    if not isinstance(models, Mapping) or not models:
        must = "a mapping such as {'ALS': als, 'BPMF': post}"
        fail("models", function, must, Described(type(models).__name__), TypeError)
    pairs_of: dict[str, Pairs] = {}
    for name, model in models.items():
        if not hasattr(model, "over_mixtures"):
            must = "a mapping of names to results of bayesmf.fit_*"
            got = Described(f"{name!r}: {type(model).__name__}")
            fail("models", function, must, got, TypeError)
        pairs_of[name] = model.ratings.pairs(test, "test", function, with_rating=True)
    first = next(iter(pairs_of.values()))
    rows: dict[str, dict[str, float]] = {}
    lines = [_test_line(test, first, clip=clip, draws=draws)]
    cells: dict[tuple[str, str], Any] = {
        ("test", "user"): first.user_ids,
        ("test", "item"): first.item_ids,
        ("test", "rating"): first.ratings,
    }
    for name, model in models.items():
        pairs = pairs_of[name]
        warn_if_seen(name, model.ratings, pairs)
        means = model.cell_means(pairs)
        rows[name], interval = judge(model, pairs, means, clip=clip, draws=draws)
        cells |= {
            (name, "mean"): means,
            (name, "lower"): interval[:, 0],
            (name, "upper"): interval[:, 1],
        }
        lines.append(f"{name}: {model.protocol()}")
    return Comparison(pd.DataFrame(rows).T, "\n".join(lines), pd.DataFrame(cells))


def judge(
    model: Predictor, pairs: Pairs, means: np.ndarray, *, clip: bool, draws: int
) -> tuple[dict[str, float], np.ndarray]:
    """One model's row of the table, and its 90% intervals (n_cells, 2)."""
    assert pairs.ratings is not None  # noqa: S101 - the caller has checked
    truth = pairs.ratings.astype(np.float64)
    tails = np.array([[(1 - p) / 2, (1 + p) / 2] for p in INTERVALS])

    def score(cells: slice, mixture: Mixture) -> np.ndarray:
        y = truth[cells]
        quantiles = mixture.quantiles(tails.ravel())
        return np.column_stack([mixture.log_density(y), mixture.crps(y), quantiles])

    scored = np.vstack(model.over_mixtures(pairs, score, limit=draws))
    shown = np.clip(means, *model.ratings.bounds) if clip else means
    row = {
        "RMSE": rmse(shown, truth),
        "MAE": mae(shown, truth),
        "log_score": float(scored[:, 0].mean()),
        "CRPS": float(scored[:, 1].mean()),
    }
    ends = scored[:, 2:].reshape(len(truth), len(INTERVALS), 2)
    inside = (ends[:, :, 0] <= truth[:, None]) & (truth[:, None] <= ends[:, :, 1])
    for k, p in enumerate(INTERVALS):
        row[f"coverage_{100 * p:.0f}"] = float(inside[:, k].mean())
    for k, p in enumerate(INTERVALS):
        row[f"width_{100 * p:.0f}"] = float((ends[:, k, 1] - ends[:, k, 0]).mean())
    row["fit_seconds"] = model.fit_seconds
    return row, ends[:, INTERVALS.index(0.9)]


def _test_line(test: object, pairs: Pairs, *, clip: bool, draws: int) -> str:
    note = read_note(test)
    unknown = int(((pairs.users < 0) | (pairs.items < 0)).sum())
    clipped = "means clipped to the scale" if clip else "means not clipped"
    return (
        f"Test: {len(pairs.users):,} ratings{f', {note}' if note else ''}; {unknown:,} with an "
        f"unknown user or item; {clipped}; distributions from at most {draws} draws."
    )


def warn_if_seen(name: str, ratings: Ratings, pairs: Pairs) -> None:
    """Warn the caller's caller of test cells that a model was trained on."""
    known = (pairs.users >= 0) & (pairs.items >= 0)
    trained = ratings.users.astype(np.int64) * ratings.n_items + ratings.items
    asked = pairs.users[known].astype(np.int64) * ratings.n_items + pairs.items[known]
    seen = int(np.isin(asked, trained).sum())
    if seen:
        message = f"{seen:,} of the {len(pairs.users):,} test cells were in the training of {name}."
        warnings.warn(message, stacklevel=3)
