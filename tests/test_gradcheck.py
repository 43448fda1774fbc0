"""Gradients of every layer, loss and whole network against numerical slopes; and wrong gradients are found."""

import numpy as np
import pytest

import fastbp as fb

RNG = np.random.default_rng(6)
X = RNG.normal(size=(5, 6))
LABELS = RNG.integers(0, 4, 5)
ONE_OF_K = np.eye(4)[LABELS]
REAL = RNG.normal(size=(5, 4))
LAYERS = [
    fb.Identity(),
    fb.ReLU(),
    fb.LeakyReLU(),
    fb.LeakyReLU(0.4),
    fb.LeakyReLU(3.0),
    fb.Sigmoid(),
    fb.Tanh(),
    fb.Softmax(),
    fb.LogSoftmax(),
]


def cubic(u, t):
    """A loss of one's own, sum of (u - t)^3 / 3."""
    return float(((u - t) ** 3).sum() / 3), (u - t) ** 2


LOSSES = [
    (fb.SoftmaxCrossEntropy(), LABELS),
    (fb.SoftmaxCrossEntropy(), ONE_OF_K),
    (fb.SoftmaxCrossEntropy(), np.full((5, 4), 0.25)),
    (fb.MeanSquaredError(), REAL),
    (fb.SquaredError(), REAL),
    (fb.SquaredError(half=True), REAL),
    (fb.SigmoidCrossEntropy(), ONE_OF_K),
    (cubic, REAL),
]


def check(net, x, y, **options):
    """Both checks; every element was compared, but for those at kinks."""
    report = fb.check_gradients(net, x, y, **options)
    sizes = [parameter.value.size for parameter in net.parameters()] + [np.size(x)]
    assert report.checked + report.skipped == sum(min(size, 200) for size in sizes)
    assert report.checked > report.skipped
    projection = fb.check_projection(net, x, y, **options)
    assert projection.checked + projection.skipped == 5
    assert projection.checked > 0


def fresh(layer):
    return type(layer)(**layer.config())


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_layer_alone(layer):
    check(fb.Sequential(fresh(layer), input_shape=6), X, RNG.normal(size=X.shape), loss=fb.MeanSquaredError())


@pytest.mark.parametrize("loss", [fb.MeanSquaredError(), cubic])
@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_layer_between_affine_layers(layer, loss):
    net = fb.Sequential(fb.Affine(5), fresh(layer), fb.Affine(4), input_shape=6, seed=1)
    check(net, X, REAL, loss=loss, l2=0.01)


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_layer_behind_and_before_another_activation(layer):
    net = fb.Sequential(fb.Tanh(), fb.Affine(4), fb.Tanh(), fresh(layer), input_shape=6, seed=2)
    check(net, X, REAL, loss=fb.SquaredError())


@pytest.mark.parametrize("samples", [5, 1])
@pytest.mark.parametrize(("loss", "targets"), LOSSES, ids=[f"{row[0]}-{row[1].ndim}" for row in LOSSES])
def test_loss(loss, targets, samples):
    net = fb.Sequential(fb.Affine(5, bias=False), fb.Tanh(), fb.Affine(4), input_shape=6, seed=3)
    check(net, X[:samples], targets[:samples], loss=loss)


@pytest.mark.parametrize("l2", [0.0, 0.1, 3.0])
def test_weight_decay(l2):
    net = fb.Sequential(fb.Affine(5), fb.Sigmoid(), fb.Affine(4), input_shape=6, dtype="float64", seed=4)
    net.parameters()[1].value = RNG.normal(size=5)
    check(net, X, LABELS, loss=fb.SoftmaxCrossEntropy(), l2=l2)


def test_deep_network():
    layers = [fb.Affine(7), fb.ReLU(), fb.Affine(6, bias=False), fb.LeakyReLU(0.2), fb.Affine(5), fb.Tanh()]
    net = fb.Sequential(*layers, fb.Affine(4), input_shape=6, seed=5)
    check(net, X, LABELS, loss=fb.SoftmaxCrossEntropy(), l2=0.01)


def test_images():
    net = fb.Sequential(fb.Tanh(), fb.Flatten(), fb.Affine(5), fb.ReLU(), fb.Affine(4), input_shape=(2, 3, 3), seed=6)
    check(net, RNG.normal(size=(5, 2, 3, 3)), LABELS, loss=fb.SoftmaxCrossEntropy())


def test_one_output():
    net = fb.Sequential(fb.Affine(3), fb.Tanh(), fb.Affine(1), input_shape=6, seed=7)
    check(net, X, np.array([0, 1, 1, 0, 1]), loss=fb.SigmoidCrossEntropy())


def test_large_network_is_sampled():
    net = fb.Sequential(fb.Affine(64), fb.Tanh(), fb.Affine(10), input_shape=64, seed=8)
    x, y = fb.datasets.load_digits()
    report = fb.check_gradients(net, x[:3], y[:3], loss=fb.SoftmaxCrossEntropy(), samples=15)
    assert report.checked == 15 + 15 + 15 + 10 + 15
    assert fb.check_projection(net, x[:3], y[:3], loss=fb.SoftmaxCrossEntropy(), directions=3).checked == 3


def test_check_changes_nothing():
    for dtype in ("float32", "float64"):
        net = fb.Sequential(fb.Affine(5), fb.ReLU(), fb.Affine(4), input_shape=6, dtype=dtype, seed=9)
        x, state = X.copy(), net.rng.bit_generator.state
        before = [p.value.copy() for p in net.parameters()]
        check(net, x, LABELS, loss=fb.SoftmaxCrossEntropy())
        assert net.rng.bit_generator.state == state
        np.testing.assert_array_equal(x, X)
        for p, value in zip(net.parameters(), before, strict=True):
            np.testing.assert_array_equal(p.value, value)
            assert not p.grad.any()


