"""The loops that LLVM does not make fast by itself, as intrinsics in vectors.

What plain Numba loops lack is accumulators that stay in registers over a whole loop. The functions
here keep a block of R rows x V vectors of sums in registers (Goto & van de Geijn 2008, "Anatomy of
high-performance matrix multiplication", section 6): R + V loads feed R V fused multiply-adds.
Nothing here knows of rows of factors or of ratings.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from bayesmf.kernels.vectors import I64, Code


def products(rows: int, vectors: int) -> Any:
    """Make C[r, :] += sum_t A[t, r] B[t, :] for some rows and vectors of columns."""

    @intrinsic
    def add_products(typing, c, c_at, c_ld, a, a_at, a_step, a_row, b, b_at, b_ld, n):
        number = types.intp
        signature = types.void(
            c, number, number, a, number, number, number, b, number, number, number
        )

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            c_, c_at_, c_ld_, a_, a_at_, a_step_, a_row_, b_, b_at_, b_ld_, n_ = args
            code = Code(context, builder, sig.args[0])
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
                    left = code.splat(builder.load(code.at(at[0], steps[r])))
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
def dot(typing, a, a_at, b, b_at, n_vectors):
    """Sum of a[k] b[k] over whole vectors."""
    number = types.intp
    signature = a.dtype(a, number, b, number, number)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a_, a_at_, b_, b_at_, n_ = args
        code = Code(context, builder, sig.args[0])
        width = ir.Constant(I64, code.lanes)
        pointers = [
            (code.pointer(sig.args[0], a_, a_at_), width),
            (code.pointer(sig.args[2], b_, b_at_), width),
        ]

        def body(at: list[Any], sums: list[Any]) -> list[Any]:
            return [code.multiply_add(code.load(at[0]), code.load(at[1]), sums[0])]

        return code.total(code.loop(n_, pointers, [code.zeros()], body)[0])

    return signature, generate


@intrinsic
def copy_vectors(typing, out, out_at, a, a_at, n_vectors):
    """Copy whole vectors."""
    number = types.intp
    signature = types.void(out, number, a, number, number)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        out_, out_at_, a_, a_at_, n_ = args
        code = Code(context, builder, sig.args[0])
        width = ir.Constant(I64, code.lanes)
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
        code = Code(context, builder, sig.args[0])

        def body(at: list[Any], _: list[Any]) -> list[Any]:
            code.prefetch(at[0])
            return []

        pointer = code.pointer(sig.args[0], a_, a_at_)
        code.loop(n_, [(pointer, ir.Constant(I64, code.lanes))], [], body)
        return context.get_dummy_value()

    return signature, generate
