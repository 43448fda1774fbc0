"""Pointers in compiled code: of arrays, arithmetic, loads and stores."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.kernels._jit import inner

_INDEX = ir.IntType(64)


@intrinsic
def pointer(typing_context, array):
    """Address of the first element of ``array``, as a pointer to its dtype."""

    def generate(context, builder, signature, arguments):
        structure = context.make_array(signature.args[0])(context, builder, arguments[0])
        return structure.data

    return types.CPointer(array.dtype)(array), generate


@intrinsic
def address(typing_context, array):
    """Address of the first element of ``array``, as an integer."""

    def generate(context, builder, signature, arguments):
        structure = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.ptrtoint(structure.data, _INDEX)

    return types.int64(array), generate


@intrinsic
def pointer_at(typing_context, address, like):
    """The integer ``address`` as a pointer to numbers like ``like``."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(like)(address, like), generate


@intrinsic
def integer(typing_context, table, row, columns, column):
    """Element [row, column] of the table of integers at an address, with so many ``columns``."""

    def generate(context, builder, signature, arguments):
        table, row, columns, column = arguments
        pointer = builder.inttoptr(table, _INDEX.as_pointer())
        place = builder.add(builder.mul(row, columns), column)
        return builder.load(builder.gep(pointer, [place], source_etype=_INDEX), typ=_INDEX)

    index = types.int64
    return index(index, index, index, index), generate


@intrinsic
def shift(typing_context, pointer, elements):
    """pointer + elements."""

    def generate(context, builder, signature, arguments):
        scalar = context.get_data_type(signature.args[0].dtype)
        return builder.gep(arguments[0], [arguments[1]], source_etype=scalar)

    return pointer(pointer, types.int64), generate


@intrinsic
def load(typing_context, pointer, index):
    """pointer[index]."""

    def generate(context, builder, signature, arguments):
        scalar = context.get_data_type(signature.args[0].dtype)
        return builder.load(builder.gep(arguments[0], [arguments[1]], source_etype=scalar), typ=scalar)

    return pointer.dtype(pointer, types.int64), generate


@intrinsic
def store(typing_context, pointer, index, value):
    """pointer[index] = value."""

    def generate(context, builder, signature, arguments):
        scalar = context.get_data_type(signature.args[0].dtype)
        builder.store(arguments[2], builder.gep(arguments[0], [arguments[1]], source_etype=scalar))
        return context.get_dummy_value()

    return types.void(pointer, types.int64, pointer.dtype), generate


def emit_buffer(builder, scalar, elements):
    """Room for ``elements`` on the stack, aligned to a cache line, as a pointer to ``scalar``."""
    with builder.goto_entry_block():
        buffer = builder.alloca(ir.ArrayType(scalar, elements))
    buffer.align = 64
    return builder.bitcast(buffer, scalar.as_pointer())


@intrinsic(prefer_literal=True)
def stack_buffer(typing_context, like, elements):
    """Room on the stack for a literal number of ``elements`` like those of a pointer; it overlaps nothing else."""
    count = elements.literal_value

    def generate(context, builder, signature, arguments):
        return emit_buffer(builder, context.get_data_type(like.dtype), count)

    return types.CPointer(like.dtype)(like, elements), generate


@intrinsic
def prefetch(typing_context, pointer, index):
    """Have the cache line of pointer[index] brought to L1, to be written."""

    def generate(context, builder, signature, arguments):
        scalar = context.get_data_type(signature.args[0].dtype)
        place = builder.gep(arguments[0], [arguments[1]], source_etype=scalar)
        flag = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, flag, flag, flag])
        name = "llvm.prefetch.p0"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        builder.call(function, [place, flag(1), flag(3), flag(1)])  # to write, keep, data
        return context.get_dummy_value()

    return types.void(pointer, types.int64), generate


@intrinsic
def itemsize(typing_context, pointer):
    """Bytes of an element."""
    size = pointer.dtype.bitwidth // 8
    return types.int64(pointer), lambda context, builder, signature, arguments: _INDEX(size)


@inner
def overlap(x, y):
    """Whether two arrays in C order share memory."""
    x_start, y_start = address(x), address(y)
    return y_start < x_start + x.size * itemsize(pointer(x)) and x_start < y_start + y.size * itemsize(pointer(y))


@inner
def overlap_shifted(x, y):
    """Whether they do, without being the same array element by element."""
    return address(x) != address(y) and overlap(x, y)


@intrinsic(prefer_literal=True)
def constant(typing_context, pointer, value):
    """The literal ``value`` as an element."""
    number = float(value.literal_value)

    def generate(context, builder, signature, arguments):
        return context.get_constant(signature.return_type, number)

    return pointer.dtype(pointer, value), generate


@inner
def is_aligned(x):
    """Whether an array in C order is aligned to its dtype."""
    return x.size == 0 or address(x) % itemsize(pointer(x)) == 0
