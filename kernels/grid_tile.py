"""The register tile of a convolution: rows of A by units of results, summed along a table of offsets.

    acc[i, j] = bias[i] + sum_k  A[i, k] grid[place(j) + offset(k)]

As in ``microkernel.py`` the sums stay in vector registers while k runs; but B is nowhere in memory. Its row k lies on
the grid, ``offset(k)`` behind the places of the results, so that no patch of an image is ever copied. Two units make a
vector: units of half a vector leave few lanes empty on images of 8, 24 or 28 columns. Measured, GFLOP/s of float32 on
one core (Zen 4) with 9 * 32 steps of k: 12 rows of 2 vectors 109, 6 rows of 4 vectors 116, whole vectors 116.
"""

import math

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastbp.kernels import _cpu
from fastbp.kernels._jit import index, inner, routine
from fastbp.kernels._pointers import emit_buffer, itemsize
from fastbp.kernels._vector import INDEX, Vectors, not_unrolled
from fastbp.kernels.epilogue import ACTIVATE, LEAKY_RELU, RELU, SIGMOID, SLOPE, TANH, emit_activation, emit_slope

# Heights of the tiles, and units beside each other. The sums of the highest, B and one element of A fit into registers.
HEIGHTS = 6, 4, 2, 1
UNITS = 8 if _cpu.REGISTERS == 32 else 4
_at = types.CPointer


@inner
def unit_lanes(pointer):
    """Elements of a unit: half a vector of them."""
    return _cpu.VECTOR_BYTES // 2 // itemsize(pointer)


def unit_of(dtype):
    """`unit_lanes` of arrays of a dtype."""
    return _cpu.VECTOR_BYTES // 2 // dtype.itemsize


@inner
def tile_height(rows):
    """Rows of the lowest tile that has at least ``rows``, or of the highest."""
    height = HEIGHTS[0]
    for lower in HEIGHTS:
        if rows <= lower:
            height = lower
    return height


