"""What networks are made of, as functions of variables: activations, affine maps, convolutions, pools and losses."""

from typing import Any

from fastbp import losses, ops
from fastbp._checks import check_number
from fastbp.graph.functions import one
from fastbp.graph.variable import Variable, nary
from fastbp.kernels._arrays import shown
from fastbp.kernels.windows import Padding, Size

_RELU, _SIGMOID, _TANH = ops.ReLU(), ops.Sigmoid(), ops.Tanh()
_SOFTMAX, _LOG_SOFTMAX = ops.Softmax(), ops.LogSoftmax()
_AFFINE, _GLOBAL_AVG_POOL = ops.Affine(), ops.GlobalAvgPool()


def relu(x: Any) -> Variable:
    """max(0, x). At x = 0 the derivative does not exist and counts as 0."""
    return one(_RELU, x)


def leaky_relu(x: Any, slope: float = 0.01) -> Variable:
    """x where x > 0, else slope x. At x = 0 the derivative does not exist and counts as ``slope``."""
    return one(ops.LeakyReLU(slope), x)


def sigmoid(x: Any) -> Variable:
    """1 / (1 + e^-x)."""
    return one(_SIGMOID, x)


def tanh(x: Any) -> Variable:
    """Hyperbolic tangent."""
    return one(_TANH, x)


def softmax(x: Any) -> Variable:
    """e^x_j / sum_i e^x_i along the last axis."""
    return one(_SOFTMAX, x)


def log_softmax(x: Any) -> Variable:
    """x_j - log sum_i e^x_i along the last axis."""
    return one(_LOG_SOFTMAX, x)


_ACTIVATIONS = {op.kind: op for op in (_RELU, _SIGMOID, _TANH)}


def _activated(op: ops.Affine | ops.Conv, activation: str, slope: float) -> ops.Op:
    """The operation with an activation behind it."""
    kind = activation if isinstance(activation, str) else ""
    if kind == "identity":
        return op
    if kind == "leaky_relu":
        return ops.Activated(op, ops.LeakyReLU(check_number(slope, f"{op.kind}: slope", above=True)))
    if kind not in _ACTIVATIONS:
        names = ", ".join(["identity", *_ACTIVATIONS, "leaky_relu"])
        raise ValueError(f"{op.kind}: activation must be one of {names}, got {shown(activation)}")
    return ops.Activated(op, _ACTIVATIONS[kind])


def affine(x: Any, w: Any, b: Any = None, *, activation: str = "identity", slope: float = 0.01) -> Variable:
    """f(x w' + b) with x (N, I), w (O, I), b (O,), in one pass; ``slope`` is that of "leaky_relu".

    Examples
    --------
    >>> from fastbp import graph
    >>> w = graph.Variable([[3.0, 1.0, 2.0], [-2.0, -3.0, -1.0]], "w")
    >>> graph.affine([[2.0, 3.0, 1.0]], w).value
    array([[ 11., -14.]])
    """
    op = _activated(_AFFINE, activation, slope)
    made: Variable = nary(op, x, w) if b is None else nary(op, x, w, b)
    return made


def conv(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    activation: str = "identity",
    slope: float = 0.01,
) -> Variable:
    """f(w * x + b) for images x (N, C, image) of one to three axes, w (F, C / groups, window), b (F,), in one pass.

    Numbers as for `fastbp.Conv2d`, activations as for `affine`.
    """
    op = _activated(ops.Conv(stride, padding, dilation, groups), activation, slope)
    made: Variable = nary(op, x, w) if b is None else nary(op, x, w, b)
    return made


def max_pool(
    x: Any, size: Size, stride: Size | None = None, padding: Padding = 0, dilation: Size = 1, ceil: bool = False
) -> Variable:
    """The largest element of every window of images x (N, C, image); of several, the first one gets the gradient.

    Numbers as for `fastbp.MaxPool2d`.
    """
    return one(ops.MaxPool(size, stride, padding, dilation, ceil), x)


def avg_pool(
    x: Any,
    size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    dilation: Size = 1,
    ceil: bool = False,
    count_padding: bool = True,
) -> Variable:
    """The mean of every window of images x (N, C, image). Numbers as for `fastbp.AvgPool2d`."""
    return one(ops.AvgPool(size, stride, padding, dilation, ceil, count_padding), x)


def global_avg_pool(x: Any) -> Variable:
    """The mean of every channel: (N, C, H, W) to (N, C)."""
    return one(_GLOBAL_AVG_POOL, x)


# --- losses -----------------------------------------------------------------------------------------------------------


def softmax_cross_entropy(u: Any, t: Any) -> Variable:
    """Cross-entropy of softmax(u) against class indices (N,) or 1-of-K rows; see `fastbp.SoftmaxCrossEntropy`."""
    return _loss(losses.SoftmaxCrossEntropy(), u, t)


def sigmoid_cross_entropy(u: Any, t: Any) -> Variable:
    """1/(N O) sum (log(1 + e^u) - t u); see `fastbp.SigmoidCrossEntropy`."""
    return _loss(losses.SigmoidCrossEntropy(), u, t)


def mean_squared_error(y: Any, t: Any) -> Variable:
    """1/(N O) sum (t - y)^2; see `fastbp.MeanSquaredError`."""
    return _loss(losses.MeanSquaredError(), y, t)


def squared_error(y: Any, t: Any, *, half: bool = False) -> Variable:
    """1/N sum (t - y)^2, or half of it; see `fastbp.SquaredError`."""
    return _loss(losses.SquaredError(half), y, t)


def _loss(loss: losses.Loss, u: Any, t: Any) -> Variable:
    made: Variable = nary(loss, u, t)
    return made
