"""Threads that help with the shares of a task: whoever is free takes the next share.

A caller publishes a task with its record, takes shares itself, and waits only for shares that others have taken. So a
thread that the system does not run, because another process has its processor, delays nobody: its share is done by
those who run. Under OpenMP, whose shares are fixed, one busy process beside it made a training step of 784-128-10 take
fifteen times as long. Helpers look for work for about `SPIN` microseconds after the last share, and then sleep, as does
a caller that waits longer.

Whether helpers help is weighed all the time: what they save is the time of the shares that they do, what they cost is
that of waiting for them. Where they cost more, as on a machine that is busy with something else, the caller does
without them for `SHORTEST` milliseconds, and twice as long each time that this happens again, up to `LONGEST`, until
they have saved `ENOUGH`.

There is one pool in a process. A caller that finds it taken by another Python thread does all by itself, which gives
the same bits; so does a process that cannot start threads. A forked child has a pool of its own.

    word    job << 32 | shares << 16 | next share     read and written at once: a share is taken from one job only
"""

import atexit
import os
import threading
import time

import numpy as np

from fastbp.kernels import _words
from fastbp.kernels._interrupts import uninterrupted
from fastbp.kernels._jit import call, index, inner, kernel, vector
from fastbp.kernels._pointers import address, load, pointer_at, store
from fastbp.kernels._words import add, exchange, pause, read, ticks, write

SPIN = 100  # microseconds
SHORTEST, LONGEST, ENOUGH = 8, 128, 8  # milliseconds

# The words of the pool, in groups that are two cache lines apart, since processors fetch these in pairs.
_GROUP = 16
WORD, DONE, SLEEPING, WAITING, _JOB, _CALLER, _SETTINGS, LOCK, HELPERS, CALLER, CALLS = (_GROUP * n for n in range(11))
# WORD      see above
# DONE      shares that have been done
# SLEEPING  helpers that sleep
# WAITING   whether the caller sleeps
TASK, RECORD = _JOB, _JOB + 1
CPU = _JOB + 2  # where the caller is
MET = _JOB + 3  # whether a helper has found itself there
FASTEST = _JOB + 4  # the shortest time that a helper took for a share
TAKEN = _CALLER  # whether there is a caller
SAVED = _CALLER + 1  # what helpers have saved
UNTIL = _CALLER + 2  # when they are asked again
ALONE = _CALLER + 3  # for how long the caller does without them the next time
SPINS, TICKS = _SETTINGS, _SETTINGS + 1  # `SPIN` in pauses and on the clock
STOP = _SETTINGS + 2  # whether helpers shall end
# LOCK, to sleep, with HELPERS and CALLER to wake them, and CALLS, the addresses of `_words.calls`

_NEXT, _SHARES = 2**16 - 1, 16


@inner
def _system(pool, number, place):
    """Call function ``number`` of the system with the word at ``place``, and the lock."""
    words = pointer_at(pool, 0)
    _words.system(load(words, CALLS + number), pool + 8 * place, pool + 8 * LOCK)


@inner
def _cpu(pool):
    """The CPU that runs this, -1 where the system does not tell."""
    call_of_system = load(pointer_at(pool, 0), CALLS + _words.CPU)
    return _words.number_of_cpu(call_of_system) if call_of_system != 0 else -1


@inner
def _is_open(word, number):
    """Whether there is a share that nobody has taken, of a job for more than ``number`` threads."""
    shares = word >> _SHARES & _NEXT
    return word & _NEXT < shares and number < shares


@inner
def _wake(pool, sleepers):
    """Wake who sleeps at the word ``sleepers``: under the lock, so that nobody is about to fall asleep."""
    _system(pool, _words.ACQUIRE, LOCK)
    _system(pool, _words.WAKE, sleepers)
    _system(pool, _words.RELEASE, LOCK)


@inner
def _do_shares(pool, number):
    """Do shares as long as there are any, as thread ``number`` of those that do; how many."""
    count = 0
    while _is_open(read(pool, WORD), number):
        word = add(pool, WORD, 1)
        # A share that has been taken must be done, though its job may have come since and be for fewer threads. It
        # cannot end before this share has: what is read here belongs to it.
        if _is_open(word, 0):
            words, start = pointer_at(pool, 0), ticks()
            call(load(words, TASK), load(words, RECORD), word & _NEXT, word >> _SHARES & _NEXT)
            count += 1
            if number > 0:
                store(words, FASTEST, min(load(words, FASTEST), ticks() - start))
            add(pool, DONE, 1)
    return count


