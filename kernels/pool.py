"""Average pooling: every window of a channel becomes its mean; and what all pools check.

    y[n, c, o] = sum of the real x[n, c, place(o, k)] / count(o)
    dx[n, c, i] = sum of dy[n, c, o] / count(o) over the windows o with i in them

x, dx (N, C, image), y, dy (N, C, windows), for images of one, two or three dimensions. count(o) is the number of
elements of the window that are real, or that are real or padding. Work goes along the rows of y, element of the window
by element, so that it is done in vectors.
"""

import math
from functools import lru_cache

import numpy as np
from numba import prange, types

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import check_output, check_shape, distinct, require_real, rows, unflat
from fastbp.kernels._jit import array, kernel, vector
from fastbp.kernels.reductions import total
from fastbp.kernels.windows import (
    AXES,
    INTEGERS,
    OUTPUT,
    SIZE,
    STRIDE,
    check_image,
    check_images,
    place,
    volumes,
    windows,
)


@kernel(
    lambda real: (
        *(array(real, 5, layout="C"), array(real, 5, out=True, layout="C")),
        *(vector(types.int64), vector(types.int64), vector(types.int64), INTEGERS, INTEGERS),
    )
)
def _avg_pool_forward(x, out, d_count, h_count, w_count, table, spans):
    check_image(x, table)
    N, C, D, H, _ = x.shape
    KD, KH, KW = table[0, SIZE], table[1, SIZE], table[2, SIZE]
    OD, OH, OW = table[0, OUTPUT], table[1, OUTPUT], table[2, OUTPUT]
    if out.shape != (N, C, OD, OH, OW) or d_count.size != OD or h_count.size != OH or w_count.size != OW:
        raise ValueError("out must be (N, C, windows)")
    stride = table[2, STRIDE]
    for plane in prange(N * C):
        n, c = plane // C, plane % C
        for row in range(OD * OH):
            od, oh = row // OH, row % OH
            y = out[n, c, od, oh]
            y[:] = 0
            for line in range(KD * KH):
                d, h = place(table, 0, od, line // KH), place(table, 1, oh, line % KH)
                if 0 <= d < D and 0 <= h < H:
                    u = x[n, c, d, h]
                    for k in range(KW):
                        start, stop, offset = spans[k, 0], spans[k, 1], spans[k, 2]
                        for o in range(start, stop):
                            y[o] += u[o * stride + offset]
            for o in range(OW):
                y[o] /= x.dtype.type(d_count[od] * h_count[oh] * w_count[o])


@kernel(
    lambda real: (
        *(array(real, 5, layout="C"), array(real, 5, out=True, layout="C")),
        *(vector(types.int64), vector(types.int64), vector(types.int64), INTEGERS, INTEGERS),
    )
)
def _avg_pool_backward(dy, dx, d_count, h_count, w_count, table, spans):
    check_image(dx, table)
    N, C, D, H, _ = dx.shape
    KD, KH, KW = table[0, SIZE], table[1, SIZE], table[2, SIZE]
    OD, OH, OW = table[0, OUTPUT], table[1, OUTPUT], table[2, OUTPUT]
    if dy.shape != (N, C, OD, OH, OW) or d_count.size != OD or h_count.size != OH or w_count.size != OW:
        raise ValueError("dy must be (N, C, windows)")
    stride = table[2, STRIDE]
    for plane in prange(N * C):
        n, c = plane // C, plane % C
        dx[n, c] = 0
        for row in range(OD * OH):
            od, oh = row // OH, row % OH
            delta = dy[n, c, od, oh]
            for line in range(KD * KH):
                d, h = place(table, 0, od, line // KH), place(table, 1, oh, line % KH)
                if 0 <= d < D and 0 <= h < H:
                    gradient = dx[n, c, d, h]
                    for k in range(KW):
                        start, stop, offset = spans[k, 0], spans[k, 1], spans[k, 2]
                        for o in range(start, stop):
                            count = dx.dtype.type(d_count[od] * h_count[oh] * w_count[o])
                            gradient[o * stride + offset] += delta[o] / count


def avg_pool_forward(x, out, size, stride=None, padding=0, dilation=1, *, ceil=False, count_padding=True):
    """The mean of every window.

    Parameters
    ----------
    x, out, size, stride, padding, dilation, ceil
        As in `max_pool_forward`.
    count_padding : bool
        Whether the zeros of the padding count; what lies behind the padding in ceil mode never does.

    Raises
    ------
    ValueError, TypeError
        As in `max_pool_forward`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import kernels
    >>> y = np.empty((1, 1, 2))
    >>> kernels.avg_pool_forward(np.array([[[1.0, 3.0, 5.0, 7.0]]]), y, 2)
    >>> y
    array([[[2., 6.]]])
    """
    name = "avg_pool_forward"
    on = pool_windows_of(name, "x", x, size, stride, padding, dilation, ceil)
    check_pool(name, on, None, x=x, out=out)
    check_output(name, "out", out)
    distinct(name, out, x)
    result, threads = rows(out), _runtime.threads_for(out.size * math.prod(on.size))
    _avg_pool_forward(threads, volumes(rows(x)), volumes(result), *_counts(on, count_padding), on.table(), on.spans())
    unflat(result, out)


def avg_pool_backward(dy, dx, size, stride=None, padding=0, dilation=1, *, ceil=False, count_padding=True):
    """dx[i] = the sum of dy / count over the windows with i in them; the numbers as of `avg_pool_forward`."""
    name = "avg_pool_backward"
    on = pool_windows_of(name, "dx", dx, size, stride, padding, dilation, ceil)
    check_pool(name, on, None, dx=dx, dy=dy)
    check_output(name, "dx", dx)
    distinct(name, dx, dy)
    result, threads = rows(dx), _runtime.threads_for(dy.size * math.prod(on.size))
    _avg_pool_backward(threads, volumes(rows(dy)), volumes(result), *_counts(on, count_padding), on.table(), on.spans())
    unflat(result, dx)


@kernel(lambda real: (array(real, 3, layout="C"), array(real, 2, out=True, layout="C")))
def _global_avg_pool_forward(x, out):
    N, C, size = x.shape
    if out.shape != (N, C) or size == 0:
        raise ValueError("out must be (N, C), and an image have elements")
    for plane in prange(N * C):
        n, c = plane // C, plane % C
        out[n, c] = total(x[n, c]) / x.dtype.type(size)


@kernel(lambda real: (array(real, 2, layout="C"), array(real, 3, out=True, layout="C")))
def _global_avg_pool_backward(dy, dx):
    N, C, size = dx.shape
    if dy.shape != (N, C) or size == 0:
        raise ValueError("dy must be (N, C), and an image have elements")
    for plane in prange(N * C):
        n, c = plane // C, plane % C
        dx[n, c] = dy[n, c] / dx.dtype.type(size)


def global_avg_pool_forward(x, out):
    """The mean of every channel: x (N, C, image) to out (N, C).

    Raises ValueError when shapes differ or an image has no elements, TypeError when dtypes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import kernels
    >>> y = np.empty((1, 1))
    >>> kernels.global_avg_pool_forward(np.array([[[[1.0, 2.0], [3.0, 6.0]]]]), y)
    >>> y
    array([[3.]])
    """
    _check_global("global_avg_pool_forward", x=x, out=out)
    distinct("global_avg_pool_forward", out, x)
    result = rows(out)
    _global_avg_pool_forward(
        _runtime.threads_for(x.size), rows(x).reshape(*x.shape[:2], math.prod(x.shape[2:])), result
    )
    unflat(result, out)


def global_avg_pool_backward(dy, dx):
    """dx = dy / elements of the image, in each of them; dy (N, C), dx (N, C, image)."""
    _check_global("global_avg_pool_backward", dx=dx, dy=dy)
    distinct("global_avg_pool_backward", dx, dy)
    result = rows(dx)
    _global_avg_pool_backward(
        _runtime.threads_for(dx.size), rows(dy), result.reshape(*dx.shape[:2], math.prod(dx.shape[2:]))
    )
    unflat(result, dx)


def _check_global(name, **arrays):
    """Refuse arrays that are not images and their means."""
    (key, x), (other, means) = arrays.items()
    check_images(name, key, x)
    require_real(name, key, x.dtype)
    if 0 in x.shape[2:]:
        raise ValueError(f"{name}: the images of {key} have no elements: {x.shape}")
    check_shape(name, other, means, x.shape[:2], key, x)
    if means.dtype != x.dtype:
        raise TypeError(f"{name}: {other} must be {x.dtype} as {key} is, got {means.dtype}")
    output = "out" if other == "out" else key
    check_output(name, output, arrays[output])


def pool_windows(name, image, size, stride, padding, dilation, ceil):
    """`windows` of a pool: the stride is the size if it is None, and no window may lie on padding only."""
    on = windows(name, image, size, size if stride is None else stride, padding, dilation, ceil=ceil)
    if not _all_are_real(on):
        raise ValueError(f"{name}: a window lies on padding only: {on.describe()}")
    return on


@lru_cache(maxsize=256)
def _all_are_real(on):
    """Whether every window has an element on the image."""
    axes = zip(on.image, on.size, on.stride, on.dilation, on.before, on.output, strict=True)
    for n, k, s, d, before, count in axes:
        # the first one, or the last one, lies on padding: of millions of windows only these are looked at
        if before > (k - 1) * d or (count - 1) * s - before >= n:
            return False
    return all(_count(on, axis, 0, on.image[axis]).all() for axis in range(len(on.image)))


def pool_windows_of(name, key, x, *numbers):
    """`pool_windows` on images x, which the caller calls ``key``."""
    check_images(name, key, x)
    return pool_windows(name, x.shape[2:], *numbers)


def _count(on, axis, start, stop):
    """For every window of an axis, how many of its elements lie from start to stop - 1."""
    dilation = on.dilation[axis]
    place = np.arange(on.output[axis]) * on.stride[axis] - on.before[axis]
    first = np.maximum(0, -((place - start) // dilation))  # the ceiling of (start - place) / dilation
    last = np.minimum(on.size[axis] - 1, (stop - 1 - place) // dilation)
    return np.maximum(0, last - first + 1)


def _counts(on, count_padding):
    """For each of three axes, how many elements of each window count: their products are the sizes of the windows."""
    counts = [
        _count(on, axis, -before if count_padding else 0, image + (behind if count_padding else 0))
        for axis, (image, before, behind) in enumerate(zip(on.image, on.before, on.behind, strict=True))
    ]
    return [np.ones(1, np.int64)] * (AXES - len(counts)) + counts


def check_pool(name, on, index_dtype, **arrays):
    """Refuse arrays that do not fit: the first holds the images, the others have one element for each window."""
    (key, x), *others = arrays.items()
    require_real(name, key, x.dtype)
    shape = (*x.shape[:2], *on.output)
    for other, value in others:
        check_shape(name, other, value, shape, key, x)
        dtype = index_dtype if other == "index" else x.dtype
        if value.dtype != dtype:
            raise TypeError(f"{name}: {other} must be {dtype}, got {value.dtype}")
