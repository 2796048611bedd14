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
from bayesmf.kernels.vectors import AHEAD, I32, I64, Code


def _looked_up(eighths: int) -> Any:
    """Make the loop for partners of which so many eighths of the vector are not padding."""

    @intrinsic
    def add(typing, c, c_at, c_ld, sums, partners, targets, lo, n, packed, offsets, root):
        at = types.intp
        signature = types.void(
            c, at, at, sums, partners, targets, at, at, packed, offsets, sums.dtype
        )

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            c_, c_at_, c_ld_, sums_, partners_, targets_, lo_, n_, packed_, offsets_, root_ = args
            code = Code(context, builder, sig.args[0])
            width = code.lanes
            rows = -(-width * eighths // 8)
            if rows <= width // 2:
                # Half a vector holds all: some processors do two of those at a time.
                code = Code(context, builder, sig.args[0], lanes=width // 2)
            zero, one = ir.Constant(I64, 0), ir.Constant(I64, 1)
            gram = code.pointer(sig.args[0], c_, c_at_)
            places = [code.at(gram, code.times(r, c_ld_)) for r in range(rows)]
            numbers = code.pointer(sig.args[4], partners_, lo_)
            last = code.at(numbers, builder.sub(n_, one))
            ys = code.pointer(sig.args[5], targets_, lo_)
            vectors = code.pointer(sig.args[8], packed_, zero)
            biases = code.pointer(sig.args[9], offsets_, zero)

            def number(pointer: Any) -> Any:
                return builder.sext(builder.load(pointer), I64)

            def body(at: list[Any], sums: list[Any]) -> list[Any]:
                later = code.at(at[0], AHEAD)
                later = builder.select(builder.icmp_unsigned("<", later, last), later, last)
                code.prefetch(code.at(vectors, code.times(width, number(later))))
                j = number(at[0])
                place = code.at(vectors, code.times(width, j))
                y = builder.fsub(builder.load(at[1]), builder.load(code.at(biases, j)))
                y = builder.fmul(root_, y)
                v = code.load(place)
                return [
                    *(
                        code.multiply_add(code.splat(builder.load(code.at(place, r))), v, sums[r])
                        for r in range(rows)
                    ),
                    builder.fadd(v, sums[rows]),
                    code.multiply_add(code.splat(y), v, sums[rows + 1]),
                    builder.fadd(y, sums[rows + 2]),
                ]

            start = [*map(code.load, places), code.zeros(), code.zeros()]
            start.append(ir.Constant(code.scalar, 0.0))
            *new, ones, explained, total = code.loop(n_, [(numbers, one), (ys, one)], start, body)
            for place, value in zip(places, new, strict=True):
                code.store(value, place)
            beside = code.pointer(sig.args[3], sums_, zero)
            code.store(ones, beside)
            code.store(explained, code.at(beside, width))
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
    sum of root (y - c), with y the targets and c the partners' `offsets`. The lower triangle of C
    is written too.
    """
    at = lo - lo
    if 8 * k <= 4 * width:
        _add_4(c, at, c_ld, sums, partners, targets, lo, n, packed, offsets, root)
    elif 8 * k <= 5 * width:
        _add_5(c, at, c_ld, sums, partners, targets, lo, n, packed, offsets, root)
    elif 8 * k <= 6 * width:
        _add_6(c, at, c_ld, sums, partners, targets, lo, n, packed, offsets, root)
    else:
        _add_8(c, at, c_ld, sums, partners, targets, lo, n, packed, offsets, root)


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
        lanes, zero, one = code.lanes, ir.Constant(I64, 0), ir.Constant(I64, 1)
        width = ir.Constant(I64, lanes)
        ys = code.pointer(sig.args[0], targets_, lo_)
        numbers = code.pointer(sig.args[1], partners_, lo_)
        last = code.at(numbers, builder.sub(code.times(lanes, n_), one))
        u = code.pointer(sig.args[4], own_, zero)
        vectors = code.pointer(sig.args[6], packed_, zero)
        biases = code.pointer(sig.args[7], offsets_, zero)
        apart = code.times(lanes, n_vectors_)
        doubles = ir.VectorType(ir.DoubleType(), lanes)

        def partner(pointer: Any) -> Any:
            return builder.sext(builder.load(pointer), I64)

        def body(at: list[Any], total: list[Any]) -> list[Any]:
            rows, sums = [], []
            for r in range(lanes):
                later = code.at(at[1], r + AHEAD)
                later = builder.select(builder.icmp_unsigned("<", later, last), later, last)
                code.prefetch(code.at(vectors, builder.mul(partner(later), apart)))
                j = partner(code.at(at[1], r))
                rows.append((code.at(vectors, builder.mul(j, apart)), width))
                # The partner's bias is one more product.
                bias = builder.load(code.at(biases, j))
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
        (total,) = code.loop(n_, [(ys, width), (numbers, width)], start, body)
        result = builder.extract_element(total, ir.Constant(I32, 0))
        for lane in range(1, lanes):
            result = builder.fadd(result, builder.extract_element(total, ir.Constant(I32, lane)))
        return result

    return signature, generate
