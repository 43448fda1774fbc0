"""Activations: 2^24 elements, which come from memory."""

from functools import partial

import case
from case import ELEMENTS, Case, normal

from fastbp import kernels


def forward(name, operations, dtype):
    x, y = normal(dtype, ELEMENTS), normal(dtype, ELEMENTS)
    return Case(lambda: getattr(kernels, f"{name}_forward")(x, y), operations * ELEMENTS, [x, y])


def backward(name, operations, dtype):
    dy, y, dx = (normal(dtype, ELEMENTS) for _ in range(3))
    return Case(lambda: getattr(kernels, f"{name}_backward")(dy, y, dx), operations * ELEMENTS, [dy, y, dx])


CASES = {
    "relu_forward": partial(forward, "relu", 1),
    "relu_backward": partial(backward, "relu", 2),
    "sigmoid_forward": partial(forward, "sigmoid", 4),
    "sigmoid_backward": partial(backward, "sigmoid", 3),
    "tanh_forward": partial(forward, "tanh", 5),
    "tanh_backward": partial(backward, "tanh", 3),
}


class Activation(case.Timed):
    cases = CASES

    def setup_cache(self):
        case.compile_all(CASES)
