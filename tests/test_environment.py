"""Variables with which Numba cannot start, or kernels cannot run, are refused in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastbp
from fastbp.kernels import _environment

ROOT = Path(fastbp.__file__).parents[1]


@pytest.mark.parametrize("text", ["0", "-3", "abc", "", "1.5"])
def test_numbers_of_threads_that_numba_cannot_take(monkeypatch, text):
    monkeypatch.setenv("NUMBA_NUM_THREADS", text)
    with pytest.raises(
        ImportError, match=f"^fastbp: NUMBA_NUM_THREADS must be an integer of at least 1, got '{text}'$"
    ):
        _environment._require_threads()


@pytest.mark.parametrize("text", [None, "1", "64", " 2 "])
def test_numbers_of_threads_that_it_can(monkeypatch, text):
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    if text:
        monkeypatch.setenv("NUMBA_NUM_THREADS", text)
    _environment._require_threads()


@pytest.mark.parametrize(
    ("variable", "text"), [("NUMBA_NUM_THREADS", "0"), ("NUMBA_NUM_THREADS", "abc"), ("NUMBA_DISABLE_JIT", "1")]
)
def test_the_import_fails_with_one_line(variable, text):
    program = "try:\n    import fastbp\nexcept ImportError as error:\n    print(error)"
    environment = os.environ | {"PYTHONPATH": str(ROOT), variable: text}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=environment, cwd=ROOT, text=True, capture_output=True, timeout=300)
    assert (result.returncode, result.stderr) == (0, "")
    (line,) = result.stdout.splitlines()
    assert line.startswith("fastbp: ")
    assert variable in line
