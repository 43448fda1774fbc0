"""Ctrl-C while Numba works.

An interrupt in the middle of Numba's registries leaves them half filled: no kernel can be compiled or loaded in that
process any more ("generator raised StopIteration", "duplicate registration"). One in a callback of LLVM is lost.
"""

import functools
import inspect
import signal
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def uninterrupted(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: Ctrl-C is answered when the function has ended.

    Meant for compiling or loading one kernel, which takes milliseconds from the cache and up to some seconds without.
    Only the main thread receives signals, so the others call the function as it is; so does the main thread where
    SIGINT is ignored, ends the process, or is handled outside Python.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        usual = signal.getsignal(signal.SIGINT)
        if not callable(usual) or threading.current_thread() is not threading.main_thread():
            return function(*args, **kwargs)
        arrived: list[int] = []
        # One frame, and `signal.signal` handles what is pending before it changes anything: the usual handler can raise
        # before it is replaced and after it is back, but never in between. A context manager has gaps there.
        try:
            signal.signal(signal.SIGINT, lambda number, frame: arrived.append(number))
            return function(*args, **kwargs)
        finally:
            signal.signal(signal.SIGINT, usual)
            for number in arrived:
                usual(number, inspect.currentframe())

    return wrapper
