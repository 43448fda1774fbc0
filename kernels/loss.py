"""Losses: the value E and delta = dE/du in one pass.

    softmax cross-entropy   E = -1/N sum_n sum_j t_nj log softmax(u_n)_j      delta = (softmax(u) - t) / N
    squared error           E = scale sum (t - y)^2                           delta = 2 scale (y - t)
    sigmoid cross-entropy   E = scale sum (log(1 + e^u) - t u)                delta = scale (sigmoid(u) - t)

Values are summed in float64, by row or by chunk and then in order, so that they do not depend on the threads.
"""

import math

import numpy as np
from numba import carray, types

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import (
    CHUNK,
    alike,
    check_number,
    check_output,
    distinct,
    factors,
    flat,
    plain,
    require_real,
    rows,
    unflat,
)
from fastbp.kernels._entry import REFUSED, STEPS, Entry, finish
from fastbp.kernels._jit import array, index, inner, kernel, task, vector
from fastbp.kernels._pointers import address, is_aligned, overlap, pointer, pointer_at
from fastbp.kernels._program import NotRecordable, address_of, addresses_of, in_order, recorder, submit
from fastbp.kernels._record import Record
from fastbp.kernels.activation import WORK_PER_ELEMENT
from fastbp.kernels.functions import log1p_exp, sigmoid
from fastbp.kernels.partition import share
from fastbp.kernels.reductions import maximum, squares_in_double, total, total_in_double
from fastbp.kernels.softmax import exponentials, rows_per_block

_sums = vector(types.float64, out=True)


@inner
def _in_order(parts, n):
    """Sum of the first ``n`` partial sums."""
    total = 0.0
    for i in range(n):
        total += parts[i]
    return total


# row_loss has one place more than there are rows: for the loss itself. In the others lie the labels of rows until these
# have a loss.
_SOFTMAX_CROSS_ENTROPY = Record("u labels delta row_loss rows columns", "one")
NOT_FINITE, WRONG_LABEL = 1, 2
_LABELS = np.dtype(np.int64)


@task(_SOFTMAX_CROSS_ENTROPY)
def _check_labels(p, t, threads):
    """Copy the labels, which another thread may change at any time; WRONG_LABEL if a copy is out of range."""
    labels, copies = carray(pointer_at(p.labels, p.rows), p.rows), carray(pointer_at(p.row_loss, p.rows), p.rows)
    for n in range(p.rows):
        label = labels[n]
        if label < 0 or label >= p.columns:
            return WRONG_LABEL
        copies[n] = label
    return 0


@task(_SOFTMAX_CROSS_ENTROPY)
def _softmax_cross_entropy(p, t, threads):
    """delta and the loss of every row, for share ``t`` of the rows; `_check_labels` has run."""
    N, O = p.rows, p.columns
    u, delta = carray(pointer_at(p.u, p.one), (N, O)), carray(pointer_at(p.delta, p.one), (N, O))
    labels, row_loss = carray(pointer_at(p.row_loss, N), N), carray(pointer_at(p.row_loss, 0.0), N + 1)
    size = p.one * N
    start, stop = share(N, 1, t, threads)
    for first in range(start, stop, rows_per_block(O)):
        behind = min(stop, first + rows_per_block(O))
        exponentials(u[first:behind], delta[first:behind])
        for n in range(first, behind):
            s, label = total(delta[n]), labels[n]
            row_loss[n] = math.log(s) - (u[n, label] - maximum(u[n]))
            scale = p.one / (s * size)
            for j in range(O):
                delta[n, j] *= scale
            delta[n, label] -= p.one / size
    return 0


@task(_SOFTMAX_CROSS_ENTROPY)
def _mean_loss(p, t, threads):
    """The mean of the losses of the rows, behind them; NOT_FINITE if it is not."""
    row_loss = carray(pointer_at(p.row_loss, 0.0), p.rows + 1)
    row_loss[p.rows] = _in_order(row_loss, p.rows) / p.rows
    return 0 if math.isfinite(row_loss[p.rows]) else NOT_FINITE


_record = _SOFTMAX_CROSS_ENTROPY.at


@kernel(
    lambda real: (
        *(STEPS, index, array(real, 2, layout="C"), vector(types.int64)),
        *(array(real, 2, layout="C", out=True), _sums),
    )
)
def _enter(steps, threads, u, labels, delta, row_loss):
    """u and delta (N, O), labels (N,), row_loss (N + 1,)."""
    N, O = u.shape
    if N == 0 or O == 0 or delta.shape != u.shape or labels.size != N or row_loss.size != N + 1:
        return False
    if overlap(delta, u) or overlap(delta, labels):
        return False
    if not (is_aligned(u) and is_aligned(labels) and is_aligned(delta)):
        return False
    p = _record(steps[0, 1], pointer(u))
    p.u, p.labels, p.delta, p.row_loss = address(u), address(labels), address(delta), address(row_loss)
    p.rows, p.columns, p.one = N, O, 1
    return finish(steps, threads)


