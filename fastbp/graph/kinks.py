"""Where a backward pass met points at which a derivative does not exist."""

from dataclasses import dataclass

import numpy as np

from fastbp._checks import Array
from fastbp.graph import walk
from fastbp.graph.names import names
from fastbp.graph.node import Node, Part, Source
from fastbp.graph.replay import Replay
from fastbp.report import table


class UndefinedGradientError(ArithmeticError):
    """A gradient other than zero has come to a point where the derivative does not exist."""


class UndefinedGradientWarning(RuntimeWarning):
    """A gradient other than zero has come to a point where the derivative does not exist."""


@dataclass(frozen=True)
class Undefined:
    """One node whose derivative does not exist at some elements.

    Attributes
    ----------
    operation : str
        Its kind, such as "relu".
    name : str
        Of the node.
    elements : int
        How many elements of its output have no derivative.
    mattered : int
        To how many of these a gradient other than zero came; at the others it makes no difference.
    rule : str
        Where the derivative of the operation does not exist, and what stands in for it.
    """

    operation: str
    name: str
    elements: int
    mattered: int
    rule: str


class UndefinedReport(tuple[Undefined, ...]):
    """All nodes whose derivative does not exist somewhere, in the order of the forward pass; printing shows a table."""

    @property
    def mattered(self) -> int:
        """Elements without derivative to which a gradient other than zero came."""
        return sum(entry.mattered for entry in self)

    def __str__(self) -> str:
        if not self:
            return "every derivative exists"
        head = ("node", "operation", "elements", "gradient not 0", "not defined at")
        rows = [(e.name, e.operation, f"{e.elements:,}", f"{e.mattered:,}", e.rule) for e in self]
        return table(head, rows)

    __repr__ = __str__


def find(root: Source, seed: Array) -> UndefinedReport:
    """Run a graph forward and backward beside itself, and look at every node."""
    replay = Replay(root, is_expanded=True)
    replay.forward()
    replay.backward(seed)
    called = names(replay.every())
    entries = []
    for node in replay.nodes:
        if isinstance(node, Part) or not node.is_differentiable:
            continue
        mask = kinks(replay, node)
        if mask is None or not mask[0].any():
            continue
        output = replay.first_output(node)
        exists_not = np.broadcast_to(mask[0], replay.values[output].shape)
        gradient = replay.gradients.get(output)
        mattered = 0 if gradient is None else int((exists_not & (gradient != 0)).sum())
        op = node.op
        entries.append(Undefined(op.kind, called[node], int(exists_not.sum()), mattered, op.undefined))
    return UndefinedReport(entries)


def kinks(replay: Replay, node: Node) -> tuple[Array, Array] | None:
    """`Op.kinks` of a node on its inputs."""
    inputs = replay.inputs[node]
    with np.errstate(all="ignore"):
        return node.op.kinks(node, *(walk.equal_dtypes(inputs) if node.op.needs_equal_dtypes else inputs))
