"""The networks of the command line: shapes of their layers, what is taken for an image, and how they are trained."""

import numpy as np
import pytest

import fastbp as fb
from fastbp import recipes


def shapes(layers, shape):
    return fb.Sequential(*layers, input_shape=shape, seed=0).shapes


def test_perceptron():
    assert shapes(recipes.perceptron((5,), [4], "tanh", 3), (5,)) == [(5,), (4,), (4,), (3,)]
    assert shapes(recipes.perceptron((2, 3), [], "relu", 3), (2, 3)) == [(2, 3), (6,), (3,)]


def test_convolutional():
    """Two halvings of 8 x 8; an image of one row, or of an odd number of columns, is halved as far as it goes."""
    of_digits = shapes(recipes.convolutional((1, 8, 8), [4, 6], [5], "relu", 10), (1, 8, 8))
    assert of_digits[3] == (4, 4, 4)
    assert of_digits[6:] == [(6, 2, 2), (24,), (5,), (5,), (10,)]
    assert shapes(recipes.convolutional((3, 1, 7), [4, 6, 8, 2], [], "tanh", 2), (3, 1, 7))[-2:] == [(2,), (2,)]


@pytest.mark.parametrize(
    ("given", "shape"),
    [((4, 3, 5, 6), (4, 3, 5, 6)), ((4, 5, 6), (4, 1, 5, 6)), ((4, 64), (4, 1, 8, 8)), ((4, 1), (4, 1, 1, 1))],
)
def test_images(given, shape):
    x = np.arange(np.prod(given)).reshape(given)
    images = recipes.as_images(x)
    assert images.shape == shape
    np.testing.assert_array_equal(images.reshape(-1), x.reshape(-1))


@pytest.mark.parametrize("shape", [(4, 63), (4,), (4, 2, 2, 2, 2)])
def test_no_images(shape):
    with pytest.raises(ValueError, match=r"x must hold images, \(N, H, W\) or \(N, C, H, W\)"):
        recipes.as_images(np.zeros(shape))


def test_few_batches_are_seen_more_often():
    recipe = recipes.Recipe([], [8], 0.1, epochs=10, steps=3000)
    assert [recipe.epochs_for(batches) for batches in (1, 7, 299, 300, 301, 1500)] == [3000, 429, 11, 10, 10, 10]


def test_the_rate_falls_to_0_along_a_line():
    rate = recipes.falling(0.4, 8)
    np.testing.assert_allclose([rate(step) for step in (0, 2, 4, 7, 8, 9)], [0.4, 0.3, 0.2, 0.05, 0, 0], rtol=1e-15)


def test_the_rate_is_less_where_steps_would_overshoot():
    rng = np.random.default_rng(0)
    recipe, one = recipes.Recipe([], [8, 8], 0.3, 1, 1), rng.normal(size=(300, 1))
    many, alike = rng.normal(size=(300, 400)), np.repeat(one, 400, axis=1)

    def rate(x, hidden=(8, 8)):
        return recipes.rate_for(recipe, hidden, fb.Standardize.of(x), x)

    assert rate(one) == rate(many) == rate(many, [8]) == rate(many, []) == 0.3
    assert rate(many, [8] * 6) == pytest.approx(0.1)
    # the largest eigenvalue for 400 copies of a number of variance 1, over 256 of the 300 samples
    z = fb.Sequential(fb.Standardize.of(one), input_shape=1).predict(one)[:256]
    assert rate(alike) == pytest.approx(30 / (400 * np.square(z).mean()), rel=0.05)
    assert rate(alike.reshape(300, 20, 20)) == rate(alike)
    assert rate(np.ones((3, 2))) == 0.3


@pytest.mark.parametrize(
    ("x", "dtype"),
    [
        (np.arange(10)[:, None], "float32"),
        (1.0e6 + np.arange(100.0)[:, None], "float64"),
        ((1.0e6 + np.arange(100.0)[:, None]).astype(np.float32), "float32"),
        (np.full((10, 1), 1e9), "float32"),
        (2000 + np.arange(20)[:, None], "float32"),
        (np.stack([np.arange(20), 1_700_000_000 + np.arange(20)], axis=1), "float64"),
        (np.arange(24, dtype=np.uint8).reshape(2, 3, 4), "float32"),
        (1e9 + np.arange(24.0).reshape(2, 1, 3, 4), "float64"),
        (1e30 * np.arange(10.0)[:, None], "float32"),
        (1e38 * np.arange(10.0)[:, None], "float64"),
        (-1e38 * np.arange(10.0)[:, None], "float64"),
        (1e-38 * np.arange(10.0)[:, None], "float32"),
        (1e-39 * np.arange(10.0)[:, None], "float64"),
        (np.stack([np.arange(10.0), 1e-60 * np.arange(10)], axis=1), "float64"),
    ],
)
def test_the_dtype_that_keeps_what_inputs_differ_in(x, dtype):
    assert recipes.dtype_for(x) == dtype


def test_the_largest_eigenvalue():
    rng = np.random.default_rng(1)
    for features in (1, 5, 300):
        z = rng.normal(size=(50, features)) * np.linspace(1, 3, features)
        a = z @ z.T
        assert recipes._largest_eigenvalue(a) == pytest.approx(np.linalg.norm(a, 2), rel=0.05)
    assert recipes._largest_eigenvalue(np.zeros((3, 3))) == 0
