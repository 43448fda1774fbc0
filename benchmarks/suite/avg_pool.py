"""Means of windows of 2 x 2, and of whole images."""

import case
import numpy as np
from case import Case, normal

from fastbp import kernels

N, C, SIDE = 32, 64, 112


def forward(dtype):
    x, y = normal(dtype, N, C, SIDE, SIDE), np.empty((N, C, SIDE // 2, SIDE // 2), dtype)
    return Case(lambda: kernels.avg_pool_forward(x, y, 2), x.size, [x, y])


def backward(dtype):
    dy, dx = normal(dtype, N, C, SIDE // 2, SIDE // 2), np.empty((N, C, SIDE, SIDE), dtype)
    return Case(lambda: kernels.avg_pool_backward(dy, dx, 2), dx.size, [dy, dx])


def whole(dtype):
    x, y = normal(dtype, N, C, SIDE, SIDE), np.empty((N, C), dtype)
    return Case(lambda: kernels.global_avg_pool_forward(x, y), x.size, [x, y])


CASES = {
    f"avg_pool_forward 2x2 on {C}x{SIDE}x{SIDE}": forward,
    f"avg_pool_backward 2x2 on {C}x{SIDE}x{SIDE}": backward,
    f"global_avg_pool_forward {C}x{SIDE}x{SIDE}": whole,
}


class AvgPool(case.Timed):
    cases = CASES

    def setup_cache(self):
        case.compile_all(CASES)