@inner
def spread(pool, task, record, threads):
    """Do all ``threads`` shares of a task, together with the helpers that come."""
    if exchange(pool, TAKEN, 1):  # by another Python thread
        call(task, record, 0, 1)
        return
    words, start = pointer_at(pool, 0), ticks()
    left = load(words, UNTIL) - start
    if 0 < left <= LONGEST * 1000 // SPIN * load(words, TICKS):  # more: the clock has started anew meanwhile
        write(pool, TAKEN, 0)
        call(task, record, 0, 1)
        return
    store(words, TASK, task)
    store(words, RECORD, record)
    store(words, CPU, _cpu(pool))
    store(words, MET, 0)
    store(words, FASTEST, 2**62)
    write(pool, DONE, 0)
    write(pool, WORD, ((read(pool, WORD) >> 32) + 1 & 2**30 - 1) << 32 | threads << _SHARES)
    if read(pool, SLEEPING):
        _wake(pool, HELPERS)
    own = _do_shares(pool, 0)
    own_time = ticks() - start
    _wait(pool, threads)
    of_a_share = min(load(words, FASTEST), own_time // max(1, own))
    _weigh(words, (threads - own) * of_a_share, ticks() - start - own_time)
    write(pool, TAKEN, 0)


@inner
def _wait(pool, threads):
    """Wait until all shares have been done."""
    spins = load(pointer_at(pool, 0), SPINS)
    while read(pool, DONE) < threads:
        if spins > 0:
            pause()
            spins -= 1
        else:
            _system(pool, _words.ACQUIRE, LOCK)
            write(pool, WAITING, 1)
            while read(pool, DONE) < threads:
                _system(pool, _words.SLEEP, CALLER)
            write(pool, WAITING, 0)
            _system(pool, _words.RELEASE, LOCK)


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
        store(words, UNTIL, ticks() + alone)
        store(words, ALONE, min(LONGEST * 1000 // SPIN * spin, 2 * alone))
    store(words, SAVED, saved)


@kernel(lambda integer: (vector(integer, out=True), index), integers=True)
def _help(words, number):
    """What helper ``number`` does until the pool is stopped."""
    pool = address(words)
    spins, declined = words[SPINS], -1
    while read(pool, STOP) == 0:
        word = read(pool, WORD)
        if _is_open(word, number) and word >> 32 != declined:
            if words[CPU] >= 0 and words[CPU] == _cpu(pool):  # the caller would wait for what it can do itself
                declined, spins = word >> 32, 0
                store(pointer_at(pool, 0), MET, 1)
            elif _do_shares(pool, number):
                spins = words[SPINS]
                if read(pool, WAITING):
                    _wake(pool, CALLER)
        elif spins > 0:
            pause()
            spins -= 1
        else:
            _sleep(pool, number, declined)
            spins = words[SPINS]


@inner
def _sleep(pool, number, declined):
    """Have a helper sleep until there is a job that it has not declined."""
    _system(pool, _words.ACQUIRE, LOCK)
    add(pool, SLEEPING, 1)
    while read(pool, STOP) == 0:
        word = read(pool, WORD)
        if _is_open(word, number) and word >> 32 != declined:
            break
        _system(pool, _words.SLEEP, HELPERS)
    add(pool, SLEEPING, -1)
    _system(pool, _words.RELEASE, LOCK)


@kernel(lambda integer: (vector(integer, out=True),), integers=True)
def _stop(words):
    """Have all helpers end."""
    pool = address(words)
    write(pool, STOP, 1)
    _wake(pool, HELPERS)


@kernel(lambda integer: (vector(integer, out=True),), integers=True)
def _measure(words):
    """Pause for a while: so many pauses, and ticks of the clock."""
    start = ticks()
    for _ in range(1000):
        pause()
    words[TICKS], words[SPINS] = ticks() - start, 1000


class _Pool:
    """The pool of this process."""

    def __init__(self):
        memory = np.zeros(12 * _GROUP, np.int64)
        skip = -memory.ctypes.data % 128 // 8
        self._words = memory[skip : skip + 11 * _GROUP]
        self._address = self._words.ctypes.data
        self._reset()

    def _reset(self):
        """Make the pool anew; in a forked child, too, which has none of its parent's helpers."""
        self._threads, self._lock = [], threading.Lock()
        self._size = 1
        self._words[:] = 0
        self._words[CALLS : CALLS + 5] = _words.calls()
        _words.make_lock(*(self._address + 8 * place for place in (LOCK, HELPERS, CALLER)))

    def address(self, threads):
        """The address of the pool for `spread`, with helpers for so many ``threads``."""
        if threads > self._size:
            uninterrupted(self._start, threads)
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
            self._size = max(self._size, threads)

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
