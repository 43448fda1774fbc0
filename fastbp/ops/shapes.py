"""Operations that move elements and change none: their gradients are moved back."""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from operator import index
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from fastbp._checks import Array
from fastbp.kernels._arrays import shown
from fastbp.op import Context, Op


def as_integers(value: Any, name: str, wanted: str) -> int | tuple[int, ...]:
    """An integer or several; TypeError that says what is ``wanted`` for anything else, truth values among it."""
    try:
        is_one = np.ndim(value) == 0
        given = (value,) if is_one else tuple(value)
        if any(isinstance(one, bool | np.bool_) for one in given):
            raise TypeError
        numbers = tuple(map(index, given))
    except (TypeError, ValueError, MemoryError):
        raise TypeError(f"{name}: {wanted}, got {shown(value)}") from None
    return numbers[0] if is_one else numbers


def as_one_axis(axis: Any, name: str) -> int:
    """``axis`` as an integer."""
    made = axis if type(axis) is int else as_integers(axis, name, "axis must be an integer")
    if not isinstance(made, int):
        raise TypeError(f"{name}: axis must be an integer, got {shown(axis)}")
    return made


def _names_all(axes: tuple[int, ...], ndim: int) -> bool:
    """Whether every axis is named once, from the front or the back."""
    return all(-ndim <= axis < ndim for axis in axes) and sorted(axis % ndim for axis in axes) == list(range(ndim))


class Reshape(Op):
    """x with another shape of as many elements, in row-major order."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.saved = (x.shape,)
        try:
            return x.reshape(self.shape)
        except ValueError:
            raise ValueError(f"{x.size} elements do not make the shape {self.shape}") from None

    def backward(self, ctx: Context, dy: Array) -> Array:
        return dy.reshape(ctx.saved[0])


class Flatten(Op):
    """Samples of any shape to vectors, (N, C, H, W) to (N, C H W), in row-major order."""

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.saved = (x.shape,)
        if not x.ndim:
            raise ValueError("takes samples (N, ...), got a single number")
        return x.reshape(len(x), math.prod(x.shape[1:]))

    def backward(self, ctx: Context, dy: Array) -> Array | None:
        return dy.reshape(ctx.saved[0]) if ctx.needs[0] else None


class Transpose(Op):
    """x with its axes in another order; None: reversed."""

    def __init__(self, axes: tuple[int, ...] | None = None) -> None:
        self.axes = axes

    def forward(self, ctx: Context, x: Array) -> Array:
        if self.axes is not None and not _names_all(self.axes, x.ndim):
            raise ValueError(f"axes must be the {x.ndim} axes of x in another order, got {self.axes}")
        return x.transpose(self.axes)

    def backward(self, ctx: Context, dy: Array) -> Array:
        if self.axes is None:
            return dy.transpose()
        return dy.transpose(np.argsort([axis % dy.ndim for axis in self.axes]))


class Index(Op):
    """y = x[key]: dx[key] = dy, added up where key names an element more than once, else 0.

    Arrays in the key are inputs of their own; ``key`` holds None in their places, and `Ellipsis`, slices and integers.
    """

    returns_new = True
    accumulates = (0,)

    def __init__(self, key: tuple[Any, ...], places: tuple[int, ...] = ()) -> None:
        self.key, self.places = key, places

    def _filled(self, arrays: tuple[Array, ...]) -> tuple[Any, ...]:
        key = list(self.key)
        for place, array in zip(self.places, arrays, strict=True):
            key[place] = array
        return tuple(key)

    def forward(self, ctx: Context, x: Array, *arrays: Array) -> Any:
        for array in arrays:
            if array.dtype.kind not in "biu":
                raise IndexError(f"elements are named by integers, slices and booleans, got {array.dtype}")
        key = self._filled(arrays) if arrays else self.key
        ctx.saved = (x.shape, key)
        try:
            return x[key]
        except IndexError:
            if any(type(part) is int and part.bit_length() > 63 for part in key):  # NumPy takes it for no integer
                raise IndexError("an index is too large") from None
            raise

    def backward(self, ctx: Context, dy: Array) -> Any:
        shape, key = ctx.saved
        dx, adds = ctx.gradient(0, shape, dy)
        if not adds:
            dx.fill(0)
        if self.places:
            np.add.at(dx, key, dy)
        elif adds:
            dx[key] += dy
        else:
            dx[key] = dy
        return (dx, *(None for _ in self.places))


def _parts(x: Array, axis: int, places: Sequence[int]) -> tuple[Array, ...]:
    """Views of the parts of x that lie between these places of an axis."""
    before = (slice(None),) * axis
    return tuple([x[(*before, slice(start, stop))] for start, stop in pairwise(places)])


class Concatenate(Op):
    """Arrays joined along an axis that they have; each gets its part of dy."""

    def __init__(self, axis: int = 0) -> None:
        self.axis = as_one_axis(axis, self.kind)

    def forward(self, ctx: Context, *arrays: Array) -> Array:
        axis = normalize_axis_index(self.axis, arrays[0].ndim)
        y = np.concatenate(arrays, axis)
        ctx.saved = axis, list(accumulate((x.shape[axis] for x in arrays), initial=0))
        return y

    def backward(self, ctx: Context, dy: Array) -> tuple[Array, ...]:
        return _parts(dy, *ctx.saved)


class Stack(Op):
    """Arrays of one shape joined along a new axis; each gets its part of dy."""

    def __init__(self, axis: int = 0) -> None:
        self.axis = as_one_axis(axis, self.kind)

    def forward(self, ctx: Context, *arrays: Array) -> Array:
        return np.stack(arrays, self.axis)

    def backward(self, ctx: Context, dy: Array) -> tuple[Array, ...]:
        return tuple(np.moveaxis(dy, self.axis, 0))


class Split(Op):
    """Parts of x along an axis: so many equal ones, or cut before each of some places. dx is put together from dy."""

    returns_new = True
    accumulates = (0,)

    def __init__(self, parts: int | Sequence[int], axis: int = 0) -> None:
        self.parts = as_integers(parts, self.kind, "parts must be an integer or several places")
        self.axis = as_one_axis(axis, self.kind)

    def forward(self, ctx: Context, x: Array) -> tuple[Array, ...]:
        axis = normalize_axis_index(self.axis, x.ndim)
        n = x.shape[axis]
        if isinstance(self.parts, int):
            if self.parts < 1 or n % self.parts:
                raise ValueError(f"an axis of {n} cannot be split into {self.parts} equal parts")
            places = [n // self.parts * part for part in range(self.parts + 1)]
        else:
            places = [0, *(min(max(place + n if place < 0 else place, 0), n) for place in self.parts), n]
            if any(start > stop for start, stop in pairwise(places)):
                raise ValueError(f"the places to split at must rise, got {self.parts}")
        ctx.saved = (x.shape, axis, places)
        return _parts(x, axis, places)

    def backward(self, ctx: Context, *dys: Array | None) -> Array:
        shape, axis, places = ctx.saved
        dx, adds = ctx.gradient(0, shape, next(dy for dy in dys if dy is not None))
        for part, dy in zip(_parts(dx, axis, places), dys, strict=True):
            if adds and dy is not None:
                part += dy
            elif not adds:
                part[...] = 0 if dy is None else dy
        return dx
