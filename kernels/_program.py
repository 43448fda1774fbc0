"""Programs: tasks with their records, run one after the other in a single compiled call.

A call of a compiled function costs about half a microsecond in Python, and its checks and views several more, which is
as long as the products of a small network take. Under `record`, kernels append their tasks to a program in place of
running them; after that a whole training step is one call.
"""

import numpy as np
from numpy.lib.array_utils import byte_bounds

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import check_memory, rows
from fastbp.kernels._interrupts import uninterrupted
from fastbp.kernels._jit import NotCompiled, array, call, index, kernel, vector
from fastbp.kernels._pointers import address, pointer_at, store
from fastbp.kernels._threads import POOL, spread


class NotRecordable(Exception):
    """Arrays that would have to be copied, or a step in NumPy, while a program is recorded."""


class Call:
    """A record and the steps that run it: address of the task, address of the record, whether it is worth threads."""

    def __init__(self, layout, dtype, *tasks):
        self.record = layout.new(dtype)
        self.address = self.record.ctypes.data
        self.steps = np.array([[task.address(dtype), self.address, 0] for task in tasks])


# Status of a program whose input is part of what it writes; tasks return smaller numbers.
OVERLAPS = 100


@kernel(lambda integer: (*[array(integer, 2, layout="C")] * 3, *[index] * 6, vector(integer, out=True)), integers=True)
def _run(steps, slots, written, x, x_stop, t, t_stop, threads, pool, count):
    """Run the rows of ``steps`` on the inputs at the addresses x and t, unless they meet the ranges in ``written``.

    The rows (place, 0 for x or 1 for t, offset) of ``slots`` say where addresses in x and t are put first. At the end
    ``count[0]`` is one more.
    """
    for i in range(written.shape[0]):
        start, stop = written[i, 0], written[i, 1]
        if (x < stop and start < x_stop) or (t < stop and start < t_stop):
            return OVERLAPS
    for i in range(slots.shape[0]):
        store(pointer_at(slots[i, 0], 0), 0, (t if slots[i, 1] else x) + slots[i, 2])
    for i in range(steps.shape[0]):
        task, record, wide = steps[i, 0], steps[i, 1], steps[i, 2]
        if wide and threads > 1:
            spread(pool, task, record, threads)
        else:
            status = call(task, record, 0, 1)
            if status:
                return status
    count[0] += 1
    return 0


_NOTHING, _NO_COUNT = np.empty((0, 2), np.int64), np.empty(1, np.int64)


def run(steps, threads):
    """Run the rows of ``steps``; the status of the serial task that stopped them, or 0."""
    pool = POOL.address(threads)
    return _run.compiled(steps.dtype)(steps, _NOTHING, _NOTHING, 0, 0, 0, 0, threads, pool, _NO_COUNT)


@kernel(lambda number: (vector(number),), integers=True)
def _address(x):
    return address(x)


def address_of(x):
    """Address of a C-ordered array; several times faster than ``x.ctypes.data``."""
    return _address.compiled(x.dtype)(x.reshape(-1))


def addresses_of(*arrays):
    """Addresses of C-ordered arrays, 0 for None."""
    return [0 if x is None else address_of(x) for x in arrays]


