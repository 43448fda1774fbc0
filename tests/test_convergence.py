"""Networks learn: the embedded digits by the defaults of the command line, and small problems made by formula."""

import numpy as np
import pytest
from test_compare import load

import fastbp as fb


@pytest.fixture(autouse=True)
def one_thread():
    """Results do not depend on the threads; one is not slowed down by whatever else runs on the machine."""
    threads = fb.get_num_threads()
    fb.set_num_threads(1)
    yield
    fb.set_num_threads(threads)


@pytest.mark.parametrize("seed", range(10))
def test_the_default_perceptron_reaches_97_percent_on_the_digits(seed):
    assert load("defaults").accuracy("--seed", seed) >= 97


@pytest.mark.parametrize("seed", range(2))
def test_the_default_cnn_reaches_98_percent_on_the_digits(seed):
    """All seeds from 0 to 9 do, which would take minutes."""
    assert load("defaults").accuracy("--model", "cnn", "--seed", seed) >= 98


def two_moons(n=200, noise=0.1):
    """Two interleaved half circles of n points each."""
    rng = np.random.default_rng(0)
    angle = np.linspace(0, np.pi, n)
    upper = np.column_stack([np.cos(angle), np.sin(angle)])
    lower = np.column_stack([1 - np.cos(angle), 0.5 - np.sin(angle)])
    return np.concatenate([upper, lower]) + noise * rng.normal(size=(2 * n, 2)), np.repeat([0, 1], n)


@pytest.mark.parametrize("activation", [fb.ReLU, fb.LeakyReLU, fb.Tanh])
def test_two_moons(activation):
    x, y = two_moons()
    straight = fb.Sequential(fb.Affine(2), input_shape=2, seed=0)
    bent = fb.Sequential(fb.Affine(32), activation(), fb.Affine(2), input_shape=2, seed=0)
    for net in (straight, bent):
        net.fit(x, y, loss=fb.SoftmaxCrossEntropy(), optimizer=fb.SGD(0.5), epochs=100)
    # no straight line parts them
    assert straight.evaluate(x, y, loss=fb.SoftmaxCrossEntropy()).accuracy < 0.92
    assert bent.evaluate(x, y, loss=fb.SoftmaxCrossEntropy()).accuracy >= 0.97


def test_regression_finds_the_weights_that_made_the_data():
    rng = np.random.default_rng(1)
    x, w, b = rng.normal(size=(100, 3)), rng.normal(size=(2, 3)), rng.normal(size=2)
    net = fb.Sequential(fb.Affine(2), input_shape=3, dtype="float64", seed=0)
    net.fit(x, x @ w.T + b, loss=fb.SquaredError(), optimizer=fb.SGD(0.1), batch_size=20, epochs=200)
    # errors shrink by a factor of about 0.8 in each of the 1000 steps, down to rounding of sums of 20 terms
    tolerance = 100 * float(np.finfo(float).eps)
    np.testing.assert_allclose(net.parameters()[0].value, w, rtol=0, atol=tolerance)
    np.testing.assert_allclose(net.parameters()[1].value, b, rtol=0, atol=tolerance)


def test_two_class_softmax_and_binary_cross_entropy_train_alike():
    """One output of weight v is two outputs of weights -v/2 and v/2; those learn at half the rate, as both move."""
    x, y = two_moons()
    v, c = np.array([[0.3, -0.2]]), np.array([0.1])
    one = fb.Sequential(fb.Affine(1), input_shape=2, dtype="float64", seed=0)
    two = fb.Sequential(fb.Affine(2), input_shape=2, dtype="float64", seed=0)
    one.parameters()[0].value, one.parameters()[1].value = v, c
    two.parameters()[0].value = np.concatenate([-v / 2, v / 2])
    two.parameters()[1].value = np.concatenate([-c / 2, c / 2])
    steps, optimizers = 100, (fb.SGD(0.5), fb.SGD(0.25))
    eps = float(np.finfo(float).eps)
    for _ in range(steps):
        first = one.train_step(x, y, loss=fb.SigmoidCrossEntropy(), optimizer=optimizers[0])
        second = two.train_step(x, y, loss=fb.SoftmaxCrossEntropy(), optimizer=optimizers[1])
        # every step rounds means over 400 samples
        assert first == pytest.approx(second, rel=steps * 400 * eps)
    w, b = (p.value for p in two.parameters())
    np.testing.assert_allclose(w[1] - w[0], one.parameters()[0].value[0], rtol=steps * 400 * eps)
    np.testing.assert_allclose(b[1] - b[0], one.parameters()[1].value[0], rtol=steps * 400 * eps)
    accuracies = one.evaluate(x, y, loss=fb.SigmoidCrossEntropy()), two.evaluate(x, y, loss=fb.SoftmaxCrossEntropy())
    assert accuracies[0].accuracy == accuracies[1].accuracy > 0.8
