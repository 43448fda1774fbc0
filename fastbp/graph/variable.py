"""The variable: an array that remembers how it was made, and how operations make new ones."""

import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastbp import ops
from fastbp._checks import Array, as_array
from fastbp.graph import walk
from fastbp.graph.anomaly import check_value, watch
from fastbp.graph.handle import Handle, as_value
from fastbp.graph.node import Leaf, Node, Part
from fastbp.op import Op, clock
from fastbp.ops.quiet import quiet


class Variable(Handle):
    """An array of a graph: a leaf, or the result of an operation on others.

    Operators and the functions of `fastbp.graph` make new variables from it. Arrays and numbers beside a variable count
    as constants; they are copied.

    Parameters
    ----------
    value : array
        Is copied. float32 and float64 compute, half precision becomes float32; integers and booleans may be inputs and
        have no gradient. Numbers written without a point are integers, as in NumPy: write ``Variable(100.0)``.
    name : str
        For messages, pictures and tables.
    constant : bool
        Whether no gradient by it is wanted.

    Attributes
    ----------
    source : Leaf, Node, Part or Parameter
        The node of the graph that the value comes from.

    Raises
    ------
    TypeError
        When ``value`` holds anything but real numbers.

    Examples
    --------
    >>> from fastbp.graph import Variable
    >>> x, y = Variable(2.0, "x"), Variable(3.0, "y")
    >>> z = (x + y) ** 2
    >>> z.backward()
    >>> z.value, x.grad
    (array(25.), array(10.))
    """

    __slots__ = ()

    # NumPy leaves operators between its arrays and a Variable to the Variable
    __array_ufunc__ = None

    def __add__(self, other: Any) -> "Variable":
        return binary(ADD, self, other)

    def __radd__(self, other: Any) -> "Variable":
        return binary(ADD, other, self)

    def __sub__(self, other: Any) -> "Variable":
        return binary(SUBTRACT, self, other)

    def __rsub__(self, other: Any) -> "Variable":
        return binary(SUBTRACT, other, self)

    def __mul__(self, other: Any) -> "Variable":
        return binary(MULTIPLY, self, other)

    def __rmul__(self, other: Any) -> "Variable":
        return binary(MULTIPLY, other, self)

    def __truediv__(self, other: Any) -> "Variable":
        return binary(DIVIDE, self, other)

    def __rtruediv__(self, other: Any) -> "Variable":
        return binary(DIVIDE, other, self)

    def __pow__(self, other: Any) -> "Variable":
        return binary(POWER, self, other)

    def __rpow__(self, other: Any) -> "Variable":
        return binary(POWER, other, self)

    def __matmul__(self, other: Any) -> "Variable":
        return binary(MATMUL, self, other)

    def __rmatmul__(self, other: Any) -> "Variable":
        return binary(MATMUL, other, self)

    def __neg__(self) -> "Variable":
        return unary(_NEGATIVE, self)

    def __pos__(self) -> "Variable":
        return self

    def __abs__(self) -> "Variable":
        return unary(ABS, self)

    def __lt__(self, other: Any) -> "Variable":
        return binary(_LESS, self, other)

    def __le__(self, other: Any) -> "Variable":
        return binary(_LESS_EQUAL, self, other)

    def __gt__(self, other: Any) -> "Variable":
        return binary(_GREATER, self, other)

    def __ge__(self, other: Any) -> "Variable":
        return binary(_GREATER_EQUAL, self, other)

    def __eq__(self, other: object) -> "Variable":  # type: ignore[override]
        if other is None:
            return NotImplemented
        return binary(_EQUAL, self, other)

    def __ne__(self, other: object) -> "Variable":  # type: ignore[override]
        if other is None:
            return NotImplemented
        return binary(_NOT_EQUAL, self, other)

    __hash__ = object.__hash__

    def __getitem__(self, key: Any) -> "Variable":
        if type(key) is int or type(key) is slice:
            return unary(ops.Index((key,)), self)
        parts = key if isinstance(key, tuple) else (key,)
        # whatever else NumPy takes, such as a tuple within a tuple, is an array to it
        places = tuple(i for i, part in enumerate(parts) if not _is_basic(part))
        arrays = [_as_index(parts[i]) for i in places]
        rest = tuple(None if i in places else part for i, part in enumerate(parts))
        made: Variable = nary(ops.Index(rest, places), self, *arrays)
        return made

    @property
    def T(self) -> "Variable":
        """With the axes reversed."""
        return unary(_TRANSPOSE, self)

    def __iter__(self) -> Iterator["Variable"]:
        if not self.ndim:
            raise TypeError(f"{self._label()} is a single number and cannot be iterated over")
        return (self[i] for i in range(len(self)))


def _is_basic(part: Any) -> bool:
    """Whether a part of a key is an integer, a slice, an ellipsis or None, which name no element twice."""
    return part is None or part is Ellipsis or type(part) in (int, slice) or isinstance(part, np.integer)


