"""How long a user waits: for the compiler the first time, for the imports ever after. All in fresh processes."""

import os
import subprocess
import sys
import tempfile
import time

STEP = """
import fastbp as fb
x, y = fb.datasets.load_digits()
net = fb.Sequential(fb.Affine(1536), fb.ReLU(), fb.Affine(10), input_shape=64, seed=0)
net.train_step(x[:32], y[:32], loss=fb.SoftmaxCrossEntropy(), optimizer=fb.SGD(0.1))
print("done", flush=True)
"""
COMPILE = """
import time
import fastbp
from fastbp.kernels import _jit

for kind in (_jit.Routine, _jit.Kernel):
    def compile(self, *arguments, compile=kind.compile):
        start = time.perf_counter()
        result = compile(self, *arguments)
        variant = "parallel" if arguments[1:] == (True,) else arguments[0].name
        module = self.function.__module__.rpartition(".")[2]
        print(f"{module}.{self.function.__name__.strip('_')} {variant}", time.perf_counter() - start)
        return result
    kind.compile = compile
"""


def seconds_until(text, command, cache):
    """Time from the start of a process to the first line of its output that starts with ``text``."""
    environment = {**os.environ, "FASTBP_CACHE_DIR": cache}
    start = time.perf_counter()
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, env=environment, text=True, **streams) as process:
        for line in process.stdout:
            if line.startswith(text):
                elapsed = time.perf_counter() - start
                process.communicate()
                return elapsed
    raise RuntimeError(f"{command} never printed {text}")


class Latency:
    unit = "seconds"
    timeout = 300

    def track_first_epoch_with_an_empty_cache(self):
        return self._first_epoch("mlp")

    def track_first_epoch_of_cnn_with_an_empty_cache(self):
        return self._first_epoch("cnn")

    def _first_epoch(self, model):
        with tempfile.TemporaryDirectory() as cache:
            command = [sys.executable, "-m", "fastbp", "train", "--model", model, "--epochs", "1"]
            return seconds_until("epoch 1", command, cache)

    def track_first_step_with_a_warm_cache(self):
        with tempfile.TemporaryDirectory() as cache:
            command = [sys.executable, "-c", STEP]
            return min(seconds_until("done", command, cache) for _ in range(6))


def compile_seconds():
    """Time that each kernel of a training step takes to compile, by name."""
    with tempfile.TemporaryDirectory() as cache:
        result = subprocess.run(
            [sys.executable, "-c", COMPILE + STEP],
            env={**os.environ, "FASTBP_CACHE_DIR": cache},
            capture_output=True,
            text=True,
            check=True,
        )
    lines = [line.rpartition(" ") for line in result.stdout.splitlines() if line != "done"]
    return {name: float(seconds) for name, _, seconds in lines}


class Compile:
    unit = "seconds"
    timeout = 300

    def track_all_kernels_of_a_step(self):
        return sum(compile_seconds().values())


if __name__ == "__main__":
    for name, seconds in compile_seconds().items():
        sys.stdout.write(f"{seconds:6.2f} s  {name}\n")
    for name in (method for method in dir(Latency) if method.startswith("track")):
        sys.stdout.write(f"{getattr(Latency(), name)():6.2f} s  {name.removeprefix('track_').replace('_', ' ')}\n")
