"""Standardising 4096 samples of 784 numbers, with a limit and without."""

from functools import partial

import case
import numpy as np
from case import Case, normal

from fastbp import kernels

SHAPE = 4096, 784


def constants(dtype):
    return normal(dtype, SHAPE[1]), np.abs(normal(dtype, SHAPE[1])) + np.asarray(1, dtype)


def forward(limit, operations, dtype):
    x, (mean, std) = normal(dtype, *SHAPE), constants(dtype)
    y = np.empty_like(x)
    return Case(lambda: kernels.standardize_forward(x, mean, std, y, limit), operations * x.size, [x, mean, std, y])


def backward(limit, operations, dtype):
    dy, x, (mean, std) = normal(dtype, *SHAPE), normal(dtype, *SHAPE), constants(dtype)
    dx, read = np.empty_like(x), [] if limit is None else [x, mean]
    return Case(
        lambda: kernels.standardize_backward(dy, x, mean, std, dx, limit), operations * x.size, [dy, *read, std, dx]
    )


CASES = {
    "standardize_forward": partial(forward, None, 2),
    "standardize_forward with a limit": partial(forward, 5.0, 8),
    "standardize_backward": partial(backward, None, 1),
    "standardize_backward with a limit": partial(backward, 5.0, 11),
}


class Standardize(case.Timed):
    cases = CASES

    def setup_cache(self):
        case.compile_all(CASES)
