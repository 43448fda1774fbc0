"""The variable: an array that remembers how it was made."""

import warnings
import weakref
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastbp import ops
from fastbp._checks import Array, Real, as_array
from fastbp.graph import walk
from fastbp.graph.anomaly import check_value, watch
from fastbp.graph.node import Leaf, Node, Part, Source, describe
from fastbp.graph.undefined import UndefinedGradientError, UndefinedGradientWarning, UndefinedReport, find
from fastbp.op import Op, clock

OnUndefined = Literal["ignore", "warn", "raise"]


def as_value(value: Any, name: str, *, copy: bool = True) -> Array:
    """``value``, by default a copy, as an array that graphs compute with.

    Half precision becomes float32 and long doubles float64; integers and booleans stay what they are. TypeError for
    complex numbers, text and objects.
    """
    array = as_array(value, name)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    dtype = array.dtype.newbyteorder("=")
    if dtype.kind == "f":
        dtype = np.dtype(np.float32 if dtype.itemsize <= 4 else np.float64)
    return np.array(array, dtype) if copy else np.asarray(array, dtype)


class Variable:
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

    __slots__ = ("__weakref__", "_source", "_value")

    # NumPy leaves operators between its arrays and a Variable to the Variable
    __array_ufunc__ = None

    def __init__(self, value: npt.ArrayLike, name: str = "", *, constant: bool = False) -> None:
        if isinstance(value, Variable):
            raise TypeError(f"{value!r} is a Variable already; its value is {describe(value._source)}.value")
        self._value = as_value(value, name or "value")
        self._source: Source = Leaf(self._value, name, self._value.dtype.kind == "f" and not constant)

    # --- what it is -----------------------------------------------------------------------------------------------

    @property
    def value(self) -> Array:
        """The array, read-only; `assign` gives a leaf another one."""
        view = self._value.view()
        view.flags.writeable = False
        return view

    def take(self, value: Array) -> None:
        """Be told of a new value by a forward pass."""
        source = self._source
        assert isinstance(source, Node | Part)
        self._value, source.grad = value, None
        if isinstance(source, Part):
            source.changed = next(clock)

    @property
    def source(self) -> Source:
        """The node of the graph that the value comes from."""
        return self._source

    @property
    def name(self) -> str:
        """What messages and pictures call it; results may be given a name, too."""
        return self._source.name

    @name.setter
    def name(self, name: str) -> None:
        self._source.name = name

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return self._value.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._value.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._value.size

    @property
    def dtype(self) -> Real:
        """dtype of the value, and of the gradient."""
        return self._value.dtype

    @property
    def is_leaf(self) -> bool:
        """Whether it is no result of an operation."""
        return not self._source.inputs

    @property
    def is_differentiable(self) -> bool:
        """Whether there is a gradient by it: not by integers, constants and what is computed from these alone."""
        return self._source.is_differentiable

    @property
    def grad(self) -> Array:
        """Gradient of the last `backward` by this variable, of its shape and dtype.

        Raises
        ------
        TypeError
            When there is none by integers, booleans and constants.
        RuntimeError
            When no backward pass has come here, or it did not retain the gradients by results.
        """
        grad = self._source.grad
        if grad is None:
            self.check_differentiable()
            if self.is_leaf:
                raise RuntimeError(f"{self._label()} has no gradient: no backward pass has come here")
            raise RuntimeError(
                f"{self._label()} has no gradient: those by results are kept by backward(retain=True) only"
            )
        return grad

    def _label(self) -> str:
        return describe(self._source)

    def check_differentiable(self) -> None:
        """TypeError if there is no gradient by this variable."""
        if self.is_differentiable:
            return
        if self.dtype.kind != "f":
            hint = (
                f"; write Variable({self._value}.0)" if self.ndim == 0 and self.is_leaf and self.dtype != bool else ""
            )
            raise TypeError(f"{self._label()} holds {self.dtype} and has no gradient{hint}")
        raise TypeError(f"{self._label()} has no gradient: it is constant, or made from constants and integers alone")

    def __repr__(self) -> str:
        text = np.array2string(self._value, separator=", ", prefix="Variable(", threshold=20)
        name = f", name={self.name!r}" if self.name else ""
        return f"Variable({text}{name}{'' if self.dtype == np.float64 else f', dtype={self.dtype}'})"

    # --- forward and backward -------------------------------------------------------------------------------------

    def assign(self, value: npt.ArrayLike) -> None:
        """Give a leaf another value; results change with the next `forward`.

        Parameters
        ----------
        value : array
            Is copied and converted to the dtype of the variable; may be of another shape.

        Raises
        ------
        TypeError
            For a result of an operation, and for values that the dtype cannot hold, such as floats in integers.
        """
        leaf = self._source
        if not isinstance(leaf, Leaf):
            raise TypeError(f"{self._label()} is a result; only leaves can be assigned")
        new = as_value(value, self.name or "value")
        if not np.can_cast(new.dtype, self.dtype, "same_kind"):
            raise TypeError(f"{self._label()} holds {self.dtype}, got {new.dtype}")
        self._value = new.astype(self.dtype, copy=False)
        leaf.assign(self._value)

    def for_update(self) -> Array:
        """The array of a leaf itself, for optimizers, who change it in place."""
        leaf = self._source
        if not isinstance(leaf, Leaf):
            raise TypeError(f"{self._label()} is a result; only leaves can be updated")
        leaf.changed = next(clock)
        return self._value

    def forward(self) -> "Variable":
        """Compute this variable again, and all results that it is made from, from the values that its leaves have now.

        Returns
        -------
        Variable
            This one, with its new value.
        """
        walk.forward(self._source)
        return self

    def backward(
        self,
        gradient: npt.ArrayLike | None = None,
        *,
        retain: bool = False,
        accumulate: bool = False,
        on_undefined: OnUndefined = "ignore",
    ) -> None:
        """Fill ``grad`` of all leaves that this variable is made from, parameters of layers included.

        One walk over the graph in reverse topological order. Where gradients meet they are added in one array; each is
        freed as soon as the node has passed it on.

        Parameters
        ----------
        gradient : array of the variable's shape, optional
            Gradient by this variable to start from; 1 for a single number.
        retain : bool
            Keep what is needed for another pass, and the gradients by results, too.
        accumulate : bool
            Add to the gradients of leaves in place of overwriting them.
        on_undefined : "ignore", "warn" or "raise"
            What to do when a gradient other than zero comes to a point where a derivative does not exist, such as 0 of
            a rectifier. To see that takes a pass of its own, as `fastbp.graph.undefined` makes it.

        Raises
        ------
        ValueError
            When ``gradient`` is missing and the variable is no single number, or of another shape.
        TypeError
            When the variable has no gradient: it holds integers, or is made from constants alone.
        RuntimeError
            When the graph was freed by a backward pass before, or a leaf has got another value since.
        UndefinedGradientError
            With ``on_undefined="raise"``; no gradient is written.
        """
        seed = self.seed(gradient)
        root = self._source
        order = walk.backward_order(root)
        if on_undefined != "ignore":
            _complain(find(root, seed), on_undefined)
        if not accumulate:
            walk.drop_gradients(order)
        with np.errstate(all="ignore"):
            found = walk.gradients(order, root, seed, retain=retain)
            for source in found:
                source.receive(found.taken(source), accumulate=accumulate)

    def seed(self, gradient: npt.ArrayLike | None) -> Array:
        """The gradient by this variable that backward starts from, checked."""
        self.check_differentiable()
        if gradient is None:
            if self.size != 1:
                raise ValueError(
                    f"{self._label()} has the shape {self.shape}: backward needs a gradient of this shape to start from"
                )
            return np.ones(self.shape, self.dtype)
        seed = as_value(gradient, "gradient", copy=False).astype(self.dtype, copy=False)
        if seed.shape != self.shape:
            raise ValueError(f"the gradient by {self._label()} must have its shape {self.shape}, got {seed.shape}")
        return seed

    # --- operators ------------------------------------------------------------------------------------------------

    def __add__(self, other: Any) -> "Variable":
        return binary(_ADD, self, other)

    def __radd__(self, other: Any) -> "Variable":
        return binary(_ADD, other, self)

    def __sub__(self, other: Any) -> "Variable":
        return binary(_SUBTRACT, self, other)

    def __rsub__(self, other: Any) -> "Variable":
        return binary(_SUBTRACT, other, self)

    def __mul__(self, other: Any) -> "Variable":
        return binary(_MULTIPLY, self, other)

    def __rmul__(self, other: Any) -> "Variable":
        return binary(_MULTIPLY, other, self)

    def __truediv__(self, other: Any) -> "Variable":
        return binary(_DIVIDE, self, other)

    def __rtruediv__(self, other: Any) -> "Variable":
        return binary(_DIVIDE, other, self)

    def __pow__(self, other: Any) -> "Variable":
        return binary(_POWER, self, other)

    def __rpow__(self, other: Any) -> "Variable":
        return binary(_POWER, other, self)

    def __matmul__(self, other: Any) -> "Variable":
        return binary(_MATMUL, self, other)

    def __rmatmul__(self, other: Any) -> "Variable":
        return binary(_MATMUL, other, self)

    def __neg__(self) -> "Variable":
        return unary(_NEGATIVE, self)

    def __pos__(self) -> "Variable":
        return self

    def __abs__(self) -> "Variable":
        return unary(_ABS, self)

    def __lt__(self, other: Any) -> "Variable":
        return binary(_LESS, self, other)

    def __le__(self, other: Any) -> "Variable":
        return binary(_LESS_EQUAL, self, other)

    def __gt__(self, other: Any) -> "Variable":
        return binary(_GREATER, self, other)

    def __ge__(self, other: Any) -> "Variable":
        return binary(_GREATER_EQUAL, self, other)

    def __eq__(self, other: object) -> "Variable":  # type: ignore[override]
        return binary(_EQUAL, self, other)

    def __ne__(self, other: object) -> "Variable":  # type: ignore[override]
        return binary(_NOT_EQUAL, self, other)

    __hash__ = object.__hash__

    def __getitem__(self, key: Any) -> "Variable":
        if type(key) is int or type(key) is slice:
            return unary(ops.Index((key,)), self)
        parts = key if isinstance(key, tuple) else (key,)
        places = tuple(i for i, part in enumerate(parts) if isinstance(part, Variable | np.ndarray | list))
        arrays = [parts[i] for i in places]
        rest = tuple(None if i in places else part for i, part in enumerate(parts))
        made: Variable = nary(ops.Index(rest, places), self, *arrays)
        return made

    @property
    def T(self) -> "Variable":
        """With the axes reversed."""
        return unary(_TRANSPOSE, self)

    def __len__(self) -> int:
        return len(self._value)

    def __iter__(self) -> Iterator["Variable"]:
        if not self.ndim:
            raise TypeError(f"{self._label()} is a single number and cannot be iterated over")
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __float__(self) -> float:
        return float(self._value.item())

    def __reduce__(self) -> Any:
        leaf = self._source
        if not isinstance(leaf, Leaf):
            raise TypeError(
                f"{self._label()} is a result and cannot be copied or pickled; its value and its leaves can"
            )
        return _leaf, (leaf.value, leaf.name, not leaf.is_differentiable)

    def __array__(self, *_: Any, **__: Any) -> Array:
        raise TypeError(f"{self._label()} would leave the graph as a NumPy array; write .value if that is meant")


