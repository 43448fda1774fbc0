"""Activations and softmax, elementwise and by rows."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import kernels
from fastbp._checks import Array, check_number, common_real
from fastbp.kernels import epilogue
from fastbp.kernels._arrays import shown

_ACTIVATIONS = {
    "identity": epilogue.IDENTITY,
    "relu": epilogue.RELU,
    "leaky_relu": epilogue.LEAKY_RELU,
    "sigmoid": epilogue.SIGMOID,
    "tanh": epilogue.TANH,
}


def code_of(name: str, activation: str) -> int:
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise ValueError(f"{name}: activation must be one of {', '.join(_ACTIVATIONS)}, got {shown(activation)}")
    return _ACTIVATIONS[activation]


def _forward(code: int, x: npt.ArrayLike, slope: float = 0.0) -> Array:
    (u,) = common_real(x, names=["x"])
    y = np.empty_like(u)
    kernels.activation_forward(u, y, code, slope)
    return y


def _backward(code: int, dy: npt.ArrayLike, y: npt.ArrayLike, slope: float = 0.0) -> Array:
    gradient, output = common_real(dy, y, names=["dy", "y"])
    dx = np.empty_like(gradient)
    kernels.activation_backward(gradient, output, dx, code, slope)
    return dx


def relu_forward(x: npt.ArrayLike) -> Array:
    """max(0, x) for an array of any shape.

    Examples
    --------
    >>> from fastbp import functional as F
    >>> F.relu_forward([-1.0, 2.0])
    array([0., 2.])
    """
    return _forward(epilogue.RELU, x)


def relu_backward(dy: npt.ArrayLike, y: npt.ArrayLike) -> Array:
    """dy where y > 0, else 0."""
    return _backward(epilogue.RELU, dy, y)


def leaky_relu_forward(x: npt.ArrayLike, slope: float = 0.01) -> Array:
    """x where x > 0, else slope x; slope above 0."""
    return _forward(epilogue.LEAKY_RELU, x, check_number(slope, "slope", above=True))


def leaky_relu_backward(dy: npt.ArrayLike, y: npt.ArrayLike, slope: float = 0.01) -> Array:
    """dy where y > 0, else slope dy."""
    return _backward(epilogue.LEAKY_RELU, dy, y, check_number(slope, "slope", above=True))


def sigmoid_forward(x: npt.ArrayLike) -> Array:
    """1 / (1 + e^-x), within 2 ulp."""
    return _forward(epilogue.SIGMOID, x)


def sigmoid_backward(dy: npt.ArrayLike, y: npt.ArrayLike) -> Array:
    """dy y (1 - y)."""
    return _backward(epilogue.SIGMOID, dy, y)


def tanh_forward(x: npt.ArrayLike) -> Array:
    """tanh x, within 2 ulp."""
    return _forward(epilogue.TANH, x)


def tanh_backward(dy: npt.ArrayLike, y: npt.ArrayLike) -> Array:
    """dy (1 - y^2)."""
    return _backward(epilogue.TANH, dy, y)


def identity_forward(x: npt.ArrayLike) -> Array:
    """A copy of x."""
    return _forward(epilogue.IDENTITY, x)


def identity_backward(dy: npt.ArrayLike, y: npt.ArrayLike) -> Array:
    """A copy of dy."""
    return _backward(epilogue.IDENTITY, dy, y)


def _rows(*values: Any, names: list[str]) -> tuple[Array, ...]:
    arrays = common_real(*values, names=names)
    if arrays[0].ndim != 2 or any(array.shape != arrays[0].shape for array in arrays):
        got = ", ".join(f"{name} {array.shape}" for name, array in zip(names, arrays, strict=True))
        raise ValueError(f"{' and '.join(names)} must have the shape (N, O), got {got}")
    return (*arrays, np.empty(arrays[0].shape, arrays[0].dtype))


def softmax_forward(x: npt.ArrayLike) -> Array:
    """e^x_j / sum_i e^x_i for every row of x (N, O)."""
    u, y = _rows(x, names=["x"])
    kernels.softmax_forward(u, y)
    return y


def softmax_backward(dy: npt.ArrayLike, y: npt.ArrayLike) -> Array:
    """y * (dy - sum_j dy_j y_j) for every row."""
    gradient, output, dx = _rows(dy, y, names=["dy", "y"])
    kernels.softmax_backward(gradient, output, dx)
    return dx


def log_softmax_forward(x: npt.ArrayLike) -> Array:
    """x_j - log sum_i e^x_i for every row of x (N, O)."""
    u, y = _rows(x, names=["x"])
    kernels.log_softmax_forward(u, y)
    return y


def log_softmax_backward(dy: npt.ArrayLike, y: npt.ArrayLike) -> Array:
    """dy - e^y sum_j dy_j for every row."""
    gradient, output, dx = _rows(dy, y, names=["dy", "y"])
    kernels.log_softmax_backward(gradient, output, dx)
    return dx
