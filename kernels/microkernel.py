"""The register tile of the matrix product: MR x NR sums held in vector registers while k runs.

    acc[i, j] = sum_k  A[k, i] B[k, j]        A: packed panel (KC, MR), B: packed panel (KC, NR)

One step of k loads NR elements of B as two vectors, broadcasts the MR elements of A one after the other, and does
2 MR vector multiply-adds. The tile then passes through its epilogue and is stored, whole or, at the edges of C, under
a mask. The idea is the register block of Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication
(ACM TOMS 34, 2008), and of BLIS.
"""

from types import SimpleNamespace

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.kernels import _cpu
from fastbp.kernels._vector import INDEX, Vectors
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

_ARGUMENTS = (
    *("a", "b", "kc", "c", "ldc", "d", "ldd", "bias", "rows", "columns"),
    *("form", "activation", "carry", "alpha", "beta", "slope"),
)


class Tile:
    """Emits the code of one register tile."""

    def __init__(self, builder, real):
        sizes = _cpu.blocks(real.bitwidth // 8)
        self.builder = builder
        self.v = Vectors(builder, real, sizes.lanes)
        self.rows = sizes.mr
        self.columns = sizes.nr // sizes.lanes
        self.mr, self.nr = sizes.mr, sizes.nr

    def sums(self, a, b, kc):
        """acc[i][j] = sum over k < kc of the broadcast A[k, i] times the j-th vector of B[k]."""
        v, builder = self.v, self.builder
        entry = builder.basic_block
        loop, done = builder.append_basic_block("k"), builder.append_basic_block("k.done")
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(INDEX)
        acc = [[builder.phi(v.vector) for _ in range(self.columns)] for _ in range(self.rows)]
        k.add_incoming(INDEX(0), entry)
        for i in range(self.rows):
            for j in range(self.columns):
                acc[i][j].add_incoming(v.zero, entry)
        more = builder.icmp_signed("<", k, kc)
        body = builder.append_basic_block("k.body")
        builder.cbranch(more, body, done)

        builder.position_at_end(body)
        a_k = v.offset(a, builder.mul(k, INDEX(self.mr)))
        b_k = v.offset(b, builder.mul(k, INDEX(self.nr)))
        row = [v.load(v.offset(b_k, j * v.lanes)) for j in range(self.columns)]
        for i in range(self.rows):
            a_ki = v.splat(v.load_scalar(v.offset(a_k, i)))
            for j in range(self.columns):
                acc[i][j].add_incoming(v.multiply_add(a_ki, row[j], acc[i][j]), body)
        k.add_incoming(builder.add(k, INDEX(1)), body)
        builder.branch(loop)
        builder.position_at_end(done)
        return acc

    def masks(self, rows, columns):
        """Which elements of an edge tile exist."""
        v, builder = self.v, self.builder
        inside = [v.lanes_below(columns, j * v.lanes) for j in range(self.columns)]
        nothing = ir.Constant(v.mask, [False] * v.lanes)
        return [
            [builder.select(builder.icmp_signed("<", INDEX(i), rows), mask, nothing) for mask in inside]
            for i in range(self.rows)
        ]

    def each(self, pointer, stride, masks):
        """(i, j, address, mask) of every vector of a tile in memory."""
        v = self.v
        for i in range(self.rows):
            row = v.offset(pointer, self.builder.mul(INDEX(i), stride))
            for j in range(self.columns):
                yield i, j, v.offset(row, j * v.lanes), masks[i][j] if masks else None

    def load(self, pointer, stride, masks):
        tile = [[None] * self.columns for _ in range(self.rows)]
        for i, j, address, mask in self.each(pointer, stride, masks):
            tile[i][j] = self.v.load(address, mask)
        return tile

    def store(self, tile, pointer, stride, masks):
        for i, j, address, mask in self.each(pointer, stride, masks):
            self.v.store(tile[i][j], address, mask)

    def map(self, function, *tiles):
        """``function`` of the vectors at each place of the tiles."""
        return [[function(*(tile[i][j] for tile in tiles)) for j in range(self.columns)] for i in range(self.rows)]

    def carried(self, acc, c, ldc, carry, masks):
        """acc + C if this is not the first block of k, else acc."""
        builder, v = self.builder, self.v
        before = builder.basic_block
        with builder.if_then(carry):
            total = self.map(v.add, acc, self.load(c, ldc, masks))
            inside = builder.basic_block
        merged = self.map(lambda _: builder.phi(v.vector), acc)
        for i in range(self.rows):
            for j in range(self.columns):
                merged[i][j].add_incoming(acc[i][j], before)
                merged[i][j].add_incoming(total[i][j], inside)
        return merged

    def finish(self, acc, args, masks):
        """Run the epilogue that the integers in ``args`` name, and store."""
        builder, v = self.builder, self.v
        alpha, beta, slope = v.splat(args.alpha), v.splat(args.beta), v.splat(args.slope)
        end = builder.append_basic_block("finish.done")

        def case(condition, produce):
            with builder.if_then(condition):
                self.store(produce(), args.c, args.ldc, masks)
                builder.branch(end)

        def is_form(form, activation=None):
            test = builder.icmp_signed("==", args.form, INDEX(form))
            if activation is None:
                return test
            return builder.and_(test, builder.icmp_signed("==", args.activation, INDEX(activation)))

        def addend():
            return self.load(args.d, args.ldd, masks)

        def activate(activation):
            bias = [
                v.load(v.offset(args.bias, j * v.lanes), masks[0][j] if masks else None) for j in range(self.columns)
            ]
            u = self.map(v.add, acc, [bias] * self.rows)
            return self.map(lambda x: emit_activation(activation, v, x, slope), u)

        def sloped(activation):
            return self.map(lambda x, h: emit_slope(activation, v, x, h, slope), acc, addend())

        for activation in (RELU, LEAKY_RELU):
            case(is_form(ACTIVATE, activation), lambda f=activation: activate(f))
        # identity; sigmoid and tanh store u here and gemm.py turns it into f(u) while the tile is in L1
        case(is_form(ACTIVATE), lambda: activate(None))
        for activation in (RELU, LEAKY_RELU, SIGMOID, TANH):
            case(is_form(SLOPE, activation), lambda f=activation: sloped(f))
        case(is_form(SLOPE), lambda: acc)
        case(
            is_form(DESCENT),
            lambda: self.map(lambda x, c: emit_descent(v, x, c, alpha, beta), acc, self.load(args.c, args.ldc, masks)),
        )
        case(
            builder.fcmp_unordered("!=", args.beta, v.scalar(0.0)),
            lambda: self.map(lambda x, d: emit_linear(v, x, d, alpha, beta), acc, addend()),
        )
        self.store(self.map(lambda x: v.multiply(x, alpha), acc), args.c, args.ldc, masks)
        builder.branch(end)
        builder.position_at_end(end)


@intrinsic
def multiply_tile(
    typing_context, a, b, kc, c, ldc, d, ldd, bias, rows, columns, form, activation, carry, alpha, beta, slope
):
    """Multiply two packed panels, apply the epilogue and store one tile of C.

    a, b, c, d, bias: pointers; ldc, ldd: elements from one row of C and D to the next; rows, columns: how much of the
    tile exists; carry: C holds the sum over the earlier blocks of k (for ACTIVATE and SLOPE).
    """
    real, index = a.dtype, types.int64

    def generate(context, builder, signature, arguments):
        args = SimpleNamespace(**dict(zip(_ARGUMENTS, arguments, strict=True)))
        tile = Tile(builder, real)
        acc = tile.sums(args.a, args.b, args.kc)
        whole = builder.and_(
            builder.icmp_signed("==", args.rows, INDEX(tile.mr)),
            builder.icmp_signed("==", args.columns, INDEX(tile.nr)),
        )
        with builder.if_else(whole) as (then, otherwise):
            with then:
                tile.finish(tile.carried(acc, args.c, args.ldc, args.carry, None), args, None)
            with otherwise:
                masks = tile.masks(args.rows, args.columns)
                tile.finish(tile.carried(acc, args.c, args.ldc, args.carry, masks), args, masks)
        return context.get_dummy_value()

    p = types.CPointer(real)
    signature = types.void(
        p, p, index, p, index, p, index, p, index, index, index, index, types.boolean, real, real, real
    )
    return signature, generate
