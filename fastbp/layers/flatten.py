"""The layer between images and fully connected layers."""

import math

from fastbp._checks import Array
from fastbp.layers.layer import Layer
from fastbp.op import Context


class Flatten(Layer):
    """Samples of any shape to vectors, (N, C, H, W) to (N, C H W), in row-major order."""

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (math.prod(input_shape),)

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.saved = (x,)
        return x.reshape(len(x), math.prod(x.shape[1:]))

    def backward(self, ctx: Context, dy: Array) -> Array | None:
        (x,) = ctx.saved
        return dy.reshape(x.shape) if ctx.needs_input_grad else None
