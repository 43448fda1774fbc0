"""Numba's start, before anything else here needs it: what keeps it from starting becomes one line."""

import os

from fastbp.kernels._interrupts import uninterrupted


def _require_threads() -> None:
    text = os.environ.get("NUMBA_NUM_THREADS", "1")
    try:
        threads = int(text)
    except ValueError:
        threads = 0
    if threads < 1:
        raise ImportError(f"fastbp: NUMBA_NUM_THREADS must be an integer of at least 1, got {text!r}")


def _start() -> None:
    import numba.core.registry

    numba.core.registry.cpu_target.target_context.codegen()


_require_threads()
uninterrupted(_start)  # a second import in the same process would meet what a part of the first has registered
