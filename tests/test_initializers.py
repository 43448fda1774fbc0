"""Initial weights: their spread, the choice among them, and functions of one's own."""

import math

import numpy as np
import pytest

import fastbp as fb
from fastbp import initializers

SHAPE = (300, 200)  # O, I


def spread(w, expected):
    """The standard deviation of n numbers is known to 5 times its standard error, at most 1 / sqrt(2 n) of it."""
    assert w.std() == pytest.approx(expected, rel=5 / math.sqrt(2 * w.size))
    assert abs(w.mean()) <= 5 * expected / math.sqrt(w.size)


def test_spread():
    rng = np.random.default_rng(0)
    spread(initializers.he(SHAPE, rng), math.sqrt(2 / 200))
    spread(initializers.lecun(SHAPE, rng), math.sqrt(1 / 200))
    w = initializers.glorot(SHAPE, rng)
    limit = math.sqrt(6 / 500)
    spread(w, limit / math.sqrt(3))
    assert np.abs(w).max() <= limit
    assert np.abs(w).max() > 0.99 * limit


def test_window_of_a_convolution_counts():
    rng = np.random.default_rng(1)
    spread(initializers.he((64, 16, 3, 3), rng), math.sqrt(2 / (16 * 9)))
    spread(initializers.glorot((64, 16, 3, 3), rng), math.sqrt(2 / (80 * 9)))


@pytest.mark.parametrize(("layer", "expected"), [(fb.ReLU(), "he"), (fb.LeakyReLU(), "he"), (fb.Tanh(), "glorot")])
def test_default_depends_on_the_activation_behind(layer, expected):
    net = fb.Sequential(fb.Affine(30), layer, fb.Affine(10), input_shape=20, dtype="float64", seed=3)
    rng = np.random.default_rng(3)
    first, bias, second, _ = (p.value for p in net.parameters())
    np.testing.assert_array_equal(first, initializers.get(expected, "layer")((30, 20), rng))
    np.testing.assert_array_equal(second, initializers.glorot((10, 30), rng))
    np.testing.assert_array_equal(bias, 0)


def test_choice_by_name_and_by_function():
    net = fb.Sequential(fb.Affine(30, init="lecun"), fb.ReLU(), input_shape=20, dtype="float64", seed=3)
    np.testing.assert_array_equal(net.parameters()[0].value, initializers.lecun((30, 20), np.random.default_rng(3)))
    net = fb.Sequential(fb.Affine(2, init=lambda shape, rng: np.arange(6).reshape(shape)), input_shape=3)
    np.testing.assert_array_equal(net.parameters()[0].value, [[0, 1, 2], [3, 4, 5]])


def test_unknown_name():
    with pytest.raises(ValueError, match="init must be a function or one of he, glorot, lecun, got 'best'"):
        fb.Affine(3, init="best")


def test_function_that_gives_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 3\)"):
        fb.Sequential(fb.Affine(4, init=lambda shape, rng: np.zeros(3)), input_shape=3)


@pytest.mark.parametrize("order", ["C", "F"])
def test_array_that_a_function_gives_is_not_trained_in_place(order):
    w = np.ones((2, 3), order=order)
    net = fb.Sequential(fb.Affine(2, init=lambda shape, rng: w), input_shape=3, dtype="float64")
    net.parameters()[0].value[...] = 5
    np.testing.assert_array_equal(w, 1)


def test_dtypes_draw_the_same_numbers():
    single = fb.Sequential(fb.Affine(4), input_shape=3, dtype="float32", seed=1).parameters()[0].value
    double = fb.Sequential(fb.Affine(4), input_shape=3, dtype="float64", seed=1).parameters()[0].value
    np.testing.assert_array_equal(single, double.astype(np.float32))
