"""Time of one training step beside other libraries: forward, backward and SGD update of a network.

    pip install --editable ".[bench]"
    python benchmarks/compare.py                  # all networks, 1 thread and all CPUs
    python benchmarks/compare.py --networks 64-100-10 "CNN A" --threads 1 --libraries fastbp numpy

Every library runs in a process of its own with the same CPUs, warmed up; the processes take turns for several rounds
and the best time of each library counts. ReLU after every layer but the last, softmax cross-entropy, plain SGD,
float32. The last column is the time of the fastest other library over that of fastbp.
"""

import argparse
import json
import math
import os
import sys

import numpy as np
from timing import add_json, add_options, as_json, best_time, installed, ratio, shown, take_turns

# Batch size, shape of a sample, and layers: units of an affine one, (filters, size, padding) of a convolution, or POOL,
# the maximum over windows of 2 x 2. What comes behind images is flattened.
POOL = "pool"
NETWORKS = {
    "64-100-10": (32, (64,), [100, 10]),
    "784-50-10": (100, (784,), [50, 10]),
    "784-512-512-10": (128, (784,), [512, 512, 10]),
    "1024-2048-2048-2048-1000": (256, (1024,), [2048, 2048, 2048, 1000]),
    "CNN A": (100, (1, 28, 28), [(30, 5, 0), POOL, 100, 10]),
    "CNN B": (64, (3, 32, 32), [(32, 3, 1), (32, 3, 1), POOL, (64, 3, 1), (64, 3, 1), POOL, 512, 10]),
}
RATE = 0.01


def data(n, shape, layers):
    """A batch, its labels, the layers, and initial weights (O, I) or (F, C, K, K) and biases of those that have any."""
    rng = np.random.default_rng(0)
    x, t = rng.random((n, *shape), np.float32), rng.integers(0, layers[-1], n)
    weights = []
    for layer in layers:
        if layer == POOL:
            shape = (shape[0], shape[1] // 2, shape[2] // 2)
            continue
        if isinstance(layer, int):
            w_shape, shape = (layer, math.prod(shape)), (layer,)
        else:
            filters, size, padding = layer
            w_shape = (filters, shape[0], size, size)
            shape = (filters, *(side + 2 * padding - size + 1 for side in shape[1:]))
        scale = np.sqrt(2 / math.prod(w_shape[1:]))
        weights.append((rng.standard_normal(w_shape) * scale).astype(np.float32))
    return x, t, layers, weights, [np.zeros(len(w), np.float32) for w in weights]


def chain(layers, convolution, relu, pool, flatten, affine):
    """The layers of a library, made by the functions given, with ReLU after every one but the last."""
    made, is_flat = [], not any(isinstance(layer, tuple) for layer in layers)
    for layer in layers:
        if layer == POOL:
            made.append(pool())
            continue
        if isinstance(layer, int) and not is_flat:
            made.append(flatten())
            is_flat = True
        made += [affine(layer) if isinstance(layer, int) else convolution(*layer), relu()]
    return made[:-1]


def fastbp_step(x, t, layers, weights, biases):
    import fastbp as fb

    def convolution(filters, size, padding):
        return fb.Conv2d(filters, size, padding=padding)

    made = chain(layers, convolution, fb.ReLU, lambda: fb.MaxPool2d(2), fb.Flatten, fb.Affine)
    net = fb.Sequential(*made, input_shape=x.shape[1:])
    values = [value for pair in zip(weights, biases, strict=True) for value in pair]
    for parameter, value in zip(net.parameters(), values, strict=True):
        parameter.value = value
    loss, optimizer = fb.SoftmaxCrossEntropy(), fb.SGD(RATE)
    return lambda: net.train_step(x, t, loss=loss, optimizer=optimizer)


def numpy_step(x, t, layers, weights, biases):
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


def torch_step(x, t, layers, weights, biases, compiled=False, channels_last=False):
    import torch
    from torch import nn

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    shapes = iter(weights)

    def convolution(filters, size, padding):
        return nn.Conv2d(next(shapes).shape[1], filters, size, padding=padding)

    def affine(n):
        return nn.Linear(next(shapes).shape[1], n)

    net = nn.Sequential(*chain(layers, convolution, nn.ReLU, lambda: nn.MaxPool2d(2), nn.Flatten, affine))
    values = [value for pair in zip(weights, biases, strict=True) for value in pair]
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), values, strict=True):
            parameter.copy_(torch.from_numpy(value))
    x, t, optimizer = torch.from_numpy(x), torch.from_numpy(t), torch.optim.SGD(net.parameters(), lr=RATE)

    if channels_last:  # the order of memory that oneDNN prefers
        x, net = (a.to(memory_format=torch.channels_last) for a in (x, net))

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


def torch_channels_last_step(*network):
    return torch_step(*network, channels_last=True)


def torch_compile_step(*network):
    return torch_step(*network, compiled=True)


