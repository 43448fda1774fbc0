"""How long a user waits: for the compiler the first time, for the imports ever after. In fresh processes.

    python benchmarks/latency.py

Every kernel's time to compile with an empty cache, one after the other in one process; the time from the start of
`fastbp train` to the end of its first epoch, with an empty cache; and the time from the start of a process to the end
of a first training step, with a warm one. float32, all CPUs.
"""

import argparse
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
import time
from functools import partial

import numpy as np
from timing import add_json, as_json

TRAIN = "-m", "fastbp", "train", "--epochs", "1", "--model"
STEP = """
import fastbp as fb
x, y = fb.datasets.load_digits()
net = fb.Sequential(fb.Affine(1536), fb.ReLU(), fb.Affine(10), input_shape=64, seed=0)
net.train_step(x[:32], y[:32], loss=fb.SoftmaxCrossEntropy(), optimizer=fb.SGD(0.1))
print("done", flush=True)
"""
STARTS = {
    "first epoch, mlp, empty cache": ("epoch 1", [*TRAIN, "mlp"], 1),
    "first epoch, cnn, empty cache": ("epoch 1", [*TRAIN, "cnn"], 1),
    "first step, warm cache": ("done", ["-c", STEP], 6),
}


def kernels():
    """Functions without arguments that compile one kernel each, by name."""
    import fastbp.kernels
    from fastbp.kernels._jit import ROUTINES, Kernel

    result = {}
    for info in pkgutil.iter_modules(fastbp.kernels.__path__, "fastbp.kernels."):
        module = importlib.import_module(info.name)
        for value in vars(module).values():
            if isinstance(value, Kernel) and value.function.__module__ == info.name:
                name = f"{info.name.rpartition('.')[2]}.{value.name}"
                dtype = "int64" if np.dtype("int64").char in value._types else "float32"
                result[name] = partial(value.compile, np.dtype(dtype))
    for name, routine in ROUTINES.items():
        result[name] = partial(routine.compile, np.dtype("float32"))
    return dict(sorted(result.items()))


def worker():
    """Print the seconds that each kernel takes to compile."""
    from numba import njit

    njit(lambda x: x + 1)(1)  # starts the compiler
    times = {}
    for name, compiled in kernels().items():
        start = time.perf_counter()
        compiled()
        times[name] = time.perf_counter() - start
    json.dump(times, sys.stdout)


def seconds_until(text, arguments, cache):
    """Time from the start of a process to the first line of its output that starts with ``text``."""
    environment = {**os.environ, "FASTBP_CACHE_DIR": cache}
    start = time.perf_counter()
    command, streams = [sys.executable, *arguments], {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, env=environment, text=True, **streams) as process:
        for line in process.stdout:
            if line.startswith(text):
                elapsed = time.perf_counter() - start
                process.communicate()
                return elapsed
    raise RuntimeError(f"{' '.join(command)} never printed {text}")


def measure():
    """Seconds by kernel, and by kind of start."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "FASTBP_CACHE_DIR": cache}
        command = [sys.executable, __file__, "--worker"]
        result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    starts = {}
    for name, (text, arguments, times) in STARTS.items():
        with tempfile.TemporaryDirectory() as cache:
            starts[name] = min(seconds_until(text, arguments, cache) for _ in range(times))
    return {"compile": json.loads(result.stdout), "start": starts}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_json(parser)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker()
        return
    measured = measure()
    if as_json(arguments, measured):
        return
    out = sys.stdout.write
    for head, times in (("kernel", measured["compile"]), ("start of a process", measured["start"])):
        out(f"| {head} | seconds |\n| --- | --- |\n")
        out("".join(f"| {name} | {seconds:.2f} |\n" for name, seconds in times.items()))
        out("\n")
    out(f"all kernels: {sum(measured['compile'].values()):.1f} s\n")


if __name__ == "__main__":
    main()
