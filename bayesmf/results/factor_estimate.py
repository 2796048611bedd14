"""`FactorEstimate`: one number for every factor and bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from bayesmf.point.als import cell_means
from bayesmf.results.factored import Factored
from bayesmf.results.point_estimate import Held, PointEstimate
from bayesmf.scoring import Estimate

if TYPE_CHECKING:
    from bayesmf.scoring import Source

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

    strategies: ClassVar[tuple[str, ...]] = ("mean", "affinity")

    @property
    def n_factors(self) -> int:  # type: ignore[override]
        """Rank of the interaction."""
        return self.user_factors.shape[1]

    @property
    def n_parameters(self) -> int:
        """Numbers in factors and biases, and the centre."""
        biases = [bias.size for bias in (self.user_bias, self.item_bias) if bias is not None]
        return self.user_factors.size + self.item_factors.size + sum(biases) + 1

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
        return Held(kept, {name: getattr(self, name) for name in _NUMBERS})

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
        )
