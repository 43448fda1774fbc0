"""A maximum pool right behind a convolution, whose results are there for a block of images only.

    forward     out = pool(f(u)) of the results u of a block, as soon as they are there
    backward    delta = place(dy) * f'(y), again for one block after the other

So the largest arrays of a network, the results of its first convolutions, are neither stored nor read again; a thread
has room for the results of a block, one image at least. Time of both kernels one after the other over that of one pass,
forward and all gradients, float32 on one core (Zen 4), with ReLU and a pool of 2 x 2, batches of 64:

    channels, filters, image    1-30 28    3-32 32    16-16 32    32-32 32    64-64 16    64-128 8
    time / time                     1.5        1.5        1.0         1.1         1.0         1.0
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fastbp.kernels._arrays import check_number, check_shape, plain
from fastbp.kernels.epilogue import IDENTITY, check_activation
from fastbp.kernels.max_pool import MAX_POOL, index_dtype, place_planes, pool_planes, walk_of
from fastbp.kernels.pool import check_tables, pool_windows


@dataclass(frozen=True)
class Pooled:
    """The pool behind a convolution: numbers and ``index`` as of `max_pool_forward`.

    For the way backward also ``y``, the output of the pool, and the activation between convolution and pool, whose
    derivative is taken on the way: an integer of ``epilogue.py``, and the slope of the leaky rectifier.
    """

    index: np.ndarray
    size: object
    stride: object = None
    padding: object = 0
    dilation: object = 1
    ceil: bool = False
    y: np.ndarray | None = None
    activation: int = IDENTITY
    slope: float = 0.0

    def windows(self, name, image):
        """The `Windows` of the pool on ``image``."""
        on = pool_windows(name, image, self.size, self.stride, self.padding, self.dilation, self.ceil)
        check_tables(name, on)
        return on

    def check(self, name, on, key, out):
        """Refuse an ``index``, or a ``y``, that does not fit to ``out``, the output of the pool or its gradient."""
        arrays = [("index", self.index, index_dtype(on.size))]
        if self.y is not None:
            arrays.append(("y", self.y, out.dtype))
        elif self.activation != IDENTITY:
            raise ValueError(f"{name}: pool.y is missing: the derivative of an activation needs it")
        for other, given, dtype in arrays:
            (array,) = plain(name, **{f"pool.{other}": given})
            check_shape(name, f"pool.{other}", array, out.shape, key, out)
            if array.dtype != dtype or not array.flags.c_contiguous:
                raise TypeError(f"{name}: pool.{other} must be a C-ordered array of {dtype}, got {array.dtype}")
        check_activation(name, self.activation)
        check_number(name, slope=self.slope)


class Walk(NamedTuple):
    """How compiled code goes from blocks of results to the output of the pool, or back to them; 0 where it does not."""

    forward: int = 0  # address of a routine of `pool_planes`
    back: int = 0  # of `place_planes`
    record: int = 0
    kept: tuple[np.ndarray, ...] = ()  # what must live as long as the walk


def walk_forward(pool, on, out):
    """The walk of `Pooled` ``pool``, with windows ``on``, to ``out``; none without a pool."""
    if pool is None:
        return Walk()
    record, kept = _record(*walk_of(pool_planes, on, None, out, None, pool.index), out.dtype)
    return Walk(record["walk"].item(), 0, record.ctypes.data, kept)


def walk_back(pool, on, dy):
    """The walk from ``dy`` back to the deltas of the convolution."""
    if pool is None:
        return Walk()
    y = dy if pool.y is None else pool.y
    record, kept = _record(*walk_of(place_planes, on, None, y, dy, pool.index, pool.activation, pool.slope), dy.dtype)
    return Walk(0, record["walk"].item(), record.ctypes.data, kept)


def _record(values, kept, dtype):
    record = MAX_POOL.new(dtype)
    record[0] = values
    return record, (*kept, record)
