"""Convolution layers."""

import math
from typing import Any, ClassVar

import numpy as np

from fastbp import initializers, ops
from fastbp._checks import Real, check_count, check_flag
from fastbp.initializers import Initializer
from fastbp.kernels.conv import check_groups
from fastbp.kernels.windows import Padding, Size, Windows, windows
from fastbp.layers.layer import SAMPLES, Layer, Parameter, Source, check_windows


class Conv(ops.Conv, Layer):
    """Convolution u = w * x + b of samples (C, image) to (F, windows), with w (F, C / groups, size) and b (F,).

    Parameters
    ----------
    filters : int
        Number of filters F, the channels of the output.
    size : int or one int per axis
        Of the window.
    stride, dilation : int or one int per axis
    padding : int, one int or one pair (before, behind) per axis, "same" or "valid"
    groups : int
        Parts into which channels and filters fall; as many as channels make a depthwise convolution.
    bias : bool
        Whether there is a bias; it starts at 0.
    init : str or function, optional
        "he", "glorot", "lecun", or a function of (shape, rng). By default "he" before a rectifier, else "glorot".

    Raises
    ------
    TypeError, ValueError
        When a number does not fit or ``init`` is unknown.
    """

    axes: ClassVar[int]

    def __init__(
        self,
        filters: int,
        size: Size,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        init: str | Initializer | None = None,
    ) -> None:
        kind = type(self).__name__
        super().__init__(stride, padding, dilation, groups)
        self.filters, self.size = check_count(filters, f"{kind}: filters"), size
        check_windows(kind, self.axes, size, stride, padding, dilation)
        self.bias = check_flag(bias, f"{kind}: bias")
        self.init = init
        if init is not None:
            initializers.get(init, kind)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(input_shape) != self.axes + 1:
            raise ValueError(f"{self.name} takes samples {SAMPLES[self.axes]}, got {input_shape}")
        check_groups(self.name, input_shape[0], self.filters, self.groups)
        return (self.filters, *self._windows(input_shape).output)

    def _windows(self, input_shape: tuple[int, ...]) -> Windows:
        on: Windows = windows(self.name, input_shape[1:], self.size, self.stride, self.padding, self.dilation)
        return on

    def build(self, input_shape: tuple[int, ...], dtype: Real, source: Source) -> None:
        shape = (self.filters, input_shape[0] // self.groups, *self._windows(input_shape).size)
        self.w = Parameter(f"{self.name}.w", np.array(source("w", shape), dtype, order="C"), decays=True)
        self.b: Parameter | None = None
        self.parameters = (self.w,)
        if self.bias:
            self.b = Parameter(f"{self.name}.b", np.array(source("b", (self.filters,)), dtype), decays=False)
            self.parameters = (self.w, self.b)

    def multiply_adds(self, input_shape: tuple[int, ...]) -> int:
        return math.prod(self.output_shape(input_shape)) * math.prod(self.w.value.shape[1:])

    def config(self) -> dict[str, Any]:
        keys = "filters", "size", "stride", "padding", "dilation", "groups", "bias"
        init = self.init if isinstance(self.init, str) else None
        return {**{key: getattr(self, key) for key in keys}, "init": init}

    def __repr__(self) -> str:
        defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "bias": True, "init": None}
        values = {**self.config(), "init": self.init}
        shown = [f"{key}={values[key]!r}" for key, default in defaults.items() if values[key] != default]
        return f"{type(self).__name__}({', '.join([repr(self.filters), repr(self.size), *shown])})"


class Conv1d(Conv):
    """`Conv` of samples (C, W).

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.Sequential(fb.Conv1d(8, 5, stride=2), input_shape=(2, 100)).output_shape
    (8, 48)
    """

    axes = 1


class Conv2d(Conv):
    """`Conv` of samples (C, H, W).

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Conv2d(1, 2, bias=False), input_shape=(1, 2, 3), dtype="float64")
    >>> net.parameters()[0].value = [[[[1, 0], [0, -1]]]]
    >>> net.forward([[[[1, 2, 3], [4, 5, 6]]]])
    array([[[[-4., -4.]]]])
    """

    axes = 2


class Conv3d(Conv):
    """`Conv` of samples (C, D, H, W).

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.Sequential(fb.Conv3d(4, 3, padding="same"), input_shape=(2, 8, 8, 8)).output_shape
    (4, 8, 8, 8)
    """

    axes = 3
