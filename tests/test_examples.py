"""The runnable examples of the textbook: what they print, and their numbers."""

import importlib.util
import itertools
import re
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "examples"
EPS = float(np.finfo(np.float64).eps)


def load(name):
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_every_example_runs_and_says_how(path, capsys):
    module = load(path.stem)
    assert f"python docs/examples/{path.name}" in module.__doc__
    module.main()
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) >= 3
    assert "nan" not in printed


def test_shopping_r3(capsys):
    shopping = load("shopping")
    total, variables = shopping.apples()
    total.backward()
    assert float(total) == pytest.approx(220, rel=4 * EPS)
    gradients = {name: float(x.grad) for name, x in variables.items()}
    assert gradients == pytest.approx({"apple price": 2.2, "apple count": 110, "tax": 200}, rel=4 * EPS)
    total, variables = shopping.apples_and_oranges()
    total.backward()
    assert float(total) == pytest.approx(715, rel=4 * EPS)
    gradients = {name: float(x.grad) for name, x in variables.items()}
    expected = {"apple price": 2.2, "apple count": 110, "orange price": 3.3, "orange count": 165, "tax": 650}
    assert gradients == pytest.approx(expected, rel=4 * EPS)
    shopping.main()
    printed = capsys.readouterr().out
    assert "d total / d orange price  3.3" in printed
    assert 'n4 -->|"1.1<br/>∂ 650"| n8' in printed


def test_square_of_a_sum():
    z, x, y = load("square_of_a_sum").square_of_a_sum(2.5, -0.75)
    assert float(z) == 1.75**2
    assert float(x.grad) == float(y.grad) == 2 * 1.75
    assert float(z.source.inputs[0].grad) == 2 * 1.75


@pytest.mark.parametrize("way", ["by_graph", "by_layers", "by_loops"])
def test_three_layer_net_r1(way):
    function = getattr(load("three_layer_net"), way)
    y, dw1, dw2 = function(False)
    assert y == 33
    np.testing.assert_array_equal(dw2, [[286, 0]])
    np.testing.assert_array_equal(dw1, [[156, 234, 78], [0, 0, 0]])
    y, dw1, dw2 = function(True)
    assert f"{y:.8f}" == "0.95257194"
    assert [f"{value:.8e}" for value in dw2[0]] == ["-1.72104507e+00", "-1.43112111e-06"]
    assert [f"{value:.8e}" for value in dw1.ravel()] == [
        *("-1.72463398e-04", "-2.58695098e-04", "-8.62316992e-05"),
        *("-5.72447970e-06", "-8.58671954e-06", "-2.86223985e-06"),
    ]


def test_outer_product_r4_and_slope_r5():
    example = load("three_layer_net")
    stored = example.outer_product([1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0])
    expected = np.array([[4, 5, 6, 7], [8, 10, 12, 14], [12, 15, 18, 21]])
    assert all(stored[i + 3 * j] == expected[i, j] for i in range(3) for j in range(4))
    gradient, slope = example.slope_of_a_bias()
    assert gradient == -2
    # the loss, 3, is rounded before and after, and the difference divided by 0.001
    assert slope == pytest.approx(-2, abs=2 * 4 * EPS / 0.001)


@pytest.mark.parametrize("decay", [0.0, 0.03])
def test_weight_decay(decay):
    example = load("weight_decay")
    data = example.batch()
    _, dw1, dw2 = example.by_graph(*data, decay)
    expected = example.by_formula(*data, decay)
    # sums over 20 samples, 9 hidden units and 6 inputs of terms of size one
    np.testing.assert_allclose(dw1, expected[0], rtol=0, atol=4 * 35 * EPS)
    np.testing.assert_allclose(dw2, expected[1], rtol=0, atol=4 * 35 * EPS)
    assert np.abs(expected[0]).max() > 0.01


def test_one_sample_at_a_time():
    example = load("one_sample_at_a_time")
    x, t = example.samples(300)
    weights, errors = example.by_graph(x, t)
    expected, expected_errors = example.by_recursion(x, t)
    # each step rounds sums of at most six terms
    for made, formula, start in zip(weights, expected, example.start(), strict=True):
        np.testing.assert_allclose(made, formula, rtol=0, atol=300 * 6 * EPS)
        assert np.abs(made - start).max() > 0.05
    np.testing.assert_allclose(errors, expected_errors, rtol=0, atol=300 * 6 * EPS)


def test_basis_functions():
    example = load("basis_functions")
    x, t = example.data()
    w = example.Variable(np.arange(6.0), "w")
    centres = example.Variable(np.linspace(0, 1, 6), "c")
    phi = example.design_matrix(x, centres)
    expected = np.exp(-((x[:, None] - centres.value) ** 2) / (2 * example.WIDTH**2))
    np.testing.assert_allclose(phi.value, expected, rtol=64 * EPS)
    e = example.squared_error(phi, w, t)
    e.backward()
    rest = expected @ w.value - t
    np.testing.assert_allclose(w.grad, 2 / 60 * expected.T @ rest, rtol=0, atol=60 * 64 * EPS)
    slopes = expected * (x[:, None] - centres.value) / example.WIDTH**2
    np.testing.assert_allclose(centres.grad, 2 / 60 * (slopes * w.value).T @ rest, rtol=0, atol=60 * 640 * EPS)
    fixed, _, _ = example.fit(3000, learns_centres=False)
    learned, _, centres = example.fit(3000, learns_centres=True)
    assert learned < fixed
    assert np.abs(centres - np.linspace(0, 1, 6)).max() > 0.001


def test_vanishing_gradient_r10(tmp_path, capsys, monkeypatch):
    example = load("vanishing_gradient")
    sigmoid = example.norms("sigmoid", 20)
    assert sigmoid[0] < 1e-9 * sigmoid[-1]
    # layer by layer at most the slope, 0.25, times the largest factor of the weights
    assert all(low < 0.6 * high for low, high in itertools.pairwise(sigmoid))
    for activation in ("tanh", "relu"):
        found = example.norms(activation, 20)
        assert 0.01 < found[0] / found[-1] < 10
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    example.main(str(tmp_path / "plot.svg"))
    assert capsys.readouterr().out.splitlines()[-1] == "matplotlib is not installed: no plot"


def test_vanishing_gradient_is_plotted(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    load("vanishing_gradient").main(str(tmp_path / "plot.svg"))
    assert re.search("<svg", (tmp_path / "plot.svg").read_text())
    assert "plot written to" in capsys.readouterr().out
