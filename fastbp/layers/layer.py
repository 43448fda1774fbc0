"""Layers and their parameters."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastbp._checks import Array, Real, as_real
from fastbp.kernels.windows import MOST, Padding, Size, windows
from fastbp.op import Op, clock

# Gives the initial value of a parameter from its letter ("w", "b") and shape.
Source = Callable[[str, tuple[int, ...]], Array]


SAMPLES = {1: "(C, W)", 2: "(C, H, W)", 3: "(C, D, H, W)"}


def check_windows(kind: str, axes: int, size: Size, stride: Size, padding: Padding, dilation: Size) -> None:
    """Refuse numbers of windows that no image of so many ``axes`` would fit, before there is one."""
    windows(kind, (MOST,) * axes, size, stride, padding, dilation)


class Parameter:
    """An array that training changes, and its gradient.

    Attributes
    ----------
    name : str
        Layer and letter, for instance ``affine_1.w``.
    value : ndarray
        Its logical shape is that of the textbook, (O, I) for a weight; the memory order is the layer's choice.
        Assigning copies into the array.
    grad : ndarray, same shape
        Gradient of the last backward pass; zeros before.
    decays : bool
        Whether weight decay applies to it: to weights, not to biases.
    changed : int
        When the value was last assigned or updated, by the clock of `fastbp.op`.
    """

    def __init__(self, name: str, value: Array, *, decays: bool) -> None:
        self.name = name
        self.decays = decays
        self._value = value
        self._grad: Array | None = None
        self.changed = 0

    # what a leaf of a graph has
    inputs: ClassVar[tuple[()]] = ()
    is_differentiable: ClassVar[bool] = True

    @property
    def dtype(self) -> Real:
        return self._value.dtype

    def receive(self, gradient: Array, *, accumulate: bool = False) -> None:
        """Keep a copy of ``gradient``, or add it."""
        if accumulate:
            self.grad[...] += gradient
        elif gradient is not self.grad:
            self.grad[...] = gradient

    @property
    def value(self) -> Array:
        return self._value

    @value.setter
    def value(self, new: npt.ArrayLike) -> None:
        array = as_real(new, self._value.dtype, self.name)
        if array.shape != self._value.shape:
            raise ValueError(f"{self.name} has the shape {self._value.shape}, got {array.shape}")
        self.for_update()[...] = array

    def for_update(self) -> Array:
        """The array itself, for one who changes it in place; ValueError where it is read-only."""
        self.check_writable()
        self.changed = next(clock)
        return self._value

    def check_writable(self) -> None:
        """Refuse to change a value that is read-only, as those of networks that joblib maps into memory are."""
        if not self._value.flags.writeable:
            raise ValueError(f"{self.name} is read-only: a copy.deepcopy of the network can be trained")

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self._grad is not None and not self._grad.flags.writeable:  # nobody's wish: it was mapped into memory
            self._grad = self._grad.copy()

    @property
    def grad(self) -> Array:
        if self._grad is None:
            self._grad = np.zeros_like(self._value)
        return self._grad

    def convert(self, dtype: Real) -> None:
        """Compute in ``dtype`` from now on."""
        self._value = self._value.astype(dtype)
        self._grad = None

    def __repr__(self) -> str:
        return f"Parameter({self.name!r}, shape={self._value.shape}, dtype={self._value.dtype})"


class Layer(Op):
    """An operation with parameters and with shapes: what `Sequential` is made of.

    ``forward(ctx, x, *parameters)`` gets the values of the parameters as further inputs, and ``backward`` returns the
    gradients by them, too: with several, as a tuple.

    Attributes
    ----------
    name : str
        Kind and number within the network, given when the network is built.
    parameters : tuple of Parameter
    is_fusible : bool
        Whether it heeds `Context.activation` and `Context.rate`.
    takes_derivative : bool
        Whether it heeds `Context.below`.
    """

    name = ""
    parameters: tuple[Parameter, ...] = ()
    is_fusible = False
    takes_derivative = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__module__.startswith("fastbp."):  # a layer of the user's is an operation of its own
            of_ops = (op for op in cls.__mro__ if issubclass(op, Op) and op.__module__.startswith("fastbp.ops."))
            cls.kind = next((op.kind for op in of_ops), cls.kind)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one output sample; ValueError where the layer cannot take such an input."""
        return input_shape

    def build(self, input_shape: tuple[int, ...], dtype: Real, source: Source) -> None:
        """Make the parameters, with initial values from ``source``."""

    def multiply_adds(self, input_shape: tuple[int, ...]) -> int:
        """Multiply-adds of the forward pass for one sample; as many again for each of the two gradients."""
        return 0

    def saved_bytes(self, input_shape: tuple[int, ...]) -> int:
        """Bytes that the backward pass of one sample needs beside the inputs and outputs of the layers."""
        return 0

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {}

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.config().items())
        return f"{type(self).__name__}({arguments})"