# --- kinks ------------------------------------------------------------------------------------------------------------


def test_kinks_are_counted_as_skipped():
    """With a weight of 1 and no bias, the kink is x = 0: moving x or the bias crosses it, the weight does not."""
    net = fb.Sequential(fb.Affine(1), fb.ReLU(), input_shape=1, dtype="float64")
    net.parameters()[0].value = [[1]]
    report = fb.check_gradients(net, [[0.0]], [[1.0]], loss=fb.MeanSquaredError())
    assert (report.checked, report.skipped) == (1, 2)
    report = fb.check_gradients(net, [[0.5]], [[1.0]], loss=fb.MeanSquaredError())
    assert (report.checked, report.skipped) == (3, 0)


def test_projection_retries_shorter_steps_near_a_kink():
    net = fb.Sequential(fb.LeakyReLU(0.1), input_shape=1, dtype="float64")
    assert fb.check_projection(net, [[1e-6]], [[1.0]], loss=fb.MeanSquaredError()).checked == 5
    assert fb.check_projection(net, [[0.0]], [[1.0]], loss=fb.MeanSquaredError()).skipped == 5


# --- wrong gradients are found ----------------------------------------------------------------------------------------


def both_find(net, x, y, match="numerical slope", **options):
    with pytest.raises(fb.GradientError, match=match):
        fb.check_gradients(net, x, y, **options)
    with pytest.raises(fb.GradientError, match="direction"):
        fb.check_projection(net, x, y, **options)


@pytest.mark.parametrize("factor", [-1, 0, 2, 1 + 1e-4])
def test_wrong_loss_gradient(factor):
    def wrong(u, t):
        return float(((u - t) ** 2).sum()), 2 * factor * (u - t)

    net = fb.Sequential(fb.Affine(5), fb.Tanh(), fb.Affine(4), input_shape=6, seed=1)
    both_find(net, X, REAL, loss=wrong)


def test_wrong_gradient_of_a_constant_loss():
    net = fb.Sequential(fb.Affine(4), input_shape=6, seed=1)
    both_find(net, X, REAL, loss=lambda u, t: (0.0, np.ones_like(u)))


def test_gradient_that_is_not_finite():
    net = fb.Sequential(fb.Affine(4), input_shape=6, seed=1)
    both_find(net, X, REAL, loss=lambda u, t: (float(u.sum()), np.full_like(u, np.nan)))


def test_wrong_layer(monkeypatch):
    """A weight gradient that is one thousandth too large, in one layer."""
    backward = fb.Affine.backward

    def wrong(self, ctx, dy):
        dx = backward(self, ctx, dy)
        if self.name == "affine_2":
            self.w.grad[...] *= 1.001
        return dx

    monkeypatch.setattr(fb.Affine, "backward", wrong)
    net = fb.Sequential(fb.Affine(5), fb.Tanh(), fb.Affine(4), input_shape=6, seed=1)
    both_find(net, X, REAL, match=r"affine_2\.w\[\d, \d\]: gradient", loss=fb.MeanSquaredError())


def test_wrong_input_gradient(monkeypatch):
    backward = fb.Softmax.backward
    monkeypatch.setattr(fb.Softmax, "backward", lambda self, ctx, dy: backward(self, ctx, dy) * 1.001)
    net = fb.Sequential(fb.Softmax(), input_shape=6)
    both_find(net, X, X, match=r"x\[\d, \d\]: gradient", loss=fb.MeanSquaredError())


def test_layer_of_ones_own():
    """A subclass outside the package is checked like any other: right passes, wrong is found."""

    class Right(fb.Softmax):
        pass

    class Wrong(fb.Softmax):
        def backward(self, ctx, dy):
            return dy * ctx.saved[0]

    fb.check_gradients(fb.Sequential(Right(), input_shape=6), X, X, loss=fb.MeanSquaredError())
    both_find(fb.Sequential(Wrong(), input_shape=6), X, X, loss=fb.MeanSquaredError())


def test_arguments():
    net = fb.Sequential(fb.Affine(4), input_shape=6)
    with pytest.raises(ValueError, match="samples must be at least 1"):
        fb.check_gradients(net, X, REAL, loss=fb.MeanSquaredError(), samples=0)
    with pytest.raises(ValueError, match="directions must be at least 1"):
        fb.check_projection(net, X, REAL, loss=fb.MeanSquaredError(), directions=0)
    with pytest.raises(ValueError, match="l2 must be finite"):
        fb.check_gradients(net, X, REAL, loss=fb.MeanSquaredError(), l2=-1)
    with pytest.raises(ValueError, match="must have the shape"):
        fb.check_gradients(net, X[:, :3], REAL, loss=fb.MeanSquaredError())


def test_the_error_allowed_is_small():
    """A gradient that is wrong by a hundred-thousandth is found, so that the allowance cannot grow unnoticed."""
    exact = fb.SoftmaxCrossEntropy()

    def slightly_wrong(u, t):
        value, gradient = exact(u, t)
        return value, gradient * (1 + 1e-5)

    x, y = fb.datasets.load_digits()
    net = fb.Sequential(fb.Affine(5), fb.Tanh(), fb.Affine(10), input_shape=64, seed=0)
    for check in (fb.check_gradients, fb.check_projection):
        check(net, x[:4], y[:4], loss=exact)
        with pytest.raises(fb.GradientError):
            check(net, x[:4], y[:4], loss=slightly_wrong)
