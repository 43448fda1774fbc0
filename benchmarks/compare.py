"""Time of one training step beside other libraries: forward, backward and SGD update of a multilayer perceptron.

    pip install --editable ".[bench]"
    python benchmarks/compare.py                  # all networks, 1 thread and all CPUs
    python benchmarks/compare.py --networks 64-100-10 --threads 1 --libraries fastbp numpy

Every library runs in a process of its own with the same CPUs, warmed up; the processes take turns for several rounds
and the best time of each library counts. ReLU after every layer but the last, softmax cross-entropy, plain SGD,
float32. The last column is the time of the fastest other library over that of fastbp.
"""

import argparse
import importlib.util
import itertools
import json
import os
import sys

import numpy as np
from timing import best_time, in_process

NETWORKS = {  # batch size
    "64-100-10": 32,
    "784-50-10": 100,
    "784-512-512-10": 128,
    "1024-2048-2048-2048-1000": 256,
}
RATE = 0.01


def data(sizes, n):
    """A batch, its labels, and initial weights (O, I) and biases."""
    rng = np.random.default_rng(0)
    x = rng.random((n, sizes[0]), np.float32)
    t = rng.integers(0, sizes[-1], n)
    weights = [(rng.standard_normal((o, i)) * np.sqrt(2 / i)).astype(np.float32) for i, o in itertools.pairwise(sizes)]
    return x, t, weights, [np.zeros(o, np.float32) for o in sizes[1:]]


def fastbp_step(x, t, weights, biases):
    import fastbp as fb

    layers = [layer for b in biases[:-1] for layer in (fb.Affine(len(b)), fb.ReLU())]
    net = fb.Sequential(*layers, fb.Affine(len(biases[-1])), input_shape=x.shape[1])
    values = [value for pair in zip(weights, biases, strict=True) for value in pair]
    for parameter, value in zip(net.parameters(), values, strict=True):
        parameter.value = value
    loss, optimizer = fb.SoftmaxCrossEntropy(), fb.SGD(RATE)
    return lambda: net.train_step(x, t, loss=loss, optimizer=optimizer)


def numpy_step(x, t, weights, biases):
    w = [value.T.copy() for value in weights]
    rows = np.arange(len(x))

    def step():
        z = [x]
        for i in range(len(w)):
            u = z[-1] @ w[i]
            u += biases[i]
            if i + 1 < len(w):
                np.maximum(u, 0, out=u)
            z.append(u)
        u = z.pop()
        u -= u.max(axis=1, keepdims=True)
        np.exp(u, out=u)
        total = u.sum(axis=1, keepdims=True)
        loss = -np.log(u[rows, t] / total[:, 0]).mean()
        u /= total
        u[rows, t] -= 1
        delta = u / len(x)
        for i in range(len(w) - 1, -1, -1):
            below = delta @ w[i].T * (z[i] > 0) if i else None
            w[i] -= RATE * (z[i].T @ delta)
            biases[i] -= RATE * delta.sum(axis=0)
            delta = below
        return loss

    return step


