"""Windows of a pool, and what all pools check."""

import math
from functools import lru_cache

import numpy as np

from fastbp.kernels._arrays import check_memory, check_shape, require_real
from fastbp.kernels._jit import inner
from fastbp.kernels._pointers import integer
from fastbp.kernels.windows import AXES, BEFORE, DILATION, STRIDE, check_images, windows

FIRST, STOP, OFFSET, ELEMENT = range(4)  # columns of `tables_of`
_WINDOWS_AT_ONCE = 2**16


def pool_windows(name, image, size, stride, padding, dilation, ceil):
    """`windows` of a pool: the stride is the size if it is None, and no window may lie on padding only."""
    on = windows(name, image, size, size if stride is None else stride, padding, dilation, ceil=ceil)
    if not _all_are_real(on):
        raise ValueError(f"{name}: a window lies on padding only: {on.describe()}")
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


def check_tables(name, on):
    """Refuse windows whose tables memory cannot hold."""
    check_memory(_table_bytes(on), name, "the tables of its windows")


@lru_cache(maxsize=256)
def _table_bytes(on):
    """About as many bytes as making the `tables_of` the windows takes: for their elements and for windows."""
    axes = list(zip(on.image, on.size, on.dilation, on.output, strict=True))
    elements = [min(k, max(n, count * (n // d + 1))) for n, k, d, count in axes]
    looked_at = [count for axis, (n, k, _, count) in enumerate(axes) if k > n or axis < len(axes) - 1]
    return 64 * (sum(elements) + sum(looked_at))


def _on_image(on, axis):
    """The first element of every window of an axis that is on the image, and the one behind the last."""
    k, d = on.size[axis], on.dilation[axis]
    place = np.arange(on.output[axis]) * on.stride[axis] - on.before[axis]
    first = np.clip(-(place // d), 0, k)
    return first, np.clip((on.image[axis] - 1 - place) // d + 1, first, k)


def elements_of(on, axis):
    """The elements of a window on an axis that some window has on the image, and perhaps some that none has.

    There are no more than the image has, or all windows together have on it.
    """
    if on.size[axis] <= on.image[axis]:
        return np.arange(on.size[axis])
    first, stop = (ends[::-1] for ends in _on_image(on, axis))
    first = np.maximum(first, np.append(0, stop[:-1]))  # those before it belong to the window behind
    counts = np.maximum(0, stop - first)
    return np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())


def tables_of(on):
    """Tables of `AXES` axes, those in front with one window of one element.

    For the `elements_of` each axis, rows (first, stop, offset, element), as of `Windows.spans`; and for every window of
    each axis but the last, the first of these rows that it has on the image, and the one behind the last.
    """
    missing, axes = AXES - len(on.image), range(len(on.image))
    elements = [elements_of(on, axis) for axis in axes]
    spans = [np.column_stack([on.spans(axis, elements[axis]), elements[axis]]) for axis in axes]
    ranges = [np.searchsorted(elements[axis], np.column_stack(_on_image(on, axis))) for axis in axes[:-1]]
    return [np.array([[0, 1, 0, 0]])] * missing + spans, [np.array([[0, 1]])] * missing + ranges


def pool_windows_of(name, key, x, *numbers):
    """`pool_windows` on images x, which the caller calls ``key``."""
    check_images(name, key, x)
    on = pool_windows(name, x.shape[2:], *numbers)
    check_tables(name, on)
    return on


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
