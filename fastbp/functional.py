"""The kernels as checked functions that return new arrays.

    from fastbp import functional as F

Inputs are converted once: integers, booleans and half floats become float32 or float64 as NumPy promotes them, complex
and object arrays are refused (TypeError). Shapes that do not fit raise ValueError. Gradients come in the order of the
inputs, dx, dw, db; ``y`` is always the output of the forward function.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import kernels
from fastbp._checks import (
    Array,
    as_array,
    check_lengths,
    check_number,
    class_targets,
    common_real,
    real_targets,
    share_targets,
)
from fastbp.kernels import epilogue
from fastbp.kernels.affine import check_shapes

_ACTIVATIONS = {
    "identity": epilogue.IDENTITY,
    "relu": epilogue.RELU,
    "leaky_relu": epilogue.LEAKY_RELU,
    "sigmoid": epilogue.SIGMOID,
    "tanh": epilogue.TANH,
}


def _code(activation: str) -> int:
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(_ACTIVATIONS)}, got {activation!r}")
    return _ACTIVATIONS[activation]


# --- products ---------------------------------------------------------------------------------------------------------


def matmul(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    """Matrix product of a (M, K) and b (K, N).

    Examples
    --------
    >>> from fastbp import functional as F
    >>> F.matmul([[1.0, 2.0]], [[3.0], [4.0]])
    array([[11.]])
    """
    left, right = common_real(a, b, names=["a", "b"])
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
        raise ValueError(f"matmul: a must be (M, K) and b (K, N), got {left.shape} and {right.shape}")
    out = np.empty((left.shape[0], right.shape[1]), left.dtype)
    kernels.matmul(left, right, out)
    return out


def affine_forward(
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    b: npt.ArrayLike | None = None,
    *,
    activation: str = "identity",
    slope: float = 0.01,
) -> Array:
    """f(x w' + b) for x (N, I), w (O, I), b (O,) or None, in one pass.

    Parameters
    ----------
    x, w, b : arrays
    activation : str
        "identity", "relu", "leaky_relu", "sigmoid" or "tanh".
    slope : float
        Of the leaky rectifier.

    Examples
    --------
    >>> from fastbp import functional as F
    >>> F.affine_forward([[2, 3, 1]], [[3, 1, 2], [-2, -3, -1]], activation="relu")
    array([[11.,  0.]])
    """
    code = _code(activation)
    (samples, weight), bias = _affine_arrays(x, w, b)
    out = np.empty((len(samples), len(weight)), samples.dtype)
    kernels.affine_activation_forward(samples, weight, bias, out, code, check_number(slope, "slope", above=True))
    return out


def _affine_arrays(x: Any, w: Any, b: Any) -> tuple[tuple[Array, Array], Array | None]:
    if b is None:
        samples, weight = common_real(x, w, names=["x", "w"])
        check_shapes("affine_forward", x=samples, w=weight)
        return (samples, weight), None
    samples, weight, bias = common_real(x, w, b, names=["x", "w", "b"])
    check_shapes("affine_forward", x=samples, w=weight, b=bias)
    return (samples, weight), np.ascontiguousarray(bias)


def affine_backward(
    dy: npt.ArrayLike, x: npt.ArrayLike, w: npt.ArrayLike, *, l2: float = 0.0
) -> tuple[Array, Array, Array]:
    """dx = dy w, dw = dy' x + 2 l2 w, db = sum_n dy[n].

    Examples
    --------
    The outer product of Backpropagation for engineers: bias gradients times inputs.

    >>> from fastbp import functional as F
    >>> _, dw, db = F.affine_backward([[1, 2, 3]], [[4, 5, 6, 7]], [[0] * 4] * 3)
    >>> dw
    array([[ 4.,  5.,  6.,  7.],
           [ 8., 10., 12., 14.],
           [12., 15., 18., 21.]])
    """
    delta, samples, weight = common_real(dy, x, w, names=["dy", "x", "w"])
    check_shapes("affine_backward", dy=delta, x=samples, w=weight)
    dx, dw, db = np.empty(samples.shape, delta.dtype), np.empty_like(weight), np.empty(len(weight), delta.dtype)
    kernels.affine_backward(delta, samples, weight, dx, dw, db, check_number(l2, "l2"))
    return dx, dw, db


def _activated_backward(activation: str, dy: Any, y: Any, x: Any, w: Any, l2: float) -> tuple[Array, Array, Array]:
    dy, y, x, w = common_real(dy, y, x, w, names=["dy", "y", "x", "w"])
    check_shapes("affine_backward", dy=dy, y=y, x=x, w=w)
    delta = np.empty(dy.shape, dy.dtype)
    kernels.activation_backward(dy, y, delta, _code(activation))
    return affine_backward(delta, x, w, l2=l2)


def affine_relu_forward(x: npt.ArrayLike, w: npt.ArrayLike, b: npt.ArrayLike | None = None) -> Array:
    """max(0, x w' + b) in one pass."""
    return affine_forward(x, w, b, activation="relu")


def affine_relu_backward(
    dy: npt.ArrayLike, y: npt.ArrayLike, x: npt.ArrayLike, w: npt.ArrayLike, *, l2: float = 0.0
) -> tuple[Array, Array, Array]:
    """dx, dw, db of `affine_relu_forward`, with delta = dy where y > 0, else 0."""
    return _activated_backward("relu", dy, y, x, w, l2)


def affine_sigmoid_forward(x: npt.ArrayLike, w: npt.ArrayLike, b: npt.ArrayLike | None = None) -> Array:
    """sigmoid(x w' + b) in one pass."""
    return affine_forward(x, w, b, activation="sigmoid")


def affine_sigmoid_backward(
    dy: npt.ArrayLike, y: npt.ArrayLike, x: npt.ArrayLike, w: npt.ArrayLike, *, l2: float = 0.0
) -> tuple[Array, Array, Array]:
    """dx, dw, db of `affine_sigmoid_forward`, with delta = dy y (1 - y)."""
    return _activated_backward("sigmoid", dy, y, x, w, l2)


def affine_tanh_forward(x: npt.ArrayLike, w: npt.ArrayLike, b: npt.ArrayLike | None = None) -> Array:
    """tanh(x w' + b) in one pass."""
    return affine_forward(x, w, b, activation="tanh")


def affine_tanh_backward(
    dy: npt.ArrayLike, y: npt.ArrayLike, x: npt.ArrayLike, w: npt.ArrayLike, *, l2: float = 0.0
) -> tuple[Array, Array, Array]:
    """dx, dw, db of `affine_tanh_forward`, with delta = dy (1 - y^2)."""
    return _activated_backward("tanh", dy, y, x, w, l2)


def affine_delta(
    delta: npt.ArrayLike, w: npt.ArrayLike, h: npt.ArrayLike, *, activation: str, slope: float = 0.01
) -> Array:
    """The recursion of backpropagation, delta_k = (delta_{k+1} w_{k+1}) * f'(h), with h (N, I) = f(u_k)."""
    code = _code(activation)
    above, weight, below = common_real(delta, w, h, names=["delta", "w", "h"])
    check_shapes("affine_delta", delta=above, w=weight, h=below)
    out = np.empty(below.shape, below.dtype)
    kernels.affine_delta(above, weight, below, out, code, check_number(slope, "slope", above=True))
    return out


def to_augmented(w: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    """W' = [b | w], the lecture's weight matrix (O, I + 1) with the bias in column 0.

    Examples
    --------
    >>> from fastbp import functional as F
    >>> F.to_augmented([[1, 2], [3, 4]], [5, 6])
    array([[5., 1., 2.],
           [6., 3., 4.]])
    """
    weight, bias = common_real(w, b, names=["w", "b"])
    check_shapes("to_augmented", w=weight, b=bias)
    return np.concatenate([bias[:, None], weight], axis=1)


def from_augmented(augmented: npt.ArrayLike) -> tuple[Array, Array]:
    """(w, b) of the lecture's W' = [b | w]; the inverse of `to_augmented`."""
    (both,) = common_real(augmented, names=["augmented"])
    if both.ndim != 2 or both.shape[1] == 0:
        raise ValueError(f"augmented must have the shape (O, I + 1), got {both.shape}")
    return both[:, 1:].copy(), both[:, 0].copy()


# --- activations ------------------------------------------------------------------------------------------------------


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


# --- losses: (value, gradient by the first input) ---------------------------------------------------------------------


def _loss(u: npt.ArrayLike, t: npt.ArrayLike, targets: Any) -> tuple[Array, Array, Array]:
    """Outputs (N, O) and their targets as the kernels take them, and room for the gradient."""
    (outputs,) = common_real(u, names=["u"])
    if outputs.ndim != 2:
        raise ValueError(f"u must have the shape (N, O), got {outputs.shape}")
    given = as_array(t, "targets")
    check_lengths(outputs, given)
    return outputs, targets(given, outputs.shape[1], outputs.dtype), np.empty_like(outputs, order="C")


def softmax_cross_entropy(u: npt.ArrayLike, t: npt.ArrayLike) -> tuple[float, Array]:
    """Cross-entropy of softmax(u) against class indices (N,) or 1-of-K rows; see `fastbp.SoftmaxCrossEntropy`."""
    outputs, targets, delta = _loss(u, t, class_targets)
    return float(kernels.softmax_cross_entropy(outputs, targets, delta)), delta


def mean_squared_error(y: npt.ArrayLike, t: npt.ArrayLike) -> tuple[float, Array]:
    """1/(N O) sum (t - y)^2; see `fastbp.MeanSquaredError`."""
    outputs, targets, delta = _loss(y, t, real_targets)
    return float(kernels.squared_error(outputs, targets, 1 / max(1, outputs.size), delta)), delta


def squared_error(y: npt.ArrayLike, t: npt.ArrayLike, *, half: bool = False) -> tuple[float, Array]:
    """1/N sum (t - y)^2, or half of it; see `fastbp.SquaredError`."""
    outputs, targets, delta = _loss(y, t, real_targets)
    return float(kernels.squared_error(outputs, targets, (0.5 if half else 1.0) / len(outputs), delta)), delta


def sigmoid_cross_entropy(u: npt.ArrayLike, t: npt.ArrayLike) -> tuple[float, Array]:
    """1/(N O) sum (log(1 + e^u) - t u); see `fastbp.SigmoidCrossEntropy`."""
    outputs, targets, delta = _loss(u, t, share_targets)
    return float(kernels.sigmoid_cross_entropy(outputs, targets, 1 / max(1, outputs.size), delta)), delta


# --- updates ----------------------------------------------------------------------------------------------------------


def sgd_update(g: npt.ArrayLike, w: npt.ArrayLike, lr: float, l2: float = 0.0) -> Array:
    """w - lr (g + 2 l2 w) as a new array.

    Examples
    --------
    >>> from fastbp import functional as F
    >>> F.sgd_update([3.0], [3.0], 0.5)
    array([1.5])
    """
    gradient, weight = common_real(g, w, names=["g", "w"])
    result = weight.copy(order="K")
    kernels.sgd_update(gradient, result, check_number(lr, "lr"), check_number(l2, "l2"))
    return result
