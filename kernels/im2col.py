"""The windows of an image as the columns of a matrix, and back.

    im2col   cols[n, (c, k), o] = x[n, c, o stride - before + k dilation], 0 in the padding
    col2im   x[n, c, i] = the sum of all cols[n, (c, k), o] that im2col takes from x[n, c, i]

c runs over the channels, k over the elements of a window, o over the windows, each in row-major order. Both are linear,
and adjoint to each other: <im2col(x), cols> = <x, col2im(cols)>. The matrix takes as many times the memory of x as a
window has elements.
"""

import math

from numba import prange

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import check_output, check_shape, distinct, require_real, rows, unflat
from fastbp.kernels._jit import array, inner, kernel
from fastbp.kernels.windows import INTEGERS, OUTPUT, SIZE, STRIDE, check_image, check_images, place, volumes, windows


@inner
def _check_columns(x, cols, table):
    """Refuse volumes and columns that are not those of the windows."""
    check_image(x, table)
    N, C = x.shape[:2]
    elements = table[0, SIZE] * table[1, SIZE] * table[2, SIZE]
    if cols.shape != (N, C * elements, table[0, OUTPUT] * table[1, OUTPUT] * table[2, OUTPUT]):
        raise ValueError("cols must be (N, C * elements of a window, number of windows)")


@kernel(lambda real: (array(real, 5, layout="C"), array(real, 3, out=True, layout="C"), INTEGERS, INTEGERS))
def _im2col(x, cols, table, spans):
    _check_columns(x, cols, table)
    N, C, D, H, _ = x.shape
    KH, KW, K = table[1, SIZE], table[2, SIZE], table[0, SIZE] * table[1, SIZE] * table[2, SIZE]
    OD, OH, OW, stride = table[0, OUTPUT], table[1, OUTPUT], table[2, OUTPUT], table[2, STRIDE]
    for row in prange(N * C * K):
        n, c, k = row // (C * K), row // K % C, row % K
        first, behind, offset = spans[k % KW, 0], spans[k % KW, 1], spans[k % KW, 2]
        for o in range(OD * OH):
            d, h = place(table, 0, o // OH, k // (KH * KW)), place(table, 1, o % OH, k // KW % KH)
            line = cols[n, c * K + k, o * OW : (o + 1) * OW]
            start, stop = (first, behind) if 0 <= d < D and 0 <= h < H else (OW, OW)
            line[:start] = 0
            for w in range(start, stop):
                line[w] = x[n, c, d, h, w * stride + offset]
            line[stop:] = 0


@kernel(lambda real: (array(real, 3, layout="C"), array(real, 5, out=True, layout="C"), INTEGERS, INTEGERS))
def _col2im(cols, x, table, spans):
    _check_columns(x, cols, table)
    N, C, D, H, _ = x.shape
    KH, KW, K = table[1, SIZE], table[2, SIZE], table[0, SIZE] * table[1, SIZE] * table[2, SIZE]
    OD, OH, OW, stride = table[0, OUTPUT], table[1, OUTPUT], table[2, OUTPUT], table[2, STRIDE]
    for plane in prange(N * C):
        n, c = plane // C, plane % C
        x[n, c] = 0
        for k in range(K):
            first, behind, offset = spans[k % KW, 0], spans[k % KW, 1], spans[k % KW, 2]
            for o in range(OD * OH):
                d, h = place(table, 0, o // OH, k // (KH * KW)), place(table, 1, o % OH, k // KW % KH)
                if 0 <= d < D and 0 <= h < H:
                    for w in range(first, behind):
                        x[n, c, d, h, w * stride + offset] += cols[n, c * K + k, o * OW + w]


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
    on = _checked("im2col", x, cols, cols, x, (size, stride, padding, dilation))
    result = rows(cols)
    if cols.size:
        _im2col(_runtime.threads_for(cols.size), volumes(rows(x)), result, on.table(), on.spans())
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
    on = _checked("col2im", x, cols, x, cols, (size, stride, padding, dilation))
    result = rows(x)
    if cols.size:
        _col2im(_runtime.threads_for(cols.size), rows(cols), volumes(result), on.table(), on.spans())
    else:
        result[...] = 0
    unflat(result, x)


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
