"""`FoldedEstimate`: rows solved for, or borrowed, beside the other side's as they were."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np
import pandas as pd

from bayesmf.folding.planning import ARGUMENT, FUNCTION, OTHER, ids_of, plan
from bayesmf.folding.ridge import nonnegative_rows, ridge_rows
from bayesmf.ids import as_array, lookup_ids
from bayesmf.point.als import Penalty, SingularRowError
from bayesmf.results.factor_estimate import FactorEstimate
from bayesmf.sources import Estimate
from bayesmf.validation import Described, check_choice, check_integer, check_number, fail

if TYPE_CHECKING:
    from collections.abc import Callable

    from bayesmf.folding.planning import Folding
    from bayesmf.ratings import Ratings
    from bayesmf.results.point_estimate import Held
    from bayesmf.sources import Source

SIDES = ("user", "item")


def _refused(function: str) -> Callable[..., NoReturn]:
    # Canonical coordinates are those of all rows: these few have others, in which two of them are
    # always alike or opposite.
    def refuse(self: FoldedEstimate, *_: object, **__: object) -> NoReturn:
        del self
        raise ValueError(
            f"{function} is about a whole fit, and here are rows that were folded into one: ask "
            "the estimate that they were folded into."
        )

    refuse.__name__, refuse.__doc__ = function, "Refused: ask the estimate of the fit."
    return refuse


@dataclass(eq=False, kw_only=True, repr=False)
class FoldedEstimate(FactorEstimate):
    """Rows that were folded into an estimate, or that borrow others' rows.

    It predicts, recommends and compares as any estimate does, for these rows. `ratings` are theirs,
    among all ids of the other side. What is said of a whole fit (`similar_users`, `similar_items`,
    `top_items`) is asked of the estimate that the rows were folded into.

    Attributes
    ----------
    side : {"user", "item"}
        Whose rows they are.
    bounds : tuple of float
        Smallest and largest rating of the fit and of the new ratings, for ``clip=True``.
    middle : (ndarray, ndarray), shapes (K,)
        Mean factors of users and of items of the fit, for lists by affinity.
    """

    side: str
    bounds: tuple[float, float]
    middle: tuple[np.ndarray, np.ndarray]

    similar_users = _refused("similar_users")
    similar_items = _refused("similar_items")
    top_items = _refused("top_items")

    def _check_clip(self, clip: object) -> tuple[float, float] | None:
        return self.bounds if clip is True else super()._check_clip(clip)

    def _source(self, limit: int | None = None) -> Source:
        del limit  # one estimate is all there is
        return Estimate(
            self.user_factors, self.item_factors, self.user_bias, self.item_bias, self.center,
            self.middle,
        )  # fmt: skip

    def _held(self) -> Held:
        held = super()._held()
        for side, mean in zip(SIDES, self.middle, strict=True):
            held.arrays[f"middle_{side}"] = (("factor",), mean)
        held.attributes["side"] = self.side
        held.attributes["bounds"] = list(self.bounds)
        return held

    @classmethod
    def _made(
        cls, arrays: dict[str, np.ndarray], attributes: dict[str, Any], common: dict[str, Any]
    ) -> Self:
        own = dict(arrays)
        low, high = attributes["bounds"]
        mine = {
            "middle": (own.pop("middle_user"), own.pop("middle_item")),
            "bounds": (float(low), float(high)),
            "side": str(attributes["side"]),
        }
        return super()._made(own, attributes, common | mine)

    def protocol(self) -> str:
        """Say in one line how its rows came about."""
        n = len(ids_of(self.ratings, self.side))
        return f"{n:,} {self.side}{'s' * (n != 1)} {self.details}; interval sd {self.sigma:.3f}."


def fold_into(
    estimate: FactorEstimate, new_ratings: object, *, side: Any, reg: Any, reg_bias: Any
) -> FoldedEstimate:
    """Solve for rows by ridge regression; the arguments are those of `FactorEstimate.fold_in`."""
    if side is not None:
        check_choice(side, "side", FUNCTION, SIDES)
    for name, value in (("reg", reg), ("reg_bias", reg_bias)):
        if value is not None:
            check_number(value, name, FUNCTION, at_least=0)
    planned = plan(new_ratings, estimate.ratings, side)
    if isinstance(estimate, FoldedEstimate):
        _refuse_other_side(estimate, planned)
    started = time.perf_counter()
    whose, partner = planned.side, OTHER[planned.side]
    of_sides = estimate.reg if isinstance(estimate.reg, tuple) else (estimate.reg, estimate.reg)
    own_reg = of_sides[SIDES.index(whose)] if reg is None else float(reg)
    penalty = Penalty(
        own_reg,
        estimate.reg_bias if reg_bias is None else float(reg_bias),
        bool(estimate.settings.get("weighted")),
    )
    partners = estimate.rows_of(partner)
    toward = estimate.unknown_row(whose)
    has_bias = estimate.user_bias is not None
    try:
        if estimate.nonnegative:
            rows = nonnegative_rows(planned, partners, penalty, toward=toward)
        else:
            rows = ridge_rows(
                planned, partners, penalty, center=estimate.center, has_bias=has_bias,
                toward=toward,
            )  # fmt: skip
    except SingularRowError as error:
        raise ValueError(f"{FUNCTION} cannot solve: {error}. Give a positive 'reg'.") from None
    if not estimate.n_factors and not estimate.rows_of(whose).any():
        rows[:] = 0.0  # a mean that is not of this side: none of its rows has a bias
    lowest, highest = planned.ratings.bounds
    low, high = _bounds_of(estimate)
    return _with_rows(
        estimate, planned.ratings, whose, rows, (min(low, lowest), max(high, highest)),
        f"folded in by ridge regression, reg={penalty.reg:.3g}, reg_bias={penalty.reg_bias:.3g}",
        time.perf_counter() - started,
    )  # fmt: skip


def _refuse_other_side(estimate: FoldedEstimate, planned: Folding) -> None:
    # Of a row of the other side it has the ratings by these few alone.
    if planned.side == estimate.side:
        return
    old = ids_of(planned.ratings, planned.side).intersection(ids_of(estimate.ratings, planned.side))
    if len(old):
        must = (
            f"ratings of new {planned.side}s, since {estimate.side}s were folded in; known ones "
            "are folded into the first estimate"
        )
        fail(ARGUMENT, FUNCTION, must, Described(f"{planned.side} {old.tolist()[0]!r}"))


def borrow_for(
    estimate: FactorEstimate, ids: Any, *, side: Any, attributes: Any, n_nearest: Any
) -> FoldedEstimate:
    """Give strangers others' rows; the arguments are those of `FactorEstimate.borrow`."""
    function = "borrow"
    whose = str(check_choice(side, "side", function, SIDES))
    many = check_integer(n_nearest, "n_nearest", function, minimum=1)
    known = ids_of(estimate.ratings, whose)
    listed = [ids] if np.ndim(ids) == 0 else list(ids)
    if not listed:
        fail("ids", function, f"at least one {whose}", Described("none"))
    values = as_array(listed)
    lookup_ids(values, known, whose, "ids", function)  # of their type
    own = pd.Index(np.unique(values), name=known.name)
    started = time.perf_counter()
    rows = estimate.rows_of(whose)
    if attributes is None:
        found, how = np.repeat(rows.mean(axis=0)[None], len(own), axis=0), "given the mean row"
    else:
        nearest = _nearest(attributes, own, known, many, function)
        found = rows[nearest].mean(axis=1)
        how = f"given the mean row of the {many} nearest" if many > 1 else "given the nearest's row"
    nothing = np.empty(0, dtype=np.int32)
    ids_by_side = {whose: own, OTHER[whose]: ids_of(estimate.ratings, OTHER[whose])}
    ratings = estimate.ratings.with_ids(
        ids_by_side["user"], ids_by_side["item"], nothing, nothing, np.empty(0)
    )
    return _with_rows(
        estimate, ratings, whose, found, _bounds_of(estimate), how, time.perf_counter() - started
    )


