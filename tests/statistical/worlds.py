"""Parameters and data drawn from the model's statement, many worlds at once, without the sampler.

Nothing here is taken from the code under test but the numbers that a prior resolves to, so an error
in a conditional cannot hide by being on both sides. Arrays have one world for each first index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayesmf.gibbs.conditionals import Hyper
from bayesmf.gibbs.sampler import State
from bayesmf.model import GammaPrior
from bayesmf.ratings import Ratings

if TYPE_CHECKING:
    from bayesmf.model import BPMF, SidePrior


class SideWorlds(NamedTuple):
    """One side's rows (R, n, D), their mean (R, D), precision (R, D, D) and strength (R, D)."""

    rows: np.ndarray
    mean: np.ndarray
    precision: np.ndarray
    strength: np.ndarray

    @property
    def root(self) -> np.ndarray:
        """Lower Cholesky factors (R, D, D) of the precisions."""
        return np.linalg.cholesky(self.precision)


class Worlds(NamedTuple):
    """Both sides, the noise precision (R,) and the ratings (R, n) of the observed cells."""

    user: SideWorlds
    item: SideWorlds
    alpha: np.ndarray
    ratings: np.ndarray

    @property
    def number(self) -> int:
        """R."""
        return len(self.alpha)

    def state(self, world: int) -> State:
        """One world as the sampler's state."""
        sides = [
            (side.rows[world], Hyper(side.mean[world], side.precision[world], side.strength[world]))
            for side in (self.user, self.item)
        ]
        (users, user_hyper), (items, item_hyper) = sides
        return State(0, users, items, user_hyper, item_hyper, float(self.alpha[world]))

    @classmethod
    def of_states(cls, states: list[State], ratings: np.ndarray) -> Worlds:
        """Stack states that were reached on these ratings (R, n)."""
        sides = [
            SideWorlds(
                np.array([getattr(state, f"{side}_rows") for state in states]),
                *(
                    np.array([getattr(getattr(state, f"{side}_hyper"), part) for state in states])
                    for part in Hyper._fields
                ),
            )
            for side in ("user", "item")
        ]
        return cls(*sides, np.array([state.alpha for state in states]), ratings)


class Setting(NamedTuple):
    """A model, a table's size, and which of its cells are observed, (n, 2) codes in row order."""

    model: BPMF
    n_users: int
    n_items: int
    cells: np.ndarray

    @property
    def table(self) -> Ratings:
        """The observed cells as ratings, to be given values of each world."""
        users, items = self.cells.T
        table = Ratings((users, items, np.arange(float(len(users)))))
        assert (table.n_users, table.n_items) == (self.n_users, self.n_items)
        np.testing.assert_array_equal(table.values, np.arange(float(len(users))))
        return table

    @property
    def priors(self) -> tuple[SidePrior, SidePrior]:
        """Priors of users and items in numbers."""
        resolve, model = self.model.prior.resolve, self.model
        users, items = (
            resolve(n, model.n_factors, model.biases) for n in (self.n_users, self.n_items)
        )
        return users, items


def draw_gaussian(root: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw n rows (R, n, D) with mean zero and precision L L', for each L of `root`."""
    z = rng.standard_normal((len(root), root.shape[1], n))
    return np.linalg.solve(root.swapaxes(1, 2), z).swapaxes(1, 2)


def draw_precision(dof: float, strength: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Wishart draws (R, D, D) with scale diag(1 / w) for each row w of `strength` (R, D).

    Bartlett (1933), with the triangle from the other corner than the package's, and a scale that
    is diagonal: entry (a, b) is multiplied by 1 / sqrt(w_a w_b).
    """
    r, d = strength.shape
    upper = np.triu(rng.standard_normal((r, d, d)), 1)
    diagonal = np.arange(d)
    upper[:, diagonal, diagonal] = np.sqrt(rng.chisquare(dof - diagonal[::-1], (r, d)))
    upper /= np.sqrt(strength)[:, :, None]
    return upper @ upper.swapaxes(1, 2)


def draw_side(prior: SidePrior, n: int, r: int, rng: np.random.Generator) -> SideWorlds:
    """Draw strength, precision, mean and rows of one side, in the order of the model."""
    if prior.learned:
        strength = rng.gamma(prior.shape, 1 / prior.rate, (r, len(prior.shape)))
    else:
        strength = np.tile(prior.strength, (r, 1))
    precision = draw_precision(prior.dof, strength, rng)
    root = np.linalg.cholesky(precision)
    mean = prior.mu0 + draw_gaussian(root, 1, rng)[:, 0] / np.sqrt(prior.beta0)
    return SideWorlds(mean[:, None] + draw_gaussian(root, n, rng), mean, precision, strength)


def cell_means(worlds: Worlds, cells: np.ndarray, biases: bool) -> np.ndarray:
    """u.v + b + c (R, n) of cells given by codes (n, 2)."""
    users, items = worlds.user.rows[:, cells[:, 0]], worlds.item.rows[:, cells[:, 1]]
    k = users.shape[2] - biases
    means = np.einsum("rnk,rnk->rn", users[..., :k], items[..., :k])
    return means + users[..., k] + items[..., k] if biases else means


def draw_worlds(setting: Setting, r: int, rng: np.random.Generator) -> Worlds:
    """Draw r worlds: parameters from the prior, then ratings given them."""
    user, item = (
        draw_side(prior, n, r, rng)
        for prior, n in zip(setting.priors, (setting.n_users, setting.n_items), strict=True)
    )
    prior = setting.model.alpha
    if isinstance(prior, GammaPrior):
        alpha = rng.gamma(prior.shape, 1 / prior.rate, r)
    else:
        alpha = np.full(r, float(prior))
    worlds = Worlds(user, item, alpha, np.empty((r, 0)))
    means = cell_means(worlds, setting.cells, setting.model.biases)
    noise = rng.standard_normal(means.shape) / np.sqrt(alpha)[:, None]
    return worlds._replace(ratings=means + noise)
