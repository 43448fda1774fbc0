"""Rows of a pooling in vectors: along the windows of a row of results, element of the window by element."""

from functools import partial

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastbp.kernels import _cpu
from fastbp.kernels._vector import INDEX, Vectors, emit_loop
from fastbp.kernels.epilogue import IDENTITY, LEAKY_RELU, RELU, SIGMOID, TANH, emit_slope


class _Indices:
    """Loads and stores vectors of indices; lanes as those of the numbers beside them."""

    def __init__(self, builder, integer, v):
        self.builder, self.v = builder, v
        self.type = ir.VectorType(ir.IntType(integer.bitwidth), v.lanes)
        self.align = integer.bitwidth // 8
        self.suffix = f"v{v.lanes}i{integer.bitwidth}.p0"

    def at(self, pointer, elements):
        place = self.builder.gep(pointer, [elements], source_etype=self.type.element)
        return self.builder.bitcast(place, self.type.as_pointer())

    def load(self, pointer, elements, mask):
        place = self.at(pointer, elements)
        if mask is None:
            return self.builder.load(place, align=self.align, typ=self.type)
        zero = ir.Constant(self.type, [0] * self.v.lanes)
        arguments = [place, ir.Constant(ir.IntType(32), self.align), mask, zero]
        return self.v.call(f"llvm.masked.load.{self.suffix}", self.type, arguments)

    def store(self, value, pointer, elements, mask):
        place = self.at(pointer, elements)
        if mask is None:
            self.builder.store(value, place, align=self.align)
            return
        arguments = [value, place, ir.Constant(ir.IntType(32), self.align), mask]
        self.v.call(f"llvm.masked.store.{self.suffix}", ir.VoidType(), arguments)

    def splat(self, value):
        undefined = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.v.lanes), [0] * self.v.lanes)
        return self.builder.shuffle_vector(first, undefined, lanes)


def _each_vector(builder, v, count, body):
    """body(o, left) for the vectors of ``count`` > 0 elements; ``left``: elements of the last one, else None."""
    whole = builder.and_(builder.sub(count, INDEX(1)), INDEX(-v.lanes))

    def step(o, values):
        body(o, None)
        return values

    emit_loop(builder, "row", whole, v.lanes, [], step)
    body(whole, builder.sub(count, whole))


def _by_stride(builder, v, stride, count, side_by_side, every_other):
    """`_each_vector` with the first body for a stride of 1, with the second for 2."""
    exists = builder.icmp_signed(">", count, INDEX(0))
    for step, body in ((1, side_by_side), (2, every_other)):
        with builder.if_then(builder.and_(exists, builder.icmp_signed("==", stride, INDEX(step)))):
            _each_vector(builder, v, count, body)


def _ends_of_pairs(builder, v, left):
    """Masks of the two vectors with every other element up to the last of ``left``."""
    if left is None:
        return [None, None]
    end = builder.sub(builder.mul(left, INDEX(2)), INDEX(1))
    return [v.lanes_below(end, 0), v.lanes_below(end, v.lanes)]


def _each_strided(builder, v, u, stride, count, use):
    """use(o, x, mask) for the vectors x of u[o stride], o < count; stride: 1 or 2."""

    def side_by_side(o, left):
        mask = None if left is None else v.lanes_below(left, 0)
        use(o, v.load(v.offset(u, o), mask), mask)

    def every_other(o, left):
        start, ends = v.offset(u, builder.mul(o, INDEX(2))), _ends_of_pairs(builder, v, left)
        x = [v.load(v.offset(start, j * v.lanes), end) for j, end in enumerate(ends)]
        use(o, v.pick(*x, range(0, 2 * v.lanes, 2)), None if left is None else v.lanes_below(left, 0))

    _by_stride(builder, v, stride, count, side_by_side, every_other)


