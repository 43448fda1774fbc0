"""Graphs beside PyTorch's eager mode, and beside `Sequential`.

    python benchmarks/graph.py                  # what a node costs, and one step of training

A chain of a hundred equal links, forward and backward, per link: on arrays of 8 elements, or of 32 x 32, or a batch of
4 small images, one thread, each library in a process of its own. A link is one node, or a few where the result must get
its shape back. "network" is one graph of many different nodes on arrays of a few numbers, as a whole. "step" is one
step of training of 784-512-512-10 on 128 samples, plain SGD: by `Sequential.train_step`, by the loop of forward, loss,
backward and step, and by a graph, in turn in one process for ten times the seconds of a case, on one thread and on all
CPUs.
"""

import argparse
import json
import statistics
import sys
import time

import numpy as np
from timing import add_json, add_options, as_json, in_process, installed, mean, ratio, shown, take_turns

LENGTH = 100
SHAPES = {"vector": (8,), "matrix": (32, 32), "images": (4, 3, 12, 12)}
# kinds of nodes by the shape on which they are chained
NODES = {
    "vector": ("add", "multiply", "divide", "power", "exp", "log", "sqrt", "maximum", "where", "relu", "sigmoid"),
    "matrix": ("add", "matmul", "affine", "relu", "softmax", "sum", "mean", "max", "transpose", "slices", "split"),
    "images": ("conv", "max_pool", "avg_pool"),
}
CASES = [*(f"{shape} {node}" for shape, nodes in NODES.items() for node in nodes), "network"]


def fastbp_nodes(x):
    """Functions of y that add one node, or two or three where the result must get the shape of y again."""
    from fastbp import graph as g

    w = g.Variable(x)
    made = {
        "add": lambda y: y + w,
        "multiply": lambda y: y * w,
        "divide": lambda y: y / w,
        "power": lambda y: y**2.0,
        "exp": lambda y: g.exp(-y),
        "log": lambda y: g.log(y + 1.0),
        "sqrt": g.sqrt,
        "maximum": lambda y: g.maximum(y, w),
        "where": lambda y: g.where(w > 0.0, y, w),
        "relu": g.relu,
        "sigmoid": g.sigmoid,
        "matmul": lambda y: y @ w,
        "affine": lambda y: g.affine(y, w, w_row),
        "softmax": g.softmax,
        "sum": lambda y: y + g.sum(y, 0),
        "mean": lambda y: y + g.mean(y, 1, keepdims=True),
        "max": lambda y: y + g.max(y, 1, keepdims=True),
        "transpose": lambda y: y.T,
        "slices": lambda y: g.concatenate([y[:16], y[16:]]),
        "split": lambda y: g.concatenate(g.split(y, 2)),
        "conv": lambda y: g.conv(y, filters, padding=1),
        "max_pool": lambda y: g.max_pool(y, 3, 1, padding=1),
        "avg_pool": lambda y: g.avg_pool(y, 3, 1, padding=1),
    }
    w_row, filters = g.Variable(x[:, 0]) if x.ndim == 2 else None, g.Variable(np.full((3, 3, 3, 3), 0.1, np.float32))
    return made


def torch_nodes(x):
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(1)
    w = torch.from_numpy(x.copy()).requires_grad_()
    made = {
        "add": lambda y: y + w,
        "multiply": lambda y: y * w,
        "divide": lambda y: y / w,
        "power": lambda y: y**2.0,
        "exp": lambda y: torch.exp(-y),
        "log": lambda y: torch.log(y + 1.0),
        "sqrt": torch.sqrt,
        "maximum": lambda y: torch.maximum(y, w),
        "where": lambda y: torch.where(w > 0.0, y, w),
        "relu": torch.relu,
        "sigmoid": torch.sigmoid,
        "matmul": lambda y: y @ w,
        "affine": lambda y: F.linear(y, w, w_row),
        "softmax": lambda y: torch.softmax(y, -1),
        "sum": lambda y: y + y.sum(0),
        "mean": lambda y: y + y.mean(1, keepdim=True),
        "max": lambda y: y + y.max(1, keepdim=True)[0],
        "transpose": lambda y: y.T,
        "slices": lambda y: torch.cat([y[:16], y[16:]]),
        "split": lambda y: torch.cat(torch.split(y, 16)),
        "conv": lambda y: F.conv2d(y, filters, padding=1),
        "max_pool": lambda y: F.max_pool2d(y, 3, 1, 1),
        "avg_pool": lambda y: F.avg_pool2d(y, 3, 1, 1),
    }
    w_row = torch.from_numpy(x[:, 0].copy()).requires_grad_() if x.ndim == 2 else None
    filters = torch.full((3, 3, 3, 3), 0.1).requires_grad_()
    return made


