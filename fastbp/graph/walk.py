"""Walks over a graph: in topological order, backward from one node, forward again from its leaves.

No walk recurses, so that chains may be of any length.
"""

from collections.abc import Sequence
from operator import attrgetter

import numpy as np

from fastbp._checks import Array
from fastbp.graph.anomaly import check_gradients, check_value, watch
from fastbp.graph.node import Node, Part, Source, describe
from fastbp.op import clock

_by_time = attrgetter("changed")
_MADE = (Node, Part)


def ancestors(root: Source) -> list[Node | Part]:
    """The nodes that ``root`` is made from, itself included and leaves not, each behind its inputs."""
    found: set[Node | Part] = {root} if isinstance(root, Node | Part) else set()
    waiting = list(found)
    while waiting:
        for source in waiting.pop().inputs:
            if isinstance(source, Node | Part) and source not in found:
                found.add(source)
                waiting.append(source)
    return sorted(found, key=_by_time)


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
    return sorted(found, key=_by_time, reverse=True)


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
    except Exception as error:
        raise named(error, node, arrays) from error
    if type(result) is np.ndarray:
        return result
    return tuple(np.asarray(y) for y in result) if type(result) is tuple else np.asarray(result)


def equal_dtypes(arrays: Sequence[Array]) -> Sequence[Array]:
    """Arrays in their common dtype, float32 or float64."""
    dtype = arrays[0].dtype
    if dtype.kind == "f" and all(array.dtype is dtype for array in arrays):
        return arrays
    dtype = np.result_type(np.float32, *(array.dtype for array in arrays))
    return [array.astype(dtype, copy=False) for array in arrays]


def named(error: Exception, node: Node, arrays: Sequence[Array]) -> Exception:
    """``error`` in the forward pass, with the node and the shapes of its inputs in its message."""
    inputs = ", ".join(f"{describe(source)} {x.shape}" for source, x in zip(node.inputs, arrays, strict=True))
    for kind in (ValueError, IndexError, TypeError):
        if isinstance(error, kind):
            return kind(f"{node.name or node.op.kind}: {str(error).strip()}; inputs: {inputs}")
    error.add_note(f"in the forward pass of {describe(node)}, inputs: {inputs}")
    return error


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
            _tell(node, made if isinstance(made, tuple) else (made,))
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
            if watch.anywhere:
                check_value(variable.source, value)


class Gradients(dict[Source, Array]):
    """Gradients by nodes; those in ``owned`` are known to nobody else."""

    def __init__(self, root: Source, seed: Array) -> None:
        super().__init__({root: seed})
        self.owned: set[Source] = set()

    def add(self, source: Source, gradient: Array, is_new: bool) -> None:
        """Add a contribution: written first, then added in place."""
        if type(gradient) is not np.ndarray:
            gradient = np.asarray(gradient)
        held = self.get(source)
        if held is None:
            if gradient.dtype is not source.dtype:
                gradient = gradient.astype(source.dtype, copy=False)
            self[source] = gradient
            if is_new:
                self.owned.add(source)
        elif source in self.owned:
            held += gradient
        else:
            self[source] = np.asarray(held + gradient, source.dtype)
            self.owned.add(source)

    def taken(self, source: Source) -> Array:
        """The gradient by ``source`` as an array that nobody else has."""
        return self[source] if source in self.owned else self[source].copy()


def gradients(order: Sequence[Node | Part], root: Source, seed: Array, *, retain: bool = False) -> Gradients:
    """Take the gradient ``seed`` by ``root``, the first one in `backward_order`, back to the leaves.

    What a node has saved, and the gradient by it, are freed as soon as its inputs have theirs, unless ``retain``.
    """
    found = Gradients(root, seed)
    result: tuple[Array | None, ...]
    by_outputs: dict[Source, list[Array | None]] = {}  # of nodes with several
    for node in order:
        if isinstance(node, Part):
            if node in found:
                dys = by_outputs.setdefault(node.inputs[0], [None] * node.inputs[0].outputs)
                dys[node.index] = found[node] if retain else found.pop(node)
            continue
        if node.outputs and node in by_outputs:
            result = back(node, by_outputs.pop(node), found)
        elif node in found:
            result = back(node, (found[node] if retain else found.pop(node),), found)
        else:  # no gradient comes here
            result = ()
        if watch.anywhere:
            check_gradients(node, result)
        is_new = node.op.returns_new
        for source, gradient in zip(node.inputs, result, strict=False):
            if gradient is not None and source.is_differentiable:
                found.add(source, gradient, is_new)
        if not retain:
            node.saved = None
        result, gradient = (), None  # not to be kept while the next ones are made
    return found


def back(node: Node, dys: Sequence[Array | None], found: Gradients | None = None) -> tuple[Array | None, ...]:
    """The gradients by the inputs of a node from those by its outputs; None where it has added to what is ``found``."""
    op = node.op
    if op.accumulates and found is not None:
        owned = found.owned
        node.held = [
            found[source] if i in op.accumulates and source in owned else None for i, source in enumerate(node.inputs)
        ]
    try:
        result = op.backward(node, *dys)
    except Exception as error:
        error.add_note(f"in the backward pass of {describe(node)}")
        raise
    results = result if type(result) is tuple else (result,)
    if node.held is not None:
        held, node.held = node.held, None
        return tuple([None if dx is before else dx for dx, before in zip(results, held, strict=False)])
    return results
