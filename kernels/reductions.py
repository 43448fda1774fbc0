"""Maximum, sums and scalar product of contiguous numbers.

LLVM may not reorder a sum, so that a plain loop waits for every addition. Here each lane of a vector has a partial
result, and they are joined at the end: the order depends on the length alone.
"""

import math

from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from fastbp.kernels import _cpu
from fastbp.kernels._jit import inner
from fastbp.kernels._pointers import shift
from fastbp.kernels._vector import INDEX, Vectors

_LONGEST = 2**16  # elements of a plane of 256 x 256


def _reduction(arrays, combine, neutral, *, term=lambda v, x: x, result=None):
    """Signature and code of a reduction of C-ordered arrays (n,) of one dtype.

    The ``term(v, x, ...)`` of every place are combined by ``combine(v)``, v being `Vectors` of that dtype and x, ...
    the vectors of the arrays there; the terms are of the Numba type ``result``, which is that dtype by default.
    """
    real = arrays[0].dtype
    result = result or real

    def generate(context, builder, signature, arguments):
        pairs = zip(signature.args, arguments, strict=True)
        structures = [context.make_array(array)(context, builder, value) for array, value in pairs]
        (n,) = cgutils.unpack_tuple(builder, structures[0].shape, 1)
        v = Vectors(builder, real, _cpu.blocks(real.bitwidth // 8).lanes)
        nothing = ir.Constant(_wide(v) if result != real else v.vector, [neutral] * v.lanes)
        combined = combine(v)

        def terms(i, mask=None):
            return term(v, *(v.load(v.offset(structure.data, i), mask) for structure in structures))

        whole = builder.and_(n, INDEX(-v.lanes))
        acc = cgutils.alloca_once_value(builder, nothing)
        with cgutils.for_range_slice(builder, INDEX(0), whole, INDEX(v.lanes)) as (i, _):
            builder.store(combined(builder.load(acc), terms(i)), acc)
        exists = v.lanes_below(builder.sub(n, whole), 0)
        rest = builder.select(exists, terms(whole, exists), nothing)
        (joined,) = v.join([combined(builder.load(acc), rest)], combined)
        return builder.extract_element(joined, INDEX(0))

    return result(*arrays), generate


def _wide(v):
    """The type of a vector of as many float64."""
    return ir.VectorType(ir.DoubleType(), v.lanes)


def _widened(v, x):
    return x if x.type == _wide(v) else v.builder.fpext(x, _wide(v))


def _square(v, x):
    return v.multiply(_widened(v, x), _widened(v, x))


def _adding(v):
    return v.add


@intrinsic
def maximum(typing_context, x):
    """The largest element; -infinity for none. With NaN among them: any of the others, or NaN."""
    return _reduction([x], lambda v: v.larger, -math.inf)


@intrinsic
def total(typing_context, x):
    """The sum of the elements."""
    return _reduction([x], _adding, 0.0)


@inner
def long_total(pointer, count):
    """The sum of so many elements at ``pointer``: sums of `_LONGEST` of them, added one by one.

    A sum of n terms is off by up to n / lanes units in the last place, one of a billion by all of its digits.
    """
    value = total(carray(pointer, (min(count, _LONGEST),)))
    for start in range(_LONGEST, count, _LONGEST):
        value += total(carray(shift(pointer, start), (min(count - start, _LONGEST),)))
    return value


@intrinsic
def dot(typing_context, x, y):
    """The scalar product of x and y, which has at least as many elements."""
    return _reduction([x, y], _adding, 0.0, term=Vectors.multiply)


@intrinsic
def total_in_double(typing_context, x):
    """The sum of the elements, added in float64."""
    return _reduction([x], _adding, 0.0, term=_widened, result=types.float64)


@intrinsic
def squares_in_double(typing_context, x):
    """The sum of the squares of the elements, in float64."""
    return _reduction([x], _adding, 0.0, term=_square, result=types.float64)
