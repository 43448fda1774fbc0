"""Maximum and sum of contiguous numbers.

LLVM may not reorder a sum, so that a plain loop waits for every addition. Here each lane of a vector has a partial
result, and they are joined at the end: the order depends on the length alone.
"""

import math

from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from fastbp.kernels import _cpu
from fastbp.kernels._vector import INDEX, Vectors


def _reduction(name, neutral):
    """Generator of code that combines the elements of a one-dimensional C-ordered array by a method of `Vectors`."""

    def reduction(typing_context, array):
        real = array.dtype

        def generate(context, builder, signature, arguments):
            structure = context.make_array(array)(context, builder, arguments[0])
            (n,) = cgutils.unpack_tuple(builder, structure.shape, 1)
            v = Vectors(builder, real, _cpu.blocks(real.bitwidth // 8).lanes)
            combine = getattr(v, name)
            nothing = ir.Constant(v.vector, [neutral] * v.lanes)
            whole = builder.and_(n, INDEX(-v.lanes))
            acc = cgutils.alloca_once_value(builder, nothing)
            with cgutils.for_range_slice(builder, INDEX(0), whole, INDEX(v.lanes)) as (i, _):
                builder.store(combine(builder.load(acc), v.load(v.offset(structure.data, i))), acc)
            exists = v.lanes_below(builder.sub(n, whole), 0)
            rest = builder.select(exists, v.load(v.offset(structure.data, whole), exists), nothing)
            (joined,) = v.join([combine(builder.load(acc), rest)], combine)
            return builder.extract_element(joined, INDEX(0))

        return real(array), generate

    return reduction


@intrinsic
def maximum(typing_context, array):
    """The largest element; -infinity for none. With NaN among them: any of the others, or NaN."""
    return _reduction("larger", -math.inf)(typing_context, array)


@intrinsic
def total(typing_context, array):
    """The sum of the elements."""
    return _reduction("add", 0.0)(typing_context, array)
