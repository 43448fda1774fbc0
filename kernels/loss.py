"""Losses: the value E and delta = dE/du in one pass.

    softmax cross-entropy   E = -1/N sum_n sum_j t_nj log softmax(u_n)_j      delta = (softmax(u) - t) / N
    squared error           E = scale sum (t - y)^2                           delta = 2 scale (y - t)
    sigmoid cross-entropy   E = scale sum (log(1 + e^u) - t u)                delta = scale (sigmoid(u) - t)

Values are summed in float64, by row or by chunk and then in order, so that they do not depend on the threads.
"""

import math

from numba import prange, types

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import CHUNK, distinct, flat, rows, same_shape, unflat
from fastbp.kernels._jit import array, inner, kernel, vector
from fastbp.kernels.activation import WORK_PER_ELEMENT
from fastbp.kernels.functions import exp, sigmoid
from fastbp.kernels.softmax import exponentials, rows_per_chunk

_sums = vector(types.float64, out=True)


@inner
def _in_order(parts, n):
    """Sum of the first ``n`` partial sums."""
    total = 0.0
    for i in range(n):
        total += parts[i]
    return total


@kernel(lambda real: (array(real, 2, layout="C"), vector(types.int64), array(real, 2, out=True, layout="C"), _sums))
def _softmax_cross_entropy(u, labels, delta, row_loss):
    N, O = u.shape
    if labels.size != N or delta.shape != u.shape or row_loss.size < N or N == 0:
        raise ValueError("u and delta must be (N, O) and labels (N,), with N > 0")
    for n in range(N):
        if labels[n] < 0 or labels[n] >= O:
            raise ValueError("every label must be from 0 to O - 1")
    step = rows_per_chunk(O)
    size, one = u.dtype.type(N), u.dtype.type(1)
    for chunk in prange((N + step - 1) // step):
        for n in range(chunk * step, min(N, (chunk + 1) * step)):
            m, s = exponentials(u[n], delta[n])
            row_loss[n] = math.log(s) - (u[n, labels[n]] - m)
            scale = one / (s * size)
            for j in range(O):
                delta[n, j] *= scale
            delta[n, labels[n]] -= one / size
    return _in_order(row_loss, N) / N


@kernel(
    lambda real: (
        *(array(real, 2, layout="C"), array(real, 2, layout="C"), array(real, 2, out=True, layout="C")),
        _sums,
    )
)
def _softmax_cross_entropy_1ofk(u, t, delta, row_loss):
    N, O = u.shape
    if t.shape != u.shape or delta.shape != u.shape or row_loss.size < N or N == 0 or O == 0:
        raise ValueError("u, t and delta must have the same shape (N, O), with N > 0 and O > 0")
    step = rows_per_chunk(O)
    size = u.dtype.type(N)
    for chunk in prange((N + step - 1) // step):
        for n in range(chunk * step, min(N, (chunk + 1) * step)):
            m, s = exponentials(u[n], delta[n])
            log_s = math.log(s)
            loss = 0.0
            for j in range(O):
                if t[n, j] != 0:
                    loss += t[n, j] * (log_s - (u[n, j] - m))
                delta[n, j] = (delta[n, j] / s - t[n, j]) / size
            row_loss[n] = loss
    return _in_order(row_loss, N) / N


@kernel(lambda real: (vector(real), vector(real), vector(real, out=True), real, _sums))
def _squared_error(y, t, delta, slope, chunk_loss):
    n = y.size
    chunks = (n + CHUNK - 1) // CHUNK
    if t.size != n or delta.size != n or chunk_loss.size < chunks:
        raise ValueError("y, t and delta must have the same size")
    for chunk in prange(chunks):
        loss = 0.0
        for i in range(chunk * CHUNK, min(n, (chunk + 1) * CHUNK)):
            difference = y[i] - t[i]
            delta[i] = difference * slope
            loss += types.float64(difference) * types.float64(difference)
        chunk_loss[chunk] = loss
    return _in_order(chunk_loss, chunks)


@kernel(lambda real: (vector(real), vector(real), vector(real, out=True), real, _sums))
def _sigmoid_cross_entropy(u, t, delta, scale, chunk_loss):
    n = u.size
    chunks = (n + CHUNK - 1) // CHUNK
    if t.size != n or delta.size != n or chunk_loss.size < chunks:
        raise ValueError("u, t and delta must have the same size")
    zero = u.dtype.type(0)
    for chunk in prange(chunks):
        loss = 0.0
        for i in range(chunk * CHUNK, min(n, (chunk + 1) * CHUNK)):
            delta[i] = (sigmoid(u[i]) - t[i]) * scale
            # log(1 + e^u) = max(u, 0) + log(1 + e^-|u|)
            loss += (zero if u[i] < zero else u[i]) - t[i] * u[i] + math.log1p(exp(-abs(u[i])))
        chunk_loss[chunk] = loss
    return _in_order(chunk_loss, chunks)


def softmax_cross_entropy(u, t, delta):
    """Mean cross-entropy of the softmax of every row of u against its target, and its gradient.

    Parameters
    ----------
    u : ndarray, float32 or float64, shape (N, O)
        Logits.
    t : ndarray, int64, shape (N,), or dtype of u, shape (N, O)
        Class indices, or 1-of-K rows, which must sum to 1 for the gradient to be right.
    delta : ndarray, shape and dtype of u
        Overwritten with (softmax(u) - t) / N.

    Returns
    -------
    float
        -1/N sum_n sum_j t_nj log softmax(u_n)_j, in nats.

    Raises
    ------
    ValueError
        When shapes do not fit, N is 0, or a label is not from 0 to O - 1.
    TypeError
        When dtypes or ranks do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import kernels
    >>> delta = np.empty((1, 2))
    >>> round(kernels.softmax_cross_entropy(np.zeros((1, 2)), np.array([1]), delta), 4)
    0.6931
    >>> delta
    array([[ 0.5, -0.5]])
    """
    distinct("softmax_cross_entropy", delta, u, t)
    run = _softmax_cross_entropy if t.ndim == 1 else _softmax_cross_entropy_1ofk
    result = rows(delta)
    threads = _runtime.threads_for(u.size * WORK_PER_ELEMENT)
    value = run(threads, rows(u), rows(t), result, _runtime.partial_sums(len(u)))
    unflat(result, delta)
    return value


def squared_error(y, t, scale, delta):
    """scale * sum (t - y)^2 as a float, and delta = 2 scale (y - t); arrays of equal shape and dtype.

    Raises ValueError when the shapes differ, TypeError when the dtypes do.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import kernels
    >>> delta = np.empty(1)
    >>> kernels.squared_error(np.array([33.0]), np.array([20.0]), 1.0, delta), delta
    (169.0, array([26.]))
    """
    return scale * _elementwise(_squared_error, y, t, 2 * scale, delta)


def sigmoid_cross_entropy(u, t, scale, delta):
    """scale * sum (log(1 + e^u) - t u) as a float, and delta = scale (sigmoid(u) - t).

    Binary cross-entropy on the logits u with targets t from 0 to 1. Arrays and errors as in `squared_error`.
    """
    return scale * _elementwise(_sigmoid_cross_entropy, u, t, scale, delta)


def _elementwise(run, y, t, slope, delta):
    same_shape(run.name, y=y, t=t, delta=delta)
    distinct(run.name, delta, y, t)
    y_flat, t_flat, delta_flat = flat(y, t, delta)
    sums = _runtime.partial_sums(1 + y.size // CHUNK)
    value = run(_runtime.threads_for(y.size * WORK_PER_ELEMENT), y_flat, t_flat, delta_flat, slope, sums)
    unflat(delta_flat, delta)
    return value
