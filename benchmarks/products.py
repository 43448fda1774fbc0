"""Time of matrix products beside NumPy and PyTorch: square ones, and those of a training step of a perceptron.

    pip install --editable ".[bench]"
    python benchmarks/products.py                         # float32, 1 thread and all CPUs
    python benchmarks/products.py --dtype float64 --threads 1 --products "square 512" "forward 128,784,512"

Each library runs in a process of its own with the same CPUs, the processes take turns for several rounds, and the best
time of each library counts. For a layer of I inputs and O units on a batch of N:

    forward   max(0, x w' + b)          fastbp, JAX: one call; NumPy: three; PyTorch: addmm and relu_
    dw        delta' x                  one call each
    dx        (delta w) * (h > 0)       fastbp, JAX: one call; NumPy: three; PyTorch: mm and threshold_backward

Everything is written into arrays made before, but for JAX, which has no such calls; its functions are compiled. The
ratio is the time of the fastest other library over that of fastbp.
"""

import argparse
import json
import os
import sys

import numpy as np
from timing import add_json, add_options, as_json, best_time, installed, mean, ratio, shown, take_turns

SQUARES = [64, 128, 256, 512, 1024, 2048]
LAYERS = [(32, 64, 100), (32, 100, 10), (100, 784, 50), (128, 784, 512), (128, 512, 512), (256, 2048, 2048)]
PRODUCTS = [f"square {n}" for n in SQUARES]
PRODUCTS += [f"{kind} {','.join(map(str, layer))}" for layer in LAYERS for kind in ("forward", "dw", "dx")]
LIBRARIES = "fastbp", "numpy", "torch", "jax"


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


def jax_call(kind, v):
    import jax

    jax.config.update("jax_enable_x64", True)
    function, names = {
        "square": (lambda a, b: a @ b, "a b"),
        "forward": (lambda x, w, b: jax.numpy.maximum(x @ w.T + b, 0), "x w b"),
        "dw": (lambda delta, x: delta.T @ x, "delta x"),
        "dx": (lambda delta, w, h: (delta @ w) * (h > 0), "delta w h"),
    }[kind]
    function, operands = jax.jit(function), [jax.numpy.asarray(v[name]) for name in names.split()]

    def call():
        v["out"] = function(*operands).block_until_ready()

    return call


CALLS = {"fastbp": fastbp_call, "numpy": numpy_call, "torch": torch_call, "jax": jax_call}


def worker(library, dtype, seconds, products):
    """Print the best time of every product in microseconds."""
    json.dump(
        {product: best_time(CALLS[library](*operands(product, dtype)), seconds) for product in products}, sys.stdout
    )


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
    libraries = installed(LIBRARIES)
    effort = __file__, libraries, arguments.rounds, arguments.products, arguments.dtype, arguments.seconds
    measured = {threads: take_turns(*effort, threads=threads) for threads in arguments.threads}
    results = {
        threads: {product: {"times": times, "ratio": ratio(times)} for product, times in best.items()}
        for threads, best in measured.items()
    }
    if as_json(arguments, results):
        return
    out = sys.stdout.write
    heads = [head for t in results for head in (*(f"{name} (us), {t}" for name in libraries), f"ratio, {t}")]
    out(f"| {arguments.dtype} product; threads | {' | '.join(heads)} |\n")
    out(f"|{' --- |' * (len(heads) + 1)}\n")
    for product in arguments.products:
        cells = []
        for best in results.values():
            result = best[product]
            cells += [shown(time, ".1f") for time in result["times"].values()]
            cells.append(f"{result['ratio']:.2f}" if result["ratio"] else "-")
        out(f"| {product} | {' | '.join(cells)} |\n")
    for threads, best in results.items():
        ratios = [result["ratio"] for product, result in best.items() if not product.startswith("square")]
        if ratios and all(ratios):
            out(f"\n{threads} thread(s), products of layers: geometric mean of the ratios {mean(ratios):.2f}\n")


if __name__ == "__main__":
    main()
