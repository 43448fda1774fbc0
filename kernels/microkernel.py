"""The register tile of the matrix product: up to MR x NR sums held in vector registers while k runs.

    acc[i, j] = sum_k  A[i, k] B[k, j]        A, B: strided, or packed panels of MR rows and NR columns

One step of k loads up to NR elements of B as two vectors, broadcasts the MR elements of A one after the other, and does
2 MR vector multiply-adds. The sums of a whole tile of a plain product go straight to C; others are left in a small
buffer in L1, from which ``finish_tile`` takes them row by row through the epilogue into C. The idea is the register
block of Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication (ACM TOMS 34, 2008), and of BLIS.

Edges of C do not pay for a whole tile: there are loops over all, two thirds, one third and one sixth of its rows, and
over every half vector of its columns. Products of very few rows have tiles of their own, one or two rows high and as
wide as the registers allow, that read B in long stretches. Rows that a loop has too many repeat the last one that
exists; columns are masked.
"""

from types import SimpleNamespace
from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastbp.kernels import _cpu
from fastbp.kernels._jit import inner
from fastbp.kernels._pointers import emit_buffer
from fastbp.kernels._vector import INDEX, Vectors, not_unrolled
from fastbp.kernels.epilogue import (
    ACTIVATE,
    DESCENT,
    LEAKY_RELU,
    RELU,
    SIGMOID,
    SLOPE,
    TANH,
    emit_activation,
    emit_descent,
    emit_linear,
    emit_slope,
)


class Panel(NamedTuple):
    """The operands of a tile."""

    height: int  # rows of A
    a: list  # where each of them starts; or where the first does, if the others follow it in memory
    a_k: ir.Value  # from one k to the next in A
    b: ir.Value  # where B starts
    b_k: ir.Value
    mask: ir.Value | None  # of the last vector of columns; None when all of it exists


def _emit_sums(builder, vectors, panel, depth):
    """acc[i][j] = sum over k < depth of the broadcast A[i, k] times the j-th vector of B[k]."""
    rows = range(panel.height)
    is_contiguous = len(panel.a) == 1
    first, columns = vectors[0], range(len(vectors))
    entry = builder.basic_block
    head, body, done = (builder.append_basic_block(name) for name in ("k", "k.body", "k.done"))
    builder.branch(head)

    builder.position_at_end(head)
    # one pointer per row: LLVM would rebuild addresses from a common index, at three quarters of the speed
    k, b = builder.phi(INDEX), builder.phi(panel.b.type)
    a = [builder.phi(row.type) for row in panel.a]
    acc = [[builder.phi(v.vector) for v in vectors] for _ in rows]
    builder.cbranch(builder.icmp_signed("<", k, depth), body, done)

    builder.position_at_end(body)
    is_wide = len(vectors) > 2  # few rows stay in registers while the vectors of B stream past them, else the reverse

    def a_ik(i):
        return first.load_scalar(first.offset(a[0], i) if is_contiguous else a[i])

    def b_kj(j):
        return vectors[j].load(first.offset(b, j * first.lanes), panel.mask if j == columns[-1] else None)

    held = [a_ik(i) for i in rows] if is_wide else [b_kj(j) for j in columns]
    for streamed in columns if is_wide else rows:
        passing = b_kj(streamed) if is_wide else a_ik(streamed)
        for n, kept in enumerate(held):
            i, j, x, y = (n, streamed, kept, passing) if is_wide else (streamed, n, passing, kept)
            acc[i][j].add_incoming(vectors[j].zero, entry)
            acc[i][j].add_incoming(vectors[j].multiply_add(vectors[j].splat(x), y, acc[i][j]), body)
    for pointer, start in zip(a, panel.a, strict=True):
        pointer.add_incoming(start, entry)
        pointer.add_incoming(first.offset(pointer, panel.a_k), body)
    b.add_incoming(panel.b, entry)
    b.add_incoming(first.offset(b, panel.b_k), body)
    k.add_incoming(INDEX(0), entry)
    k.add_incoming(builder.add(k, INDEX(1)), body)
    builder.branch(head).set_metadata("llvm.loop", not_unrolled(builder.module))
    builder.position_at_end(done)
    return acc


