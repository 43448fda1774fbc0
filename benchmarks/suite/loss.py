"""Losses with their gradients."""

from functools import partial

import case
import numpy as np
from case import ELEMENTS, Case, normal

from fastbp import kernels


def softmax_cross_entropy(N, O, dtype):
    u, labels, delta = normal(dtype, N, O), np.arange(N) % O, np.empty((N, O), dtype)
    return Case(lambda: kernels.softmax_cross_entropy(u, labels, delta), 5 * u.size, [u, labels, delta])


def elementwise(name, operations, dtype):
    u, t, delta = (normal(dtype, ELEMENTS) for _ in range(3))
    return Case(lambda: getattr(kernels, name)(u, t, 1.0, delta), operations * ELEMENTS, [u, t, delta])


CASES = {
    "softmax_cross_entropy 128,10": partial(softmax_cross_entropy, 128, 10),
    "softmax_cross_entropy 8192,1000": partial(softmax_cross_entropy, 8192, 1000),
    "squared_error": partial(elementwise, "squared_error", 4),
    "sigmoid_cross_entropy": partial(elementwise, "sigmoid_cross_entropy", 9),
}


class Loss(case.Timed):
    cases = CASES

    def setup_cache(self):
        case.compile_all(CASES)
