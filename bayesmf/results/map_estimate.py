"""`MapEstimate`: the mode of the posterior of probabilistic matrix factorization."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from bayesmf.pmf import PMF, Link, Spreads
from bayesmf.results.factor_estimate import FactorEstimate

if TYPE_CHECKING:
    import numpy as np

    from bayesmf.results.point_estimate import Held


@dataclass(eq=False, kw_only=True, repr=False)
class MapEstimate(FactorEstimate):
    """The most probable factors and biases, given the spreads of noise, factors and biases.

    What it can do is what a `FactorEstimate` can. Its `loss` is the squared error with the
    penalties that the spreads imply, at the start and after each iteration of the best of all
    starts.

    Attributes
    ----------
    model : PMF
        Rank, biases, link, centre and spreads.
    log_posteriors : ndarray, shape (n_starts,)
        Log joint density of ratings and parameters that each start has reached.
    """

    model: PMF
    log_posteriors: np.ndarray

    @property
    def penalties(self) -> dict[str, float]:
        """Penalties of least squares that the spreads imply: `reg_user`, `reg_item`, `reg_bias`.

        Each is sigma^2 over the variance of what it penalises (Salakhutdinov & Mnih 2007, eq. 4).
        """
        return self.model.spreads.penalties()

    @property
    def prior_means(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Means (K,) of users' and items' factors, which an unknown row has; None where zero."""
        return self.unknown

    def _check_foldable(self, function: str) -> None:
        if self.model.link.name != "identity":
            message = f"{function} needs the identity link, but this fit has the logistic one."
            raise ValueError(message)

    def _means(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return self.model.link.mean(super()._means(users, items))

    def _held(self) -> Held:
        held = super()._held()
        parts = {"link": self.model.link._asdict(), "spreads": self.model.spreads._asdict()}
        held.attributes["model"] = json.dumps(self.model._asdict() | parts)
        held.arrays["log_posteriors"] = (("start",), self.log_posteriors)
        return held

    @classmethod
    def _made(
        cls, arrays: dict[str, np.ndarray], attributes: dict[str, Any], common: dict[str, Any]
    ) -> Self:
        model = json.loads(attributes["model"])
        parts = {"link": Link(**model["link"]), "spreads": Spreads(**model["spreads"])}
        return super()._made(arrays, attributes, common | {"model": PMF(**{**model, **parts})})

    def protocol(self) -> str:
        """Say in one line how it was fitted."""
        spreads = ", ".join(
            f"{name}={value:.3g}"
            for name, value in self.model.spreads._asdict().items()
            if value is not None
        )
        share = self.settings["validation_size"]
        source = "as given" if share is None else f"from {share:.0%} of training held out"
        return (
            f"K={self.n_factors}, {self.model.link.name} link, {spreads} {source}; best of "
            f"{len(self.log_posteriors)} starts, {len(self.loss) - 1} iterations, seed "
            f"{self.settings['random_seed']}."
        )
