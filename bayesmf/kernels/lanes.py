"""Systems solved side by side: a vector holds one number of each of several rows.

A Cholesky factor of ten or fifty coordinates is a chain of short sums, roots and divisions that
wait for each other. With a row to each lane of a vector the same chain serves 2 to 16 rows at once,
and all sums are of whole vectors. Blocks of numbers stay in registers while all that earlier rows
explain is taken from them, as in `simd.products`.

Each row's system [P | r] is added up by itself, as `dense.py` lays it out; a transpose brings
number (i, j) of all of them together in one vector of a batch. Coordinates that do nothing stand
before the first, so that there are whole blocks of them. A row's arithmetic does not depend on its
neighbours'.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable

from bayesmf.kernels import simd
from bayesmf.kernels.compiling import inlined
from bayesmf.kernels.dense import pivot_tolerance
from bayesmf.kernels.vectors import I64, VECTOR_BYTES, Code

BLOCK = 4
"""Rows of a block of numbers in registers, which has as many columns: 16 sums, or 8 with AVX2."""


class _Batch:
    """Pointers into a batch, whose rows are `step` numbers apart."""

    def __init__(self, code: Code, pointer: Any, step: Any) -> None:
        self.code, self.pointer, self.step = code, pointer, step

    def place(self, row: int, column: int) -> Any:
        """Point at a vector so many rows and columns on."""
        code = self.code
        return code.at(code.at(self.pointer, code.times(row, self.step)), column * code.lanes)


def _explained(
    code: Code, left: Any, right: Any, step: Any, n: Any, start: dict[tuple[int, int], Any]
) -> dict[tuple[int, int], Any]:
    """Take sum_k A[k, i] B[k, j] over n rows from numbers (i, j), which are kept in registers."""
    places = sorted(start)
    rows, columns = sorted({i for i, _ in places}), sorted({j for _, j in places})
    builder = code.builder

    def body(at: list[Any], sums: list[Any]) -> list[Any]:
        a = {i: builder.fneg(code.load(code.at(at[0], i * code.lanes))) for i in rows}
        b = {j: code.load(code.at(at[1], j * code.lanes)) for j in columns}
        return [
            code.multiply_add(a[i], b[j], value) for (i, j), value in zip(places, sums, strict=True)
        ]

    pointers = [(left, step), (right, step)]
    found = code.loop(n, pointers, [start[place] for place in places], body)
    return dict(zip(places, found, strict=True))


@intrinsic
def _factor_block(typing, batch, above, at, step, n, inverse, inverse_at):
    """Factor a diagonal block as U'U, less what n rows above it explain; write inverse roots.

    A pivot below zero becomes NaN, one of zero infinite.
    """
    number = types.intp
    signature = types.void(batch, number, number, number, number, inverse, number)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        batch_, above_, at_, step_, n_, inverse_, inverse_at_ = args
        code = Code(context, builder, sig.args[0])
        over = code.pointer(sig.args[0], batch_, above_)
        block = _Batch(code, code.pointer(sig.args[0], batch_, at_), step_)
        inverses = code.pointer(sig.args[5], inverse_, inverse_at_)
        triangle = [(i, j) for i in range(BLOCK) for j in range(i, BLOCK)]
        u = {place: code.load(block.place(*place)) for place in triangle}
        u = _explained(code, over, over, step_, n_, u)
        one = ir.Constant(code.vector, [1.0] * code.lanes)
        for k in range(BLOCK):
            root = builder.fdiv(one, code.call("sqrt", code.vector, u[k, k]))
            code.store(root, code.at(inverses, k * code.lanes))
            for j in range(k, BLOCK):
                u[k, j] = builder.fmul(u[k, j], root)
            for i in range(k + 1, BLOCK):
                for j in range(i, BLOCK):
                    u[i, j] = code.multiply_add(builder.fneg(u[k, i]), u[k, j], u[i, j])
        for place in triangle:
            code.store(u[place], block.place(*place))
        return context.get_dummy_value()

    return signature, generate


def _solve_columns(columns: int) -> Any:
    """Make columns of U, so many at a time, from those of P beside a diagonal block."""

    @intrinsic
    def solve_columns(typing, batch, above, right, diagonal, at, step, n, inverse, inverse_at):
        number = types.intp
        signature = types.void(
            batch, number, number, number, number, number, number, inverse, number
        )

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            batch_, above_, right_, diagonal_, at_, step_, n_, inverse_, inverse_at_ = args
            code = Code(context, builder, sig.args[0])
            left, beside, triangle, own = (
                code.pointer(sig.args[0], batch_, offset)
                for offset in (above_, right_, diagonal_, at_)
            )
            block, triangle = _Batch(code, own, step_), _Batch(code, triangle, step_)
            inverses = code.pointer(sig.args[7], inverse_, inverse_at_)
            all_columns = range(columns)
            u = {(i, j): code.load(block.place(i, j)) for i in range(BLOCK) for j in all_columns}
            u = _explained(code, left, beside, step_, n_, u)
            for i in range(BLOCK):
                for k in range(i):
                    factor = builder.fneg(code.load(triangle.place(k, i)))
                    for j in all_columns:
                        u[i, j] = code.multiply_add(factor, u[k, j], u[i, j])
                root = code.load(code.at(inverses, i * code.lanes))
                for j in all_columns:
                    u[i, j] = builder.fmul(u[i, j], root)
                    code.store(u[i, j], block.place(i, j))
            return context.get_dummy_value()

        return signature, generate

    return solve_columns


AT_ONCE = 4 if VECTOR_BYTES == 64 else 2
_solve_some, _solve_one = _solve_columns(AT_ONCE), _solve_columns(1)


@intrinsic
def _solve_block(typing, batch, at, right, step, n, inverse, inverse_at, x, x_at):
    """Solve a block of rows of U x = right, given the n coordinates of x after it."""
    number = types.intp
    signature = types.void(batch, number, number, number, number, inverse, number, x, number)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        batch_, at_, right_, step_, n_, inverse_, inverse_at_, x_, x_at_ = args
        code = Code(context, builder, sig.args[0])
        own = code.pointer(sig.args[0], batch_, at_)
        block = _Batch(code, own, step_)
        rights = _Batch(code, code.pointer(sig.args[0], batch_, right_), step_)
        inverses = code.pointer(sig.args[5], inverse_, inverse_at_)
        solution = code.pointer(sig.args[7], x_, x_at_)
        width = ir.Constant(I64, code.lanes)
        rows = range(BLOCK)

        def body(at: list[Any], sums: list[Any]) -> list[Any]:
            later = builder.fneg(code.load(at[1]))
            places = [code.at(at[0], code.times(i, step_)) for i in rows]
            return [code.multiply_add(code.load(places[i]), later, sums[i]) for i in rows]

        start = [code.load(rights.place(i, 0)) for i in rows]
        after = [code.at(own, BLOCK * code.lanes), code.at(solution, BLOCK * code.lanes)]
        sums = code.loop(n_, [(pointer, width) for pointer in after], start, body)
        found: dict[int, Any] = {}
        for i in reversed(rows):
            value = sums[i]
            for j in range(i + 1, BLOCK):
                minus = builder.fneg(code.load(block.place(i, j)))
                value = code.multiply_add(minus, found[j], value)
            found[i] = builder.fmul(value, code.load(code.at(inverses, i * code.lanes)))
            code.store(found[i], code.at(solution, i * code.lanes))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _transpose(typing, systems, at, size, batch, batch_at, n):
    """Write n squares, beside each other: lane r of the vector of column j is number j of system r.

    The systems are `size` numbers apart.
    """
    number = types.intp
    signature = types.void(systems, number, number, batch, number, number)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        systems_, at_, size_, batch_, batch_at_, n_ = args
        code = Code(context, builder, sig.args[0])
        first = code.pointer(sig.args[0], systems_, at_)
        out = code.pointer(sig.args[3], batch_, batch_at_)
        lanes = code.lanes
        apart = [code.times(r, size_) for r in range(lanes)]

        def body(at: list[Any], sums: list[Any]) -> list[Any]:
            rows = [code.load(code.at(at[0], apart[r])) for r in range(lanes)]
            for _ in range(lanes.bit_length() - 1):
                pairs = zip(rows[: lanes // 2], rows[lanes // 2 :], strict=True)
                rows = [row for pair in pairs for row in code.deal(*pair)]
            for j, column in enumerate(rows):
                code.store(column, code.at(at[1], j * lanes))
            return sums

        pointers = [
            (first, ir.Constant(I64, lanes)),
            (out, ir.Constant(I64, lanes * lanes)),
        ]
        code.loop(n_, pointers, [], body)
        return context.get_dummy_value()

    return signature, generate


@register_jitable
def padding(d: int) -> int:
    """Coordinates that stand before the first."""
    return (BLOCK - d % BLOCK) % BLOCK


@register_jitable
def batch_size(d: int, ld: int) -> int:
    """Vectors of a batch of systems whose rows are `ld` numbers apart."""
    return (padding(d) + d) * (padding(d) + ld)


@inlined
def clear(batch, d, ld):
    """Make the coordinates before the first those of a diagonal of ones, in a batch of zeros."""
    lanes = VECTOR_BYTES // batch.itemsize
    for i in range(padding(d)):
        for lane in range(lanes):
            batch[(i * (padding(d) + ld) + i) * lanes + lane] = 1.0


@inlined
def solve(systems, ld, d, noise, batch, diagonal, inverse, x, kept):
    """Factor all systems of a batch and solve them, each with its normals.

    `systems` lie one after the other, and `noise` has a vector for each coordinate. The solutions
    go to `x`, also a vector for each, after `padding(d)`. `inverse` gets the inverses of the
    diagonals of U; `kept` tells where no pivot was lost.
    """
    lanes, before = VECTOR_BYTES // batch.itemsize, padding(d)
    full, step, size = before + d, (before + ld) * lanes, systems.size // lanes
    for i in range(d):
        # From the square that has the diagonal on; what it has of the lower triangle is not read.
        j = i // lanes * lanes
        row = (before + i) * step
        _transpose(systems, i * ld + j, size, batch, row + (before + j) * lanes, (ld - j) // lanes)
        simd.copy_vectors(diagonal, (before + i) * lanes, batch, row + (before + i) * lanes, 1)
    for i in range(0, full, BLOCK):
        above, here = i * lanes, i * step + i * lanes
        _factor_block(batch, above, here, step, i, inverse, above)
        j = i + BLOCK
        while j + AT_ONCE <= full:
            _solve_some(
                batch, above, j * lanes, here, i * step + j * lanes, step, i, inverse, above
            )
            j += AT_ONCE
        _solve_one(
            batch, above, full * lanes, here, i * step + full * lanes, step, i, inverse, above
        )
    # A pivot lost to rounding is no pivot: it marks a singular system (ALS without a penalty).
    tolerance = pivot_tolerance(batch.itemsize)
    for lane in range(lanes):
        kept[lane] = True
    for i in range(before, full):
        for lane in range(lanes):
            at = i * lanes + lane
            if not inverse[at] * inverse[at] * tolerance * diagonal[at] < 1.0:
                kept[lane] = False
            batch[i * step + full * lanes + lane] += noise[at - before * lanes]
    # U x = U^-T r + z, from the last block up.
    for i in range(full - BLOCK, -1, -BLOCK):
        here = i * step
        _solve_block(
            batch, here + i * lanes, here + full * lanes, step, full - BLOCK - i, inverse,
            i * lanes, x, i * lanes,
        )  # fmt: skip


@inlined
def put_noise(noise, lane, normals, at, d):
    """Lay a row's normals into a lane."""
    lanes = VECTOR_BYTES // noise.itemsize
    for i in range(d):
        noise[i * lanes + lane] = normals[at + i]


@inlined
def take(x, d, lane, out, row):
    """Write a lane's solution into out[row]."""
    lanes = VECTOR_BYTES // x.itemsize
    for i in range(d):
        out[row, i] = x[(padding(d) + i) * lanes + lane]
