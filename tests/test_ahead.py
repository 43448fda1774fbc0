"""Other processes compile kernels into the cache of this one, and none of it is needed."""

import subprocess
import sys

import numpy as np
import pytest
from test_cache import run, start

from fastbp.kernels import _ahead
from fastbp.kernels._jit import ROUTINES

NAMES = ["grid_tile.grid_tile", "grid_copy.copy_to_grid", "tap_tile.tap_tile"]
SLOW = ["gemm.multiply", "correlate.correlate", "winograd.correlate_transformed", "tap_sums.sum_taps"]
PROGRAM = f"""
import time
import numpy as np
from fastbp.kernels import _ahead
names, dtype = {NAMES}, np.dtype("float32")
assert _ahead.missing(names, dtype) == names
with _ahead.compiling(names, dtype):
    stop = time.monotonic() + 120
    while len(_ahead.missing(names, dtype)) > {{left}} and time.monotonic() < stop:
        time.sleep(0.1)
print(_ahead.missing(names, dtype), _ahead.missing(names, np.dtype("float64")) == names)
"""


@pytest.mark.parametrize("threads", ["2", "3"])
def test_helpers_fill_the_cache(tmp_path, threads):
    assert run(tmp_path, PROGRAM.format(left=0), NUMBA_NUM_THREADS=threads) == ("[] True", "")


def test_one_processor_has_no_helper(tmp_path):
    assert run(tmp_path, PROGRAM.format(left=3), NUMBA_NUM_THREADS="1") == (f"{NAMES} True", "")


def test_a_helper_that_cannot_start_is_not_missed(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with _ahead.compiling(NAMES, np.dtype("float32")):
        pass


def test_helpers_end_with_the_body(monkeypatch):
    started = []
    original = subprocess.Popen
    monkeypatch.setattr(_ahead._runtime, "get_num_threads", lambda: 2)
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(original(*a, **k)) or started[-1])
    with pytest.raises(KeyboardInterrupt), _ahead.compiling(NAMES, np.dtype("float32")):
        raise KeyboardInterrupt
    assert [helper.poll() is not None for helper in started] == [True]


ORPHANS = f"""
import subprocess, threading
import numpy as np
subprocess.DEVNULL = None  # helpers hold this process's output open for as long as they live
from fastbp.kernels import _ahead
with _ahead.compiling({SLOW}, np.dtype("float32")):
    print("started", flush=True)
    threading.Event().wait()
"""


def test_helpers_end_with_a_process_that_is_killed(tmp_path):
    parent = start(tmp_path, ORPHANS, NUMBA_NUM_THREADS="2")
    assert parent.stdout.readline() == "started\n"
    parent.kill()
    parent.communicate(timeout=300)
    assert len(list(tmp_path.rglob("*.bin"))) < len(SLOW)  # else the helper went on to its end


@pytest.mark.parametrize("filters", [[], [64], [64, 8, 64], [64, 128]], ids=len)
def test_the_names_are_those_of_kernels(filters):
    names = _ahead.kernels_of(filters)
    assert set(names) <= ROUTINES.keys()
    assert any(name.startswith("winograd") for name in names) == (filters == [64, 128])
    assert len(set(names)) == len(names)
