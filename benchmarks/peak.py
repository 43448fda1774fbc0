"""What the processor can do: multiply-adds in registers, and numbers to and from memory, on a number of threads."""

import numpy as np
from case import ELEMENTS
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic
from timing import best_time

from fastbp.kernels import _cpu
from fastbp.kernels._pointers import pointer, shift
from fastbp.kernels._vector import Vectors, emit_loop

# As many sums as hide the latency of a multiply-add where two start in a cycle; all of them fit into 16 registers.
SUMS = 12
STEPS = 200_000


@intrinsic
def _multiply_adds(typing_context, x, steps):
    """The sum of SUMS vectors, each s <- s x + x, ``steps`` times."""
    real, lanes = x, _cpu.blocks(x.bitwidth // 8).lanes

    def generate(context, builder, signature, arguments):
        v = Vectors(builder, real, lanes)
        factor = v.splat(arguments[0])

        def body(_, sums):
            return [v.multiply_add(total, factor, factor) for total in sums]  # nothing that stays the same in the loop

        total, *others = emit_loop(builder, "fma", arguments[1], 1, [v.zero] * SUMS, body)
        for other in others:
            total = v.add(total, other)
        return builder.extract_element(total, ir.IntType(32)(0))

    return real(x, types.int64), generate


@njit(parallel=True, nogil=True)
def _compute(x, out):
    for t in prange(len(out)):
        out[t] = _multiply_adds(x, STEPS)


@intrinsic
def _stream(typing_context, a, b, c, scale, count):
    """a[i] = b[i] + scale c[i] for pointers and i < count, whole vectors."""
    real, lanes = scale, _cpu.blocks(scale.bitwidth // 8).lanes

    def generate(context, builder, signature, arguments):
        a, b, c, scale, count = arguments
        v = Vectors(builder, real, lanes)
        factor = v.splat(scale)

        def body(i, _):
            v.store(v.multiply_add(factor, v.load(v.offset(c, i)), v.load(v.offset(b, i))), v.offset(a, i))
            return []

        emit_loop(builder, "triad", count, lanes, [], body)
        return context.get_dummy_value()

    return types.void(a, b, c, real, types.int64), generate


@njit(parallel=True, nogil=True)
def _triad(a, b, c, scale, parts):
    size = len(a) // parts // 64 * 64  # whole vectors of any processor
    for t in prange(parts):
        start = t * size
        _stream(shift(pointer(a), start), shift(pointer(b), start), shift(pointer(c), start), scale, size)


def gflops(dtype, threads, seconds):
    """Billions of operations in a second; a multiply-add is two."""
    out, x = np.empty(threads, dtype), np.dtype(dtype).type(1e-3)
    operations = 2 * STEPS * SUMS * _cpu.blocks(out.itemsize).lanes * threads
    return operations / best_time(lambda: _compute(x, out), seconds) / 1e3


def gbytes(dtype, threads, seconds):
    """Billions of bytes in a second to and from memory, for a = b + s c."""
    a, b, c = (np.ones(ELEMENTS, dtype) for _ in range(3))
    scale = np.dtype(dtype).type(0.5)
    touched = 3 * a.itemsize * (ELEMENTS // threads // 64 * 64) * threads
    return touched / best_time(lambda: _triad(a, b, c, scale, threads), seconds) / 1e3
