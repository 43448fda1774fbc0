"""Convolution of images (N, C, image) with filters (F, C / groups, size), image and size of one to three axes."""

from typing import Any

from fastbp import kernels
from fastbp._checks import Array, check_count
from fastbp.kernels.conv import conv_windows
from fastbp.kernels.windows import Padding, Size
from fastbp.op import Context, Op
from fastbp.ops.affine import Gradients
from fastbp.ops.pool import MaxPool


class Conv(Op):
    """u = w * x + b; arguments as those of `fastbp.Conv2d`, formulas in ``kernels/conv.py``."""

    needs_equal_dtypes = True
    returns_new = True
    is_fusible = True
    takes_derivative = True

    def __init__(self, stride: Size = 1, padding: Padding = 0, dilation: Size = 1, groups: int = 1) -> None:
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.groups = check_count(groups, f"{type(self).__name__}: groups")

    def _numbers(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("stride", "padding", "dilation", "groups")}

    def _label(self) -> str:
        return getattr(self, "name", "") or self.kind

    def forward(self, ctx: Context, x: Array, w: Array, b: Array | None = None) -> Array:
        numbers, name = self._numbers(), self._label()
        on = conv_windows(name, x, w, **numbers)
        shape = (len(x), len(w), *on.output)
        ctx.saved = (x, w, b)
        if isinstance(ctx.pool, MaxPool):
            y, index = ctx.pool.outputs(ctx, shape, x.dtype)
            numbers["pool"] = kernels.Pooled(index, **ctx.pool.numbers())
            ctx.saved = (x, w, b, index, y)
        else:
            y = ctx.output("y", shape, x.dtype, name)
        kernels.conv_activation_forward(x, w, b, y, ctx.activation, ctx.slope, name=name, **numbers)
        return y

    def backward(self, ctx: Context, dy: Array) -> Gradients:
        x, w, b, *behind = ctx.saved
        numbers = {**self._numbers(), "name": self._label()}
        if isinstance(ctx.pool, MaxPool):
            index, y = behind
            numbers["pool"] = kernels.Pooled(
                index, **ctx.pool.numbers(), y=y, activation=ctx.activation, slope=ctx.slope
            )
        dx = dw = db = None
        if ctx.needs[0]:
            dx, _ = ctx.gradient(0, x.shape, dy)
            kernels.conv_delta(dy, w, x, dx, ctx.below, ctx.below_slope, **numbers)
        if ctx.rate is not None:
            kernels.conv_sgd_update(dy, x, w, b, ctx.rate, ctx.l2, **numbers)
            return dx, None, None
        if any(ctx.needs[1:]):
            dw, accumulate = ctx.gradient(1, w.shape, dy)
            if b is not None:
                db, _ = ctx.gradient(2, b.shape, dy)
            kernels.conv_gradient(dy, x, w, dw, db, ctx.l2, accumulate=accumulate, **numbers)
        return dx, dw, db
