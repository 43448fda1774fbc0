"""Softmax and log-softmax along the last axis."""

from fastbp import kernels
from fastbp._checks import Array
from fastbp.op import Context, Op


class Softmax(Op):
    """y_j = e^u_j / sum_i e^u_i,   du = y * (dy - sum_j dy_j y_j)."""

    needs_equal_dtypes = True
    returns_new = True
    _forward, _backward = staticmethod(kernels.softmax_forward), staticmethod(kernels.softmax_backward)

    def forward(self, ctx: Context, x: Array) -> Array:
        y = ctx.output("y", x.shape, x.dtype)
        self._forward(_rows(x), _rows(y))
        ctx.saved = (y,)
        return y

    def backward(self, ctx: Context, dy: Array) -> Array | None:
        (y,) = ctx.saved
        if not ctx.needs[0]:
            return None
        dx, _ = ctx.gradient(0, y.shape, dy)
        self._backward(_rows(dy), _rows(y), _rows(dx))
        return dx


class LogSoftmax(Softmax):
    """y_j = u_j - log sum_i e^u_i,   du = dy - e^y sum_j dy_j."""

    kind = "log_softmax"
    _forward, _backward = staticmethod(kernels.log_softmax_forward), staticmethod(kernels.log_softmax_backward)


def _rows(x: Array) -> Array:
    """x (N, O); other numbers of axes are joined."""
    if x.ndim == 2:
        return x
    if not x.ndim:
        raise ValueError("softmax needs an array of at least one axis, got a single number")
    return x.reshape(-1, x.shape[-1]) if x.size else x.reshape(0, x.shape[-1])
