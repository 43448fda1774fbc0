"""Operations that move elements and change none: their gradients are moved back."""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from operator import index
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from fastbp._checks import Array
from fastbp.op import Context, Op


class Reshape(Op):
    """x with another shape of as many elements, in row-major order."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.saved = (x.shape,)
        return x.reshape(self.shape)

    def backward(self, ctx: Context, dy: Array) -> Array:
        return dy.reshape(ctx.saved[0])


class Flatten(Op):
    """Samples of any shape to vectors, (N, C, H, W) to (N, C H W), in row-major order."""

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.saved = (x.shape,)
        return x.reshape(len(x), math.prod(x.shape[1:]))

    def backward(self, ctx: Context, dy: Array) -> Array | None:
        return dy.reshape(ctx.saved[0]) if ctx.needs[0] else None


class Transpose(Op):
    """x with its axes in another order; None: reversed."""

    def __init__(self, axes: tuple[int, ...] | None = None) -> None:
        self.axes = axes

    def forward(self, ctx: Context, x: Array) -> Array:
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
        key = self._filled(arrays) if arrays else self.key
        ctx.saved = (x.shape, key)
        return x[key]

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
        self.axis = axis

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
        self.axis = axis

    def forward(self, ctx: Context, *arrays: Array) -> Array:
        return np.stack(arrays, self.axis)

    def backward(self, ctx: Context, dy: Array) -> tuple[Array, ...]:
        return tuple(np.moveaxis(dy, self.axis, 0))


def _places(parts: Any) -> int | tuple[int, ...]:
    """Integers of any kind; TypeError for anything else."""
    try:
        return index(parts) if np.ndim(parts) == 0 else tuple(map(index, parts))
    except TypeError:
        raise TypeError(f"split: parts must be an integer or several places, got {parts!r}") from None


class Split(Op):
    """Parts of x along an axis: so many equal ones, or cut before each of some places. dx is put together from dy."""

    returns_new = True
    accumulates = (0,)

    def __init__(self, parts: int | Sequence[int], axis: int = 0) -> None:
        self.parts, self.axis = parts if type(parts) is int else _places(parts), axis

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