@intrinsic
def add_row(typing_context, u, stride, y, count):
    """y[o] += u[o stride] for o < count; ``stride`` is 1 or 2."""
    real, index = u.dtype, types.int64

    def generate(context, builder, signature, arguments):
        u, stride, y, count = arguments
        v = Vectors(builder, real, _cpu.blocks(real.bitwidth // 8).lanes)

        def add(o, x, mask):
            place = v.offset(y, o)
            v.store(v.add(v.load(place, mask), x), place, mask)

        _each_strided(builder, v, u, stride, count, add)
        return context.get_dummy_value()

    p = types.CPointer(real)
    return types.void(p, index, p, index), generate


@intrinsic
def spread_row(typing_context, dy, counts, lines, dx, stride, count):
    """dx[o stride] += dy[o] / (lines counts[o]) for o < count; ``stride`` is 1 or 2."""
    real, index = dy.dtype, types.int64
    lanes = _cpu.blocks(real.bitwidth // 8).lanes

    def generate(context, builder, signature, arguments):
        dy, counts, lines, dx, stride, count = arguments
        v = Vectors(builder, real, lanes)
        every_line = v.splat(lines)
        mixed = [n for lane in range(lanes) for n in (lane, lanes + lane)]

        def part(o, mask):
            number = v.multiply(every_line, v.load(v.offset(counts, o), mask))
            return builder.fdiv(v.load(v.offset(dy, o), mask), number)

        def add(x, place, mask):
            v.store(v.add(v.load(place, mask), x), place, mask)

        def side_by_side(o, left):
            mask = None if left is None else v.lanes_below(left, 0)
            add(part(o, mask), v.offset(dx, o), mask)

        def every_other(o, left):
            mask = None if left is None else v.lanes_below(left, 0)
            x, start = part(o, mask), v.offset(dx, builder.mul(o, INDEX(2)))
            for first, end in zip((0, lanes), _ends_of_pairs(builder, v, left), strict=True):
                add(v.pick(x, v.zero, mixed[first : first + lanes]), v.offset(start, first), end)

        _by_stride(builder, v, stride, count, side_by_side, every_other)
        return context.get_dummy_value()

    p = types.CPointer(real)
    return types.void(p, p, real, p, index, index), generate


@intrinsic
def raise_row(typing_context, u, stride, y, best, k, count, is_first):
    """Raise y[o] to u[o stride] where that is larger, or first, and note in ``best`` that it is element k; o < count.

    ``stride`` is 1 or 2. NaN is larger than any number.
    """
    real, index = u.dtype, types.int64
    lanes = _cpu.blocks(real.bitwidth // 8).lanes

    def generate(context, builder, signature, arguments):
        u, stride, y, best, k, count, is_first = arguments
        v = Vectors(builder, real, lanes)
        indices = _Indices(builder, signature.args[4], v)
        new = indices.splat(k)
        first = builder.select(is_first, ir.Constant(v.mask, [1] * lanes), ir.Constant(v.mask, [0] * lanes))

        def raised(o, x, mask):
            place = v.offset(y, o)
            largest, old = v.load(place, mask), indices.load(best, o, mask)
            larger = builder.and_(builder.fcmp_unordered(">", x, largest), builder.fcmp_ordered("==", largest, largest))
            wins = builder.or_(first, larger)
            v.store(builder.select(wins, x, largest), place, mask)
            indices.store(builder.select(wins, new, old), best, o, mask)

        _each_strided(builder, v, u, stride, count, raised)
        return context.get_dummy_value()

    p = types.CPointer(real)
    return types.void(p, index, p, best, best.dtype, index, types.boolean), generate


@intrinsic
def largest_of_pairs(typing_context, u, line, lines, row, rows, y, best, count):
    """y[h, o] = the largest of u[h line + i row + 2 o + j] for i < rows and j < 2, best[h, o] = its place 2 i + j.

    For h < lines and o < count > 0; y, best: (lines, count). All of it stays in registers: on images of 24 x 24, with
    `raise_row` for each element, it takes eight times as long.
    """
    real, index = u.dtype, types.int64
    lanes = _cpu.blocks(real.bitwidth // 8).lanes

    def generate(context, builder, signature, arguments):
        u, line, lines, row, rows, y, best, count = arguments
        v = Vectors(builder, real, lanes)
        indices = _Indices(builder, signature.args[6].dtype, v)
        integer = indices.type.element

        def vector(h, o, left):
            ends = [None] * 2 if left is None else [v.lanes_below(builder.mul(left, INDEX(2)), n) for n in (0, lanes)]
            mask = None if left is None else v.lanes_below(left, 0)
            start = v.offset(u, builder.add(builder.mul(h, line), builder.mul(o, INDEX(2))))

            def pair(place):
                x = [v.load(v.offset(place, j * lanes), end) for j, end in enumerate(ends)]
                return [v.pick(*x, range(j, 2 * lanes, 2)) for j in range(2)]

            def raised(largest, which, x, k):
                larger = builder.and_(
                    builder.fcmp_unordered(">", x, largest), builder.fcmp_ordered("==", largest, largest)
                )
                return builder.select(larger, x, largest), builder.select(larger, indices.splat(k), which)

            even, odd = pair(start)
            first = raised(even, indices.splat(integer(0)), odd, integer(1))

            def raise_to(i, values):
                largest, which = values
                below = builder.add(i, INDEX(1))
                for j, x in enumerate(pair(v.offset(start, builder.mul(below, row)))):
                    number = builder.add(builder.mul(below, INDEX(2)), INDEX(j))
                    k = builder.trunc(number, integer) if integer.width < 64 else number
                    largest, which = raised(largest, which, x, k)
                return [largest, which]

            largest, which = emit_loop(builder, "line", builder.sub(rows, INDEX(1)), 1, list(first), raise_to)
            place = builder.add(builder.mul(h, count), o)
            v.store(largest, v.offset(y, place), mask)
            indices.store(which, best, place, mask)

        with cgutils.for_range(builder, lines) as loop:
            _each_vector(builder, v, count, partial(vector, loop.index))
        return context.get_dummy_value()

    p = types.CPointer(real)
    return types.void(p, index, index, index, index, p, best, index), generate


@intrinsic
def place_pairs(typing_context, dy, best, y, count, activation, slope, dx, line, lines, row, rows):
    """dx[h line + i row + 2 o + j] = dy[h, o] f'(y[h, o]) where best[h, o] is 2 i + j, else 0.

    For h < lines, i < rows, j < 2 and o < count > 0; dy, best, y: (lines, count).
    """
    real, index = dy.dtype, types.int64
    lanes = _cpu.blocks(real.bitwidth // 8).lanes

    def generate(context, builder, signature, arguments):
        dy, best, y, count, activation, slope, dx, line, lines, row, rows = arguments
        v = Vectors(builder, real, lanes)
        indices = _Indices(builder, signature.args[1].dtype, v)
        integer = indices.type.element
        slope = v.splat(slope)
        mixed = [n for lane in range(lanes) for n in (lane, lanes + lane)]

        def by(code):
            def vector(h, o, left):
                ends = [None] * 2
                if left is not None:
                    ends = [v.lanes_below(builder.mul(left, INDEX(2)), n) for n in (0, lanes)]
                mask = None if left is None else v.lanes_below(left, 0)
                place = builder.add(builder.mul(h, count), o)
                delta, below = v.load(v.offset(dy, place), mask), v.load(v.offset(y, place), mask)
                delta, which = emit_slope(code, v, delta, below, slope), indices.load(best, place, mask)
                start = v.offset(dx, builder.add(builder.mul(h, line), builder.mul(o, INDEX(2))))

                def place_row(i, values):
                    place, parts = v.offset(start, builder.mul(i, row)), []
                    for j in range(2):
                        number = builder.add(builder.mul(i, INDEX(2)), INDEX(j))
                        k = builder.trunc(number, integer) if integer.width < 64 else number
                        is_k = builder.icmp_unsigned("==", which, indices.splat(k))
                        parts.append(builder.select(is_k, delta, v.zero))
                    for j, end in enumerate(ends):
                        first = j * lanes
                        v.store(v.pick(*parts, mixed[first : first + lanes]), v.offset(place, first), end)
                    return values

                emit_loop(builder, "line", rows, 1, [], place_row)

            return vector

        for code in (IDENTITY, RELU, LEAKY_RELU, SIGMOID, TANH):
            is_code = builder.icmp_signed("==", activation, INDEX(code))
            with builder.if_then(is_code), cgutils.for_range(builder, lines) as loop:
                _each_vector(builder, v, count, partial(by(code), loop.index))
        return context.get_dummy_value()

    p = types.CPointer(real)
    return types.void(p, best, p, index, index, real, p, *[index] * 4), generate