def _leaf(value: Array, name: str, is_constant: bool) -> Variable:
    """A leaf that was copied or pickled."""
    return Variable(value, name, constant=is_constant)


def _complain(report: UndefinedReport, on_undefined: str) -> None:
    if on_undefined not in ("warn", "raise"):
        raise ValueError(f'on_undefined must be "ignore", "warn" or "raise", got {on_undefined!r}')
    if not report.mattered:
        return
    places = [f"{e.name}: {e.mattered} of {e.elements} elements ({e.rule})" for e in report if e.mattered]
    text = "gradients come to points where a derivative does not exist: " + "; ".join(places)
    if on_undefined == "raise":
        raise UndefinedGradientError(text)
    warnings.warn(text, UndefinedGradientWarning, stacklevel=3)


def constant(value: Any) -> Variable:
    """An operand that is no variable, as one without gradient."""
    if isinstance(value, Variable):
        return value
    return Variable(value, constant=True)


def _beside(value: Any, inputs: tuple[Any, ...]) -> Variable:
    """An operand that is no variable; a number takes the dtype of the others, as in NumPy."""
    if type(value) in (float, int, bool):
        dtypes = [x._value.dtype for x in inputs if type(x) is Variable]
        dtype = dtypes[0] if len(dtypes) == 1 else np.result_type(*dtypes)
        if dtype.kind != "f":
            dtype = np.result_type(dtype, value)
        made = Variable.__new__(Variable)
        made._value = np.array(value, dtype)
        made._source = Leaf(made._value, "", False)
        return made
    return constant(value)


