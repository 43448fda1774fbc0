"""The affine map of a batch, u = x w' + b."""

from fastbp import kernels
from fastbp._checks import Array
from fastbp.op import Context, Op

Gradients = tuple[Array | None, Array | None, Array | None]


class Affine(Op):
    """u = x w' + b with x (N, I), w (O, I), b (O,);   dx = du w,   dw = du' x + 2 l2 w,   db = sum_n du[n]."""

    needs_equal_dtypes = True
    returns_new = True
    accumulates = (1, 2)
    is_fusible = True
    takes_derivative = True

    def forward(self, ctx: Context, x: Array, w: Array, b: Array | None = None) -> Array:
        y = ctx.output("y", x.shape[:1] + w.shape[:1], x.dtype)
        kernels.affine_activation_forward(x, w, b, y, ctx.activation, ctx.slope)
        ctx.saved = (x, w, b)
        return y

    def backward(self, ctx: Context, dy: Array) -> Gradients:
        x, w, b = ctx.saved
        dx = dw = db = None
        if ctx.needs[0]:
            dx, _ = ctx.gradient(0, x.shape, dy)
            kernels.affine_delta(dy, w, x, dx, ctx.below, ctx.below_slope)
        if ctx.rate is not None:
            kernels.affine_sgd_update(dy, x, w, b, ctx.rate, ctx.l2)
            return dx, None, None
        if ctx.needs[1]:
            dw, accumulate = ctx.gradient(1, w.shape, dy)
            kernels.affine_weight_gradient(dy, x, w, dw, ctx.l2, accumulate=accumulate)
        if b is not None and ctx.needs[2]:
            db, accumulate = ctx.gradient(2, b.shape, dy)
            kernels.affine_bias_gradient(dy, db, accumulate=accumulate)
        return dx, dw, db
