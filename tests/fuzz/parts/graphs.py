"""Random graphs: values and gradients against dual numbers of float64, and functions with arguments that do not fit.

A dual number carries the derivative along one direction of all leaves. Backward gives the gradients; their product with
that direction must be the same number.
"""

import numpy as np

from fastbp import graph
from fuzz import duals, duals_of_networks
from fuzz.arrays import bent, odd, pick
from fuzz.finding import Finding, Unchanged, attempt, check_close, require

MOST = 1e3  # of any number in a graph, so that rounding stays far below the tolerance
TOLERANCE = 1e-9


class Program:
    """Leaves, and the operations on them; results by number, as a variable of the graph and as a dual number."""

    def __init__(self, rng):
        self.rng, self.steps = rng, []
        self.sizes = [int(n) for n in rng.integers(1, 5, 3)]
        self.duals = [self._leaf() for _ in range(int(rng.integers(1, 5)))]
        self.leaves = [graph.Variable(dual.value, f"leaf {i}") for i, dual in enumerate(self.duals)]
        self.variables = list(self.leaves)

    def _leaf(self):
        dimensions = int(self.rng.integers(0, 4))
        shape = [pick(self.rng, *self.sizes, 1) for _ in range(dimensions)]
        return duals.Dual(self.rng.standard_normal(shape), self.rng.standard_normal(shape))

    def grow(self):
        """Apply an operation by chance to results by chance; nothing where these do not fit."""
        made = pick(self.rng, *duals.OPERATIONS, *duals_of_networks.OPERATIONS)(self.rng, self)
        if made is None:
            return
        numbers, on_duals, on_variables = made
        results = on_duals(*(self.duals[number] for number in numbers))
        if any(not np.isfinite(x).all() or np.abs(x).max(initial=0) > MOST for r in results for x in r):
            return
        made = on_variables(*(self.variables[number] for number in numbers))
        made = made if isinstance(made, tuple) else (made,)
        start = len(self.duals)
        self.steps.append((numbers, on_duals, range(start, start + len(results))))
        for variable, dual in zip(made, results, strict=False):  # places of largest elements are no duals
            self.variables.append(variable)
            self.duals.append(dual)
            check_close(variable.value, dual.value, TOLERANCE * _scale(dual.value), self.describe(-1))

    def describe(self, step):
        numbers, on_duals, _ = self.steps[step]
        return f"{on_duals.__qualname__} of {[self.duals[number].value.shape for number in numbers]}"

    def replay(self):
        """All dual numbers again, from what the leaves hold now."""
        for numbers, on_duals, places in self.steps:
            for place, dual in zip(places, on_duals(*(self.duals[number] for number in numbers)), strict=True):
                self.duals[place] = dual


def _scale(x):
    return 1 + float(np.abs(x).max(initial=0))


def case(rng):
    return refuse(rng) if rng.integers(3) == 0 else differentiate(rng)


def differentiate(rng):
    program = Program(rng)
    for _ in range(int(rng.integers(3, 40))):
        program.grow()
    # some of the results, and always the last one, each element with a weight of its own
    chosen = {len(program.duals) - 1, *rng.integers(0, len(program.duals), 3).tolist()}
    weights = {number: rng.standard_normal(program.duals[number].value.shape) for number in chosen}
    root = sum((graph.sum(program.variables[number] * w) for number, w in weights.items()), start=graph.Variable(0.0))
    inputs = Unchanged(*(leaf.value for leaf in program.leaves))
    check_gradients(program, root, weights, rng)
    look(rng, root)
    inputs.check("a pass over a graph")
    if rng.integers(2):
        assign_and_repeat(program, root, weights, rng)
    return "graphs"


def check_gradients(program, root, weights, rng):
    total = sum(float((w * program.duals[number].value).sum()) for number, w in weights.items())
    check_close(root.value, total, TOLERANCE * (1 + sum(map(np.size, weights.values())) * MOST), "the value")
    products = graph.vjp(root, program.leaves)
    times = pick(rng, 1, 1, 2)
    for time in range(times):
        root.backward(retain=time + 1 < times, accumulate=time > 0)
    gradients = [_gradient(leaf) / times for leaf in program.leaves]
    for leaf, gradient, other in zip(program.leaves, gradients, products, strict=True):
        check_close(
            gradient, other, TOLERANCE * _scale(other), f"the gradient by {leaf.name}, by vjp and not by backward,"
        )
    along = sum(float((g * leaf.tangent).sum()) for g, leaf in zip(gradients, program.duals, strict=False))
    expected = sum(float((w * program.duals[number].tangent).sum()) for number, w in weights.items())
    scale = sum(float(np.abs(g * leaf.tangent).sum()) for g, leaf in zip(gradients, program.duals, strict=False))
    steps = [program.describe(step) for step in range(len(program.steps))]
    check_close(
        along, expected, TOLERANCE * (1 + scale + MOST), f"the derivative along the leaves ({'; '.join(steps)})"
    )


def _gradient(leaf):
    try:
        return leaf.grad
    except RuntimeError:  # not part of the graph
        return np.zeros(leaf.shape)


def look(rng, root):
    """What looks at a graph runs a copy of it, and must leave it as it is."""
    report = pick(rng, graph.to_dot, graph.to_mermaid, graph.trace, graph.undefined)
    attempt(lambda: str(report(root)), refusals=(RuntimeError,), what=report.__name__)


def assign_and_repeat(program, root, weights, rng):
    """Other values in the leaves, and the whole graph once more."""
    for number, leaf in enumerate(program.leaves):
        value = leaf.value * (1 + 1e-4 * rng.random())
        leaf.assign(value)
        program.duals[number] = duals.Dual(value, program.duals[number].tangent)
    with np.errstate(all="ignore"):
        program.replay()
    if all(np.isfinite(x).all() and np.abs(x).max(initial=0) < 2 * MOST for dual in program.duals for x in dual):
        root.forward()
        check_gradients(program, root, weights, rng)


FUNCTIONS = [name for name in dir(graph) if callable(getattr(graph, name)) and name[0].islower() and name != "custom"]
METHODS = ["__add__", "__pow__", "__matmul__", "__getitem__", "__lt__", "assign", "backward", "reshape", "sum", "max"]


def refuse(rng):
    """A function or a method with any arguments."""
    x = graph.Variable(rng.standard_normal([int(n) for n in rng.integers(0, 4, int(rng.integers(0, 4)))]), "x")
    y = graph.sum(x * 2.0)

    def argument():
        return pick(rng, x, x, y, odd(rng), bent(rng, x.value), 1, 0, 2, 0.5)

    arguments = [argument() for _ in range(int(rng.integers(0, 4)))]
    if rng.integers(3):
        name = pick(rng, *FUNCTIONS)
        function = getattr(graph, name)
        arguments = [pick(rng, x, [x], [x, y], argument()), *arguments]
    else:
        name = pick(rng, *METHODS)
        function = getattr(pick(rng, x, y), name, None)
        if function is None:
            return "refused"
    refusals = (TypeError, ValueError, MemoryError, IndexError, RuntimeError, graph.UndefinedGradientError)
    try:
        _, refused = attempt(function, *arguments, refusals=refusals, what=name)
    except Finding as finding:
        shown = ", ".join(" ".join(f"{a!r}"[:80].split()) for a in arguments)
        raise Finding(finding.kind, f"{finding}; {name}({shown})") from finding
    require(x.value.shape == x.shape, "a variable has lost its shape")
    return "refused" if refused else "taken"
