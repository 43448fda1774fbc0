"""Pooling of images of one, two and three dimensions."""

from typing import Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from fastbp import kernels
from fastbp._checks import Array, common_real
from fastbp.functional.images import check_axes
from fastbp.kernels._arrays import check_array
from fastbp.kernels.pool import pool_windows
from fastbp.kernels.windows import Padding, Size, Windows


class Numbers(TypedDict, total=False):
    """What maximum pooling takes by keyword; see `fastbp.MaxPool2d`."""

    stride: Size | None
    padding: Padding
    dilation: Size
    ceil: bool


class MeanNumbers(Numbers, total=False):
    """What average pooling takes by keyword; see `fastbp.AvgPool2d`."""

    count_padding: bool


def _windows(name: str, axes: int, x: Array, size: Size, numbers: Any) -> Windows:
    check_axes(name, axes, "x", x)
    given = {"stride": None, "padding": 0, "dilation": 1, "ceil": False, **numbers}
    on: Windows = pool_windows(name, x.shape[2:], size, *(given[k] for k in ("stride", "padding", "dilation", "ceil")))
    check_array(name, "the output", (*x.shape[:2], *on.output), x.dtype)
    return on


def _max_forward(axes: int, x: Any, size: Size, numbers: Numbers) -> tuple[Array, Array, Array]:
    """The images, their pooling, and the index of the largest elements."""
    (images,) = common_real(x, names=["x"])
    on = _windows(f"max_pool{axes}d_forward", axes, images, size, numbers)
    y = np.empty((*images.shape[:2], *on.output), images.dtype)
    index = np.empty(y.shape, kernels.index_dtype(on.size))
    kernels.max_pool_forward(images, y, index, size, **numbers)
    return images, y, index


def _max_backward(axes: int, dy: Any, x: Any, size: Size, numbers: Numbers) -> Array:
    gradient, images = common_real(dy, x, names=["dy", "x"])
    _, _, index = _max_forward(axes, images, size, numbers)
    dx = np.empty_like(images, order="C")
    kernels.max_pool_backward(gradient, index, dx, size, **numbers)
    return dx


def _avg_forward(axes: int, x: Any, size: Size, numbers: MeanNumbers) -> Array:
    (images,) = common_real(x, names=["x"])
    without = {key: value for key, value in numbers.items() if key != "count_padding"}
    on = _windows(f"avg_pool{axes}d_forward", axes, images, size, without)
    y = np.empty((*images.shape[:2], *on.output), images.dtype)
    kernels.avg_pool_forward(images, y, size, **numbers)
    return y


def _avg_backward(axes: int, dy: Any, x: Any, size: Size, numbers: MeanNumbers) -> Array:
    gradient, images = common_real(dy, x, names=["dy", "x"])
    check_axes(f"avg_pool{axes}d_backward", axes, "x", images)
    dx = np.empty_like(images, order="C")
    kernels.avg_pool_backward(gradient, dx, size, **numbers)
    return dx


def max_pool1d_forward(x: npt.ArrayLike, size: Size, **numbers: Unpack[Numbers]) -> Array:
    """The largest element of every window of x (N, C, W); arguments as in `max_pool2d_forward`."""
    return _max_forward(1, x, size, numbers)[1]


def max_pool1d_backward(dy: npt.ArrayLike, x: npt.ArrayLike, size: Size, **numbers: Unpack[Numbers]) -> Array:
    """dy at the largest element of each window, the first one of several, else 0."""
    return _max_backward(1, dy, x, size, numbers)


def max_pool2d_forward(x: npt.ArrayLike, size: Size, **numbers: Unpack[Numbers]) -> Array:
    """The largest element of every window of x (N, C, H, W).

    Parameters
    ----------
    x : array
    size, stride, dilation : int or one int per axis
        The stride is ``size`` by default, so that the windows lie side by side.
    padding : int, one int or one pair (before, behind) per axis, "same" or "valid"
        Never the largest element.
    ceil : bool
        Keep a last window that reaches over the edge.

    Examples
    --------
    >>> from fastbp import functional as F
    >>> F.max_pool2d_forward([[[[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]]]], 2)
    array([[[[6., 8.],
             [3., 4.]]]])
    """
    return _max_forward(2, x, size, numbers)[1]


