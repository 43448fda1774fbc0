"""Pooling layers."""

import math
from typing import Any, ClassVar

from fastbp import kernels, ops
from fastbp.kernels.pool import pool_windows
from fastbp.kernels.windows import Padding, Size, Windows
from fastbp.layers.layer import SAMPLES, Layer, check_windows


class Pool(ops.Pool, Layer):
    """Windows over every channel of samples (C, image), of which each becomes one number.

    Parameters
    ----------
    size : int or one int per axis
    stride : int or one int per axis, optional
        ``size`` if it is not given, so that the windows lie side by side.
    padding : int, one int or one pair (before, behind) per axis, "same" or "valid"
    dilation : int or one int per axis
        Distance of the elements of a window.
    ceil : bool
        Keep a last window that reaches over the edge.

    Raises
    ------
    TypeError, ValueError
        When a number does not fit.
    """

    axes: ClassVar[int]

    def __init__(
        self, size: Size, stride: Size | None = None, padding: Padding = 0, dilation: Size = 1, ceil: bool = False
    ) -> None:
        super().__init__(size, stride, padding, dilation, ceil)
        check_windows(type(self).__name__, self.axes, size, size if stride is None else stride, padding, dilation)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(input_shape) != self.axes + 1:
            raise ValueError(f"{self.name} takes samples {SAMPLES[self.axes]}, got {input_shape}")
        return (input_shape[0], *self._windows(input_shape).output)

    def _windows(self, input_shape: tuple[int, ...]) -> Windows:
        on: Windows = pool_windows(self.name, input_shape[1:], **self.numbers())
        return on

    def config(self) -> dict[str, Any]:
        return self.numbers()

    def __repr__(self) -> str:
        defaults = {"stride": None, "padding": 0, "dilation": 1, "ceil": False, "count_padding": True}
        shown = [f"{k}={v!r}" for k, v in self.config().items() if k != "size" and v != defaults[k]]
        return f"{type(self).__name__}({', '.join([repr(self.size), *shown])})"


class MaxPool(ops.MaxPool, Pool):
    """The largest element of every window; its gradient goes there, to the first one of several.

    With NaN in a window, the result is NaN. Padding is never the largest.
    """

    def saved_bytes(self, input_shape: tuple[int, ...]) -> int:
        on = self._windows(input_shape)
        return math.prod(self.output_shape(input_shape)) * int(kernels.index_dtype(on.size).itemsize)


class AvgPool(ops.AvgPool, Pool):
    """The mean of every window.

    Parameters
    ----------
    count_padding : bool
        Whether the zeros of the padding count.
    """

    def config(self) -> dict[str, Any]:
        return {**super().config(), "count_padding": self.count_padding}


class MaxPool1d(MaxPool):
    """`MaxPool` of samples (C, W)."""

    axes = 1


class MaxPool2d(MaxPool):
    """`MaxPool` of samples (C, H, W).

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.MaxPool2d(2), input_shape=(1, 2, 4))
    >>> net.forward([[[[1, 1, 2, 4], [5, 6, 7, 8]]]])
    array([[[[6., 8.]]]], dtype=float32)
    """

    axes = 2


class MaxPool3d(MaxPool):
    """`MaxPool` of samples (C, D, H, W)."""

    axes = 3


class AvgPool1d(AvgPool):
    """`AvgPool` of samples (C, W)."""

    axes = 1


class AvgPool2d(AvgPool):
    """`AvgPool` of samples (C, H, W)."""

    axes = 2


class AvgPool3d(AvgPool):
    """`AvgPool` of samples (C, D, H, W)."""

    axes = 3


class GlobalAvgPool2d(ops.GlobalAvgPool, Layer):
    """The mean of every channel: samples (C, H, W) to (C,)."""

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(input_shape) != 3 or 0 in input_shape[1:]:
            raise ValueError(f"{self.name} takes samples (C, H, W) with H > 0 and W > 0, got {input_shape}")
        return input_shape[:1]
