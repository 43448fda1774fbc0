"""One small network in three ways: as a graph, as layers, and by loops as in "Backpropagation for engineers".

x = [2, 3, 1], a hidden layer of two units with weights w1, one output with weights w2, no bias, target 20; the squared
error is differentiated by every weight. The loops store weights column by column: that from input j to unit i of n is
at i + n j. All three agree with each other and with the slopes that come from moving one weight by a little.

    python docs/examples/three_layer_net.py
"""

import math
from collections.abc import Callable

import numpy as np

import fastbp as fb
from fastbp import graph
from fastbp.graph import Variable

X, W1, W2, TARGET = [2.0, 3.0, 1.0], [[3.0, 1.0, 2.0], [-2.0, -3.0, -1.0]], [[3.0, 2.0]], 20.0

Gradients = tuple[float, np.ndarray, np.ndarray]  # y, dw1, dw2


def by_graph(is_sigmoid: bool) -> Gradients:
    """Node by node."""
    w1, w2 = Variable(W1, "w1"), Variable(W2, "w2")
    f = graph.sigmoid if is_sigmoid else graph.relu
    u = f(graph.affine([X], w1)) @ w2.T
    y = graph.sigmoid(u) if is_sigmoid else u
    cost = graph.sum((TARGET - y) ** 2)
    cost.backward()
    return float(y), w1.grad, w2.grad


def by_layers(is_sigmoid: bool) -> Gradients:
    """With `Sequential`."""
    f = [fb.Sigmoid(), fb.Sigmoid()] if is_sigmoid else [fb.ReLU(), fb.Identity()]
    net = fb.Sequential(
        fb.Affine(2, bias=False), f[0], fb.Affine(1, bias=False), f[1], input_shape=3, dtype="float64", seed=0
    )
    w1, w2 = net.parameters()
    w1.value, w2.value = W1, W2
    y = net.forward([X])
    _, delta = fb.SquaredError()(y, [[TARGET]])
    net.backward(delta)
    return float(y[0, 0]), w1.grad, w2.grad


def sigmoid(u: float) -> float:
    """1 / (1 + e^-u)."""
    return 1 / (1 + math.exp(-u))


class Unit:
    """An activation f and its slope f', written with the output."""

    def __init__(self, f: Callable[[float], float], slope: Callable[[float], float]) -> None:
        self.f, self.slope = f, slope


SIGMOID = Unit(sigmoid, lambda y: y * (1 - y))
RELU = Unit(lambda u: max(0.0, u), lambda y: 1.0 if y > 0 else 0.0)
IDENTITY = Unit(lambda u: u, lambda y: 1.0)


def outer_product(bias_gradients: list[float], inputs: list[float]) -> list[float]:
    """Weight gradients of a layer, column by column: bias gradient i times input j, at i + n j."""
    return [delta * value for value in inputs for delta in bias_gradients]


def forward(weights: list[float], inputs: list[float], units: int, unit: Unit) -> list[float]:
    """Outputs of a layer whose weights are stored column by column."""
    sums = [0.0] * units
    for j, value in enumerate(inputs):
        for i in range(units):
            sums[i] += weights[i + units * j] * value
    return [unit.f(u) for u in sums]


def by_loops(is_sigmoid: bool) -> Gradients:
    """As an engineer writes it: bias gradients first, layer by layer from the last one, weights from them."""
    hidden, last = (SIGMOID, SIGMOID) if is_sigmoid else (RELU, IDENTITY)
    w1, w2 = ([row[j] for j in range(len(w[0])) for row in w] for w in (W1, W2))  # column by column
    h = forward(w1, X, 2, hidden)
    (y,) = forward(w2, h, 1, last)
    delta = [last.slope(y) * -2 * (TARGET - y)]  # f' times the slope of the cost
    dw2 = outer_product(delta, h)
    delta_hidden = [hidden.slope(h[j]) * w2[j] * delta[0] for j in range(2)]
    dw1 = outer_product(delta_hidden, X)
    return y, np.reshape(dw1, (2, 3), order="F"), np.reshape(dw2, (1, 2), order="F")


def slope_of_a_bias() -> tuple[float, float]:
    """A bias raised by 0.001 that lowers the loss by 0.002 has the slope -2: gradient and slope."""
    bias = Variable(1.0, "bias")
    loss = 5 - 2 * bias
    loss.backward()
    before = float(loss)
    bias.assign(1.001)
    return float(bias.grad), (float(loss.forward()) - before) / 0.001


def main() -> None:
    for title, is_sigmoid in (("ReLU, identity", False), ("sigmoid, sigmoid", True)):
        print(title)
        for way in (by_graph, by_layers, by_loops):
            y, dw1, dw2 = way(is_sigmoid)
            print(f"    {way.__name__:10} y = {y:.8g}")
            for name, dw in (("dw1", dw1), ("dw2", dw2)):
                print(f"        {name} = " + "; ".join(" ".join(f"{value:.8g}" for value in row) for row in dw))
    print()
    w = outer_product([1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0])
    print("bias gradients [1, 2, 3] and inputs [4, 5, 6, 7] give the weight gradients")
    print(np.reshape(w, (3, 4), order="F"))
    print("bias gradient and slope: {:.6g} {:.6g}".format(*slope_of_a_bias()))


if __name__ == "__main__":
    main()
