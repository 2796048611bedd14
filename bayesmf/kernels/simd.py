"""Vector instructions: the few loops that LLVM does not make fast by itself, written in its IR.

What plain Numba loops lack is accumulators that stay in registers over a whole loop. The functions
here keep a block of R rows x V vectors of sums in registers (Goto & van de Geijn 2008, "Anatomy of
high-performance matrix multiplication", section 6): R + V loads feed R V fused multiply-adds.

Arrays are one-dimensional and passed with the offset of their first element, so that a caller can
point anywhere into a buffer. The vector is as wide as the machine's (`vector_bytes`), the element
type is the array's; nothing here knows of rows or ratings. Reads and writes are not checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

_I32, _I64 = ir.IntType(32), ir.IntType(64)


def vector_bytes() -> int:
    """Bytes of the widest vector of the processor that Numba compiles for."""
    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    return 64 if "+avx512f" in features else 32 if "+avx2" in features else 16


VECTOR_BYTES = vector_bytes()
PANEL = 8 if VECTOR_BYTES == 64 else 4
"""Rows of a block of sums: with three vectors each they fill 32 registers, or 16 of AVX2."""


class _Code:
    """What all generators need: a builder, the vector type of an array, loads and stores."""

    def __init__(self, context: Any, builder: Any, array: Any, lanes: int | None = None) -> None:
        self.context, self.builder = context, builder
        self.scalar = context.get_value_type(array.dtype)
        self.size = array.dtype.bitwidth // 8
        self.lanes = lanes or VECTOR_BYTES // self.size
        self.vector = ir.VectorType(self.scalar, self.lanes)

    def pointer(self, array: Any, value: Any, offset: Any) -> Any:
        data = self.context.make_array(array)(self.context, self.builder, value).data
        return self.builder.gep(data, [offset])

    def at(self, pointer: Any, offset: Any) -> Any:
        offset = ir.Constant(_I64, offset) if isinstance(offset, int) else offset
        return self.builder.gep(pointer, [offset])

    def times(self, factor: int, value: Any) -> Any:
        return self.builder.mul(ir.Constant(_I64, factor), value)

    def load(self, pointer: Any) -> Any:
        value = self.builder.load(self.builder.bitcast(pointer, self.vector.as_pointer()))
        value.align = self.size
        return value

    def store(self, value: Any, pointer: Any) -> None:
        typed = self.builder.bitcast(pointer, self.vector.as_pointer())
        self.builder.store(value, typed).align = self.size

    def splat(self, value: Any) -> Any:
        undefined = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(undefined, value, ir.Constant(_I32, 0))
        mask = ir.Constant(ir.VectorType(_I32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, undefined, mask)

    def lane(self, vector: Any, number: int) -> Any:
        return self.builder.extract_element(vector, ir.Constant(_I32, number))

    def call(self, name: str, result: Any, *values: Any) -> Any:
        # llvmlite cannot name intrinsics of vectors by itself.
        kind = f"v{self.lanes}f{8 * self.size}" if values[-1].type == self.vector else ""
        full = f"llvm.{name}.{kind or f'f{8 * self.size}'}"
        signature = ir.FunctionType(result, [value.type for value in values])
        function = cgutils.get_or_insert_function(self.builder.module, signature, full)
        return self.builder.call(function, values)

    def multiply_add(self, x: Any, y: Any, z: Any) -> Any:
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
        counter = builder.phi(_I64)
        at = [builder.phi(pointer.type) for pointer, _ in pointers]
        carried = [builder.phi(value.type) for value in sums]
        builder.cbranch(builder.icmp_signed("<", counter, count), blocks[1], blocks[2])
        builder.position_at_end(blocks[1])
        new = body(at, carried)
        following = builder.add(counter, ir.Constant(_I64, 1))
        moved = [builder.gep(p, [step]) for p, (_, step) in zip(at, pointers, strict=True)]
        after = builder.block
        builder.branch(blocks[0])
        first = [ir.Constant(_I64, 0), *(pointer for pointer, _ in pointers), *sums]
        rest = [following, *moved, *new]
        for phi, start, value in zip([counter, *at, *carried], first, rest, strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(value, after)
        builder.position_at_end(blocks[2])
        return carried


def _add_products(rows: int, vectors: int, sign: int) -> Any:
    """C[r, :] += sign * sum_t A[t, r] B[t, :] for `rows` rows and `vectors` vectors of columns."""

    @intrinsic
    def add_products(typing, c, c_at, c_ld, a, a_at, a_step, a_row, b, b_at, b_ld, n):
        number = types.intp
        signature = types.void(
            c, number, number, a, number, number, number, b, number, number, number
        )

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            c_, c_at_, c_ld_, a_, a_at_, a_step_, a_row_, b_, b_at_, b_ld_, n_ = args
            code = _Code(context, builder, sig.args[0])
            c_pointer = code.pointer(sig.args[0], c_, c_at_)
            a_pointer = code.pointer(sig.args[3], a_, a_at_)
            b_pointer = code.pointer(sig.args[7], b_, b_at_)
            places = [
                code.at(code.at(c_pointer, code.times(r, c_ld_)), v * code.lanes)
                for r in range(rows)
                for v in range(vectors)
            ]
            steps = [code.times(r, a_row_) for r in range(rows)]

            def body(at: list[Any], sums: list[Any]) -> list[Any]:
                right = [code.load(code.at(at[1], v * code.lanes)) for v in range(vectors)]
                new = []
                for r in range(rows):
                    left = builder.load(code.at(at[0], steps[r]))
                    left = code.splat(left if sign > 0 else builder.fneg(left))
                    own = sums[r * vectors : (r + 1) * vectors]
                    new += [code.multiply_add(left, right[v], own[v]) for v in range(vectors)]
                return new

            start = [code.load(place) for place in places]
            pointers = [(a_pointer, a_step_), (b_pointer, b_ld_)]
            for place, value in zip(places, code.loop(n_, pointers, start, body), strict=True):
                code.store(value, place)
            return context.get_dummy_value()

        return signature, generate

    return add_products


@intrinsic
def add_dots(typing, sums, a, a_at, a_ld, b, b_at, n_vectors):
    """Write sums[r] = sum_k A[r, k] b[k] for PANEL rows, over whole vectors of columns."""
    number = types.intp
    signature = types.void(sums, a, number, number, b, number, number)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        sums_, a_, a_at_, a_ld_, b_, b_at_, n_ = args
        code = _Code(context, builder, sig.args[0])
        a_pointer = code.pointer(sig.args[1], a_, a_at_)
        b_pointer = code.pointer(sig.args[4], b_, b_at_)
        rows = [code.times(r, a_ld_) for r in range(PANEL)]
        width = ir.Constant(_I64, code.lanes)

        def body(at: list[Any], totals: list[Any]) -> list[Any]:
            right = code.load(at[1])
            return [
                code.multiply_add(code.load(code.at(at[0], rows[r])), right, totals[r])
                for r in range(PANEL)
            ]

        zero = ir.Constant(code.vector, [0.0] * code.lanes)
        totals = code.loop(n_, [(a_pointer, width), (b_pointer, width)], [zero] * PANEL, body)
        out = code.pointer(sig.args[0], sums_, ir.Constant(_I64, 0))
        for r, total in enumerate(totals):
            builder.store(_total(code, total), code.at(out, r))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def dot(typing, a, a_at, b, b_at, n_vectors):
    """Sum of a[k] b[k] over whole vectors."""
    number = types.intp
    signature = a.dtype(a, number, b, number, number)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a_, a_at_, b_, b_at_, n_ = args
        code = _Code(context, builder, sig.args[0])
        width = ir.Constant(_I64, code.lanes)
        pointers = [
            (code.pointer(sig.args[0], a_, a_at_), width),
            (code.pointer(sig.args[2], b_, b_at_), width),
        ]

        def body(at: list[Any], sums: list[Any]) -> list[Any]:
            return [code.multiply_add(code.load(at[0]), code.load(at[1]), sums[0])]

        zero = ir.Constant(code.vector, [0.0] * code.lanes)
        return _total(code, code.loop(n_, pointers, [zero], body)[0])

    return signature, generate


def _total(code: _Code, vector: Any) -> Any:
    # Halves added to halves, in an order that is the same everywhere.
    lanes = code.lanes
    while lanes > 1:
        lanes //= 2
        kind = ir.VectorType(_I32, lanes)
        low, high = (
            code.builder.shuffle_vector(
                vector, vector, ir.Constant(kind, list(range(first, first + lanes)))
            )
            for first in (0, lanes)
        )
        vector = code.builder.fadd(low, high)
    return code.lane(vector, 0)


@intrinsic
def copy_vectors(typing, out, out_at, a, a_at, n_vectors):
    """Copy whole vectors."""
    number = types.intp
    signature = types.void(out, number, a, number, number)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        out_, out_at_, a_, a_at_, n_ = args
        code = _Code(context, builder, sig.args[0])
        width = ir.Constant(_I64, code.lanes)
        pointers = [
            (code.pointer(sig.args[0], out_, out_at_), width),
            (code.pointer(sig.args[2], a_, a_at_), width),
        ]

        def body(at: list[Any], _: list[Any]) -> list[Any]:
            code.store(code.load(at[1]), at[0])
            return []

        code.loop(n_, pointers, [], body)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def prefetch_vectors(typing, a, a_at, n_vectors):
    """Ask for whole vectors to be brought near before they are read."""
    signature = types.void(a, types.intp, types.intp)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a_, a_at_, n_ = args
        code = _Code(context, builder, sig.args[0])
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, keep, data = (ir.Constant(_I32, number) for number in (0, 3, 1))

        def body(at: list[Any], _: list[Any]) -> list[Any]:
            builder.call(prefetch, [builder.bitcast(at[0], byte), read, keep, data])
            return []

        pointer = code.pointer(sig.args[0], a_, a_at_)
        code.loop(n_, [(pointer, ir.Constant(_I64, code.lanes))], [], body)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def factor_diagonal(typing, p, p_at, p_ld, factor, inverse, inverse_at):
    """Factor a PANEL x PANEL block as U'U in registers; write U and the inverses of its diagonal.

    Only the upper triangle of the block is read. A row that is not positive makes itself and those
    after it NaN.
    """
    number = types.intp
    signature = types.void(p, number, number, factor, inverse, number)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        p_, p_at_, p_ld_, factor_, inverse_, inverse_at_ = args
        code = _Code(context, builder, sig.args[0], lanes=PANEL)
        block = code.pointer(sig.args[0], p_, p_at_)
        out = code.pointer(sig.args[3], factor_, ir.Constant(_I64, 0))
        inverses = code.pointer(sig.args[4], inverse_, inverse_at_)
        rows = [code.load(code.at(block, code.times(r, p_ld_))) for r in range(PANEL)]
        one = ir.Constant(code.scalar, 1.0)
        for k in range(PANEL):
            root = code.call("sqrt", code.scalar, code.lane(rows[k], k))
            reciprocal = builder.fdiv(one, root)
            rows[k] = builder.fmul(rows[k], code.splat(reciprocal))
            for r in range(k + 1, PANEL):
                left = code.splat(builder.fneg(code.lane(rows[k], r)))
                rows[r] = code.multiply_add(left, rows[k], rows[r])
            builder.store(reciprocal, code.at(inverses, k))
            code.store(rows[k], code.at(out, k * PANEL))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def solve_panel(typing, p, p_at, p_ld, factor, inverse, inverse_at, n_vectors):
    """Replace PANEL rows of P by U^-T P, U from `factor_diagonal`, over whole vectors."""
    number = types.intp
    signature = types.void(p, number, number, factor, inverse, number, number)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        p_, p_at_, p_ld_, factor_, inverse_, inverse_at_, n_ = args
        code = _Code(context, builder, sig.args[0])
        panel = code.pointer(sig.args[0], p_, p_at_)
        triangle = code.pointer(sig.args[3], factor_, ir.Constant(_I64, 0))
        inverses = code.pointer(sig.args[4], inverse_, inverse_at_)
        places = [code.times(r, p_ld_) for r in range(PANEL)]

        def body(at: list[Any], _: list[Any]) -> list[Any]:
            rows: list[Any] = []
            for r in range(PANEL):
                value = code.load(code.at(at[0], places[r]))
                for k in range(r):
                    left = builder.load(code.at(triangle, k * PANEL + r))
                    value = code.multiply_add(code.splat(builder.fneg(left)), rows[k], value)
                inverse = code.splat(builder.load(code.at(inverses, r)))
                rows.append(builder.fmul(value, inverse))
            for r in range(PANEL):
                code.store(rows[r], code.at(at[0], places[r]))
            return []

        code.loop(n_, [(panel, ir.Constant(_I64, code.lanes))], [], body)
        return context.get_dummy_value()

    return signature, generate


add_1x1, add_1x2, add_1x3 = (_add_products(1, v, 1) for v in (1, 2, 3))
add_2x1, add_2x2, add_2x3 = (_add_products(2, v, 1) for v in (1, 2, 3))
add_px1, add_px2, add_px3 = (_add_products(PANEL, v, 1) for v in (1, 2, 3))
subtract_1x1 = _add_products(1, 1, -1)
subtract_px1, subtract_px2, subtract_px3 = (_add_products(PANEL, v, -1) for v in (1, 2, 3))
