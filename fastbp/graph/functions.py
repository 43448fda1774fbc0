"""Elementary functions, sums, shapes and products of variables; arrays and numbers among them count as constants.

Each says where its derivative does not exist, and what gradient it gives there, in ``undefined`` of its operation in
`fastbp.ops`; `fastbp.graph.undefined` reports where that happened.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from fastbp import ops
from fastbp._checks import check_flag
from fastbp.graph.variable import (
    ABS,
    ADD,
    DIVIDE,
    MATMUL,
    MULTIPLY,
    POWER,
    SUBTRACT,
    Variable,
    binary,
    constant,
    nary,
    unary,
)
from fastbp.kernels._arrays import shown
from fastbp.ops.reductions import Axis, as_axis
from fastbp.ops.shapes import as_integers

_EXP, _LOG, _SQRT = ops.Exp(), ops.Log(), ops.Sqrt()
_MAXIMUM, _MINIMUM, _WHERE = ops.Maximum(), ops.Minimum(), ops.Where()
_FLATTEN = ops.Flatten()


def _two(op: ops.Op, x: Any, y: Any) -> Variable:
    return binary(op, x if type(x) is Variable or type(y) is Variable else constant(x, op.kind), y)


def one(op: ops.Op, x: Any) -> Variable:
    """`unary` for what may be no variable yet."""
    return unary(op, x if type(x) is Variable else constant(x, op.kind))


# --- arithmetic, as the operators do it -------------------------------------------------------------------------------


def add(x: Any, y: Any) -> Variable:
    """x + y."""
    return _two(ADD, x, y)


def subtract(x: Any, y: Any) -> Variable:
    """x - y."""
    return _two(SUBTRACT, x, y)


def multiply(x: Any, y: Any) -> Variable:
    """x y, element by element."""
    return _two(MULTIPLY, x, y)


def divide(x: Any, y: Any) -> Variable:
    """x / y. At y = 0 the derivative does not exist."""
    return _two(DIVIDE, x, y)


def power(x: Any, p: Any) -> Variable:
    """x^p. At x = 0 with p < 1 the derivative does not exist."""
    return _two(POWER, x, p)


# --- elementary functions ---------------------------------------------------------------------------------------------


def exp(x: Any) -> Variable:
    """e^x."""
    return one(_EXP, x)


def log(x: Any) -> Variable:
    """Natural logarithm. At x = 0 its derivative does not exist."""
    return one(_LOG, x)


def sqrt(x: Any) -> Variable:
    """Square root. At x = 0 its derivative does not exist."""
    return one(_SQRT, x)


def abs(x: Any) -> Variable:
    """Absolute value. At x = 0 the derivative does not exist and counts as 0."""
    return one(ABS, x)


def clip(x: Any, low: float | None = None, high: float | None = None) -> Variable:
    """x, but at least ``low`` and at most ``high``. At the edges the derivative does not exist and counts as 1."""
    return one(ops.Clip(low, high), x)


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


@lru_cache(maxsize=256)
def _known(kind: Any, axis: int | tuple[int, ...] | None, keepdims: bool) -> ops.Op:
    """The operation; since it keeps nothing of a call, equal ones can be one."""
    made: ops.Op = kind(axis, keepdims)
    return made


def _over(kind: Any, x: Any, axis: Axis, keepdims: Any) -> Variable:
    if type(keepdims) is not bool:
        keepdims = check_flag(keepdims, f"{kind.kind}: keepdims")
    return one(_known(kind, as_axis(axis, kind.kind), keepdims), x)  # looked up: no 1.0 and no True, which equal 1


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


def _sizes(shape: int | Sequence[int], name: str, key: str = "shape") -> tuple[int, ...]:
    """A shape, of which one size may stand alone."""
    sizes = as_integers(shape, name, f"{key} must be an integer or several")
    return sizes if isinstance(sizes, tuple) else (sizes,)


def reshape(x: Any, shape: int | Sequence[int]) -> Variable:
    """x with another shape of as many elements; one size may be -1."""
    return one(ops.Reshape(_sizes(shape, "reshape")), x)


def flatten(x: Any) -> Variable:
    """Samples of any shape as vectors: (N, C, H, W) to (N, C H W)."""
    return one(_FLATTEN, x)


def transpose(x: Any, axes: Sequence[int] | None = None) -> Variable:
    """x with its axes in another order, by default reversed."""
    return one(ops.Transpose(None if axes is None else _sizes(axes, "transpose", "axes")), x)


def broadcast_to(x: Any, shape: int | Sequence[int]) -> Variable:
    """x repeated to a shape, as NumPy broadcasts; the gradient is summed over what was repeated."""
    return one(ops.BroadcastTo(_sizes(shape, "broadcast_to")), x)


def concatenate(xs: Sequence[Any], axis: int = 0) -> Variable:
    """Arrays joined along an axis that they have."""
    made: Variable = nary(ops.Concatenate(axis), *_several(xs, "concatenate"))
    return made


def stack(xs: Sequence[Any], axis: int = 0) -> Variable:
    """Arrays of one shape joined along a new axis."""
    made: Variable = nary(ops.Stack(axis), *_several(xs, "stack"))
    return made


def _several(xs: Sequence[Any], name: str) -> list[Any]:
    try:
        arrays = [] if isinstance(xs, str | bytes) else list(xs)
    except (TypeError, MemoryError):
        arrays = None
    if arrays is None or isinstance(xs, str | bytes):
        raise TypeError(f"{name} takes a sequence of arrays, got {shown(xs)}")
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
    made = nary(ops.Split(parts, axis), x)
    return made if isinstance(made, tuple) else (made,)


def matmul(a: Any, b: Any) -> Variable:
    """Matrix product, ``a @ b``: a vector is a row on the left, a column on the right; axes in front are broadcast."""
    return _two(MATMUL, a, b)
