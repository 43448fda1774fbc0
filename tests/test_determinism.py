"""The same seed gives bitwise the same weights: for every number of threads, and in every run."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import fastbp as fb


def digest(threads, dtype="float32", loss=None):
    """Hash of all that training gives, at sizes above the work from which kernels run in parallel."""
    fb.set_num_threads(threads)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(700, 150)), rng.integers(0, 37, 700)
    layers = [fb.Affine(301), fb.ReLU(), fb.Affine(203), fb.Tanh(), fb.Affine(37)]
    net = fb.Sequential(*layers, input_shape=150, dtype=dtype, seed=5)
    loss = loss or fb.SoftmaxCrossEntropy()
    history = net.fit(x, np.eye(37)[y], loss=loss, optimizer=fb.SGD(0.1), l2=1e-4, batch_size=233, epochs=3)
    parts = [p.value.tobytes() for p in net.parameters()] + [net.predict(x).tobytes(), repr(dict(history)).encode()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="Numba's pool has one thread")
@pytest.mark.parametrize("loss", [fb.SoftmaxCrossEntropy(), fb.MeanSquaredError(), fb.SigmoidCrossEntropy()], ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_and_two_threads(dtype, loss, restore_threads):
    assert digest(1, dtype, loss) == digest(2, dtype, loss)


def test_one_two_and_four_threads_in_another_process():
    code = "from test_determinism import digest; print(*(digest(threads) for threads in (4, 1, 2, 4)))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        env={**os.environ, "NUMBA_NUM_THREADS": "4"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    digests = run.stdout.split()
    assert len(digests) == 4
    assert len(set(digests)) == 1


def test_run_to_run(restore_threads):
    threads = fb.get_num_threads()
    assert digest(threads) == digest(threads)


def test_another_seed_gives_other_weights():
    first, second = (fb.Sequential(fb.Affine(5), input_shape=5, seed=seed).parameters()[0].value for seed in (0, 1))
    assert (first != second).all()
    free = [fb.Sequential(fb.Affine(5), input_shape=5).parameters()[0].value for _ in range(2)]
    assert (free[0] != free[1]).all()


def test_global_state_of_numpy_is_untouched_and_unused():
    def run():
        x, y = fb.datasets.load_digits()
        (x, y), _ = fb.datasets.split(x, y)
        net = fb.Sequential(fb.Affine(20), fb.ReLU(), fb.Affine(10), input_shape=64, seed=0)
        net.fit(x, y, loss=fb.SoftmaxCrossEntropy(), optimizer=fb.SGD(0.1))
        fb.check_gradients(net, x[:2], y[:2], loss=fb.SoftmaxCrossEntropy(), samples=5)
        return hashlib.sha256(net.predict(x).tobytes()).hexdigest()

    kept = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(1)  # noqa: NPY002
        before = np.random.get_state()  # noqa: NPY002
        first = run()
        after = np.random.get_state()  # noqa: NPY002
        np.testing.assert_array_equal(before[1], after[1])
        assert before[2:] == after[2:]
        np.random.seed(2)  # noqa: NPY002
        assert run() == first
    finally:
        np.random.set_state(kept)  # noqa: NPY002
