"""Softmax and its logarithm: 8192 rows of 1000."""

from functools import partial

import case
import numpy as np
from case import Case, normal

from fastbp import kernels

SHAPE = 8192, 1000


def forward(name, operations, dtype):
    u = normal(dtype, *SHAPE)
    y = np.empty_like(u)
    return Case(lambda: getattr(kernels, f"{name}_forward")(u, y), operations * u.size, [u, y])


def backward(name, operations, dtype):
    dy, y, dx = (normal(dtype, *SHAPE) for _ in range(3))
    return Case(lambda: getattr(kernels, f"{name}_backward")(dy, y, dx), operations * y.size, [dy, y, dx])


CASES = {
    "softmax_forward": partial(forward, "softmax", 5),
    "softmax_backward": partial(backward, "softmax", 4),
    "log_softmax_forward": partial(forward, "log_softmax", 6),
    "log_softmax_backward": partial(backward, "log_softmax", 4),
}


class Softmax(case.Timed):
    cases = CASES

    def setup_cache(self):
        case.compile_all(CASES)
