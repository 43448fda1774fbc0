"""The search for the node at which the first NaN or infinity appears."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from fastbp._checks import Array
from fastbp.graph.node import Node, Part, describe


class _Watch(threading.local):
    """Whether this thread looks for anomalies; ``anywhere`` says whether any does."""

    anywhere = 0
    here = 0


watch = _Watch()


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
    >>> import numpy as np
    >>> from fastbp import graph
    >>> x = graph.Variable(-1.0, "x")
    >>> with np.errstate(invalid="ignore"), graph.detect_anomaly():
    ...     y = 2 * graph.log(x)
    Traceback (most recent call last):
    FloatingPointError: log(x) is the first to give nan in the forward pass
    """
    _Watch.anywhere += 1
    watch.here += 1
    try:
        yield
    finally:
        _Watch.anywhere -= 1
        watch.here -= 1


def check_value(node: Node | Part, value: Array) -> None:
    """Refuse a value that is not finite."""
    if not watch.here or value.dtype.kind != "f" or np.isfinite(value).all():
        return
    for source in node.inputs:
        if not isinstance(source, Node | Part) and not np.isfinite(source.value).all():
            raise FloatingPointError(f"{describe(source)} holds {_first(source.value)}")
    raise FloatingPointError(f"{describe(node)} is the first to give {_first(value)} in the forward pass")


def check_gradients(node: Node, gradients: Sequence[Array | None]) -> None:
    """Refuse gradients that are not finite."""
    if not watch.here:
        return
    for source, gradient in zip(node.inputs, gradients, strict=False):
        if gradient is not None and source.is_differentiable and not np.isfinite(gradient).all():
            raise FloatingPointError(
                f"{describe(node)} is the first to give {_first(gradient)} in the backward pass, as the gradient by "
                f"{describe(source)}"
            )


def _first(x: Array) -> str:
    return str(np.asarray(x)[~np.isfinite(x)].reshape(-1)[0])
