"""A model's log density and its gradient as a function of one flat vector.

Numba compiles it for arrays of each variable, so that code on disk serves tables of all sizes, and
without Python's lock, so that chains run side by side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytensor
from pytensor.compile.mode import Mode, get_mode
from pytensor.configdefaults import config
from pytensor.gradient import grad
from pytensor.link.numba.dispatch.basic import numba_njit
from pytensor.link.numba.linker import NumbaLinker

if TYPE_CHECKING:
    from collections.abc import Callable

    import pymc as pm


class WithoutLock(NumbaLinker):
    """PyTensor's linker for Numba, whose functions release Python's lock while they run."""

    def jit_compile(self, fn: Any) -> Callable[..., Any]:
        """As its parent, but for `nogil`."""
        function, key = fn
        compiled: Callable[..., Any] = numba_njit(
            function.py_func, final_function=True, nogil=True, cache=key is not None
        )
        return compiled


class Density:
    """Compiled log density over the model's unconstrained parameters, laid end to end.

    It may be called from several threads at once.

    Parameters
    ----------
    model : pymc.Model

    Attributes
    ----------
    n_parameters : int
    shapes : dict of tuple
        Of each variable, by its name in unconstrained space.
    """

    def __init__(self, model: pm.Model) -> None:
        start, values = model.initial_point(), model.continuous_value_vars
        self.shapes = {value.name: np.shape(start[value.name]) for value in values}
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        edges = np.concatenate([[0], np.cumsum(sizes)])
        self.n_parameters = int(edges[-1])
        self._parts = [
            (slice(lo, hi), shape)
            for lo, hi, shape in zip(edges, edges[1:], self.shapes.values(), strict=False)
        ]
        log_density = model.logp()
        mode = Mode(WithoutLock(), get_mode("NUMBA").provided_optimizer)
        slopes: Any = grad(log_density, values)
        # Where Numba may reorder sums, code that was just compiled rounds otherwise than the same
        # code from its cache, into which less is inlined: a seed would not mean the same bits.
        with config.change_flags(numba__fastmath=False):
            function: Any = pytensor.function(  # type: ignore[attr-defined]
                values, [log_density, *slopes], mode=mode
            )
        self._compiled = function.vm.jit_fn
        inputs = function.maker.fgraph.inputs[len(values) :]
        # Data of the model, which the compiled function takes as arguments.
        self._places = {variable.name: place for place, variable in enumerate(inputs)}
        self._data = [c.storage[0] for c in function.input_storage[len(values) :]]

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Log density and gradient (n_parameters,) at x (n_parameters,)."""
        value, *slopes = self._compiled(
            *[x[part].reshape(shape) for part, shape in self._parts], *self._data
        )
        return float(value), np.concatenate([np.ravel(slope) for slope in slopes])

    def data(self, name: str) -> np.ndarray:
        """Data of the model."""
        return self._data[self._places[name]]

    def set_data(self, **values: Any) -> None:
        """Change data of the model, in this function alone."""
        for name, value in values.items():
            place = self._places[name]
            self._data[place] = np.asarray(value, dtype=self._data[place].dtype)

    def ravel(self, values: dict[str, np.ndarray]) -> np.ndarray:
        """Lay values by name of variable end to end, (n_parameters,)."""
        return np.concatenate([np.ravel(values[name]) for name in self.shapes]).astype(float)

    def unravel(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Give each variable its part of x (..., n_parameters)."""
        return {
            name: x[..., part].reshape((*x.shape[:-1], *shape))
            for name, (part, shape) in zip(self.shapes, self._parts, strict=True)
        }
