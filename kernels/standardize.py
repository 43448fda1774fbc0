"""Standardising: every element of a sample to mean 0 and standard deviation 1, what lies far off brought near.

    z = (x - mean) / std    y = z / sqrt(1 + (z / limit)^2)          without a limit: y = z
                            dx = dy (1 + (z / limit)^2)^(-3/2) / std                  dx = dy / std

x, y, dx, dy (N, sample), mean, std (sample). y is z to second order near 0, never beyond the limit, and smooth; NaN
passes through.
"""

import math

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import alike, check_number, check_shape, distinct, factors, plain, same_or_distinct, unflat
from fastbp.kernels._jit import inner, task
from fastbp.kernels._pointers import constant, load, pointer_at, shift, store
from fastbp.kernels._program import addresses_of, in_order, submit
from fastbp.kernels._record import Record
from fastbp.kernels.partition import share

# Time of one element in multiply-adds of the matrix product: memory traffic, or divisions and a root.
_WORK_PER_ELEMENT = 30

# x, dy, out (samples, size), mean and std (size,); inverse: of the limit, 0 without
STANDARDIZE = Record("x dy out mean std samples size", "inverse")


@inner
def _of_limit(x, mean, std, inverse, farthest):
    """z / limit. Where it is ``farthest``, y is the limit to the last digit; squares of more would overflow."""
    u = (x - mean) / std * inverse
    u = farthest if u > farthest else u
    return -farthest if u < -farthest else u


@task(STANDARDIZE)
def _standardize_forward(p, t, threads):
    """y of share ``t`` of the samples."""
    mean, std, inverse = pointer_at(p.mean, p.inverse), pointer_at(p.std, p.inverse), p.inverse
    one, farthest = constant(mean, 1), constant(mean, 1_000_000_000)
    start, stop = share(p.samples, 1, t, threads)
    for n in range(start, stop):
        x, y = shift(pointer_at(p.x, inverse), n * p.size), shift(pointer_at(p.out, inverse), n * p.size)
        if inverse == 0:
            for i in range(p.size):
                store(y, i, (load(x, i) - load(mean, i)) / load(std, i))
        else:
            for i in range(p.size):
                u = _of_limit(load(x, i), load(mean, i), load(std, i), inverse, farthest)
                store(y, i, u / (inverse * math.sqrt(one + u * u)))
    return 0


@task(STANDARDIZE)
def _standardize_backward(p, t, threads):
    """dx of share ``t`` of the samples."""
    mean, std, inverse = pointer_at(p.mean, p.inverse), pointer_at(p.std, p.inverse), p.inverse
    one, farthest = constant(mean, 1), constant(mean, 1_000_000_000)
    start, stop = share(p.samples, 1, t, threads)
    for n in range(start, stop):
        dy, dx = shift(pointer_at(p.dy, inverse), n * p.size), shift(pointer_at(p.out, inverse), n * p.size)
        if inverse == 0:
            for i in range(p.size):
                store(dx, i, load(dy, i) / load(std, i))
        else:
            x = shift(pointer_at(p.x, inverse), n * p.size)
            for i in range(p.size):
                u = _of_limit(load(x, i), load(mean, i), load(std, i), inverse, farthest)
                slope = one / math.sqrt(one + u * u)
                store(dx, i, load(dy, i) * (slope * slope * slope) / load(std, i))
    return 0


def standardize_forward(x, mean, std, out, limit=None):
    """Every element of the samples to mean 0 and standard deviation 1.

    Parameters
    ----------
    x : ndarray, float32 or float64, shape (N, ...)
        Samples of any shape.
    mean, std : ndarray, shape of one sample, dtype of x
        By elements; ``std`` is not 0.
    out : ndarray, shape and dtype of x
        Overwritten; may be ``x``.
    limit : float, optional
        Above 0: what no result is beyond.

    Raises
    ------
    ValueError
        When shapes differ, arrays overlap or the limit is not above 0.
    TypeError
        When the dtypes differ or are neither float32 nor float64.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import kernels
    >>> y = np.empty((2, 2))
    >>> kernels.standardize_forward(np.array([[3.0, 300], [5, 500]]), np.array([4.0, 200]), np.array([1.0, 100]), y)
    >>> y
    array([[-1.,  1.],
           [ 1.,  3.]])
    """
    name = "standardize_forward"
    x, out = alike(name, x=x, out=out)
    _run(name, _standardize_forward, x, None, mean, std, out, limit)


def standardize_backward(dy, x, mean, std, dx, limit=None):
    """dx = dy / std, with a limit times (1 + (z / limit)^2)^(-3/2).

    Arrays and errors as in `standardize_forward`; ``dx`` may be ``dy``.
    """
    name = "standardize_backward"
    dy, x, dx = alike(name, dy=dy, x=x, dx=dx)
    _run(name, _standardize_backward, x, dy, mean, std, dx, limit)


def _run(name, function, x, dy, mean, std, out, limit):
    mean, std = plain(name, mean=mean, std=std)
    if not x.ndim:
        raise ValueError(f"{name}: x must have samples along its first dimension")
    for key, array in (("mean", mean), ("std", std)):
        check_shape(name, key, array, x.shape[1:], "x", x)
        if array.dtype != x.dtype:
            raise TypeError(f"{name}: {key} must be {x.dtype} as x is, got {array.dtype}")
    if limit is not None:
        check_number(name, limit=limit)
        if not limit > 0:
            raise ValueError(f"{name}: the limit must be above 0, got {limit}")
    distinct(name, out, mean, std)
    same_or_distinct(name, out, *(array for array in (x, dy) if array is not None))
    if out.size:
        arrays = in_order(x, dy, out, mean, std)
        inverse = 0 if limit is None else 1 / limit
        values = *addresses_of(*arrays), len(x), mean.size, *factors(out.dtype, inverse)
        wide = _runtime.pays_threads(out.size * _WORK_PER_ELEMENT)
        submit(STANDARDIZE, out.dtype, values, (function,), wide, [array for array in arrays if array is not None])
        unflat(arrays[2], out)
