"""Activation layers. Behind an `Affine` or a `Conv` they are fused: one pass, and no pre-activation is stored."""

from typing import Any, ClassVar

from fastbp import kernels
from fastbp._checks import Array, check_number
from fastbp.kernels import epilogue
from fastbp.layers.layer import Layer
from fastbp.op import Context


class Activation(Layer):
    """Elementwise y = f(u), with the derivative written in y.

    ``code`` names f for the kernels; ``slope`` is that of the leaky rectifier.
    """

    code: ClassVar[int]
    slope = 0.0

    def forward(self, ctx: Context, x: Array) -> Array:
        y = ctx.output("y", x.shape, x.dtype)
        kernels.activation_forward(x, y, self.code, self.slope)
        ctx.saved = (y,)
        return y

    def backward(self, ctx: Context, dy: Array) -> Array | None:
        (y,) = ctx.saved
        if not ctx.needs_input_grad:
            return None
        dx = ctx.input_gradient(dy, y.shape)
        kernels.activation_backward(dy, y, dx, self.code, self.slope)
        return dx


class ReLU(Activation):
    """Rectifier y = max(0, u), with the derivative 0 where y <= 0, else 1 (at u = 0, where it is undefined, 0)."""

    code = epilogue.RELU


class LeakyReLU(Activation):
    """y = u where u > 0, else slope u.

    Parameters
    ----------
    slope : float
        Above 0, so that the sign of y tells that of u.
    """

    code = epilogue.LEAKY_RELU

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = check_number(slope, "LeakyReLU: slope", above=True)

    def config(self) -> dict[str, Any]:
        return {"slope": self.slope}


class Sigmoid(Activation):
    """y = 1 / (1 + e^-u), with the derivative y (1 - y), at most 0.25."""

    code = epilogue.SIGMOID


class Tanh(Activation):
    """y = tanh u, with the derivative 1 - y^2."""

    code = epilogue.TANH


class Identity(Activation):
    """y = u."""

    code = epilogue.IDENTITY


class Softmax(Layer):
    """y_j = e^u_j / sum_i e^u_i for every sample (O,). For training prefer `SoftmaxCrossEntropy` on the logits."""

    _forward, _backward = staticmethod(kernels.softmax_forward), staticmethod(kernels.softmax_backward)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(input_shape) != 1:
            raise ValueError(f"{self.name} takes samples of one dimension, got {input_shape}; put a Flatten() before")
        return input_shape

    def forward(self, ctx: Context, x: Array) -> Array:
        y = ctx.output("y", x.shape, x.dtype)
        self._forward(x, y)
        ctx.saved = (y,)
        return y

    def backward(self, ctx: Context, dy: Array) -> Array | None:
        (y,) = ctx.saved
        if not ctx.needs_input_grad:
            return None
        dx = ctx.input_gradient(dy, y.shape)
        self._backward(dy, y, dx)
        return dx


class LogSoftmax(Softmax):
    """y_j = u_j - log sum_i e^u_i for every sample (O,)."""

    _forward, _backward = staticmethod(kernels.log_softmax_forward), staticmethod(kernels.log_softmax_backward)
