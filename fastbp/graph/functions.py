"""The operations of graphs as functions of variables; arrays and numbers among their arguments count as constants.

Each says where its derivative does not exist, and what gradient it gives there, in ``undefined`` of its operation in
`fastbp.ops`; `fastbp.graph.undefined` reports where that happened.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from fastbp import losses, ops
from fastbp.graph.variable import Variable, binary, constant, nary, unary
from fastbp.kernels.windows import Padding, Size
from fastbp.ops.reductions import Axis

_ADD, _SUBTRACT, _MULTIPLY = ops.Add(), ops.Subtract(), ops.Multiply()
_DIVIDE, _POWER, _MATMUL = ops.Divide(), ops.Power(), ops.MatMul()
_EXP, _LOG, _SQRT, _ABS = ops.Exp(), ops.Log(), ops.Sqrt(), ops.Abs()
_MAXIMUM, _MINIMUM, _WHERE = ops.Maximum(), ops.Minimum(), ops.Where()
_RELU, _SIGMOID, _TANH = ops.ReLU(), ops.Sigmoid(), ops.Tanh()
_SOFTMAX, _LOG_SOFTMAX = ops.Softmax(), ops.LogSoftmax()
_AFFINE, _FLATTEN, _GLOBAL_AVG_POOL = ops.Affine(), ops.Flatten(), ops.GlobalAvgPool()


def _two(op: ops.Op, x: Any, y: Any) -> Variable:
    return binary(op, x if type(x) is Variable or type(y) is Variable else constant(x), y)


def _one(op: ops.Op, x: Any) -> Variable:
    return unary(op, x if type(x) is Variable else constant(x))


# --- arithmetic, as the operators do it -------------------------------------------------------------------------------


def add(x: Any, y: Any) -> Variable:
    """x + y."""
    return _two(_ADD, x, y)


def subtract(x: Any, y: Any) -> Variable:
    """x - y."""
    return _two(_SUBTRACT, x, y)


def multiply(x: Any, y: Any) -> Variable:
    """x y, element by element."""
    return _two(_MULTIPLY, x, y)


def divide(x: Any, y: Any) -> Variable:
    """x / y. At y = 0 the derivative does not exist."""
    return _two(_DIVIDE, x, y)


def power(x: Any, p: Any) -> Variable:
    """x^p. At x = 0 with p < 1 the derivative does not exist."""
    return _two(_POWER, x, p)


# --- elementary functions ---------------------------------------------------------------------------------------------


def exp(x: Any) -> Variable:
    """e^x."""
    return _one(_EXP, x)


def log(x: Any) -> Variable:
    """Natural logarithm. At x = 0 its derivative does not exist."""
    return _one(_LOG, x)


def sqrt(x: Any) -> Variable:
    """Square root. At x = 0 its derivative does not exist."""
    return _one(_SQRT, x)


def abs(x: Any) -> Variable:
    """Absolute value. At x = 0 the derivative does not exist and counts as 0."""
    return _one(_ABS, x)


def clip(x: Any, low: float | None = None, high: float | None = None) -> Variable:
    """x, but at least ``low`` and at most ``high``. At the edges the derivative does not exist and counts as 1."""
    return _one(ops.Clip(low, high), x)


def maximum(x: Any, y: Any) -> Variable:
    """The larger one of x and y, element by element. Where they are equal the gradient goes to x."""
    return _two(_MAXIMUM, x, y)


def minimum(x: Any, y: Any) -> Variable:
    """The smaller one of x and y, element by element. Where they are equal the gradient goes to x."""
    return _two(_MINIMUM, x, y)


def where(condition: Any, x: Any, y: Any) -> Variable:
    """x where the condition holds, else y; there is no gradient by the condition.

    Examples
    --------
    >>> from fastbp import graph
    >>> x = graph.Variable([-1.0, 2.0], "x")
    >>> y = graph.sum(graph.where(x > 0, x, 0.1 * x))
    >>> y.backward()
    >>> y.value, x.grad
    (array(1.9), array([0.1, 1. ]))
    """
    made: Variable = nary(_WHERE, condition, x, y)
    return made


@lru_cache(maxsize=256, typed=True)
def _known(kind: Any, axis: Any, keepdims: bool) -> ops.Op:
    """The operation; since it keeps nothing of a call, equal ones can be one."""
    made: ops.Op = kind(axis, keepdims)
    return made


def _over(kind: Any, x: Any, axis: Axis, keepdims: bool) -> Variable:
    return _one(_known(kind, tuple(axis) if isinstance(axis, list) else axis, keepdims), x)


# --- over axes --------------------------------------------------------------------------------------------------------


def sum(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Variable:
    """Sum of the elements along an axis, several, or all of them (None)."""
    return _over(ops.Sum, x, axis, keepdims)


def mean(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Variable:
    """Mean of the elements along an axis, several, or all of them (None)."""
    return _over(ops.Mean, x, axis, keepdims)


def moments(x: Any, axis: Axis = None, *, keepdims: bool = False) -> tuple[Variable, Variable]:
    """Mean, and variance sum (x - mean)^2 / n, along an axis, several, or all of them (None)."""
    made: tuple[Variable, Variable] = nary(ops.Moments(axis, keepdims), x)
    return made


def max(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Variable:
    """Largest element along an axis, several, or all of them (None); of several, the first one gets the gradient."""
    return _over(ops.Max, x, axis, keepdims)


def max_with_index(x: Any, axis: Axis = None, *, keepdims: bool = False) -> tuple[Variable, Variable]:
    """`max`, and the place of the largest element along the axis (in row-major order of several), an integer.

    Examples
    --------
    >>> from fastbp import graph
    >>> largest, place = graph.max_with_index(graph.Variable([[1.0, 7.0], [4.0, 2.0]]), axis=1)
    >>> largest.value, place.value
    (array([7., 4.]), array([1, 0]))
    """
    made: tuple[Variable, Variable] = nary(ops.Max(axis, keepdims, index=True), x)
    return made


def min(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Variable:
    """Smallest element along an axis, several, or all of them (None); of several, the first one gets the gradient."""
    return _over(ops.Min, x, axis, keepdims)


def min_with_index(x: Any, axis: Axis = None, *, keepdims: bool = False) -> tuple[Variable, Variable]:
    """`min`, and the place of the smallest element along the axis (in row-major order of several), an integer."""
    made: tuple[Variable, Variable] = nary(ops.Min(axis, keepdims, index=True), x)
    return made


# --- shapes -----------------------------------------------------------------------------------------------------------


def reshape(x: Any, shape: int | Sequence[int]) -> Variable:
    """x with another shape of as many elements; one size may be -1."""
    return _one(ops.Reshape(shape if isinstance(shape, int) else tuple(shape)), x)


def flatten(x: Any) -> Variable:
    """Samples of any shape as vectors: (N, C, H, W) to (N, C H W)."""
    return _one(_FLATTEN, x)


def transpose(x: Any, axes: Sequence[int] | None = None) -> Variable:
    """x with its axes in another order, by default reversed."""
    return _one(ops.Transpose(None if axes is None else tuple(axes)), x)


def broadcast_to(x: Any, shape: int | Sequence[int]) -> Variable:
    """x repeated to a shape, as NumPy broadcasts; the gradient is summed over what was repeated."""
    return _one(ops.BroadcastTo((shape,) if isinstance(shape, int) else tuple(shape)), x)


def concatenate(xs: Sequence[Any], axis: int = 0) -> Variable:
    """Arrays joined along an axis that they have."""
    made: Variable = nary(ops.Concatenate(axis), *_several(xs, "concatenate"))
    return made


def stack(xs: Sequence[Any], axis: int = 0) -> Variable:
    """Arrays of one shape joined along a new axis."""
    made: Variable = nary(ops.Stack(axis), *_several(xs, "stack"))
    return made


def _several(xs: Sequence[Any], name: str) -> list[Any]:
    arrays = list(xs)
    if not arrays:
        raise ValueError(f"{name} needs at least one array")
    return arrays


def split(x: Any, parts: int | Sequence[int], axis: int = 0) -> tuple[Variable, ...]:
    """So many equal parts of x along an axis, or the parts that end before each of some places.

    Examples
    --------
    >>> from fastbp import graph
    >>> x = graph.Variable([1.0, 2.0, 3.0, 4.0], "x")
    >>> first, second = graph.split(x, 2)
    >>> graph.sum(second * second).backward()
    >>> x.grad
    array([0., 0., 6., 8.])
    """
    made = nary(ops.Split(parts if isinstance(parts, int) else tuple(parts), axis), x)
    return made if isinstance(made, tuple) else (made,)


def matmul(a: Any, b: Any) -> Variable:
    """Matrix product, ``a @ b``: a vector is a row on the left, a column on the right; axes in front are broadcast."""
    return _two(_MATMUL, a, b)


# --- networks ---------------------------------------------------------------------------------------------------------


def relu(x: Any) -> Variable:
    """max(0, x). At x = 0 the derivative does not exist and counts as 0."""
    return _one(_RELU, x)


def leaky_relu(x: Any, slope: float = 0.01) -> Variable:
    """x where x > 0, else slope x. At x = 0 the derivative does not exist and counts as ``slope``."""
    return _one(ops.LeakyReLU(slope), x)


def sigmoid(x: Any) -> Variable:
    """1 / (1 + e^-x)."""
    return _one(_SIGMOID, x)


def tanh(x: Any) -> Variable:
    """Hyperbolic tangent."""
    return _one(_TANH, x)


def softmax(x: Any) -> Variable:
    """e^x_j / sum_i e^x_i along the last axis."""
    return _one(_SOFTMAX, x)


def log_softmax(x: Any) -> Variable:
    """x_j - log sum_i e^x_i along the last axis."""
    return _one(_LOG_SOFTMAX, x)


_ACTIVATIONS = {op.kind: op for op in (_RELU, _SIGMOID, _TANH)}


def _activated(op: ops.Affine | ops.Conv, activation: str, slope: float) -> ops.Op:
    """The operation with an activation behind it."""
    if activation == "identity":
        return op
    if activation == "leaky_relu":
        return ops.Activated(op, ops.LeakyReLU(slope))
    if activation not in _ACTIVATIONS:
        names = ", ".join(["identity", *_ACTIVATIONS, "leaky_relu"])
        raise ValueError(f"{op.kind}: activation must be one of {names}, got {activation!r}")
    return ops.Activated(op, _ACTIVATIONS[activation])


def affine(x: Any, w: Any, b: Any = None, *, activation: str = "identity", slope: float = 0.01) -> Variable:
    """f(x w' + b) with x (N, I), w (O, I), b (O,), in one pass; ``slope`` is that of "leaky_relu".

    Examples
    --------
    >>> from fastbp import graph
    >>> w = graph.Variable([[3.0, 1.0, 2.0], [-2.0, -3.0, -1.0]], "w")
    >>> graph.affine([[2.0, 3.0, 1.0]], w).value
    array([[ 11., -14.]])
    """
    op = _AFFINE if activation == "identity" else _activated(_AFFINE, activation, slope)
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
    return _one(ops.MaxPool(size, stride, padding, dilation, ceil), x)


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
    return _one(ops.AvgPool(size, stride, padding, dilation, ceil, count_padding), x)


def global_avg_pool(x: Any) -> Variable:
    """The mean of every channel: (N, C, H, W) to (N, C)."""
    return _one(_GLOBAL_AVG_POOL, x)


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
    made: Variable = nary(loss, u, np.asarray(t) if isinstance(t, list | tuple) else t)
    return made
