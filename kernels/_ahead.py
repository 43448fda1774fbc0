"""Kernels compiled ahead of their use, by other processes.

Numba compiles one function at a time in a process. Where several processors are free, other processes compile the
kernels that come last in the order of use and leave them in the cache, and this process those that come first; where
they meet, the rest is loaded. What fails there is compiled here: nothing depends on it.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise

import numpy as np

from fastbp.kernels import _cache, _runtime
from fastbp.kernels._jit import ROUTINES
from fastbp.kernels.winograd import MIN_CHANNELS

# What takes longest to compile for a training step, in the order of use.
_CONV = "max_pool.pool_planes_uint8", "correlate.pack_rows", "correlate.correlate"
_WINOGRAD = "winograd.pack_transformed", "winograd.correlate_transformed"
_DENSE = "gemm.pack", "gemm.multiply", "product.describe", "loss.softmax_cross_entropy"
_WINOGRAD_BACK = "winograd_taps.sum_tiles", "winograd_taps.finish_tiles"
_CONV_BACK = "tap_sums.sum_taps", "tap_sums.finish_taps"
_MOST = 3  # helpers: more would start later than they are needed


def kernels_of(filters: Sequence[int]) -> tuple[str, ...]:
    """Names of kernels of a network with convolutions of 3 x 3, with so many ``filters`` each, behind few channels."""
    if not filters:
        return _DENSE
    if any(min(pair) >= MIN_CHANNELS for pair in pairwise(filters)):
        return *_CONV, *_WINOGRAD, *_DENSE, *_WINOGRAD_BACK, *_CONV_BACK
    return *_CONV, *_DENSE, *_CONV_BACK


def missing(names: Sequence[str], dtype: np.dtype) -> list[str]:
    """Those of ``names`` that no process has compiled for this dtype yet."""
    return [name for name in names if not _cache.has(f"{name}-{dtype.char}")]


@contextmanager
def compiling(names: Sequence[str], dtype: np.dtype) -> Iterator[None]:
    """Have other processes compile the kernels of these names while the body runs."""
    helpers: list[subprocess.Popen[bytes]] = []
    count = min(_MOST, len(names) - 1, _runtime.get_num_threads() - 1) if _cache.writable() else 0
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    with suppress(OSError):  # without a further process this one compiles
        for n in range(count):
            command = [sys.executable, "-P", "-m", __name__, str(dtype), *names[::-1][n::count]]
            helpers.append(subprocess.Popen(command, stdin=pipe, stdout=nothing, stderr=nothing))
    try:
        yield
    finally:
        for helper in helpers:
            with helper:  # closes its pipe and waits
                helper.kill()


def _end_with_parent() -> None:
    """End this process when the one that it helps has ended, however: that holds the other end of standard input."""
    os.read(0, 1)  # nothing is ever written
    os._exit(1)


def _main(dtype: str, *names: str) -> None:
    if hasattr(os, "nice"):
        os.nice(10)  # the process that is helped comes first
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for name in names:
        ROUTINES[name].compile(np.dtype(dtype))


if __name__ == "__main__":
    import fastbp.kernels  # noqa: F401  all routines are known then

    _main(*sys.argv[1:])
