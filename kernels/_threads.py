"""Threads that help with the shares of a task: whoever is free takes the next share.

A caller publishes a task with its record, takes shares itself, and waits only for shares that others have taken. So a
thread that the system does not run, because another process has its processor, delays nobody: its share is done by
those who run. Helpers look for work for about `SPIN` microseconds after the last share, and sleep then, as does a
caller that waits longer; with a runtime of OpenMP, whose shares are fixed, one busy process next to it made a training
step of 784-128-10 take fifteen times as long.

Whether helpers help is weighed all the time: what they save is the time of the shares that they do, what they cost is
that of waiting for them. Where they cost more, as on a machine that is busy with something else, the caller does
without them for `SHORTEST` milliseconds, and twice as long each time that this happens again, up to `LONGEST`, until
they have saved `ENOUGH`.

There is one pool in a process. A caller that finds it taken by another Python thread does all by itself, which gives
the same bits; so does a process that cannot start threads. A forked child has a pool of its own.

    word    job << 32 | shares << 16 | next share     read and written at once: a share is taken from one job only
"""

import atexit
import ctypes
import os
import platform
import sys
import threading
import time

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.kernels._jit import call, index, inner, kernel, vector
from fastbp.kernels._pointers import address, load, pointer_at, store

SPIN = 100  # microseconds
SHORTEST, LONGEST, ENOUGH = 8, 128, 8  # milliseconds
_LINE = 16  # integers from one word to the next: two cache lines, since processors fetch them in pairs
# Words of the pool. WORD: see above; TASK, RECORD: of the job; DONE: shares that helpers have finished; SLEEPING:
# helpers that sleep; WAITING: whether the caller does; TAKEN: whether there is a caller; SPINS, TICKS: `SPIN` in pauses
# and on the clock; STOP: whether helpers shall end; LOCK: to sleep, with HELPERS and CALLER to wake them; CALLS:
# addresses of `_FUNCTIONS`. CPU: where the caller is, MET: whether a helper has found itself there; FASTEST: the
# shortest time of a helper for a share; SAVED: what helpers have saved; UNTIL: when they are asked again, ALONE: after
# how long.
WORD, TASK, DONE, SLEEPING, WAITING, TAKEN, SPINS, STOP, LOCK, HELPERS, CALLER, CALLS = (_LINE * n for n in range(12))
RECORD, CPU, MET, FASTEST, TICKS = TASK + 1, TASK + 2, TASK + 3, TASK + 4, SPINS + 1
SAVED, UNTIL, ALONE = TAKEN + 1, TAKEN + 2, TAKEN + 3
_NEXT, _SHARES = 2**16 - 1, 16

# Lock, unlock, sleep until woken (which unlocks and locks again), wake all, number of this CPU (not on every system).
_FUNCTIONS: tuple[str, ...]
if sys.platform == "win32":
    _library = ctypes.WinDLL("kernel32")
    _FUNCTIONS = (
        *("AcquireSRWLockExclusive", "ReleaseSRWLockExclusive", "SleepConditionVariableSRW"),
        *("WakeAllConditionVariable", "GetCurrentProcessorNumber"),
    )
else:
    _library = ctypes.CDLL(None)
    _FUNCTIONS = (
        *("pthread_mutex_lock", "pthread_mutex_unlock", "pthread_cond_wait", "pthread_cond_broadcast"),
        "sched_getcpu",
    )


def _word(builder, address, place):
    integer = ir.IntType(64)
    return builder.gep(builder.inttoptr(address, integer.as_pointer()), [place], source_etype=integer)


@intrinsic
def _read(typing_context, pool, place):
    """The word at ``place``, as it is now."""

    def generate(context, builder, signature, arguments):
        return builder.load_atomic(_word(builder, *arguments), "seq_cst", 8, typ=ir.IntType(64))

    return index(index, index), generate


