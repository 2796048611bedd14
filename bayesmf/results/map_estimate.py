"""`MapEstimate`: the mode of the posterior of probabilistic matrix factorization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bayesmf.point.als import cell_means
from bayesmf.results.point_estimate import PointEstimate

if TYPE_CHECKING:
    import numpy as np

    from bayesmf.pmf import PMF


@dataclass(eq=False)
class MapEstimate(PointEstimate):
    """The most probable factors and biases, given the spreads of noise, factors and biases.

    What it can do is what a `PointEstimate` can. Its `loss` is the squared error with the penalties
    that the spreads imply, at the start and after each iteration of the best of all starts.

    Attributes
    ----------
    model : PMF
        Rank, biases, link, centre and spreads.
    prior_means : (ndarray, ndarray), shapes (K,)
        Means of users' and items' factors, which an unknown row has; None where they are zero.
    log_posteriors : ndarray, shape (n_starts,)
        Log joint density of ratings and parameters that each start has reached.
    """

    model: PMF
    prior_means: tuple[np.ndarray | None, np.ndarray | None]
    log_posteriors: np.ndarray

    loss_steps: ClassVar[tuple[str, str, int]] = ("MAP", "iteration", 1)

    @property
    def penalties(self) -> dict[str, float]:
        """Penalties of least squares that the spreads imply: `reg_user`, `reg_item`, `reg_bias`.

        Each is sigma^2 over the variance of what it penalises (Salakhutdinov & Mnih 2007, eq. 4).
        """
        return self.model.spreads.penalties()

    def _means(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        cells = cell_means(
            self.user_factors, self.item_factors, self.user_bias, self.item_bias, self.center,
            users, items, self.prior_means,
        )  # fmt: skip
        return self.model.link.mean(cells)

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
