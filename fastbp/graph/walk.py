"""Walks over a graph: in topological order, backward from one node, forward again from its leaves.

No walk recurses, so that chains may be of any length.
"""

import re
from collections.abc import Sequence
from operator import attrgetter
from typing import NoReturn

import numpy as np

from fastbp._checks import Array
from fastbp.graph.anomaly import check_gradients, check_value, watch
from fastbp.graph.node import Leaf, Node, Part, Source, describe
from fastbp.layers import Parameter
from fastbp.op import Op, clock

_by_number = attrgetter("number")
_MADE = (Node, Part)
_SHOWN = 5  # inputs that a message names
# What is raised anew with the node in its message; other errors get a note.
_REWORDED: dict[type[BaseException], type[Exception]] = {
    **{kind: kind for kind in (ValueError, IndexError, TypeError)},
    np.exceptions.AxisError: ValueError,
    OverflowError: ValueError,
}


def ancestors(root: Source) -> list[Node | Part]:
    """The nodes that ``root`` is made from, itself included and leaves not, each behind its inputs."""
    found: set[Node | Part] = {root} if isinstance(root, Node | Part) else set()
    waiting = list(found)
    while waiting:
        for source in waiting.pop().inputs:
            if isinstance(source, Node | Part) and source not in found:
                found.add(source)
                waiting.append(source)
    return sorted(found, key=_by_number)


def leaves(order: Sequence[Node | Part], root: Source) -> list[Source]:
    """The leaves among the inputs of the nodes in ``order``, each once, as they come first."""
    found = {source: None for node in order for source in node.inputs if not source.inputs}
    return list(found) or ([] if root.inputs else [root])


def backward_order(root: Source) -> list[Node | Part]:
    """The nodes that a gradient by ``root`` passes, each before its inputs; RuntimeError where it cannot."""
    found: set[Node | Part] = {root} if isinstance(root, Node | Part) else set()
    waiting = list(found)
    while waiting:
        node = waiting.pop()
        _check_backward(node)
        for source in node.inputs:
            if source.is_differentiable and isinstance(source, _MADE) and source not in found:
                found.add(source)
                waiting.append(source)
    return sorted(found, key=_by_number, reverse=True)


def check_order(node: Node | Part) -> None:
    """RuntimeError where an input was changed after the node was computed from it."""
    for source in node.inputs:
        if source.changed > node.changed:
            raise RuntimeError(
                f"{describe(source)} was changed after {describe(node)} was computed from it: run forward() again first"
            )


def _check_backward(node: Node | Part) -> None:
    if isinstance(node, Node) and node.saved is None:
        raise RuntimeError(
            f"a backward pass has freed what {describe(node)} had saved: keep it by backward(retain=True), or run "
            "forward() again"
        )
    check_order(node)


def compute(node: Node, arrays: Sequence[Array]) -> Array | tuple[Array, ...]:
    """The output of a node for these inputs, or its outputs; `Node.saved` is set."""
    op = node.op
    try:
        result = op.forward(node, *(equal_dtypes(arrays) if op.needs_equal_dtypes else arrays))
    except BaseException as error:
        node.saved = None
        blame(node, arrays, error)
    if type(result) is np.ndarray:
        return result
    return tuple(map(np.asarray, result)) if type(result) is tuple else np.asarray(result)


def equal_dtypes(arrays: Sequence[Array]) -> Sequence[Array]:
    """Arrays in their common dtype, float32 or float64."""
    dtype = arrays[0].dtype
    if dtype.kind == "f" and all(array.dtype is dtype for array in arrays):
        return arrays
    dtype = np.result_type(np.float32, *(array.dtype for array in arrays))
    return [array.astype(dtype, copy=False) for array in arrays]


def blame(node: Node, arrays: Sequence[Array], error: BaseException) -> NoReturn:
    """Raise the ``error`` of a forward pass with the node and the shapes of its inputs in its message."""
    shown = [_shown(source, x) for source, x in zip(node.inputs, arrays[:_SHOWN], strict=False)]
    inputs = ", ".join([*shown, "..."] if len(arrays) > _SHOWN else shown)
    kind = _REWORDED.get(type(error))
    if kind is not None:
        raise kind(f"{node.name or node.op.kind}: {_reason(node.op, arrays, error)}; inputs: {inputs}") from error
    error.add_note(f"in the forward pass of {describe(node)}, inputs: {inputs}")
    raise error


def _reason(op: Op, arrays: Sequence[Array], error: BaseException) -> str:
    """What an ``error`` says, in the words of fastbp."""
    if isinstance(error, OverflowError):
        return "a number is too large"
    if op.broadcasts and not _fit(arrays):
        return f"the shapes {' and '.join(str(x.shape) for x in arrays)} do not fit together"
    # kernels have said who they are, too
    return re.sub(rf"^{re.escape(op.kind.partition('_')[0])}\w*: ", "", str(error).strip())


def _fit(arrays: Sequence[Array]) -> bool:
    """Whether arrays can be broadcast."""
    try:
        np.broadcast_shapes(*(x.shape for x in arrays))
    except ValueError:
        return False
    return True


def _shown(source: Source, value: Array) -> str:
    """An input in a message: what it is called, and its shape."""
    text = describe(source)
    return text if text.endswith(f" {value.shape}") else f"{text} {value.shape}"


