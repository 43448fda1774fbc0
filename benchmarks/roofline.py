"""How near each kernel comes to what the processor can do: GFLOP/s, GB/s, and the fraction of the roofline.

    python benchmarks/roofline.py                    # float32, 1 thread and all CPUs
    python benchmarks/roofline.py --threads 1 --dtype float64

In the same process and run, a loop of multiply-adds in registers gives the peak P of operations, and a = b + s c, on
arrays beyond the caches, the peak B of bytes. A kernel of F operations on operands of M bytes, each read or written
once, takes at least max(F / P, M / B): the fraction is that time over the one measured. (Williams, Waterman and
Patterson, Roofline, Communications of the ACM 52, 2009.) Above 1 are kernels that make fewer operations than the plain
sums, which are counted: windows of 3 x 3 by Winograd's algorithm; or whose operands stay in a cache.
"""

import argparse
import json
import os
import sys

import numpy as np
from timing import add_json, add_options, as_json, best_time, in_process

RNG = np.random.default_rng(0)


def _random(dtype, *shape):
    return RNG.standard_normal(shape, np.float32).astype(dtype)


def product(dtype, m, n, k):
    from fastbp import kernels

    a, b, c = _random(dtype, m, k), _random(dtype, k, n), np.empty((m, n), dtype)
    return lambda: kernels.matmul(a, b, c), 2 * m * n * k, [a, b, c]


def affine(dtype, n, i, o):
    from fastbp import kernels

    x, w, b, y = _random(dtype, n, i), _random(dtype, o, i), _random(dtype, o), np.empty((n, o), dtype)
    return lambda: kernels.affine_relu_forward(x, w, b, y), 2 * n * i * o, [x, w, b, y]


