"""Error, promised error and coverage by how much is known: the training ratings of a row.

A cell's row is its item (or user); a row without training ratings stands at zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import ndtri

from bayesmf.validation import check_choice, fail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bayesmf.evaluation import Comparison
    from bayesmf.ratings import Ratings

MIN_CELLS = 50
"""Bins with fewer test cells join their neighbour: an RMSE of ten errors is mostly luck."""


def row_counts(cells: pd.DataFrame, ratings: Ratings, by: str) -> np.ndarray:
    """Training ratings (n_cells,) of each test cell's user or item, 0 where it is unknown."""
    ids, side = (
        (ratings.item_ids, ratings.by_item) if by == "item" else (ratings.user_ids, ratings.by_user)
    )
    counts = np.append(np.diff(side.indptr), 0)  # code -1, an unknown row, finds this zero
    found: np.ndarray = counts[ids.get_indexer(pd.Index(cells["test", by]))]
    return found


def count_bins(counts: np.ndarray, min_cells: int = MIN_CELLS) -> list[np.ndarray]:
    """Positions of the cells in each bin: counts 0, 1, 2-3, 4-7 and so on, small bins joined."""
    powers = np.where(counts > 0, np.floor(np.log2(np.maximum(counts, 1))) + 1, 0)
    bins: list[np.ndarray] = []
    for power in np.unique(powers):
        new = np.flatnonzero(powers == power)
        # Zero stays by itself: a row that was never seen is another case than a rare one.
        if bins and (len(bins[-1]) < min_cells and counts[bins[-1]].max() > 0):
            bins[-1] = np.concatenate([bins[-1], new])
        else:
            bins.append(new)
    if len(bins) > 1 and len(bins[-1]) < min_cells and counts[bins[-2]].max() > 0:
        bins[-2:] = [np.concatenate(bins[-2:])]
    return bins


def coverage_by_count(
    comparison: Comparison,
    ratings: Ratings,
    *,
    by: str = "item",
    models: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Coverage of the 90% intervals, error and promised error by training ratings of a row.

    Parameters
    ----------
    comparison : Comparison
    ratings : Ratings
        The training ratings, such as `posterior.ratings`.
    by : {"item", "user"}, default "item"
        Whose ratings are counted.
    models : sequence of str, optional
        Models of the comparison; by default all.

    Returns
    -------
    DataFrame
        A row for each model and bin: `low`, `high` and `ratings` (smallest, largest and mean
        number of training ratings), `cells` (test ratings), `coverage` and its binomial standard
        error, `RMSE`, `promised` (sd of a Gaussian with the model's 90% interval, root mean
        square) and `width` (mean, of that interval). Bins double, 0, 1, 2-3, 4-7 and so on; those
        with fewer than 50 cells join their neighbour.

    Raises
    ------
    ValueError
        For an unknown model, or another `by`.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf.diagnostics.by_count import coverage_by_count
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> train, test = bayesmf.train_test_split(ratings, test_size=0.2, random_seed=1)
    >>> bias = bayesmf.fit_bias(train, random_seed=1, progressbar=False)
    >>> table = coverage_by_count(bayesmf.compare({"bias": bias}, test), train)
    >>> int(table["cells"].sum()) == len(test)
    True
    """
    return count_table(comparison, ratings, by, models, "coverage_by_count")


def count_table(
    comparison: Comparison,
    ratings: Ratings,
    by: str,
    models: Sequence[str] | None,
    function: str,
) -> pd.DataFrame:
    """`coverage_by_count`, with errors that name the caller."""
    check_choice(by, "by", function, ("item", "user"))
    names = [str(name) for name in comparison.table.index]
    if models is not None and not len(models):
        fail("models", function, f"one or more of {', '.join(map(repr, names))}", models)
    if models is not None:
        names = [check_choice(name, "models", function, names) for name in models]
    cells = comparison.cells
    counts = row_counts(cells, ratings, by)
    truth = cells["test", "rating"].to_numpy(np.float64)
    parts = count_bins(counts)
    rows = []
    for name in names:
        mean, lower, upper = (cells[name, end].to_numpy() for end in ("mean", "lower", "upper"))
        inside = (lower <= truth) & (truth <= upper)
        squared, width = (mean - truth) ** 2, upper - lower
        promised = (width / 2 / ndtri(0.95)) ** 2
        for number, part in enumerate(parts):
            share = inside[part].mean()
            rows.append(
                {
                    "model": name,
                    "bin": number,
                    "low": counts[part].min(),
                    "high": counts[part].max(),
                    "ratings": counts[part].mean(),
                    "cells": len(part),
                    "coverage": share,
                    "standard_error": np.sqrt(share * (1 - share) / len(part)),
                    "RMSE": np.sqrt(squared[part].mean()),
                    "promised": np.sqrt(promised[part].mean()),
                    "width": width[part].mean(),
                }
            )
    return pd.DataFrame(rows).set_index(["model", "bin"])
