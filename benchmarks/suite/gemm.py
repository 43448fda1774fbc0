"""Matrix products: time, and time of the fastest other library over that of fastbp."""

from functools import partial

import case
import numpy as np
import products
from case import Case, normal
from timing import THREADS

from fastbp import kernels

from .script import effort, ratio, run


def matmul(n, dtype):
    a, b, out = normal(dtype, n, n), normal(dtype, n, n), np.empty((n, n), dtype)
    return Case(lambda: kernels.matmul(a, b, out), 2 * n**3, [a, b, out])


CASES = {f"matmul {n}": partial(matmul, n) for n in products.SQUARES}


class Gemm(case.Timed):
    cases, dtypes = CASES, ("float32", "float64")

    def setup_cache(self):
        case.compile_all(CASES, self.dtypes)


class Peers:
    params = (products.PRODUCTS, THREADS, ["float32", "float64"])
    param_names = ("product", "threads", "dtype")
    unit = "ratio"
    timeout = 1200

    def setup_cache(self):
        return {dtype: run("products", *effort(2, 0.2), "--dtype", dtype) for dtype in self.params[2]}

    def setup(self, measured, product, threads, dtype):
        self.ratio = ratio(measured[dtype][str(threads)][product])

    def track_ratio(self, measured, product, threads, dtype):
        return self.ratio