def _as_index(part: Any) -> Any:
    if isinstance(part, Variable | np.ndarray):
        return part
    array = as_array(part, "index")
    return array if array.size else array.astype(np.intp)


def constant(value: Any, kind: str) -> Variable:
    """An operand, for an operation of this kind; one that is no variable has no gradient."""
    if isinstance(value, Variable):
        return value
    return _constant(as_value(value, f"{kind}: an operand"))


def _constant(value: Array) -> Variable:
    made = _new(Variable)
    made.source, made._value = Leaf(value, "", False), value
    return made


def _beside(value: Any, inputs: tuple[Any, ...], kind: str) -> Variable:
    """An operand that is no variable; a number takes the dtype of the others, as in NumPy."""
    if type(value) in (float, int, bool):
        dtypes = [x._value.dtype for x in inputs if type(x) is Variable]
        if not dtypes:
            return constant(value, kind)
        dtypes = [dtype for dtype in dtypes if dtype.kind == "f"] or dtypes
        dtype = dtypes[0] if len(dtypes) == 1 else np.result_type(*dtypes)
        try:
            if dtype.kind != "f":
                dtype = np.result_type(dtype, value)
            return _constant(quiet.run(np.array, value, dtype))
        except OverflowError:
            bits = int(value).bit_length()
            raise ValueError(f"{kind}: an integer of {bits} bits does not fit beside an operand of {dtype}") from None
    return constant(value, kind)


def result(source: Node, value: Array) -> Variable:
    """The handle of the only output of a node."""
    if type(value) is not np.ndarray:  # NumPy makes numbers of arrays without axes
        value = np.asarray(value)
    made = _new(Variable)
    made.source, made._value = source, value
    source.dtype = dtype = value.dtype
    if dtype.kind != "f":
        source.is_differentiable = False
    source.handles = (_reference(made),)
    source.number = source.changed = next(clock)
    if watch.anywhere:
        check_value(source, value)
    return made


def unary(op: Op, x: Variable) -> Variable:
    """`nary` for one variable and one output; a graph of small arrays takes half as long."""
    source, value = x.source, x._value
    node = Node(op, (source,), (source.is_differentiable,))
    if op.needs_equal_dtypes and value.dtype.kind != "f":
        (value,) = walk.equal_dtypes((value,))
    try:
        made = op.forward(node, value)
    except BaseException as error:
        walk.blame(node, (value,), error)
    return result(node, made)


def binary(op: Op, x: Any, y: Any) -> Variable:
    """`nary` for two operands, one of them a variable, and one output."""
    if type(x) is not Variable:
        x = _beside(x, (y,), op.kind)
    elif type(y) is not Variable:
        y = _beside(y, (x,), op.kind)
    left, right, a, b = x.source, y.source, x._value, y._value
    node = Node(op, (left, right), (left.is_differentiable, right.is_differentiable))
    if op.needs_equal_dtypes and not (a.dtype is b.dtype and a.dtype.kind == "f"):
        a, b = walk.equal_dtypes((a, b))
    try:
        made = op.forward(node, a, b)
    except BaseException as error:
        walk.blame(node, (a, b), error)
    return result(node, made)


def nary(op: Op, *inputs: Any) -> Any:
    """The operation applied to variables and constants, where its results need no checks."""
    arrays, sources, needs = [], [], []
    for x in inputs:
        if type(x) is not Variable:
            x = _beside(x, inputs, op.kind)
        source = x.source
        arrays.append(x._value)
        sources.append(source)
        needs.append(source.is_differentiable)
    node = Node(op, tuple(sources), tuple(needs))
    made = walk.compute(node, arrays)
    if not isinstance(made, tuple):
        return result(node, made)
    node.outputs = len(made)
    node.number = node.changed = next(clock)
    handles = tuple(_part(Part(node, i, y.dtype), y) for i, y in enumerate(made))
    node.handles = tuple(map(_reference, handles))
    return handles


def _part(source: Part, value: Array) -> Variable:
    """The handle of one of several outputs."""
    made = _new(Variable)
    made.source, made._value = source, value
    if watch.anywhere:
        check_value(source, value)
    return made


_new, _reference = Variable.__new__, weakref.ref
# Operations keep nothing of a call, so that one of each serves all.
ADD, SUBTRACT, MULTIPLY, DIVIDE, POWER = ops.Add(), ops.Subtract(), ops.Multiply(), ops.Divide(), ops.Power()
_NEGATIVE, ABS, MATMUL, _TRANSPOSE = ops.Negative(), ops.Abs(), ops.MatMul(), ops.Transpose()
_LESS, _LESS_EQUAL = ops.Compare(np.less), ops.Compare(np.less_equal)
_GREATER, _GREATER_EQUAL = ops.Compare(np.greater), ops.Compare(np.greater_equal)
_EQUAL, _NOT_EQUAL = ops.Compare(np.equal), ops.Compare(np.not_equal)
