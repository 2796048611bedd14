"""Calibration of predictive distributions: the PIT of held-out ratings on their scale."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import ndtri

from bayesmf.diagnostics.grids import (
    check_grid,
    check_on_grid,
    detect_grid,
    half_way,
    levels_of,
)
from bayesmf.evaluation import warn_if_seen
from bayesmf.validation import Described, check_integer, fail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bayesmf.evaluation import Predictor
    from bayesmf.predictive import Mixture
    from bayesmf.ratings import Pairs

BAND = 0.95
SURE = 3.0
"""Standard errors at which a bias, or intervals too narrow or too wide, are put into words: by
chance for one calibrated model in 190, while one in 20 has a bin outside the band."""


@dataclass(frozen=True, repr=False, eq=False)
class PIT:
    """Histogram of the probability integral transform of held-out ratings.

    Attributes
    ----------
    heights : ndarray, shape (bins,)
        Of the histogram, as a density: 1 everywhere for a calibrated model.
    table : pandas.DataFrame
        By bin: `start`, `stop`, `height`, and `lower`, `upper`, the band in which all heights of a
        calibrated model lie with a probability of 95% or more.
    mean, variance : float
        Of the PIT: 1/2 and 1/12 for a calibrated model.
    mean_error, variance_error : float
        Their standard errors in a calibrated model.
    grid : ndarray or None
        The scale that ratings are given on; None if they were taken as continuous.
    n_ratings : int
    """

    heights: np.ndarray
    table: pd.DataFrame
    mean: float
    variance: float
    mean_error: float
    variance_error: float
    grid: np.ndarray | None
    n_ratings: int

    @property
    def statement(self) -> str:
        """What the PIT says of the model, in words."""
        found = []
        if self.mean - 0.5 > SURE * self.mean_error:
            found.append("Predictions are too low: the histogram rises.")
        if self.mean - 0.5 < -SURE * self.mean_error:
            found.append("Predictions are too high: the histogram falls.")
        if self.variance - 1 / 12 > SURE * self.variance_error:
            found.append("Intervals are too narrow: the histogram is a U.")
        if self.variance - 1 / 12 < -SURE * self.variance_error:
            found.append("Intervals are too wide: the histogram is a hump.")
        table = self.table
        outside = int(((self.heights < table["lower"]) | (self.heights > table["upper"])).sum())
        if outside:
            shape = " by their shape" if not found else ""
            found.append(f"{outside} of {len(table)} bins are outside the chance band{shape}.")
        return " ".join(found) or "Calibrated, as far as these ratings can tell."

    def __str__(self) -> str:
        scale = "as continuous" if self.grid is None else f"on a grid of {len(self.grid)} levels"
        return (
            f"PIT of {self.n_ratings:,} ratings {scale}: mean {self.mean:.3f} "
            f"(0.5 ± {self.mean_error:.3f} if calibrated), variance {self.variance:.4f} "
            f"({1 / 12:.4f} ± {self.variance_error:.4f}). {self.statement}"
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(str(self))}</p>{self.table.round(3).to_html(index=False)}"


def pit(
    model: Predictor,
    test: object,
    *,
    draws: int = 200,
    bins: int = 20,
    grid: object = None,
) -> PIT:
    """Judge predictive distributions by the PIT of held-out ratings.

    The PIT of a rating is the predictive distribution function at it, uniform if the model is
    calibrated. A rating on a grid stands for a cell of the distribution, between the midpoints to
    its neighbours (the first and the last cell are open), and spreads evenly over the
    probabilities of the cell; no random numbers are used.

    Parameters
    ----------
    model : Posterior or PointEstimate
    test : DataFrame or Ratings
        Held-out ratings. Unknown users and items are allowed.
    draws : int, default 200
        Posterior draws at most, evenly spaced over all chains.
    bins : int, default 20
        Of the histogram.
    grid : sequence of float or False, optional
        The scale of the ratings, increasing and equally spaced; False to take ratings as
        continuous. By default the scale of training and test ratings, if it has 20 levels or less.

    Returns
    -------
    PIT
        Prints as mean, variance and a statement in words.

    Raises
    ------
    ValueError, TypeError
        For wrong arguments, a test table without ratings, and ratings that are not on `grid`.

    Warns
    -----
    UserWarning
        If cells of the test table were in the training ratings.

    Notes
    -----
    Czado, Gneiting & Held (2009), Biometrics 65, eq. 2-3: the mean over ratings of the
    distribution functions of their PITs, differenced over the bins. Standard errors allow for
    ratings of the same user, and of the same item, that go wrong together (two-way clusters:
    Cameron, Gelbach & Miller 2011, JBES 29, section 2); the band has Bonferroni's correction for
    the number of bins.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf.diagnostics.pit import pit
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> train, test = bayesmf.train_test_split(ratings, test_size=0.2, random_seed=1)
    >>> als = bayesmf.fit_als(train, n_factors=2, random_seed=1, progressbar=False)
    >>> pit(als, test, bins=10).heights.shape
    (10,)
    """
    function = "pit"
    draws = check_integer(draws, "draws", function, minimum=2)
    bins = check_integer(bins, "bins", function, minimum=2)
    if not hasattr(model, "over_mixtures"):
        must = "a result of bayesmf.fit_*"
        fail("model", function, must, Described(type(model).__name__), TypeError)
    levels = None if grid is None or grid is False else check_grid(grid, function)
    pairs = model.ratings.pairs(test, "test", function, with_rating=True)
    assert pairs.ratings is not None  # noqa: S101 - asked for
    truth = pairs.ratings
    if grid is None:
        levels = detect_grid(model.ratings.values, truth)
    elif levels is not None:
        check_on_grid(truth, levels, "test", function)
    warn_if_seen("the model", model.ratings, pairs)
    return pit_of(model, pairs, levels, draws=draws, bins=bins)


def pit_of(
    model: Predictor, pairs: Pairs, levels: np.ndarray | None, *, draws: int = 200, bins: int = 20
) -> PIT:
    """As `pit`, of rated cells and a scale that are checked, and without its warning."""
    assert pairs.ratings is not None  # noqa: S101 - the caller has asked for them
    truth = pairs.ratings

    def judge(cells: slice, mixture: Mixture) -> np.ndarray:
        return _cells(mixture, truth[cells], levels)

    start, stop = np.hstack(model.over_mixtures(pairs, judge, limit=draws))
    # By id, not by code: all unknown rows have the same one.
    clusters = (pd.factorize(pairs.user_ids)[0], pd.factorize(pairs.item_ids)[0])
    shares, errors = zip(
        *(_mean_and_error(part, 1 / bins, clusters) for part in _shares(start, stop, bins)),
        strict=True,
    )
    heights = bins * np.array(shares)
    half = -ndtri((1 - BAND) / 2 / bins) * bins * np.array(errors)
    edges = np.arange(bins + 1) / bins
    table = pd.DataFrame(
        {
            "start": edges[:-1],
            "stop": edges[1:],
            "height": heights,
            "lower": np.maximum(1 - half, 0.0),
            "upper": 1 + half,
        }
    )
    first, second = _moments(start, stop)
    shift, mean_error = _mean_and_error(first, 0.0, clusters)
    about_half, variance_error = _mean_and_error(second, 1 / 12, clusters)
    return PIT(
        heights=heights,
        table=table,
        mean=0.5 + shift,
        variance=about_half - shift**2,
        mean_error=mean_error,
        variance_error=variance_error,
        grid=levels,
        n_ratings=len(truth),
    )


def _cells(mixture: Mixture, truth: np.ndarray, grid: np.ndarray | None) -> np.ndarray:
    """Distribution function at both ends (2, n) of each rating's cell."""
    if grid is None:
        return np.stack([mixture.cdf(truth)] * 2)
    level = np.clip(levels_of(truth, grid), 0, len(grid) - 1)
    edges = half_way(grid)
    start, stop = (mixture.cdf(edges[level + end]) for end in (0, 1))
    start[level == 0], stop[level == len(grid) - 1] = 0.0, 1.0
    return np.stack([start, stop])


