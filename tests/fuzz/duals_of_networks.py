"""What networks are made of, on dual numbers: see ``duals.py``."""

import numpy as np

from fastbp import graph
from fuzz import naive
from fuzz.arrays import pick
from fuzz.duals import Dual, bilinear, find, sigmoid


def affine(rng, program):
    """f(x w' + b) with a new weight and bias, which are constants."""
    number = find(rng, program, lambda x: x.ndim == 2)
    if number is None:
        return None
    I, O = program.duals[number].value.shape[1], int(rng.integers(1, 5))
    w, b = rng.standard_normal((O, I)), pick(rng, None, rng.standard_normal(O))
    name = pick(rng, "identity", "sigmoid", "tanh")
    f, slope = {
        "identity": (lambda u: u, np.ones_like),
        "sigmoid": (sigmoid, lambda u: sigmoid(u) * (1 - sigmoid(u))),
        "tanh": (np.tanh, lambda u: 1 - np.tanh(u) ** 2),
    }[name]

    def on_duals(x):
        u = x.value @ w.T + (0 if b is None else b)
        return [Dual(f(u), slope(u) * (x.tangent @ w.T))]

    return [number], on_duals, lambda x: graph.affine(x, w, b, activation=name)


def rows(rng, program):
    number = find(rng, program, lambda x: x.ndim > 0 and x.size > 0)
    if number is None:
        return None
    is_log = bool(rng.integers(2))

    def on_duals(x):
        e = np.exp(x.value - x.value.max(-1, keepdims=True))
        p = e / e.sum(-1, keepdims=True)
        centred = x.tangent - (p * x.tangent).sum(-1, keepdims=True)
        return [Dual(np.log(p), centred) if is_log else Dual(p, p * centred)]

    return [number], on_duals, graph.log_softmax if is_log else graph.softmax


def images(rng, program):
    """A convolution, by which the weight may be differentiated, too, or a pool."""
    number = find(rng, program, lambda x: 3 <= x.ndim <= 5 and 0 < x.size < 500)
    if number is None:
        return None
    x = program.duals[number].value
    kind = pick(rng, "conv", "avg", "max", "global")
    sizes = [int(rng.integers(1, n + 1)) for n in x.shape[2:]]
    axes = [naive.Axis(n, k, int(rng.integers(1, 3))) for n, k in zip(x.shape[2:], sizes, strict=True)]
    stride = [axis.stride for axis in axes]
    if kind == "conv":
        wanted = x.shape[1], *sizes
        other = find(rng, program, lambda w: w.shape[1:] == wanted and len(w) > 0)
        if other is None:
            w = rng.standard_normal((2, *wanted))
            return (
                [number],
                lambda x: [Dual(*(naive.convolve(part, w, None, 1, axes) for part in x))],
                lambda x: graph.conv(x, w, stride=stride),
            )
        return (
            [number, other],
            lambda x, w: [bilinear(lambda x, w: naive.convolve(x, w, None, 1, axes), x, w)],
            lambda x, w: graph.conv(x, w, stride=stride),
        )
    if kind == "global":
        if x.ndim != 4:
            return None
        return [number], lambda x: [Dual(*(part.mean((2, 3)) for part in x))], graph.global_avg_pool
    if kind == "avg":
        return (
            [number],
            lambda x: [Dual(*(naive.avg_pool(part, axes, True) for part in x))],
            lambda x: graph.avg_pool(x, sizes, stride),
        )

    def largest(x):
        values, place = naive.max_pool(x.value, axes)
        tangents = naive.columns(x.tangent, axes)
        chosen = np.take_along_axis(tangents, place.reshape(*place.shape[:2], -1, 1), -1)
        return [Dual(values, chosen.reshape(values.shape))]

    return [number], largest, lambda x: graph.max_pool(x, sizes, stride)


def loss(rng, program):
    number = find(rng, program, lambda u: u.ndim == 2 and u.size > 0)
    if number is None:
        return None
    N, O = program.duals[number].value.shape
    t = rng.random((N, O))
    labels = rng.integers(0, O, N)
    kind = pick(rng, "squared_error", "mean_squared_error", "sigmoid_cross_entropy", "softmax_cross_entropy")

    def on_duals(u):
        if kind == "softmax_cross_entropy":
            logs = u.value - u.value.max(1, keepdims=True)
            logs = logs - np.log(np.exp(logs).sum(1, keepdims=True))
            one_of_k = np.eye(O)[labels]
            return [Dual(-(one_of_k * logs).sum() / N, ((np.exp(logs) - one_of_k) * u.tangent).sum() / N)]
        if kind == "sigmoid_cross_entropy":
            value = np.logaddexp(0, u.value) - t * u.value
            return [Dual(value.mean(), ((sigmoid(u.value) - t) * u.tangent).mean())]
        scale = 1 / N if kind == "squared_error" else 1 / (N * O)
        error = u.value - t
        return [Dual(scale * (error**2).sum(), 2 * scale * (error * u.tangent).sum())]

    targets = labels if kind == "softmax_cross_entropy" else t
    return [number], on_duals, lambda u: getattr(graph, kind)(u, targets)


OPERATIONS = [affine, rows, images, images, loss]
