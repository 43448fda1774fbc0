"""Copies a strided block of a matrix into a panel that the register tile reads from front to back."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastbp.kernels import _cpu
from fastbp.kernels._jit import inner
from fastbp.kernels._pointers import load, shift, store
from fastbp.kernels._vector import INDEX, Vectors

# Elements of k that one sweep over the rows of a panel writes: 64 rows of a panel stay in L1 between the sweeps.
K_STEP = 64
# Panels that are filled side by side from contiguous rows: the processor prefetches within pages of 4 KB, and
# panel after panel, with 128 bytes from every row, took 1.4 times as long for rows of 4 and 8 KB.
SIDE_BY_SIDE = 8


@inner
def pack_panels(source, stride, stride_k, count, width, kc, panels):
    """panels[i // width, k, i % width] = source[i stride + k stride_k] for i < count and k < kc."""
    if stride == 1:
        group = SIDE_BY_SIDE * width
        for start in range(0, count, group):
            for k in range(kc):
                for i in range(start, min(start + group, count), width):
                    copy_row(shift(source, i + k * stride_k), count - i, width, shift(panels, i * kc + k * width))
    else:
        for i in range(0, count, width):
            pack_panel(
                shift(source, i * stride), stride, stride_k, min(width, count - i), width, kc, shift(panels, i * kc)
            )


@inner
def pack_panel(source, stride, stride_k, count, width, kc, panel):
    """panel[k, i] = source[i stride + k stride_k] for i < count; panel is (kc, width)."""
    if stride_k == 1:
        whole, whole_k = count // 4 * 4, kc // 4 * 4
        for k0 in range(0, whole_k, K_STEP):
            for i in range(0, whole, 4):
                for k in range(k0, min(k0 + K_STEP, whole_k), 4):
                    transpose_block(shift(source, i * stride + k), stride, shift(panel, k * width + i), width)
        copy_elements(shift(source, whole * stride), stride, 1, count - whole, width, whole_k, shift(panel, whole))
        copy_elements(shift(source, whole_k), stride, 1, count, width, kc - whole_k, shift(panel, whole_k * width))
    else:
        copy_elements(source, stride, stride_k, count, width, kc, panel)


@inner
def copy_elements(source, stride, stride_k, count, width, kc, panel):
    """`pack_panel`, element by element."""
    for k0 in range(0, kc, K_STEP):
        for i in range(count):
            for k in range(k0, min(k0 + K_STEP, kc)):
                store(panel, k * width + i, load(source, i * stride + k * stride_k))


@inner
def copy_row(source, count, width, target):
    """Copy the first ``width`` of ``count`` contiguous elements; fast where there are as many, for it is a constant."""
    if count >= width:
        copy(source, width, target)
    else:
        for i in range(count):
            store(target, i, load(source, i))


@intrinsic
def copy(typing_context, source, count, target):
    """Copy ``count`` contiguous elements: a few vector moves where LLVM sees that it is a constant."""
    itemsize = source.dtype.bitwidth // 8

    def generate(context, builder, signature, arguments):
        source, count, target = arguments
        cgutils.raw_memcpy(builder, target, source, count, INDEX(itemsize))
        return context.get_dummy_value()

    return types.void(source, types.int64, target), generate


def _left(builder, count, whole):
    """Elements behind the ``whole`` vectors of ``count``, of which there may be none, or less."""
    return builder.select(builder.icmp_signed(">", count, INDEX(0)), builder.sub(count, whole), INDEX(0))


@intrinsic
def copy_line(typing_context, source, count, target):
    """Copy ``count`` contiguous elements, if any: for lines of an image, the C library would take as long again."""
    lanes = _cpu.blocks(source.dtype.bitwidth // 8).lanes

    def generate(context, builder, signature, arguments):
        source, count, target = arguments
        v = Vectors(builder, signature.args[0].dtype, lanes)
        whole = builder.and_(count, INDEX(-lanes))
        with cgutils.for_range_slice(builder, INDEX(0), whole, INDEX(lanes)) as (i, _):
            v.store(v.load(v.offset(source, i)), v.offset(target, i))
        left = _left(builder, count, whole)
        with builder.if_then(builder.icmp_signed(">", left, INDEX(0))):
            mask = v.lanes_below(left, 0)
            v.store(v.load(v.offset(source, whole), mask), v.offset(target, whole), mask)
        return context.get_dummy_value()

    return types.void(source, types.int64, target), generate


@intrinsic
def deinterleave(typing_context, source, count, even, odd):
    """even[i] = source[2 i] and odd[i] = source[2 i + 1], for as many as ``count`` elements are, if any."""
    real, index = source.dtype, types.int64
    lanes = _cpu.blocks(real.bitwidth // 8).lanes

    def generate(context, builder, signature, arguments):
        source, count, even, odd = arguments
        v = Vectors(builder, real, lanes)

        def pair(i, left):
            masks = [None] * 4
            if left is not None:
                ends = left, left, builder.ashr(builder.add(left, INDEX(1)), INDEX(1)), builder.ashr(left, INDEX(1))
                masks = [v.lanes_below(end, first) for end, first in zip(ends, (0, lanes, 0, 0), strict=True)]
            x, y = (v.load(v.offset(source, builder.add(i, INDEX(j * lanes))), masks[j]) for j in range(2))
            half = builder.ashr(i, INDEX(1))
            for first, target, mask in ((0, even, masks[2]), (1, odd, masks[3])):
                v.store(v.pick(x, y, range(first, 2 * lanes, 2)), v.offset(target, half), mask)

        whole = builder.and_(count, INDEX(-2 * lanes))
        with cgutils.for_range_slice(builder, INDEX(0), whole, INDEX(2 * lanes)) as (i, _):
            pair(i, None)
        left = _left(builder, count, whole)
        with builder.if_then(builder.icmp_signed(">", left, INDEX(0))):
            pair(whole, left)
        return context.get_dummy_value()

    return types.void(source, index, even, odd), generate


@intrinsic
def transpose_block(typing_context, source, stride, target, width):
    """target[k width + i] = source[i stride + k] for i, k < 4, in vector registers."""
    real, index = source.dtype, types.int64

    def generate(context, builder, signature, arguments):
        source, stride, target, width = arguments
        v = Vectors(builder, real, 4)
        rows = [v.load(v.offset(source, builder.mul(INDEX(i), stride))) for i in range(4)]
        for k, column in enumerate(_transposed(builder, rows)):
            v.store(column, v.offset(target, builder.mul(INDEX(k), width)))
        return context.get_dummy_value()

    p = types.CPointer(real)
    return types.void(p, index, p, index), generate


def _transposed(builder, rows):
    """The columns of four rows of four: pairs of rows are interleaved, then the pairs joined."""

    def shuffle(x, y, lanes):
        return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(ir.IntType(32), 4), lanes))

    interleaved = ([0, 4, 1, 5], [2, 6, 3, 7])
    upper = [shuffle(rows[0], rows[1], lanes) for lanes in interleaved]
    lower = [shuffle(rows[2], rows[3], lanes) for lanes in interleaved]
    joined = ([0, 1, 4, 5], [2, 3, 6, 7])
    return [shuffle(x, y, lanes) for x, y in zip(upper, lower, strict=True) for lanes in joined]
