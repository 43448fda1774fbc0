"""What backpropagation costs: multiply-adds and time of a training step as a network grows.

    python benchmarks/cost.py                         # deeper and wider networks, 1 thread
    python benchmarks/cost.py --grow depth --threads 1 2

A network with w weight matrices takes w products of matrices forward and 2 w - 1 backward, for the first layer needs no
gradient by its input: so the cost is O(w), and twice as many weights take twice as long. Multiply-adds are counted in
the recorded programs that a step runs, product by product. The exponent of time over work is fitted to the logarithms:

    log time = log c + exponent log (multiply-adds)         R^2: the share of the variance that the line explains

ReLU behind every layer but the last, mean squared error, batches of 64, float32. A recorded step updates the weights
within the products of backward; the update alone, one multiply-add for each weight and bias, is that of the optimizer
on gradients that were stored.
"""

import argparse
import json
import math
import sys

import numpy as np
from timing import add_json, add_options, as_json, best_time, in_process

BATCH = 64
PASSES = "forward", "backward", "update"
# number and width of the square weight matrices of each network
GROWTH = {
    "depth": [(w, 256) for w in (1, 2, 4, 8, 16, 32)],
    "width": [(3, width) for width in (32, 64, 128, 256, 512, 1024, 2048)],
}


def network(matrices, width):
    """A network with so many square weight matrices, its recorded step, and a batch."""
    import fastbp as fb

    layers = [layer for _ in range(matrices) for layer in (fb.Affine(width), fb.ReLU())][:-1]
    net = fb.Sequential(*layers, input_shape=width, seed=0)
    x, t = np.random.default_rng(0).standard_normal((2, BATCH, width)).astype(np.float32)
    # small steps: what is computed does not matter, but it must stay finite
    net.train_step(x, t, loss=fb.MeanSquaredError(), optimizer=fb.SGD(1e-6))
    return net, net._steps.last, (x, t)


def products(program):
    """(rows, columns, depth) of each matrix product that a recorded program runs."""
    sizes = "rows", "columns", "depth"
    records = [record[0] for _, record in program._calls if {*sizes} <= {*record.dtype.names}]
    return [tuple(int(record[size]) for size in sizes) for record in records]


def measure(matrices, width, seconds):
    """Products, multiply-adds, and best times in microseconds of each of PASSES.

    A large product may be run in several parts: the whole ones are what all of them add up to.
    """
    import fastbp as fb

    net, step, batch = network(matrices, width)
    result = {"matrices": matrices, "width": width}
    for name, program in (("forward", step._forward), ("backward", step._backward)):
        work, one = sum(map(math.prod, products(program))), BATCH * width**2
        if work % one:
            raise AssertionError(f"{work} multiply-adds are no whole number of products of {one}")
        time = best_time(lambda program=program: program.run(*batch), seconds)
        result[name] = {"products": work // one, "multiply_adds": work, "time": time}
    optimizer, work = fb.SGD(0.1), sum(parameter.value.size for parameter in net.parameters())
    time = best_time(lambda: optimizer.step(net.parameters()), seconds)
    result["update"] = {"products": 0, "multiply_adds": work, "time": time}
    return result


def fit(work, times):
    """Exponent of time over work, and R^2 of the fit."""
    x, y = np.log(work), np.log(times)
    exponent, start = np.polyfit(x, y, 1)
    rest, spread = y - (start + exponent * x), y - y.mean()
    return float(exponent), float(1 - rest @ rest / (spread @ spread))


def totals(points):
    """Multiply-adds and times of whole steps: forward, and backward with the update."""
    steps = PASSES[:2]
    return [[sum(point[name][key] for name in steps) for point in points] for key in ("multiply_adds", "time")]


def run(growth, threads, rounds, seconds):
    """The points of a growth, each the best of several processes."""
    best = None
    for _ in range(rounds):
        points = in_process(__file__, "fastbp", growth, seconds, threads=threads)
        for old, new in zip(best or points, points, strict=True):
            for name in PASSES:
                new[name]["time"] = min(old[name]["time"], new[name]["time"])
        best = points
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grow", nargs="+", choices=list(GROWTH), default=list(GROWTH))
    add_options(parser, 0.3, "pass")
    parser.set_defaults(threads=[1])
    add_json(parser)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        _, growth, seconds = arguments.worker
        json.dump([measure(*size, float(seconds)) for size in GROWTH[growth]], sys.stdout)
        return
    out = sys.stdout.write
    measured = {
        (growth, threads): run(growth, threads, arguments.rounds, arguments.seconds)
        for growth in arguments.grow
        for threads in arguments.threads
    }
    results = []
    for (growth, threads), points in measured.items():
        fitted = dict(zip(("exponent", "r_squared"), fit(*totals(points)), strict=True))
        results.append({"growth": growth, "threads": threads, "points": points, **fitted})
    if as_json(arguments, results):
        return
    for result in results:
        growth, threads, points = result["growth"], result["threads"], result["points"]
        out(f"{growth}, {threads} thread(s)\n\n")
        heads = "matrices", "width", "products", "multiply-adds", "forward (us)", "backward (us)", "ps per multiply-add"
        out(f"| {' | '.join((*heads, 'update alone (us)'))} |\n|{' --- |' * 8}\n")
        for point, work, time in zip(points, *totals(points), strict=True):
            forward, backward = point["forward"], point["backward"]
            cells = point["matrices"], point["width"], f"{forward['products']} + {backward['products']}", f"{work:,}"
            times = [f"{forward['time']:.1f}", f"{backward['time']:.1f}", f"{time / work * 1e6:.2f}"]
            times.append(f"{point['update']['time']:.1f}")
            out(f"| {' | '.join(map(str, (*cells, *times)))} |\n")
        out(f"\ntime ~ multiply-adds ^ {result['exponent']:.3f}, R^2 {result['r_squared']:.4f}\n\n")


if __name__ == "__main__":
    main()