def forward(root: Source) -> None:
    """Compute all nodes before ``root``, and it, again from the leaves; handles get the new values."""
    order = ancestors(root)
    users = {source: node for node in order for source in node.inputs}  # the last one of each
    values: dict[Source, Array] = {}
    results: dict[Source, tuple[Array, ...]] = {}
    for node in order:
        if isinstance(node, Part):
            values[node] = results[node.inputs[0]][node.index]
            node.changed = next(clock)
        else:
            node.saved = ()
            made = compute(node, [values[x] if isinstance(x, Node | Part) else x.value for x in node.inputs])
            node.changed = next(clock)
            if isinstance(made, tuple):
                results[node] = made
            else:
                values[node] = made
            outputs = made if isinstance(made, tuple) else (made,)
            if watch.anywhere:
                for value in outputs:
                    check_value(node, value)
            _tell(node, outputs)
        for source in node.inputs:
            if users[source] is node:
                values.pop(source, None)
                results.pop(source, None)


def _tell(node: Node, values: tuple[Array, ...]) -> None:
    """Give the handles of a node their new values."""
    for handle, value in zip(node.handles, values, strict=True):
        variable = handle()
        if variable is not None:
            variable.take(value)


def drop_gradients(order: Sequence[Node | Part], *, of_leaves: bool) -> list[Parameter]:
    """Free old gradients, so that new ones may take their memory, which caches still hold.

    Returns the parameters of layers, which always have a gradient.
    """
    parameters = []
    for node in order:
        if node.grad is not None:
            node.grad = None
        if of_leaves:
            for source in node.inputs:
                if type(source) is Leaf:
                    source.grad = None
                elif type(source) is Parameter:
                    parameters.append(source)
    return parameters


class Gradients(dict[Source, Array]):
    """Gradients by nodes; those in ``owned`` are arrays that nobody else knows."""

    def __init__(self, root: Source, seed: Array) -> None:
        super().__init__({root: seed})
        self.owned: set[Source] = set()

    def taken(self, source: Source) -> Array:
        """The gradient by ``source`` as an array that nobody else has."""
        return self[source] if source in self.owned else self[source].copy()


def gradients(order: Sequence[Node | Part], root: Source, seed: Array, *, retain: bool = False) -> Gradients:
    """Take the gradient ``seed`` by ``root``, the first one in `backward_order`, back to the leaves.

    What a node has saved, and the gradient by it, are freed as soon as its inputs have theirs, unless ``retain``.
    Gradients that meet are added in one array: the first is kept as it came, since others may have it, too; the second
    makes the sum, in place if it may; all others are added to that.
    """
    found = Gradients(root, seed)
    owned = found.owned
    by_outputs: dict[Source, list[Array | None]] = {}  # of nodes with several
    for node in order:
        dys: Sequence[Array | None] | None
        result: Sequence[Array | None] | None
        if isinstance(node, Part):
            if node in found:
                made = node.inputs[0]
                by_outputs.setdefault(made, [None] * made.outputs)[node.index] = (
                    found[node] if retain else found.pop(node)
                )
            continue
        if node.outputs:
            dys = by_outputs.pop(node, None)
        else:
            dy = found.get(node) if retain else found.pop(node, None)
            dys = None if dy is None else (dy,)
        if dys is None:  # no gradient comes here
            if not retain:
                node.saved = None
            continue
        if node.op.overwrites:
            node.is_free = node in owned and not retain
        result = back(node, dys, found)
        is_new = node.op.returns_new
        for source, gradient in zip(node.inputs, result):  # noqa: B905  strict takes time
            if gradient is None or not source.is_differentiable:
                continue
            held = found.get(source)
            if held is None:
                if type(gradient) is not np.ndarray:
                    gradient = np.asarray(gradient)
                if gradient.dtype is not source.dtype:
                    gradient = gradient.astype(source.dtype, copy=False)
                found[source] = gradient
                if is_new:
                    owned.add(source)
            elif source in owned:
                held += gradient
            else:
                found[source] = np.asarray(held + gradient, source.dtype)
                owned.add(source)
        if watch.anywhere:
            check_gradients(node, found)
        if not retain:
            node.saved = None
        dy = dys = result = gradient = held = None  # not to be kept while the next ones are made
    return found


def back(node: Node, dys: Sequence[Array | None], found: Gradients | None = None) -> Sequence[Array | None]:
    """The gradients by the inputs of a node from those by its outputs; None where it has added to what is ``found``."""
    op = node.op
    if op.accumulates and found is not None:
        owned = found.owned
        dtype = next(dy.dtype for dy in dys if dy is not None)
        node.held = [
            found[x] if i in op.accumulates and x in owned and x.dtype == dtype else None
            for i, x in enumerate(node.inputs)
        ]
    try:
        made = op.backward(node, *dys)
    except Exception as error:
        error.add_note(f"in the backward pass of {describe(node)}")
        raise
    result: Sequence[Array | None] = made if type(made) is tuple else (made,)
    if node.held is not None:
        held, node.held = node.held, None
        result = [None if dx is before else dx for dx, before in zip(result, held, strict=False)]
    return result