def jax_step(x, t, layers, weights, biases):
    import jax
    import jax.numpy as jnp

    def convolution(filters, size, padding):
        sides = [(padding, padding)] * 2
        return lambda x, w, b: jax.lax.conv_general_dilated(x, w, (1, 1), sides) + b[:, None, None]

    def pool(x):
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")

    functions = chain(
        *(layers, convolution, lambda: lambda x: jnp.maximum(x, 0), lambda: pool),
        *(lambda: lambda x: x.reshape(len(x), -1), lambda n: lambda x, w, b: x @ w + b),
    )

    def loss_of(parameters, x, t):
        values = iter(parameters)
        for function in functions:
            x = function(x, *next(values)) if function.__code__.co_argcount == 3 else function(x)
        return -jnp.take_along_axis(jax.nn.log_softmax(x), t[:, None], axis=1).mean()

    @jax.jit
    def update(parameters, x, t):
        value, gradient = jax.value_and_grad(loss_of)(parameters, x, t)
        return value, jax.tree.map(lambda p, g: p - RATE * g, parameters, gradient)

    x, t = jnp.asarray(x), jnp.asarray(t)
    weights = [w.T if w.ndim == 2 else w for w in weights]
    state = [[(jnp.asarray(w), jnp.asarray(b)) for w, b in zip(weights, biases, strict=True)]]

    def step():
        value, state[0] = update(state[0], x, t)
        return float(value)

    return step


def sklearn_network(hidden, rate, batch):
    """scikit-learn's perceptron with plain gradient descent on one batch in each ``partial_fit``."""
    from sklearn.neural_network import MLPClassifier

    plain = {"solver": "sgd", "momentum": 0, "alpha": 0, "shuffle": False, "random_state": 0}
    return MLPClassifier(hidden, learning_rate_init=rate, batch_size=batch, **plain)


def sklearn_step(x, t, layers, weights, biases):
    net = sklearn_network([len(b) for b in biases[:-1]], RATE, len(x))
    classes = np.arange(len(biases[-1]))

    def step():
        net.partial_fit(x, t, classes=classes)
        return net.loss_

    return step


LIBRARIES = {
    "fastbp": (fastbp_step, "fastbp"),
    "numpy": (numpy_step, "numpy"),
    "torch": (torch_step, "torch"),
    "torch channels last": (torch_channels_last_step, "torch"),
    "torch.compile": (torch_compile_step, "torch"),
    "jax": (jax_step, "jax"),
    "sklearn": (sklearn_step, "sklearn"),
}


PERCEPTRONS_ONLY = "numpy", "sklearn"
IMAGES_ONLY = ("torch channels last",)


def worker(library, seconds, network):
    """Print the best time of a step in microseconds, and the loss of the first, by network."""
    step = LIBRARIES[library][0](*data(*NETWORKS[network]))
    first = step()
    json.dump({network: [best_time(step, seconds), float(first)]}, sys.stdout)


def measure(network, libraries, threads, rounds, seconds):
    """Best times in microseconds, None where a library failed; and the losses of the first step."""
    without = PERCEPTRONS_ONLY if POOL in NETWORKS[network][2] else IMAGES_ONLY
    able = [library for library in libraries if library not in without]
    results = take_turns(__file__, able, rounds, [network], seconds, threads=threads)[network]
    times = {library: result and result[0] for library, result in results.items()}
    # scikit-learn has the loss after the step only
    return times, {library: result[1] for library, result in results.items() if result and library != "sklearn"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--libraries", nargs="+", choices=list(LIBRARIES), default=list(LIBRARIES))
    add_options(parser, 2.0, "step")
    add_json(parser)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        library, seconds, network = arguments.worker
        worker(library, float(seconds), network)
        return
    libraries = installed(arguments.libraries, {name: package for name, (_, package) in LIBRARIES.items()})
    out = sys.stderr.write if arguments.json else sys.stdout.write
    out(f"| network, batch | threads | {' | '.join(f'{name} (us)' for name in libraries)} | ratio |\n")
    out(f"|{' --- |' * (len(libraries) + 3)}\n")
    rows = []
    for network in arguments.networks:
        for threads in arguments.threads:
            times, losses = measure(network, libraries, threads, arguments.rounds, arguments.seconds)
            rows.append({"network": network, "threads": threads, "times": times, "ratio": ratio(times)})
            cells = [shown(times[name], ".0f") if name in times else "-" for name in libraries]
            cells.append(f"{ratio(times):.2f}" if ratio(times) else "-")
            out(f"| {network}, {NETWORKS[network][0]} | {threads} | {' | '.join(cells)} |\n")
            sys.stdout.flush()
            if losses and max(losses.values()) - min(losses.values()) > 1e-3 * max(losses.values()):
                out(f"the libraries disagree on the first loss: {losses}\n")
    as_json(arguments, rows)


if __name__ == "__main__":
    main()
