"""Signals wait while something runs that must not stop half-way.

Python calls the handler of a signal, such as Ctrl-C, between any two steps of the main thread, and the handler may
raise an exception there, or compute.
"""

import _signal  # type: ignore[import-not-found]  # without the names that `signal` looks up, at a tenth of the time
import signal
import threading
from collections.abc import Callable
from typing import Any

# Those that can wait: not the ones that no handler is called for, or that say that the program itself is wrong.
_OTHERS = {"SIGKILL", "SIGSTOP", "SIGSEGV", "SIGFPE", "SIGILL", "SIGBUS", "SIGABRT", "SIGTRAP", "SIGSYS"}
_SIGNALS = [int(number) for number in signal.valid_signals() if getattr(number, "name", "") not in _OTHERS]


def uninterrupted(function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)``; handlers of signals that come meanwhile are called when it has ended."""
    if threading.get_ident() != threading.main_thread().ident:
        return function(*arguments)
    handlers = {number: handler for number in _SIGNALS if callable(handler := _signal.getsignal(number))}
    waiting: list[tuple[int, Any]] = []

    def wait(number: int, frame: Any) -> None:
        waiting.append((number, frame))

    try:
        for number in handlers:
            _signal.signal(number, wait)
        return function(*arguments)
    finally:
        try:
            _restore(handlers)
        finally:
            _call(handlers, waiting)


def _restore(handlers: dict[int, Any]) -> None:
    """Make them the handlers again, all of them, though one of those that are so already may raise."""
    raised = None
    is_done = False
    while not is_done:
        try:
            for number, handler in handlers.items():
                _signal.signal(number, handler)
            is_done = True
        except BaseException as error:
            raised = error
    if raised is not None:
        raise raised


def _call(handlers: dict[int, Any], waiting: list[tuple[int, Any]]) -> None:
    """Call the handlers, all of them, though the first may raise."""
    if waiting:
        number, frame = waiting.pop(0)
        try:
            handlers[number](number, frame)
        finally:
            _call(handlers, waiting)
