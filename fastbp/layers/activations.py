"""Activation layers. Behind an `Affine` or a `Conv` they are fused: one pass, and no pre-activation is stored."""

from typing import Any

from fastbp import ops
from fastbp.layers.layer import Layer


class Activation(ops.Activation, Layer):
    """Elementwise y = f(u), with the derivative written in y."""


class ReLU(ops.ReLU, Activation):
    """Rectifier y = max(0, u), with the derivative 0 where y <= 0, else 1 (at u = 0, where it is undefined, 0)."""


class LeakyReLU(ops.LeakyReLU, Activation):
    """y = u where u > 0, else slope u.

    Parameters
    ----------
    slope : float
        Above 0, so that the sign of y tells that of u.
    """

    def config(self) -> dict[str, Any]:
        return {"slope": self.slope}


class Sigmoid(ops.Sigmoid, Activation):
    """y = 1 / (1 + e^-u), with the derivative y (1 - y), at most 0.25."""


class Tanh(ops.Tanh, Activation):
    """y = tanh u, with the derivative 1 - y^2."""


class Identity(ops.Identity, Activation):
    """y = u."""


class Softmax(ops.Softmax, Layer):
    """y_j = e^u_j / sum_i e^u_i for every sample (O,). For training prefer `SoftmaxCrossEntropy` on the logits."""

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(input_shape) != 1:
            raise ValueError(f"{self.name} takes samples of one dimension, got {input_shape}; put a Flatten() before")
        return input_shape


class LogSoftmax(ops.LogSoftmax, Softmax):
    """y_j = u_j - log sum_i e^u_i for every sample (O,)."""
