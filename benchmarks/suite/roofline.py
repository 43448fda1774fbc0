"""How near each kernel comes to the peaks of operations and of bytes that are measured beside it."""

from roofline import KERNELS
from timing import THREADS

from .script import effort, run


class _Measured:
    timeout = 600

    def setup_cache(self):
        return run("roofline", *effort(1, 0.2))


class Kernel(_Measured):
    params = (list(KERNELS), THREADS)
    param_names = ("kernel", "threads")

    def track_fraction(self, measured, kernel, threads):
        return measured[str(threads)]["kernels"][kernel]["fraction"]


class Peak(_Measured):
    params = (THREADS,)
    param_names = ("threads",)

    def track_gflops(self, measured, threads):
        return measured[str(threads)]["gflops"]

    def track_gbytes(self, measured, threads):
        return measured[str(threads)]["gbytes"]

    track_gflops.unit = "GFLOP/s"
    track_gbytes.unit = "GB/s"
