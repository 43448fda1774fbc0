"""The one place where Numba's options are set.

``inner`` compiles a function that is linked into the kernels that call it; ``routine`` compiles one that they call
through its address, so that a long one costs its compile time once. ``kernel`` makes an entry point: a function with
one explicit signature per dtype, compiled at its first use with that dtype, in a serial and a parallel variant of the
same source (``prange`` is ``range`` in the serial one). Inputs are typed as read-only arrays of any layout, so that
C-ordered, Fortran-ordered, sliced and read-only arrays all run through one compilation, and other dtypes or ranks are
refused.

No fastmath flag is set: sums keep their order, NaN and infinity pass through, and a remainder loop rounds like the
vector loop before it, so that results do not depend on where a chunk ends.
"""

import inspect

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import require_real
from fastbp.kernels._cache import KernelCache

_OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False}
_REALS = {"f": types.float32, "d": types.float64}

_ROUTINE_OPTIONS = {"nopython": True, "error_model": "numpy", "boundscheck": False}

inner = njit(**_OPTIONS)
index = types.int64


def array(dtype, ndim, *, out=False, layout="A"):
    """Numba's type of an array argument: of any layout and read-only, or writable when it is an output."""
    return types.Array(dtype, ndim, layout, readonly=not out)


def vector(dtype, *, out=False):
    """Numba's type of a contiguous one-dimensional array argument."""
    return array(dtype, 1, out=out, layout="C")


def pointer_to(dtype):
    """Numba's type of a pointer argument of a routine."""
    return types.CPointer(dtype)


def _file_name(function):
    return f"{function.__module__.rpartition('.')[2]}.{function.__name__.strip('_')}"


class Routine:
    """A function of pointers and numbers that kernels call through its address.

    Linked into its callers like an ``inner`` function, the tile code of the matrix product would be compiled four
    times, which took 7.6 s in place of 3.4.
    """

    def __init__(self, function, signature):
        self.function = function
        self.signature = signature
        self._compiled = {}

    def address(self, dtype):
        """Where the machine code for ``dtype`` starts, as an integer argument for a kernel."""
        require_real("gemm", "out", dtype)
        return (self._compiled.get(dtype.char) or self.compile(dtype)).address

    def compile(self, dtype):
        """The routine for ``dtype`` (float32 or float64): compiled, or loaded from the cache."""
        arguments = self.signature(_REALS[dtype.char])
        compiled = CFunc(self.function, (arguments, types.void), locals={}, options=_ROUTINE_OPTIONS)
        compiled._cache = KernelCache(_file_name(self.function))
        compiled.compile()
        self._compiled[dtype.char] = compiled
        return compiled


@intrinsic
def call(typing_context, address, *arguments):
    """Call the routine at ``address`` with pointers and numbers of exactly the types of its signature."""

    def generate(context, builder, signature, values):
        arguments = [builder.extract_value(values[1], i) for i in range(len(signature.args[1]))]
        function = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
        builder.call(builder.inttoptr(values[0], function.as_pointer()), arguments)
        return context.get_dummy_value()

    return types.void(address, types.StarArgTuple(arguments)), generate


class Kernel:
    """An entry point of the compiled core.

    ``signature(real)`` gives the types of the arguments; the first one is an array of dtype ``real``.
    """

    def __init__(self, function, signature):
        self.function = function
        self.signature = signature
        self._compiled = {}

    def compile(self, dtype, parallel):
        """The variant for arrays of ``dtype`` (float32 or float64): compiled, or loaded from the cache."""
        if parallel:
            _runtime.note_launch()
        dispatcher = njit(parallel=parallel, **_OPTIONS)(self.function)
        dispatcher._cache = KernelCache(_file_name(self.function) + ("-parallel" if parallel else ""))
        dispatcher.compile(tuple(self.signature(_REALS[np.dtype(dtype).char])))
        dispatcher.disable_compile()
        self._compiled[np.dtype(dtype).char, parallel] = dispatcher
        return dispatcher

    def _variant(self, dtype, parallel):
        return self._compiled.get((dtype.char, parallel)) or self.compile(dtype, parallel)

    def __call__(self, threads, *args):
        """Run on ``args``, over ``threads`` threads."""
        dtype = args[0].dtype
        try:
            if threads == 1:
                return self._variant(dtype, False)(*args)
            return _runtime.launch(self._variant(dtype, True), lambda: self._variant(dtype, False), args)
        except (TypeError, KeyError) as error:
            raise TypeError(self._wrong_type(args) or str(error)) from None
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}; got {self._shapes(args)}") from None

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
        require_real(self.name, next(iter(inspect.signature(self.function).parameters)), dtype)
        for (name, value), wanted in zip(self._arguments(args), self.signature(_REALS[dtype.char]), strict=True):
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


def routine(signature):
    """Decorator: ``@routine(lambda real: (types of the arguments))``."""
    return lambda function: Routine(function, signature)


def kernel(signature):
    """Decorator: ``@kernel(lambda real: (types of the arguments))``."""
    return lambda function: Kernel(function, signature)
