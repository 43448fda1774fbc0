"""Each of Numba's threading layers, in a process of its own: many Python threads at once, and forked children."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

LAYERS = ("omp", "tbb", "workqueue")
# a network whose products are worth the threads, and what training it gives in a single Python thread
PREPARE = """
import hashlib, multiprocessing, os, threading
import numpy as np
import fastbp as fb
from fastbp.kernels import _runtime

rng = np.random.default_rng(0)
x, y = rng.random((256, 64), np.float32), rng.integers(0, 10, 256)

def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()

def train(seed):
    layers = fb.Affine(128), fb.ReLU(), fb.Affine(96), fb.Sigmoid(), fb.Affine(10)
    net = fb.Sequential(*layers, input_shape=64, seed=seed)
    net.fit(x, y, loss=fb.SoftmaxCrossEntropy(), optimizer=fb.SGD(0.1), batch_size=100, epochs=3)
    return digest(net.predict(x))

shared = fb.Sequential(fb.Affine(200), fb.Tanh(), fb.Affine(10), input_shape=64, seed=9)
expected = [train(seed) for seed in range(4)]
predicted = digest(shared.predict(x))
assert 256 * 64 * 128 >= _runtime.PARALLEL_WORK
"""
THREADS = """
wrong = []

def work(number):
    try:
        for _ in range(5):
            if train(number % 4) != expected[number % 4] or digest(shared.predict(x)) != predicted:
                wrong.append(number)
    except BaseException as error:
        wrong.append(error)

threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(_runtime.layer(), wrong)
"""
FORK = """
def serve(number):
    good = train(number) == expected[number] and digest(shared.predict(x)) == predicted
    return good and fb.get_num_threads() == 2

# as a server does that loads its model and then starts its workers
workers = []
for number in range(3):
    child = os.fork()
    if child == 0:
        os._exit(0 if serve(number) else 1)
    workers.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in workers]
with multiprocessing.get_context("fork").Pool(2) as pool:
    pooled = pool.map(serve, range(4))
print(_runtime.layer(), codes, all(pooled), serve(3))
"""
COUNT = """
import numba
counts = []

def work():
    fb.kernels.matmul(x, x.T, np.empty((256, 256), np.float32))
    counts.append((fb.get_num_threads(), numba.get_num_threads()))

for threads in (2, 3, 2):
    fb.set_num_threads(threads)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
print(_runtime.layer(), counts)
"""


def output(layer, program):
    environment = {**os.environ, "NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "4", "FASTBP_NUM_THREADS": "2"}
    if layer == "tbb":  # Numba finds the library that comes from PyPI on the library path only
        folder = Path(sysconfig.get_path("data")) / "lib"
        environment["LD_LIBRARY_PATH"] = f"{folder}:{environment.get('LD_LIBRARY_PATH', '')}"
    command = [sys.executable, "-W", "ignore", "-c", PREPARE + program]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    if "No threading layer could be loaded" in result.stderr:
        pytest.skip(f"the library of the layer {layer} is not installed")
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize("layer", LAYERS)
def test_eight_python_threads_train_and_predict_at_once(layer):
    assert output(layer, THREADS) == f"{layer} []"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("layer", LAYERS)
def test_forked_children_of_a_process_that_has_trained(layer):
    assert output(layer, FORK) == f"{layer} [0, 0, 0] True True"


@pytest.mark.parametrize("layer", LAYERS)
def test_the_number_of_threads_holds_in_every_python_thread(layer):
    # Numba's own count is one per Python thread, and 4 in a new one here
    assert output(layer, COUNT) == f"{layer} [(2, 2), (3, 3), (2, 2)]"
