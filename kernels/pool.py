"""Pooling: every window of a channel becomes one number.

    max    y[n, c, o] = max over the real elements k of window o of x[n, c, place(o, k)]
           dx[n, c, i] = sum of dy[n, c, o] over the windows whose largest element is i, the first one of several
    mean   y[n, c, o] = sum over the elements k of x[n, c, place(o, k)] / count(o)
           dx[n, c, i] = sum of dy[n, c, o] / count(o) over the windows that i is in

x (N, C, image), y (N, C, windows), with images of one, two or three dimensions. Padding never is the largest element; it
is 0 for the mean, where count(o) is the number of real elements, or of all but those behind the padding. NaN is larger
than any number.
"""

import math

import numpy as np
from numba import prange, types

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import check_output, distinct, require_real, rows, unflat
from fastbp.kernels._jit import array, kernel
from fastbp.kernels.windows import OUTPUT, SIZE, check_image, place, volumes, windows_on

_table = array(types.int64, 2, layout="C")
