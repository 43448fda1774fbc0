"""The one place where Numba's options are set.

``inner`` marks a function that becomes part of those that call it; ``task`` compiles one that is described by a record
and called through its address. ``kernel`` makes an entry point: a function with one explicit signature per dtype,
compiled at its first use with that dtype. Inputs are typed as read-only arrays of any layout, so that C-ordered,
Fortran-ordered, sliced and read-only arrays all run through one compilation, and other dtypes or ranks are refused.

Nothing is compiled for Numba's own threads: tasks are shared among those of ``_threads.py``.

No fastmath flag is set: sums keep their order, NaN and infinity pass through, and a remainder loop rounds like the
vector loop before it, so that results do not depend on where a chunk ends.
"""

import os

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

from fastbp.kernels import _runtime
from fastbp.kernels._cache import KernelCache
from fastbp.kernels._interrupts import uninterrupted

_OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False}
_REALS = {"f": types.float32, "d": types.float64}
_INTEGERS = {np.dtype(np.int64).char: types.int64}

_TASK_OPTIONS = {"nopython": True, "error_model": "numpy", "boundscheck": False}

if config.DISABLE_JIT:
    raise ImportError("fastbp: the kernels exist in compiled form only; unset NUMBA_DISABLE_JIT")

# Inlined by Numba: LLVM would optimise and compile every function by itself, and once more in each of its callers. The
# kernels of a first training step took 9.6 s that way, and take 8.0.
inner = njit(inline="always", **_OPTIONS)
index = types.int64
_TASK = (index, index, index)


def array(dtype, ndim, *, out=False, layout="A"):
    """Numba's type of an array argument: of any layout and read-only, or writable when it is an output."""
    return types.Array(dtype, ndim, layout, readonly=not out)


def vector(dtype, *, out=False):
    """Numba's type of a contiguous one-dimensional array argument."""
    return array(dtype, 1, out=out, layout="C")


def _file_name(function):
    return f"{function.__module__.rpartition('.')[2]}.{function.__name__.strip('_')}"


class NotCompiled(Exception):
    """Code that is missing while a program is recorded."""

    def __init__(self, code, dtype):
        super().__init__(code, dtype)
        self._code, self._dtype = code, dtype

    def compile(self):
        """Compile it, or load it from the cache."""
        self._code.compile(self._dtype)


if hasattr(os, "register_at_fork"):  # a child must not wait for a thread of its parent that compiles
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


class _Code:
    """What is compiled once for each dtype, at its first use."""

    def __init__(self):
        self._compiled = {}

    def compiled(self, dtype):
        """The code for ``dtype``; compiled, or loaded from the cache, if it was not used before."""
        code = self._compiled.get(dtype.char)
        if code is None:
            if _runtime.own.program is not None:
                raise NotCompiled(self, dtype)
            code = self.compile(dtype)
        return code

    def compile(self, dtype):
        """`compiled`, but anew. Signals wait until it is done: half of it would break Numba's tables."""
        code = self._compiled[dtype.char] = uninterrupted(self._compile, dtype)
        return code


ROUTINES: dict[str, "Routine"] = {}  # all there are, by the names of their files


class Routine(_Code):
    """A function of numbers and pointers that other compiled functions call through its address; it returns 0.

    It is compiled once per dtype: linked into each of its callers, the tile code of the matrix product alone would be
    compiled four times, which took 7.6 s in place of 3.4. ``arguments(dtype)`` are Numba's types.
    """

    def __init__(self, function, arguments):
        super().__init__()
        self.function = function
        self.arguments = arguments
        ROUTINES[_file_name(function)] = self

    def address(self, dtype):
        """Where the machine code for ``dtype`` (float32 or float64) starts."""
        return self.compiled(dtype).address

    def _compile(self, dtype):
        code = CFunc(self.function, (tuple(self.arguments(dtype)), index), locals={}, options=_TASK_OPTIONS)
        code._cache = KernelCache(f"{_file_name(self.function)}-{dtype.char}")
        code.compile()
        return code


class Task(Routine):
    """A function of (record, t, threads) that does share ``t`` of ``threads`` of what the record describes.

    Kernels and programs call it. It returns 0, or any other number to stop the program that it is part of.
    """

    def __init__(self, function, record):
        # a record is passed by its address
        super().__init__(function, lambda dtype: (record.type(_REALS[dtype.char]), index, index))


@intrinsic
def invoke(typing_context, address, *arguments):
    """Call the routine at ``address``."""

    def generate(context, builder, signature, values):
        address, rest = values[0], cgutils.unpack_tuple(builder, values[1])
        function = ir.FunctionType(ir.IntType(64), [value.type for value in rest])
        return builder.call(builder.inttoptr(address, function.as_pointer()), rest)

    return index(index, types.StarArgTuple(arguments)), generate


@intrinsic
def call(typing_context, address, record, t, threads):
    """Call the task at ``address``."""

    def generate(context, builder, signature, arguments):
        address, *rest = arguments
        integer = ir.IntType(64)
        function = ir.FunctionType(integer, [integer] * 3)
        return builder.call(builder.inttoptr(address, function.as_pointer()), rest)

    return index(index, *_TASK), generate


class Kernel(_Code):
    """An entry point for calls from Python, which call what `compiled` gives.

    ``signature(real)`` gives the types of the arguments; the first one is an array of dtype ``real``.
    """

    def __init__(self, function, signature, types_by_char=_REALS):
        super().__init__()
        self.function = function
        self.signature = signature
        self._types = types_by_char

    def _compile(self, dtype):
        code = njit(**_OPTIONS)(self.function)
        code._cache = KernelCache(_file_name(self.function))
        code.compile(tuple(self.signature(self._types[dtype.char])))
        code.disable_compile()
        return code

    @property
    def name(self):
        return self.function.__name__.strip("_")


def routine(arguments):
    """Decorator: ``@routine(lambda real: (types of the arguments))``."""
    return lambda function: Routine(function, lambda dtype: arguments(_REALS[dtype.char]))


def task(record):
    """Decorator: ``@task(RECORD)`` on a function of (p, t, threads), with p a `Record` of that kind."""
    return lambda function: Task(function, record)


def kernel(signature, *, integers=False):
    """Decorator: ``@kernel(lambda real: (types of the arguments))``; integers: for int64 as well."""
    return lambda function: Kernel(function, signature, _REALS | _INTEGERS if integers else _REALS)