_labels_entry = Entry(
    _SOFTMAX_CROSS_ENTROPY, _enter, _check_labels, _softmax_cross_entropy, _mean_loss, wide=(False, True, False)
)


def _labels_loss(u, labels, delta):
    """`softmax_cross_entropy` with class indices; None where arrays or labels do not fit, or the loss is not finite."""
    try:
        if not (type(u) is type(labels) is type(delta) is np.ndarray and u.dtype == delta.dtype):
            return None
        if labels.dtype != _LABELS:
            return None
        sums, work = np.empty(len(u) + 1), u.size * WORK_PER_ELEMENT
        return sums.item(-1) if _labels_entry.run(u.dtype, work, u, labels, delta, sums) else None
    except REFUSED:
        return None


def _any_labels_loss(u, labels, delta):
    """`softmax_cross_entropy` with class indices, checked."""
    name = "softmax_cross_entropy"
    for key, x in (("u", u), ("delta", delta)):
        require_real(name, key, x.dtype)
    if u.ndim != 2 or delta.shape != u.shape or len(labels) != len(u) or u.size == 0:
        shapes = f"u {u.shape}, t {labels.shape}, delta {delta.shape}"
        raise ValueError(f"{name}: u and delta must be (N, O) and t (N,), with N > 0 and O > 0; got {shapes}")
    if labels.dtype != _LABELS or delta.dtype != u.dtype:
        raise TypeError(
            f"{name}: t must be int64 and delta of the dtype of u; got {labels.dtype}, {delta.dtype}, {u.dtype}"
        )
    check_output(name, "delta", delta)
    source, t, result = rows(u), rows(labels), rows(delta)
    program = recorder()
    sums = np.empty(len(u) + 1)
    if program and (source is not u or t is not labels or result is not delta):
        raise NotRecordable
    addresses = [address_of(x) for x in (source, t, result, sums)]
    _, status = submit(
        _SOFTMAX_CROSS_ENTROPY,
        u.dtype,
        (*addresses, *u.shape, 1.0),
        (_check_labels, _softmax_cross_entropy, _mean_loss),
        (False, _runtime.pays_threads(u.size * WORK_PER_ELEMENT), False),
        (source, t, result, sums),
    )
    if status == WRONG_LABEL:
        raise ValueError(f"{name}: every label must be from 0 to {u.shape[1] - 1}")
    if program:
        program.value = sums[len(u) :]
        return math.nan
    if result is not delta:
        delta[...] = result
    return sums[len(u)].item()


# row_loss and chunk_loss have one place more than there are rows, or chunks: for their sum.
_TARGETS = Record("u t delta row_loss rows columns", "one")
_ELEMENTS = Record("u t delta chunk_loss size", "slope")


@task(_TARGETS)
def _targets_loss(p, t, threads):
    """delta and the loss of every row with 1-of-K targets, for share ``t`` of the rows."""
    shape = p.rows, p.columns
    u, targets = carray(pointer_at(p.u, p.one), shape), carray(pointer_at(p.t, p.one), shape)
    delta, row_loss = carray(pointer_at(p.delta, p.one), shape), carray(pointer_at(p.row_loss, 0.0), p.rows + 1)
    size = p.one * p.rows
    start, stop = share(p.rows, 1, t, threads)
    for first in range(start, stop, rows_per_block(p.columns)):
        behind = min(stop, first + rows_per_block(p.columns))
        exponentials(u[first:behind], delta[first:behind])
        for n in range(first, behind):
            m, s, loss = maximum(u[n]), total(delta[n]), 0.0
            log_s = math.log(s)
            for j in range(p.columns):
                if targets[n, j] != 0:
                    loss += targets[n, j] * (log_s - (u[n, j] - m))
                delta[n, j] = (delta[n, j] / s - targets[n, j]) / size
            row_loss[n] = loss
    return 0


@task(_TARGETS)
def _sum_rows(p, t, threads):
    row_loss = carray(pointer_at(p.row_loss, 0.0), p.rows + 1)
    row_loss[p.rows] = _in_order(row_loss, p.rows)
    return 0


@inner
def _elements_of(p, t, threads):
    """The arrays of a record, and the chunks of share ``t``."""
    u, targets, delta = pointer_at(p.u, p.slope), pointer_at(p.t, p.slope), pointer_at(p.delta, p.slope)
    chunks = (p.size + CHUNK - 1) // CHUNK
    chunk_loss = carray(pointer_at(p.chunk_loss, 0.0), chunks + 1)
    return carray(u, p.size), carray(targets, p.size), carray(delta, p.size), chunk_loss, share(chunks, 1, t, threads)


