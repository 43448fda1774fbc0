"""Time of convolutions and a maximum pool, forward and backward, beside PyTorch.

    pip install --editable ".[bench]"
    python benchmarks/convolutions.py                    # float32, batches of 32, 1 thread and all CPUs
    python benchmarks/convolutions.py --threads 1 --layers "64-64 3x3 on 16x16" "max-pool 2 on 64x112x112"

Each library runs in a process of its own with the same CPUs, the processes take turns for several rounds, and the best
time of each library counts. Forward adds the bias; backward gives the gradients by the input, the weight and the bias.
The ratio is the time of PyTorch, forward and backward, over that of fastbp. fastbp writes into arrays that are there,
as its networks do; PyTorch makes new ones in each call, as it does in every network.
"""

import argparse
import json
import os
import sys

import numpy as np
from timing import add_json, add_options, as_json, best_time, installed, mean, ratio, take_turns

N = 32
# Channels, image, filters, window, stride, padding, groups; a pool has no filters.
LAYERS = {
    "3-32 3x3 on 32x32": (3, (32, 32), 32, (3, 3), 1, 1, 1),
    "32-64 3x3 on 32x32": (32, (32, 32), 64, (3, 3), 1, 1, 1),
    "64-64 3x3 on 16x16": (64, (16, 16), 64, (3, 3), 1, 1, 1),
    "128-128 3x3 on 8x8": (128, (8, 8), 128, (3, 3), 1, 1, 1),
    "1-30 5x5 on 28x28": (1, (28, 28), 30, (5, 5), 1, 0, 1),
    "64-128 1x1 on 16x16": (64, (16, 16), 128, (1, 1), 1, 0, 1),
    "64-64 3x3 stride 2 on 32x32": (64, (32, 32), 64, (3, 3), 2, 1, 1),
    "depthwise 64 3x3 on 32x32": (64, (32, 32), 64, (3, 3), 1, 1, 64),
    "16-32 9 on 1000": (16, (1000,), 32, (9,), 1, 4, 1),
    "8-16 3x3x3 on 16x16x16": (8, (16, 16, 16), 16, (3, 3, 3), 1, 1, 1),
    "max-pool 2 on 64x112x112": (64, (112, 112), None, (2, 2), 2, 0, 1),
}
LIBRARIES = "fastbp", "torch"


def operands(layer):
    """Arrays by name: input, gradient by the output, and for a convolution weight and bias."""
    channels, image, filters, window, stride, padding, groups = LAYERS[layer]
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    output = ((side + 2 * padding - size) // stride + 1 for side, size in zip(image, window, strict=True))
    arrays = {"x": normal(N, channels, *image), "dy": normal(N, filters or channels, *output)}
    if filters:
        arrays |= {"w": normal(filters, channels // groups, *window), "b": normal(filters)}
    return arrays


def fastbp_calls(layer, v):
    """Functions that run forward and backward, and the arrays that these fill."""
    from fastbp import kernels

    *_, window, stride, padding, groups = LAYERS[layer]
    r = {"y": np.empty_like(v["dy"]), "dx": np.empty_like(v["x"])}
    if "w" not in v:
        index = np.empty(v["dy"].shape, kernels.index_dtype(window))
        return (
            lambda: kernels.max_pool_forward(v["x"], r["y"], index, window, stride),
            lambda: kernels.max_pool_backward(v["dy"], index, r["dx"], window, stride),
            lambda: r,
        )
    r |= {"dw": np.empty_like(v["w"]), "db": np.empty_like(v["b"])}
    numbers = {"stride": stride, "padding": padding, "groups": groups}
    return (
        lambda: kernels.conv_forward(v["x"], v["w"], v["b"], r["y"], **numbers),
        lambda: kernels.conv_backward(v["dy"], v["x"], v["w"], r["dx"], r["dw"], r["db"], **numbers),
        lambda: r,
    )


def torch_calls(layer, v):
    """Functions that run forward and backward, and one that gives their results."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.set_grad_enabled(False)
    _, image, filters, window, stride, padding, groups = LAYERS[layer]
    axes, r = len(image), {}
    t = {name: torch.from_numpy(value) for name, value in v.items()}

    def pool():
        r["y"], r["index"] = torch.nn.functional.max_pool2d(t["x"], window, stride, return_indices=True)

    def pool_backward():
        numbers = list(window), [stride] * 2, [0, 0], [1, 1], False
        r["dx"] = torch.ops.aten.max_pool2d_with_indices_backward(t["dy"], t["x"], *numbers, r["index"])

    def convolution():
        function = getattr(torch.nn.functional, f"conv{axes}d")
        r["y"] = function(t["x"], t["w"], t["b"], stride=stride, padding=padding, groups=groups)

    def convolution_backward():
        numbers = [stride] * axes, [padding] * axes, [1] * axes, False, [0] * axes, groups
        r["dx"], r["dw"], r["db"] = torch.ops.aten.convolution_backward(
            t["dy"], t["x"], t["w"], [filters], *numbers, [True] * 3
        )

    calls = (convolution, convolution_backward) if filters else (pool, pool_backward)
    return *calls, lambda: {name: value.numpy() for name, value in r.items() if name != "index"}


CALLS = {"fastbp": fastbp_calls, "torch": torch_calls}


def worker(library, seconds, layers):
    """Print the best times of every layer, forward and backward, in microseconds."""
    times = {}
    for layer in layers:
        *calls, _ = CALLS[library](layer, operands(layer))
        times[layer] = [best_time(call, seconds) for call in calls]
    json.dump(times, sys.stdout)


def with_ratio(times):
    """Times of both passes by library, and the ratio of their sums."""
    return {"times": times, "ratio": ratio({library: pair and sum(pair) for library, pair in times.items()})}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", nargs="+", choices=list(LAYERS), default=list(LAYERS), metavar="LAYER")
    add_options(parser, 0.5, "call")
    add_json(parser)
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        library, seconds, *layers = arguments.worker
        worker(library, float(seconds), layers)
        return
    libraries = installed(LIBRARIES)
    effort = __file__, libraries, arguments.rounds, arguments.layers, arguments.seconds
    measured = {threads: take_turns(*effort, threads=threads) for threads in arguments.threads}
    results = {
        threads: {layer: with_ratio(times) for layer, times in best.items()} for threads, best in measured.items()
    }
    if as_json(arguments, results):
        return
    out = sys.stdout.write
    heads = [head for t in results for head in (*(f"{name} (us), {t}" for name in libraries), f"ratio, {t}")]
    out(f"| forward + backward; threads | {' | '.join(heads)} |\n|{' --- |' * (len(heads) + 1)}\n")
    for layer in arguments.layers:
        cells = []
        for best in results.values():
            times, value = best[layer].values()
            cells += ["failed" if pair is None else f"{pair[0]:.0f} + {pair[1]:.0f}" for pair in times.values()]
            cells.append(f"{value:.2f}" if value else "-")
        out(f"| {layer} | {' | '.join(cells)} |\n")
    for threads, best in results.items():
        ratios = [result["ratio"] for result in best.values()]
        if all(ratios):
            out(f"\n{threads} thread(s): geometric mean of the ratios {mean(ratios):.2f}\n")


if __name__ == "__main__":
    main()