def _torch_parts(x, t, weights, biases):
    import torch

    layers = []
    for w, b in zip(weights, biases, strict=True):
        linear = torch.nn.Linear(w.shape[1], w.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(w))
            linear.bias.copy_(torch.from_numpy(b))
        layers += [linear, torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    return torch, net, torch.from_numpy(x), torch.from_numpy(t), torch.optim.SGD(net.parameters(), lr=RATE)


def torch_step(x, t, weights, biases, compiled=False):
    torch, net, x, t, optimizer = _torch_parts(x, t, weights, biases)
    torch.set_num_threads(len(os.sched_getaffinity(0)))

    def loss_of(x, t):
        return torch.nn.functional.cross_entropy(net(x), t)

    if compiled:
        loss_of = torch.compile(loss_of)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(x, t)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def torch_compile_step(x, t, weights, biases):
    return torch_step(x, t, weights, biases, compiled=True)


def jax_step(x, t, weights, biases):
    import jax
    import jax.numpy as jnp

    def loss_of(parameters, x, t):
        for i, (w, b) in enumerate(parameters):
            x = x @ w + b
            if i + 1 < len(parameters):
                x = jnp.maximum(x, 0)
        return -jnp.take_along_axis(jax.nn.log_softmax(x), t[:, None], axis=1).mean()

    @jax.jit
    def update(parameters, x, t):
        value, gradient = jax.value_and_grad(loss_of)(parameters, x, t)
        return value, jax.tree.map(lambda p, g: p - RATE * g, parameters, gradient)

    x, t = jnp.asarray(x), jnp.asarray(t)
    state = [[(jnp.asarray(w.T), jnp.asarray(b)) for w, b in zip(weights, biases, strict=True)]]

    def step():
        value, state[0] = update(state[0], x, t)
        return float(value)

    return step


def sklearn_step(x, t, weights, biases):
    from sklearn.neural_network import MLPClassifier

    hidden = tuple(len(b) for b in biases[:-1])
    net = MLPClassifier(
        hidden, solver="sgd", learning_rate_init=RATE, momentum=0, alpha=0, batch_size=len(x), random_state=0
    )
    classes = np.arange(len(biases[-1]))

    def step():
        net.partial_fit(x, t, classes=classes)
        return net.loss_

    return step


LIBRARIES = {
    "fastbp": (fastbp_step, "fastbp"),
    "numpy": (numpy_step, "numpy"),
    "torch": (torch_step, "torch"),
    "torch.compile": (torch_compile_step, "torch"),
    "jax": (jax_step, "jax"),
    "sklearn": (sklearn_step, "sklearn"),
}


def worker(library, network, seconds):
    """Print the best time of a step in microseconds, and the loss of the first."""
    sizes = [int(size) for size in network.split("-")]
    step = LIBRARIES[library][0](*data(sizes, NETWORKS[network]))
    first = step()
    json.dump({"best": best_time(step, seconds), "loss": float(first)}, sys.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cpus = len(os.sched_getaffinity(0))
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--libraries", nargs="+", choices=list(LIBRARIES), default=list(LIBRARIES))
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, cpus}))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="timing per process")
    parser.add_argument("--json", action="store_true", help="print the ratios as a list in JSON")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        library, network, seconds = arguments.worker
        worker(library, network, float(seconds))
        return
    out = sys.stderr.write if arguments.json else sys.stdout.write
    libraries = [name for name in arguments.libraries if importlib.util.find_spec(LIBRARIES[name][1])]
    for name in set(arguments.libraries) - set(libraries):
        out(f"{name} is not installed and left out\n")
    out(f"| network, batch | threads | {' | '.join(f'{name} (us)' for name in libraries)} | ratio |\n")
    out(f"|{' --- |' * (len(libraries) + 3)}\n")
    ratios = []
    for network in arguments.networks:
        for threads in arguments.threads:
            best, losses = {}, {}
            for _ in range(arguments.rounds):
                for library in libraries:
                    result = in_process(__file__, library, network, arguments.seconds, threads=threads)
                    if result:
                        best[library] = min(result["best"], best.get(library, float("inf")))
                        losses[library] = result["loss"]
            cells = [f"{best[name]:.0f}" if name in best else "failed" for name in libraries]
            peers = [value for name, value in best.items() if name != "fastbp"]
            ratios.append(min(peers) / best["fastbp"] if peers and "fastbp" in best else None)
            ratio = f"{ratios[-1]:.2f}" if ratios[-1] else "-"
            out(f"| {network}, {NETWORKS[network]} | {threads} | {' | '.join(cells)} | {ratio} |\n")
            sys.stdout.flush()
            same = {name: value for name, value in losses.items() if name != "sklearn"}
            if same and max(same.values()) - min(same.values()) > 1e-3 * max(same.values()):
                out(f"the libraries disagree on the first loss: {same}\n")
    if arguments.json:
        json.dump(ratios, sys.stdout)


if __name__ == "__main__":
    main()
