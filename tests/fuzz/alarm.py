"""Signals at moments that nobody chose: Ctrl-C, and handlers that compute."""

import signal
import sys
import traceback
from contextlib import contextmanager

from fuzz.finding import Finding


class Alarm:
    """A timer that ends what runs with Ctrl-C, or has ``work`` done in the middle of it.

    ``rang``: whether it has, so that loops know their end when nothing else tells them.
    """

    def __init__(self):
        self._is_set = self.rang = False
        self.work = self.kept = None
        self._lost = "nowhere that Python knows of"
        sys.unraisablehook = self._note  # Python goes on after an exception in a finalizer
        signal.signal(signal.SIGALRM, self._ring)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def _ring(self, *_):
        if self._is_set:  # else it comes too late
            self._is_set, self.rang = False, True
            if self.work is None:
                signal.raise_signal(signal.SIGINT)
            else:
                self.work()

    def _note(self, lost):
        callers = " < ".join(frame.name for frame in reversed(traceback.extract_stack()[:-1]))
        self._lost = f"{lost.object!r}, {lost.exc_value!r}, {callers}"

    @contextmanager
    def _timed(self, delay):
        self._is_set, self.rang = True, False
        signal.setitimer(signal.ITIMER_REAL, max(delay, 1e-6))
        try:
            yield
            self._is_set = False
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def during(self, action, delay, keeps=False):
        """Run ``action``, which may end by Ctrl-C alone; whether the signal came. ``keeps``: the traceback lives on."""
        self.kept = None
        try:
            with self._timed(delay):
                action()
        except KeyboardInterrupt as error:
            self._is_set = False
            if keeps:  # as a Python prompt does
                self.kept = error
            return True
        except Exception as error:
            self._is_set = False
            if not self.rang or isinstance(error, Finding):
                raise
            what = "Ctrl-C" if self.work is None else "a handler that computes"
            raise Finding("interrupt", f"{what} came out as {type(error).__name__}: {error}") from error
        if self.rang and self.work is None:
            raise Finding("interrupt", f"Ctrl-C was swallowed in {self._lost}")
        return self.rang
