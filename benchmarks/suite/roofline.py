"""How near each kernel comes to the peaks of operations and of bytes that are measured beside it."""

import os
from pathlib import Path

from .script import run

ROOFLINE = Path(__file__).parents[1] / "roofline.py"
KERNELS = [
    "product 256 x 256 x 256",
    "product 1024 x 1024 x 1024",
    "affine and ReLU 128, 784, 512",
    "conv 1-30 5x5 on 28x28",
    "conv 32-64 3x3 on 32x32",
    "conv 64-64 3x3 stride 2 on 32x32",
    "its gradients",
    "conv 64-128 1x1 on 16x16",
    "depthwise 64 3x3 on 32x32",
    "maximum of 2x2, 64 x 112x112",
    "mean of 2x2, 64 x 112x112",
    "ReLU",
    "sigmoid",
    "tanh",
    "softmax of 8192 x 1000",
    "softmax cross-entropy of 8192 x 1000",
    "SGD update",
]
THREADS = sorted({1, len(os.sched_getaffinity(0))})


class _Measured:
    timeout = 600

    def setup_cache(self):
        return run(ROOFLINE, "--json", "--rounds", 1, "--seconds", 0.2)


class Kernel(_Measured):
    params = (KERNELS, THREADS)
    param_names = ("kernel", "threads")

    def track_fraction(self, measured, kernel, threads):
        return measured[str(threads)]["kernels"][kernel]["fraction"]

    def track_gflops(self, measured, kernel, threads):
        result = measured[str(threads)]["kernels"][kernel]
        return result["operations"] / result["time"] / 1e3

    track_gflops.unit = "GFLOP/s"


class Peak(_Measured):
    params = (THREADS,)
    param_names = ("threads",)

    def track_gflops(self, measured, threads):
        return measured[str(threads)]["gflops"]

    def track_gbytes(self, measured, threads):
        return measured[str(threads)]["gbytes"]

    track_gflops.unit = "GFLOP/s"
    track_gbytes.unit = "GB/s"
