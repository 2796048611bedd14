"""`FoldedPosterior`: rows that were folded in, beside the other side's rows as they were."""

from __future__ import annotations

import html
import time
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pandas as pd

from bayesmf import ranking
from bayesmf.checks import check_factors
from bayesmf.diagnostics import fold_weights
from bayesmf.folding.drawing import fold
from bayesmf.folding.planning import ARGUMENT, FUNCTION, Known, ids_of, plan
from bayesmf.indexing import Side
from bayesmf.results.posterior import Posterior
from bayesmf.seeds import fresh_seed
from bayesmf.validation import (
    Described,
    check_bytes,
    check_choice,
    check_integer,
    check_number,
    check_seed,
    fail,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from bayesmf.folding.planning import Folding

_NOTHING = Known(Side(np.zeros(1, dtype=np.int64), np.empty(0, np.int32)), np.empty(0))
"""What no rows had before."""


def _refused(function: str) -> Callable[..., NoReturn]:
    def refuse(self: FoldedPosterior, *_: object, **__: object) -> NoReturn:
        del self
        raise ValueError(
            f"{function} is about a whole fit, and here are rows that were folded into one: ask "
            "the posterior that they were folded into (the attribute parent)."
        )

    refuse.__name__, refuse.__doc__ = function, "Refused: ask the parent."
    return refuse


@dataclass(eq=False, repr=False)
class FoldedPosterior(Posterior):
    """Rows folded into a posterior: it predicts, recommends and compares as any posterior does.

    `ratings` are those of the folded rows, old and new, among all ids of the other side; `data` has
    the chosen draws. What is said of a whole fit (`diagnose`, `summary`, `loo`, `report` ...) is
    asked of the posterior that the rows were folded into.

    `fold_in` folds in more. New ratings of these rows, and new rows of their side, go to the parent
    with the ratings that these rows had when they were folded in: the result holds the rows of
    `new_ratings`. New rows of the other side are drawn given these rows alone.

    Attributes
    ----------
    parent : Posterior or None
        The posterior that the rows were folded into: where similar rows are looked for. It is
        pickled too; set it to None for a small file. `save` leaves it out.
    side : {"user", "item"}
        Which rows were folded in.
    bounds : tuple of float
        Smallest and largest rating of the parent and of the new ratings, for ``clip=True``.
    """

    parent: Posterior | None = None
    side: str = "user"
    bounds: tuple[float, float] = (-np.inf, np.inf)
    before: Known = field(default=_NOTHING)

    def __getstate__(self) -> dict[str, Any]:
        return {k: value for k, value in super().__getstate__().items() if k != "fold_weights"}

    @cached_property
    def fold_weights(self) -> pd.DataFrame:
        """How much the new ratings of each row would say of the other side, were it to hear them.

        Each draw is weighted by how well it foretells the row's new ratings, the row integrated
        out. Rows are taken one by one.

        Returns
        -------
        DataFrame
            By id: `n_ratings`, `pareto_k` of the weights, `ess` (draws of equal weight that would
            be worth as much) and `refit`: whether k-hat is above min(1 - 1 / log10(draws), 0.7), so
            that these draws, however weighted, cannot stand for those of a fit to all ratings.

        Raises
        ------
        ValueError
            With fewer than 25 draws.
        numpy.linalg.LinAlgError
            If the evidence of a row is lost to rounding.

        Warns
        -----
        UserWarning
            If a row has `refit`.
        """
        found = fold_weights.fold_weights(
            self.data, self.ratings, self.before, self.side, self.cores
        )
        bad = found.index[found["refit"]]
        if len(bad):
            warnings.warn(
                f"{len(bad):,} of {len(found):,} rows that were folded in, such as "
                f"{self.side} {bad.tolist()[0]!r}, have a k-hat above the limit: their ratings say "
                "more of the other side than these draws can answer for without a refit.",
                stacklevel=3,
            )
        return found

    def _whose(self, planned: Folding) -> Posterior:
        # The posterior into which ratings go that were meant for this one.
        if planned.side == self.side:
            if self.parent is None:
                message = f"fold_in needs the parent, to which the {self.side}s are to be added."
                raise ValueError(message)
            return self.parent
        old = ids_of(planned.ratings, planned.side).intersection(ids_of(self.ratings, planned.side))
        if len(old):
            must = (
                f"ratings of new {planned.side}s, since {self.side}s were folded in; known ones "
                "are folded into the first posterior"
            )
            fail(ARGUMENT, FUNCTION, must, Described(f"{planned.side} {old.tolist()[0]!r}"))
        return self

    def similar_users(self, user: object, n: int = 10, *, prob: float = 0.9) -> pd.DataFrame:
        """Users whose factors point the same way, of all that were fitted; see `similar_items`."""
        return self._nearest(user, "user", n, prob)

    def similar_items(self, item: object, n: int = 10, *, prob: float = 0.9) -> pd.DataFrame:
        """Items whose factors point the same way, of all that were fitted.

        Of a folded row the nearest of the parent's rows, by cosine in the parent's canonical
        coordinates; of a row of the other side what the parent says. Without the parent rows are
        compared among themselves. Arguments and result as in `Posterior.similar_items`.
        """
        return self._nearest(item, "item", n, prob)

    def top_items(self, factor: int, n: int = 10) -> pd.DataFrame:
        """Items with the largest loadings on a canonical factor: what the parent says."""
        if self.parent is None:
            return super().top_items(factor, n)
        return self.parent.top_items(factor, n)

    def _nearest(self, one: object, side: str, n: int, prob: float) -> pd.DataFrame:
        function = f"similar_{side}s"
        if self.parent is None or side != self.side:
            asked = super() if self.parent is None else self.parent
            found: pd.DataFrame = getattr(asked, function)(one, n, prob=prob)
            return found
        check_factors(self.n_factors, function)
        n = check_integer(n, "n", function, minimum=1)
        prob = check_number(prob, "prob", function, above=0, below=1)
        ids, codes = self._codes([one], side, side, function)
        if codes[0] < 0:
            fail(side, function, f"one of the {side}s that were folded in", ids[0])
        fitted: Posterior = self.parent
        while isinstance(fitted, FoldedPosterior) and fitted.parent is not None:
            fitted = fitted.parent  # one side was folded in after the other
        known = ids_of(fitted.ratings, side)
        cosines = ranking.similarities_across(self.data, fitted.data, side, int(codes[0]))
        scores = cosines.mean(axis=0)
        itself = known.get_indexer(pd.Index(ids[:1]))[0]
        if itself >= 0:
            scores[itself] = -np.inf
        best = ranking.top_n(scores[None, :], min(n, len(scores) - int(itself >= 0)))[0]
        ends = np.quantile(cosines[:, best], [(1 - prob) / 2, (1 + prob) / 2], axis=0)
        columns = {
            "rank": np.arange(1, len(best) + 1), side: known[best], "similarity": scores[best],
            "lower": ends[0], "upper": ends[1],
        }  # fmt: skip
        return pd.DataFrame(columns)

    def _check_clip(self, clip: object) -> tuple[float, float] | None:
        return self.bounds if clip is True else super()._check_clip(clip)

    def _tree(self) -> xr.DataTree:
        from bayesmf.results.folded_tree import tree_of  # noqa: PLC0415 - it knows this class

        return tree_of(self)

    def protocol(self) -> str:
        """Say in one line what was folded in."""
        sizes = self.data["factors"].sizes
        n = len(ids_of(self.ratings, self.side))
        return (
            f"{n:,} {self.side}{'s' * (n != 1)} folded into a fit of K={self.n_factors}, biases "
            f"{'on' if self.model.biases else 'off'}, in {sizes['chain'] * sizes['draw']:,} of its "
            f"draws, seed {self.data.attrs['random_seed']}, engine {self.data.attrs['engine']}."
        )

    def __repr__(self) -> str:
        return f"<FoldedPosterior of {self.ratings!r}: {self.protocol()}>"

    def _repr_html_(self) -> str:
        return (
            f"<p><b>FoldedPosterior</b> {html.escape(self.protocol())}</p>"
            f"{self.ratings._repr_html_()}"
        )

    diagnose = _refused("diagnose")
    summary = _refused("summary")
    align = _refused("align")
    check_predictive = _refused("check_predictive")
    loo = _refused("loo")
    add_log_likelihood = _refused("add_log_likelihood")
    update = _refused("update")
    report = _refused("report")


def fold_into(
    posterior: Posterior,
    new_ratings: object,
    *,
    side: str | None,
    draws: int | None,
    random_seed: int | None,
    memory_budget: str | int,
) -> FoldedPosterior:
    """Fold rows in; the arguments are those of `Posterior.fold_in`."""
    function = FUNCTION
    if side is not None:
        check_choice(side, "side", function, ("user", "item"))
    if draws is not None:
        draws = check_integer(draws, "draws", function, minimum=1)
    seed = fresh_seed(check_seed(random_seed, function))
    budget = check_bytes(memory_budget, "memory_budget", function)
    planned = plan(new_ratings, posterior.ratings, side)
    if isinstance(posterior, FoldedPosterior):
        whose = posterior._whose(planned)  # noqa: SLF001 - itself
        if whose is not posterior:
            return fold_into(
                whose, planned.ratings, side=planned.side, draws=draws, random_seed=seed,
                memory_budget=budget,
            )  # fmt: skip
    d = posterior.model.n_coordinates
    per_draw = 4 * d * len(ids_of(planned.ratings, planned.side))
    if budget < per_draw:
        must = f"at least {per_draw / 1e6:.3g}MB, what one draw of the rows takes"
        fail("memory_budget", function, must, Described(f"{budget / 1e6:g}MB"))
    most = budget // per_draw
    limit = most if draws is None else min(draws, most)
    started = time.perf_counter()
    tree = fold(
        posterior.data, planned, limit=limit, seed=seed, cores=posterior.cores,
        has_bias=posterior.model.biases,
    )  # fmt: skip
    low, high = posterior.ratings.bounds
    if isinstance(posterior, FoldedPosterior):
        low, high = posterior.bounds
    lowest, highest = planned.ratings.bounds
    bounds = min(low, lowest), max(high, highest)
    return FoldedPosterior(
        tree, planned.ratings, posterior.model, posterior.cores, time.perf_counter() - started,
        parent=posterior, side=planned.side, bounds=bounds, before=planned.before,
    )  # fmt: skip
