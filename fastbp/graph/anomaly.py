"""The search for the node at which the first NaN or infinity appears."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from fastbp._checks import Array
from fastbp.graph.node import Leaf, Node, Part, Source, describe
from fastbp.layers import Parameter


class _Watch(threading.local):
    """Whether this thread looks for anomalies; ``anywhere`` says whether any does."""

    anywhere = 0
    here = 0


watch = _Watch()
_lock = threading.Lock()


@contextmanager
def detect_anomaly() -> Iterator[None]:
    """Within this context a node that makes the first NaN or infinity, forward or backward, raises an error.

    Every value and gradient is looked at, which takes time: for the search, not for training.

    Raises
    ------
    FloatingPointError
        Names the node, and whether it was on the way forward or backward.

    Examples
    --------
    >>> from fastbp import graph
    >>> x = graph.Variable(-1.0, "x")
    >>> with graph.detect_anomaly():
    ...     y = 2 * graph.log(x)
    Traceback (most recent call last):
    FloatingPointError: log(x) is the first to give nan in the forward pass
    """
    _count(1)
    try:
        yield
    finally:
        _count(-1)


def _count(change: int) -> None:
    with _lock:
        _Watch.anywhere += change
    watch.here += change


def check_value(node: Node | Part, value: Array) -> None:
    """Refuse a value that is not finite."""
    if not watch.here or value.dtype.kind != "f" or np.isfinite(value).all():
        return
    made = node.inputs[0] if isinstance(node, Part) else node
    for source in made.inputs:
        before = _value_of(source)
        if before is not None and not np.isfinite(before).all():
            raise FloatingPointError(f"{describe(source)} holds {first_anomaly(before)}")
    raise FloatingPointError(f"{describe(node)} is the first to give {first_anomaly(value)} in the forward pass")


def _value_of(source: Source) -> Array | None:
    """The value, unless it is a result that nobody holds any more."""
    if isinstance(source, Leaf | Parameter):
        return source.value
    handle = source.handles[0]() if isinstance(source, Node) and not source.outputs else None
    return None if handle is None else handle.value


def check_gradients(node: Node, gradients: Mapping[Source, Array]) -> None:
    """Refuse gradients by the inputs of a node that are not finite."""
    if not watch.here:
        return
    for source in node.inputs:
        gradient = gradients.get(source)
        if gradient is not None and not np.isfinite(gradient).all():
            raise FloatingPointError(
                f"{describe(node)} is the first to give {first_anomaly(gradient)} in the backward pass, by "
                f"{describe(source)}"
            )


def first_anomaly(x: Array) -> str:
    """The first NaN or infinity in an array that has one."""
    return str(np.asarray(x)[~np.isfinite(x)].reshape(-1)[0])
