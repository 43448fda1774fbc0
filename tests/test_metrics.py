"""Confusion matrix and accuracy."""

import numpy as np
import pytest

import fastbp as fb

confusion_matrix, accuracy = fb.metrics.confusion_matrix, fb.metrics.accuracy


def test_confusion_matrix_counts_by_row_and_column():
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 5, 200), rng.integers(0, 5, 200)
    counts = confusion_matrix(true, predicted)
    expected = [[int(((true == i) & (predicted == j)).sum()) for j in range(5)] for i in range(5)]
    np.testing.assert_array_equal(counts, expected)
    assert counts.dtype == np.int64
    assert accuracy(true, predicted) == np.trace(counts) / 200


def test_number_of_classes():
    assert confusion_matrix([0, 1], [2, 0]).shape == (3, 3)
    assert confusion_matrix([0, 1], [1, 0], classes=4).shape == (4, 4)
    assert confusion_matrix([], []).shape == (0, 0)
    np.testing.assert_array_equal(confusion_matrix([], [], classes=2), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="class 2 does not exist among 2"):
        confusion_matrix([0, 2], [0, 1], classes=2)
    with pytest.raises(ValueError, match="class 2 does not exist among 2"):
        confusion_matrix([0, 1], [0, 2], classes=2)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint64, ">i8"])
def test_any_integers(kind):
    true = np.array([0, 200, 200, 100], kind)
    assert accuracy(true, true[::-1]) == 0.5
    counts = confusion_matrix(true, true)
    assert counts.shape == (201, 201)
    assert counts[200, 200] == 2
    assert counts.sum() == 4


@pytest.mark.parametrize("measure", [confusion_matrix, accuracy])
def test_what_is_refused(measure):
    with pytest.raises(ValueError, match="same length, got 2 and 3"):
        measure([0, 1], [0, 1, 1])
    with pytest.raises(ValueError, match="predicted must not be negative, got -1"):
        measure([0, 1], [0, -1])
    with pytest.raises(ValueError, match="true must be class indices"):
        measure([[0, 1]], [0, 1])
    with pytest.raises(TypeError, match="true must be integers"):
        measure([0.0, 1.0], [0, 1])


def test_accuracy_of_nothing():
    with pytest.raises(ValueError, match="no samples"):
        accuracy([], [])
