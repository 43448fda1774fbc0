"""Tables about a network: what it consists of and what a training step costs."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class LayerCost:
    """One row: output shape of a sample, number of parameters, multiply-adds for the batch."""

    name: str
    layer: str
    output_shape: tuple[int, ...]
    parameters: int
    forward: int
    backward: int


@dataclass(frozen=True)
class Cost:
    """Cost of one training step.

    Attributes
    ----------
    batch_size : int
    layers : tuple of LayerCost
    activation_bytes : int
        Bytes that are kept for the backward pass: outputs of the layers, and indices of maximum pools. An affine layer
        or a convolution and the activation behind it keep one array, with a maximum pool next the output of the pool.
    delta_bytes : int
        Bytes of the gradients by the outputs on the way back: of the loss, and of two layers at a time.
    itemsize : int
        Bytes of one element.
    """

    batch_size: int
    layers: tuple[LayerCost, ...]
    activation_bytes: int
    delta_bytes: int
    itemsize: int

    @property
    def forward(self) -> int:
        """Multiply-adds of the forward pass."""
        return sum(layer.forward for layer in self.layers)

    @property
    def backward(self) -> int:
        """Multiply-adds of the backward pass."""
        return sum(layer.backward for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def training_bytes(self) -> int:
        """Bytes of a training step: parameters, their gradients, activations and deltas.

        Plain gradient descent stores no gradients. What the kernels copy for themselves comes on top: for every thread
        as much as a part of the second-level cache, and the transformed weights of a convolution.
        """
        return 2 * self.parameters * self.itemsize + self.activation_bytes + self.delta_bytes

    def __str__(self) -> str:
        head = ("layer", "output", "parameters", "forward", "backward")
        rows = [
            (row.layer, _shape(row.output_shape), f"{row.parameters:,}", f"{row.forward:,}", f"{row.backward:,}")
            for row in self.layers
        ]
        total = ("total", "", f"{self.parameters:,}", f"{self.forward:,}", f"{self.backward:,}")
        return "\n".join(
            [
                table(head, rows, total),
                f"multiply-adds for a batch of {self.batch_size}; activations {self.activation_bytes:,} bytes, "
                f"with parameters and all gradients {self.training_bytes:,}",
            ]
        )


class Summary:
    """Table of the layers of a network; ``print(net.summary())`` or its name in an interactive session shows it."""

    def __init__(self, input_shape: tuple[int, ...], dtype: str, cost: Cost) -> None:
        self.input_shape, self.dtype, self.cost = input_shape, dtype, cost

    def __str__(self) -> str:
        cost = self.cost
        head = ("layer", "name", "output shape", "parameters", "multiply-adds")
        rows = [
            (row.layer, row.name, _shape(row.output_shape), f"{row.parameters:,}", f"{row.forward:,}")
            for row in cost.layers
        ]
        total = ("total", "", "", f"{cost.parameters:,}", f"{cost.forward:,}")
        size = cost.parameters * cost.itemsize
        return "\n".join(
            [
                table(head, rows, total),
                f"input {_shape(self.input_shape)}, {self.dtype}, parameters {size:,} bytes, multiply-adds per sample",
            ]
        )

    __repr__ = __str__


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) if shape else "1"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], total: tuple[str, ...] | None = None) -> str:
    """Text columns to the left, numbers to the right."""
    last = [] if total is None else [total]
    everything = [head, *rows, *last]
    widths = [max(len(row[i]) for row in everything) for i in range(len(head))]
    numeric = [all(not row[i] or row[i].replace(",", "").isdigit() for row in [*rows, *last]) for i in range(len(head))]

    def line(row: tuple[str, ...]) -> str:
        cells = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        return "  ".join(cells).rstrip()

    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    return "\n".join([line(head), rule, *map(line, rows), *([] if total is None else [rule, line(total)])])
