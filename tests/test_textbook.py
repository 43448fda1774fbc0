"""The reference numbers and formulas of the lecture notes, to the digits shown there."""

import math

import numpy as np
import pytest

import fastbp as fb
from fastbp import functional as F
from fastbp.kernels import affine

EPS = float(np.finfo(np.float64).eps)
X, W1, W2 = [[2, 3, 1]], [[3, 1, 2], [-2, -3, -1]], [[3, 2]]


def three_layer_net(*activations):
    """2-unit hidden layer and 1 output without biases; one activation or two."""
    hidden, *output = activations
    net = fb.Sequential(fb.Affine(2, bias=False), hidden, fb.Affine(1, bias=False), *output, input_shape=3, dtype=float)
    for parameter, value in zip(net.parameters(), (W1, W2), strict=True):
        parameter.value = value
    return net


def digits(values):
    """Numbers as the notes print them, with nine digits."""
    return [f"{value:.8e}" for value in np.ravel(values)]


def test_r1_relu():
    net = three_layer_net(fb.ReLU())
    np.testing.assert_array_equal(F.affine_forward(X, W1), [[11, -14]])
    np.testing.assert_array_equal(F.affine_relu_forward(X, W1), [[11, 0]])
    y = net.forward(X)
    np.testing.assert_array_equal(y, [[33]])
    value, delta = fb.SquaredError()(y, [20])
    assert value == 169
    net.backward(delta)
    first, second = net.parameters()
    np.testing.assert_array_equal(second.grad, [[286, 0]])
    np.testing.assert_array_equal(first.grad, [[156, 234, 78], [0, 0, 0]])


def test_r1_sigmoid():
    net = three_layer_net(fb.Sigmoid(), fb.Sigmoid())
    y = net.forward(X)
    assert f"{y[0, 0]:.8f}" == "0.95257194"
    _, delta = fb.MeanSquaredError()(y, [20])
    net.backward(delta)
    first, second = net.parameters()
    assert digits(second.grad) == ["-1.72104507e+00", "-1.43112111e-06"]
    assert digits(first.grad[0]) == ["-1.72463398e-04", "-2.58695098e-04", "-8.62316992e-05"]
    assert digits(first.grad[1]) == ["-5.72447970e-06", "-8.58671954e-06", "-2.86223985e-06"]


def test_r2_gradient_descent():
    w = F.sgd_update([3.0], [3.0], 0.5)
    assert w == 1.5
    assert F.sgd_update([-1.0], w, 0.5) == 2.0


def test_r4_outer_product():
    inputs, biases = [[4, 5, 6, 7]], [[1, 2, 3]]
    expected = np.array([[4, 5, 6, 7], [8, 10, 12, 14], [12, 15, 18, 21]])
    w = np.zeros((3, 4), order="F")
    _, dw, db = F.affine_backward(biases, inputs, w)
    np.testing.assert_array_equal(dw, expected)
    np.testing.assert_array_equal(db, biases[0])
    stored = dw.ravel(order="K")
    assert all(stored[i + 3 * j] == expected[i, j] for i in range(3) for j in range(4))


def test_r5_slope_of_a_bias():
    net = fb.Sequential(fb.Affine(1), input_shape=1, dtype="float64", seed=0)
    loss = fb.losses.UserLoss(lambda u, t: (-2 * float(u.sum()), np.full_like(u, -2)))
    before, delta = loss(net.forward([[1.0]]), [0])
    net.backward(delta)
    bias = net.parameters()[1]
    bias.value = bias.value + 0.001
    after, _ = loss(net.forward([[1.0]]), [0])
    # two values of size 1 lose a few eps each
    assert after - before == pytest.approx(-0.002, abs=8 * EPS)
    assert bias.grad[0] == -2


def test_r5_every_gradient_is_its_slope():
    rng = np.random.default_rng(5)
    net = fb.Sequential(fb.Affine(4), fb.Tanh(), fb.Affine(3), input_shape=2, dtype="float64", seed=5)
    x, t, loss, h = rng.normal(size=(6, 2)), rng.integers(0, 3, 6), fb.SoftmaxCrossEntropy(), 1e-5
    _, delta = loss(net.forward(x), t)
    net.backward(delta)
    for parameter in net.parameters():
        for index in np.ndindex(parameter.value.shape):
            kept, values = parameter.value[index], []
            for moved in (kept + h, kept - h):
                parameter.value[index] = moved
                values.append(loss(net.predict(x), t)[0])
            parameter.value[index] = kept
            # rounding 20 eps |E| / h, truncation h^2 times a third derivative of order one
            slope, allowed = (values[0] - values[1]) / (2 * h), 20 * EPS * values[0] / h + h * h
            assert abs(parameter.grad[index] - slope) <= allowed


