"""Writing LLVM IR for vectors: the machine's width, loads and stores, loops with sums in registers.

Arrays are one-dimensional and passed to intrinsics with the offset of their first element, so that
a caller can point anywhere into a buffer. The vector is as wide as the machine's (`vector_bytes`),
the element type is the array's. Reads and writes are not checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba.core import cgutils
from numba.core.registry import cpu_target

if TYPE_CHECKING:
    from collections.abc import Callable

AHEAD = 16
"""Partners are asked for so many ratings before they are read: memory is far away."""

I32, I64 = ir.IntType(32), ir.IntType(64)


def vector_bytes() -> int:
    """Bytes of the widest vector of the processor that Numba compiles for."""
    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    return 64 if "+avx512f" in features else 32 if "+avx2" in features else 16


VECTOR_BYTES = vector_bytes()
PANEL = 8 if VECTOR_BYTES == 64 else 4
"""Rows of a block of sums: with three vectors each they fill 32 registers, or 16 of AVX2."""


class Code:
    """What all generators need: a builder, the vector type of an array, loads and stores."""

    def __init__(self, context: Any, builder: Any, array: Any, lanes: int | None = None) -> None:
        self.context, self.builder = context, builder
        self.scalar = context.get_value_type(array.dtype)
        self.size = array.dtype.bitwidth // 8
        self.lanes = lanes or VECTOR_BYTES // self.size
        self.vector = ir.VectorType(self.scalar, self.lanes)

    def pointer(self, array: Any, value: Any, offset: Any) -> Any:
        """Point at an element of an array."""
        data = self.context.make_array(array)(self.context, self.builder, value).data
        return self.builder.gep(data, [offset])

    def at(self, pointer: Any, offset: Any) -> Any:
        """Point further on."""
        offset = ir.Constant(I64, offset) if isinstance(offset, int) else offset
        return self.builder.gep(pointer, [offset])

    def times(self, factor: int, value: Any) -> Any:
        """Multiply an offset."""
        return self.builder.mul(ir.Constant(I64, factor), value)

    def load(self, pointer: Any) -> Any:
        """Read a vector."""
        value = self.builder.load(self.builder.bitcast(pointer, self.vector.as_pointer()))
        value.align = self.size
        return value

    def store(self, value: Any, pointer: Any) -> None:
        """Write a vector."""
        typed = self.builder.bitcast(pointer, self.vector.as_pointer())
        self.builder.store(value, typed).align = self.size

    def prefetch(self, pointer: Any) -> None:
        """Ask for what stands there to be brought near before it is read."""
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        read, keep, data = (ir.Constant(I32, number) for number in (0, 3, 1))
        self.builder.call(function, [self.builder.bitcast(pointer, byte), read, keep, data])

    def zeros(self) -> Any:
        """Make a vector of zeros."""
        return ir.Constant(self.vector, [0.0] * self.lanes)

    def splat(self, value: Any) -> Any:
        """Put one number into all lanes."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(undefined, value, ir.Constant(I32, 0))
        mask = ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, undefined, mask)

    def pick(self, a: Any, b: Any, numbers: list[int]) -> Any:
        """Make a vector of numbers of two others, counted through both."""
        mask = ir.Constant(ir.VectorType(I32, len(numbers)), numbers)
        return self.builder.shuffle_vector(a, b, mask)

    def deal(self, a: Any, b: Any) -> tuple[Any, Any]:
        """Deal two vectors out like two halves of a pack of cards: the first half, and the second.

        Done to all pairs of rows of a square that stand half of it apart, once for each bit of
        their number, this transposes it.
        """
        numbers = [i // 2 + i % 2 * self.lanes for i in range(2 * self.lanes)]
        return self.pick(a, b, numbers[: self.lanes]), self.pick(a, b, numbers[self.lanes :])

    def lane(self, vector: Any, number: int) -> Any:
        """Take one lane."""
        return self.builder.extract_element(vector, ir.Constant(I32, number))

    def total(self, vector: Any) -> Any:
        """Add up a vector, halves to halves."""
        lanes = vector.type.count
        while lanes > 1:
            lanes //= 2
            halves = (list(range(first, first + lanes)) for first in (0, lanes))
            vector = self.builder.fadd(*(self.pick(vector, vector, half) for half in halves))
        return self.lane(vector, 0)

    def call(self, name: str, result: Any, *values: Any) -> Any:
        """Call an LLVM intrinsic on vectors."""
        # llvmlite cannot name intrinsics of vectors by itself.
        full = f"llvm.{name}.v{self.lanes}f{8 * self.size}"
        signature = ir.FunctionType(result, [value.type for value in values])
        function = cgutils.get_or_insert_function(self.builder.module, signature, full)
        return self.builder.call(function, values)

    def multiply_add(self, x: Any, y: Any, z: Any) -> Any:
        """Multiply and add: x y + z."""
        # fmuladd, not fma: a processor without the instruction would call a slow library function.
        return self.call("fmuladd", self.vector, x, y, z)

    def loop(
        self, count: Any, pointers: list[tuple[Any, Any]], sums: list[Any], body: Callable[..., Any]
    ) -> list[Any]:
        """Run `body(pointers, sums) -> sums` `count` times, with the sums in registers.

        Each pointer comes with its step in elements.
        """
        builder = self.builder
        before = builder.block
        blocks = [builder.append_basic_block(f"simd.{name}") for name in ("head", "body", "end")]
        builder.branch(blocks[0])
        builder.position_at_end(blocks[0])
        counter = builder.phi(I64)
        at = [builder.phi(pointer.type) for pointer, _ in pointers]
        carried = [builder.phi(value.type) for value in sums]
        builder.cbranch(builder.icmp_signed("<", counter, count), blocks[1], blocks[2])
        builder.position_at_end(blocks[1])
        new = body(at, carried)
        following = builder.add(counter, ir.Constant(I64, 1))
        moved = [builder.gep(p, [step]) for p, (_, step) in zip(at, pointers, strict=True)]
        after = builder.block
        builder.branch(blocks[0])
        first = [ir.Constant(I64, 0), *(pointer for pointer, _ in pointers), *sums]
        rest = [following, *moved, *new]
        for phi, start, value in zip([counter, *at, *carried], first, rest, strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(value, after)
        builder.position_at_end(blocks[2])
        return carried