def max_pool2d_backward(dy: npt.ArrayLike, x: npt.ArrayLike, size: Size, **numbers: Unpack[Numbers]) -> Array:
    """dy at the largest element of each window, the first one of several, else 0."""
    return _max_backward(2, dy, x, size, numbers)


def max_pool3d_forward(x: npt.ArrayLike, size: Size, **numbers: Unpack[Numbers]) -> Array:
    """The largest element of every window of x (N, C, D, H, W); arguments as in `max_pool2d_forward`."""
    return _max_forward(3, x, size, numbers)[1]


def max_pool3d_backward(dy: npt.ArrayLike, x: npt.ArrayLike, size: Size, **numbers: Unpack[Numbers]) -> Array:
    """dy at the largest element of each window, the first one of several, else 0."""
    return _max_backward(3, dy, x, size, numbers)


def avg_pool1d_forward(x: npt.ArrayLike, size: Size, **numbers: Unpack[MeanNumbers]) -> Array:
    """The mean of every window of x (N, C, W); arguments as in `max_pool2d_forward`.

    Zeros of the padding count, unless ``count_padding`` is False.
    """
    return _avg_forward(1, x, size, numbers)


def avg_pool1d_backward(dy: npt.ArrayLike, x: npt.ArrayLike, size: Size, **numbers: Unpack[MeanNumbers]) -> Array:
    """dy / count(window) in every element of each window, summed."""
    return _avg_backward(1, dy, x, size, numbers)


def avg_pool2d_forward(x: npt.ArrayLike, size: Size, **numbers: Unpack[MeanNumbers]) -> Array:
    """The mean of every window of x (N, C, H, W); arguments as in `max_pool2d_forward`.

    Zeros of the padding count, unless ``count_padding`` is False.
    """
    return _avg_forward(2, x, size, numbers)


def avg_pool2d_backward(dy: npt.ArrayLike, x: npt.ArrayLike, size: Size, **numbers: Unpack[MeanNumbers]) -> Array:
    """dy / count(window) in every element of each window, summed."""
    return _avg_backward(2, dy, x, size, numbers)


def avg_pool3d_forward(x: npt.ArrayLike, size: Size, **numbers: Unpack[MeanNumbers]) -> Array:
    """The mean of every window of x (N, C, D, H, W); arguments as in `max_pool2d_forward`.

    Zeros of the padding count, unless ``count_padding`` is False.
    """
    return _avg_forward(3, x, size, numbers)


def avg_pool3d_backward(dy: npt.ArrayLike, x: npt.ArrayLike, size: Size, **numbers: Unpack[MeanNumbers]) -> Array:
    """dy / count(window) in every element of each window, summed."""
    return _avg_backward(3, dy, x, size, numbers)


def global_avg_pool2d_forward(x: npt.ArrayLike) -> Array:
    """The mean of every channel: x (N, C, H, W) to (N, C)."""
    (images,) = common_real(x, names=["x"])
    check_axes("global_avg_pool2d_forward", 2, "x", images)
    y = np.empty(images.shape[:2], images.dtype)
    kernels.global_avg_pool_forward(images, y)
    return y


def global_avg_pool2d_backward(dy: npt.ArrayLike, x: npt.ArrayLike) -> Array:
    """dy / (H W) in every element of the channel."""
    gradient, images = common_real(dy, x, names=["dy", "x"])
    check_axes("global_avg_pool2d_backward", 2, "x", images)
    dx = np.empty_like(images, order="C")
    kernels.global_avg_pool_backward(gradient, dx)
    return dx
