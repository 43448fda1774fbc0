"""Windows as columns, and back."""

import case
import numpy as np
from case import Case, normal

from fastbp import kernels


def im2col(dtype):
    x, cols = normal(dtype, 32, 16, 32, 32), np.empty((32, 16 * 9, 900), dtype)
    return Case(lambda: kernels.im2col(x, cols, (3, 3)), 0, [x, cols])


def col2im(dtype):
    x, cols = np.empty((32, 16, 32, 32), dtype), normal(dtype, 32, 16 * 9, 900)
    return Case(lambda: kernels.col2im(cols, x, (3, 3)), cols.size, [cols, x])


CASES = {"im2col 16 3x3 on 32x32": im2col, "col2im 16 3x3 on 32x32": col2im}


class Columns(case.Timed):
    cases = CASES

    def setup_cache(self):
        case.compile_all(CASES)
