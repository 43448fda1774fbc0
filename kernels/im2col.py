"""The windows of an image as the columns of a matrix, and back.

    im2col   cols[n, (c, k), o] = x[n, c, o stride - before + k dilation], 0 in the padding
    col2im   x[n, c, i] = the sum of all cols[n, (c, k), o] that im2col takes from x[n, c, i]

c runs over the channels, k over the elements of a window, o over the windows, each in row-major order. Both are linear,
and adjoint to each other: <im2col(x), cols> = <x, col2im(cols)>. The matrix takes as many times the memory of x as a
window has elements.
"""

import math

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import check_output, check_shape, distinct, plain, require_real, unflat
from fastbp.kernels._jit import inner, task
from fastbp.kernels._pointers import constant, integer, load, pointer_at, shift, store
from fastbp.kernels._program import addresses_of, in_order, submit
from fastbp.kernels._record import Record
from fastbp.kernels.partition import share
from fastbp.kernels.pool import on_axes, place_at
from fastbp.kernels.windows import IMAGE, OUTPUT, SIZE, STRIDE, check_images, windows

# x (planes, image), cols (planes, K, O); table, spans: of `Windows`.
COLUMNS = Record("x cols table spans planes image elements windows", "one")


@task(COLUMNS)
def _im2col(p, t, threads):
    """Write share ``t`` of the rows of ``cols``."""
    x, cols = pointer_at(p.x, p.one), pointer_at(p.cols, p.one)
    D, H, W = on_axes(p.table, IMAGE)
    _, KH, KW = on_axes(p.table, SIZE)
    OD, OH, OW = on_axes(p.table, OUTPUT)
    stride = integer(p.table, 2, 6, STRIDE)
    start, stop = share(p.planes * p.elements, 1, t, threads)
    for row in range(start, stop):
        plane, k = row // p.elements, row % p.elements
        first, behind, offset = _span(p, k % KW)
        for o in range(OD * OH):
            d, h = place_at(p.table, 0, o // OH, k // (KH * KW)), place_at(p.table, 1, o % OH, k // KW % KH)
            line, image = shift(cols, row * p.windows + o * OW), shift(x, plane * p.image + (d * H + h) * W)
            begin, end = (first, behind) if 0 <= d < D and 0 <= h < H else (OW, OW)
            for w in range(begin):
                store(line, w, constant(line, 0))
            for w in range(begin, end):
                store(line, w, load(image, w * stride + offset))
            for w in range(end, OW):
                store(line, w, constant(line, 0))
    return 0


@task(COLUMNS)
def _col2im(p, t, threads):
    """Add up share ``t`` of the planes."""
    x, cols = pointer_at(p.x, p.one), pointer_at(p.cols, p.one)
    D, H, W = on_axes(p.table, IMAGE)
    _, KH, KW = on_axes(p.table, SIZE)
    OD, OH, OW = on_axes(p.table, OUTPUT)
    stride = integer(p.table, 2, 6, STRIDE)
    start, stop = share(p.planes, 1, t, threads)
    for plane in range(start, stop):
        for i in range(p.image):
            store(x, plane * p.image + i, constant(x, 0))
        for k in range(p.elements):
            first, behind, offset = _span(p, k % KW)
            for o in range(OD * OH):
                d, h = place_at(p.table, 0, o // OH, k // (KH * KW)), place_at(p.table, 1, o % OH, k // KW % KH)
                if 0 <= d < D and 0 <= h < H:
                    line = shift(cols, (plane * p.elements + k) * p.windows + o * OW)
                    image = shift(x, plane * p.image + (d * H + h) * W + offset)
                    for w in range(first, behind):
                        store(image, w * stride, load(image, w * stride) + load(line, w))
    return 0


@inner
def _span(p, k):
    """First window whose element ``k`` of the last axis is on the image, the one behind the last, and the offset."""
    return integer(p.spans, k, 3, 0), integer(p.spans, k, 3, 1), integer(p.spans, k, 3, 2)


def im2col(x, cols, size, stride=1, padding=0, dilation=1):
    """Write the windows of ``size`` on the images x as columns.

    Parameters
    ----------
    x : ndarray, float32 or float64, shape (N, C, W), (N, C, H, W) or (N, C, D, H, W)
    cols : ndarray, same dtype, shape (N, C K, O)
        Overwritten; K elements has a window, and there are O of them.
    size, stride, padding, dilation
        As in `fastbp.kernels.windows.windows`.

    Raises
    ------
    ValueError
        When the windows do not fit, shapes differ, or ``cols`` overlaps ``x``.
    TypeError
        When dtypes differ or are neither float32 nor float64.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import kernels
    >>> cols = np.empty((1, 2, 3))
    >>> kernels.im2col(np.array([[[1.0, 2.0, 3.0]]]), cols, 2, padding=[(0, 1)])
    >>> cols[0]
    array([[1., 2., 3.],
           [2., 3., 0.]])
    """
    x, cols = plain("im2col", x=x, cols=cols)
    on = _checked("im2col", x, cols, cols, x, (size, stride, padding, dilation))
    source, result = in_order(x, cols)
    if cols.size:
        _run(_im2col, on, source, result)
    unflat(result, cols)


def col2im(cols, x, size, stride=1, padding=0, dilation=1):
    """Overwrite the images x with the sums of their elements in ``cols``: the adjoint of `im2col`, arguments as there.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import kernels
    >>> x = np.empty((1, 1, 3))
    >>> kernels.col2im(np.ones((1, 2, 2)), x, 2)
    >>> x
    array([[[1., 2., 1.]]])
    """
    x, cols = plain("col2im", x=x, cols=cols)
    on = _checked("col2im", x, cols, x, cols, (size, stride, padding, dilation))
    source, result = in_order(cols, x)
    if cols.size:
        _run(_col2im, on, result, source)
    else:
        result[...] = 0
    unflat(result, x)


def _run(function, on, x, cols):
    """Run the task ``function`` on arrays in C order."""
    tables = on.table(), on.spans()
    sizes = x.shape[0] * x.shape[1], math.prod(on.image), math.prod(on.size), math.prod(on.output)
    values = *addresses_of(x, cols, *tables), *sizes, 1
    submit(COLUMNS, x.dtype, values, (function,), _runtime.pays_threads(cols.size), (x, cols, *tables))


def _checked(name, x, cols, out, other, numbers):
    """The windows, after all checks."""
    check_images(name, "x", x)
    on = windows(name, x.shape[2:], *numbers)
    require_real(name, "x", x.dtype)
    wanted = (len(x), x.shape[1] * math.prod(on.size), math.prod(on.output))
    check_shape(name, "cols", cols, wanted, "x", x)
    if cols.dtype != x.dtype:
        raise TypeError(f"{name}: cols must be {x.dtype} as x is, got {cols.dtype}")
    check_output(name, "x" if out is x else "cols", out)
    distinct(name, out, other)
    return on
