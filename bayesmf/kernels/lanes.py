"""Small systems solved side by side: a vector holds one number of each of several rows.

A Cholesky factor of ten coordinates is a chain of short sums, roots and divisions that wait for
each other. With a row to each lane of a vector the same chain serves 8 or 16 rows at once.

A batch holds [P | r] of every row: number (i, j) of all rows stands `lanes` apart from the next, in
rows of d + 1. A row's arithmetic does not depend on its neighbours'.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from bayesmf.kernels.compiling import inner
from bayesmf.kernels.vectors import I64, VECTOR_BYTES, Code


@intrinsic
def _invert_roots(typing, a, a_at, out, out_at):
    """Write 1 / sqrt(a) of one vector; NaN where a is negative, infinity where it is zero."""
    signature = types.void(a, types.intp, out, types.intp)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a_, a_at_, out_, out_at_ = args
        code = Code(context, builder, sig.args[0])
        value = code.load(code.pointer(sig.args[0], a_, a_at_))
        one = ir.Constant(code.vector, [1.0] * code.lanes)
        inverse = builder.fdiv(one, code.call("sqrt", code.vector, value))
        code.store(inverse, code.pointer(sig.args[2], out_, out_at_))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _scale_vectors(typing, a, a_at, n, factor, factor_at):
    """Multiply n vectors, one after the other, by one."""
    signature = types.void(a, types.intp, types.intp, factor, types.intp)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a_, a_at_, n_, factor_, factor_at_ = args
        code = Code(context, builder, sig.args[0])
        by = code.load(code.pointer(sig.args[3], factor_, factor_at_))

        def body(at: list[Any], _: list[Any]) -> list[Any]:
            code.store(builder.fmul(code.load(at[0]), by), at[0])
            return []

        width = ir.Constant(I64, code.lanes)
        code.loop(n_, [(code.pointer(sig.args[0], a_, a_at_), width)], [], body)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _subtract_scaled(typing, a, out_at, out_step, row_at, row_step, factor_at, n):
    """a[out] -= a[factor] * a[row] for n vectors, `out_step` and `row_step` numbers apart."""
    number = types.intp
    signature = types.void(a, number, number, number, number, number, number)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a_, out_at_, out_step_, row_at_, row_step_, factor_at_, n_ = args
        code = Code(context, builder, sig.args[0])
        out, row, factor = (
            code.pointer(sig.args[0], a_, at) for at in (out_at_, row_at_, factor_at_)
        )
        by = builder.fneg(code.load(factor))

        def body(at: list[Any], _: list[Any]) -> list[Any]:
            code.store(code.multiply_add(by, code.load(at[1]), code.load(at[0])), at[0])
            return []

        code.loop(n_, [(out, out_step_), (row, row_step_)], [], body)
        return context.get_dummy_value()

    return signature, generate


@inner
def put(system, ld, d, normals, at, draw, lane, batch, diagonal, noise):
    """Lay a row's system [P | r] and its normals into a lane of a batch."""
    lanes = VECTOR_BYTES // batch.itemsize
    for i in range(d):
        for j in range(i, d + 1):
            batch[(i * (d + 1) + j) * lanes + lane] = system[i * ld + j]
        diagonal[i * lanes + lane] = system[i * ld + i]
        noise[i * lanes + lane] = normals[at + i] if draw else 0.0


@inner
def solve(batch, diagonal, noise, inverse, d, kept):
    """Factor all systems of a batch and solve them, each with its normals.

    The solutions stand in the column of the right-hand side. `inverse` gets the inverses of the
    diagonals of U; `kept` tells where no pivot was lost.
    """
    lanes = VECTOR_BYTES // batch.itemsize
    tolerance = 1e-14 if batch.itemsize == 8 else 1e-6
    step = (d + 1) * lanes
    for lane in range(lanes):
        kept[lane] = True
    for k in range(d):
        pivot = k * step + k * lanes
        _invert_roots(batch, pivot, inverse, k * lanes)
        _scale_vectors(batch, pivot, d + 1 - k, inverse, k * lanes)
        for i in range(k + 1, d):
            # Row i less U[k, i] times row k.
            _subtract_scaled(
                batch, i * step + i * lanes, lanes, pivot + (i - k) * lanes, lanes,
                pivot + (i - k) * lanes, d + 1 - i,
            )  # fmt: skip
        for lane in range(lanes):
            inverted = inverse[k * lanes + lane]
            if not inverted * inverted * tolerance * diagonal[k * lanes + lane] < 1.0:
                kept[lane] = False
    # U x = U^-T r + z, from the last coordinate up.
    for i in range(d):
        for lane in range(lanes):
            batch[i * step + d * lanes + lane] += noise[i * lanes + lane]
    for k in range(d - 1, -1, -1):
        x = k * step + d * lanes
        _scale_vectors(batch, x, 1, inverse, k * lanes)
        _subtract_scaled(batch, d * lanes, step, k * lanes, step, x, k)


@inner
def take(batch, d, lane, out, row):
    """Write a lane's solution into out[row]."""
    lanes = VECTOR_BYTES // batch.itemsize
    for i in range(d):
        out[row, i] = batch[(i * (d + 1) + d) * lanes + lane]
