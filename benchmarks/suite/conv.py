"""Convolutions: forward, and gradients by input, weight and bias; and the time of PyTorch over that of fastbp."""

from functools import partial

import case
import convolutions
import numpy as np
from case import Case, normal
from timing import THREADS

from fastbp import kernels
from fastbp.kernels.windows import windows

from .script import effort, ratio, run


def operands(N, C, side, F, size, dtype, groups=1, **numbers):
    on = windows("benchmark", (side, side), size, **numbers)
    x, w, b = normal(dtype, N, C, side, side), normal(dtype, F, C // groups, size, size), normal(dtype, F)
    return x, w, b, normal(dtype, N, F, *on.output)


def forward(*sizes, **numbers):
    x, w, b, y = operands(*sizes, **numbers)
    return Case(lambda: kernels.conv_forward(x, w, b, y, **numbers), 2 * y.size * w[0].size, [x, w, b, y])


def backward(*sizes, **numbers):
    x, w, b, dy = operands(*sizes, **numbers)
    dx, dw, db = np.empty_like(x), np.empty_like(w), np.empty_like(b)
    call = lambda: kernels.conv_backward(dy, x, w, dx, dw, db, **numbers)  # noqa: E731
    return Case(call, 4 * dy.size * w[0].size, [x, w, dy, dx, dw, db])


# N images, C channels of side x side, F filters of size x size
SIZES = {
    "1-30 5x5 on 28x28": ((100, 1, 28, 30, 5), {}),
    "32-64 3x3 on 32x32": ((32, 32, 32, 64, 3), {"padding": 1}),
    "64-64 3x3 stride 2 on 32x32": ((32, 64, 32, 64, 3), {"padding": 1, "stride": 2}),
    "64-128 1x1 on 16x16": ((32, 64, 16, 128, 1), {}),
    "depthwise 64 3x3 on 32x32": ((32, 64, 32, 64, 3), {"padding": 1, "groups": 64}),
}
CASES = {
    f"conv_{function.__name__} {name}": partial(function, *sizes, **numbers)
    for name, (sizes, numbers) in SIZES.items()
    for function in (forward, backward)
}


class Conv(case.Timed):
    cases = CASES

    def setup_cache(self):
        case.compile_all(CASES)


class Peers:
    params = (list(convolutions.LAYERS), THREADS)
    param_names = ("layer", "threads")
    unit = "ratio"
    timeout = 1200

    def setup_cache(self):
        return run("convolutions", *effort(2, 0.2))

    def setup(self, measured, layer, threads):
        self.ratio = ratio(measured[str(threads)][layer])

    def track_ratio(self, measured, layer, threads):
        return self.ratio
