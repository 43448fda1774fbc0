"""Basis functions: a linear model on a design matrix, and a hidden layer as basis functions that are learned.

    Phi[n, j] = phi_j(x_n) = exp(-(x_n - c_j)^2 / (2 s^2)),   y = Phi w,   E = 1/N |t - y|^2

The graph differentiates by the weights w, where the text has dE/dw = 2/N Phi' (Phi w - t), and through the basis
functions by their centres c, which makes of them the hidden layer of a network.

    python docs/examples/basis_functions.py
"""

import numpy as np

from fastbp import graph
from fastbp.graph import Variable

Array = np.ndarray
WIDTH = 0.15


def data(n: int = 60) -> tuple[Array, Array]:
    """Points of a noisy curve."""
    rng = np.random.default_rng(1)
    x = np.sort(rng.uniform(0, 1, n))
    return x, np.sin(2 * np.pi * x) + 0.3 * np.sin(9 * x) + rng.normal(scale=0.05, size=n)


def design_matrix(x: Array, centres: Variable) -> Variable:
    """Phi (N, M), by broadcasting x (N, 1) against the centres (M,)."""
    return graph.exp(-((Variable(x[:, None], "x", constant=True) - centres) ** 2) / (2 * WIDTH**2))


def squared_error(phi: Variable, w: Variable, t: Array) -> Variable:
    """E."""
    return graph.mean((t - phi @ w) ** 2)


def fit(steps: int, *, learns_centres: bool) -> tuple[float, Array, Array]:
    """The error, weights and centres after gradient descent with fixed or with learned basis functions."""
    x, t = data()
    w, centres = Variable(np.zeros(6), "w"), Variable(np.linspace(0, 1, 6), "c", constant=not learns_centres)
    phi = design_matrix(x, centres)
    e = squared_error(phi, w, t)
    for _ in range(steps):
        e.backward()
        w.assign(w.value - 0.3 * w.grad)
        if learns_centres:
            centres.assign(centres.value - 0.01 * centres.grad)
        e.forward()
    return float(e), w.value, centres.value


def main() -> None:
    x, t = data()
    w, centres = Variable(np.ones(6), "w"), Variable(np.linspace(0, 1, 6), "c", constant=True)
    phi = design_matrix(x, centres)
    squared_error(phi, w, t).backward()
    formula = 2 / len(x) * phi.value.T @ (phi.value @ w.value - t)
    print(f"largest difference of dE/dw from 2/N Phi' (Phi w - t): {np.abs(w.grad - formula).max():.1e}")
    best = np.linalg.lstsq(phi.value, t, rcond=None)[0]
    print(f"error of the least-squares solution:            {np.mean((t - phi.value @ best) ** 2):.5f}")
    for title, learns_centres in (("fixed basis functions", False), ("learned basis functions", True)):
        e, _, c = fit(3000, learns_centres=learns_centres)
        print(f"error after 3000 steps, {title:24}{e:.5f}   centres {np.round(c, 2)}")


if __name__ == "__main__":
    main()
