"""The comparisons with other libraries compare the same thing: equal losses of their steps, and equal products."""

import importlib
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
PERCEPTRON = 32, (64,), [100, 10]
CNN = 8, (2, 12, 12), [(6, 3, 1), "pool", (5, 3, 0), "pool", 20, 10]


def load(name):
    """A script of the benchmarks as a module."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def compare():
    return load("compare")


@pytest.fixture(scope="module")
def products():
    return load("products")


@pytest.fixture(autouse=True)
def torch_as_it_was():
    """The scripts switch the gradients of PyTorch off for good, each in a process of its own; here others follow."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_grad_enabled(True)


def losses(make, compare, network, steps=20):
    step = make(*compare.data(*network))
    return [step() for _ in range(steps)]


@pytest.mark.parametrize(
    ("library", "network"),
    [("numpy", PERCEPTRON), ("torch", PERCEPTRON), ("jax", PERCEPTRON), ("torch", CNN), ("jax", CNN)],
    ids=["numpy", "torch", "jax", "torch CNN", "jax CNN"],
)
def test_steps_agree(compare, library, network):
    """To the rounding of float32: sums of at most 144 * 8 terms for a filter, carried through 20 steps."""
    function, package = compare.LIBRARIES[library]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{library} is not installed")
    ours = losses(compare.fastbp_step, compare, network)
    theirs = losses(function, compare, network)
    terms = 100 if network is PERCEPTRON else 144 * 8
    np.testing.assert_allclose(ours, theirs, rtol=20 * terms * np.finfo(np.float32).eps)
    assert ours[-1] < ours[0]


def test_missing_libraries_are_named(compare, monkeypatch, capsys):
    monkeypatch.setitem(compare.LIBRARIES, "sklearn", (None, "no_such_library"))
    arguments = ["--libraries", "sklearn", "--networks", "64-100-10", "--threads", "1", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", ["compare.py", *arguments])
    compare.main()
    assert "sklearn is not installed and left out" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("product", ["square 70", "forward 30,64,50", "dw 30,64,50", "dx 30,64,50"])
def test_products_agree(products, library, product, dtype):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    results = []
    for name in ("fastbp", library):
        kind, arrays = products.operands(product, dtype)
        products.CALLS[name](kind, arrays)()
        results.append(np.array(arrays["out"]))
    # sums of at most 70 terms of size 1, in another order
    np.testing.assert_allclose(*results, rtol=0, atol=70 * 4 * np.finfo(dtype).eps)


def test_ratio_to_the_fastest_other_library():
    timing = load("timing")
    assert timing.ratio({"fastbp": 2.0, "numpy": 3.0, "torch": 5.0}) == 1.5
    assert timing.ratio({"fastbp": 2.0}) is None
    assert timing.ratio({"fastbp": 2.0, "numpy": 3.0, "torch": None}) is None
    assert timing.mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)


def test_libraries_take_turns(monkeypatch):
    """The best of the rounds counts; a library that fails in one of them has failed."""
    timing = load("timing")
    first, second = {"a": [2.0, 5.0], "b": [1.0, 1.0]}, {"a": [3.0, 4.0], "b": [9.0, 9.0]}
    results = iter([first, None, second, second])  # fastbp, torch, fastbp, torch
    monkeypatch.setattr(timing, "in_process", lambda *arguments, threads: next(results))
    best = timing.take_turns("script", ["fastbp", "torch"], 2, ["a", "b"], 0.1, threads=1)
    assert best == {"a": {"fastbp": [2.0, 4.0], "torch": None}, "b": {"fastbp": [1.0, 1.0], "torch": None}}


@pytest.mark.parametrize("layer", load("convolutions").LAYERS)
def test_convolutions_agree(layer):
    """Sums of at most 32 * 1024 products of normal numbers, of which none is beyond 36; half of them may be one way."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    convolutions = load("convolutions")
    results = []
    for library in convolutions.LIBRARIES:
        forward, backward, arrays = convolutions.CALLS[library](layer, convolutions.operands(layer))
        forward()
        backward()
        results.append(arrays())
    ours, theirs = results
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        length = 32 * 1024 if name in ("dw", "db") else 1152
        np.testing.assert_allclose(
            value, theirs[name], rtol=0, atol=length * 18 * np.finfo(np.float32).eps, err_msg=name
        )
