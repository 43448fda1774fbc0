"""Softmax and log-softmax over the rows of an (N, O) array.

    softmax      y_j = e^(u_j - m) / s       m = max u, s = sum_i e^(u_i - m)      dx = y * (dy - sum_j dy_j y_j)
    log-softmax  y_j = u_j - m - log s                                            dx = dy - e^y sum_j dy_j

Subtracting the row's maximum keeps every exponential at most 1. A row with NaN or +infinity becomes NaN, as in NumPy.
"""

import math

import numpy as np
from numba import carray

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import alike, distinct, same_or_distinct, unflat
from fastbp.kernels._entry import REFUSED, STEPS, Entry, finish
from fastbp.kernels._jit import array, index, inner, kernel, task
from fastbp.kernels._pointers import address, is_aligned, overlap_shifted, pointer, pointer_at
from fastbp.kernels._program import addresses_of, in_order, submit
from fastbp.kernels._record import Record
from fastbp.kernels.activation import WORK_PER_ELEMENT
from fastbp.kernels.functions import exp
from fastbp.kernels.partition import share
from fastbp.kernels.reductions import dot, maximum, total

_WIDE = 64  # columns from which a row is worth a loop of its own
_BLOCK = 2048  # elements that stay in the first-level cache from pass to pass


# y: the output for the ways back, else x.
_ROWS = Record("dy y out rows columns", "one")


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


@task(_ROWS)
def _softmax_forward(p, t, threads):
    """The softmax of share ``t`` of the rows."""
    u, out = carray(pointer_at(p.y, p.one), (p.rows, p.columns)), carray(pointer_at(p.out, p.one), (p.rows, p.columns))
    start, stop = share(p.rows, 1, t, threads)
    for first in range(start, stop, rows_per_block(p.columns)):
        behind = min(stop, first + rows_per_block(p.columns))
        exponentials(u[first:behind], out[first:behind])
        for n in range(first, behind):
            inverse = p.one / total(out[n])
            for j in range(p.columns):
                out[n, j] *= inverse
    return 0


@task(_ROWS)
def _softmax_backward(p, t, threads):
    """The gradient by share ``t`` of the rows."""
    dy, y = carray(pointer_at(p.dy, p.one), (p.rows, p.columns)), carray(pointer_at(p.y, p.one), (p.rows, p.columns))
    dx = carray(pointer_at(p.out, p.one), (p.rows, p.columns))
    start, stop = share(p.rows, 1, t, threads)
    for n in range(start, stop):
        s = dot(dy[n], y[n])
        for j in range(p.columns):
            dx[n, j] = y[n, j] * (dy[n, j] - s)
    return 0


@task(_ROWS)
def _log_softmax_forward(p, t, threads):
    """The log-softmax of share ``t`` of the rows."""
    u, out = carray(pointer_at(p.y, p.one), (p.rows, p.columns)), carray(pointer_at(p.out, p.one), (p.rows, p.columns))
    start, stop = share(p.rows, 1, t, threads)
    for first in range(start, stop, rows_per_block(p.columns)):
        behind = min(stop, first + rows_per_block(p.columns))
        exponentials(u[first:behind], out[first:behind])
        for n in range(first, behind):
            m, log_s = maximum(u[n]), math.log(total(out[n]))
            for j in range(p.columns):
                out[n, j] = u[n, j] - m - log_s
    return 0


@task(_ROWS)
def _log_softmax_backward(p, t, threads):
    """The gradient by share ``t`` of the rows."""
    dy, y = carray(pointer_at(p.dy, p.one), (p.rows, p.columns)), carray(pointer_at(p.y, p.one), (p.rows, p.columns))
    dx = carray(pointer_at(p.out, p.one), (p.rows, p.columns))
    start, stop = share(p.rows, 1, t, threads)
    for n in range(start, stop):
        s = total(dy[n])
        for j in range(p.columns):
            dx[n, j] = dy[n, j] - exp(y[n, j]) * s
    return 0


_record = _ROWS.at


def _matrix(real, *, out=False):
    return array(real, 2, layout="C", out=out)


@kernel(lambda real: (STEPS, index, _matrix(real), _matrix(real), _matrix(real, out=True)))
def _enter(steps, threads, dy, y, out):
    """dy, y and out (N, O); for the ways forward, x is both dy and y."""
    if dy.shape != out.shape or y.shape != out.shape or out.size == 0:
        return False
    if overlap_shifted(dy, out) or overlap_shifted(y, out):
        return False
    if not (is_aligned(dy) and is_aligned(y) and is_aligned(out)):
        return False
    p = _record(steps[0, 1], pointer(out))
    p.dy, p.y, p.out, p.rows, p.columns, p.one = address(dy), address(y), address(out), out.shape[0], out.shape[1], 1
    return finish(steps, threads)


_TASKS = {
    "softmax_forward": _softmax_forward,
    "softmax_backward": _softmax_backward,
    "log_softmax_forward": _log_softmax_forward,
    "log_softmax_backward": _log_softmax_backward,
}
_ENTRIES = {name: Entry(_ROWS, _enter, function) for name, function in _TASKS.items()}


def _run(name, **arrays):
    """Run the task ``name`` on ``arrays``, the last being the output, or on copies of those that it does not take."""
    *inputs, out = arrays.values()
    work = getattr(out, "size", 0) * WORK_PER_ELEMENT
    try:
        fit = all([type(x) is np.ndarray and x.dtype == out.dtype for x in inputs]) and type(out) is np.ndarray
        if fit and _ENTRIES[name].run(out.dtype, work, inputs[0], inputs[-1], out):
            return
    except REFUSED:
        pass  # what follows says why, or makes copies
    *inputs, out = alike(name, **arrays)
    if out.ndim != 2:
        raise TypeError(f"{name}: arrays must be 2-dimensional, got the shape {out.shape}")
    same_or_distinct(name, out, *inputs)
    *ordered, result = in_order(*inputs, out)
    if out.size:
        values = *addresses_of(ordered[0], ordered[-1], result), *out.shape, 1
        submit(_ROWS, out.dtype, values, (_TASKS[name],), _runtime.pays_threads(work), (*ordered, result))
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
    _run("softmax_forward", x=x, out=out)


def softmax_backward(dy, y, dx):
    """dx = y * (dy - sum_j dy_j y_j) for every row; y is the output of `softmax_forward`. Errors as there."""
    _run("softmax_backward", dy=dy, y=y, dx=dx)


def log_softmax_forward(x, out):
    """Logarithm of the softmax of every row, by log-sum-exp. As `softmax_forward`, but ``out`` must not be ``x``."""
    if isinstance(x, np.ndarray) and isinstance(out, np.ndarray):
        distinct("log_softmax_forward", out, x)
    _run("log_softmax_forward", x=x, out=out)


def log_softmax_backward(dy, y, dx):
    """dx = dy - exp(y) sum_j dy_j for every row; y is the output of `log_softmax_forward`."""
    _run("log_softmax_backward", dy=dy, y=y, dx=dx)
