"""The fully connected layer."""

from typing import Any

import numpy as np

from fastbp import initializers, ops
from fastbp._checks import Real, check_count, check_flag
from fastbp.initializers import Initializer
from fastbp.layers.layer import Layer, Parameter, Source


class Affine(ops.Affine, Layer):
    """Affine map u = x w' + b of samples x (N, I) to u (N, O), with the weight w (O, I) and the bias b (O,).

    Parameters
    ----------
    n : int
        Number of units O.
    bias : bool
        Whether there is a bias; it starts at 0.
    init : str or function, optional
        "he", "glorot", "lecun", or a function of (shape, rng). By default "he" before a rectifier, else "glorot".

    Raises
    ------
    TypeError, ValueError
        When ``n`` is no positive integer or ``init`` is unknown.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Affine(2, bias=False), input_shape=(3,), dtype="float64")
    >>> net.parameters()[0].value = [[3, 1, 2], [-2, -3, -1]]
    >>> net.forward([[2, 3, 1]])
    array([[ 11., -14.]])
    """

    def __init__(self, n: int, bias: bool = True, init: str | Initializer | None = None) -> None:
        self.n = check_count(n, "Affine: n")
        self.bias = check_flag(bias, "Affine: bias")
        self.init = init
        if init is not None:
            initializers.get(init, "Affine")

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(input_shape) != 1:
            raise ValueError(f"{self.name} takes samples of one dimension, got {input_shape}; put a Flatten() before")
        return (self.n,)

    def build(self, input_shape: tuple[int, ...], dtype: Real, source: Source) -> None:
        # the forward product runs along the rows of x and w, the others read w as it lies: in Fortran order all three
        # take up to an eighth more time
        w = np.array(source("w", (self.n, *input_shape)), dtype, order="C")
        self.w = Parameter(f"{self.name}.w", w, decays=True)
        self.b: Parameter | None = None
        self.parameters = (self.w,)
        if self.bias:
            b = np.array(source("b", (self.n,)), dtype)
            self.b = Parameter(f"{self.name}.b", b, decays=False)
            self.parameters = (self.w, self.b)

    def multiply_adds(self, input_shape: tuple[int, ...]) -> int:
        return self.n * input_shape[0]

    def config(self) -> dict[str, Any]:
        return {"n": self.n, "bias": self.bias, "init": self.init if isinstance(self.init, str) else None}

    def __repr__(self) -> str:
        extra = "" if self.bias else ", bias=False"
        if self.init is not None:
            extra += f", init={self.init!r}"
        return f"Affine({self.n}{extra})"
