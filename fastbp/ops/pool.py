"""Pools of images (N, C, image) with one to three axes: the maximum or the mean of every window."""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fastbp import kernels
from fastbp._checks import Array, Real, check_flag
from fastbp.kernels.pool import check_tables, pool_windows
from fastbp.kernels.windows import Padding, Size, Windows, check_images
from fastbp.op import Context, Op


class Pool(Op):
    """Windows over every channel; arguments as those of `fastbp.MaxPool2d`."""

    needs_equal_dtypes = True
    returns_new = True

    def __init__(
        self, size: Size, stride: Size | None = None, padding: Padding = 0, dilation: Size = 1, ceil: bool = False
    ) -> None:
        self.size, self.stride, self.padding, self.dilation = size, stride, padding, dilation
        self.ceil = check_flag(ceil, f"{type(self).__name__}: ceil")

    def numbers(self) -> dict[str, Any]:
        """The windows, as kernels take them."""
        return {
            "size": self.size,
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "ceil": self.ceil,
        }

    def windows_on(self, shape: tuple[int, ...]) -> Windows:
        """The windows on images of this shape."""
        on: Windows = pool_windows(self._label(), shape[2:], *self.numbers().values())
        check_tables(self._label(), on)
        return on

    def check(self, x: Array) -> None:
        """Refuse what is no array of images."""
        check_images(self._label(), "x", x)

    def _label(self) -> str:
        return getattr(self, "name", "") or self.kind


class MaxPool(Pool):
    """The largest element of every window; its gradient goes there, to the first one of several.

    With NaN in a window, the result is NaN. Padding is never the largest.
    """

    kind = "max_pool"
    takes_derivative = True
    undefined = "several largest elements in a window, where dx = dy at the first one"

    def outputs(self, ctx: Context, shape: tuple[int, ...], dtype: Real) -> tuple[Array, Array]:
        """Arrays for the output and the index of inputs of this shape."""
        on = self.windows_on(shape)
        output = (*shape[:2], *on.output)
        return ctx.output("y", output, dtype, self._label()), ctx.output("index", output, kernels.index_dtype(on.size))

    def forward(self, ctx: Context, x: Array) -> Array:
        self.check(x)
        y, index = self.outputs(ctx, x.shape, x.dtype)
        kernels.max_pool_forward(x, y, index, **self.numbers())
        ctx.saved = (x.shape, index, y)
        return y

    def backward(self, ctx: Context, dy: Array) -> Array | None:
        shape, index, y = ctx.saved
        if not ctx.needs[0]:
            return None
        dx, _ = ctx.gradient(0, shape, dy)
        kernels.max_pool_delta(dy, index, y, dx, ctx.below, ctx.below_slope, **self.numbers())
        return dx

    def kinks(self, ctx: Context, x: Array) -> tuple[Array, Array]:
        own = Context()
        y, (_, index, _) = self.forward(own, x), own.saved
        on = self.windows_on(x.shape)
        # as much behind as the last window reaches, which with ``ceil`` is more than the padding
        behind = [
            max(0, (o - 1) * s + (k - 1) * d + 1 - before - n)
            for n, k, s, d, before, o in zip(
                on.image, on.size, on.stride, on.dilation, on.before, on.output, strict=True
            )
        ]
        padded = np.pad(x, [(0, 0), (0, 0), *zip(on.before, behind, strict=True)], constant_values=np.nan)
        reach = tuple((k - 1) * d + 1 for k, d in zip(on.size, on.dilation, strict=True))
        axes = tuple(range(2, x.ndim))
        starts = tuple(slice(0, o * s, s) for o, s in zip(on.output, on.stride, strict=True))
        elements = tuple(slice(None, None, d) for d in on.dilation)
        every: tuple[Any, ...] = (..., *starts, *(slice(None),) * len(axes))
        each: tuple[Any, ...] = (..., *elements)
        patches = sliding_window_view(padded, reach, axes)[every][each]
        return (patches == y.reshape(*y.shape, *(1,) * len(axes))).sum(axis=tuple(range(-len(axes), 0))) > 1, index


class AvgPool(Pool):
    """The mean of every window; ``count_padding``: whether the zeros of the padding count."""

    kind = "avg_pool"

    def __init__(
        self,
        size: Size,
        stride: Size | None = None,
        padding: Padding = 0,
        dilation: Size = 1,
        ceil: bool = False,
        count_padding: bool = True,
    ) -> None:
        super().__init__(size, stride, padding, dilation, ceil)
        self.count_padding = check_flag(count_padding, f"{type(self).__name__}: count_padding")

    def forward(self, ctx: Context, x: Array) -> Array:
        self.check(x)
        shape = (*x.shape[:2], *self.windows_on(x.shape).output)
        y = ctx.output("y", shape, x.dtype, self._label())
        kernels.avg_pool_forward(x, y, **self.numbers(), count_padding=self.count_padding)
        ctx.saved = (x.shape,)
        return y

    def backward(self, ctx: Context, dy: Array) -> Array | None:
        (shape,) = ctx.saved
        if not ctx.needs[0]:
            return None
        dx, _ = ctx.gradient(0, shape, dy)
        kernels.avg_pool_backward(dy, dx, **self.numbers(), count_padding=self.count_padding)
        return dx


class GlobalAvgPool(Op):
    """The mean of every channel: (N, C, H, W) to (N, C)."""

    kind = "global_avg_pool"
    needs_equal_dtypes = True
    returns_new = True

    def forward(self, ctx: Context, x: Array) -> Array:
        y = ctx.output("y", x.shape[:2], x.dtype)
        kernels.global_avg_pool_forward(x, y)
        ctx.saved = (x.shape,)
        return y

    def backward(self, ctx: Context, dy: Array) -> Array | None:
        (shape,) = ctx.saved
        if not ctx.needs[0]:
            return None
        dx, _ = ctx.gradient(0, shape, dy)
        kernels.global_avg_pool_backward(dy, dx)
        return dx
