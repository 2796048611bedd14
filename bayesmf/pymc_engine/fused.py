"""The two sums of the model's log density that are long, each one operation with its gradient.

PyTensor would write them as some hundred operations, matrix products in several layouts among them,
which take most of the time of compiling and make temporaries of the size of the ratings times the
rank. These take little and none.
They exist for Numba and, through it, for Python; `models.py` states the same in plain PyTensor for
all other backends, and tests/test_pymc_models.py that both are equal.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import numba_njit, register_funcify_default_op_cache_key

from bayesmf.kernels import densities
from bayesmf.kernels.compiling import sources_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

VERSION = zlib.crc32(sources_digest().encode() + Path(__file__).read_bytes())
"""Part of the key under which PyTensor keeps compiled code: it does not look at ours."""


class WithSlopes(Op):
    """A sum over arrays, whose further outputs are its gradients by the first of its inputs."""

    __props__: tuple[str, ...] = ()
    n_slopes: int

    def total(self, *arrays: Any) -> Any:
        """The sum as a variable."""
        return self.make_node(*arrays).outputs[0]

    def make_node(self, *arrays: Any) -> Apply:
        """The sum, and gradients of the types of the inputs that they are by."""
        inputs = [pt.as_tensor(array) for array in arrays]
        slopes = [array.type() for array in inputs[: self.n_slopes]]
        return Apply(self, inputs, [pt.dscalar(), *slopes])

    def perform(
        self, node: Apply, inputs: Sequence[np.ndarray], output_storage: list[list[Any]]
    ) -> None:
        """Evaluate without a linker."""
        del node
        for slot, value in zip(output_storage, self.evaluate(*inputs), strict=True):
            slot[0] = value

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Any]:
        """Gradients of the sum; those of its gradients are not there, and asking for them fails."""
        if not all(isinstance(one.type, DisconnectedType) for one in cotangents[1:]):
            message = f"{type(self).__name__} has no second derivatives: build without fused=True."
            raise NotImplementedError(message)
        rest = [DisconnectedType()() for _ in inputs[self.n_slopes :]]
        return [cotangents[0] * slope for slope in outputs[1:]] + rest

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """All outputs depend on what the sum has gradients by."""
        n_outputs = len(node.outputs)
        return [[place < self.n_slopes] * n_outputs for place in range(len(node.inputs))]

    def evaluate(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """The sum and its gradients."""
        raise NotImplementedError


class RowDensity(WithSlopes):
    """Log density of rows given their mean and the root of their precision."""

    n_slopes = 3

    def evaluate(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """`kernels.densities.row_density`."""
        return densities.row_density(*arrays)


class SquaredError(WithSlopes):
    """Sum of squared residuals given both sides' rows, codes of the cells and targets."""

    __props__ = ("n_factors",)
    n_slopes = 2

    def __init__(self, n_factors: int) -> None:
        self.n_factors = n_factors

    def evaluate(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """`kernels.densities.squared_error`."""
        return densities.squared_error(*arrays, self.n_factors)


@register_funcify_default_op_cache_key(RowDensity)
def _row_density(op: RowDensity, node: Apply, **_: Any) -> tuple[Callable[..., Any], int]:
    del op, node
    return densities.row_density, VERSION


@register_funcify_default_op_cache_key(SquaredError)
def _squared_error(op: SquaredError, node: Apply, **_: Any) -> tuple[Callable[..., Any], int]:
    del node
    kernel, k = densities.squared_error, op.n_factors

    @numba_njit
    def squared_error(user_rows, item_rows, users, items, targets):  # type: ignore[no-untyped-def]
        return kernel(user_rows, item_rows, users, items, targets, k)

    return squared_error, VERSION
