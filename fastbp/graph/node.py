"""What graphs are made of: leaves, and operations applied to nodes that were there before.

A node knows the nodes that its inputs come from, and not their values nor who uses it: values live as long as a
`Variable` or the ``saved`` of a node that needs them for backward. All kinds of `Source` have

    inputs              tuple of Source, empty for leaves
    changed             when the value was made, by the clock of `fastbp.op`: after the inputs, unless one of these has
                        got another value since
    is_differentiable   whether gradients by it are computed
    dtype               of the value, and so of its gradient
    name                given by the user, or ""
    receive             takes the gradient by it
"""

import weakref
from typing import Any, ClassVar, TypeAlias

import numpy as np

from fastbp._checks import Array, Real
from fastbp.layers import Parameter
from fastbp.op import Context, Op, clock


class Leaf:
    """A value that no operation has made."""

    __slots__ = ("changed", "dtype", "grad", "is_differentiable", "name", "value")

    inputs: ClassVar[tuple[()]] = ()

    def __init__(self, value: Array, name: str, is_differentiable: bool) -> None:
        self.value, self.dtype, self.name = value, value.dtype, name
        self.is_differentiable = is_differentiable
        self.changed = next(clock)
        self.grad: Array | None = None

    def assign(self, value: Array) -> None:
        """Take another value."""
        if self.grad is not None and self.grad.shape != value.shape:
            self.grad = None
        self.value, self.changed = value, next(clock)

    def receive(self, gradient: Array, *, accumulate: bool = False) -> None:
        """Take the array ``gradient``, or add it to what is there."""
        if accumulate and self.grad is not None:
            self.grad[...] += gradient
        else:
            self.grad = gradient


class Node(Context):
    """An operation applied to inputs; the context of that one application.

    Attributes
    ----------
    outputs : int
        0 for an operation that gives an array; for one that gives a tuple, its length.
    number : int
        When the node was made, by the same clock: later than its inputs, whatever happens to values.
    handles : tuple of weak references
        To the `Variable` of each output.
    saved : tuple, or None
        None once a backward pass has freed it.
    """

    __slots__ = ("changed", "dtype", "handles", "inputs", "is_differentiable", "needs", "number", "op")

    def __init__(self, op: Op, inputs: "tuple[Source, ...]", needs: tuple[bool, ...]) -> None:
        self.op, self.inputs, self.needs = op, inputs, needs
        self.saved = ()
        self.is_differentiable = op.is_differentiable and True in needs

    handles: "tuple[weakref.ref[Any], ...]"
    changed: int
    number: int
    dtype: Real
    saved: tuple[Any, ...] | None  # type: ignore[assignment]
    # most nodes have none of these, and so no dictionary
    name = ""
    grad: Array | None = None
    held: list[Array | None] | None = None
    outputs = 0

    def gradient(self, i: int, shape: tuple[int, ...], dy: Array) -> tuple[Array, bool]:
        if self.held is not None:
            held = self.held[i]
            if held is not None:
                return held, True
        return np.empty(shape, dy.dtype), False

    def receive(self, gradient: Array, *, accumulate: bool = False) -> None:
        """Keep the gradient by the output."""
        self.grad = gradient


class Part:
    """One of several outputs of a node."""

    __slots__ = ("changed", "dtype", "grad", "index", "inputs", "is_differentiable", "name", "number")

    def __init__(self, node: Node, index: int, dtype: Real) -> None:
        self.inputs: tuple[Node] = (node,)
        self.index, self.dtype = index, dtype
        self.is_differentiable = node.is_differentiable and dtype.kind == "f"
        self.name = ""
        self.number = self.changed = next(clock)
        self.grad: Array | None = None

    def receive(self, gradient: Array, *, accumulate: bool = False) -> None:
        """Keep the gradient by the output."""
        self.grad = gradient


Source: TypeAlias = Leaf | Parameter | Node | Part


def describe(source: Source, depth: int = 2) -> str:
    """What to call a node in a message: its name, or how it was made."""
    if source.name:
        return source.name
    if isinstance(source, Part):
        return f"{describe(source.inputs[0], depth)}[{source.index}]"
    if isinstance(source, Node):
        inside = ", ".join(describe(other, depth - 1) for other in source.inputs) if depth else "..."
        return f"{source.op.kind}({inside})"
    return f"{source.value:g}" if source.value.ndim == 0 else f"an array {source.value.shape}"
