"""What a call costs besides its work: kernels, functions and steps on next to nothing.

    python benchmarks/calls.py

Each on arrays of a few numbers, on one thread, in microseconds; NumPy's product of the same two matrices beside.
"""

import argparse
import json
import sys

import numpy as np
from timing import add_json, as_json, best_time, duration, in_process


def calls():
    """The calls by name."""
    import fastbp as fb
    from fastbp import functional as F
    from fastbp import kernels

    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal((4, 4)).astype(np.float32) for _ in range(3))
    images, w = rng.standard_normal((2, 1, 1, 4, 4)).astype(np.float32)
    y, index = np.empty((1, 1, 2, 2), np.float32), np.empty((1, 1, 2, 2), np.uint8)
    net = fb.Sequential(fb.Affine(4), fb.ReLU(), fb.Affine(4), input_shape=4, seed=0)
    t, loss, optimizer = np.arange(4), fb.SoftmaxCrossEntropy(), fb.SGD(1e-6)
    return {
        "numpy.matmul": lambda: np.matmul(a, b, out=c),
        "kernels.matmul": lambda: kernels.matmul(a, b, c),
        "kernels.affine_relu_forward": lambda: kernels.affine_relu_forward(a, b, b[0], c),
        "kernels.relu_forward": lambda: kernels.relu_forward(a, c),
        "kernels.conv_forward": lambda: kernels.conv_forward(images, w[:, :, :3, :3], None, y),
        "kernels.max_pool_forward": lambda: kernels.max_pool_forward(images, y, index, 2),
        "functional.affine_forward": lambda: F.affine_forward(a, b),
        "Sequential.predict": lambda: net.predict(a),
        "Sequential.train_step": lambda: net.train_step(a, t, loss=loss, optimizer=optimizer),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=duration, default=0.2, help="timing of each call")
    add_json(parser)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        seconds = float(arguments.worker[1])
        json.dump({name: best_time(call, seconds) for name, call in calls().items()}, sys.stdout)
        return
    measured = in_process(__file__, "fastbp", arguments.seconds, threads=1)
    if as_json(arguments, measured):
        return
    lines = ["| call | time (us) |", "| --- | --- |", *(f"| {name} | {time:.1f} |" for name, time in measured.items())]
    sys.stdout.write("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
