"""Elementwise activations y = f(u), with the derivative written in y."""

from collections.abc import Callable
from typing import ClassVar

from fastbp import kernels
from fastbp._checks import Array, check_number
from fastbp.kernels import epilogue
from fastbp.op import Context, Op

_forward: Callable[..., None] = kernels.activation_forward
_backward: Callable[..., None] = kernels.activation_backward


class Activation(Op):
    """y = f(u); ``code`` names f for the kernels, ``slope`` is that of the leaky rectifier."""

    needs_equal_dtypes = True
    returns_new = True
    overwrites = True
    code: ClassVar[int]
    slope = 0.0

    def forward(self, ctx: Context, x: Array) -> Array:
        y = ctx.output("y", x.shape, x.dtype)
        _forward(x, y, self.code, self.slope)
        ctx.saved = (y,)
        return y

    def backward(self, ctx: Context, dy: Array) -> Array | None:
        (y,) = ctx.saved
        if not ctx.needs[0]:
            return None
        dx = dy if ctx.is_free else ctx.gradient(0, y.shape, dy)[0]
        _backward(dy, y, dx, self.code, self.slope)
        return dx


class ReLU(Activation):
    """max(0, u)."""

    code = epilogue.RELU
    undefined = "u = 0, where du = 0"

    def kinks(self, ctx: Context, x: Array) -> tuple[Array, Array]:
        return x == 0, x > 0


class LeakyReLU(Activation):
    """u where u > 0, else slope u."""

    kind = "leaky_relu"
    code = epilogue.LEAKY_RELU
    undefined = "u = 0, where du = slope dy"

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = check_number(slope, "LeakyReLU: slope", above=True)

    def kinks(self, ctx: Context, x: Array) -> tuple[Array, Array]:
        return x == 0, x > 0


class Sigmoid(Activation):
    """1 / (1 + e^-u)."""

    code = epilogue.SIGMOID


class Tanh(Activation):
    """tanh u."""

    code = epilogue.TANH


class Identity(Activation):
    """u."""

    code = epilogue.IDENTITY