@intrinsic
def _write(typing_context, pool, place, value):
    """Set the word at ``place``; all that was written before can be seen by whoever sees it."""

    def generate(context, builder, signature, arguments):
        *place, value = arguments
        builder.store_atomic(value, _word(builder, *place), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(index, index, index), generate


@intrinsic
def _add(typing_context, pool, place, value):
    """Add to the word at ``place``; what it was before."""

    def generate(context, builder, signature, arguments):
        *place, value = arguments
        return builder.atomic_rmw("add", _word(builder, *place), value, "seq_cst")

    return index(index, index, index), generate


@intrinsic
def _exchange(typing_context, pool, place, value):
    """Set the word at ``place``; what it was before."""

    def generate(context, builder, signature, arguments):
        *place, value = arguments
        return builder.atomic_rmw("xchg", _word(builder, *place), value, "seq_cst")

    return index(index, index, index), generate


_YIELD = "llvm.aarch64.hint", (ir.IntType(32)(1),)
_X86_PAUSE = "llvm.x86.sse2.pause", ()
_PAUSES = {"x86_64": _X86_PAUSE, "amd64": _X86_PAUSE, "aarch64": _YIELD, "arm64": _YIELD}


@intrinsic
def _pause(typing_context):
    """Tell the processor that this loop waits."""
    name, arguments = _PAUSES.get(platform.machine().lower(), ("", ()))

    def generate(context, builder, signature, _):
        if name:
            kind = ir.FunctionType(ir.VoidType(), [a.type for a in arguments])
            builder.call(builder.module.globals.get(name) or ir.Function(builder.module, kind, name), arguments)
        return context.get_dummy_value()

    return types.void(), generate


def _function(builder, pool, number):
    """The address of function ``number`` of the system."""
    integer = ir.IntType(64)
    return builder.load(_word(builder, pool, builder.add(number, integer(CALLS))), typ=integer)


@intrinsic
def _system(typing_context, pool, number, first, second):
    """Call number ``number`` of `_FUNCTIONS` with the addresses of one or two words of the pool.

    What a function does not take does no harm; Windows wants two numbers more: the longest time, and 0.
    """

    def generate(context, builder, signature, arguments):
        pool, number, first, second = arguments
        integer, small = ir.IntType(64), ir.IntType(32)
        function = _function(builder, pool, number)
        kind = ir.FunctionType(small, [integer, integer, small, small])
        words = [builder.ptrtoint(_word(builder, pool, word), integer) for word in (first, second)]
        builder.call(builder.inttoptr(function, kind.as_pointer()), [*words, small(2**32 - 1), small(0)])
        return context.get_dummy_value()

    return types.void(index, index, index, index), generate


@intrinsic
def _ticks(typing_context):
    """What the clock of the processor shows; 0 where programs may not look at it."""
    has_clock = platform.machine().lower() in ("x86_64", "amd64")

    def generate(context, builder, signature, arguments):
        integer, name = ir.IntType(64), "llvm.readcyclecounter"
        if not has_clock:
            return integer(0)
        function = builder.module.globals.get(name) or ir.Function(builder.module, ir.FunctionType(integer, []), name)
        return builder.call(function, [])

    return index(), generate


@intrinsic
def _cpu(typing_context, pool):
    """The CPU that runs this, -1 where the system does not tell."""

    def generate(context, builder, signature, arguments):
        integer = ir.IntType(64)
        if not hasattr(_library, _FUNCTIONS[_WHERE]):
            return integer(-1)
        function = _function(builder, arguments[0], integer(_WHERE))
        kind = ir.FunctionType(ir.IntType(32), [])
        return builder.sext(builder.call(builder.inttoptr(function, kind.as_pointer()), []), integer)

    return index(index), generate


_ACQUIRE, _RELEASE, _SLEEP, _WAKE, _WHERE = range(5)


@inner
def _is_open(word, number):
    """Whether there is a share that nobody has taken, of a job for more than ``number`` threads."""
    shares = word >> _SHARES & _NEXT
    return word & _NEXT < shares and number < shares


@inner
def _wake(pool, sleepers):
    """Wake who sleeps at the word ``sleepers``: under the lock, so that nobody is about to fall asleep."""
    _system(pool, _ACQUIRE, LOCK, LOCK)
    _system(pool, _WAKE, sleepers, LOCK)
    _system(pool, _RELEASE, LOCK, LOCK)


@inner
def _do_shares(pool, number):
    """Do shares as long as there are any, as thread ``number`` of those that do; how many."""
    count = 0
    while _is_open(_read(pool, WORD), number):
        word = _add(pool, WORD, 1)
        if _is_open(word, number):  # its job cannot end before this share has: what is read here belongs to it
            words, start = pointer_at(pool, 0), _ticks()
            call(load(words, TASK), load(words, RECORD), word & _NEXT, word >> _SHARES & _NEXT)
            count += 1
            if number > 0:
                store(words, FASTEST, min(load(words, FASTEST), _ticks() - start))
            _add(pool, DONE, 1)
    return count


@inner
def spread(pool, task, record, threads):
    """Do all ``threads`` shares of a task, together with the helpers that come."""
    if _exchange(pool, TAKEN, 1):  # by another Python thread
        call(task, record, 0, 1)
        return
    words, start = pointer_at(pool, 0), _ticks()
    if start < load(words, UNTIL):
        _write(pool, TAKEN, 0)
        call(task, record, 0, 1)
        return
    store(words, TASK, task)
    store(words, RECORD, record)
    store(words, CPU, _cpu(pool))
    store(words, MET, 0)
    store(words, FASTEST, 2**62)
    _write(pool, DONE, 0)
    _write(pool, WORD, ((_read(pool, WORD) >> 32) + 1 & 2**30 - 1) << 32 | threads << _SHARES)
    if _read(pool, SLEEPING):
        _wake(pool, HELPERS)
    own = _do_shares(pool, 0)
    own_time = _ticks() - start
    _wait(pool, threads)
    of_a_share = min(load(words, FASTEST), own_time // max(1, own))
    _weigh(words, (threads - own) * of_a_share, _ticks() - start - own_time)
    _write(pool, TAKEN, 0)


@inner
def _wait(pool, threads):
    """Wait until all shares have been done."""
    spins = load(pointer_at(pool, 0), SPINS)
    while _read(pool, DONE) < threads:
        if spins > 0:
            _pause()
            spins -= 1
        else:
            _system(pool, _ACQUIRE, LOCK, LOCK)
            _write(pool, WAITING, 1)
            while _read(pool, DONE) < threads:
                _system(pool, _SLEEP, CALLER, LOCK)
            _write(pool, WAITING, 0)
            _system(pool, _RELEASE, LOCK, LOCK)


@inner
def _weigh(words, saved, waited):
    """Note what helpers have saved and cost, and do without them for a while if that is more."""
    spin = load(words, TICKS)
    enough = ENOUGH * 1000 // SPIN * spin
    saved += load(words, SAVED) - waited - (spin if load(words, MET) else 0)
    if saved >= enough:
        saved = enough
        store(words, ALONE, SHORTEST * 1000 // SPIN * spin)
    elif saved < 0:
        saved, alone = 0, load(words, ALONE)
        store(words, UNTIL, _ticks() + alone)
        store(words, ALONE, min(LONGEST * 1000 // SPIN * spin, 2 * alone))
    store(words, SAVED, saved)


@kernel(lambda integer: (vector(integer, out=True), index), integers=True)
def _help(words, number):
    """What helper ``number`` does until the pool is stopped."""
    pool = address(words)
    spins, declined = words[SPINS], -1
    while _read(pool, STOP) == 0:
        word = _read(pool, WORD)
        if _is_open(word, number) and word >> 32 != declined:
            if words[CPU] >= 0 and words[CPU] == _cpu(pool):  # the caller would wait for what it can do itself
                declined, spins = word >> 32, 0
                store(pointer_at(pool, 0), MET, 1)
            elif _do_shares(pool, number):
                spins = words[SPINS]
                if _read(pool, WAITING):
                    _wake(pool, CALLER)
        elif spins > 0:
            _pause()
            spins -= 1
        else:
            _sleep(pool, number, declined)
            spins = words[SPINS]


@inner
def _sleep(pool, number, declined):
    """Have a helper sleep until there is a job that it has not declined."""
    _system(pool, _ACQUIRE, LOCK, LOCK)
    _add(pool, SLEEPING, 1)
    while _read(pool, STOP) == 0:
        word = _read(pool, WORD)
        if _is_open(word, number) and word >> 32 != declined:
            break
        _system(pool, _SLEEP, HELPERS, LOCK)
    _add(pool, SLEEPING, -1)
    _system(pool, _RELEASE, LOCK, LOCK)


@kernel(lambda integer: (vector(integer, out=True),), integers=True)
def _stop(words):
    """Have all helpers end."""
    pool = address(words)
    _write(pool, STOP, 1)
    _wake(pool, HELPERS)


@kernel(lambda integer: (vector(integer, out=True),), integers=True)
def _measure(words):
    """Pause for a while: so many pauses, and ticks of the clock."""
    start = _ticks()
    for _ in range(1000):
        _pause()
    words[TICKS], words[SPINS] = _ticks() - start, 1000


class _Pool:
    """The pool of this process."""

    def __init__(self):
        self._memory = np.zeros(16 * _LINE, np.int64)
        skip = -self._memory.ctypes.data % 128 // 8
        self._words = self._memory[skip : skip + 12 * _LINE]
        self._address = self._words.ctypes.data
        self._reset()

    def _reset(self):
        """Make the pool anew; in a forked child, too, which has none of its parent's helpers."""
        self._threads, self._lock = [], threading.Lock()
        self._size = 1
        self._words[:] = 0
        for number, name in enumerate(_FUNCTIONS):
            if hasattr(_library, name):
                self._words[CALLS + number] = ctypes.cast(getattr(_library, name), ctypes.c_void_p).value
        if sys.platform != "win32":  # where zeros are fine
            _library.pthread_mutex_init(ctypes.c_void_p(self._address + 8 * LOCK), None)
            for word in (HELPERS, CALLER):
                _library.pthread_cond_init(ctypes.c_void_p(self._address + 8 * word), None)

    def address(self, threads):
        """The address of the pool for `spread`, with helpers for so many ``threads``."""
        if threads > self._size:
            self._start(threads)
        return self._address

    def _start(self, threads):
        helper, _ = _help.compiled(self._words.dtype), _stop.compiled(self._words.dtype)
        with self._lock:
            if not self._threads:
                self._measure()
            for number in range(len(self._threads) + 1, threads):
                thread = threading.Thread(target=helper, args=(self._words, number), daemon=True)
                thread.name = f"fastbp-{number}"
                try:
                    thread.start()
                except RuntimeError:  # no more threads can be had: those that are do all
                    break
                self._threads.append(thread)
            self._size = threads

    def _measure(self):
        """Note how many pauses, and ticks of the clock, `SPIN` microseconds are."""
        fastest = np.inf
        for _ in range(5):
            start = time.perf_counter()
            _measure.compiled(self._words.dtype)(self._words)
            seconds = time.perf_counter() - start
            if seconds < fastest:
                fastest, counts = seconds, self._words[[TICKS, SPINS]]
        self._words[[TICKS, SPINS]] = counts * (SPIN * 1e-6 / fastest)
        self._words[[SAVED, ALONE]] = np.array([ENOUGH, SHORTEST]) * (1000 // SPIN) * self._words[TICKS]

    def stop(self):
        """End all helpers, before the machine code that they run is freed."""
        if self._threads:
            _stop.compiled(self._words.dtype)(self._words)
            for thread in self._threads:
                thread.join(1.0)


POOL = _Pool()
atexit.register(POOL.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL._reset)
