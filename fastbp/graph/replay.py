"""A graph computed once more, beside it and with everything kept: what inspections of a graph look at."""

import numpy as np

from fastbp._checks import Array, Real
from fastbp.graph import walk
from fastbp.graph.chain import Chain
from fastbp.graph.node import Leaf, Node, Part, Source
from fastbp.op import clock


class Replay:
    """Copies of all nodes that a variable is made from, with their values; the graph itself is left alone.

    Parameters
    ----------
    root : Source
        Of the variable.
    dtype : dtype, optional
        Compute in this precision.
    is_expanded : bool
        Whether networks are taken apart into their layers.

    Attributes
    ----------
    nodes : list of Node or Part
        The copies, each behind its inputs.
    copies : dict
        The copy of every source of the graph.
    parts : dict
        Of a node with several outputs: the copies of these.
    values, gradients : dict
        Of the copies; there are gradients after `backward`.
    inputs : dict
        Of nodes: the arrays that the operation got.
    """

    def __init__(self, root: Source, *, dtype: Real | None = None, is_expanded: bool = False) -> None:
        self.dtype = dtype
        self.nodes: list[Node | Part] = []
        self.copies: dict[Source, Source] = {}
        self.parts: dict[Node, list[Part]] = {}
        self.values: dict[Source, Array] = {}
        self.inputs: dict[Source, list[Array]] = {}
        self.gradients: dict[Source, Array] = {}
        order = walk.ancestors(root)
        for source in order:
            walk.check_order(source)
            for leaf in source.inputs:
                self._copy_leaf(leaf)
            copy = self._copy(source, is_expanded)
            copy.name = source.name or copy.name
            self.copies[source] = copy
        if not order:
            self._copy_leaf(root)
        self.root = self.copies[root]

    def _copy_leaf(self, leaf: Source) -> None:
        if leaf in self.copies or isinstance(leaf, Node | Part):
            return
        convert = self.dtype is not None and leaf.dtype.kind == "f"
        value = np.array(leaf.value, self.dtype if convert else None)
        self.copies[leaf] = Leaf(value, leaf.name, leaf.is_differentiable)

    def _copy(self, source: Node | Part, is_expanded: bool) -> Node | Part:
        if isinstance(source, Part):
            node = self.copies[source.inputs[0]]
            assert isinstance(node, Node)
            made = Part(node, source.index, source.dtype)
            self.nodes.append(made)
            self.parts.setdefault(node, []).append(made)
            return made
        inputs = [self.copies[other] for other in source.inputs]
        if is_expanded and isinstance(source.op, Chain):
            return self._expand(source.op, source, inputs)
        copy = self._node(source, inputs)
        copy.outputs, copy.is_differentiable = source.outputs, source.is_differentiable
        return copy

    def _node(self, source: Node, inputs: list[Source]) -> Node:
        copy = Node(source.op, tuple(inputs), tuple([x.is_differentiable for x in inputs]))
        copy.number = copy.changed = next(clock)
        self.nodes.append(copy)
        return copy

    def _expand(self, chain: Chain, source: Node, inputs: list[Source]) -> Node:
        """The layers of a network, one node each."""
        x, *parameters = inputs
        for layer in chain.net.layers:
            own, parameters = parameters[: len(layer.parameters)], parameters[len(layer.parameters) :]
            node = Node(layer, (x, *own), (x.is_differentiable, *(p.is_differentiable for p in own)))
            node.number = node.changed = next(clock)
            node.name = layer.name
            self.nodes.append(node)
            x = node
        assert isinstance(x, Node)
        return x

    def every(self) -> list[Source]:
        """The copies of leaves and nodes."""
        return [*(x for x in self.copies.values() if isinstance(x, Leaf)), *self.nodes]

    def first_output(self, node: Node) -> Source:
        """Where the value and the gradient of the first output of a node are."""
        return next((x for x in self.parts.get(node, []) if x.index == 0), node)

    def forward(self) -> Array:
        """Compute all values; that of the variable."""
        for copy in self.copies.values():
            if isinstance(copy, Leaf):
                self.values[copy] = copy.value
        several: dict[Source, tuple[Array, ...]] = {}
        for node in self.nodes:
            if isinstance(node, Part):
                self.values[node] = several[node.inputs[0]][node.index]
            else:
                self.inputs[node] = [self.values[x] for x in node.inputs]
                made = walk.compute(node, self.inputs[node])
                if isinstance(made, tuple):
                    several[node] = made
                    self.values[node] = made[0]
                else:
                    self.values[node] = made
            if node in self.values:
                node.dtype = self.values[node].dtype
        return self.values[self.root]

    def backward(self, seed: Array) -> None:
        """Compute all gradients."""
        order = walk.backward_order(self.root)
        with np.errstate(all="ignore"):
            self.gradients = walk.gradients(order, self.root, seed, retain=True)

    def contributions(self, node: Node) -> tuple[Array | None, ...]:
        """What a node adds to the gradients by its inputs."""
        parts = self.parts.get(node, [])
        dys: list[Array | None] = [None] * node.outputs
        for part in parts:
            dys[part.index] = self.gradients.get(part)
        if not parts:
            dys = [self.gradients.get(node)]
        if not node.is_differentiable or all(dy is None for dy in dys):
            return (None,) * len(node.inputs)
        with np.errstate(all="ignore"):
            made = walk.back(node, dys)
        needed = zip(made, node.inputs, strict=False)  # layers without bias give a gradient by it, None
        return tuple(gradient if x.is_differentiable else None for gradient, x in needed)