def _emit_sums(builder, v, half, height, a, starts, offsets, depth, bias):
    """acc[i][j] = bias[i] + sum over k < depth of the broadcast A[k, i] times the j-th vector of B[k]."""
    entry = builder.basic_block
    columns = range(len(starts) // 2)
    first = [v.splat(v.load_scalar(v.offset(bias, i))) for i in range(height)]
    head, body, done = (builder.append_basic_block(name) for name in ("k", "k.body", "k.done"))
    builder.branch(head)

    builder.position_at_end(head)
    k, row = builder.phi(INDEX), builder.phi(a.type)
    acc = [[builder.phi(v.vector) for _ in columns] for _ in range(height)]
    builder.cbranch(builder.icmp_signed("<", k, depth), body, done)

    builder.position_at_end(body)
    offset = builder.load(builder.gep(offsets, [k], source_etype=INDEX), typ=INDEX)
    units = [half.load(v.offset(start, offset)) for start in starts]
    b = [v.pick(units[2 * j], units[2 * j + 1], range(v.lanes)) for j in columns]
    for i in range(height):
        x = v.splat(v.load_scalar(v.offset(row, i)))
        for j in columns:
            acc[i][j].add_incoming(first[i], entry)
            acc[i][j].add_incoming(v.multiply_add(x, b[j], acc[i][j]), body)
    row.add_incoming(a, entry)
    row.add_incoming(v.offset(row, height), body)
    k.add_incoming(INDEX(0), entry)
    k.add_incoming(builder.add(k, INDEX(1)), body)
    builder.branch(head).set_metadata("llvm.loop", not_unrolled(builder.module))
    builder.position_at_end(done)
    return acc


@intrinsic
def _grid_tile(typing_context, a, grid, places, offsets, depth, bias, height, target, row, floor):
    """`grid_tile` for pointers."""
    real = a.dtype
    lanes = _cpu.blocks(real.bitwidth // 8).lanes

    def generate(context, builder, signature, arguments):
        a, grid, places, offsets, depth, bias, height, target, row, floor = arguments
        v, half = Vectors(builder, real, lanes), Vectors(builder, real, lanes // 2)
        has_floor = builder.fcmp_ordered(">", floor, ir.Constant(floor.type, -math.inf))
        floor = v.splat(floor)
        end = builder.append_basic_block("tile.done")
        for rows in HEIGHTS:
            with builder.if_then(builder.icmp_signed("==", height, INDEX(rows))):
                numbers = [builder.gep(places, [INDEX(j)], source_etype=INDEX) for j in range(UNITS)]
                starts = [v.offset(grid, builder.load(number, typ=INDEX)) for number in numbers]
                sums = _emit_sums(builder, v, half, rows, a, starts, offsets, depth, bias)
                lines = [v.offset(target, builder.mul(row, INDEX(i))) for i in range(rows)]
                cells = [
                    (v.offset(line, j * lanes), x)
                    for line, xs in zip(lines, sums, strict=True)
                    for j, x in enumerate(xs)
                ]
                with builder.if_else(has_floor) as (then, otherwise):
                    with then:
                        for place, x in cells:
                            v.store(builder.select(builder.fcmp_ordered("<=", x, floor), floor, x), place)
                    with otherwise:
                        for place, x in cells:
                            v.store(x, place)
                builder.branch(end)
        builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    p, integers = types.CPointer(real), types.CPointer(index)
    return types.void(p, p, integers, integers, index, p, index, p, index, real), generate


@routine(lambda real: (_at(real), _at(real), *[_at(index)] * 2, index, _at(real), index, _at(real), index, real))
def grid_tile(a, grid, places, offsets, depth, bias, height, target, row, floor):
    """target[i row + j] = bias[i] + sum_k A[k, i] grid[places[j] + offsets[k]], and floor where that is not above it.

    For i < height and UNITS units j. a, bias, grid, target: pointers; places, offsets: pointers to integers; A is
    packed, (depth, height).
    """
    _grid_tile(a, grid, places, offsets, depth, bias, height, target, row, floor)
    return 0


@intrinsic
def finish_piece(typing_context, tile, tile_row, result, row, h, rows, count, form, activation, slope):
    """result[i, j] = f(tile[i, j]) or tile[i, j] f'(h[i, j]) for i < rows and j < count, as ``form`` says.

    tile, result, h: pointers; tile_row, row: elements from one row of the tile, and of the others, to the next; f: one
    of the activations without an exponential, else u itself is stored.
    """
    real = tile.dtype
    lanes = _cpu.blocks(real.bitwidth // 8).lanes

    def generate(context, builder, signature, arguments):
        tile, tile_row, result, row, h, rows, count, form, activation, slope = arguments
        v = Vectors(builder, real, lanes)
        slope = v.splat(slope)
        whole = builder.and_(count, INDEX(-lanes))
        rest = builder.sub(count, whole)
        mask, has_rest = v.lanes_below(rest, 0), builder.icmp_signed(">", rest, INDEX(0))
        end = builder.append_basic_block("finish.done")

        def each(function):
            with cgutils.for_range(builder, rows) as loop:
                place = builder.mul(loop.index, row)
                source = v.offset(tile, builder.mul(loop.index, tile_row))
                target, below = v.offset(result, place), v.offset(h, place)

                def at(j, mask):
                    acc = v.load(v.offset(source, j), mask)
                    v.store(function(acc, lambda: v.load(v.offset(below, j), mask)), v.offset(target, j), mask)

                with cgutils.for_range_slice(builder, INDEX(0), whole, INDEX(lanes)) as (j, _):
                    at(j, None)
                with builder.if_then(has_rest):
                    at(whole, mask)
            builder.branch(end)

        def case(wanted, code, function):
            is_form = builder.icmp_signed("==", form, INDEX(wanted))
            with builder.if_then(builder.and_(is_form, builder.icmp_signed("==", activation, INDEX(code)))):
                each(function)

        for code in (RELU, LEAKY_RELU):
            case(ACTIVATE, code, lambda acc, _, code=code: emit_activation(code, v, acc, slope))
        for code in (RELU, LEAKY_RELU, SIGMOID, TANH):
            case(SLOPE, code, lambda acc, h, code=code: emit_slope(code, v, acc, h(), slope))
        each(lambda acc, _: acc)
        builder.position_at_end(end)
        return context.get_dummy_value()

    p = types.CPointer(real)
    return types.void(p, index, p, index, p, index, index, index, index, real), generate


@intrinsic
def grid_tile_buffer(typing_context, like):
    """Room on the stack for one tile; elements as ``like`` points to."""
    lanes = _cpu.blocks(like.dtype.bitwidth // 8).lanes

    def generate(context, builder, signature, arguments):
        return emit_buffer(builder, context.get_data_type(like.dtype), HEIGHTS[0] * UNITS * lanes // 2)

    return types.CPointer(like.dtype)(like), generate
