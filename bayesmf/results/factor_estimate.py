"""`FactorEstimate`: one number for every factor and bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from bayesmf.point.als import cell_means
from bayesmf.results.factored import Factored
from bayesmf.results.point_estimate import Held, PointEstimate
from bayesmf.sources import Estimate

if TYPE_CHECKING:
    import pandas as pd

    from bayesmf.results.folded_estimate import FoldedEstimate
    from bayesmf.sources import Source

_DIMENSIONS = {
    "user_factors": ("user", "factor"),
    "item_factors": ("item", "factor"),
    "user_bias": ("user",),
    "item_bias": ("item",),
    "unknown_user": ("factor",),
    "unknown_item": ("factor",),
}
_NUMBERS = ("center", "reg", "reg_bias")


@dataclass(eq=False, kw_only=True, repr=False)
class FactorEstimate(Factored, PointEstimate):
    """One estimate of every factor and bias, without uncertainty of its own.

    Attributes
    ----------
    user_factors, item_factors : ndarray of float64, shapes (n_users, K) and (n_items, K)
    user_bias, item_bias : ndarray of float64, or None without biases
    center : float
        Added to every prediction.
    reg : float, or (float, float) for users and items
        Penalty of squared factors, given or chosen.
    reg_bias : float
        Penalty of squared biases, given or chosen.
    unknown : (ndarray, ndarray), shapes (K,)
        Factors of a user and of an item who were never seen; None where they are zero.
    nonnegative : bool
        Whether factors are kept from going below zero.
    ratings, sigma, loss, settings, tried, fit_seconds, steps, details
        As of every `PointEstimate`; `loss` is penalised squared error.
    """

    user_factors: np.ndarray
    item_factors: np.ndarray
    user_bias: np.ndarray | None = None
    item_bias: np.ndarray | None = None
    center: float
    reg: float | tuple[float, float] = 0.0
    reg_bias: float = 0.0
    unknown: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
    nonnegative: bool = False

    strategies: ClassVar[tuple[str, ...]] = ("mean", "affinity")

    @property
    def n_factors(self) -> int:  # type: ignore[override]
        """Rank of the interaction."""
        return self.user_factors.shape[1]

    @property
    def n_parameters(self) -> int:
        """Numbers in factors, in biases of a side that has some, and the centre."""
        biases = [bias for bias in (self.user_bias, self.item_bias) if bias is not None]
        own = sum(bias.size for bias in biases if bias.any())
        return self.user_factors.size + self.item_factors.size + own + 1

    def _means(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return cell_means(
            self.user_factors, self.item_factors, self.user_bias, self.item_bias, self.center,
            users, items, self.unknown,
        )  # fmt: skip

    def _source(self, limit: int | None = None) -> Source:
        del limit  # one estimate is all there is
        return Estimate(
            self.user_factors, self.item_factors, self.user_bias, self.item_bias, self.center
        )

    def _check_foldable(self, function: str) -> None:
        """Refuse what would not be a row of this kind."""

    def rows_of(self, side: str) -> np.ndarray:
        """Rows (n, D) of a side: factors, and with biases the bias last."""
        factors, bias = getattr(self, f"{side}_factors"), getattr(self, f"{side}_bias")
        rows: np.ndarray = factors if bias is None else np.column_stack([factors, bias])
        return rows

    def unknown_row(self, side: str) -> np.ndarray:
        """Row (D,) of someone who was never seen."""
        row = np.zeros(self.n_factors + (self.user_bias is not None))
        mean = self.unknown[side == "item"]
        if mean is not None:
            row[: self.n_factors] = mean
        return row

    def fold_in(
        self,
        new_ratings: object,
        *,
        side: str | None = None,
        reg: float | None = None,
        reg_bias: float | None = None,
    ) -> FoldedEstimate:
        """Fold in new users or items, or new ratings of known ones, by ridge regression.

        Parameters
        ----------
        new_ratings : DataFrame, Ratings, or what `Ratings` takes
            Ratings by new users of known items, or the other way round. A known row is solved for
            from all its ratings, where a new rating of a known cell replaces the old.
        side : {"user", "item"}, optional
            Whose rows are solved for. By default the users', where all items are known.
        reg, reg_bias : float, optional
            Penalties of their squared factors and biases; by default those of the fit.

        Returns
        -------
        FoldedEstimate
            An estimate of these rows alone, beside all rows of the other side.

        Raises
        ------
        ValueError, TypeError
            For wrong arguments or tables, ratings of unknown partners, a row with too few ratings
            for a penalty of zero, and a logistic link, where no row is a ridge regression.

        Notes
        -----
        w = (X'X + diag(reg))^-1 X'y, with the rows of the rated items and a one for the bias in X:
        half a sweep of ALS, and ridge regression (Hoerl & Kennard 1970). Where an unknown row is
        not zero the penalty is of the distance from it, and rows of `fit_nmf` do not go below zero
        (Lawson & Hanson 1974, ch. 23). It has no interval of its own: `Posterior.fold_in` has.

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> als = bayesmf.fit_als(ratings, n_factors=2, random_seed=1, progressbar=False)
        >>> folded = als.fold_in(([900, 900], [3, 7], [5.0, 4.0]))
        >>> folded.recommend(900, n=3)["rank"].tolist()
        [1, 2, 3]
        """
        from bayesmf.results.folded_estimate import fold_into  # noqa: PLC0415 - its subclass

        self._check_foldable("fold_in")
        return fold_into(self, new_ratings, side=side, reg=reg, reg_bias=reg_bias)

    def borrow(
        self,
        ids: object,
        *,
        side: str = "user",
        attributes: pd.DataFrame | None = None,
        n_nearest: int = 1,
    ) -> FoldedEstimate:
        """Give users or items of whom no rating is known the rows of others.

        Parameters
        ----------
        ids : id or sequence of ids
            Who borrows.
        side : {"user", "item"}, default "user"
            Of which side they are.
        attributes : DataFrame, optional
            What else is known, in numbers: a row for each of `ids` and for known ones, by id. With
            it each borrows the row of the nearest known one by cosine; without it the mean row.
        n_nearest : int, default 1
            How many of the nearest are averaged.

        Returns
        -------
        FoldedEstimate
            An estimate of these rows alone, beside all rows of the other side.

        Raises
        ------
        ValueError, TypeError
            For wrong arguments, attributes that are not numbers, and ids without attributes.

        Examples
        --------
        >>> import bayesmf
        >>> import pandas as pd
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> als = bayesmf.fit_als(ratings, n_factors=2, random_seed=1, progressbar=False)
        >>> ages = pd.DataFrame({"young": [1, 0, 1], "old": [0, 1, 0]}, index=[1, 2, 900])
        >>> same = als.borrow(900, attributes=ages)
        >>> bool(same.predict([(900, 5)])["mean"][0] == als.predict([(1, 5)])["mean"][0])
        True
        """
        from bayesmf.results.folded_estimate import borrow_for  # noqa: PLC0415 - its subclass

        self._check_foldable("borrow")
        return borrow_for(self, ids, side=side, attributes=attributes, n_nearest=n_nearest)

    def _how(self) -> str:
        said = [f"K={self.n_factors}"]
        if self.n_factors and np.any(self.reg):
            sides = self.reg if isinstance(self.reg, tuple) else (self.reg,)
            said.append("reg=" + "/".join(f"{one:.3g}" for one in sides))
        if self.user_bias is not None and self.reg_bias:
            said.append(f"reg_bias={self.reg_bias:.3g}")
        if self.settings.get("weighted"):
            said.append("weighted")
        return ", ".join(said)

    def _held(self) -> Held:
        user, item = self.unknown
        arrays = {name: getattr(self, name, None) for name in _DIMENSIONS}
        arrays |= {"unknown_user": user, "unknown_item": item}
        kept = {
            name: (_DIMENSIONS[name], values)
            for name, values in arrays.items()
            if values is not None
        }
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        return Held(kept, numbers | {"nonnegative": int(self.nonnegative)})

    @classmethod
    def _made(
        cls, arrays: dict[str, np.ndarray], attributes: dict[str, Any], common: dict[str, Any]
    ) -> Self:
        own: dict[str, Any] = dict(arrays)
        unknown = own.pop("unknown_user", None), own.pop("unknown_item", None)
        reg = attributes["reg"]
        return cls(
            **common,
            **own,
            unknown=unknown,
            center=float(attributes["center"]),
            reg=float(reg) if np.ndim(reg) == 0 else (float(reg[0]), float(reg[1])),
            reg_bias=float(attributes["reg_bias"]),
            nonnegative=bool(attributes["nonnegative"]),
        )
