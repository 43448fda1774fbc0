"""The operation: the unit of which chains of layers and graphs are made."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp._checks import Array, Real
from fastbp.kernels.epilogue import IDENTITY


class Deltas:
    """Two arrays in which gradients by the inputs of a chain of operations take turns.

    Going back, an operation reads the gradient by its output and writes the one by its input; none before is needed
    any more. So a chain takes no more memory for them than the two largest.
    """

    def __init__(self) -> None:
        self._arrays: list[Array] = [np.empty(0), np.empty(0)]

    def reserve(self, sizes: Sequence[int], dtype: Real) -> None:
        """Have room for gradients of as many elements."""
        for turn, size in enumerate(sizes):
            if self._arrays[turn].size < size or self._arrays[turn].dtype != dtype:
                self._arrays[turn] = np.empty(0)  # freed before the new one is made
                self._arrays[turn] = np.empty(size, dtype)

    def beside(self, dy: Array, shape: tuple[int, ...]) -> Array:
        """Room for a gradient of this shape that ``dy`` is not in."""
        turn = 1 if np.may_share_memory(self._arrays[0], dy) else 0
        size = math.prod(shape)
        if self._arrays[turn].size < size or self._arrays[turn].dtype != dy.dtype:
            self._arrays[turn] = np.empty(size, dy.dtype)
        return self._arrays[turn][:size].reshape(shape)


class Context:
    """What one place in a chain or graph remembers of an operation between forward and backward.

    Attributes
    ----------
    saved : tuple of arrays
        What the forward pass left for the backward pass.
    needs_input_grad : bool
        Whether backward shall return the gradient by the input.
    activation, slope : int, float
        Activation that the operation applies to its output (a constant of `fastbp.kernels.epilogue`), set by a plan
        that fuses the layer behind.
    pool : Op, optional
        Maximum pool that the operation applies to its output, behind the activation, set likewise.
    below, below_slope : int, float
        Activation whose output the input is, and whose derivative backward multiplies into the input's gradient.
    l2, accumulate, rate :
        Weight decay of the parameter gradients; add to them instead of overwriting; learning rate if backward shall
        update the parameters at once instead of storing gradients.
    """

    def __init__(self, *, keep_buffers: bool = False, deltas: Deltas | None = None) -> None:
        self._buffers: dict[str, Array] | None = {} if keep_buffers else None
        self._deltas = deltas
        self.saved: tuple[Array, ...] = ()
        self.needs_input_grad = True
        self.activation, self.slope = IDENTITY, 0.0
        self.below, self.below_slope = IDENTITY, 0.0
        self.pool: Op | None = None
        self.l2 = 0.0
        self.accumulate = False
        self.rate: float | None = None

    def output(self, name: str, shape: tuple[int, ...], dtype: Real) -> Array:
        """An array to write a result to: a new one, or with kept buffers the first rows of the one used before."""
        if self._buffers is None:
            return np.empty(shape, dtype)
        buffer = self._buffers.get(name)
        if buffer is None or len(buffer) < shape[0]:
            buffer = self._buffers[name] = np.empty(shape, dtype)
        return buffer if len(buffer) == shape[0] else buffer[: shape[0]]

    def input_gradient(self, dy: Array, shape: tuple[int, ...]) -> Array:
        """An array to write the gradient by the input to, while ``dy``, the one by the output, is read."""
        return np.empty(shape, dy.dtype) if self._deltas is None else self._deltas.beside(dy, shape)


class Op:
    """A differentiable operation. It keeps no state of a call: that lives in the `Context`."""

    def forward(self, ctx: Context, x: Array) -> Array:
        """The output for the input ``x``; saves in ``ctx`` what `backward` needs."""
        raise NotImplementedError

    def backward(self, ctx: Context, dy: Array) -> Array | None:
        """The gradient by the input from ``dy``, the gradient by the output; None where it is not needed."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {}