def test_r8_number_of_weights_and_shape_of_the_augmented_matrix():
    units = [1024, 3, 4, 3, 2]
    net = fb.Sequential(*(fb.Affine(q, bias=False) for q in units[1:]), input_shape=units[0])
    assert sum(parameter.value.size for parameter in net.parameters()) == 3102
    assert net.cost().parameters == 3102
    net = fb.Sequential(*(fb.Affine(q) for q in units[1:]), input_shape=units[0])
    values = [parameter.value for parameter in net.parameters()]
    shapes = [F.to_augmented(w, b).shape for w, b in zip(values[::2], values[1::2], strict=True)]
    assert shapes == [(3, 1025), (4, 4), (3, 5), (2, 4)]


def test_r9_confusion_matrix():
    expected = np.array([[10, 3, 3, 4], [2, 8, 5, 5], [0, 5, 12, 3], [3, 2, 3, 12]])
    true, predicted = np.repeat(np.stack(np.divmod(np.arange(16), 4)), expected.ravel(), axis=1)
    np.testing.assert_array_equal(fb.metrics.confusion_matrix(true, predicted), expected)
    assert fb.metrics.accuracy(true, predicted) == 42 / 80 == 0.525
    net = fb.Sequential(fb.Softmax(), input_shape=4, dtype="float64")
    p = net.predict(np.log([[0.8, 0.04, 0.1, 0.06]]))
    # e^log p and the division: a few eps each
    np.testing.assert_allclose(p, [[0.8, 0.04, 0.1, 0.06]], rtol=16 * EPS)
    assert p.argmax(1) == 0


def test_r10_each_sigmoid_shrinks_the_gradient():
    x = np.linspace(-8, 8, 1601)[:, None]
    one = fb.Sequential(fb.Sigmoid(), input_shape=1, dtype="float64")
    two = fb.Sequential(fb.Sigmoid(), fb.Sigmoid(), input_shape=1, dtype="float64")
    slopes = []
    for net in (one, two):
        net.forward(x)
        slopes.append(net.backward(np.ones_like(x), input_grad=True))
    assert slopes[0].max() == 0.25 == slopes[0][800, 0]
    assert slopes[0].min() > 0
    assert 0 < slopes[1].max() <= 0.0625


def test_r10_relu_passes_the_gradient_unchanged():
    x = np.array([[-2.0, -0.5, 0.0, 0.5, 2.0]])
    dy = np.array([[0.1, 0.2, 0.3, 0.4, 0.5]])
    net = fb.Sequential(fb.ReLU(), fb.ReLU(), fb.ReLU(), input_shape=5, dtype="float64")
    net.forward(x)
    np.testing.assert_array_equal(net.backward(dy, input_grad=True), [[0, 0, 0, 0.4, 0.5]])


def test_r11_weight_decay():
    w = np.random.default_rng(11).normal(size=(3, 4))
    _, dw, _ = F.affine_backward(np.zeros((2, 3)), np.zeros((2, 4)), w, l2=1)
    np.testing.assert_array_equal(dw, 2 * w)
    net = fb.Sequential(fb.Affine(3), input_shape=4, dtype="float64")
    net.parameters()[0].value, net.parameters()[1].value = w, np.ones(3)
    assert net.penalty() == pytest.approx(np.trace(w.T @ w), rel=w.size * EPS)
    net.forward(np.zeros((2, 4)))
    net.backward(np.zeros((2, 3)), l2=1)
    np.testing.assert_array_equal(net.parameters()[0].grad, 2 * w)
    np.testing.assert_array_equal(net.parameters()[1].grad, 0)


def lecture_step(weights, x, t, eta):
    """One step of the lecture on one sample: augmented matrices W', plain loops, half the squared error.

    Units: tanh in hidden layers, identity in the last.
    """
    z, outputs = list(x), [list(x)]
    for k, w in enumerate(weights):
        augmented = [1.0, *z]
        u = [sum(w[i][j] * augmented[j] for j in range(len(augmented))) for i in range(len(w))]
        z = u if k == len(weights) - 1 else [math.tanh(value) for value in u]
        outputs.append(z)
    delta = [y - target for y, target in zip(z, t, strict=True)]
    gradients = []
    for k in range(len(weights) - 1, -1, -1):
        augmented = [1.0, *outputs[k]]
        gradients.insert(0, [[d * value for value in augmented] for d in delta])
        if k:
            below = outputs[k]
            back = [sum(delta[i] * weights[k][i][j + 1] for i in range(len(delta))) for j in range(len(below))]
            delta = [b * (1 - h * h) for b, h in zip(back, below, strict=True)]
    for w, g in zip(weights, gradients, strict=True):
        for i in range(len(w)):
            for j in range(len(w[i])):
                w[i][j] -= eta * g[i][j]