def fastbp_chain(case):
    """Forward, which returns the result, and backward from it."""
    from fastbp.graph import Variable

    shape, _, node = case.partition(" ")
    x = start(shape)
    step, seed = fastbp_nodes(x)[node], np.ones(x.shape, np.float32)

    def forward():
        y = Variable(x)
        for _ in range(LENGTH):
            y = step(y)
        return y

    return forward, lambda y: y.backward(seed)


def torch_chain(case):
    import torch

    shape, _, node = case.partition(" ")
    x = start(shape)
    step, seed = torch_nodes(x)[node], torch.ones(x.shape)

    def forward():
        y = torch.from_numpy(x.copy()).requires_grad_()
        for _ in range(LENGTH):
            y = step(y)
        return y

    return forward, lambda y: y.backward(seed)


def start(shape):
    return np.full(SHAPES[shape], 0.999, np.float32)


def weights():
    rng = np.random.default_rng(0)
    shapes = (8, 16), (16, 16), (16,), (16, 16), (16,), (4, 16), (4,)
    return [rng.normal(size=shape).astype(np.float32) * np.float32(0.3) for shape in shapes]


LABELS = np.arange(8) % 4


def fastbp_network(case):
    from fastbp import graph as g

    x, *arrays = weights()
    variables = [g.Variable(a) for a in arrays]

    def forward():
        w1, b1, w2, b2, w3, b3 = variables
        h = g.relu(g.affine(x, w1, b1))
        mean, variance = g.moments(h, 1, keepdims=True)
        h = (h - mean) / g.sqrt(variance + 0.1)
        h = g.tanh(g.affine(h, w2, b2)) * 0.5 + h
        u = g.affine(g.exp(-h) * h, w3, b3)
        penalty = g.sum(w1 * w1) + g.sum(w2 * w2) + g.sum(w3 * w3)
        return g.softmax_cross_entropy(u, LABELS) + 1e-3 * penalty - g.log(g.mean(g.sigmoid(u)))

    return forward, lambda y: y.backward()


def torch_network(case):
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(1)
    x, *arrays = map(torch.from_numpy, weights())
    variables = [a.requires_grad_() for a in arrays]
    labels = torch.from_numpy(LABELS)

    def forward():
        w1, b1, w2, b2, w3, b3 = variables
        h = torch.relu(F.linear(x, w1, b1))
        variance, mean = torch.var_mean(h, 1, keepdim=True, unbiased=False)
        h = (h - mean) / torch.sqrt(variance + 0.1)
        h = torch.tanh(F.linear(h, w2, b2)) * 0.5 + h
        u = F.linear(torch.exp(-h) * h, w3, b3)
        penalty = (w1 * w1).sum() + (w2 * w2).sum() + (w3 * w3).sum()
        return F.cross_entropy(u, labels) + 1e-3 * penalty - torch.log(torch.sigmoid(u).mean())

    def backward(y):
        for w in variables:
            w.grad = None
        y.backward()

    return forward, backward


LIBRARIES = {"fastbp": (fastbp_chain, fastbp_network), "torch": (torch_chain, torch_network)}


def best_times(case, library, seconds):
    """Best times of forward and of backward, in microseconds per node of a chain, or of the network."""
    chain, network = LIBRARIES[library]
    forward, backward = (network if case == "network" else chain)(case)
    for _ in range(3):
        backward(forward())
    best, stop = [float("inf")] * 2, time.perf_counter() + seconds
    while best[0] == float("inf") or time.perf_counter() < stop:
        times = [time.perf_counter()]
        y = forward()
        times.append(time.perf_counter())
        backward(y)
        times.append(time.perf_counter())
        best = [min(b, t) for b, t in zip(best, np.diff(times).tolist(), strict=True)]
    return [b * 1e6 / (1 if case == "network" else LENGTH) for b in best]


