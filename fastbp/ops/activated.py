"""An affine map or a convolution with an activation behind it, in one pass."""

from typing import Any

import numpy as np

from fastbp import kernels
from fastbp._checks import Array
from fastbp.op import Context, Op
from fastbp.ops.activation import Activation
from fastbp.ops.affine import Affine, Gradients
from fastbp.ops.conv import Conv


class Activated(Op):
    """y = f(u) with u of ``op``, which is never stored:   du = dy f'(y), and the gradients of ``op`` from that."""

    needs_equal_dtypes = True
    returns_new = True
    overwrites = True

    def __init__(self, op: Affine | Conv, activation: Activation) -> None:
        self.op, self.activation = op, activation
        self.kind, self.undefined = f"{op.kind}_{activation.kind}", activation.undefined
        self.accumulates = op.accumulates

    def forward(self, ctx: Context, *inputs: Array) -> Array:
        ctx.activation, ctx.slope = self.activation.code, self.activation.slope
        y = self.op.forward(ctx, *inputs)
        ctx.saved = (ctx.saved, y)
        return y

    def backward(self, ctx: Context, dy: Array) -> Gradients:
        saved, y = ctx.saved
        du = dy if ctx.is_free else np.empty(y.shape, y.dtype)
        kernels.activation_backward(dy, y, du, self.activation.code, self.activation.slope)
        ctx.saved, kept = saved, ctx.saved
        try:
            return self.op.backward(ctx, du)
        finally:
            ctx.saved = kept

    def kinks(self, ctx: Context, *inputs: Any) -> tuple[Array, Array] | None:
        return self.activation.kinks(ctx, self.op.forward(Context(), *inputs))
