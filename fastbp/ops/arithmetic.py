"""Elementwise arithmetic on arrays that are broadcast as NumPy does: + - * / and power."""

import operator
from typing import Any

import numpy as np

from fastbp._checks import Array
from fastbp.op import Context, Op
from fastbp.ops.broadcasting import unbroadcast
from fastbp.ops.quiet import quiet


def quotient(dy: Array, y: Array) -> Any:
    """dy / y, and 0 for 0 / 0: no gradient comes of none, however steep the slope."""
    if np.count_nonzero(y) == y.size:
        return dy / y
    return np.divide(dy, y, out=np.zeros(dy.shape, dy.dtype), where=np.logical_or(dy, y))


def product(dy: Array, slope: Array) -> Any:
    """dy slope, and 0 where dy is 0: no gradient comes of none, however steep the slope."""
    return np.multiply(dy, slope, out=np.zeros(dy.shape, dy.dtype), where=dy != 0)


class Add(Op):
    """z = x + y: the node passes the gradient on, dx = dz, dy = dz."""

    broadcasts = True

    def forward(self, ctx: Context, x: Array, y: Array) -> Any:
        ctx.saved = (x.shape, y.shape)
        return quiet.run(operator.add, x, y)

    def backward(self, ctx: Context, dz: Array) -> tuple[Array | None, Array | None]:
        x, y = ctx.saved
        needs_x, needs_y = ctx.needs
        return unbroadcast(dz, x) if needs_x else None, unbroadcast(dz, y) if needs_y else None


class Subtract(Op):
    """z = x - y:   dx = dz,   dy = -dz."""

    broadcasts = True

    def forward(self, ctx: Context, x: Array, y: Array) -> Any:
        ctx.saved = (x.shape, y.shape)
        return quiet.run(operator.sub, x, y)

    def backward(self, ctx: Context, dz: Array) -> tuple[Array | None, Array | None]:
        x, y = ctx.saved
        needs_x, needs_y = ctx.needs
        return unbroadcast(dz, x) if needs_x else None, -unbroadcast(dz, y) if needs_y else None


class Negative(Op):
    """y = -x:   dx = -dy."""

    returns_new = True

    def forward(self, ctx: Context, x: Array) -> Any:
        return -x

    def backward(self, ctx: Context, dy: Array) -> Array:
        return -dy


class Multiply(Op):
    """z = x y: the node swaps its inputs, dx = dz y, dy = dz x."""

    broadcasts = True
    returns_new = True

    def forward(self, ctx: Context, x: Array, y: Array) -> Any:
        ctx.saved = (x, y)
        return quiet.run(operator.mul, x, y)

    def backward(self, ctx: Context, dz: Array) -> tuple[Array | None, Array | None]:
        x, y = ctx.saved
        needs_x, needs_y = ctx.needs
        return (
            unbroadcast(dz * y, x.shape) if needs_x else None,
            unbroadcast(dz * x, y.shape) if needs_y else None,
        )


class Divide(Op):
    """z = x / y:   dx = dz / y,   dy = -dz z / y."""

    broadcasts = True
    needs_equal_dtypes = True
    returns_new = True
    undefined = "y = 0, where dx = dz / 0 and dy = -dz z / 0; 0 where dz is 0"

    def forward(self, ctx: Context, x: Array, y: Array) -> Any:
        z = quiet.run(operator.truediv, x, y)
        ctx.saved = (x.shape, y, z)
        return z

    def backward(self, ctx: Context, dz: Array) -> tuple[Array | None, Array | None]:
        x, y, z = ctx.saved
        needs_x, needs_y = ctx.needs
        dx, dy = quotient(dz, y), None
        if needs_y:
            dy = unbroadcast(-dx * z if np.count_nonzero(y) == y.size else product(dx, -z), y.shape)
        return unbroadcast(dx, x) if needs_x else None, dy

    def kinks(self, ctx: Context, x: Array, y: Array) -> tuple[Array, Array]:
        return y == 0, y > 0


class Power(Op):
    """z = x^p:   dx = dz p x^(p - 1),   dp = dz z log x, which is 0 at x = 0 with p > 0."""

    broadcasts = True
    returns_new = True
    undefined = (
        "by x: x = 0 with p < 1 but not 0, where dx = dz p 0^(p - 1); by p: x < 0, where dp = nan, and x = 0 with "
        "p <= 0, where dp = dz z log 0; 0 where dz is 0"
    )

    def forward(self, ctx: Context, x: Array, p: Array) -> Any:
        if p.dtype.kind == "i" and x.dtype.kind in "iu" and (p < 0).any():
            raise ValueError(f"integers have no power of {p.min()}, which is negative: write {p.min()}.0")
        z = quiet.run(operator.pow, x, p)
        ctx.saved = (x, p, z)
        return z

    def backward(self, ctx: Context, dz: Array) -> tuple[Array | None, Array | None]:
        x, p, z = ctx.saved
        needs_x, needs_p = ctx.needs
        dx = dp = None
        if needs_x:
            if p.ndim == 0 and p >= 1:
                dx = dz * (p * x ** (p - 1))
            else:
                dx = product(dz, product(np.broadcast_to(p, z.shape), x ** (p - 1)))
            dx = unbroadcast(dx, x.shape)
        if needs_p:
            dp = unbroadcast(product(dz, product(z, np.log(x))), p.shape)
        return dx, dp

    def kinks(self, ctx: Context, x: Array, p: Array) -> tuple[Array, Array]:
        needs_x, needs_p = ctx.needs
        by_x = (x == 0) & (p < 1) & (p != 0) & needs_x
        by_p = ((x < 0) | ((x == 0) & (p <= 0))) & needs_p
        is_smooth = (p >= 1) & (p == np.round(p)) & (not needs_p)
        has_value = (x >= 0) | (p == np.round(p))
        return by_x | by_p, np.where(is_smooth, 9, np.sign(x) + 3 * (p > 0) + 6 * ~has_value)
