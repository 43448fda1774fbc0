"""Threads: their number, results that do not depend on it, and processes and threads that share the kernels."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
import reference
import strategies

import fastbp
from fastbp import kernels
from fastbp.kernels import _runtime

POOL = numba.config.NUMBA_NUM_THREADS
VARIABLES = ("FASTBP_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS")


def run(program, **variables):
    clean = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=clean | variables, capture_output=True, text=True, timeout=300, check=False)


def output(program, **variables):
    result = run(program, **variables)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


pytestmark = pytest.mark.usefixtures("restore_threads")

WRONG = [0, -1, 1.5, True, False, np.True_, "two", None, POOL + 1, 10**400, float("nan"), float("inf"), [1]]


@pytest.mark.parametrize("threads", WRONG, ids=lambda threads: repr(threads)[:8])
def test_wrong_numbers_are_refused(threads):
    before = fastbp.get_num_threads()
    with pytest.raises(ValueError, match="threads must be an integer from 1 to"):
        fastbp.set_num_threads(threads)
    assert fastbp.get_num_threads() == before


@pytest.mark.parametrize("threads", [1, POOL, np.int64(1)])
def test_set_num_threads(threads):
    fastbp.set_num_threads(threads)
    assert fastbp.get_num_threads() == threads


GET = "import fastbp; print(fastbp.get_num_threads())"


def test_environment():
    assert output(GET, FASTBP_NUM_THREADS="3", NUMBA_NUM_THREADS="4") == ["3"]
    assert output(GET, FASTBP_NUM_THREADS="", NUMBA_NUM_THREADS="1") == ["1"]


OPENMP = [
    ("1", 1),
    ("3", 3),
    ("2,1", 2),
    (" 2 ", 2),
    ("64", 4),
    ("0", 1),
    ("many", 2),
    ("", 2),
    ("-1", 2),
    ("9" * 5000, 2),
]


@pytest.mark.parametrize(("value", "threads"), OPENMP)
def test_environment_of_openmp(value, threads):
    cpus = {0, 1} & os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    if len(cpus) < 2:
        pytest.skip("two CPUs are needed, 0 and 1")
    program = "import os; os.sched_setaffinity(0, {0, 1}); " + GET
    assert output(program, OMP_NUM_THREADS=value, NUMBA_NUM_THREADS="4") == [str(threads)]
    assert output(program, OMP_NUM_THREADS=value, FASTBP_NUM_THREADS="2", NUMBA_NUM_THREADS="4") == ["2"]


@pytest.mark.parametrize("value", ["two", "9" * 5000, "0", "-1", "1.5", "1000000"])
def test_wrong_environment_is_refused_at_use(value, monkeypatch):
    monkeypatch.setitem(_runtime._state, "team", 0)
    monkeypatch.setenv("FASTBP_NUM_THREADS", value)
    with pytest.raises(ValueError, match=f"FASTBP_NUM_THREADS must be an integer from 1 to .*{value}"):
        fastbp.get_num_threads()


def test_wrong_environment_in_a_process():
    result = run(GET, FASTBP_NUM_THREADS="many")
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith("ValueError: FASTBP_NUM_THREADS must be")


def test_small_work_stays_serial():
    assert not _runtime.pays_threads(0)
    assert not _runtime.pays_threads(_runtime.PARALLEL_WORK - 1)
    assert _runtime.pays_threads(_runtime.PARALLEL_WORK)


HASHES = """
import hashlib
import numpy as np
import fastbp
from fastbp import kernels

def digest(threads, dtype):
    fastbp.set_num_threads(threads)
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(shape).astype(dtype) for shape in [(501, 130), (75, 130), (75,)])
    labels = rng.integers(0, 75, 501)
    y, delta, other, dx, dw, db = (np.empty_like(z) for z in [x @ w.T, x @ w.T, x @ w.T, x, w, b])
    kernels.affine_tanh_forward(x, w, b, y)
    value = kernels.softmax_cross_entropy(y, labels, other)
    kernels.affine_tanh_backward(other, y, x, w, delta, dx, dw, db, 0.01)
    kernels.softmax_forward(y, other)
    kernels.log_softmax_backward(other, y, delta)
    value += kernels.squared_error(y, delta, 0.1, other)
    kernels.affine_sgd_update(delta, x, w, b, 0.1, 0.01)
    kernels.sgd_update(dw, w, 0.1, 0.01)
    results = [y, delta, other, dx, dw, db, w, b, np.array(value)]
    assert all(np.isfinite(result).all() for result in results)
    return hashlib.sha256(b"".join(result.tobytes() for result in results)).hexdigest()

for dtype in ("float32", "float64"):
    print(*(digest(threads, dtype) for threads in (1, 2, 3, 4, 4, 2, 1)))
"""


def test_results_do_not_depend_on_the_number_of_threads():
    hashes = output(HASHES, NUMBA_NUM_THREADS="4")
    assert len(hashes) == 14
    assert len(set(hashes[:7])) == 1
    assert len(set(hashes[7:])) == 1
    assert hashes[0] != hashes[7]


def test_python_threads_at_once():
    jobs = [
        (strategies.normal(i, (90, 300), np.float32), strategies.normal(i + 99, (300, 80 + i), np.float32))
        for i in range(8)
    ]
    expected = [np.empty((90, 80 + i), np.float32) for i in range(8)]
    for (a, b), out in zip(jobs, expected, strict=True):
        kernels.matmul(a, b, out)

    def work(i):
        out = strategies.blank(expected[i].shape, np.float32)
        for _ in range(20):
            kernels.matmul(*jobs[i], out)
            reference.assert_bitwise(out, expected[i])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))


def test_workspace_is_aligned_and_kept():
    small = _runtime.workspace(10, np.dtype(np.float32))
    assert small.ctypes.data % 64 == 0
    large = _runtime.workspace(small.size + 1000, np.dtype(np.float32))
    assert large.size >= small.size + 1000
    assert large.ctypes.data % 64 == 0
    assert _runtime.workspace(10, np.dtype(np.float32)) is large
    assert _runtime.workspace(10, np.dtype(np.float64)) is not large


def test_workspaces_are_per_thread():
    here = _runtime.workspace(10, np.dtype(np.float32))
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(_runtime.workspace, 10, np.dtype(np.float32)).result()
    assert not np.may_share_memory(here, there)
