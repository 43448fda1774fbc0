"""The lecture's algorithm: stochastic gradient descent one sample at a time, in augmented form.

Each layer has one matrix W'_k = [b_k | W_k] with the bias in column 0, and inputs z'_k = [1 | z_k]:

    u_k = W'_k z'_k,   z_{k+1} = f_k(u_k),   E = 1/2 |t - z_r|^2
    delta_k = (W_{k+1}' delta_{k+1}) * f'_k(u_k),   dE/dW'_k = delta_k z'_k'

and a rate eta_t that falls with the step. Once as a graph of vectors, once by the recursion in NumPy.

    python docs/examples/one_sample_at_a_time.py
"""

import itertools

import numpy as np

from fastbp import graph
from fastbp.graph import Variable

Array = np.ndarray
UNITS = [3, 5, 4, 2]


def eta(step: int) -> float:
    """Learning rate of a step."""
    return 0.2 / (1 + 0.05 * step)


def start(seed: int = 3) -> list[Array]:
    """Augmented matrices (q_{k+1}, q_k + 1)."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(q, p + 1)) / np.sqrt(p) for p, q in itertools.pairwise(UNITS)]


def samples(count: int, seed: int = 4) -> tuple[Array, Array]:
    """Inputs, and targets that a smooth function makes of them."""
    x = np.random.default_rng(seed).normal(size=(count, UNITS[0]))
    return x, np.stack([np.sin(x[:, 0]) + x[:, 1] * x[:, 2] / 4, np.cos(x[:, 1])], axis=1)


def error(weights: list[Variable], x: Array, t: Array) -> Variable:
    """E of one sample, hidden units tanh, the last ones linear."""
    z = Variable(x, "x", constant=True)
    for k, w in enumerate(weights):
        u = w @ graph.concatenate([[1.0], z])
        z = u if k == len(weights) - 1 else graph.tanh(u)
    return 0.5 * graph.sum((t - z) ** 2)


def by_graph(x: Array, t: Array) -> tuple[list[Array], list[float]]:
    """Weights after all samples, and the errors on the way."""
    weights = [Variable(w, f"W{k}") for k, w in enumerate(start())]
    errors = []
    for step in range(len(x)):
        e = error(weights, x[step], t[step])
        e.backward()
        for w in weights:
            w.assign(w.value - eta(step) * w.grad)
        errors.append(float(e))
    return [w.value for w in weights], errors


def by_recursion(x: Array, t: Array) -> tuple[list[Array], list[float]]:
    """The same by the formulas above."""
    weights, errors = start(), []
    for step in range(len(x)):
        z = [x[step]]
        for k, w in enumerate(weights):
            u = w @ np.concatenate([[1.0], z[-1]])
            z.append(u if k == len(weights) - 1 else np.tanh(u))
        errors.append(0.5 * float(((t[step] - z[-1]) ** 2).sum()))
        delta = z[-1] - t[step]
        for k in range(len(weights) - 1, -1, -1):
            gradient = np.outer(delta, np.concatenate([[1.0], z[k]]))
            if k:
                delta = (weights[k][:, 1:].T @ delta) * (1 - z[k] ** 2)
            weights[k] = weights[k] - eta(step) * gradient
    return weights, errors


def main() -> None:
    x, t = samples(2000)
    weights, errors = by_graph(x, t)
    expected, _ = by_recursion(x, t)
    for first in range(0, len(errors), 500):
        print(f"samples {first:4} to {first + 499:4}: mean error {np.mean(errors[first : first + 500]):.4f}")
    difference = max(np.abs(a - b).max() for a, b in zip(weights, expected, strict=True))
    print(f"largest difference of a weight from the recursion: {difference:.1e}")


if __name__ == "__main__":
    main()