def result(source: Node, value: Array) -> Variable:
    """The handle of the only output of a node."""
    if type(value) is not np.ndarray:  # NumPy makes numbers of arrays without axes
        value = np.asarray(value)
    made = _new(Variable)
    made._source, made._value = source, value
    source.dtype = value.dtype
    source.handles = (_reference(made),)
    source.changed = next(clock)
    if watch.anywhere:
        check_value(source, value)
    return made


def unary(op: Op, x: Variable) -> Variable:
    """`nary` for one variable and one output; a graph of small arrays takes half as long."""
    source, value = x._source, x._value
    node = Node(op, (source,), (source.is_differentiable,))
    if op.needs_equal_dtypes and value.dtype.kind != "f":
        (value,) = walk.equal_dtypes((value,))
    try:
        made = op.forward(node, value)
    except Exception as error:
        raise walk.named(error, node, (value,)) from error
    return result(node, made)


def binary(op: Op, x: Any, y: Any) -> Variable:
    """`nary` for two operands, one of them a variable, and one output."""
    if type(x) is not Variable:
        x = _beside(x, (y,))
    elif type(y) is not Variable:
        y = _beside(y, (x,))
    left, right, a, b = x._source, y._source, x._value, y._value
    node = Node(op, (left, right), (left.is_differentiable, right.is_differentiable))
    if op.needs_equal_dtypes and not (a.dtype is b.dtype and a.dtype.kind == "f"):
        a, b = walk.equal_dtypes((a, b))
    try:
        made = op.forward(node, a, b)
    except Exception as error:
        raise walk.named(error, node, (a, b)) from error
    return result(node, made)


