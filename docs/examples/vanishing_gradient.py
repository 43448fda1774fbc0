"""The vanishing gradient: how large delta_k, the gradient by the units of layer k, still is at the first layers.

A sigmoid multiplies the gradient by at most 0.25 on the way down, tanh by at most 1, a rectifier by 1 where it is
active. Networks of 2 to 20 hidden layers of 32 units, weights as `fastbp` starts them for each activation; with
matplotlib, a plot is written to the file that is given.

    python docs/examples/vanishing_gradient.py [plot.svg]
"""

import sys

import numpy as np

from fastbp import graph, initializers
from fastbp.graph import Variable

WIDTH, BATCH = 32, 64
ACTIVATIONS = {
    "sigmoid": (graph.sigmoid, initializers.glorot),
    "tanh": (graph.tanh, initializers.glorot),
    "relu": (graph.relu, initializers.he),
}


def norms(activation: str, layers: int, seed: int = 0) -> list[float]:
    """Norm of delta_k by layer, the first hidden layer first."""
    f, initial = ACTIVATIONS[activation]
    rng = np.random.default_rng(seed)
    z, pre = Variable(rng.normal(size=(BATCH, WIDTH)), "x", constant=True), []
    for k in range(layers):
        u = graph.affine(z, Variable(initial((WIDTH, WIDTH), rng), f"w{k}"))
        pre.append(u)
        z = f(u)
    last = graph.affine(z, initial((1, WIDTH), rng))
    cost = graph.mean_squared_error(last, rng.normal(size=(BATCH, 1)))
    cost.backward(retain=True)
    return [float(np.linalg.norm(u.grad)) for u in pre]


def plot(file: str) -> None:
    """delta_k over k for networks of 20 layers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for activation in ACTIVATIONS:
        axes.semilogy(range(1, 21), norms(activation, 20), "o-", label=activation)
    axes.set_xlabel("layer k, from the input")
    axes.set_ylabel("norm of δ_k")
    axes.set_xticks(range(2, 21, 2))
    axes.set_title("Vanishing gradient in 20 layers")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(file)


def main(file: str | None = None) -> None:
    print("norm of delta in the first layer as a share of that in the last one")
    print("layers " + "".join(f"{name:>12}" for name in ACTIVATIONS))
    for layers in range(2, 21, 2):
        shares = []
        for activation in ACTIVATIONS:
            found = norms(activation, layers)
            shares.append(found[0] / found[-1])
        print(f"{layers:6} " + "".join(f"{share:12.2e}" for share in shares))
    print()
    print("by layer in a network of 10")
    for activation in ACTIVATIONS:
        print(f"{activation:8}" + " ".join(f"{norm:8.1e}" for norm in norms(activation, 10)))
    if file is None:
        return
    try:
        plot(file)
    except ImportError:
        print("matplotlib is not installed: no plot")
    else:
        print(f"plot written to {file}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
