"""The two sums of the model's log density that are long, each one operation with its gradient.

PyTensor would write them as some hundred operations, matrix products in several layouts among them,
which take most of the time of compiling and make temporaries of the size of the ratings times the
rank. These take little and none. They exist for Numba and, through it, for Python; `models.py`
states the same in plain PyTensor for all other backends, and tests/test_pymc_models.py holds that
both are equal.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType, grad_not_implemented
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
    """A sum over arrays, whose further outputs are its gradients by the first of its inputs.

    A kernel gives all of them, from the inputs and then the operation's properties.
    """

    __props__: tuple[str, ...] = ()
    n_slopes: int
    kernel: Callable[..., tuple[np.ndarray, ...]]

    @property
    def properties(self) -> tuple[int, ...]:
        """What the operation knows beside its inputs."""
        return tuple(getattr(self, name) for name in self.__props__)

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
        values = self.kernel(*inputs, *self.properties)
        for slot, value in zip(output_storage, values, strict=True):
            slot[0] = value

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Any]:
        """Gradients of the sum; where those of its gradients are asked for, PyTensor refuses."""
        if not all(isinstance(one.type, DisconnectedType) for one in cotangents[1:]):
            why = "It has no second derivatives: build the model without fused=True."
            return [grad_not_implemented(self, at, one, why) for at, one in enumerate(inputs)]
        rest = [DisconnectedType()() for _ in inputs[self.n_slopes :]]
        return [cotangents[0] * slope for slope in outputs[1:]] + rest

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """All outputs depend on what the sum has gradients by."""
        n_outputs = len(node.outputs)
        return [[place < self.n_slopes] * n_outputs for place in range(len(node.inputs))]


class RowDensity(WithSlopes):
    """Log density of rows given their mean and the root of their precision."""

    n_slopes = 3
    kernel = staticmethod(densities.row_density)


class SquaredError(WithSlopes):
    """Sum of squared residuals given both sides' rows, codes of the cells and targets."""

    __props__ = ("n_factors",)
    n_slopes = 2
    kernel = staticmethod(densities.squared_error)

    def __init__(self, n_factors: int) -> None:
        self.n_factors = n_factors


@register_funcify_default_op_cache_key(WithSlopes)
def _with_slopes(op: WithSlopes, node: Apply, **_: Any) -> tuple[Callable[..., Any], int]:
    del node
    kernel, properties = op.kernel, op.properties

    @numba_njit
    def with_slopes(*arrays):  # type: ignore[no-untyped-def]
        return kernel(*(arrays + properties))

    return with_slopes, VERSION
