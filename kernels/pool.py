"""Windows of a pool, and what all pools check."""

from functools import lru_cache

import numpy as np

from fastbp.kernels._arrays import check_shape, require_real
from fastbp.kernels._jit import inner
from fastbp.kernels._pointers import integer
from fastbp.kernels.windows import BEFORE, DILATION, STRIDE, check_images, windows


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
    return all(count_of(on, axis, 0, on.image[axis]).all() for axis in range(len(on.image)))


def pool_windows_of(name, key, x, *numbers):
    """`pool_windows` on images x, which the caller calls ``key``."""
    check_images(name, key, x)
    return pool_windows(name, x.shape[2:], *numbers)


def count_of(on, axis, start, stop):
    """For every window of an axis, how many of its elements lie from start to stop - 1."""
    dilation = on.dilation[axis]
    place = np.arange(on.output[axis]) * on.stride[axis] - on.before[axis]
    first = np.maximum(0, -((place - start) // dilation))  # the ceiling of (start - place) / dilation
    last = np.minimum(on.size[axis] - 1, (stop - 1 - place) // dilation)
    return np.maximum(0, last - first + 1)


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
