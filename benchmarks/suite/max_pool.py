"""Maxima of windows of 2 x 2 that move by two, and of 3 x 3 that overlap."""

from functools import partial

import case
import numpy as np
from case import Case, normal

from fastbp import kernels

N, C, SIDE = 32, 64, 112


def operands(size, dtype):
    side = (SIDE - size) // 2 + 1
    y = normal(dtype, N, C, side, side)
    return normal(dtype, N, C, SIDE, SIDE), y, np.empty(y.shape, kernels.index_dtype((size, size)))


def forward(size, dtype):
    x, y, index = operands(size, dtype)
    call = lambda: kernels.max_pool_forward(x, y, index, size, 2)  # noqa: E731
    return Case(call, y.size * (size * size - 1), [x, y, index])


def backward(size, dtype):
    x, y, index = operands(size, dtype)
    kernels.max_pool_forward(x, y, index, size, 2)
    return Case(lambda: kernels.max_pool_backward(y, index, x, size, 2), y.size, [y, index, x])


CASES = {
    f"max_pool_{function.__name__} {size}x{size} on {C}x{SIDE}x{SIDE}": partial(function, size)
    for size in (2, 3)
    for function in (forward, backward)
}


class MaxPool(case.Timed):
    cases = CASES

    def setup_cache(self):
        case.compile_all(CASES)
