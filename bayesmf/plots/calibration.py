"""Calibration: how often the truth falls into an interval, against how often it should."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmf.evaluation import INTERVALS
from bayesmf.plots.style import grid, ink, key, looks, prepare, styled
from bayesmf.validation import check_bool, check_integer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

    from bayesmf.evaluation import Comparison, Predictor
    from bayesmf.predictive import Mixture

LEVELS = np.arange(1, 100) / 100
TICKS = [0, 0.2, 0.4, 0.6, 0.8, 1]


def coverage_curve(model: Predictor, test: object, *, draws: int = 200) -> pd.Series:
    """Share of test ratings inside the central interval of every nominal level from 1 to 99%.

    A rating y lies in the central p-interval exactly when ``|2 F(y) - 1| <= p``, with F the
    predictive distribution function, so that one pass gives all levels.

    Parameters
    ----------
    model : Posterior or PointEstimate
    test : DataFrame or Ratings
        Held-out ratings.
    draws : int, default 200
        Posterior draws at most, as in `compare`.

    Returns
    -------
    pandas.Series
        Measured coverage by nominal level.

    Raises
    ------
    ValueError
        If `test` has no ratings.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf.plots import coverage_curve
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> train, test = bayesmf.train_test_split(ratings, test_size=0.2, random_seed=1)
    >>> bias = bayesmf.fit_bias(train, random_seed=1, progressbar=False)
    >>> coverage_curve(bias, test).is_monotonic_increasing
    True
    """
    function = "coverage_curve"
    check_integer(draws, "draws", function, minimum=2)
    pairs = model.ratings.pairs(test, "test", function, with_rating=True)
    assert pairs.ratings is not None  # noqa: S101 - asked for
    truth = pairs.ratings.astype(np.float64)

    def centrality(cells: slice, mixture: Mixture) -> np.ndarray:
        return np.abs(2 * mixture.cdf(truth[cells]) - 1)

    needed = np.sort(np.concatenate(model.over_mixtures(pairs, centrality, limit=draws)))
    measured = np.searchsorted(needed, LEVELS, side="right") / len(needed)
    return pd.Series(measured, index=pd.Index(LEVELS, name="nominal"), name="measured")


@styled
def plot_calibration(
    comparison: Comparison,
    *,
    models: Mapping[str, Predictor] | None = None,
    difference: bool = False,
    draws: int = 200,
    ax: Axes | None = None,
) -> Axes:
    """Measured against nominal coverage of every model; on the line intervals are honest.

    Parameters
    ----------
    comparison : Comparison
        Gives the 50, 80, 90 and 95% intervals, drawn as markers.
    models : mapping of str to results, optional
        The models that were compared. With them every level from 1 to 99% is drawn as a line.
    difference : bool, default False
        Show measured minus nominal coverage in percentage points, which tells models apart that
        are all near the diagonal. The band holds what 95% of exact models would show by chance.
    draws : int, default 200
        What `compare` was given.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        For each model a line labelled "_NAME" over all levels, if `models` is given, and one
        labelled "NAME" at the four levels of the comparison.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> train, test = bayesmf.train_test_split(ratings, test_size=0.2, random_seed=1)
    >>> models = {"bias only": bayesmf.fit_bias(train, random_seed=1, progressbar=False)}
    >>> comparison = bayesmf.compare(models, test)
    >>> ax = plots.plot_calibration(comparison, models=models)
    >>> ax.get_xlabel()
    'nominal coverage'
    """
    check_bool(difference, "difference", "plot_calibration")
    ax = prepare(ax)
    test = comparison.cells["test"]  # so that lines and markers are about the same ratings

    def height(nominal: np.ndarray, measured: np.ndarray) -> np.ndarray:
        return 100 * (measured - nominal) if difference else measured

    if difference:
        ax.axhline(0, color=ink(), lw=1, alpha=0.55, label="as promised")
        chance = 196 * np.sqrt(LEVELS * (1 - LEVELS) / len(test))
        ax.fill_between(LEVELS, -chance, chance, color=ink(), alpha=0.08, lw=0)
    else:
        ax.plot([0, 1], [0, 1], color=ink(), lw=1, alpha=0.55, label="as promised")
    levels, keys = np.array(INTERVALS), [ax.lines[-1]]
    for name, look in looks(comparison.table.index).items():
        joined = models is not None and name in models
        if models is not None and joined:
            curve = coverage_curve(models[name], test, draws=draws).to_numpy()
            ax.plot(
                LEVELS, height(LEVELS, curve), color=look.color, ls=look.dashes, label=f"_{name}"
            )
        columns = [f"coverage_{100 * p:.0f}" for p in INTERVALS]
        measured = comparison.table.loc[name, columns].to_numpy(np.float64)
        ax.plot(
            levels, height(levels, measured), color=look.color, ls="none", marker=look.marker,
            ms=6.5, label=name, zorder=3,
        )  # fmt: skip
        keys.append(key(name, look if joined else look._replace(dashes="none")))
    ax.set(xlim=(0, 1), xlabel="nominal coverage", title="Calibration: on the line is honest")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.set_xticks(TICKS)
    if difference:
        reach = 1.15 * max(2.0, *np.abs(ax.get_ylim()))
        ax.set(ylim=(-reach, reach), ylabel="measured − nominal (% points)")
        side: dict[str, Any] = {"ha": "right", "alpha": 0.75, "transform": ax.transAxes}
        ax.text(0.98, 0.96, "intervals too wide", va="top", fontsize=10, **side)
        ax.text(0.98, 0.04, "intervals too narrow", va="bottom", fontsize=10, **side)
    else:
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        ax.set_yticks(TICKS)
        ax.set(ylim=(0, 1), ylabel="share of test ratings inside")
    grid(ax, "both")
    ax.legend(handles=keys, loc="lower left" if difference else "upper left")
    return ax
