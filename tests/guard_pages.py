"""Arrays whose first or last byte lies beside a page that may not be touched: to read or write beyond them crashes."""

import ctypes
import mmap
import threading

import numpy as np

from fastbp.kernels import _runtime

PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)


class Guarded:
    """Memory between two pages that may not be touched; arrays are laid against one of them, one at a time."""

    def __init__(self, dtype=np.float64, at_end=True, pages=96):
        self.dtype, self.at_end, self.size = np.dtype(dtype), at_end, pages * PAGE
        self._memory = mmap.mmap(-1, (pages + 2) * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        for page in (0, pages + 1):
            if _libc.mprotect(ctypes.c_void_p(start + page * PAGE), PAGE, 0):
                raise OSError(ctypes.get_errno(), "mprotect")

    def array(self, *shape, order="C", dtype=None):
        """An array of this shape, which holds whatever was there."""
        return self.bytes(shape, dtype).view(dtype or self.dtype).reshape(shape, order=order)

    def bytes(self, shape, dtype=None, gap=0):
        """The bytes of so many elements, that many bytes away from the page."""
        size = int(np.prod(shape)) * np.dtype(dtype or self.dtype).itemsize
        if size + gap > self.size:
            raise ValueError(f"{size} bytes are more than the {self.size} between the pages")
        return np.ndarray(size, np.uint8, self._memory, PAGE + (self.size - size - gap if self.at_end else gap))


def guard_workspace(place):
    """Have kernels take their workspace from ``place``, where it fits."""
    usual = _runtime.aligned

    def aligned(elements, dtype):
        fits = elements * np.dtype(dtype).itemsize <= place.size
        return place.array(elements, dtype=dtype) if fits else usual(elements, dtype)

    _runtime.aligned = aligned


def forget_workspace():
    """Have the next kernel ask for a workspace of just the size that it needs."""
    _runtime.own.calls.clear()
    getattr(_runtime, "_local", threading.local()).__dict__.pop("pool", None)
