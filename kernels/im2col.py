"""The windows of an image as the columns of a matrix, and back.

    im2col   cols[n, (c, k), o] = x[n, c, o stride - before + k dilation], 0 in the padding
    col2im   x[n, c, i] = the sum of all cols[n, (c, k), o] that im2col takes from x[n, c, i]

c runs over the channels, k over the elements of a window, o over the windows, each in row-major order. Both are linear,
and adjoint to each other: <im2col(x), cols> = <x, col2im(cols)>. The matrix takes as many times the memory of x as a
window has elements.
"""

import math

import numpy as np
from numba import prange, types

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import check_output, distinct, require_real, rows, unflat
from fastbp.kernels._jit import array, kernel
from fastbp.kernels.windows import OUTPUT, SIZE, STRIDE, check_image, check_images, inside, place, volumes, windows

_table = array(types.int64, 2, layout="C")


@kernel(lambda real: (array(real, 5, layout="C"), array(real, 3, out=True, layout="C"), _table))
def _im2col(x, cols, table):
    N, C, D, H, W = x.shape
    KH, KW, K = table[1, SIZE], table[2, SIZE], table[0, SIZE] * table[1, SIZE] * table[2, SIZE]
    OD, OH, OW = table[0, OUTPUT], table[1, OUTPUT], table[2, OUTPUT]
    check_image(x, table)
    if cols.shape != (N, C * K, OD * OH * OW):
        raise ValueError("cols must be (N, C * elements of a window, number of windows)")
    stride = table[2, STRIDE]
    for row in prange(N * C * K):
        n, c, k = row // (C * K), row // K % C, row % K
        offset = place(table, 2, 0, k % KW)
        first, behind = inside(W, stride, offset, OW)
        for o in range(OD * OH):
            d, h = place(table, 0, o // OH, k // (KH * KW)), place(table, 1, o % OH, k // KW % KH)
            line = cols[n, c * K + k, o * OW : (o + 1) * OW]
            start, stop = (first, behind) if 0 <= d < D and 0 <= h < H else (OW, OW)
            line[:start] = 0
            for w in range(start, stop):
                line[w] = x[n, c, d, h, w * stride + offset]
            line[stop:] = 0


@kernel(lambda real: (array(real, 3, layout="C"), array(real, 5, out=True, layout="C"), _table))
def _col2im(cols, x, table):
    N, C, D, H, W = x.shape
    KH, KW, K = table[1, SIZE], table[2, SIZE], table[0, SIZE] * table[1, SIZE] * table[2, SIZE]
    OD, OH, OW = table[0, OUTPUT], table[1, OUTPUT], table[2, OUTPUT]
    check_image(x, table)
    if cols.shape != (N, C * K, OD * OH * OW):
        raise ValueError("cols must be (N, C * elements of a window, number of windows)")
    stride = table[2, STRIDE]
    for plane in prange(N * C):
        n, c = plane // C, plane % C
        x[n, c] = 0
        for k in range(K):
            offset = place(table, 2, 0, k % KW)
            first, behind = inside(W, stride, offset, OW)
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
    table = _checked("im2col", x, cols, cols, x, (size, stride, padding, dilation))
    result = rows(cols)
    _im2col(_runtime.threads_for(cols.size), volumes(rows(x)), result, table)
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
    table = _checked("col2im", x, cols, x, cols, (size, stride, padding, dilation))
    result = rows(x)
    _col2im(_runtime.threads_for(cols.size), rows(cols), volumes(result), table)
    unflat(result, x)


def _checked(name, x, cols, out, other, numbers):
    """The table of the windows, after all checks."""
    check_images(name, "x", x)
    on = windows(name, x.shape[2:], *numbers)
    require_real(name, "x", x.dtype)
    wanted = (len(x), x.shape[1] * math.prod(on.size), math.prod(on.output))
    if not isinstance(cols, np.ndarray) or cols.shape != wanted:
        got = f"the shape {cols.shape}" if isinstance(cols, np.ndarray) else type(cols).__name__
        raise ValueError(f"{name}: cols must be an array of the shape {wanted} for x {x.shape}, got {got}")
    if cols.dtype != x.dtype:
        raise TypeError(f"{name}: cols must be {x.dtype} as x is, got {cols.dtype}")
    check_output(name, "x" if out is x else "cols", out)
    distinct(name, out, other)
    return on.table()
