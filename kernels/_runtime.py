"""Threads: how many, and when they pay."""

import os
import threading

import numba
import numpy as np

from fastbp.kernels import _cpu

# Multiply-adds from which threads pay, measured with two of them (Zen 4, float32, square products, microseconds with /
# without):
#     64^3 = 262,144   5.8 / 5.8      72^3 = 373,248   7.0 / 8.4      80^3 = 512,000   8.0 / 10.4
# OpenBLAS switches at 262,144.
PARALLEL_WORK = 300_000


class _Own(threading.local):
    """What a Python thread has of its own: the program that it records, and the calls that it uses again and again."""

    def __init__(self):
        self.program = None
        self.calls = {}


own = _Own()

MOST = 2**14  # threads: there are 16 bits for shares in a word of the pool

_local = threading.local()
_state = {"team": 0}

# `team` for compiled code, which reads it through its address; 0 before the first question.
TEAM = np.zeros(1, np.int64)


def _checked(threads, origin: str) -> int:
    pool = min(numba.config.NUMBA_NUM_THREADS, MOST)
    whole = isinstance(threads, int | np.integer) and not isinstance(threads, bool)
    if not whole or not 1 <= threads <= pool:
        hint = "; start Python with NUMBA_NUM_THREADS set higher for more" if whole and threads > pool else ""
        raise ValueError(f"{origin} must be an integer from 1 to {pool}, got {threads!r}{hint}")
    return int(threads)


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 10  # Python reads no integers of thousands of digits


def _from_environment() -> int | None:
    """FASTBP_NUM_THREADS, checked; None when it is not set."""
    text = os.environ.get("FASTBP_NUM_THREADS")
    if not text:
        return None
    return _checked(int(text) if _is_number(text.strip()) else text, "FASTBP_NUM_THREADS")


def _from_openmp() -> int | None:
    """OMP_NUM_THREADS, as other libraries heed it, or the first number of its list; None when it is not a number."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return max(1, min(int(first), numba.config.NUMBA_NUM_THREADS, MOST)) if _is_number(first) else None


def get_num_threads() -> int:
    """Threads that kernels use.

    The number last given to `set_num_threads`, else the environment variable FASTBP_NUM_THREADS, else OMP_NUM_THREADS,
    else the CPUs that this process may run on: those in its affinity mask, or what the quota of its container grants if
    that is less.

    Raises
    ------
    ValueError
        When FASTBP_NUM_THREADS is no integer from 1 to NUMBA_NUM_THREADS.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.set_num_threads(1)
    >>> fb.get_num_threads()
    1
    """
    if not _state["team"]:
        _set(_from_environment() or _from_openmp() or min(numba.config.NUMBA_NUM_THREADS, _cpu.available()))
    return _state["team"]


def _set(threads: int) -> None:
    _state["team"] = TEAM[0] = threads


def set_num_threads(threads: int) -> None:
    """Set the number of threads of all kernels, for every Python thread of the process.

    Results do not depend on it: they are bitwise the same for every number.

    Parameters
    ----------
    threads : int
        From 1 to NUMBA_NUM_THREADS at the start of the process, which is by default the number of CPUs.

    Raises
    ------
    ValueError
        When ``threads`` is anything else.
    """
    _set(_checked(threads, "threads"))


def pays_threads(work: float) -> bool:
    """Whether ``work`` multiply-adds (or what takes as long) are worth the threads."""
    return work >= PARALLEL_WORK


def team() -> int:
    """`get_num_threads`, without its documentation."""
    return _state["team"] or get_num_threads()


def workspace(elements: int, dtype: np.dtype) -> np.ndarray:
    """A one-dimensional array of at least ``elements``, aligned to 64 bytes, kept for this Python thread.

    Holds packed panels while one product runs; its contents mean nothing afterwards.
    """
    pool = _local.__dict__.setdefault("pool", {})
    array = pool.get(dtype)
    if array is None or array.size < elements:
        array = pool[dtype] = aligned(elements, dtype)
    return array


def aligned(elements: int, dtype: np.dtype) -> np.ndarray:
    """A new one-dimensional array that starts at a cache line."""
    padding = 64 // dtype.itemsize
    raw = np.empty(elements + padding, dtype)
    skip = -raw.ctypes.data % 64 // dtype.itemsize
    return raw[skip : skip + elements]
