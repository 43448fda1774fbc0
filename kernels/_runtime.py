"""Threads: how many, when they pay, and when they must not be used."""

import os
import threading

import numba
import numpy as np

from fastbp.kernels import _cpu

# Multiply-adds from which a parallel region pays, measured with two threads under OpenMP (Zen 4, float32, square
# products, microseconds with / without the region):
#     64^3 = 262,144   7.2 / 6.2      72^3 = 373,248   8.7 / 8.9      80^3 = 512,000   9.7 / 10.9
# The region itself takes about 4 of them. OpenBLAS switches at 262,144.
PARALLEL_WORK = 400_000


class _Own(threading.local):
    """What a Python thread has of its own: the program that it records, and the calls that it uses again and again."""

    def __init__(self):
        self.program = None
        self.calls = {}


own = _Own()

_local = threading.local()
_workqueue_lock = threading.Lock()
_state = {"team": 0, "launched": False, "forked": False}

# `team` for compiled code, which reads it through its address; 0 before the first question.
TEAM = np.zeros(1, np.int64)


def _checked(threads, origin: str) -> int:
    pool = numba.config.NUMBA_NUM_THREADS
    whole = isinstance(threads, int | np.integer) and not isinstance(threads, bool)
    if not whole or not 1 <= threads <= pool:
        hint = "; start Python with NUMBA_NUM_THREADS set higher for more" if whole and threads > pool else ""
        raise ValueError(f"{origin} must be an integer from 1 to {pool}, got {threads!r}{hint}")
    return int(threads)


def _from_environment() -> int | None:
    """FASTBP_NUM_THREADS, checked; None when it is not set."""
    text = os.environ.get("FASTBP_NUM_THREADS")
    if not text:
        return None
    return _checked(int(text) if text.strip().isdecimal() else text, "FASTBP_NUM_THREADS")


def get_num_threads() -> int:
    """Threads that kernels use.

    The number last given to `set_num_threads`, else the environment variable FASTBP_NUM_THREADS, else the CPUs that
    this process may run on: those in its affinity mask, or what the quota of its container grants if that is less.

    Raises
    ------
    ValueError
        When FASTBP_NUM_THREADS is no integer from 1 to Numba's pool size.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.set_num_threads(1)
    >>> fb.get_num_threads()
    1
    """
    if not _state["team"]:
        _set(_from_environment() or min(numba.config.NUMBA_NUM_THREADS, _cpu.available()))
    return _state["team"]


def _set(threads: int) -> None:
    _state["team"] = threads
    TEAM[0] = 1 if _state["forked"] else threads


def set_num_threads(threads: int) -> None:
    """Set the number of threads of all kernels, for every Python thread of the process.

    Results do not depend on it: they are bitwise the same for every number.

    Parameters
    ----------
    threads : int
        From 1 to the size of Numba's pool (NUMBA_NUM_THREADS, by default the number of CPUs).

    Raises
    ------
    ValueError
        When ``threads`` is anything else.
    """
    _set(_checked(threads, "threads"))


def threads_for(work: float) -> int:
    """Threads to use for ``work`` multiply-adds (or what takes as long): 1 or the whole team.

    Two states only: libgomp is slow to change the size of a team. A forked child stays serial, because GNU OpenMP
    dies in a child of a process that had threads.
    """
    return team() if pays_threads(work) else 1


def pays_threads(work: float) -> bool:
    """Whether ``work`` multiply-adds (or what takes as long) are worth a parallel region."""
    return work >= PARALLEL_WORK


def team() -> int:
    """Threads that a parallel region may use: 1 in a forked child."""
    threads = get_num_threads()
    return 1 if _state["forked"] else threads


def launch(parallel, serial, args):
    """Run ``parallel(*args)`` with the team applied to this Python thread.

    The workqueue layer aborts the process when two Python threads enter it at once: there the second one runs the
    serial variant, which gives the same bits.
    """
    team = get_num_threads()
    if getattr(_local, "team", 0) != team:
        numba.set_num_threads(team)  # also starts Numba's pool
        _local.team = team
        _state["locked"] = numba.threading_layer() == "workqueue"
    if not _state["locked"]:
        return parallel(*args)
    if not _workqueue_lock.acquire(blocking=False):
        return serial()(*args)
    try:
        return parallel(*args)
    finally:
        _workqueue_lock.release()


def note_launch() -> None:
    """Remember that Numba's pool runs: making or loading a parallel variant starts it."""
    _state["launched"] = True


def layer() -> str:
    """Numba's threading layer, starting its pool if need be."""
    note_launch()
    numba.set_num_threads(get_num_threads())
    return numba.threading_layer()


def _after_fork_in_child() -> None:
    _state["forked"] = _state["launched"]
    _set(_state["team"])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


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
