"""Matrix products and affine maps."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import kernels
from fastbp._checks import Array, check_number, common_real
from fastbp.functional.activation import code_of
from fastbp.kernels.affine import check_shapes


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
    code = code_of("affine_forward", activation)
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
    kernels.activation_backward(dy, y, delta, code_of("affine_backward", activation))
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
    code = code_of("affine_delta", activation)
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
