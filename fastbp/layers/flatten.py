"""The layer between images and fully connected layers."""

import math

from fastbp import ops
from fastbp.layers.layer import Layer


class Flatten(ops.Flatten, Layer):
    """Samples of any shape to vectors, (N, C, H, W) to (N, C H W), in row-major order."""

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (math.prod(input_shape),)
