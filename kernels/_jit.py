"""The one place where Numba's options are set.

``inner`` marks a function that becomes part of those that call it; ``task`` compiles one that is described by a record
and called through its address. ``kernel`` makes an entry point: a function with one explicit signature per dtype,
compiled at its first use with that dtype, in a serial and a parallel variant of the same source (``prange`` is
``range`` in the serial one). Inputs are typed as read-only arrays of any layout, so that C-ordered, Fortran-ordered,
sliced and read-only arrays all run through one compilation, and other dtypes or ranks are refused.

No fastmath flag is set: sums keep their order, NaN and infinity pass through, and a remainder loop rounds like the
vector loop before it, so that results do not depend on where a chunk ends.
"""

import inspect

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import require_real
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


class NotRecordable(Exception):
    """A kernel that is not made of tasks, or arrays that would have to be copied, while a program is recorded."""


ROUTINES: dict[str, "Routine"] = {}  # all there are, by the names of their files


class Routine:
    """A function of numbers and pointers that other compiled functions call through its address; it returns 0.

    It is compiled once per dtype: linked into each of its callers, the tile code of the matrix product alone would be
    compiled four times, which took 7.6 s in place of 3.4. ``arguments(dtype)`` are Numba's types.
    """

    def __init__(self, function, arguments):
        self.function = function
        self.arguments = arguments
        self._compiled = {}
        ROUTINES[_file_name(function)] = self

    def address(self, dtype):
        """Where the machine code for ``dtype`` starts."""
        return (self._compiled.get(dtype.char) or self.compile(dtype)).address

    @uninterrupted
    def compile(self, dtype):
        """The function for ``dtype`` (float32 or float64): compiled, or loaded from the cache."""
        compiled = CFunc(self.function, (tuple(self.arguments(dtype)), index), locals={}, options=_TASK_OPTIONS)
        compiled._cache = KernelCache(f"{_file_name(self.function)}-{dtype.char}")
        compiled.compile()
        self._compiled[dtype.char] = compiled
        return compiled


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


class Kernel:
    """An entry point of the compiled core.

    ``signature(real)`` gives the types of the arguments; the first one is an array of dtype ``real``.
    """

    def __init__(self, function, signature, types_by_char=_REALS):
        self.function = function
        self.signature = signature
        self._types = types_by_char
        self._compiled = {}

    @uninterrupted
    def compile(self, dtype, parallel):
        """The variant for arrays of ``dtype`` (float32 or float64): compiled, or loaded from the cache."""
        if parallel:
            _runtime.note_launch()
        dispatcher = njit(parallel=parallel, **_OPTIONS)(self.function)
        dispatcher._cache = KernelCache(_file_name(self.function) + ("-parallel" if parallel else ""))
        dispatcher.compile(tuple(self.signature(self._types[np.dtype(dtype).char])))
        dispatcher.disable_compile()
        self._compiled[np.dtype(dtype).char, parallel] = dispatcher
        return dispatcher

    def _variant(self, dtype, parallel):
        return self._compiled.get((dtype.char, parallel)) or self.compile(dtype, parallel)

    def serial(self, dtype):
        """The compiled serial variant itself."""
        return self._variant(dtype, False)

    def __call__(self, threads, *args):
        """Run on ``args``, over ``threads`` threads."""
        if _runtime.own.program is not None:
            raise NotRecordable
        dtype = args[0].dtype
        try:
            if threads == 1:
                return self._variant(dtype, False)(*args)
            return _runtime.launch(self._variant(dtype, True), lambda: self._variant(dtype, False), args)
        except (TypeError, KeyError, ValueError) as error:
            raise self.reworded(error, args) from None

    def reworded(self, error, args):
        """The ``error`` of a call with ``args`` as one line that names the kernel and the argument."""
        if isinstance(error, ValueError) and "threading layer" in str(error):
            return error
        if isinstance(error, ValueError):
            return ValueError(f"{self.name}: {error}; got {self._shapes(args)}")
        return TypeError(self._wrong_type(args) or str(error))

    @property
    def name(self):
        return self.function.__name__.strip("_")

    def _arguments(self, args):
        return zip(inspect.signature(self.function).parameters, args, strict=True)

    def _shapes(self, args):
        return ", ".join(f"{name} {value.shape}" for name, value in self._arguments(args) if hasattr(value, "shape"))

    def _wrong_type(self, args):
        """One line that names the first argument that does not fit the signature."""
        dtype = args[0].dtype
        if dtype.char not in self._types or not dtype.isnative:
            require_real(self.name, next(iter(inspect.signature(self.function).parameters)), dtype)
        for (name, value), wanted in zip(self._arguments(args), self.signature(self._types[dtype.char]), strict=True):
            if not isinstance(wanted, types.Array):
                if not isinstance(value, int | float | np.number):
                    return f"{self.name}: {name} must be a number, got {value!r}"
                continue
            if not isinstance(value, np.ndarray):
                return f"{self.name}: {name} must be an array, got {type(value).__name__}"
            if value.ndim != wanted.ndim or str(value.dtype) != wanted.dtype.name:
                return (
                    f"{self.name}: {name} must be a {wanted.ndim}-dimensional {wanted.dtype} array, "
                    f"got {value.ndim}-dimensional {value.dtype}"
                )
            if not value.flags.aligned:
                return f"{self.name}: {name} is not aligned to its dtype; copy it first"
            if wanted.mutable and not value.flags.writeable:
                return f"{self.name}: {name} is an output and must be writable"
        return None


def routine(arguments):
    """Decorator: ``@routine(lambda real: (types of the arguments))``."""
    return lambda function: Routine(function, lambda dtype: arguments(_REALS[dtype.char]))


def task(record):
    """Decorator: ``@task(RECORD)`` on a function of (p, t, threads), with p a `Record` of that kind."""
    return lambda function: Task(function, record)


def kernel(signature, *, integers=False):
    """Decorator: ``@kernel(lambda real: (types of the arguments))``; integers: for int64 as well."""
    return lambda function: Kernel(function, signature, _REALS | _INTEGERS if integers else _REALS)