class Program:
    """Steps, and all that they point to."""

    def __init__(self):
        self._calls, self._kept = [], []
        self._workspaces, self._rates = [], []
        self.value = None  # where a loss leaves its value

    def add(self, steps, record, *kept):
        """Append the rows ``steps``, which run ``record``; ``kept`` are the arrays that it points to."""
        self._calls.append((steps, record))
        self._kept += kept

    def needs_workspace(self, record):
        """Have ``record["work"]`` point to as many elements as ``record["needed"]`` says."""
        self._workspaces.append(record)

    def follows_rate(self, record):
        """``record["alpha"]`` is the negative learning rate."""
        self._rates.append(record)

    def close(self, x, t, written):
        """End of recording.

        ``x`` and ``t`` are arrays of their own, in whose place `run` will be given others of their kind; ``written``:
        arrays of the user that the program changes.
        """
        if self._workspaces:
            needed = max(record["needed"].item() for record in self._workspaces)
            work = _runtime.aligned(needed, x.dtype)
            self._kept.append(work)
            for record in self._workspaces:
                record["work"], record["work_size"] = work.ctypes.data, work.size
        slots = []
        for which, stand_in in enumerate((x, t)):
            start, stop = byte_bounds(stand_in)
            for _, record in self._calls:
                for name in record.dtype.names:
                    if record.dtype[name].kind == "i" and start <= record[name][0] < stop:
                        place = record.ctypes.data + record.dtype.fields[name][1]
                        slots.append((place, which, record[name][0] - start))
        self._slots = np.array(slots) if slots else np.empty((0, 3), np.int64)
        self._kept = [a for a in self._kept if not np.may_share_memory(a, x) and not np.may_share_memory(a, t)]
        steps = [steps for steps, _ in self._calls]
        self._steps = np.concatenate(steps) if steps else _NOTHING
        self._is_wide = bool(self._steps.size and self._steps[:, 2].any())
        self._written = np.array([byte_bounds(array) for array in written] or _NOTHING)

    def set_rate(self, rate):
        """Use the learning rate ``rate`` from now on."""
        for record in self._rates:
            record["alpha"] = -rate

    def run(self, x, t, count=None):
        """Run all steps on the C-ordered arrays ``x`` and ``t``; 0, or the status of what stopped them.

        ``count[0]`` is one more when all have run, and not when one has stopped them.
        """
        threads, x_start, t_start = _runtime.team() if self._is_wide else 1, address_of(x), address_of(t)
        x_range, t_range = (x_start, x_start + x.nbytes), (t_start, t_start + t.nbytes)
        count, pool = _NO_COUNT if count is None else count, POOL.address(threads)
        run_steps = _run.compiled(self._steps.dtype)
        return run_steps(self._steps, self._slots, self._written, *x_range, *t_range, threads, pool, count)


def recorder():
    """The program that this Python thread records, or None."""
    return _runtime.own.program


def submit(layout, dtype, values, tasks, wide, kept, needed=None):
    """Run ``tasks`` one after the other on the record of ``values``, or record them.

    ``wide``: for each task, whether it is worth the threads; ``kept``: the arrays that the values point to; ``needed``:
    elements of workspace, for a layout that starts with "work work_size needed", which are not among the values then.
    Returns the record, and the status of the task that stopped the others, or 0.
    """
    program, calls, key = recorder(), _runtime.own.calls, (layout, dtype.char, tasks)
    # taken while it is in use: a signal handler may compute, too
    call = calls.pop(key, None) or Call(layout, dtype, *tasks)
    call.record[0] = values if needed is None else (0, 0, needed, *values)
    call.steps[:, 2] = wide
    if program is None:
        work = calls.pop(("work", dtype.char), None)
        if needed is not None:
            if work is None or work.size < needed:
                work = None  # freed before there is another
                _check_room(needed, dtype)
                work = _runtime.aligned(needed, dtype)
            call.record["work"], call.record["work_size"] = work.ctypes.data, work.size
        is_wide = any(wide) if isinstance(wide, tuple) else wide
        status = run(call.steps, _runtime.team() if is_wide else 1)
        calls[key], calls["work", dtype.char] = call, work
        return call.record, status
    if needed is not None:
        _check_room(needed, dtype)
        program.needs_workspace(call.record)
    program.add(call.steps, call.record, *kept)
    return call.record, 0


def _check_room(elements, dtype):
    check_memory(elements * dtype.itemsize, "room for its sums")


def in_order(*arrays):
    """The arrays in C order; while a program is recorded they must be so already."""
    ordered = [None if x is None else rows(x) for x in arrays]
    if recorder() and any(x is not y for x, y in zip(arrays, ordered, strict=True)):
        raise NotRecordable
    return ordered


def record(function):
    """The program of the kernels that ``function`` calls: they are written down there, and do not run.

    Signals wait meanwhile: their handlers may compute. Missing code is compiled in between, which takes seconds, and
    what has been recorded is recorded anew.
    """
    while True:
        try:
            return uninterrupted(_record, function)
        except NotCompiled as missing:
            missing.compile()


def _record(function):
    own, program = _runtime.own, Program()
    calls = own.calls
    try:
        own.calls, own.program = {}, program  # no call runs meanwhile
        function()
    finally:
        own.calls, own.program = calls, None
    return program
