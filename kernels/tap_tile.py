"""The register tile of the gradient of a convolution by its weight: taps by filters, summed over the results.

    acc[i, j] += sum_r sum_o  grid[line(r) + offset(i) + o] delta[r, o, j]        r: rows of results, o: along a row

A tap is an element of the window on one channel. As rows of the product taps are read where they are on the grid, one
element at a time; the filters are its columns, in panels of delta that have been transposed. So it is the smaller
operand that is packed: there are KH KW times as many elements in the patches of an image.

Convolutions of few filters, as depthwise ones, would leave the columns empty: for them `tap_dots` runs vectors along
the rows of results.
"""

from numba import types
from numba.extending import intrinsic

from fastbp.kernels import _cpu
from fastbp.kernels._jit import index, routine
from fastbp.kernels._pointers import itemsize
from fastbp.kernels._vector import INDEX, Vectors, emit_loop
from fastbp.kernels.packing import pack_panel
from fastbp.kernels.partition import tile_sizes

TAP_DOTS = 8  # taps of one `tap_dots`
_at = types.CPointer


def _emit_starts(builder, v, grid, offsets, count, height):
    """Where ``height`` taps start on the grid, the last of ``count`` again and again where there are not as many."""
    last = builder.sub(count, INDEX(1))
    starts = []
    for i in range(height):
        n = builder.select(builder.icmp_signed("<", INDEX(i), last), INDEX(i), last)
        starts.append(v.offset(grid, builder.load(builder.gep(offsets, [n], source_etype=INDEX), typ=INDEX)))
    return starts


@intrinsic
def _tap_tile(typing_context, grid, offsets, taps, lines, line_count, width, delta, columns, is_first, tile):
    """`tap_tile` for pointers."""
    real = grid.dtype
    sizes = _cpu.blocks(real.bitwidth // 8)

    def generate(context, builder, signature, arguments):
        grid, offsets, taps, lines, line_count, width, delta, columns, is_first, tile = arguments
        v = Vectors(builder, real, sizes.lanes)
        end = builder.append_basic_block("taps.done")

        def emit(height, vectors):
            starts = _emit_starts(builder, v, grid, offsets, taps, height)
            places = [[v.offset(tile, i * sizes.nr + j * v.lanes) for j in range(vectors)] for i in range(height)]
            acc = [builder.select(is_first, v.zero, v.load(place)) for row in places for place in row]

            def line(r, values):
                panel, *acc = values
                start = builder.load(builder.gep(lines, [r], source_etype=INDEX), typ=INDEX)

                def element(o, values):
                    panel, x, acc = values[0], values[1 : height + 1], values[height + 1 :]
                    b = [v.load(v.offset(panel, j * v.lanes)) for j in range(vectors)]
                    new = []
                    for i in range(height):
                        a = v.splat(v.load_scalar(x[i]))
                        new += [v.multiply_add(a, b[j], acc[i * vectors + j]) for j in range(vectors)]
                    return [v.offset(panel, sizes.nr), *(v.offset(pointer, 1) for pointer in x), *new]

                values = [panel, *(v.offset(pointer, start) for pointer in starts), *acc]
                values = emit_loop(builder, "element", width, 1, values, element)
                return [values[0], *values[height + 1 :]]

            _, *acc = emit_loop(builder, "line", line_count, 1, [delta, *acc], line)
            for place, value in zip((place for row in places for place in row), acc, strict=True):
                v.store(value, place)
            builder.branch(end)

        is_narrow = builder.icmp_signed("<=", columns, INDEX(sizes.lanes))
        for height in (sizes.mr // 6, sizes.mr // 3, sizes.mr):
            fits = builder.icmp_signed("<=", taps, INDEX(height))
            for vectors, width_fits in ((1, is_narrow), (2, builder.not_(is_narrow))):
                with builder.if_then(builder.and_(fits, width_fits)):
                    emit(height, vectors)
        builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    p, integers = types.CPointer(real), types.CPointer(index)
    return types.void(p, integers, index, integers, index, index, p, index, types.boolean, p), generate


@routine(lambda real: (_at(real), index, index, index, _at(real)))
def pack_deltas(delta, plane, count, results, panel):
    """panel[o, j] = delta[j plane + o] for j < count and o < results; panel (results, NR)."""
    _, NR, _ = tile_sizes(itemsize(panel))
    pack_panel(delta, plane, 1, count, NR, results, panel)
    return 0


@routine(lambda real: (_at(real), *[_at(index), index] * 2, index, _at(real), index, index, _at(real)))
def tap_tile(grid, offsets, taps, lines, line_count, width, delta, columns, is_first, tile):
    """tile[i, j] = (is_first: 0, else tile[i, j]) + the sum above, for i < taps <= MR and j < columns <= NR.

    grid, delta, tile: pointers; offsets, lines: pointers to integers; delta: a packed panel (line_count * width, NR).
    Of the tile, (MR, NR), the rest may be overwritten.
    """
    _tap_tile(grid, offsets, taps, lines, line_count, width, delta, columns, is_first != 0, tile)
    return 0


@intrinsic
def tap_dots(typing_context, grid, offsets, taps, lines, line_count, width, delta, sums):
    """sums[i] = sum_r sum_o grid[lines[r] + offsets[i] + o] delta[r width + o], for i < taps <= TAP_DOTS.

    grid, delta, sums: pointers; offsets, lines: pointers to integers. ``sums`` has room for TAP_DOTS numbers.
    """
    real = grid.dtype
    lanes = _cpu.blocks(real.bitwidth // 8).lanes

    def generate(context, builder, signature, arguments):
        grid, offsets, taps, lines, line_count, width, delta, sums = arguments
        v = Vectors(builder, real, lanes)
        starts = _emit_starts(builder, v, grid, offsets, taps, TAP_DOTS)
        whole = builder.and_(builder.sub(width, INDEX(1)), INDEX(-lanes))
        mask = v.lanes_below(builder.sub(width, whole), 0)

        def products(row, start, o, acc, mask):
            d = v.load(v.offset(row, o), mask)
            place = builder.add(start, o)
            return [v.multiply_add(v.load(v.offset(x, place), mask), d, y) for x, y in zip(starts, acc, strict=True)]

        def line(r, acc):
            row = v.offset(delta, builder.mul(r, width))
            start = builder.load(builder.gep(lines, [r], source_etype=INDEX), typ=INDEX)
            acc = emit_loop(builder, "row", whole, lanes, acc, lambda o, acc: products(row, start, o, acc, None))
            return products(row, start, whole, acc, mask)

        acc = emit_loop(builder, "line", line_count, 1, [v.zero] * TAP_DOTS, line)
        first = 0
        for part in v.join(acc, v.add):
            place = builder.bitcast(v.offset(sums, first), part.type.as_pointer())
            builder.store(part, place, align=v.itemsize)
            first += part.type.count
        return context.get_dummy_value()

    p, integers = types.CPointer(real), types.CPointer(index)
    return types.void(p, integers, index, integers, index, index, p, p), generate
