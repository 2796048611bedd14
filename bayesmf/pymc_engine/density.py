"""A model's log density and its gradient as a function of one flat vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pymc as pm


class Density:
    """Compiled log density over the model's unconstrained parameters.

    Data of the model that are set later (`set_data`) are seen: nothing is compiled again.

    Parameters
    ----------
    model : pymc.Model

    Attributes
    ----------
    n_parameters : int
    """

    def __init__(self, model: pm.Model) -> None:
        self._model = model
        start = model.initial_point()
        names = [variable.name for variable in model.continuous_value_vars]
        self._shapes = {name: np.shape(start[name]) for name in names}
        self.n_parameters = sum(int(np.prod(shape)) for shape in self._shapes.values())
        self._function = model.logp_dlogp_function(ravel_inputs=True)
        self._function.set_extra_values({})

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Log density and gradient (n_parameters,) at x (n_parameters,)."""
        value, gradient = self._function(x)
        return float(value), gradient

    def set_data(self, **values: float) -> None:
        """Change data of the model."""
        for name, value in values.items():
            self._model.set_data(name, value)

    def ravel(self, values: dict[str, np.ndarray]) -> np.ndarray:
        """Lay values by name of variable end to end, (n_parameters,)."""
        return np.concatenate([np.ravel(values[name]) for name in self._shapes]).astype(float)

    def unravel(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Give each variable its part of x (n_parameters,)."""
        sizes = [int(np.prod(shape)) for shape in self._shapes.values()]
        parts = np.split(x, np.cumsum(sizes)[:-1])
        return {
            name: part.reshape(shape)
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }
