"""Scalar products of rows of A and columns of B that both lie contiguous along k: nothing is packed or transposed.

    C[i, j] = sum_k  A[i, k] B[k, j]        A[i, :] and B[:, j] contiguous

A product with a vector, or with very few rows or columns, uses each element of a matrix so seldom that to copy it into
panels for ``microkernel.py`` would cost more than the sums. A vector runs along k here, and its lanes are added last.
"""

from numba import types
from numba.extending import intrinsic

from fastbp.kernels import _cpu
from fastbp.kernels._jit import inner
from fastbp.kernels._pointers import shift
from fastbp.kernels._vector import INDEX, Vectors
from fastbp.kernels.partition import round_up

# Lines that a tile reads again and again: its rows of A, and the columns of B of a block.
_LINES = 16
# Sums that are made side by side. A vector multiply-add takes about 4 cycles, and one or two start in each.
_TALL, _WIDE, _SQUARE = (8, 1), (1, 8), (4, 4) if _cpu.REGISTERS == 32 else (2, 4)


@inner
def pays_dots(M, N, K, size):
    """Whether scalar products cost less than packing B and multiplying by tiles, for elements of ``size`` bytes.

    Both are counted in vector multiply-adds. An element costs half of one to pack, and a block of scalar products ends
    with work for as many as five more vectors of k. Measured, GFLOP/s of float32 on one core (Zen 4), by scalar
    products / by tiles:

        (M, N, K)    (1, 2048, 2048)  34/4    (4, 512, 784)   94/32     (100, 50, 784)  103/91
                     (128, 10, 512)   79/63   (128, 512, 512) 104/109   (64, 64, 64)     53/80
    """
    if K == 0:
        return False
    if min(M, N) == 1:
        return True
    if _LINES * K * size > _cpu.L2_BYTES:
        return False
    lanes = _cpu.VECTOR_BYTES // size
    height, width = _SQUARE
    tiles = K * (M * round_up(N, lanes // 2) // lanes + N // 2)
    return round_up(M, height) * round_up(N, width) * (round_up(K, lanes) // lanes + 5) < tiles


@inner
def dot_tile(a, a_row, b, b_column, depth, rows, columns, tile, tile_row):
    """tile[i, j] = sum_k A[i, k] B[k, j] for i < rows, j < columns; a_row, b_column: elements between the lines."""
    height, width = _SQUARE
    if rows == 1:
        height, width = _WIDE
    elif columns == 1:
        height, width = _TALL
    for j in range(0, columns, width):
        for i in range(0, rows, height):
            dots(
                shift(a, i * a_row), a_row, shift(b, j * b_column), b_column, depth,
                min(height, rows - i), min(width, columns - j), rows == 1, columns == 1,
                shift(tile, i * tile_row + j), tile_row,
            )  # fmt: skip


def _emit_dots(builder, vectors, rows, columns, depth):
    """acc[i][j] = the sum over k < depth of A[i, k] B[k, j], lane by lane; rows, columns: where the lines start."""
    starts = rows + columns
    # the last 1 to `lanes` elements are masked, so that no vector of zeros is ever added
    whole = builder.and_(builder.sub(depth, INDEX(1)), INDEX(-vectors.lanes))
    entry = builder.basic_block
    head, body, done = (builder.append_basic_block(name) for name in ("dots", "dots.body", "dots.done"))

    def products(pointers, acc, mask=None):
        a, b = [[vectors.load(p, mask) for p in part] for part in (pointers[: len(rows)], pointers[len(rows) :])]
        return [[vectors.multiply_add(x, y, acc[i][j]) for j, y in enumerate(b)] for i, x in enumerate(a)]

    builder.branch(head)
    builder.position_at_end(head)
    k, pointers = builder.phi(INDEX), [builder.phi(start.type) for start in starts]
    acc = [[builder.phi(vectors.vector) for _ in columns] for _ in rows]
    builder.cbranch(builder.icmp_signed("<", k, whole), body, done)

    builder.position_at_end(body)
    for row, new_row in zip(acc, products(pointers, acc), strict=True):
        for old, new in zip(row, new_row, strict=True):
            old.add_incoming(vectors.zero, entry)
            old.add_incoming(new, body)
    for pointer, start in zip(pointers, starts, strict=True):
        pointer.add_incoming(start, entry)
        pointer.add_incoming(vectors.offset(pointer, vectors.lanes), body)
    k.add_incoming(INDEX(0), entry)
    k.add_incoming(builder.add(k, INDEX(vectors.lanes)), body)
    builder.branch(head)

    builder.position_at_end(done)
    return products(pointers, acc, vectors.lanes_below(builder.sub(depth, whole), 0))


@intrinsic
def dots(typing_context, a, a_row, b, b_column, depth, rows, columns, is_wide, is_tall, tile, tile_row):
    """The block of `dot_tile` at a, b and tile. Lines that it has too many repeat the last one that exists."""
    real, index = a.dtype, types.int64
    lanes = _cpu.blocks(real.bitwidth // 8).lanes

    def generate(context, builder, signature, arguments):
        a, a_row, b, b_column, depth, rows, columns, is_wide, is_tall, tile, tile_row = arguments
        v = Vectors(builder, real, lanes)
        end = builder.append_basic_block("dots.end")

        def line(start, stride, i, count):
            last = builder.sub(count, INDEX(1))
            inside = builder.icmp_signed("<", INDEX(i), last)
            return v.offset(start, builder.mul(builder.select(inside, INDEX(i), last), stride))

        def block(height, width):
            lines_a = [line(a, a_row, i, rows) for i in range(height)]
            lines_b = [line(b, b_column, j, columns) for j in range(width)]
            acc = _emit_dots(builder, v, lines_a, lines_b, depth)
            sums = v.join([x for row in acc for x in row], v.add)
            lanes = sums[0].type.count
            step = min(lanes, width)
            for i in range(height):
                with builder.if_then(builder.icmp_signed("<", INDEX(i), rows)):
                    target = v.offset(tile, builder.mul(INDEX(i), tile_row))
                    for j in range(0, width, step):
                        n, first = divmod(i * width + j, lanes)
                        part = v.pick(sums[n], sums[n], range(first, first + step))
                        place = builder.bitcast(v.offset(target, j), part.type.as_pointer())
                        builder.store(part, place, align=v.itemsize)
            builder.branch(end)

        with builder.if_then(is_wide):
            block(*_WIDE)
        with builder.if_then(is_tall):
            block(*_TALL)
        block(*_SQUARE)
        builder.position_at_end(end)
        return context.get_dummy_value()

    p, flag = types.CPointer(real), types.boolean
    return types.void(p, index, p, index, index, index, index, flag, flag, p, index), generate
