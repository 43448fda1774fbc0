"""Optimizers: the update, the rate as a function of the step, and what they refuse."""

import numpy as np
import pytest

import fastbp as fb
from fastbp import optimizers


def parameter(value, grad):
    result = fb.Parameter("p", np.array(value), decays=True)
    result.grad[...] = grad
    return result


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_sgd_step(dtype, order):
    rng = np.random.default_rng(0)
    w = np.asarray(rng.normal(size=(30, 20)).astype(dtype), order=order)
    p = fb.Parameter("w", w.copy(order="K"), decays=True)
    p.grad[...] = rng.normal(size=(30, 20))
    fb.SGD(0.1).step([p])
    eps = float(np.finfo(dtype).eps)  # the rate, the product and the difference are rounded once each
    np.testing.assert_allclose(p.value, w - 0.1 * p.grad, rtol=0, atol=3 * eps * np.abs(w).max())


def test_numbers_of_the_textbook():
    p, optimizer = parameter([3.0], [3.0]), fb.SGD(0.5)
    optimizer.step([p])
    assert p.value == 1.5
    p.grad[...] = -1
    optimizer.step([p])
    assert p.value == 2.0
    assert optimizer.steps == 2


def test_rate_as_a_function_of_the_step():
    asked = []

    def rate(step):
        asked.append(step)
        return 1 / (1 + step)

    p, optimizer = parameter([0.0], [1.0]), fb.SGD(rate)
    for _ in range(3):
        optimizer.step([p])
    assert asked == [0, 1, 2]
    assert p.value[0] == pytest.approx(-(1 + 1 / 2 + 1 / 3), rel=4 * float(np.finfo(float).eps))
    assert optimizer.rate() == 0.25


def test_rate_is_asked_once_per_step_in_training():
    asked = []
    optimizer = fb.SGD(lambda step: asked.append(step) or 0.1)
    net = fb.Sequential(fb.Affine(3), fb.ReLU(), fb.Affine(2), input_shape=2, seed=0)
    net.fit(np.ones((10, 2)), np.zeros(10, int), loss=fb.SoftmaxCrossEntropy(), optimizer=optimizer, batch_size=4)
    assert asked == [0, 1, 2]
    assert optimizer.steps == 3


def test_rate_zero_changes_nothing():
    p = parameter([1.0, 2.0], [3.0, 4.0])
    fb.SGD(0).step([p])
    np.testing.assert_array_equal(p.value, [1, 2])


@pytest.mark.parametrize("lr", [-0.1, float("nan"), float("inf")])
def test_rate_out_of_range(lr):
    with pytest.raises(ValueError, match="SGD: lr must be finite and at least 0"):
        fb.SGD(lr)
    p, optimizer = parameter([1.0], [1.0]), fb.SGD(lambda step: lr)
    with pytest.raises(ValueError, match="SGD: lr at step 0"):
        optimizer.step([p])
    assert p.value == 1
    assert optimizer.steps == 0


def test_rate_that_is_no_number():
    with pytest.raises(TypeError, match="SGD: lr must be a number"):
        fb.SGD("fast")


def test_a_rate_that_turns_wrong_leaves_the_network_as_it_was():
    net = fb.Sequential(fb.Affine(2), input_shape=2, seed=0)
    before = [p.value.copy() for p in net.parameters()]
    with pytest.raises(ValueError, match="lr at step 0"):
        net.train_step([[1, 2]], [0], loss=fb.SoftmaxCrossEntropy(), optimizer=fb.SGD(lambda step: -1))
    for p, value in zip(net.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.value, value)


def test_names_and_repr():
    assert repr(fb.SGD(0.1)) == "SGD(0.1)"
    assert isinstance(optimizers.BY_NAME["sgd"](0.1), fb.SGD)