def _shares(start: np.ndarray, stop: np.ndarray, bins: int) -> Iterator[np.ndarray]:
    """Share (n,) of the uniform distribution on [start, stop] in one bin after the other: eq. 2."""
    point = stop <= start
    width = np.where(point, 1.0, stop - start)
    before = np.zeros(len(start))
    for edge in np.arange(1, bins + 1) / bins:
        upto = np.where(point, edge >= stop, np.clip((edge - start) / width, 0.0, 1.0))
        yield upto - before
        before = upto


def _moments(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Mean of u - 1/2 and of (u - 1/2)² (2, n) for u uniform on [start, stop]."""
    a, b = start - 0.5, stop - 0.5
    return np.stack([(a + b) / 2, (a * a + a * b + b * b) / 3])


def _mean_and_error(
    values: np.ndarray, expected: float, clusters: tuple[np.ndarray, np.ndarray]
) -> tuple[float, float]:
    """Mean over ratings, and its standard error about what is expected of a calibrated model.

    Ratings of one user, or of one item, go wrong together: Cameron, Gelbach & Miller (2011),
    JBES 29, section 2; never less than if they were independent.
    """
    off = values - expected
    alone = float(np.einsum("n,n->", off, off))
    together = sum(float((np.bincount(codes, off) ** 2).sum()) for codes in clusters)
    return float(values.mean()), float(np.sqrt(max(together - alone, alone))) / len(values)