@inner
def wide_columns(rows, MR, NR):
    """Columns of a tile of few rows: as many as fill the registers; NR for more rows."""
    if rows == 1:
        return MR * NR
    if rows == 2:
        return MR * NR // 2
    return MR * NR // (MR // 3) if rows <= MR // 3 else NR


@intrinsic
def multiply_tile(typing_context, a, a_row, a_k, b, b_k, depth, rows, columns, tile, tile_row):
    """tile[i, j] = sum_k A[i, k] B[k, j] for i < rows <= MR, j < columns <= NR, or as many as `wide_columns` says.

    a, b, tile: pointers; a_row, a_k: strides of A; b_k, tile_row: elements from one row to the next. The tile is
    written whole, up to the height of the loop and the width of its vectors.
    """
    real, index = a.dtype, types.int64
    sizes = _cpu.blocks(real.bitwidth // 8)

    def generate(context, builder, signature, arguments):
        a, a_row, a_k, b, b_k, depth, rows, columns, tile, tile_row = arguments
        v, half = Vectors(builder, real, sizes.lanes), Vectors(builder, real, sizes.lanes // 2)
        end = builder.append_basic_block("tile.done")

        def sums(vectors, panel):
            for i, row in enumerate(_emit_sums(builder, vectors, panel, depth)):
                target = v.offset(tile, builder.mul(INDEX(i), tile_row))
                for j, (part, x) in enumerate(zip(vectors, row, strict=True)):
                    part.store(x, v.offset(target, j * v.lanes))
            builder.branch(end)

        # a panel of A, or columns of it: one pointer serves all rows
        whole = builder.and_(
            builder.icmp_signed("==", rows, INDEX(sizes.mr)), builder.icmp_signed("==", columns, INDEX(sizes.nr))
        )
        with builder.if_then(builder.and_(whole, builder.icmp_signed("==", a_row, INDEX(1)))):
            sums([v, v], Panel(sizes.mr, [a], a_k, b, b_k, None))

        starts, last_row = [a], builder.sub(rows, INDEX(1))
        for i in range(1, sizes.mr):
            inside = builder.icmp_signed("<", INDEX(i), last_row)
            starts.append(v.offset(a, builder.mul(builder.select(inside, INDEX(i), last_row), a_row)))

        third = sizes.mr // 3
        with builder.if_then(builder.icmp_signed(">", columns, INDEX(sizes.nr))):
            for height in sorted({1, 2, third}):
                with builder.if_then(builder.icmp_signed("<=", rows, INDEX(height))):
                    sums([v] * (2 * sizes.mr // height), Panel(height, starts[:height], a_k, b, b_k, None))
            builder.unreachable()

        def strided(height, vectors, is_masked):
            mask = vectors[-1].lanes_below(columns, (len(vectors) - 1) * v.lanes) if is_masked else None
            sums(vectors, Panel(height, starts[:height], a_k, b, b_k, mask))

        def by_width(height):
            with builder.if_then(builder.icmp_signed("==", columns, INDEX(sizes.nr))):
                strided(height, [v, v], False)
            for vectors in ([half], [v], [v, half]):
                width = sum(part.lanes for part in vectors)
                with builder.if_then(builder.icmp_signed("<=", columns, INDEX(width))):
                    strided(height, vectors, True)
            strided(height, [v, v], True)

        for height in (sizes.mr // 6, third, 2 * third):
            with builder.if_then(builder.icmp_signed("<=", rows, INDEX(height))):
                by_width(height)
        by_width(sizes.mr)
        builder.position_at_end(end)
        return context.get_dummy_value()

    p = types.CPointer(real)
    return types.void(p, index, index, p, index, index, index, index, p, index), generate


_FINISH = (
    *("tile", "tile_row", "c", "c_row", "d", "d_row", "bias", "rows", "columns"),
    *("form", "activation", "carry", "alpha", "beta", "slope"),
)


@intrinsic
def finish_tile(
    typing_context, tile, tile_row, c, c_row, d, d_row, bias, rows, columns, form, activation, carry, alpha, beta, slope
):
    """Take a tile through the epilogue into C.

    tile, c, d, bias: pointers; tile_row, c_row, d_row: elements from one row to the next; rows, columns: how much
    of the tile exists; carry: C holds the sum over the earlier blocks of k (for ACTIVATE and SLOPE).
    """
    real, index = tile.dtype, types.int64
    sizes = _cpu.blocks(real.bitwidth // 8)

    def generate(context, builder, signature, arguments):
        args = SimpleNamespace(**dict(zip(_FINISH, arguments, strict=True)))
        v = Vectors(builder, real, sizes.lanes)
        alpha, beta, slope = v.splat(args.alpha), v.splat(args.beta), v.splat(args.slope)
        end = builder.append_basic_block("finish.done")

        places = [(0, v.lanes_below(args.columns, 0)), (v.lanes, v.lanes_below(args.columns, v.lanes))]

        def each(function):
            """C = ``function(acc, place)`` for every vector of a tile; place: c, d, the bias and the mask."""
            with cgutils.for_range(builder, args.rows) as loop:
                c = v.offset(args.c, builder.mul(loop.index, args.c_row))
                d = v.offset(args.d, builder.mul(loop.index, args.d_row))
                tile = v.offset(args.tile, builder.mul(loop.index, args.tile_row))
                for j, mask in places:
                    place = SimpleNamespace(c=v.offset(c, j), d=v.offset(d, j), bias=v.offset(args.bias, j), mask=None)
                    acc = v.load(v.offset(tile, j))
                    with builder.if_then(builder.icmp_signed("<", INDEX(j), args.columns)):
                        is_whole = builder.icmp_signed("<=", INDEX(j + v.lanes), args.columns)
                        with builder.if_else(is_whole) as (whole, edge):
                            with whole:
                                v.store(function(acc, place), place.c)
                            with edge:
                                place.mask = mask
                                v.store(function(acc, place), place.c, mask)
            builder.branch(end)

        def case(condition, function):
            with builder.if_then(condition):
                each(function)

        def is_form(form, activation=None):
            test = builder.icmp_signed("==", args.form, INDEX(form))
            if activation is None:
                return test
            return builder.and_(test, builder.icmp_signed("==", args.activation, INDEX(activation)))

        def total(acc, place):
            """acc + C if this is not the first block of k, else acc."""
            return builder.select(args.carry, v.add(acc, v.load(place.c, place.mask)), acc)

        def activate(activation):
            return lambda acc, at: emit_activation(
                activation, v, v.add(total(acc, at), v.load(at.bias, at.mask)), slope
            )

        def sloped(activation):
            return lambda acc, at: emit_slope(activation, v, total(acc, at), v.load(at.d, at.mask), slope)

        for activation in (RELU, LEAKY_RELU):
            case(is_form(ACTIVATE, activation), activate(activation))
        # identity; sigmoid and tanh store u here and gemm.py turns it into f(u) while the tile is in L1
        case(is_form(ACTIVATE), activate(None))
        for activation in (RELU, LEAKY_RELU, SIGMOID, TANH):
            case(is_form(SLOPE, activation), sloped(activation))
        case(is_form(SLOPE), total)
        case(is_form(DESCENT), lambda acc, at: emit_descent(v, acc, v.load(at.c, at.mask), alpha, beta))
        case(
            builder.fcmp_unordered("!=", args.beta, v.scalar(0.0)),
            lambda acc, at: emit_linear(v, acc, v.load(at.d, at.mask), alpha, beta),
        )
        each(lambda acc, at: v.multiply(acc, alpha))
        builder.position_at_end(end)
        return context.get_dummy_value()

    p = types.CPointer(real)
    signature = types.void(p, index, p, index, p, index, p, index, index, index, index, types.boolean, real, real, real)
    return signature, generate


@intrinsic
def tile_buffer(typing_context, like):
    """Room for one tile on the stack, for elements of the type that ``like`` points to."""
    real = like.dtype
    sizes = _cpu.blocks(real.bitwidth // 8)

    def generate(context, builder, signature, arguments):
        return emit_buffer(builder, context.get_data_type(real), sizes.mr * sizes.nr)

    return types.CPointer(real)(like), generate