def steps():
    """One step of training in each way."""
    import fastbp as fb
    from fastbp import graph as g

    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(128, 784)).astype(np.float32), rng.integers(0, 10, 128)
    net = fb.Sequential(fb.Affine(512), fb.ReLU(), fb.Affine(512), fb.ReLU(), fb.Affine(10), input_shape=784, seed=0)
    loss, optimizer = fb.SoftmaxCrossEntropy(), fb.SGD(0.01)
    w1, b1, w2, b2, w3, b3 = variables = [g.Variable(p.value, p.name) for p in net.parameters()]

    def by_graph():
        h = g.relu(g.affine(x, w1, b1))
        h = g.relu(g.affine(h, w2, b2))
        g.softmax_cross_entropy(g.affine(h, w3, b3), t).backward()
        optimizer.step(variables)

    def by_hand():
        _, delta = loss(net.forward(x), t)
        net.backward(delta)
        optimizer.step(net.parameters())

    return {
        "train_step": lambda: net.train_step(x, t, loss=loss, optimizer=optimizer),
        "forward, backward, step": by_hand,
        "graph": by_graph,
    }


def time_steps(rounds, seconds):
    """Median time of each in microseconds, in turn, and the medians of its ratios to the first two."""
    ways = steps()
    times = {name: [] for name in ways}
    stop = time.perf_counter() + rounds * seconds
    while not times["graph"] or time.perf_counter() < stop:
        for name, step in ways.items():
            step()  # what the others have left in the caches is gone
            before = time.perf_counter()
            for _ in range(4):
                step()
            times[name].append((time.perf_counter() - before) / 4 * 1e6)
    first, second, _ = times.values()
    return {
        name: [statistics.median(t), *(statistics.median(np.divide(t, other)) for other in (first, second))]
        for name, t in times.items()
    }


def measure(rounds, seconds, threads):
    """Everything that the tables show."""
    best = take_turns(__file__, installed(LIBRARIES), rounds, CASES, seconds, threads=1)
    by_nodes = {}
    for case, results in best.items():
        totals = {name: None if t is None else sum(t) for name, t in results.items()}
        by_nodes[case] = {"times": results, "ratio": ratio(totals)}
    return {
        "nodes": by_nodes,
        "steps": {t: in_process(__file__, "fastbp", "steps", rounds, seconds, threads=t) for t in threads},
    }


def print_tables(measured):
    out = sys.stdout.write
    out("| node | fastbp (us), forward + backward | torch (us) | ratio |\n| --- | --- | --- | --- |\n")
    for case, result in measured["nodes"].items():
        cells = ["-" if name not in result["times"] else _sum(result["times"][name]) for name in LIBRARIES]
        out(f"| {case} | {' | '.join(cells)} | {'-' if result['ratio'] is None else shown(result['ratio'], '.2f')} |\n")
    ratios = [result["ratio"] for case, result in measured["nodes"].items() if case != "network" and result["ratio"]]
    if ratios:
        out(f"\nnodes: geometric mean of the ratios {mean(ratios):.2f}\n")
    out("\n| step of 784-512-512-10; threads | time (us) | beside `train_step` | beside the loop |\n")
    out("| --- | --- | --- | --- |\n")
    for threads, times in measured["steps"].items():
        for name, (microseconds, *beside) in times.items():
            out(f"| {name}, {threads} | {microseconds:.0f} | {' | '.join(f'{b:.2f}' for b in beside)} |\n")


def _sum(times):
    return "failed" if times is None else f"{times[0]:.1f} + {times[1]:.1f}"


def worker(library, seconds, *cases):
    if seconds == "steps":
        result = time_steps(int(cases[0]), 10 * float(cases[1]))  # the steps of the first second are slower
    else:
        result = {case: best_times(case, library, float(seconds)) for case in cases}
    json.dump(result, sys.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, seconds=0.1, timed="case")
    add_json(parser)
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(*arguments.worker)
        return
    measured = measure(arguments.rounds, arguments.seconds, arguments.threads)
    if not as_json(arguments, measured):
        print_tables(measured)


if __name__ == "__main__":
    main()