def nary(op: Op, *inputs: Any) -> Any:
    """The operation applied to variables and constants, where its results need no checks."""
    arrays, sources, needs = [], [], []
    for x in inputs:
        if type(x) is not Variable:
            x = _beside(x, inputs)
        source = x._source
        arrays.append(x._value)
        sources.append(source)
        needs.append(source.is_differentiable)
    node = Node(op, tuple(sources), tuple(needs))
    made = walk.compute(node, arrays)
    if not isinstance(made, tuple):
        return result(node, made)
    node.outputs = len(made)
    node.changed = next(clock)
    handles = tuple(_part(Part(node, i, y.dtype), y) for i, y in enumerate(made))
    node.handles = tuple(map(_reference, handles))
    return handles


def _part(source: Part, value: Array) -> Variable:
    """The handle of one of several outputs."""
    made = _new(Variable)
    made._source, made._value = source, value
    if watch.anywhere:
        check_value(source, value)
    return made


_new, _reference = Variable.__new__, weakref.ref
_ADD, _SUBTRACT, _MULTIPLY, _DIVIDE, _POWER = ops.Add(), ops.Subtract(), ops.Multiply(), ops.Divide(), ops.Power()
_NEGATIVE, _ABS, _MATMUL, _TRANSPOSE = ops.Negative(), ops.Abs(), ops.MatMul(), ops.Transpose()
_LESS, _LESS_EQUAL = ops.Compare(np.less), ops.Compare(np.less_equal)
_GREATER, _GREATER_EQUAL = ops.Compare(np.greater), ops.Compare(np.greater_equal)
_EQUAL, _NOT_EQUAL = ops.Compare(np.equal), ops.Compare(np.not_equal)
