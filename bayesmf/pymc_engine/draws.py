"""Draws of the PyMC model handed to the recorder, as a sampler of our own would hand its states."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from bayesmf.gibbs.conditionals import Hyper, moments
from bayesmf.gibbs.sampler import State, inspect
from bayesmf.kernels.blocks import Data, summed
from bayesmf.kernels.residuals import squared_errors
from bayesmf.model import GammaPrior

if TYPE_CHECKING:
    from bayesmf.gibbs.chains import DrawRecorder
    from bayesmf.model import BPMF
    from bayesmf.ratings import Ratings

SIDES = ("user", "item")


def kept_variables(model: BPMF) -> list[str]:
    """Name the free variables of the PyMC model, which all others follow from."""
    names = [f"{side}_rows" for side in SIDES] + [f"mu_{side}" for side in SIDES]
    names += [f"bartlett_squares_{side}" for side in SIDES]
    if model.n_coordinates > 1:
        names += [f"bartlett_below_{side}" for side in SIDES]
    if model.prior.resolve(1, model.n_factors, model.biases).learned:
        names += [f"strength_{side}" for side in SIDES]
    return names + ["alpha"] * isinstance(model.alpha, GammaPrior)


def count_parameters(model: BPMF, n_users: int, n_items: int) -> int:
    """Count the numbers in these variables."""
    d = model.n_coordinates
    learned = model.prior.resolve(1, model.n_factors, model.biases).learned
    per_side = 2 * d + d * (d - 1) // 2 + d * learned
    return (n_users + n_items) * d + 2 * per_side + isinstance(model.alpha, GammaPrior)


def free_values(unconstrained: dict[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray]:
    """Variables on their own scale: positive ones have their logarithm in unconstrained space."""
    return {
        name: unconstrained[name]
        if name in unconstrained
        else np.exp(unconstrained[f"{name}_log__"])
        for name in names
    }


def hyper_of(values: dict[str, np.ndarray], side: str, fixed: np.ndarray) -> Hyper:
    """Mean, precision and strength of one side's rows, from one draw of the free variables.

    `fixed` (D,) is the strength where it is not drawn. The precision is B B', as in `models.py`.
    """
    squares = values[f"bartlett_squares_{side}"]
    root = np.diag(np.sqrt(squares))
    if len(squares) > 1:
        root[np.tril_indices(len(squares), -1)] = values[f"bartlett_below_{side}"]
    strength = values.get(f"strength_{side}", fixed)
    root /= np.sqrt(strength)[:, None]
    return Hyper(values[f"mu_{side}"], root @ root.T, strength)


class Replay:
    """Hands draws to a recorder, with the residuals and moments that a sweep would leave."""

    def __init__(self, ratings: Ratings, model: BPMF, recorder: DrawRecorder) -> None:
        self._data = Data.build(
            ratings, model.working_scale(ratings), model.n_factors, model.biases, "float64"
        )
        self._model, self._recorder = model, recorder
        self._fixed = [
            model.prior.resolve(side.side.n_rows, model.n_factors, model.biases).strength
            for side in (self._data.users, self._data.items)
        ]

    def record(self, values: dict[str, np.ndarray], draw: int) -> None:
        """Record one draw of all chains, values (chains, ...) of each variable.

        Raises
        ------
        FloatingPointError
            If it is not finite.
        """
        for chain in range(len(values["user_rows"])):
            state = self._state({name: array[chain] for name, array in values.items()}, draw)
            info = inspect(state, self._data.n_ratings)
            self._recorder.record(chain, draw, state, info, math.nan)

    def _state(self, now: dict[str, np.ndarray], draw: int) -> State:
        data = self._data
        users, items = (np.ascontiguousarray(now[f"{side}_rows"]) for side in SIDES)
        of_users, of_items = (
            hyper_of(now, side, strength) for side, strength in zip(SIDES, self._fixed, strict=True)
        )
        alpha = float(now.get("alpha", self._model.alpha))  # type: ignore[arg-type]
        errors = squared_errors(data.users, users, items, data.has_bias)
        error = summed(errors, data.users.blocks, None)
        return State(
            draw + 1, users, items, of_users, of_items, alpha, error, moments(users), moments(items)
        )
