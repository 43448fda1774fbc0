"""The threads of the kernels: many Python threads at once, forked children, and helpers that do not come."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import reference

import fastbp
from fastbp import kernels
from fastbp.kernels import _runtime, _threads

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
print(wrong)
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
print(codes, all(pooled), serve(3))
"""
# Numba's threads are those of GNU OpenMP here, which ends a child that uses them after its parent has
FORK_BESIDE_NUMBA = """
import numba
numba.get_num_threads()

@numba.njit(parallel=True)
def double(x):
    for i in numba.prange(x.size):
        x[i] *= 2

double(np.ones(1000))
"""
# a child whose parent is about to compile
FORK_WHILE_COMPILING = """
import numba

def compile_more():
    for n in range(8):
        exec(f"def f(x):\\n    return x.sum() + {n}", namespace := {})
        numba.njit(namespace["f"])(np.ones((3, 3)))

thread = threading.Thread(target=compile_more)
thread.start()
codes = []
while thread.is_alive():
    child = os.fork()
    if child == 0:
        u = np.ones((2, 2))
        fb.kernels.log_softmax_forward(u, np.empty((2, 2)))  # to be compiled, or loaded
        os._exit(0)
    codes.append(os.waitpid(child, 0)[1])
print(set(codes))
"""


def output(program, pool=4):
    environment = {**os.environ, "NUMBA_NUM_THREADS": str(pool), "FASTBP_NUM_THREADS": "2"}
    command = [sys.executable, "-W", "ignore", "-c", PREPARE + program]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")


def test_eight_python_threads_train_and_predict_at_once():
    assert output(THREADS) == "[]"


@needs_fork
def test_forked_children_of_a_process_that_has_trained():
    assert output(FORK) == "[0, 0, 0] True True"


@needs_fork
def test_forked_children_of_a_process_with_threads_of_numba():
    assert output(FORK_BESIDE_NUMBA + FORK) == "[0, 0, 0] True True"


@needs_fork
def test_children_forked_while_another_thread_compiles():
    assert output(FORK_WHILE_COMPILING) == "{0}"


def product(n=200):
    x = np.arange(n * n, dtype=np.float32).reshape(n, n) % 7
    out = np.full((n, n), np.nan, np.float32)
    kernels.matmul(x, x, out)
    return x, out


@pytest.mark.usefixtures("restore_threads")
@pytest.mark.skipif(_runtime.numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
def test_a_pool_without_helpers_does_everything(monkeypatch):
    fastbp.set_num_threads(2)
    assert _runtime.PARALLEL_WORK <= 200**3
    _, expected = product()
    pool = _threads._Pool()
    monkeypatch.setattr(_threads.POOL, "address", lambda threads: pool._address)
    reference.assert_bitwise(product()[1], expected)


@pytest.mark.usefixtures("restore_threads")
@pytest.mark.skipif(_runtime.numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
def test_threads_that_cannot_be_started_are_done_without(monkeypatch):
    fastbp.set_num_threads(2)
    x, _ = product()

    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    pool = _threads._Pool()
    monkeypatch.setattr(_threads, "POOL", pool)
    monkeypatch.setattr("fastbp.kernels._program.POOL", pool)
    np.testing.assert_array_equal(product()[1], x @ x)


@pytest.mark.usefixtures("restore_threads")
@pytest.mark.skipif(_runtime.numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
def test_a_pool_in_use_is_not_waited_for():
    fastbp.set_num_threads(2)
    _, expected = product()
    words = _threads.POOL._words
    words[_threads.TAKEN] = 1
    try:
        reference.assert_bitwise(product()[1], expected)
        assert words[_threads.TAKEN] == 1
    finally:
        words[_threads.TAKEN] = 0


FALL_ASLEEP = """
from fastbp.kernels import _threads

fb.set_num_threads(4)
for seed in range(3):
    while _threads.POOL._words[_threads.SLEEPING] < (0, 3, 3)[seed]:  # before the first training there are none
        pass
    assert train(seed) == expected[seed]
print("done")
"""


def test_helpers_fall_asleep_and_wake_up_again():
    assert output(FALL_ASLEEP) == "done"


FEWER_AND_MORE = """
from fastbp.kernels import _threads

_runtime.PARALLEL_WORK = 0
x, out = np.ones(40), np.empty(40)
for number in range(150_000):
    _threads.POOL._words[_threads.UNTIL] = 0
    _runtime._set(2 if number % 2 else 16)
    fb.kernels.relu_forward(x, out)
print("done")
"""


def test_a_share_that_was_taken_is_done_when_the_next_job_is_for_fewer_threads():
    """A helper that is stopped before it takes a share may go on in a later job, which is not for as many."""
    assert output(FEWER_AND_MORE, pool=16) == "done"


HANDLER = """
import signal
from fastbp.kernels import _threads

computed = []

def handler(*_):
    out = np.empty((300, 300), np.float32)
    fb.kernels.matmul(a, a, out)
    computed.append(out)

def interrupted(self, measure=_threads._Pool._measure):
    signal.raise_signal(signal.SIGINT)
    measure(self)

signal.signal(signal.SIGINT, handler)
_threads._Pool._measure = interrupted
a, out = np.ones((300, 300), np.float32), np.empty((300, 300), np.float32)
_threads.POOL.stop()
_threads.POOL._reset()  # as in a process that has used no threads yet
fb.kernels.matmul(a, a, out)
print(len(computed), (out == 300).all(), (computed[0] == 300).all())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_handler_may_compute_while_the_threads_start():
    assert output(HANDLER) == "1 True True"


@pytest.mark.usefixtures("restore_threads")
@pytest.mark.skipif(_runtime.numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
def test_a_clock_that_starts_anew_does_not_keep_helpers_away():
    """As after the machine was suspended: helpers were to be done without until what the clock showed before."""
    fastbp.set_num_threads(2)
    product()
    words = _threads.POOL._words
    words[_threads.UNTIL], job = 2**62, words[_threads.WORD] >> 32
    product()
    assert words[_threads.WORD] >> 32 == job + 1
