"""Affine layers: a batch N, I inputs, O outputs; weights (O, I)."""

from functools import partial

import case
import numpy as np
from case import Case, normal

from fastbp import kernels
from fastbp.kernels.epilogue import RELU


def operands(N, I, O, dtype):
    return normal(dtype, N, I), normal(dtype, O, I), normal(dtype, O), normal(dtype, N, O)


def forward(N, I, O, dtype):
    x, w, b, y = operands(N, I, O, dtype)
    return Case(lambda: kernels.affine_relu_forward(x, w, b, y), 2 * N * I * O, [x, w, b, y])


def delta(N, I, O, dtype):
    x, w, _, dy = operands(N, I, O, dtype)
    dx = np.empty_like(x)
    return Case(lambda: kernels.affine_delta(dy, w, x, dx, RELU), 2 * N * I * O, [dy, w, x, dx])


def sgd_update(N, I, O, dtype):
    x, w, b, dy = operands(N, I, O, dtype)
    return Case(lambda: kernels.affine_sgd_update(dy, x, w, b, 1e-9), 2 * N * I * O, [dy, x, w, w, b, b])


LAYERS = (100, 784, 50), (128, 784, 512)
CASES = {
    f"affine_{function.__name__} {N},{I},{O}": partial(function, N, I, O)
    for N, I, O in LAYERS
    for function in (forward, delta, sgd_update)
}


class Affine(case.Timed):
    cases, dtypes = CASES, ("float32", "float64")

    def setup_cache(self):
        case.compile_all(CASES, self.dtypes)
