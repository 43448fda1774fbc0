"""The networks of the command line: shapes of their layers, and what is taken for an image."""

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
