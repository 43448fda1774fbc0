"""One hidden layer with weight decay as one graph, as in section 6.5.7 of the deep-learning textbook's notes.

    H = max(0, X W1),   U = H W2,   J = J_MLE + lambda (sum W1^2 + sum W2^2)

with the softmax cross-entropy J_MLE, averaged over the batch. With G = dJ_MLE/dU the text derives

    dJ/dW2 = H' G + 2 lambda W2,   G' = (G W2') * (H > 0),   dJ/dW1 = X' G' + 2 lambda W1

and the graph gives the same numbers.

    python docs/examples/weight_decay.py
"""

import numpy as np

from fastbp import graph
from fastbp.graph import Variable

Array = np.ndarray


def batch(n: int = 20, inputs: int = 6, hidden: int = 9, classes: int = 4) -> tuple[Array, Array, Array, Array]:
    """X, labels, W1 and W2."""
    rng = np.random.default_rng(7)
    shapes = rng.normal(size=(inputs, hidden)), rng.normal(size=(hidden, classes))
    return rng.normal(size=(n, inputs)), rng.integers(0, classes, n), *shapes


def by_graph(x: Array, labels: Array, w1: Array, w2: Array, decay: float) -> tuple[Variable, Array, Array]:
    """J and its gradients by both weights."""
    first, second = Variable(w1, "W1"), Variable(w2, "W2")
    h = graph.relu(Variable(x, "X", constant=True) @ first)
    penalty = graph.sum(first**2) + graph.sum(second**2)
    cost = graph.softmax_cross_entropy(h @ second, labels) + decay * penalty
    cost.name = "J"
    cost.backward()
    return cost, first.grad, second.grad


def by_formula(x: Array, labels: Array, w1: Array, w2: Array, decay: float) -> tuple[Array, Array]:
    """The gradients as the text writes them."""
    h = np.maximum(0, x @ w1)
    e = np.exp(h @ w2)
    g = (e / e.sum(axis=1, keepdims=True) - np.eye(w2.shape[1])[labels]) / len(x)
    g_hidden = (g @ w2.T) * (h > 0)
    return x.T @ g_hidden + 2 * decay * w1, h.T @ g + 2 * decay * w2


def main() -> None:
    data = batch()
    cost, dw1, dw2 = by_graph(*data, decay=0.03)
    expected = by_formula(*data, decay=0.03)
    print(f"J = {float(cost):.6f}, made by")
    print()
    print(graph.trace(cost))
    print()
    for name, made, formula in (("W1", dw1, expected[0]), ("W2", dw2, expected[1])):
        print(f"largest difference of dJ/d{name} from the formula: {np.abs(made - formula).max():.1e}")


if __name__ == "__main__":
    main()
