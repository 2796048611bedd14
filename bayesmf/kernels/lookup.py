"""Loops over ratings whose partners are looked up one by one and used at once.

Up to 16 factors in single precision and 8 in double (half of that with AVX2) fit one vector, and
their whole Gram matrix fits the registers. Then no tile of partners is gathered: each is
multiplied by its own numbers and by its target, and forgotten. Residuals need no tile either.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from bayesmf.kernels.compiling import inlined
from bayesmf.kernels.vectors import AHEAD, I32, I64, VECTOR_BYTES, Code

START = ir.Constant(I64, 0)


class _Partners:
    """The partners of a run of ratings, `apart` numbers from each other, and their biases."""

    def __init__(
        self, code: Code, numbers: Any, n: Any, vectors: Any, apart: Any, biases: Any
    ) -> None:
        self.code, self.numbers, self.vectors = code, numbers, vectors
        self.apart, self.biases = apart, biases
        self.last = code.at(numbers, code.builder.sub(n, ir.Constant(I64, 1)))

    def _place(self, number: Any) -> tuple[Any, Any]:
        builder = self.code.builder
        j = builder.sext(builder.load(number), I64)
        return j, self.code.at(self.vectors, builder.mul(j, self.apart))

    def find(self, number: Any) -> tuple[Any, Any]:
        """Place and bias of the partner whose number stands there; ask for a later one."""
        code, builder = self.code, self.code.builder
        later = code.at(number, AHEAD)
        later = builder.select(builder.icmp_unsigned("<", later, self.last), later, self.last)
        code.prefetch(self._place(later)[1])
        j, place = self._place(number)
        return place, builder.load(code.at(self.biases, j))


def _looked_up(eighths: int) -> Any:
    """Make the loop for partners of which so many eighths of the vector are not padding."""

    @intrinsic
    def add(typing, c, c_ld, sums, partners, targets, lo, n, packed, offsets, root):
        at = types.intp
        signature = types.void(c, at, sums, partners, targets, at, at, packed, offsets, sums.dtype)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            c_, c_ld_, sums_, partners_, targets_, lo_, n_, packed_, offsets_, root_ = args
            width = VECTOR_BYTES // (sig.args[0].dtype.bitwidth // 8)
            rows = -(-width * eighths // 8)
            # Some processors with the widest vectors do two half ones at a time, and most rows of
            # the triangle need only the last half of the columns.
            halves = VECTOR_BYTES == 64 or rows <= width // 2
            code = Code(context, builder, sig.args[0], lanes=width // 2 if halves else width)
            parts = sorted({0, max(0, rows - code.lanes)})
            last = parts[-1]
            triangle = [
                (r, part) for r in range(rows) for part in parts if r < last or part == last
            ]
            one = ir.Constant(I64, 1)
            gram = code.pointer(sig.args[0], c_, START)
            places = [code.at(code.at(gram, code.times(r, c_ld_)), part) for r, part in triangle]
            first = code.pointer(sig.args[3], partners_, lo_)
            ys = code.pointer(sig.args[4], targets_, lo_)
            found = _Partners(
                code, first, n_, code.pointer(sig.args[7], packed_, START),
                ir.Constant(I64, width), code.pointer(sig.args[8], offsets_, START),
            )  # fmt: skip

            def body(at: list[Any], sums: list[Any]) -> list[Any]:
                place, bias = found.find(at[0])
                y = builder.fmul(root_, builder.fsub(builder.load(at[1]), bias))
                v = {part: code.load(code.at(place, part)) for part in parts}
                u = [code.splat(builder.load(code.at(place, r))) for r in range(rows)]
                products = [(u[r], v[part]) for r, part in triangle]
                products += [(code.splat(y), v[part]) for part in parts]
                sums, ones, total = sums[: len(products)], sums[len(products) : -1], sums[-1]
                return [
                    *(
                        code.multiply_add(*pair, own)
                        for pair, own in zip(products, sums, strict=True)
                    ),
                    *(builder.fadd(v[part], own) for part, own in zip(parts, ones, strict=True)),
                    builder.fadd(y, total),
                ]

            start = [*map(code.load, places), *[code.zeros()] * (2 * len(parts))]
            start.append(ir.Constant(code.scalar, 0.0))
            *new, total = code.loop(n_, [(first, one), (ys, one)], start, body)
            beside = code.pointer(sig.args[2], sums_, START)
            places += [code.at(beside, width + part) for part in parts]
            places += [code.at(beside, part) for part in parts]
            for place, value in zip(places, new, strict=True):
                code.store(value, place)
            builder.store(total, code.at(beside, 2 * width))
            return context.get_dummy_value()

        return signature, generate

    return add


_add_4, _add_5, _add_6, _add_8 = (_looked_up(eighths) for eighths in (4, 5, 6, 8))


@inlined
def add_looked_up(c, c_ld, sums, partners, targets, lo, n, packed, offsets, root, k, width):
    """Add the upper triangle of X'X of n > 0 ratings to C, X their partners' k factors.

    `packed`, flat, has one vector of `width` numbers for each partner. Of the `sums`, the first k
    become those of X, those from `width` on those of X times root (y - c), and number 2 `width` the
    sum of root (y - c), with y the targets and c the partners' `offsets`. Some of C's lower
    triangle is written too.
    """
    if 8 * k <= 4 * width:
        _add_4(c, c_ld, sums, partners, targets, lo, n, packed, offsets, root)
    elif 8 * k <= 5 * width:
        _add_5(c, c_ld, sums, partners, targets, lo, n, packed, offsets, root)
    elif 8 * k <= 6 * width:
        _add_6(c, c_ld, sums, partners, targets, lo, n, packed, offsets, root)
    else:
        _add_8(c, c_ld, sums, partners, targets, lo, n, packed, offsets, root)


@intrinsic
def squared_errors(typing, targets, partners, lo, n, own, bias, packed, offsets, n_vectors):
    """Sum of (y - c - u . v - bias)^2 in float64, over n vectorfuls of ratings.

    The products of a vectorful of ratings are added up crosswise: two vectors dealt out like two
    halves of a pack of cards, and added, are one with the sums of both.
    """
    at = types.intp
    signature = types.float64(targets, partners, at, at, own, targets.dtype, packed, offsets, at)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        targets_, partners_, lo_, n_, own_, bias_, packed_, offsets_, n_vectors_ = args
        code = Code(context, builder, sig.args[0])
        lanes, width = code.lanes, ir.Constant(I64, code.lanes)
        ys = code.pointer(sig.args[0], targets_, lo_)
        first = code.pointer(sig.args[1], partners_, lo_)
        u = code.pointer(sig.args[4], own_, START)
        found = _Partners(
            code, first, code.times(lanes, n_), code.pointer(sig.args[6], packed_, START),
            code.times(lanes, n_vectors_), code.pointer(sig.args[7], offsets_, START),
        )  # fmt: skip
        doubles = ir.VectorType(ir.DoubleType(), lanes)

        def body(at: list[Any], total: list[Any]) -> list[Any]:
            rows, sums = [], []
            for r in range(lanes):
                place, bias = found.find(code.at(at[1], r))
                rows.append((place, width))
                # The partner's bias is one more product.
                sums.append(builder.insert_element(code.zeros(), bias, ir.Constant(I32, 0)))

            def products(at: list[Any], sums: list[Any]) -> list[Any]:
                own = code.load(at[0])
                return [
                    code.multiply_add(code.load(place), own, value)
                    for place, value in zip(at[1:], sums, strict=True)
                ]

            sums = code.loop(n_vectors_, [(u, width), *rows], sums, products)
            while len(sums) > 1:
                half = len(sums) // 2
                pairs = [code.deal(*pair) for pair in zip(sums[:half], sums[half:], strict=True)]
                sums = [builder.fadd(*pair) for pair in pairs]
            error = builder.fsub(builder.fsub(code.load(at[0]), sums[0]), code.splat(bias_))
            if code.size == 4:
                error = builder.fpext(error, doubles)
            return [builder.fadd(total[0], builder.fmul(error, error))]

        start = [ir.Constant(doubles, [0.0] * lanes)]
        (total,) = code.loop(n_, [(ys, width), (first, width)], start, body)
        return code.total(total)

    return signature, generate