def convolution(dtype, n, channels, side, filters, size, *, backward=False, groups=1, **numbers):
    from fastbp import kernels
    from fastbp.kernels.windows import windows

    on = windows("benchmark", (side, side), size, **numbers)
    x, w = _random(dtype, n, channels, side, side), _random(dtype, filters, channels // groups, size, size)
    y, b = _random(dtype, n, filters, *on.output), _random(dtype, filters)
    numbers["groups"] = groups
    operations = 2 * y.size * w[0].size
    if not backward:
        return lambda: kernels.conv_forward(x, w, b, y, **numbers), operations, [x, w, b, y]
    dx, dw, db = np.empty_like(x), np.empty_like(w), np.empty_like(b)
    call = lambda: kernels.conv_backward(y, x, w, dx, dw, db, **numbers)  # noqa: E731
    return call, 2 * operations, [x, w, y, dx, dw, db]


def elementwise(dtype, name, size, operations):
    from fastbp import kernels

    x, out = _random(dtype, size), np.empty(size, dtype)
    return lambda: getattr(kernels, name)(x, out), operations * size, [x, out]


def rows(dtype, name, n, o, operations):
    from fastbp import kernels

    u, out, t = _random(dtype, n, o), np.empty((n, o), dtype), RNG.integers(0, o, n)
    if name == "softmax_forward":
        return lambda: kernels.softmax_forward(u, out), operations * u.size, [u, out]
    return lambda: kernels.softmax_cross_entropy(u, t, out), operations * u.size, [u, t, out]


def pool(dtype, kind, n, channels, side):
    from fastbp import kernels

    x = _random(dtype, n, channels, side, side)
    y = np.empty((n, channels, side // 2, side // 2), dtype)
    if kind == "average":
        return lambda: kernels.avg_pool_forward(x, y, 2), x.size, [x, y]
    index = np.empty(y.shape, np.uint8)
    return lambda: kernels.max_pool_forward(x, y, index, 2), x.size, [x, y, index]


def update(dtype, size):
    from fastbp import kernels

    g, w = _random(dtype, size), _random(dtype, size)
    return lambda: kernels.sgd_update(g, w, 1e-9), 2 * size, [g, w, w]  # w is read and written


MILLIONS = 2**24  # 64 MiB in float32: beyond the caches
# Operations of an element are counted once for each addition, multiplication, comparison or exponential.
KERNELS = {
    "product 256 x 256 x 256": lambda dtype: product(dtype, 256, 256, 256),
    "product 1024 x 1024 x 1024": lambda dtype: product(dtype, 1024, 1024, 1024),
    "affine and ReLU 128, 784, 512": lambda dtype: affine(dtype, 128, 784, 512),
    "conv 1-30 5x5 on 28x28": lambda dtype: convolution(dtype, 100, 1, 28, 30, 5),
    "conv 32-64 3x3 on 32x32": lambda dtype: convolution(dtype, 32, 32, 32, 64, 3, padding=1),
    "conv 64-64 3x3 stride 2 on 32x32": lambda dtype: convolution(dtype, 32, 64, 32, 64, 3, stride=2, padding=1),
    "its gradients": lambda dtype: convolution(dtype, 32, 64, 32, 64, 3, backward=True, stride=2, padding=1),
    "conv 64-128 1x1 on 16x16": lambda dtype: convolution(dtype, 32, 64, 16, 128, 1),
    "depthwise 64 3x3 on 32x32": lambda dtype: convolution(dtype, 32, 64, 32, 64, 3, groups=64, padding=1),
    "maximum of 2x2, 64 x 112x112": lambda dtype: pool(dtype, "maximum", 32, 64, 112),
    "mean of 2x2, 64 x 112x112": lambda dtype: pool(dtype, "average", 32, 64, 112),
    "ReLU": lambda dtype: elementwise(dtype, "relu_forward", MILLIONS, 1),
    "sigmoid": lambda dtype: elementwise(dtype, "sigmoid_forward", MILLIONS, 4),
    "tanh": lambda dtype: elementwise(dtype, "tanh_forward", MILLIONS, 5),
    "softmax of 8192 x 1000": lambda dtype: rows(dtype, "softmax_forward", 8192, 1000, 4),
    "softmax cross-entropy of 8192 x 1000": lambda dtype: rows(dtype, "softmax_cross_entropy", 8192, 1000, 5),
    "SGD update": lambda dtype: update(dtype, MILLIONS),
}


def measure(dtype, seconds):
    """Peaks of operations and bytes, and for each kernel its operations, bytes and best time in microseconds."""
    import peak

    threads = len(os.sched_getaffinity(0))
    result = {"gflops": peak.gflops(dtype, threads, seconds), "gbytes": peak.gbytes(dtype, threads, seconds)}
    result["kernels"] = {}
    for name, make in KERNELS.items():
        call, operations, arrays = make(dtype)
        nbytes = sum(a.nbytes for a in arrays)
        result["kernels"][name] = {"operations": operations, "bytes": nbytes, "time": best_time(call, seconds)}
    return result


def run(dtype, threads, rounds, seconds):
    """`measure` in several processes: the best of each; and for every kernel what it reaches of the roofline."""
    best = None
    for _ in range(rounds):
        result = in_process(__file__, "fastbp", dtype, seconds, threads=threads)
        best = best or result
        for peak in ("gflops", "gbytes"):
            best[peak] = max(best[peak], result[peak])
        for name, kernel in best["kernels"].items():
            kernel["time"] = min(kernel["time"], result["kernels"][name]["time"])
    for kernel in best["kernels"].values():
        least = [kernel["operations"] / best["gflops"] / 1e3, kernel["bytes"] / best["gbytes"] / 1e3]
        kernel["fraction"] = max(least) / kernel["time"]
        kernel["bound"] = "operations" if least[0] > least[1] else "memory"
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, 0.3, "kernel")
    parser.set_defaults(rounds=2)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    add_json(parser)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        _, dtype, seconds = arguments.worker
        json.dump(measure(dtype, float(seconds)), sys.stdout)
        return
    dtype, rounds, seconds = arguments.dtype, arguments.rounds, arguments.seconds
    measured = {threads: run(dtype, threads, rounds, seconds) for threads in arguments.threads}
    if as_json(arguments, measured):
        return
    for threads, result in measured.items():
        out = sys.stdout.write
        out(f"{threads} thread(s): peak {result['gflops']:.0f} GFLOP/s, {result['gbytes']:.1f} GB/s\n\n")
        out("| kernel | time (us) | GFLOP/s | GB/s | of the roofline | bound by |\n|" + " --- |" * 6 + "\n")
        for name, kernel in result["kernels"].items():
            rates = [kernel[key] / kernel["time"] / 1e3 for key in ("operations", "bytes")]
            cells = f"{kernel['time']:.0f}", f"{rates[0]:.1f}", f"{rates[1]:.1f}", f"{kernel['fraction']:.2f}"
            out(f"| {name} | {' | '.join(cells)} | {kernel['bound']} |\n")
        out("\n")


if __name__ == "__main__":
    main()
