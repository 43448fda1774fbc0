"""Convolutions of images of one, two and three dimensions."""

from typing import Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from fastbp import kernels
from fastbp._checks import Array, check_number, common_real
from fastbp.functional.activation import code_of
from fastbp.functional.images import check_axes
from fastbp.kernels._arrays import check_array
from fastbp.kernels.conv import conv_windows
from fastbp.kernels.windows import Padding, Size


class Numbers(TypedDict, total=False):
    """What the functions of this file take by keyword; see `fastbp.Conv2d`."""

    stride: Size
    padding: Padding
    dilation: Size
    groups: int


_DEFAULTS = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}


def _forward(axes: int, x: Any, w: Any, b: Any, activation: str, slope: float, numbers: Numbers) -> Array:
    name = f"conv{axes}d_forward"
    names, values = (["x", "w"], [x, w]) if b is None else (["x", "w", "b"], [x, w, b])
    images, weight, *bias = common_real(*values, names=names)
    check_axes(name, axes, "x", images)
    given = [numbers.get(key, default) for key, default in _DEFAULTS.items()]
    on = conv_windows(name, images, weight, *given)
    shape = (len(images), len(weight), *on.output)
    check_array(name, "the output", shape, images.dtype)
    y = np.empty(shape, images.dtype)
    code, slope = code_of(name, activation), check_number(slope, "slope", above=True)
    last = bias[0] if bias else None
    kernels.conv_activation_forward(images, weight, last, y, code, slope, name=name, **numbers)
    return y


def _backward(axes: int, dy: Any, x: Any, w: Any, l2: float, numbers: Numbers) -> tuple[Array, Array, Array]:
    delta, images, weight = common_real(dy, x, w, names=["dy", "x", "w"])
    name = f"conv{axes}d_backward"
    check_axes(name, axes, "x", images)
    dx, dw, db = (
        np.empty_like(images, order="C"),
        np.empty_like(weight, order="C"),
        np.empty(weight.shape[:1], delta.dtype),
    )
    kernels.conv_backward(delta, images, weight, dx, dw, db, check_number(l2, "l2"), **numbers, name=name)
    return dx, dw, db


def conv1d_forward(
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    b: npt.ArrayLike | None = None,
    *,
    activation: str = "identity",
    slope: float = 0.01,
    **numbers: Unpack[Numbers],
) -> Array:
    """f(w * x + b) for x (N, C, W), w (F, C / groups, KW); arguments as in `conv2d_forward`."""
    return _forward(1, x, w, b, activation, slope, numbers)


def conv1d_backward(
    dy: npt.ArrayLike, x: npt.ArrayLike, w: npt.ArrayLike, *, l2: float = 0.0, **numbers: Unpack[Numbers]
) -> tuple[Array, Array, Array]:
    """dx, dw, db of `conv1d_forward` without activation."""
    return _backward(1, dy, x, w, l2, numbers)


def conv2d_forward(
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    b: npt.ArrayLike | None = None,
    *,
    activation: str = "identity",
    slope: float = 0.01,
    **numbers: Unpack[Numbers],
) -> Array:
    """Convolution f(w * x + b) of x (N, C, H, W) with w (F, C / groups, KH, KW), b (F,) or None, in one pass.

    Parameters
    ----------
    x, w, b : arrays
    activation : str
        "identity", "relu", "leaky_relu", "sigmoid" or "tanh".
    slope : float
        Of the leaky rectifier.
    stride, dilation : int or one int per axis
        By default 1.
    padding : int, one int or one pair (before, behind) per axis, "same" or "valid"
        By default 0.
    groups : int
        Parts into which channels and filters fall, by default 1.

    Examples
    --------
    One window of the textbook, a channel of the kernel on it:

    >>> from fastbp import functional as F
    >>> window, kernel = [[0, 0, 0], [0, 0, 1], [0, 2, 0]], [[1, 1, -1], [0, -1, 0], [1, -1, -1]]
    >>> F.conv2d_forward([[window]], [[kernel]])
    array([[[[-2.]]]])
    """
    return _forward(2, x, w, b, activation, slope, numbers)


def conv2d_backward(
    dy: npt.ArrayLike, x: npt.ArrayLike, w: npt.ArrayLike, *, l2: float = 0.0, **numbers: Unpack[Numbers]
) -> tuple[Array, Array, Array]:
    """dx, dw, db of `conv2d_forward` without activation; dw with 2 l2 w in it.

    Examples
    --------
    >>> from fastbp import functional as F
    >>> dx, dw, db = F.conv2d_backward([[[[1, 0]]]], [[[[1, 2, 3], [4, 5, 6]]]], [[[[1, 0], [0, -1]]]])
    >>> dx
    array([[[[ 1.,  0.,  0.],
             [ 0., -1.,  0.]]]])
    >>> dw
    array([[[[1., 2.],
             [4., 5.]]]])
    """
    return _backward(2, dy, x, w, l2, numbers)


def conv3d_forward(
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    b: npt.ArrayLike | None = None,
    *,
    activation: str = "identity",
    slope: float = 0.01,
    **numbers: Unpack[Numbers],
) -> Array:
    """f(w * x + b) for x (N, C, D, H, W), w (F, C / groups, KD, KH, KW); arguments as in `conv2d_forward`."""
    return _forward(3, x, w, b, activation, slope, numbers)


def conv3d_backward(
    dy: npt.ArrayLike, x: npt.ArrayLike, w: npt.ArrayLike, *, l2: float = 0.0, **numbers: Unpack[Numbers]
) -> tuple[Array, Array, Array]:
    """dx, dw, db of `conv3d_forward` without activation."""
    return _backward(3, dy, x, w, l2, numbers)
