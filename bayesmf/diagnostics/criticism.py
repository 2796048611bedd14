"""Posterior predictive checks: do ratings made by the fitted model look like the observed ones."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from bayesmf.diagnostics.findings import sentence
from bayesmf.diagnostics.grids import detect_grid
from bayesmf.diagnostics.replication import DECILES, FEWEST, Edges, Features, Replicator, Residuals
from bayesmf.seeds import fresh_seed
from bayesmf.validation import Described, check_integer, check_seed, fail

if TYPE_CHECKING:
    from bayesmf.diagnostics.identified import Judged

FEWEST_DRAWS = 20
"""Kept draws of all chains, of which a check can be made."""
TAILS = (0.05, 0.95)
FAR = 4.0
"""Sds of the replicates at which a misfit is a finding, if no replicate goes as far. Under a normal
law one statistic in 16,000 does so by chance, so that a model that fits is left in peace."""

DISTANCES = ("distance of the shares", "sd of residual means", "sd of residual sds")
"""Statistics that are zero at best: less of them than expected is no misfit."""

ROWS = {
    "user_mean": "means of users",
    "user_sd": f"sds of users with {FEWEST} ratings or more",
    "item_mean": "means of items",
}


@dataclass(frozen=True, repr=False, eq=False)
class PredictiveCheck:
    """Observed against replicated ratings at the training cells.

    Intervals are 90% over the draws. In the table and in `residuals` what is called observed
    depends on the draw where residuals are concerned, and is then the mean over draws.

    Attributes
    ----------
    table : pandas.DataFrame
        A row for each statistic: `observed`, `replicated` (mean), `lower`, `upper`, and `p_value`,
        the share of draws whose replicated value is at least the observed one. Values near 0 and
        near 1 both say that the statistic does not fit. The distance of the shares is the total
        variation, half of all absolute differences, from the replicates' mean shares; on a grid
        it and the share at the top are of rounded ratings, everything else is of raw ones.
    findings : tuple of str
        What does not fit, in plain sentences; empty if nothing was found.
    shares : pandas.DataFrame
        Share of ratings by bin (`start`, `stop`): `observed`, and `raw`, of replicated ratings as
        they are, with `raw_lower` and `raw_upper`. If ratings are on a grid, bins are centred on
        its levels and two more take what is off the scale; `rounded`, with its ends, is then of
        replicated ratings rounded to the grid and clipped to the scale.
    rows : dict of str to pandas.DataFrame
        `user_mean`, `user_sd` and `item_mean`: their deciles over users or items, `observed` and
        `replicated` with `lower` and `upper`. Sds are of users with 5 ratings or more.
    residuals : pandas.DataFrame
        By bin of the mean that a draw predicts (`predicted`, `cells`): `mean` and `sd` of ratings
        less predicted means, with `mean_lower` and so on for replicated ratings.
    grid : ndarray or None
        The scale that ratings are given on.
    draws : int
        Number of replicates.
    random_seed : int
    """

    table: pd.DataFrame
    findings: tuple[str, ...]
    shares: pd.DataFrame
    rows: dict[str, pd.DataFrame]
    residuals: pd.DataFrame
    grid: np.ndarray | None
    draws: int
    random_seed: int

    def __str__(self) -> str:
        found = "\n".join(f"- {line}" for line in self.findings) or _NOTHING
        return f"{self._title()}\n{self.table.to_string(float_format=_digits)}\n{found}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        lines = "".join(f"<li>{html.escape(line)}</li>" for line in self.findings)
        found = f"<ul>{lines}</ul>" if lines else f"<p>{_NOTHING}</p>"
        return f"<p><b>{self._title()}</b></p>{self.table.to_html(float_format=_digits)}{found}"

    def _title(self) -> str:
        return f"Predictive check: observed ratings against {self.draws} replicates"


def _digits(value: float) -> str:
    return f"{value:.4g}"


_NOTHING = "In none of these do the observed ratings stand out from the replicated ones."


def check_predictive(
    posterior: Judged, *, draws: int = 100, random_seed: int | None = None
) -> PredictiveCheck:
    """Compare training ratings with replicates; `Posterior.check_predictive` documents it.

    Gelman, Meng & Stern (1996), Statistica Sinica 6, 733-807. Residuals are their realised
    discrepancies: in each draw, observed and replicated ratings are compared with the means of
    that draw, and put into bins by them. Residuals from posterior means would show a slope in any
    model with priors, since predictions are drawn towards the centre.
    """
    function = "check_predictive"
    draws = check_integer(draws, "draws", function, minimum=FEWEST_DRAWS)
    seed = fresh_seed(check_seed(random_seed, function))
    if not hasattr(posterior, "data"):
        must = "a Posterior, with draws"
        fail("posterior", function, must, Described(type(posterior).__name__), TypeError)
    ratings = posterior.ratings
    replicator = Replicator(posterior.data, ratings, seed, posterior.cores)
    if replicator.n_kept < FEWEST_DRAWS:
        must = f"a posterior of at least {FEWEST_DRAWS} kept draws"
        fail("posterior", function, must, Described(f"{replicator.n_kept}"))
    grid = detect_grid(ratings.values)
    edges = Edges.of(ratings.values, replicator.some_means(100_000), grid)
    observed = replicator.observed(edges)
    draws = min(draws, replicator.n_kept)
    features, residuals = zip(*replicator.replicates(draws, edges), strict=True)
    replicated = _stacked(features)
    by_mean = _ByMean.of(residuals)
    statistics = _statistics(observed, replicated, by_mean, on_grid=grid is not None)
    table = pd.DataFrame({name: found.row() for name, found in statistics.items()}).T
    shares = _share_table(observed.shares, replicated.shares, edges.rating, grid)
    residual_table = by_mean.table()
    findings = [
        sentence(name, found.row(), sign, shares, residual_table)
        for name, found in statistics.items()
        if (sign := found.far()) > 0 or (sign < 0 and name not in DISTANCES)
    ]
    index = pd.Index(DECILES, name="decile")
    rows = {
        name: pd.DataFrame(
            {"observed": getattr(observed, name)} | _interval(getattr(replicated, name)), index
        )
        for name in ROWS
    }
    return PredictiveCheck(table, tuple(findings), shares, rows, residual_table, grid, draws, seed)


def _stacked(features: tuple[Features, ...]) -> Features:
    # Each field gets a first axis of draws.
    fields: list[Any] = [np.array(values) for values in zip(*features, strict=True)]
    return Features(*fields)


class Statistic(NamedTuple):
    """A number of the observed ratings, one or (n_draws,), and of each replicate (n_draws,)."""

    observed: float | np.ndarray
    replicated: np.ndarray

    def row(self) -> dict[str, float]:
        """Return one row of the table."""
        return (
            {"observed": float(np.mean(self.observed))}
            | {name: float(value) for name, value in _interval(self.replicated).items()}
            | {"p_value": float((self.replicated >= self.observed).mean())}
        )

    def far(self) -> int:
        """1 or -1 where the observed value is far above or below all replicated ones, else 0."""
        above = self.observed - self.replicated
        if not (np.all(above > 0) or np.all(above < 0)):
            return 0
        distance = above.mean()
        return int(np.sign(distance)) if abs(distance) > FAR * above.std(ddof=1) else 0


class _ByMean(NamedTuple):
    # Each (n_draws, n_bins), of the bins that hold two cells or more in every draw.
    cells: np.ndarray
    predicted: np.ndarray
    mean: tuple[np.ndarray, np.ndarray]  # observed, replicated
    sd: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, residuals: tuple[Residuals, ...]) -> _ByMean:
        (cells, total), *sums = (
            np.array(values).transpose(1, 0, 2) for values in zip(*residuals, strict=True)
        )
        some = (cells >= 2).all(axis=0)
        n = cells[:, some]
        means = [first[:, some] / n for first, _ in sums]
        sds = [
            np.sqrt(np.maximum(second[:, some] / n - mean**2, 0.0))
            for (_, second), mean in zip(sums, means, strict=True)
        ]
        return cls(n, total[:, some] / n, (means[0], means[1]), (sds[0], sds[1]))

    def table(self) -> pd.DataFrame:
        columns = {"predicted": self.predicted.mean(axis=0), "cells": self.cells.mean(axis=0)}
        for name, (observed, replicated) in (("mean", self.mean), ("sd", self.sd)):
            columns[name] = observed.mean(axis=0)
            columns |= {f"{name}_{end}": x for end, x in _interval(replicated).items()}
        return pd.DataFrame(columns)


def _statistics(
    observed: Features, replicated: Features, by_mean: _ByMean, *, on_grid: bool
) -> dict[str, Statistic]:
    found = {
        name: Statistic(getattr(observed, name), getattr(replicated, name))
        for name in ("mean", "sd", "skew")
    }
    shares = _rounded(replicated.shares) if on_grid else replicated.shares
    if on_grid:
        off = replicated.shares[:, 0] + replicated.shares[:, -1]
        found["share at the top"] = Statistic(observed.shares[-2], shares[:, -2])
        found["share off the scale"] = Statistic(0.0, off)
    # Each replicate is held against the mean of the others.
    n, center = len(shares), shares.mean(axis=0)
    own = np.abs(shares - center).sum(axis=1) / 2 * n / (n - 1)
    found["distance of the shares"] = Statistic(np.abs(observed.shares - center).sum() / 2, own)
    for name in ("user_mean", "user_sd", "item_mean"):
        spread = f"sd_{name}"
        found[f"sd of {name.replace('_', ' ')}s"] = Statistic(
            getattr(observed, spread), getattr(replicated, spread)
        )
    if by_mean.cells.shape[1] > 1:
        for name in ("mean", "sd"):
            spreads = (values.std(axis=1) for values in getattr(by_mean, name))
            found[f"sd of residual {name}s"] = Statistic(*spreads)
    return {name: one for name, one in found.items() if np.isfinite(one.observed).all()}


def _interval(values: np.ndarray) -> dict[str, np.ndarray]:
    lower, upper = np.quantile(values, TAILS, axis=0)
    return {"replicated": values.mean(axis=0), "lower": lower, "upper": upper}


def _share_table(
    observed: np.ndarray, raw: np.ndarray, edges: np.ndarray, grid: np.ndarray | None
) -> pd.DataFrame:
    columns = {
        "start": np.append(-np.inf, edges),
        "stop": np.append(edges, np.inf),
        "observed": observed,
    }
    kinds = {"raw": raw}
    index = pd.RangeIndex(len(observed), name="bin")
    if grid is not None:
        step = grid[1] - grid[0]
        index = pd.Index(np.concatenate([[grid[0] - step], grid, [grid[-1] + step]]), name="rating")
        kinds["rounded"] = _rounded(raw)
    for kind, values in kinds.items():
        found = _interval(values)
        columns[kind] = found.pop("replicated")
        columns |= {f"{kind}_{end}": x for end, x in found.items()}
    return pd.DataFrame(columns, index)


def _rounded(raw: np.ndarray) -> np.ndarray:
    # Shares of the levels when what is off the scale goes to its ends.
    shares = raw.copy()
    shares[:, 1] += shares[:, 0]
    shares[:, -2] += shares[:, -1]
    shares[:, [0, -1]] = 0.0
    return shares
