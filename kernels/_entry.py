"""Entries: a short way into tasks for arrays that are just as these want them."""

from numba import types

from fastbp.kernels import _runtime
from fastbp.kernels._jit import array, call, inner
from fastbp.kernels._program import Call, recorder, run

# The type of `Call.steps`.
STEPS = array(types.int64, 2, layout="C")

# What a call makes of arrays and numbers that do not fit.
REFUSED = (TypeError, ValueError, AttributeError, LookupError, OverflowError)


@inner
def finish(steps, threads):
    """The end of an `Entry`: with one thread, run the tasks; whether none of them has stopped the others."""
    if threads == 1:
        for i in range(steps.shape[0]):
            if call(steps[i, 0], steps[i, 1], 0, 1):
                return False
    return True


class Entry:
    """Tasks for arrays that are just as they want them: a compiled function checks and describes them, and runs it.

    The checks, copies and records of `submit` take five times as long as such a call. ``enter(steps, threads, ...)`` is
    a kernel that describes the arrays in the record at ``steps[0, 1]``; it gives False where they do not fit, and has
    written nothing to them then, else what `finish` gives. ``wide``: for each task, whether it is worth threads. That
    the arrays are plain and of one dtype (`_arrays.py`) is seen to by whoever runs it.
    """

    def __init__(self, layout, enter, *tasks, wide=(True,)):
        self.layout, self.enter, self.tasks, self.wide = layout, enter, tasks, wide

    def run(self, dtype, work, *arguments):
        """Whether the tasks have run, over threads if ``work`` is worth them; one of `REFUSED`, or False, if not."""
        calls, key = _runtime.own.calls, (self, dtype)
        enter, steps, _ = prepared = calls.get(key) or self._prepare(dtype)
        threads = 1 if work < _runtime.PARALLEL_WORK else _runtime.team()
        if threads == 1:
            return enter(steps, 1, *arguments)
        calls.pop(key, None)  # in use until it has run: a signal handler may compute, too
        done = enter(steps, threads, *arguments) and run(steps, threads) == 0
        calls[key] = prepared
        return done

    def _prepare(self, dtype):
        """What calls need, kept for this Python thread, so that no other writes to its record."""
        if recorder() or not dtype.isnative:  # the task is to be recorded, which `submit` does; or refused
            raise ValueError
        call = Call(self.layout, dtype, *self.tasks)
        call.steps[:, 2] = self.wide
        prepared = _runtime.own.calls[self, dtype] = self.enter.compiled(dtype), call.steps, call
        return prepared
