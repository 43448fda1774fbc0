"""A table of what a graph computes, node by node."""

from dataclasses import dataclass

import numpy.typing as npt

from fastbp._checks import Array
from fastbp.graph.handle import check_handle
from fastbp.graph.names import names, short
from fastbp.graph.node import Leaf, Node, Part, Source
from fastbp.graph.replay import Replay
from fastbp.graph.variable import Variable
from fastbp.report import table


@dataclass(frozen=True)
class Row:
    """One step: its number, the name of the node, the operation, the names of its inputs, the value, the gradient."""

    order: int
    name: str
    operation: str
    inputs: tuple[str, ...]
    value: Array
    gradient: Array | None


class Trace(tuple[Row, ...]):
    """All steps of a graph, leaves first, in the order in which they are computed; printing shows a table."""

    def __str__(self) -> str:
        head = ("order", "name", "operation", "inputs", "output", "gradient")
        rows = [
            (str(row.order), row.name, row.operation, ", ".join(row.inputs), short(row.value), short(row.gradient))
            for row in self
        ]
        return table(head, rows)

    __repr__ = __str__


def replayed(y: Variable, gradient: npt.ArrayLike | None, name: str) -> Replay:
    """The graph of y with all values, and with all gradients if there is something to start from.

    ``name`` is that of the function which is asked for it.
    """
    check_handle(y, name)
    replay = Replay(y.source)
    replay.forward()
    if y.is_differentiable and (gradient is not None or y.size == 1):
        replay.backward(y.seed(gradient))
    return replay


def trace(y: Variable, gradient: npt.ArrayLike | None = None) -> Trace:
    """A table of every step from the leaves to y: order, operation, inputs, output, gradient.

    The graph is run forward and backward beside itself, with everything kept; functions of the user's are called again.

    Parameters
    ----------
    y : Variable
    gradient : array of the shape of y, optional
        As for `Variable.backward`; without it, gradients are shown if y is a single number.

    Examples
    --------
    >>> from fastbp import graph
    >>> x, y = graph.Variable(2.0, "x"), graph.Variable(3.0, "y")
    >>> graph.trace((x + y) ** 2)
    order  name        operation  inputs             output  gradient
    -----------------------------------------------------------------
        0  x                                              2        10
        1  y                                              3        10
        2  add_1       add        x, y                    5        10
        3  constant_1                                     2
        4  power_1     power      add_1, constant_1      25         1
    """
    replay = replayed(y, gradient, "trace")
    every: dict[Source, None] = {}  # a set in order
    for node in replay.nodes:
        every |= dict.fromkeys([*(x for x in node.inputs if isinstance(x, Leaf)), node])
    called = names(every or [replay.root])
    shown = [x for x in called if not (isinstance(x, Node) and x.outputs)]
    return Trace(
        Row(
            i,
            called[source],
            _operation(source),
            tuple(called[x] for x in (source.inputs[0].inputs if isinstance(source, Part) else source.inputs)),
            replay.values[source],
            replay.gradients.get(source),
        )
        for i, source in enumerate(shown)
    )


def _operation(source: Source) -> str:
    if isinstance(source, Part):
        return source.inputs[0].op.kind
    return source.op.kind if isinstance(source, Node) else ""
