"""Convolutions and a maximum pool: time of PyTorch over that of fastbp, forward and backward."""

import os
from pathlib import Path

from .script import run

CONVOLUTIONS = Path(__file__).parents[1] / "convolutions.py"
LAYERS = [
    "3-32 3x3 on 32x32",
    "32-64 3x3 on 32x32",
    "64-64 3x3 on 16x16",
    "128-128 3x3 on 8x8",
    "1-30 5x5 on 28x28",
    "64-128 1x1 on 16x16",
    "64-64 3x3 stride 2 on 32x32",
    "depthwise 64 3x3 on 32x32",
    "16-32 9 on 1000",
    "8-16 3x3x3 on 16x16x16",
    "max-pool 2 on 64x112x112",
]


class Ratio:
    params = (LAYERS, sorted({1, len(os.sched_getaffinity(0))}))
    param_names = ("layer", "threads")
    unit = "ratio"
    timeout = 600

    def track_ratio(self, layer, threads):
        options = "--json", "--layers", layer, "--threads", threads, "--rounds", 2, "--seconds", 0.3
        return run(CONVOLUTIONS, *options)[str(threads)][layer]
