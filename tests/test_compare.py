"""The comparison with other libraries compares the same thing: their steps give the same losses."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parents[1] / "benchmarks" / "compare.py"
SIZES, BATCH = [64, 100, 10], 32


@pytest.fixture(scope="module")
def compare():
    spec = importlib.util.spec_from_file_location("compare", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def losses(make, compare, steps=20):
    step = make(*compare.data(SIZES, BATCH))
    return [step() for _ in range(steps)]


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_steps_agree(compare, library):
    """To the rounding of float32: sums of at most 100 terms, carried through 20 steps."""
    function, package = compare.LIBRARIES[library]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{library} is not installed")
    ours = losses(compare.fastbp_step, compare)
    theirs = losses(function, compare)
    np.testing.assert_allclose(ours, theirs, rtol=20 * 100 * np.finfo(np.float32).eps)
    assert ours[-1] < ours[0]


def test_missing_libraries_are_named(compare, monkeypatch, capsys):
    monkeypatch.setitem(compare.LIBRARIES, "sklearn", (None, "no_such_library"))
    arguments = ["--libraries", "sklearn", "--networks", "64-100-10", "--threads", "1", "--rounds", "0"]
    monkeypatch.setattr(sys, "argv", ["compare.py", *arguments])
    compare.main()
    assert "sklearn is not installed and left out" in capsys.readouterr().out
