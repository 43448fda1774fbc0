"""Dual numbers, and the operations of graphs on them, each derivative written down once more and by hand.

An operation is a function of (rng, program): the numbers of the results that it takes, what it does to their dual
numbers, which gives a list, and what it does to the variables; None where it finds nothing that fits.
"""

from typing import NamedTuple

import numpy as np

from fastbp import graph
from fuzz.arrays import pick


class Dual(NamedTuple):
    """A value, and its derivative along the direction that the leaves have."""

    value: np.ndarray
    tangent: np.ndarray


def find(rng, program, fits):
    """The number of a result whose value fits, by chance."""
    numbers = [number for number, dual in enumerate(program.duals) if fits(dual.value)]
    return pick(rng, *numbers) if numbers else None


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _everywhere(x):
    return np.array(True)


def _off_zero(x):
    return x != 0


# the function of graphs, of NumPy, the derivative, and where both are at home
UNARY = [
    (graph.exp, np.exp, np.exp, lambda x: np.abs(x) < 3),
    (graph.log, np.log, lambda x: 1 / x, lambda x: x > 0.1),
    (graph.sqrt, np.sqrt, lambda x: 0.5 / np.sqrt(x), lambda x: x > 0.1),
    (graph.abs, np.abs, np.sign, _off_zero),
    (abs, np.abs, np.sign, _off_zero),
    (lambda x: -x, np.negative, lambda x: -np.ones_like(x), _everywhere),
    (
        lambda x: graph.clip(x, -0.7, 0.9),
        lambda x: np.clip(x, -0.7, 0.9),
        lambda x: 1.0 * ((x > -0.7) & (x < 0.9)),
        lambda x: (x != -0.7) & (x != 0.9),
    ),
    (graph.relu, lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0), _off_zero),
    (
        lambda x: graph.leaky_relu(x, 0.3),
        lambda x: np.where(x > 0, x, 0.3 * x),
        lambda x: np.where(x > 0, 1, 0.3),
        _off_zero,
    ),
    (graph.sigmoid, sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x)), lambda x: np.abs(x) < 500),
    (graph.tanh, np.tanh, lambda x: 1 - np.tanh(x) ** 2, _everywhere),
    (lambda x: x**3, lambda x: x**3, lambda x: 3 * x**2, lambda x: np.abs(x) < 8),
    (lambda x: x**-1.5, lambda x: x**-1.5, lambda x: -1.5 * x**-2.5, lambda x: x > 0.2),
    (lambda x: 2.0**x, lambda x: 2.0**x, lambda x: np.log(2) * 2.0**x, lambda x: np.abs(x) < 5),
    (lambda x: 3 - x / 2, lambda x: 3 - x / 2, lambda x: np.full_like(x, -0.5), _everywhere),
]


def unary(rng, program):
    on_variable, f, slope, home = pick(rng, *UNARY)
    number = find(rng, program, lambda x: bool(home(x).all()))
    if number is None:
        return None
    return [number], lambda x: [Dual(f(x.value), slope(x.value) * x.tangent)], on_variable


def _product(x, y):
    return Dual(x.value * y.value, x.tangent * y.value + x.value * y.tangent)


def _quotient(x, y):
    return Dual(x.value / y.value, x.tangent / y.value - x.value * y.tangent / y.value**2)


def _power(x, y):
    z = x.value**y.value
    return Dual(z, z * (y.tangent * np.log(x.value) + y.value * x.tangent / x.value))


def _chosen(x, y, first):
    values = np.broadcast_arrays(x.value, y.value)
    tangents = np.broadcast_arrays(x.tangent, y.tangent)
    return Dual(np.where(first, *values), np.where(first, *tangents))


BINARY = [
    (graph.add, lambda x, y: Dual(x.value + y.value, x.tangent + y.tangent)),
    (lambda x, y: x - y, lambda x, y: Dual(x.value - y.value, x.tangent - y.tangent)),
    (graph.multiply, _product),
    (graph.divide, _quotient),
    (graph.power, _power),
    (graph.maximum, lambda x, y: _chosen(x, y, x.value >= y.value)),
    (graph.minimum, lambda x, y: _chosen(x, y, x.value <= y.value)),
    (lambda x, y: graph.where(x > 0.1, x, y), lambda x, y: _chosen(x, y, x.value > 0.1)),
]


def binary(rng, program):
    on_variables, on_duals = pick(rng, *BINARY)
    first = int(rng.integers(len(program.duals)))
    x = program.duals[first].value
    if on_duals is _power and not ((x > 0.1) & (x < 5)).all():
        return None

    def fits(y):
        pairs = zip(x.shape[::-1], y.shape[::-1], strict=False)
        if y.size * x.size >= 4000 or not all(n == m or 1 in (n, m) for n, m in pairs):
            return False
        return bool({_quotient: np.abs(y) > 0.2, _power: np.abs(y) < 4}.get(on_duals, y == y).all())

    second = find(rng, program, fits)
    return None if second is None else ([first, second], lambda x, y: [on_duals(x, y)], on_variables)


