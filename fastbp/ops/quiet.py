"""NumPy's functions without its warnings: what overflows or is not defined becomes infinite or NaN, no more."""

import contextvars
import threading

import numpy as np


class Quiet(threading.local):
    """``run(function, *arguments)``, where ``function`` is one of NumPy's on arrays of numbers.

    Like ``with np.errstate(all="ignore")``, which takes ten times as long, and as long as half an operation on a small
    array. A context can be entered once at a time, so that every thread has its own, and only code that runs no Python
    is to be run in it.
    """

    def __init__(self) -> None:
        with np.errstate(all="ignore"):
            self.run = contextvars.copy_context().run


quiet = Quiet()
