"""Sums, means, largest and smallest elements over axes."""

import math
import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from fastbp._checks import Array, check_flag
from fastbp.op import Context, Op
from fastbp.ops.quiet import quiet
from fastbp.ops.shapes import as_integers

Axis = int | Sequence[int] | None

_ADD_UP: Any = np.add.reduce


def as_axis(axis: Any, name: str) -> int | tuple[int, ...] | None:
    """``axis`` as an integer, a tuple of integers, or None for all; TypeError for anything else."""
    if axis is None or type(axis) is int:
        return axis
    return as_integers(axis, name, "axis must be an integer, several, or None for all")


@lru_cache(maxsize=256)
def _axes(axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    """The axes that are meant, counted from the front."""
    return normalize_axis_tuple(range(ndim) if axis is None else axis, ndim)


@lru_cache(maxsize=256)
def _order(axis: int | tuple[int, ...] | None, ndim: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """All axes, those that are meant behind the others; and the way back from there."""
    axes = _axes(axis, ndim)
    order = *(other for other in range(ndim) if other not in axes), *axes
    return order, tuple(order.index(axis) for axis in range(ndim))


class Reduction(Op):
    """One number for all elements along ``axis``: an axis, several, or all of them (None)."""

    def __init__(self, axis: Axis = None, keepdims: bool = False) -> None:
        self.axis = as_axis(axis, self.kind)
        self.keepdims = check_flag(keepdims, f"{self.kind}: keepdims")

    def _sum(self, x: Array) -> Any:
        return quiet.run(_ADD_UP, x, self.axis, keepdims=self.keepdims)

    def _spread(self, dy: Array, shape: tuple[int, ...]) -> Array:
        """dy repeated along the axes that were summed over, in a new array."""
        dx = np.empty(shape, dy.dtype)
        if not self.keepdims and self.axis is not None:
            axes = _axes(self.axis, len(shape))
            dy = dy.reshape([1 if axis in axes else n for axis, n in enumerate(shape)])
        dx[...] = dy
        return dx


class Sum(Reduction):
    """y = sum x:   dx = dy in every element."""

    returns_new = True

    def forward(self, ctx: Context, x: Array) -> Any:
        ctx.saved = (x.shape,)
        return self._sum(x)

    def backward(self, ctx: Context, dy: Array) -> Array:
        return self._spread(dy, ctx.saved[0])


class Mean(Reduction):
    """y = sum x / n:   dx = dy / n in every element."""

    returns_new = True

    def forward(self, ctx: Context, x: Array) -> Any:
        total = self._sum(x)
        n = x.size // total.size if total.size else 0
        ctx.saved = (x.shape, n)
        return quiet.run(operator.truediv, total, n)

    def backward(self, ctx: Context, dy: Array) -> Array:
        shape, n = ctx.saved
        return self._spread(dy / n, shape)


class Moments(Reduction):
    """Mean m = sum x / n and variance v = sum (x - m)^2 / n:   dx = dm / n + 2 dv (x - m) / n."""

    returns_new = True

    def forward(self, ctx: Context, x: Array) -> tuple[Any, Any]:
        with np.errstate(all="ignore"):
            m = _ADD_UP(x, self.axis, keepdims=True)
            n = x.size // m.size if m.size else 0
            m = m / n
            centred = x - m
            total = self._sum(centred * centred)
            ctx.saved = (centred, n)
            return m.reshape(total.shape), total / n

    def backward(self, ctx: Context, dm: Array | None, dv: Array | None) -> Array | None:
        centred, n = ctx.saved
        by_mean = None if dm is None else self._spread(dm / n, centred.shape)
        if dv is None:
            return by_mean
        by_variance = self._spread(dv * (2 / n), centred.shape)
        by_variance *= centred
        if by_mean is not None:
            by_variance += by_mean
        return by_variance


class Max(Reduction):
    """The largest element, and its place along the axis if ``index``: dx = dy there, else 0. NaN counts as largest.

    With several axes, or all, the place is that in row-major order of these axes.
    """

    returns_new = True
    undefined = "several largest elements, where dx = dy at the first one"
    _place: Any = np.ndarray.argmax

    def __init__(self, axis: Axis = None, keepdims: bool = False, index: bool = False) -> None:
        super().__init__(axis, keepdims)
        self.index = index

    def _rows(self, x: Array) -> tuple[Array, Array, tuple[int, ...]]:
        """x as rows of what becomes one number, the places of these in the rows, and their shape."""
        axes = _axes(self.axis, x.ndim)
        n = math.prod([x.shape[axis] for axis in axes])
        if n == 0:
            raise ValueError(f"there is no {self.kind} of no elements, got the shape {x.shape}")
        rows = x.transpose(_order(self.axis, x.ndim)[0]).reshape(x.size // n, n)
        ones = (1,) if self.keepdims else ()
        shape = [size for axis, sizes in enumerate(x.shape) for size in (ones if axis in axes else (sizes,))]
        return rows, type(self)._place(rows, 1), tuple(shape)

    def forward(self, ctx: Context, x: Array) -> Any:
        rows, place, shape = self._rows(x)
        each = np.arange(0, rows.size, rows.shape[1]) + place
        ctx.saved = (x.shape, each)
        y = rows.take(each).reshape(shape)
        return (y, place.reshape(shape)) if self.index else y

    def backward(self, ctx: Context, dy: Array | None, *_: Any) -> Array | None:
        shape, each = ctx.saved
        if dy is None:
            return None
        order, back = _order(self.axis, len(shape))
        rows = np.zeros(math.prod(shape), dy.dtype)
        rows[each] = dy.reshape(-1)
        return rows.reshape([shape[axis] for axis in order]).transpose(back)

    def kinks(self, ctx: Context, x: Array) -> tuple[Array, Array]:
        rows, place, shape = self._rows(x)
        best = np.take_along_axis(rows, place[:, None], 1)
        return ((rows == best).sum(axis=1) > 1).reshape(shape), place


class Min(Max):
    """The smallest element, and its place along the axis if ``index``, as `Max`. NaN counts as smallest."""

    undefined = "several smallest elements, where dx = dy at the first one"
    _place: Any = np.ndarray.argmin
