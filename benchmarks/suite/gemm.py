"""Matrix products: time of the faster of NumPy and PyTorch over that of fastbp. Above 1, fastbp is faster."""

import os
from pathlib import Path

from .script import run

PRODUCTS = Path(__file__).parents[1] / "products.py"
SHAPES = [f"square {n}" for n in (64, 128, 256, 512, 1024, 2048)]
LAYERS = ("32,64,100", "32,100,10", "100,784,50", "128,784,512", "128,512,512", "256,2048,2048")
SHAPES += [f"{kind} {layer}" for layer in LAYERS for kind in ("forward", "dw", "dx")]


class Ratio:
    params = (SHAPES, sorted({1, len(os.sched_getaffinity(0))}), ["float32", "float64"])
    param_names = ("product", "threads", "dtype")
    unit = "ratio"
    timeout = 300

    def track_ratio(self, product, threads, dtype):
        arguments = ["--products", product, "--threads", threads, "--dtype", dtype, "--rounds", 2, "--seconds", 0.3]
        return run(PRODUCTS, "--json", *arguments)[str(threads)][product]