def _axis(rng, x):
    """None, an axis, or several."""
    if x.ndim == 0 or rng.integers(3) == 0:
        return None
    chosen = rng.permutation(x.ndim)[: int(rng.integers(1, x.ndim + 1))].tolist()
    chosen = [axis - x.ndim if rng.integers(3) == 0 else axis for axis in chosen]
    return chosen[0] if len(chosen) == 1 and rng.integers(2) else tuple(chosen)


def reduction(rng, program):
    number = find(rng, program, lambda x: x.size > 0)
    axis, keepdims = _axis(rng, program.duals[number].value), bool(rng.integers(2))
    options = {"axis": axis, "keepdims": keepdims}
    kind = pick(rng, "sum", "mean", "moments", "max", "min", "max_with_index", "min_with_index")

    def linear(x):
        f = np.sum if kind == "sum" else np.mean
        return [Dual(f(x.value, **options), f(x.tangent, **options))]

    def moments(x):
        mean, slope = (np.mean(part, axis, keepdims=True) for part in x)
        centred = x.value - mean
        variance = Dual(np.mean(centred**2, **options), np.mean(2 * centred * (x.tangent - slope), **options))
        return [*linear(x), variance]

    def extreme(x):
        largest = kind.startswith("max")
        best = (np.max if largest else np.min)(x.value, axis, keepdims=True)
        # ties, of which the first one counts, have equal tangents where they were made by repetition
        is_best = x.value == best
        tangent = np.sum(x.tangent * is_best, **options) / is_best.sum(**options)
        return [Dual(best.reshape(tangent.shape), tangent)]

    on_duals = {"sum": linear, "mean": linear, "moments": moments}.get(kind, extreme)
    return [number], on_duals, lambda x: getattr(graph, kind)(x, **options)


def _moved(f, on_variable, numbers):
    """An operation that only moves elements: the same for values and tangents."""

    def on_duals(*xs):
        values, tangents = (f(*parts) for parts in zip(*xs, strict=True))
        values, tangents = ([made] if isinstance(made, np.ndarray) else list(made) for made in (values, tangents))
        return [Dual(*pair) for pair in zip(values, tangents, strict=True)]

    return numbers, on_duals, on_variable


def shape(rng, program):
    number = int(rng.integers(len(program.duals)))
    x = program.duals[number].value
    kind = pick(rng, "reshape", "flatten", "transpose", "broadcast", "concatenate", "stack", "split", "index")
    if kind == "reshape":
        sizes = pick(rng, (-1,), (1, *x.shape), (*x.shape[::-1],), (x.size,))
        return _moved(lambda x: np.asarray(x).reshape(sizes), lambda x: graph.reshape(x, sizes), [number])
    if kind == "transpose":
        axes = rng.permutation(x.ndim).tolist()
        return _moved(lambda x: np.asarray(x).transpose(axes), lambda x: graph.transpose(x, axes), [number])
    if kind == "broadcast":
        sizes = [n if n != 1 else pick(rng, *program.sizes) for n in x.shape]
        sizes = [2, *sizes] if rng.integers(2) else sizes
        return _moved(lambda x: np.array(np.broadcast_to(x, sizes)), lambda x: graph.broadcast_to(x, sizes), [number])
    if x.size == 0 or x.ndim == 0:
        return None
    axis = int(rng.integers(-x.ndim, x.ndim))
    if kind == "flatten":
        return _moved(lambda x: x.reshape(len(x), -1), graph.flatten, [number]) if x.size else None
    if kind in ("concatenate", "stack"):
        others = [i for i, dual in enumerate(program.duals) if dual.value.shape == x.shape]
        numbers = [number, *(pick(rng, *others) for _ in range(int(rng.integers(0, 3))))]
        join, joined = getattr(np, kind), getattr(graph, kind)
        return _moved(lambda *xs: join(xs, axis), lambda *xs: joined(xs, axis), numbers)
    if kind == "split":
        places = sorted(rng.integers(0, x.shape[axis] + 1, int(rng.integers(1, 3))).tolist())
        parts = pick(rng, places, x.shape[axis])
        return _moved(lambda x: np.split(x, parts, axis), lambda x: graph.split(x, parts, axis), [number])
    n = x.shape[0]
    key = pick(
        rng,
        *(slice(None, None, -1), slice(0, n, 2), int(rng.integers(-n, n)), (Ellipsis, None), np.arange(n) % 2 == 0),
        *(rng.integers(-n, n, 3), rng.integers(0, n, (2, 2)), (Ellipsis, slice(1, None))),
    )
    return _moved(lambda x: np.array(x[key]), lambda x: x[key], [number])


def matmul(rng, program):
    first = find(rng, program, lambda x: x.ndim > 0)
    if first is None:
        return None
    a = program.duals[first].value

    def fits(b):
        try:
            return b.ndim > 0 and np.matmul(a, b).size < 500
        except ValueError:
            return False

    second = find(rng, program, fits)
    if second is None:
        return None
    return [first, second], lambda a, b: [bilinear(np.matmul, a, b)], lambda a, b: a @ b


def bilinear(f, x, w):
    return Dual(f(x.value, w.value), f(x.tangent, w.value) + f(x.value, w.tangent))


OPERATIONS = [unary, unary, binary, binary, reduction, shape, shape, matmul]
