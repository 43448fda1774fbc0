"""Windows of a pool, and what all pools check."""

import math
from functools import lru_cache

import numpy as np

from fastbp.kernels._arrays import check_memory, check_shape, require_real
from fastbp.kernels._jit import inner
from fastbp.kernels._pointers import integer
from fastbp.kernels.windows import AXES, BEFORE, DILATION, STRIDE, check_images, windows

FIRST, STOP, OFFSET, ELEMENT = range(4)  # columns of `spans_of`
_WINDOWS_AT_ONCE = 2**16


def pool_windows(name, image, size, stride, padding, dilation, ceil):
    """`windows` of a pool: the stride is the size if it is None, and no window may lie on padding only."""
    on = windows(name, image, size, size if stride is None else stride, padding, dilation, ceil=ceil)
    if not _all_are_real(on):
        raise ValueError(f"{name}: a window lies on padding only: {on.describe()}")
    check_memory(_table_bytes(on), name, "the tables of its windows")
    return on


@lru_cache(maxsize=256)
def _all_are_real(on):
    """Whether every window has an element on the image."""
    return all(map(_axis_is_real, on.image, on.size, on.stride, on.dilation, on.before, on.output))


def _axis_is_real(n, k, s, d, before, count):
    # the first one, or the last one, lies on padding: of millions of windows only these are looked at
    if before > (k - 1) * d or (count - 1) * s - before >= n:
        return False
    # where elements are farther apart than the image is long, windows that start before it may step over it: the first
    # element of a window that is not before it lies at this place, which comes again after as many windows
    starts = min(count, -(-before // s), d // math.gcd(s, d)) if d > n else 0
    parts = (np.arange(o, min(starts, o + _WINDOWS_AT_ONCE)) for o in range(0, starts, _WINDOWS_AT_ONCE))
    return all(((part * s - before) % d < n).all() for part in parts)


@lru_cache(maxsize=256)
def _table_bytes(on):
    """About as many bytes as making the tables of the windows takes, beside those of ordinary ones."""
    axes = zip(on.image, on.size, on.dilation, on.output, strict=True)
    return sum(64 * count + 64 * min(k, count * (n // d + 1)) for n, k, d, count in axes if k > n)


def elements_of(on, axis):
    """The elements of a window on an axis that some window has on the image, and perhaps some that none has.

    There are no more than the image has, or all windows together have on it.
    """
    n, k, s, d = on.image[axis], on.size[axis], on.stride[axis], on.dilation[axis]
    if k <= n:
        return np.arange(k)
    place = np.arange(on.output[axis] - 1, -1, -1) * s - on.before[axis]
    first = np.clip(-(place // d), 0, k)
    stop = np.clip((n - 1 - place) // d + 1, first, k)
    first = np.maximum(first, np.append(0, stop[:-1]))  # the others are those of the window behind
    counts = np.maximum(0, stop - first)
    return np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())


def spans_of(on):
    """For the `elements_of` each of `AXES` axes: rows (first, stop, offset, element), as of `Windows.spans`."""
    spans = [np.array([[0, 1, 0, 0]])] * (AXES - len(on.image))
    for axis in range(len(on.image)):
        elements = elements_of(on, axis)
        spans.append(np.column_stack([on.spans(axis, elements), elements]))
    return spans


def pool_windows_of(name, key, x, *numbers):
    """`pool_windows` on images x, which the caller calls ``key``."""
    check_images(name, key, x)
    return pool_windows(name, x.shape[2:], *numbers)


def count_of(on, axis, start, stop):
    """For every window of an axis, how many of its elements lie from start to stop - 1."""
    size, stride, dilation, before = on.size[axis], on.stride[axis], on.dilation[axis], on.before[axis]
    counts = np.full(on.output[axis], size)
    # windows that start before, and those that reach beyond
    behind = (stop - 1 + before - (size - 1) * dilation) // stride + 1
    for edge in (slice(0, max(0, -(-(start + before) // stride))), slice(max(0, behind), None)):
        place = np.arange(*edge.indices(len(counts))) * stride - before
        first = np.maximum(0, -((place - start) // dilation))  # the ceiling of (start - place) / dilation
        last = np.minimum(size - 1, (stop - 1 - place) // dilation)
        counts[edge] = np.maximum(0, last - first + 1)
    return counts


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


@inner
def on_axes(table, key):
    """The numbers that a table of windows has for each axis."""
    return integer(table, 0, 6, key), integer(table, 1, 6, key), integer(table, 2, 6, key)


@inner
def place_at(table, axis, o, k):
    """Where element ``k`` of window ``o`` lies on an axis; ``table``: the address of `Windows.table`."""
    start = o * integer(table, axis, 6, STRIDE) - integer(table, axis, 6, BEFORE)
    return start + k * integer(table, axis, 6, DILATION)


@inner
def is_on_image(spans, row, o):
    """Whether window ``o`` has the element of a row of `spans_of` on the image."""
    return integer(spans, row, 4, FIRST) <= o < integer(spans, row, 4, STOP)
