"""Cases: kernels on operands of a size. asv times them (`suite/`), `roofline.py` sets them beside the peaks."""

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from timing import THREADS

RNG = np.random.default_rng(0)
PERIOD = 9973  # a prime number
ELEMENTS = 2**24  # 64 MiB in float32: beyond most caches


class Case(NamedTuple):
    """A call, its operations (each addition, multiplication, comparison, exponential is one), and its operands.

    An array that is both read and written stands twice among the operands.
    """

    call: Callable[[], object]
    operations: int
    arrays: list[np.ndarray]


def normal(dtype, *shape):
    """An operand with normally distributed elements, which are the same again after a few thousand."""
    return np.resize(RNG.standard_normal(PERIOD).astype(dtype), shape)


@functools.cache
def prepared(make, dtype, threads):
    """The call of the case ``make(dtype)``, after a first one, on a number of threads."""
    import fastbp as fb

    fb.set_num_threads(threads)
    call = make(dtype).call
    call()
    return call


def compile_all(cases, dtypes=("float32",)):
    """Run every case once: compiled code is in the cache then. What fails here fails once more where it is timed."""
    for make in cases.values():
        for dtype in dtypes:
            for threads in THREADS:
                with suppress(Exception):
                    prepared(make, dtype, threads)
            prepared.cache_clear()


class Timed:
    """What asv does with the ``cases`` of a class, {name: function of a dtype}: times calls, by dtype and threads.

    There is no ``setup``: asv would run it before every call, and take every call for a sample of its own. Classes
    compile in ``setup_cache``, which must stand in each of them, as asv runs it once for each place in the source.
    The operands are made at the first call, for which there is the time to warm up.
    """

    dtypes = ("float32",)
    param_names = ("case", "dtype", "threads")
    timeout = 300
    warmup_time = 1.5

    def __init_subclass__(cls):
        cls.params = list(cls.cases), list(cls.dtypes), THREADS

    def time_call(self, case, dtype, threads):
        prepared(self.cases[case], dtype, threads)()
