"""Time of matrix products beside NumPy and PyTorch: square ones, and those of a training step of a perceptron.

    pip install --editable ".[bench]"
    python benchmarks/products.py                         # float32, 1 thread and all CPUs
    python benchmarks/products.py --dtype float64 --threads 1 --products "square 512" "forward 128,784,512"

Each library runs in a process of its own with the same CPUs, the processes take turns for several rounds, and the best
time of each library counts. For a layer of I inputs and O units on a batch of N:

    forward   max(0, x w' + b)          fastbp: one call; NumPy: three; PyTorch: addmm and relu_
    dw        delta' x                  one call each
    dx        (delta w) * (h > 0)       fastbp: one call; NumPy: three; PyTorch: mm and threshold_backward

Everything is written into arrays made before. The ratio is the time of the faster other library over that of fastbp.
"""

import argparse
import importlib.util
import json
import math
import os
import sys

import numpy as np
from timing import add_json, add_options, as_json, best_time, in_process

SQUARES = [64, 128, 256, 512, 1024, 2048]
LAYERS = [(32, 64, 100), (32, 100, 10), (100, 784, 50), (128, 784, 512), (128, 512, 512), (256, 2048, 2048)]
PRODUCTS = [f"square {n}" for n in SQUARES]
PRODUCTS += [f"{kind} {','.join(map(str, layer))}" for layer in LAYERS for kind in ("forward", "dw", "dx")]
LIBRARIES = ("fastbp", "numpy", "torch")


def operands(product, dtype):
    """Kind of the product and its arrays by name; weights (O, I)."""
    kind, _, text = product.partition(" ")
    sizes = [int(size) for size in text.split(",")]
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    if kind == "square":
        return kind, {"a": normal(*sizes * 2), "b": normal(*sizes * 2), "out": np.empty(sizes * 2, dtype)}
    N, I, O = sizes
    return kind, {
        "x": normal(N, I),
        "w": normal(O, I),
        "b": normal(O),
        "delta": normal(N, O),
        "h": np.maximum(normal(N, I), 0),
        "out": np.empty({"forward": (N, O), "dw": (O, I), "dx": (N, I)}[kind], dtype),
    }


def fastbp_call(kind, v):
    import fastbp as fb
    from fastbp import kernels
    from fastbp.kernels.epilogue import RELU

    if kind == "square":
        return lambda: kernels.matmul(v["a"], v["b"], v["out"])
    # the memory order that the layer gives its weight
    layer = fb.Sequential(fb.Affine(len(v["w"])), input_shape=v["x"].shape[1], dtype=v["x"].dtype).layers[0]
    w = layer.w.value
    w[...] = v["w"]
    if kind == "forward":
        return lambda: kernels.affine_relu_forward(v["x"], w, v["b"], v["out"])
    if kind == "dw":
        v["out"] = dw = np.empty_like(w)
        return lambda: kernels.affine_weight_gradient(v["delta"], v["x"], w, dw)
    return lambda: kernels.affine_delta(v["delta"], w, v["h"], v["out"], RELU)


def numpy_call(kind, v):
    out = v["out"]
    if kind == "square":
        return lambda: np.matmul(v["a"], v["b"], out=out)
    w = v["w"].T.copy()  # (I, O), so that the forward product needs no transposition
    if kind == "forward":

        def forward():
            np.matmul(v["x"], w, out=out)
            np.add(out, v["b"], out=out)
            np.maximum(out, 0, out=out)

        return forward
    if kind == "dw":
        v["out"] = np.empty_like(w).T
        return lambda: np.matmul(v["x"].T, v["delta"], out=v["out"].T)
    positive = np.empty(out.shape, bool)

    def dx():
        np.matmul(v["delta"], w.T, out=out)
        np.greater(v["h"], 0, out=positive)
        np.multiply(out, positive, out=out)

    return dx


def torch_call(kind, v):
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.set_grad_enabled(False)
    t = {name: torch.from_numpy(value) for name, value in v.items()}
    out = t["out"]
    if kind == "square":
        return lambda: torch.mm(t["a"], t["b"], out=out)
    if kind == "forward":
        w = t["w"].t()

        def forward():
            torch.addmm(t["b"], t["x"], w, out=out)
            out.relu_()

        return forward
    if kind == "dw":
        delta = t["delta"].t()
        return lambda: torch.mm(delta, t["x"], out=out)

    def dx():
        torch.mm(t["delta"], t["w"], out=out)
        torch.ops.aten.threshold_backward.grad_input(out, t["h"], 0, grad_input=out)

    return dx


CALLS = {"fastbp": fastbp_call, "numpy": numpy_call, "torch": torch_call}


def worker(library, dtype, seconds, products):
    """Print the best time of every product in microseconds."""
    json.dump(
        {product: best_time(CALLS[library](*operands(product, dtype)), seconds) for product in products}, sys.stdout
    )


def measure(products, threads, dtype, rounds, seconds):
    """Best time in microseconds by product and library; libraries that are missing or fail are left out."""
    best = {product: {} for product in products}
    for _ in range(rounds):
        for library in LIBRARIES:
            if importlib.util.find_spec(library) is None:
                continue
            times = in_process(__file__, library, dtype, seconds, *products, threads=threads) or {}
            for product, time in times.items():
                best[product][library] = min(time, best[product].get(library, math.inf))
    return best


def ratio(times):
    """Time of the faster other library over that of fastbp; None without another."""
    others = [time for library, time in times.items() if library != "fastbp"]
    return min(others) / times["fastbp"] if others and "fastbp" in times else None


def mean(ratios):
    """Geometric mean."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--products", nargs="+", choices=PRODUCTS, default=PRODUCTS, metavar="PRODUCT")
    add_options(parser, 0.5, "product")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    add_json(parser)
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        library, dtype, seconds, *products = arguments.worker
        worker(library, dtype, float(seconds), products)
        return
    measured = {
        threads: measure(arguments.products, threads, arguments.dtype, arguments.rounds, arguments.seconds)
        for threads in arguments.threads
    }
    out = sys.stdout.write
    if as_json(arguments, {str(t): {p: ratio(times) for p, times in best.items()} for t, best in measured.items()}):
        return
    missing = [library for library in LIBRARIES if importlib.util.find_spec(library) is None]
    for library in missing:
        out(f"{library} is not installed and left out\n")
    heads = [f"{name} (us), {t}" for t in measured for name in (*LIBRARIES, "ratio")]
    out(f"| {arguments.dtype} product; threads | {' | '.join(heads).replace('ratio (us)', 'ratio')} |\n")
    out(f"|{' --- |' * (len(heads) + 1)}\n")
    for product in arguments.products:
        cells = []
        for best in measured.values():
            times = best[product]
            cells += [f"{times[name]:.1f}" if name in times else "-" for name in LIBRARIES]
            cells.append(f"{ratio(times):.2f}" if ratio(times) else "-")
        out(f"| {product} | {' | '.join(cells)} |\n")
    for threads, best in measured.items():
        layers = [ratio(times) for product, times in best.items() if not product.startswith("square") and ratio(times)]
        if layers:
            out(f"{threads} thread(s), products of layers: geometric mean of the ratios {mean(layers):.2f}\n")


if __name__ == "__main__":
    main()