def test_recursion_of_the_lecture_one_sample_at_a_time():
    def eta(step):
        return 0.2 / (1 + 0.05 * step)

    rng = np.random.default_rng(3)
    steps, units = 300, [3, 5, 4, 2]
    net = fb.Sequential(
        fb.Affine(5), fb.Tanh(), fb.Affine(4), fb.Tanh(), fb.Affine(2), input_shape=3, dtype="float64", seed=3
    )
    values = [parameter.value for parameter in net.parameters()]
    weights = [F.to_augmented(w, b).tolist() for w, b in zip(values[::2], values[1::2], strict=True)]
    start = [np.array(w) for w in weights]
    x, t = rng.normal(size=(steps, 3)), rng.normal(size=(steps, 2))
    optimizer, loss = fb.SGD(eta), fb.SquaredError(half=True)
    for step in range(steps):
        net.train_step(x[step : step + 1], t[step : step + 1], loss=loss, optimizer=optimizer)
        lecture_step(weights, x[step], t[step], eta(step))
    assert optimizer.steps == steps
    for w, w_start, value, bias in zip(weights, start, values[::2], values[1::2], strict=True):
        # each step rounds sums of at most max(units) + 1 terms, and contracts earlier errors
        tolerance = steps * (max(units) + 1) * EPS
        np.testing.assert_allclose(F.to_augmented(value, bias), w, rtol=0, atol=tolerance)
        assert np.abs(np.array(w) - w_start).max() > 0.05


def test_gradients_of_one_hidden_layer_in_matrix_form():
    """dW2 = H'G + 2 l W2, dW1 = X'G' + 2 l W1, with weights (inputs, outputs) as the notes have them."""
    rng = np.random.default_rng(7)
    n, inputs, hidden, classes, decay = 20, 6, 9, 4, 0.03
    net = fb.Sequential(
        fb.Affine(hidden, bias=False), fb.ReLU(), fb.Affine(classes, bias=False), input_shape=inputs, dtype="float64"
    )
    x, labels = rng.normal(size=(n, inputs)), rng.integers(0, classes, n)
    w1, w2 = rng.normal(size=(inputs, hidden)), rng.normal(size=(hidden, classes))
    net.parameters()[0].value, net.parameters()[1].value = w1.T, w2.T
    h = np.maximum(0, x @ w1)
    e = np.exp(h @ w2)
    g = (e / e.sum(axis=1, keepdims=True) - np.eye(classes)[labels]) / n
    g_hidden = (g @ w2.T) * (h > 0)
    _, delta = fb.SoftmaxCrossEntropy()(net.forward(x), labels)
    net.backward(delta, l2=decay)
    # sums over n, hidden and inputs terms of size one
    tolerance = 4 * (n + hidden + inputs) * EPS
    np.testing.assert_allclose(net.parameters()[1].grad.T, h.T @ g + 2 * decay * w2, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(
        net.parameters()[0].grad.T, x.T @ g_hidden + 2 * decay * w1, rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("w", range(1, 7))
def test_cost_grows_with_the_number_of_weight_matrices(w, monkeypatch):
    """w products forward, 2 w - 1 backward: as the table says, and as counted."""
    n, q = 3, 8
    layers = [layer for _ in range(w) for layer in (fb.Affine(q), fb.Tanh())]
    net = fb.Sequential(*layers, input_shape=q, seed=0)
    cost = net.cost(batch_size=n)
    assert cost.forward == w * n * q * q
    assert cost.backward == (2 * w - 1) * n * q * q
    products = []

    def counted(product):
        def counting(*args, **kwargs):
            products.append(args)
            product(*args, **kwargs)

        return counting

    for name in ("gemm", "multiply"):
        monkeypatch.setattr(affine, name, counted(getattr(affine, name)))
    y = net.forward(np.ones((n, q)))
    assert len(products) == w
    net.backward(y)
    assert len(products) == w + 2 * w - 1