def _nearest(
    attributes: Any, own: pd.Index[Any], known: pd.Index[Any], many: int, function: str
) -> np.ndarray:
    """Positions (n, many) of the known rows whose attributes have the greatest cosines."""
    if not isinstance(attributes, pd.DataFrame):
        must = "a DataFrame of numbers with a row for each id"
        fail("attributes", function, must, Described(type(attributes).__name__), TypeError)
    for name, kind in attributes.dtypes.items():
        if not (pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind)):
            must = "a DataFrame of numbers (pandas.get_dummies makes them of categories)"
            fail("attributes", function, must, Described(f"{name!r} of type {kind}"))
    table = attributes.astype(np.float64)
    if table.index.has_duplicates or not np.isfinite(table.to_numpy()).all():
        fail("attributes", function, "finite numbers, one row for each id", Described("others"))
    directed = table.index[table.any(axis=1)]
    missing = own[~own.isin(table.index)]
    if len(missing):
        must = "a DataFrame with a row for each id"
        fail("attributes", function, must, Described(f"none for {missing.tolist()[0]!r}"))
    aimless = own[~own.isin(directed)]
    if len(aimless):
        must = "a DataFrame in which each id has a number other than zero, or it has no cosine"
        fail("attributes", function, must, Described(f"none for {aimless.tolist()[0]!r}"))
    there = np.flatnonzero(known.isin(table.index))
    if len(there) < many:
        must = f"a DataFrame with at least {many} of the fitted rows"
        fail("attributes", function, must, Described(f"{len(there)}"))
    unit = [
        found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-300)
        for found in (table.loc[own].to_numpy(), table.loc[known[there]].to_numpy())
    ]
    cosines = unit[0] @ unit[1].T
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :many]
    return there[order]


def _bounds_of(estimate: FactorEstimate) -> tuple[float, float]:
    return estimate.bounds if isinstance(estimate, FoldedEstimate) else estimate.ratings.bounds


def _with_rows(
    estimate: FactorEstimate,
    ratings: Ratings,
    side: str,
    rows: np.ndarray,
    bounds: tuple[float, float],
    details: str,
    seconds: float,
) -> FoldedEstimate:
    k = estimate.n_factors
    parts = {
        f"{one}_{what}": getattr(estimate, f"{one}_{what}")
        for one in SIDES
        for what in ("factors", "bias")
    }
    parts[f"{side}_factors"] = rows[:, :k].copy()
    parts[f"{side}_bias"] = rows[:, k].copy() if estimate.user_bias is not None else None
    middle = (
        estimate.middle
        if isinstance(estimate, FoldedEstimate)
        else (estimate.user_factors.mean(axis=0), estimate.item_factors.mean(axis=0))
    )
    return FoldedEstimate(
        **parts,
        ratings=ratings,
        center=estimate.center,
        sigma=estimate.sigma,
        reg=estimate.reg,
        reg_bias=estimate.reg_bias,
        unknown=estimate.unknown,
        nonnegative=estimate.nonnegative,
        loss=np.empty(0),
        settings=estimate.settings,
        tried=estimate.tried,
        steps=estimate.steps,
        fit_seconds=seconds,
        details=details,
        side=side,
        bounds=bounds,
        middle=middle,
    )
