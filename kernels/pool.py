"""Pooling: every window of a channel becomes one number.

    max    y[n, c, o] = the largest real x[n, c, place(o, k)]       index[n, c, o] = its k, the first one of several
           dx[n, c, i] = sum of dy[n, c, o] over the windows o whose largest element is i
    mean   y[n, c, o] = sum of the real x[n, c, place(o, k)] / count(o)
           dx[n, c, i] = sum of dy[n, c, o] / count(o) over the windows o with i in them

x, dx (N, C, image), y, dy (N, C, windows), for images of one, two or three dimensions. Padding never is the largest
element, and NaN is larger than any number. count(o) is the number of elements of the window that are real, or that are
real or padding. Work goes along the rows of y, element of the window by element, so that it is done in vectors.
"""

import math
from functools import lru_cache

import numpy as np
from numba import prange, types

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import check_number, check_output, check_shape, distinct, require_real, rows, unflat
from fastbp.kernels._jit import array, inner, kernel, vector
from fastbp.kernels._pointers import load, pointer, shift, store
from fastbp.kernels.activation import sloped
from fastbp.kernels.epilogue import IDENTITY, check_activation
from fastbp.kernels.pool_rows import largest_of_pairs, place_pairs, raise_row
from fastbp.kernels.reductions import total
from fastbp.kernels.windows import (
    AXES,
    BEFORE,
    DILATION,
    IMAGE,
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

_INDICES = {np.dtype(np.uint8): types.uint8, np.dtype(np.uint16): types.uint16, np.dtype(np.int64): types.int64}


def _for_each_index(signature):
    """Decorator: a kernel for every type of index; ``signature(real, integer)`` gives the types of the arguments."""
    return lambda function: {
        dtype: kernel(lambda real, integer=integer: signature(real, integer))(function)
        for dtype, integer in _INDICES.items()
    }


def index_dtype(size: tuple[int, ...]) -> np.dtype:
    """The smallest integer type that tells apart all elements of a window of ``size``."""
    elements = math.prod(size)
    return np.dtype(np.uint8 if elements <= 2**8 else np.uint16 if elements <= 2**16 else np.int64)


@inner
def _are_pairs(table):
    """Whether windows lie side by side along rows, with two elements of each, and on one image of a volume."""
    last = table[AXES - 1]
    fits = table[0, SIZE] == 1 and table[0, BEFORE] == last[BEFORE] == 0 and 0 < 2 * last[OUTPUT] <= last[IMAGE]
    return fits and last[SIZE] == last[STRIDE] == 2 and last[DILATION] == 1


@inner
def _are_tiles(table):
    """Whether every element is in one window."""
    for axis in range(AXES):
        size, dilation = table[axis, SIZE], table[axis, DILATION]
        if table[axis, BEFORE] != 0 or table[axis, STRIDE] != size or (dilation != 1 and size != 1):
            return False
        if table[axis, OUTPUT] * size != table[axis, IMAGE]:
            return False
    return True


@inner
def _rows_inside(table):
    """Rows of windows (start, stop) that lie on the image."""
    before, stride = table[1, BEFORE], table[1, STRIDE]
    start = min(table[1, OUTPUT], (before + stride - 1) // stride)
    room = table[1, IMAGE] + before - (table[1, SIZE] - 1) * table[1, DILATION] - 1
    return start, max(start, min(table[1, OUTPUT], room // stride + 1))


@inner
def _raise(u, stride, y, best, k, start, stop, is_first):
    """Raise y to the elements of u where these are larger, or first, and note in ``best`` that they are element k."""
    for o in range(start, stop):
        v, largest = load(u, o * stride), load(y, o)
        wins = is_first | ((not v <= largest) & (largest == largest))
        store(y, o, v if wins else largest)
        store(best, o, k if wins else load(best, o))


@_for_each_index(
    lambda real, integer: (
        *(array(real, 5, layout="C"), array(real, 5, out=True, layout="C")),
        *(array(integer, 5, out=True, layout="C"), INTEGERS, INTEGERS),
    )
)
def _max_pool_forward(x, out, index, table, spans):
    check_image(x, table)
    N, C, D, H, W = x.shape
    KD, KH, KW = table[0, SIZE], table[1, SIZE], table[2, SIZE]
    OD, OH, OW = table[0, OUTPUT], table[1, OUTPUT], table[2, OUTPUT]
    if out.shape != (N, C, OD, OH, OW) or index.shape != out.shape:
        raise ValueError("out and index must be (N, C, windows)")
    stride, dilation = table[2, STRIDE], table[2, DILATION]
    first, behind = _rows_inside(table)
    pairs = _are_pairs(table) and first < behind
    for plane in prange(N * C):
        n, c = plane // C, plane % C
        if pairs:
            for od in range(OD):
                largest_of_pairs(
                    pointer(x[n, c, place(table, 0, od, 0), place(table, 1, first, 0)]), table[1, STRIDE] * W,
                    behind - first, table[1, DILATION] * W, KH, pointer(out[n, c, od, first]),
                    pointer(index[n, c, od, first]), OW,
                )  # fmt: skip
        for row in range(OD * OH):
            od, oh = row // OH, row % OH
            if pairs and first <= oh < behind:
                continue
            y, best = pointer(out[n, c, od, oh]), pointer(index[n, c, od, oh])
            is_first = True
            for kd in range(KD):
                for kh in range(KH):
                    d, h = place(table, 0, od, kd), place(table, 1, oh, kh)
                    if not (0 <= d < D and 0 <= h < H):
                        continue
                    u, line = pointer(x[n, c, d, h]), (kd * KH + kh) * KW
                    for k in range(KW):
                        start, stop, offset = spans[k, 0], spans[k, 1], spans[k, 2]
                        if is_first and k == 0:
                            for o in range(start):  # windows that start in the padding
                                real = (dilation - 1 - place(table, 2, o, 0)) // dilation
                                store(y, o, load(u, place(table, 2, o, real)))
                                store(best, o, index.dtype.type(line + real))
                        which, from_u = index.dtype.type(line + k), shift(u, offset)
                        if stride <= 2:
                            raise_row(
                                shift(from_u, start * stride), stride, shift(y, start), shift(best, start), which,
                                stop - start, is_first and k == 0,
                            )  # fmt: skip
                        else:
                            _raise(from_u, stride, y, best, which, start, stop, is_first and k == 0)
                    is_first = False


@_for_each_index(
    lambda real, integer: (
        *(array(real, 5, layout="C"), array(integer, 5, layout="C"), array(real, 5, layout="C")),
        *(array(real, 5, out=True, layout="C"), vector(types.int64), INTEGERS, types.int64, real),
    )
)
def _max_pool_backward(dy, index, y, dx, steps, table, activation, slope):
    check_image(dx, table)
    N, C, D, H, W = dx.shape
    KH = table[1, SIZE]
    OD, OH, OW = table[0, OUTPUT], table[1, OUTPUT], table[2, OUTPUT]
    if dy.shape != (N, C, OD, OH, OW) or index.shape != dy.shape or y.shape != dy.shape:
        raise ValueError("dy, index and y must be (N, C, windows)")
    # windows of two that do not overlap are written, and nothing is added up
    first, behind = _rows_inside(table)
    pairs = _are_pairs(table) and table[1, STRIDE] > (KH - 1) * table[1, DILATION] and first < behind
    tiles = pairs and _are_tiles(table)
    for plane in prange(N * C):
        n, c = plane // C, plane % C
        gradient = dx[n, c].reshape(D * H * W)
        if not tiles:
            gradient[:] = 0
        if pairs:
            for od in range(OD):
                place_pairs(
                    pointer(dy[n, c, od, first]), pointer(index[n, c, od, first]), pointer(y[n, c, od, first]), OW,
                    activation, slope, pointer(dx[n, c, place(table, 0, od, 0), place(table, 1, first, 0)]),
                    table[1, STRIDE] * W, behind - first, table[1, DILATION] * W, KH,
                )  # fmt: skip
        for row in range(OD * OH):
            od, oh = row // OH, row % OH
            if pairs and first <= oh < behind:
                continue
            start = (place(table, 0, od, 0) * H + place(table, 1, oh, 0)) * W + place(table, 2, 0, 0)
            for o in range(OW):
                k = index[n, c, od, oh, o]
                i = start + o * table[2, STRIDE] + steps[k] if 0 <= k < steps.size else -1
                if 0 <= i < gradient.size:  # an index that is not of `max_pool_forward` does no harm
                    gradient[i] += sloped(dy[n, c, od, oh, o], y[n, c, od, oh, o], activation, slope)


def max_pool_forward(x, out, index, size, stride=None, padding=0, dilation=1, *, ceil=False):
    """The largest element of every window, and which one it is.

    Parameters
    ----------
    x : ndarray, float32 or float64, shape (N, C, W), (N, C, H, W) or (N, C, D, H, W)
    out : ndarray, same dtype, shape (N, C, windows)
        Overwritten.
    index : ndarray of `index_dtype` (uint8 for windows of up to 256 elements), shape of ``out``
        Overwritten with the place in the window, in row-major order, for `max_pool_backward`.
    size, stride, padding, dilation, ceil
        As in `fastbp.kernels.windows.windows`; the stride is ``size`` if it is None.

    Raises
    ------
    ValueError
        When windows do not fit, one holds padding only, or shapes differ.
    TypeError
        When dtypes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import kernels
    >>> x = np.array([[[[1.0, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]]]])
    >>> y, index = np.empty((1, 1, 2, 2)), np.empty((1, 1, 2, 2), np.uint8)
    >>> kernels.max_pool_forward(x, y, index, 2)
    >>> y
    array([[[[6., 8.],
             [3., 4.]]]])
    """
    name = "max_pool_forward"
    on = _windows(name, "x", x, size, stride, padding, dilation, ceil)
    _check(name, on, x=x, out=out, index=index)
    check_output(name, "out", out)
    check_output(name, "index", index)
    distinct(name, out, x, index)
    distinct(name, index, x)
    y, best = rows(out), rows(index)
    run = _max_pool_forward[index.dtype]
    threads = _runtime.threads_for(out.size * math.prod(on.size))
    run(threads, volumes(rows(x)), volumes(y), volumes(best), on.table(), on.spans())
    unflat(y, out)
    unflat(best, index)


def max_pool_backward(dy, index, dx, size, stride=None, padding=0, dilation=1, *, ceil=False):
    """dx = dy at the largest elements of the windows, else 0; ``index`` and the numbers as of `max_pool_forward`."""
    numbers = size, stride, padding, dilation
    max_pool_delta(dy, index, dy, dx, IDENTITY, 0.0, *numbers, ceil=ceil, name="max_pool_backward")


def max_pool_delta(
    dy, index, y, dx, activation, slope, size, stride=None, padding=0, dilation=1, *, ceil=False, name="max_pool_delta"
):
    """dx = dy * f'(y) at the largest elements of the windows, else 0: the delta of the activation f before a pooling.

    The largest element of a window is an output of f, and y, the output of the pooling, is that number: so it is all
    that the derivative needs. ``activation`` names f by an integer of ``epilogue.py``, ``slope`` is that of the leaky
    rectifier; the rest as in `max_pool_forward`.
    """
    on = _windows(name, "dx", dx, size, stride, padding, dilation, ceil)
    _check(name, on, dx=dx, dy=dy, index=index, y=y)
    check_activation(activation)
    check_number(name, slope=slope)
    check_output(name, "dx", dx)
    distinct(name, dx, dy, index, y)
    result, table = rows(dx), on.table()
    _, H, W = table[:, IMAGE]
    k = np.indices(table[:, SIZE]).reshape(AXES, -1)
    steps = np.array([H * W, W, 1]) @ (k * table[:, DILATION, None])  # from element 0 of a window to element k
    run = _max_pool_backward[index.dtype]
    arrays = (volumes(rows(array)) for array in (dy, index, y))
    run(_runtime.threads_for(dx.size), *arrays, volumes(result), steps, table, activation, slope)
    unflat(result, dx)


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
    on = _windows(name, "x", x, size, stride, padding, dilation, ceil)
    _check(name, on, x=x, out=out)
    check_output(name, "out", out)
    distinct(name, out, x)
    result, threads = rows(out), _runtime.threads_for(out.size * math.prod(on.size))
    _avg_pool_forward(threads, volumes(rows(x)), volumes(result), *_counts(on, count_padding), on.table(), on.spans())
    unflat(result, out)


def avg_pool_backward(dy, dx, size, stride=None, padding=0, dilation=1, *, ceil=False, count_padding=True):
    """dx[i] = the sum of dy / count over the windows with i in them; the numbers as of `avg_pool_forward`."""
    name = "avg_pool_backward"
    on = _windows(name, "dx", dx, size, stride, padding, dilation, ceil)
    _check(name, on, dx=dx, dy=dy)
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
    return all(_real(on, axis).any(axis=1).all() for axis in range(len(on.image)))


def _windows(name, key, x, *numbers):
    """`pool_windows` on images x, which the caller calls ``key``."""
    check_images(name, key, x)
    return pool_windows(name, x.shape[2:], *numbers)


def _places(on, axis):
    """Where the elements of every window lie on an axis, an array (windows, elements)."""
    o, k = np.arange(on.output[axis])[:, None], np.arange(on.size[axis])
    return o * on.stride[axis] + k * on.dilation[axis] - on.before[axis]


def _real(on, axis):
    places = _places(on, axis)
    return (places >= 0) & (places < on.image[axis])


def _counts(on, count_padding):
    """For each of three axes, how many elements of each window count: their products are the sizes of the windows."""
    counts = [
        (_places(on, axis) < on.image[axis] + on.behind[axis] if count_padding else _real(on, axis)).sum(axis=1)
        for axis in range(len(on.image))
    ]
    return [np.ones(1, np.int64)] * (AXES - len(counts)) + counts


def _check(name, on, **arrays):
    """Refuse arrays that do not fit: the first holds the images, the others have one element for each window."""
    (key, x), *others = arrays.items()
    require_real(name, key, x.dtype)
    shape = (*x.shape[:2], *on.output)
    for other, value in others:
        check_shape(name, other, value, shape, key, x)
        dtype = index_dtype(on.size) if other == "index" else x.dtype
        if value.dtype != dtype:
            raise TypeError(f"{name}: {other} must be {dtype}, got {value.dtype}")
