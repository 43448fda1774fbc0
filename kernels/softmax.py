"""Softmax and log-softmax over the rows of an (N, O) array.

    softmax      y_j = e^(u_j - m) / s       m = max u, s = sum_i e^(u_i - m)      dx = y * (dy - sum_j dy_j y_j)
    log-softmax  y_j = u_j - m - log s                                            dx = dy - e^y sum_j dy_j

Subtracting the row's maximum keeps every exponential at most 1. A row with NaN or +infinity becomes NaN, as in NumPy.
"""

import math

import numpy as np
from numba import prange

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import alike, distinct, rows, same_or_distinct, unflat
from fastbp.kernels._entry import REFUSED
from fastbp.kernels._jit import array, inner, kernel
from fastbp.kernels._pointers import is_aligned, overlap_shifted
from fastbp.kernels.activation import WORK_PER_ELEMENT
from fastbp.kernels.functions import exp
from fastbp.kernels.reductions import dot, maximum, total

_WIDE = 64  # columns from which a row is worth a loop of its own
_BLOCK = 2048  # elements that stay in the first-level cache from pass to pass


@inner
def rows_per_block(columns):
    return max(1, _BLOCK // max(1, columns))


@inner
def exponentials(u, out):
    """out = e^(u - m) for rows that follow one another in memory, with m the maximum of each."""
    if u.shape[1] >= _WIDE:
        for n in range(len(u)):
            m, row, e = maximum(u[n]), u[n], out[n]
            for j in range(row.size):
                e[j] = exp(row[j] - m)
        return
    for n in range(len(u)):
        m = maximum(u[n])
        for j in range(u.shape[1]):
            out[n, j] = u[n, j] - m
    every = out.reshape(out.size)  # one loop: rows of 10 would leave most of a vector empty
    for i in range(every.size):
        every[i] = exp(every[i])


@kernel(lambda real: (array(real, 2, layout="C"), array(real, 2, out=True, layout="C")))
def _softmax_forward(u, out):
    N, O = u.shape
    if out.shape != u.shape:
        raise ValueError("x and out must have the same shape (N, O)")
    if not (is_aligned(u) and is_aligned(out)):
        raise ValueError("x and out must be aligned")
    if overlap_shifted(u, out):
        raise ValueError("the output overlaps an input that is another array")
    if O == 0:
        return
    step = rows_per_block(O)
    for block in prange((N + step - 1) // step):
        start, stop = block * step, min(N, (block + 1) * step)
        exponentials(u[start:stop], out[start:stop])
        for n in range(start, stop):
            inverse = u.dtype.type(1) / total(out[n])
            for j in range(O):
                out[n, j] *= inverse


@kernel(lambda real: (array(real, 2, layout="C"), array(real, 2, layout="C"), array(real, 2, out=True, layout="C")))
def _softmax_backward(dy, y, dx):
    N, O = y.shape
    if dy.shape != y.shape or dx.shape != y.shape:
        raise ValueError("dy, y and dx must have the same shape (N, O)")
    if not (is_aligned(dy) and is_aligned(y) and is_aligned(dx)):
        raise ValueError("dy, y and dx must be aligned")
    if overlap_shifted(dy, dx) or overlap_shifted(y, dx):
        raise ValueError("the output overlaps an input that is another array")
    step = rows_per_block(O)
    for block in prange((N + step - 1) // step):
        for n in range(block * step, min(N, (block + 1) * step)):
            s = dot(dy[n], y[n])
            for j in range(O):
                dx[n, j] = y[n, j] * (dy[n, j] - s)


@kernel(lambda real: (array(real, 2, layout="C"), array(real, 2, out=True, layout="C")))
def _log_softmax_forward(u, out):
    N, O = u.shape
    if out.shape != u.shape:
        raise ValueError("x and out must have the same shape (N, O)")
    if not (is_aligned(u) and is_aligned(out)):
        raise ValueError("x and out must be aligned")
    if O == 0:
        return
    step = rows_per_block(O)
    for block in prange((N + step - 1) // step):
        start, stop = block * step, min(N, (block + 1) * step)
        exponentials(u[start:stop], out[start:stop])
        for n in range(start, stop):
            m, log_s = maximum(u[n]), math.log(total(out[n]))
            for j in range(O):
                out[n, j] = u[n, j] - m - log_s


@kernel(lambda real: (array(real, 2, layout="C"), array(real, 2, layout="C"), array(real, 2, out=True, layout="C")))
def _log_softmax_backward(dy, y, dx):
    N, O = y.shape
    if dy.shape != y.shape or dx.shape != y.shape:
        raise ValueError("dy, y and dx must have the same shape (N, O)")
    if not (is_aligned(dy) and is_aligned(y) and is_aligned(dx)):
        raise ValueError("dy, y and dx must be aligned")
    if overlap_shifted(dy, dx) or overlap_shifted(y, dx):
        raise ValueError("the output overlaps an input that is another array")
    step = rows_per_block(O)
    for block in prange((N + step - 1) // step):
        for n in range(block * step, min(N, (block + 1) * step)):
            s = total(dy[n])
            for j in range(O):
                dx[n, j] = dy[n, j] - exp(y[n, j]) * s


def _run(run, **arrays):
    """Run a row kernel on ``arrays``, the last of which is the output; on copies of those that it does not take."""
    *inputs, out = arrays.values()
    try:
        for x in arrays.values():
            if type(x) is not np.ndarray or not x.dtype.isnative:
                raise TypeError
        run(_runtime.threads_for(out.size * WORK_PER_ELEMENT), *inputs, out)
        return
    except REFUSED:
        pass  # what follows says why, or makes copies
    *inputs, out = alike(run.name, **arrays)
    if out.ndim != 2:
        raise TypeError(f"{run.name}: arrays must be 2-dimensional, got the shape {out.shape}")
    same_or_distinct(run.name, out, *inputs)
    result = rows(out)
    run(_runtime.threads_for(out.size * WORK_PER_ELEMENT), *map(rows, inputs), result)
    unflat(result, out)


def softmax_forward(x, out):
    """Softmax of every row.

    Parameters
    ----------
    x : ndarray, float32 or float64, shape (N, O)
    out : ndarray, same shape and dtype
        Overwritten; may be ``x``.

    Raises
    ------
    ValueError
        When the shapes differ.
    TypeError
        When the dtypes differ, are neither float32 nor float64, or an array is not two-dimensional.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import kernels
    >>> y = np.empty((1, 2))
    >>> kernels.softmax_forward(np.array([[0.0, np.log(3.0)]]), y)
    >>> y.round(2)
    array([[0.25, 0.75]])
    """
    _run(_softmax_forward, x=x, out=out)


def softmax_backward(dy, y, dx):
    """dx = y * (dy - sum_j dy_j y_j) for every row; y is the output of `softmax_forward`. Errors as there."""
    _run(_softmax_backward, dy=dy, y=y, dx=dx)


def log_softmax_forward(x, out):
    """Logarithm of the softmax of every row, by log-sum-exp. As `softmax_forward`, but ``out`` must not be ``x``."""
    if isinstance(x, np.ndarray) and isinstance(out, np.ndarray):
        distinct("log_softmax_forward", out, x)
    _run(_log_softmax_forward, x=x, out=out)


def log_softmax_backward(dy, y, dx):
    """dx = dy - exp(y) sum_j dy_j for every row; y is the output of `log_softmax_forward`."""
    _run(_log_softmax_backward, dy=dy, y=y, dx=dx)