@task(_ELEMENTS)
def _squared_error(p, t, threads):
    """delta and the loss of share ``t`` of the chunks."""
    y, targets, delta, chunk_loss, (first, behind) = _elements_of(p, t, threads)
    for chunk in range(first, behind):
        start, stop = chunk * CHUNK, min(p.size, (chunk + 1) * CHUNK)
        chunk_loss[chunk] = _squared_error_of(y[start:stop], targets[start:stop], delta[start:stop], p.slope)
    return 0


@inner
def _squared_error_of(y, t, delta, slope):
    for i in range(y.size):
        delta[i] = y[i] - t[i]
    loss = squares_in_double(delta)
    for i in range(y.size):
        delta[i] *= slope
    return loss


@task(_ELEMENTS)
def _sigmoid_cross_entropy(p, t, threads):
    """delta and the loss of share ``t`` of the chunks."""
    u, targets, delta, chunk_loss, (first, behind) = _elements_of(p, t, threads)
    for chunk in range(first, behind):
        start, stop = chunk * CHUNK, min(p.size, (chunk + 1) * CHUNK)
        chunk_loss[chunk] = _sigmoid_cross_entropy_of(u[start:stop], targets[start:stop], delta[start:stop], p.slope)
    return 0


@inner
def _sigmoid_cross_entropy_of(u, t, delta, scale):
    zero = u.dtype.type(0)
    for i in range(u.size):  # log(1 + e^u) = max(u, 0) + log(1 + e^-|u|)
        delta[i] = (zero if u[i] < zero else u[i]) - t[i] * u[i] + log1p_exp(-abs(u[i]))
    loss = total_in_double(delta)
    for i in range(u.size):
        delta[i] = (sigmoid(u[i]) - t[i]) * scale
    return loss


@task(_ELEMENTS)
def _sum_chunks(p, t, threads):
    chunks = (p.size + CHUNK - 1) // CHUNK
    chunk_loss = carray(pointer_at(p.chunk_loss, 0.0), chunks + 1)
    chunk_loss[chunks] = _in_order(chunk_loss, chunks)
    return 0


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
    value = _labels_loss(u, t, delta)
    if value is not None:
        return value
    u, t, delta = plain("softmax_cross_entropy", u=u, t=t, delta=delta)
    for key, x in (("u", u), ("t", t), ("delta", delta)):
        if not isinstance(x, np.ndarray):
            raise TypeError(f"softmax_cross_entropy: {key} must be an array, got {type(x).__name__}")
    distinct("softmax_cross_entropy", delta, u, t)
    if t.ndim == 1:
        return _any_labels_loss(u, t, delta)
    alike("softmax_cross_entropy", u=u, t=t, delta=delta)
    if u.ndim != 2 or u.size == 0:
        raise ValueError(f"softmax_cross_entropy: u must be (N, O), with N > 0 and O > 0; got {u.shape}")
    source, targets, result = in_order(u, t, delta)
    sums = np.empty(len(u) + 1)
    values = *addresses_of(source, targets, result, sums), *u.shape, 1.0
    wide = _runtime.pays_threads(u.size * WORK_PER_ELEMENT), False
    submit(_TARGETS, u.dtype, values, (_targets_loss, _sum_rows), wide, (source, targets, result, sums))
    unflat(result, delta)
    return sums.item(-1) / len(u)


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
    check_number("squared_error", scale=scale)
    return scale * _elementwise("squared_error", _squared_error, 2 * scale, y=y, t=t, delta=delta)


def sigmoid_cross_entropy(u, t, scale, delta):
    """scale * sum (log(1 + e^u) - t u) as a float, and delta = scale (sigmoid(u) - t).

    Binary cross-entropy on the logits u with targets t from 0 to 1. Arrays and errors as in `squared_error`.
    """
    check_number("sigmoid_cross_entropy", scale=scale)
    return scale * _elementwise("sigmoid_cross_entropy", _sigmoid_cross_entropy, scale, u=u, t=t, delta=delta)


def _elementwise(name, function, slope, **arrays):
    """Run the task ``function``; the sum of the losses."""
    y, t, delta = alike(name, **arrays)
    distinct(name, delta, y, t)
    y_flat, t_flat, result = flat(y, t, delta)
    sums = np.empty(-(-y.size // CHUNK) + 1)
    values = *addresses_of(y_flat, t_flat, result, sums), y.size, *factors(y.dtype, slope)
    wide = _runtime.pays_threads(y.size * WORK_PER_ELEMENT), False
    submit(_ELEMENTS, y.dtype, values, (function, _sum_chunks), wide, (y_flat, t_flat, result, sums))
    unflat(result, delta)
    return sums.item(-1)
