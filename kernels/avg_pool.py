"""Average pooling: every window of a channel becomes its mean.

    y[n, c, o] = sum of the real x[n, c, place(o, k)] / count(o)
    dx[n, c, i] = sum of dy[n, c, o] / count(o) over the windows o with i in them

x, dx (N, C, image), y, dy (N, C, windows), for images of one, two or three dimensions. count(o) is the number of
elements of the window that are real, or that are real or padding. Work goes along the rows of y, element of the window
by element, so that it is done in vectors.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import types

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import (
    check_flag,
    check_memory,
    check_output,
    check_shape,
    distinct,
    plain,
    require_real,
    unflat,
    vectors,
)
from fastbp.kernels._entry import REFUSED, STEPS, Entry, finish
from fastbp.kernels._jit import index, kernel, task, vector
from fastbp.kernels._pointers import (
    address,
    constant,
    integer,
    is_aligned,
    load,
    overlap,
    pointer,
    pointer_at,
    shift,
    store,
)
from fastbp.kernels._program import addresses_of, in_order, submit
from fastbp.kernels._record import Record
from fastbp.kernels.partition import share
from fastbp.kernels.pool import (
    FIRST,
    OFFSET,
    STOP,
    check_pool,
    count_of,
    on_axes,
    pool_windows_of,
    tables_of,
)
from fastbp.kernels.pool_rows import add_row, spread_row
from fastbp.kernels.reductions import long_total
from fastbp.kernels.windows import AXES, IMAGE, OUTPUT, STRIDE, check_images

# images: x or dx (planes, image); results: y or dy (planes, windows); the counts of windows along each axis, one axis
# after the other, as numbers of their dtype; tables of the windows. depths, rows, columns: elements of a window on each
# axis that are in `spans`. For the mean of a plane: the `size` of an image.
AVG_POOL = Record("images results counts table spans ranges depths rows columns planes image windows", "size")

_COUNT_BYTES = 24  # that counting the elements of a window takes


@task(AVG_POOL)
def _avg_pool_forward(p, t, threads):
    """The means of share ``t`` of the planes."""
    x, y, counts = pointer_at(p.images, p.size), pointer_at(p.results, p.size), pointer_at(p.counts, p.size)
    _, H, W = on_axes(p.table, IMAGE)
    KD, KH, KW = p.depths, p.rows, p.columns
    OD, OH, OW = on_axes(p.table, OUTPUT)
    d_stride, h_stride, stride = on_axes(p.table, STRIDE)
    start, stop = share(p.planes, 1, t, threads)
    for plane in range(start, stop):
        for row in range(OD * OH):
            od, oh = row // OH, row % OH
            mean = shift(y, plane * p.windows + row * OW)
            for o in range(OW):
                store(mean, o, constant(mean, 0))
            first_d, first_h = integer(p.ranges, od, 2, FIRST), integer(p.ranges, OD + oh, 2, FIRST)
            deep, high = integer(p.ranges, od, 2, STOP) - first_d, integer(p.ranges, OD + oh, 2, STOP) - first_h
            for line in range(deep * high):
                kd, kh = first_d + line // high, KD + first_h + line % high
                d = od * d_stride + integer(p.spans, kd, 4, OFFSET)
                h = oh * h_stride + integer(p.spans, kh, 4, OFFSET)
                for k in range(KD + KH, KD + KH + KW):
                    u = shift(x, plane * p.image + (d * H + h) * W + integer(p.spans, k, 4, OFFSET))
                    first, last = integer(p.spans, k, 4, FIRST), integer(p.spans, k, 4, STOP)
                    if stride <= 2:
                        add_row(shift(u, first * stride), stride, shift(mean, first), last - first)
                    else:
                        for o in range(first, last):
                            store(mean, o, load(mean, o) + load(u, o * stride))
            lines = load(counts, od) * load(counts, OD + oh)
            for o in range(OW):
                store(mean, o, load(mean, o) / (lines * load(counts, OD + OH + o)))
    return 0


@task(AVG_POOL)
def _avg_pool_backward(p, t, threads):
    """The gradient by share ``t`` of the planes."""
    dx, dy, counts = pointer_at(p.images, p.size), pointer_at(p.results, p.size), pointer_at(p.counts, p.size)
    _, H, W = on_axes(p.table, IMAGE)
    KD, KH, KW = p.depths, p.rows, p.columns
    OD, OH, OW = on_axes(p.table, OUTPUT)
    d_stride, h_stride, stride = on_axes(p.table, STRIDE)
    start, stop = share(p.planes, 1, t, threads)
    for plane in range(start, stop):
        for i in range(p.image):
            store(dx, plane * p.image + i, constant(dx, 0))
        for row in range(OD * OH):
            od, oh = row // OH, row % OH
            delta, lines = shift(dy, plane * p.windows + row * OW), load(counts, od) * load(counts, OD + oh)
            first_d, first_h = integer(p.ranges, od, 2, FIRST), integer(p.ranges, OD + oh, 2, FIRST)
            deep, high = integer(p.ranges, od, 2, STOP) - first_d, integer(p.ranges, OD + oh, 2, STOP) - first_h
            for line in range(deep * high):
                kd, kh = first_d + line // high, KD + first_h + line % high
                d = od * d_stride + integer(p.spans, kd, 4, OFFSET)
                h = oh * h_stride + integer(p.spans, kh, 4, OFFSET)
                for k in range(KD + KH, KD + KH + KW):
                    gradient = shift(dx, plane * p.image + (d * H + h) * W + integer(p.spans, k, 4, OFFSET))
                    first, last = integer(p.spans, k, 4, FIRST), integer(p.spans, k, 4, STOP)
                    along = shift(counts, OD + OH + first)
                    if stride <= 2:
                        place = shift(gradient, first * stride)
                        spread_row(shift(delta, first), along, lines, place, stride, last - first)
                    else:
                        for o in range(first, last):
                            part = load(delta, o) / (lines * load(along, o - first))
                            store(gradient, o * stride, load(gradient, o * stride) + part)
    return 0


_record = AVG_POOL.at


@kernel(lambda real: (STEPS, index, vector(types.int64), vector(real), vector(real)))
def _enter(steps, threads, numbers, images, results):
    """images (planes, image), results (planes, windows); ``numbers``: those of `_Tables`."""
    if results.size == 0 or overlap(images, results) or not (is_aligned(images) and is_aligned(results)):
        return False
    image, windows = numbers[7], numbers[8]
    planes = results.size // windows
    if images.size != planes * image:
        return False
    p = _record(steps[0, 1], pointer(images))
    p.images, p.results, p.planes, p.image, p.windows = address(images), address(results), planes, image, windows
    p.counts, p.table, p.spans, p.ranges = numbers[0], numbers[1], numbers[2], numbers[3]
    p.depths, p.rows, p.columns = numbers[4], numbers[5], numbers[6]
    return finish(steps, threads)


_forward_entry = Entry(AVG_POOL, _enter, _avg_pool_forward)
_backward_entry = Entry(AVG_POOL, _enter, _avg_pool_backward)


def _enters(entry, on, count_padding, images, results, out):
    """Run the task if the arrays, of which ``out`` is written, are just as it wants them; False if not."""
    try:
        if not (type(images) is type(results) is np.ndarray and images.dtype == results.dtype):
            return False
        if not out.flags.carray or results.shape != (*images.shape[:2], *on.output):
            return False
        numbers = _tables(on, count_padding, images.dtype).numbers
        return entry.run(images.dtype, _work(on, results), numbers, *vectors(images, results))
    except REFUSED:
        return False


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
    check_flag(name, count_padding=count_padding)
    on = pool_windows_of(name, "x", x, size, stride, padding, dilation, ceil)
    check_memory(_COUNT_BYTES * max(on.output), name, "the tables of its windows")
    if _enters(_forward_entry, on, count_padding, x, out, out):
        return
    x, out = plain(name, x=x, out=out)
    check_pool(name, on, None, x=x, out=out)
    check_output(name, "out", out)
    distinct(name, out, x)
    source, result = in_order(x, out)
    if result.size:
        _run(_avg_pool_forward, on, count_padding, source, result)
    unflat(result, out)


def avg_pool_backward(dy, dx, size, stride=None, padding=0, dilation=1, *, ceil=False, count_padding=True):
    """dx[i] = the sum of dy / count over the windows with i in them; the numbers as of `avg_pool_forward`."""
    name = "avg_pool_backward"
    check_flag(name, count_padding=count_padding)
    on = pool_windows_of(name, "dx", dx, size, stride, padding, dilation, ceil)
    check_memory(_COUNT_BYTES * max(on.output), name, "the tables of its windows")
    if _enters(_backward_entry, on, count_padding, dx, dy, dx):
        return
    dx, dy = plain(name, dx=dx, dy=dy)
    check_pool(name, on, None, dx=dx, dy=dy)
    check_output(name, "dx", dx)
    distinct(name, dx, dy)
    delta, result = in_order(dy, dx)
    if result.size:
        _run(_avg_pool_backward, on, count_padding, result, delta)
    unflat(result, dx)


def _run(pool, on, count_padding, images, results):
    """Run the task ``pool`` on arrays in C order."""
    tables = _tables(on, count_padding, images.dtype)
    *of_windows, image, windows = tables.numbers.tolist()
    values = *addresses_of(images, results), *of_windows, math.prod(images.shape[:2]), image, windows, 0.0
    wide = _runtime.pays_threads(_work(on, results))
    submit(AVG_POOL, images.dtype, values, (pool,), wide, (images, results, *tables))


def _work(on, results):
    return results.size * math.prod(on.size)


class _Tables(NamedTuple):
    """The windows as the tasks need them."""

    counts: np.ndarray  # how many elements of each window count, by axes: the products are the sizes
    table: np.ndarray  # `Windows.table`
    spans: np.ndarray  # of `tables_of`
    ranges: np.ndarray  # of `tables_of`
    numbers: np.ndarray  # what the record says of the windows: from `counts` on, without `planes`


@lru_cache(maxsize=256)
def _tables(on, count_padding, dtype):
    ends = [(-b, n + e) if count_padding else (0, n) for n, b, e in zip(on.image, on.before, on.behind, strict=True)]
    counts = [[1]] * (AXES - len(on.image)) + [count_of(on, axis, *end) for axis, end in enumerate(ends)]
    spans, ranges = tables_of(on)
    tables = np.concatenate(counts).astype(dtype), on.table(), np.concatenate(spans), np.concatenate(ranges)
    sizes = *map(len, spans), math.prod(on.image), math.prod(on.output)
    return _Tables(*tables, np.array([*(table.ctypes.data for table in tables), *sizes]))


@task(AVG_POOL)
def _global_avg_pool_forward(p, t, threads):
    x, y = pointer_at(p.images, p.size), pointer_at(p.results, p.size)
    start, stop = share(p.planes, 1, t, threads)
    for plane in range(start, stop):
        store(y, plane, long_total(shift(x, plane * p.image), p.image) / p.size)
    return 0


@task(AVG_POOL)
def _global_avg_pool_backward(p, t, threads):
    dx, dy = pointer_at(p.images, p.size), pointer_at(p.results, p.size)
    start, stop = share(p.planes, 1, t, threads)
    for plane in range(start, stop):
        delta = load(dy, plane) / p.size
        for i in range(p.image):
            store(dx, plane * p.image + i, delta)
    return 0


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
    x, out = _checked_global("global_avg_pool_forward", x=x, out=out)
    distinct("global_avg_pool_forward", out, x)
    source, result = in_order(x, out)
    _run_global(_global_avg_pool_forward, source, result)
    unflat(result, out)


def global_avg_pool_backward(dy, dx):
    """dx = dy / elements of the image, in each of them; dy (N, C), dx (N, C, image)."""
    dx, dy = _checked_global("global_avg_pool_backward", dx=dx, dy=dy)
    distinct("global_avg_pool_backward", dx, dy)
    delta, result = in_order(dy, dx)
    _run_global(_global_avg_pool_backward, result, delta)
    unflat(result, dx)


def _run_global(pool, images, results):
    """Run the task ``pool`` on arrays in C order."""
    image = math.prod(images.shape[2:])
    values = *addresses_of(images, results), *[0] * 7, results.size, image, 1, image
    submit(AVG_POOL, images.dtype, values, (pool,), _runtime.pays_threads(images.size), (images, results))


def _checked_global(name, **arrays):
    """The arrays, as plain ones; refuses those that are not images and their means."""
    (key, other), (x, means) = arrays, plain(name, **arrays)
    check_images(name, key, x)
    require_real(name, key, x.dtype)
    if 0 in x.shape[2:]:
        raise ValueError(f"{name}: the images of {key} have no elements: {x.shape}")
    check_shape(name, other, means, x.shape[:2], key, x)
    if means.dtype != x.dtype:
        raise TypeError(f"{name}: {other} must be {x.dtype} as {key} is, got {means.dtype}")
    check_output(name, *((other, means) if other == "out" else (key, x)))
    return x, means
