"""What users hold of a graph: a value, its gradient, and the ways forward and backward."""

import warnings
from collections.abc import Collection
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from fastbp._checks import Array, Real, as_numbers
from fastbp.graph import walk
from fastbp.graph.anomaly import first_anomaly, watch
from fastbp.graph.kinks import UndefinedGradientError, UndefinedGradientWarning, UndefinedReport, find
from fastbp.graph.node import Leaf, Node, Part, Source, describe
from fastbp.kernels._arrays import shown
from fastbp.op import clock
from fastbp.ops.quiet import quiet

OnUndefined = Literal["ignore", "warn", "raise"]


def check_handle(y: Any, name: str) -> None:
    """TypeError for what is no result of a graph, as function ``name`` wants it."""
    if not isinstance(y, Handle):
        raise TypeError(f"{name}: a graph is given by a Variable, its result, got {shown(y)}")


def check_name(name: Any) -> None:
    """TypeError for what is no text."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a Variable must be text, got {shown(name)}")


def as_value(value: Any, name: str, *, copy: bool = True) -> Array:
    """``value``, by default a copy, as an array that graphs compute with.

    Half precision becomes float32 and long doubles float64; integers and booleans stay what they are. TypeError for
    complex numbers, text and objects.
    """
    if isinstance(value, Handle):
        raise TypeError(f"{name} must be an array, got a Variable: write .value")
    array = as_numbers(value, name)
    dtype = array.dtype
    if not dtype.isnative:
        dtype = dtype.newbyteorder("=")
    if dtype.kind == "f" and dtype.char not in "fd":
        dtype = np.dtype(np.float32 if dtype.itemsize <= 4 else np.float64)
    if dtype is array.dtype:
        return np.array(array) if copy else array
    made: Array = quiet.run(array.astype, dtype)
    return made


class Handle:
    """A `fastbp.graph.Variable` without its operators."""

    __slots__ = ("__weakref__", "_value", "source")

    def __init__(self, value: npt.ArrayLike, name: str = "", *, constant: bool = False) -> None:
        if isinstance(value, Handle):
            raise TypeError(f"{value!r} is a Variable already; its value is {describe(value.source)}.value")
        check_name(name)
        self._value = as_value(value, name or "value")
        self.source: Source = Leaf(self._value, name, self._value.dtype.kind == "f" and not constant)

    # --- what it is -----------------------------------------------------------------------------------------------

    @property
    def value(self) -> Array:
        """The array, read-only; `assign` gives a leaf another one, while an optimizer changes it in place."""
        view = self._value.view()
        view.flags.writeable = False
        return view

    def take(self, value: Array) -> None:
        """Be told of a new value by a forward pass."""
        source = self.source
        assert isinstance(source, Node | Part)
        self._value, source.grad = value, None
        if isinstance(source, Part):
            source.changed = next(clock)

    @property
    def name(self) -> str:
        """What messages and pictures call it; results may be given a name, too."""
        return self.source.name

    @name.setter
    def name(self, name: str) -> None:
        check_name(name)
        self.source.name = name

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
        return not self.source.inputs

    @property
    def is_differentiable(self) -> bool:
        """Whether there is a gradient by it: not by integers, constants and what is computed from these alone."""
        return self.source.is_differentiable

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
        grad = self.source.grad
        if grad is None:
            self.check_differentiable()
            if self.is_leaf:
                raise RuntimeError(f"{self._label()} has no gradient: none has come here")
            raise RuntimeError(
                f"{self._label()} has no gradient: those by results are kept by backward(retain=True) only"
            )
        return grad

    def _label(self) -> str:
        return describe(self.source)

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
        leaf = self.source
        if not isinstance(leaf, Leaf):
            raise TypeError(f"{self._label()} is a result; only leaves can be assigned")
        new = as_value(value, self.name or "value")
        if not np.can_cast(new.dtype, self.dtype, "same_kind"):
            raise TypeError(f"{self._label()} holds {self.dtype}, got {new.dtype}")
        self._value = quiet.run(new.astype, self.dtype, copy=False)
        leaf.assign(self._value)

    def for_update(self) -> Array:
        """The array of a leaf itself, for optimizers, who change it in place."""
        leaf = self.source
        if not isinstance(leaf, Leaf):
            raise TypeError(f"{self._label()} is a result; only leaves can be updated")
        leaf.changed = next(clock)
        return self._value

    def forward(self) -> Self:
        """Compute this variable again, and all results that it is made from, from the values that its leaves have now.

        Returns
        -------
        Variable
            This one, with its new value.
        """
        walk.forward(self.source)
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
        freed as soon as the node has passed it on. A pass that fails half-way leaves no gradients behind (those of
        parameters of layers are 0 then), and one that is refused before it starts leaves those of an earlier pass.

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
        root = self.source
        order = walk.backward_order(root)
        if on_undefined != "ignore":
            _complain(find(root, seed), on_undefined)
        if watch.here and not np.isfinite(seed).all():
            raise FloatingPointError(f"the gradient by {self._label()} holds {first_anomaly(seed)}")
        parameters = walk.drop_gradients(order, of_leaves=not accumulate)
        received: Collection[Source] = ()
        try:
            with np.errstate(all="ignore"):
                found = walk.gradients(order, root, seed, retain=retain)
                for source in found:
                    source.receive(found.taken(source), accumulate=accumulate)
            received = found
        finally:  # what no gradient has reached, or none at all in a pass that fails
            for parameter in parameters:
                if parameter not in received:
                    parameter.grad[...] = 0

    def seed(self, gradient: npt.ArrayLike | None) -> Array:
        """The gradient by this variable that backward starts from, checked."""
        self.check_differentiable()
        if gradient is None:
            if self.size != 1:
                raise ValueError(
                    f"{self._label()} has the shape {self.shape}: backward needs a gradient of this shape to start from"
                )
            return np.ones(self.shape, self.dtype)
        seed: Array = quiet.run(as_value(gradient, "gradient", copy=False).astype, self.dtype, copy=False)
        if seed.shape != self.shape:
            raise ValueError(f"the gradient by {self._label()} must have its shape {self.shape}, got {seed.shape}")
        return seed

    # --- conversions ----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError(f"{self._label()} is a single number and has no length")
        return len(self._value)

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(f"{self._label()} has the shape {self.shape}: only a single number is true or false")
        return bool(self._value)

    def __float__(self) -> float:
        if self.size != 1:
            raise ValueError(f"{self._label()} has the shape {self.shape}: only a single number can become a float")
        return float(self._value.item())

    def __reduce__(self) -> Any:
        leaf = self.source
        if not isinstance(leaf, Leaf):
            raise TypeError(
                f"{self._label()} is a result and cannot be copied or pickled; its value and its leaves can"
            )
        return type(self)._restored, (leaf.value, leaf.name, not leaf.is_differentiable)

    @classmethod
    def _restored(cls, value: Array, name: str, is_constant: bool) -> Self:
        """A leaf that was copied or pickled."""
        return cls(value, name, constant=is_constant)

    def __array__(self, *_: Any, **__: Any) -> Array:
        raise TypeError(f"{self._label()} would leave the graph as a NumPy array; write .value if that is meant")


def _complain(report: UndefinedReport, on_undefined: str) -> None:
    if on_undefined not in ("warn", "raise"):
        raise ValueError(f'on_undefined must be "ignore", "warn" or "raise", got {shown(on_undefined)}')
    if not report.mattered:
        return
    places = [f"{e.name}: {e.mattered} of {e.elements} elements ({e.rule})" for e in report if e.mattered]
    text = "gradients come to points where a derivative does not exist: " + "; ".join(places)
    if on_undefined == "raise":
        raise UndefinedGradientError(text)
    warnings.warn(text, UndefinedGradientWarning, stacklevel=3)
