"""Layers: formulas, shapes, names, parameters, and what they refuse."""

import numpy as np
import pytest

import fastbp as fb
from fastbp.layers import BY_NAME

RNG = np.random.default_rng(2)
U = np.concatenate([RNG.normal(scale=3, size=(7, 5)), np.zeros((1, 5)), [[-40, 40, -1e-9, 1e-9, 1]]])


def softmax(u):
    e = np.exp(u - u.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


FORMULAS = [
    (fb.ReLU(), lambda u: np.maximum(0, u), lambda u, h: np.where(h <= 0, 0, 1)),
    (fb.LeakyReLU(), lambda u: np.where(u > 0, u, 0.01 * u), lambda u, h: np.where(h <= 0, 0.01, 1)),
    (fb.LeakyReLU(0.3), lambda u: np.where(u > 0, u, 0.3 * u), lambda u, h: np.where(h <= 0, 0.3, 1)),
    (fb.Sigmoid(), lambda u: 1 / (1 + np.exp(-u)), lambda u, h: h * (1 - h)),
    (fb.Tanh(), np.tanh, lambda u, h: 1 - h**2),
    (fb.Identity(), lambda u: u, lambda u, h: np.ones_like(u)),
]


def fresh(layer):
    return type(layer)(**layer.config())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("layer", "f", "slope"), FORMULAS, ids=[repr(row[0]) for row in FORMULAS])
def test_activation_alone(layer, f, slope, dtype):
    # 2 ulp of the function, and one rounding of each further operation
    eps = float(np.finfo(dtype).eps)
    u = U.astype(dtype)
    dy = np.linspace(-1, 1, u.size).reshape(u.shape).astype(dtype)
    net = fb.Sequential(fresh(layer), input_shape=5, dtype=dtype)
    h = net.forward(u)
    exact = f(u.astype(np.float64))
    np.testing.assert_allclose(h, exact, rtol=4 * eps, atol=0)
    dx = net.backward(dy, input_grad=True)
    # the slope is written with h, and 1 - h loses digits in absolute terms only
    np.testing.assert_allclose(dx, dy * slope(u, exact), rtol=4 * eps, atol=4 * eps)
    assert h.dtype == dx.dtype == dtype


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("layer", "f", "slope"), FORMULAS, ids=[repr(row[0]) for row in FORMULAS])
def test_activation_behind_and_before_affine_layers(layer, f, slope, order):
    """Fused into both neighbours, results are those of the formulas."""
    x = RNG.normal(size=(9, 4))
    net = fb.Sequential(fb.Affine(5), fresh(layer), fb.Affine(3), input_shape=4, dtype="float64", seed=0)
    w1, b1, w2, b2 = (parameter.value for parameter in net.parameters())
    b1[:] = RNG.normal(size=5)
    u = x @ w1.T + b1
    h = f(u)
    dy = RNG.normal(size=(9, 3))
    tolerance = 64 * float(np.finfo(np.float64).eps)  # sums of at most 9 terms of size up to 4
    np.testing.assert_allclose(net.forward(np.asarray(x, order=order)), h @ w2.T + b2, rtol=tolerance, atol=tolerance)
    dx = net.backward(np.asarray(dy, order=order), input_grad=True)
    delta = (dy @ w2) * slope(u, h)
    expected = [delta.T @ x, delta.sum(0), dy.T @ h, dy.sum(0)]
    for parameter, gradient in zip(net.parameters(), expected, strict=True):
        np.testing.assert_allclose(parameter.grad, gradient, rtol=tolerance, atol=tolerance, err_msg=parameter.name)
    np.testing.assert_allclose(dx, delta @ w1, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("order", ["C", "F"])
def test_softmax_layers(order):
    eps = float(np.finfo(np.float64).eps)
    u, dy = np.asarray(U, order=order), np.asarray(RNG.normal(size=U.shape), order=order)
    p = softmax(U)
    net = fb.Sequential(fb.Softmax(), input_shape=5, dtype="float64")
    np.testing.assert_allclose(net.forward(u), p, rtol=128 * eps)  # |u| eps of the exponent, at most 80
    dx = net.backward(dy, input_grad=True)
    np.testing.assert_allclose(dx, p * (dy - (dy * p).sum(1, keepdims=True)), rtol=0, atol=32 * eps)
    net = fb.Sequential(fb.LogSoftmax(), input_shape=5, dtype="float64")
    np.testing.assert_allclose(net.forward(u), np.log(p), rtol=0, atol=160 * eps)
    dx = net.backward(dy, input_grad=True)
    np.testing.assert_allclose(dx, dy - p * dy.sum(1, keepdims=True), rtol=0, atol=160 * eps)


def test_softmax_of_huge_logits():
    net = fb.Sequential(fb.Softmax(), input_shape=2)
    np.testing.assert_array_equal(net.predict([[1e30, -1e30], [-1e30, -1e30]]), [[1, 0], [0.5, 0.5]])
    net = fb.Sequential(fb.LogSoftmax(), input_shape=2, dtype="float64")
    np.testing.assert_array_equal(net.predict([[1000, 0]]), [[0, -1000]])


def test_rectifiers_at_zero_and_nan():
    x = np.array([[0.0, -0.0, np.nan]])
    for layer, slope in ((fb.ReLU(), 0), (fb.LeakyReLU(0.5), 0.5)):
        net = fb.Sequential(layer, input_shape=3, dtype="float64")
        y = net.forward(x)
        assert y[0, 0] == y[0, 1] == 0
        assert np.isnan(y[0, 2])
        np.testing.assert_array_equal(net.backward(np.ones((1, 3)), input_grad=True)[0, :2], slope)


def test_affine():
    x = RNG.normal(size=(6, 4))
    for bias in (True, False):
        net = fb.Sequential(fb.Affine(3, bias=bias), input_shape=4, dtype="float64", seed=1)
        assert [p.name for p in net.parameters()] == ["affine_1.w", "affine_1.b"][: 1 + bias]
        assert [p.decays for p in net.parameters()] == [True, False][: 1 + bias]
        assert [p.value.shape for p in net.parameters()] == [(3, 4), (3,)][: 1 + bias]
        b = np.array([0.5, -1, 2]) * bias
        if bias:
            net.parameters()[1].value = b
        eps = float(np.finfo(np.float64).eps)
        expected = x @ net.parameters()[0].value.T + b
        np.testing.assert_allclose(net.forward(x), expected, rtol=0, atol=5 * eps * np.abs(expected).max() * 2)


def test_flatten_of_images():
    x = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    net = fb.Sequential(fb.Flatten(), input_shape=(3, 4, 5))
    assert net.output_shape == (60,)
    y = net.forward(x)
    np.testing.assert_array_equal(y, x.reshape(2, 60))
    np.testing.assert_array_equal(net.backward(y, input_grad=True), x)
    np.testing.assert_array_equal(net.predict(np.asfortranarray(x)), x.reshape(2, 60))
    net = fb.Sequential(fb.ReLU(), fb.Flatten(), fb.Affine(2), input_shape=(3, 4, 5))
    net.forward(x)
    assert net.backward(np.ones((2, 2)), input_grad=True).shape == x.shape


@pytest.mark.parametrize("layer", [fb.Affine(2), fb.Softmax(), fb.LogSoftmax()], ids=repr)
def test_images_need_a_flatten(layer):
    name = type(layer).__name__.lower() + "_1"
    with pytest.raises(ValueError, match=rf"{name} takes samples of one dimension, got \(1, 8, 8\).*Flatten"):
        fb.Sequential(layer, input_shape=(1, 8, 8))


def test_constructor_arguments():
    for n in (0, -1):
        with pytest.raises(ValueError, match="Affine: n must be at least 1"):
            fb.Affine(n)
    for n in (2.0, "2", True, None):
        with pytest.raises(TypeError, match="Affine: n must be an integer"):
            fb.Affine(n)
    for slope in (0, -0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="LeakyReLU: slope must be finite and above 0"):
            fb.LeakyReLU(slope)
    with pytest.raises(TypeError, match="slope must be a number"):
        fb.LeakyReLU("steep")


def test_repr_and_config_rebuild_every_layer():
    layers = [fb.Affine(3), fb.Affine(3, bias=False), fb.Affine(3, init="lecun"), fb.LeakyReLU(0.2)]
    layers += [fb.Standardize(0.5, 2), fb.Standardize(-1, 0.25, limit=3)]
    layers += [layer for layer, _, _ in CONVOLUTIONS + POOLS]
    layers += [kind() for kind in BY_NAME.values() if kind not in map(type, layers)]
    for layer in layers:
        assert repr(fresh(layer)) == repr(layer)
        assert repr(eval(repr(layer), vars(fb))) == repr(layer)
    assert repr(layers[1]) == "Affine(3, bias=False)"
    assert repr(layers[3]) == "LeakyReLU(slope=0.2)"


def test_parameter_assignment_copies_and_checks_the_shape():
    net = fb.Sequential(fb.Affine(2), input_shape=3)
    parameter = net.parameters()[0]
    new = np.ones((2, 3), np.float32)
    before = parameter.value
    parameter.value = new
    assert parameter.value is before
    assert not np.shares_memory(new, parameter.value)
    with pytest.raises(ValueError, match=r"affine_1.w has the shape \(2, 3\), got \(3, 2\)"):
        parameter.value = np.ones((3, 2))
    assert parameter.grad.shape == (2, 3)
    assert not parameter.grad.any()
    assert repr(parameter) == "Parameter('affine_1.w', shape=(2, 3), dtype=float32)"


def test_layers_keep_no_state_of_a_call():
    net = fb.Sequential(fb.Affine(4), fb.ReLU(), fb.Flatten(), fb.Softmax(), input_shape=3, seed=0)
    before = [dict(vars(layer)) for layer in net.layers]
    net.predict(np.ones((2, 3)))
    net.forward(np.ones((2, 3)))
    assert [vars(layer) for layer in net.layers] == before


def test_overridden_activation_is_not_replaced_by_the_fused_one():
    """A subclass of an activation runs its own code, also behind an affine layer."""

    class Doubled(fb.ReLU):
        def forward(self, ctx, x):
            return 2 * super().forward(ctx, x)

    x = np.ones((1, 2))
    net = fb.Sequential(fb.Affine(2), Doubled(), input_shape=2, dtype="float64")
    net.parameters()[0].value = np.eye(2)
    np.testing.assert_array_equal(net.forward(x), [[2, 2]])


CONVOLUTIONS = [
    (fb.Conv1d(4, 3, stride=2), (3, 9), (4, 4)),
    (fb.Conv1d(2, 2, padding=[(1, 0)], dilation=2, bias=False), (3, 7), (2, 6)),
    (fb.Conv2d(5, 3, padding="same"), (2, 5, 6), (5, 5, 6)),
    (fb.Conv2d(6, (2, 3), stride=(2, 1), padding=1, groups=2, init="lecun"), (4, 6, 5), (6, 4, 5)),
    (fb.Conv2d(3, 1, groups=3), (3, 4, 4), (3, 4, 4)),
    (fb.Conv3d(2, 2, padding="valid"), (2, 3, 4, 3), (2, 2, 3, 2)),
]


@pytest.mark.parametrize("activation", [fb.Tanh(), fb.LeakyReLU(), fb.Sigmoid(), fb.Softmax()], ids=repr)
@pytest.mark.parametrize(("layer", "shape", "expected"), CONVOLUTIONS, ids=[repr(row[0]) for row in CONVOLUTIONS])
def test_convolutions(layer, shape, expected, activation, tmp_path):
    """With the activation fused, or for the softmax not, and its derivative taken by the convolution above."""
    above = {1: fb.Conv1d, 2: fb.Conv2d, 3: fb.Conv3d}[len(shape) - 1](3, 2)
    between = [] if isinstance(activation, fb.Softmax) else [fresh(activation)]
    net = fb.Sequential(
        *(fresh(layer), *between, above, fb.Flatten(), fb.Affine(4)), input_shape=shape, dtype="float64", seed=1
    )
    assert net.layers[0].output_shape(shape) == expected
    x, labels = RNG.normal(size=(5, *shape)), RNG.integers(0, 4, 5)
    assert fb.check_gradients(net, x, labels, loss=fb.SoftmaxCrossEntropy(), l2=0.1).checked > 60
    net.save(tmp_path / "net.npz")
    np.testing.assert_array_equal(fb.Sequential.load(tmp_path / "net.npz").predict(x), net.predict(x))
    assert net.predict(x[:0]).shape == (0, 4)


def test_convolutions_refuse():
    with pytest.raises(ValueError, match=r"^conv2d_1 takes samples \(C, H, W\), got \(784,\)$"):
        fb.Sequential(fb.Conv2d(2, 3), input_shape=784)
    with pytest.raises(ValueError, match=r"^conv2d_1: a window that spans 3 x 3 does not fit into an image of 2 x 5"):
        fb.Sequential(fb.Conv2d(2, 3), input_shape=(1, 2, 5))
    with pytest.raises(ValueError, match=r"^conv1d_1: groups must divide .* 3 channels, 4 filters, 2 groups$"):
        fb.Sequential(fb.Conv1d(4, 3, groups=2), input_shape=(3, 9))
    with pytest.raises(ValueError, match=r"^Conv2d: stride must be positive, got 0$"):
        fb.Conv2d(4, 3, stride=0)
    with pytest.raises(ValueError, match=r"^Conv3d: size must be one integer or 3 integers"):
        fb.Conv3d(4, (3, 3))
    with pytest.raises(ValueError, match="Conv2d: filters must be"):
        fb.Conv2d(0, 3)
    net = fb.Sequential(fb.Conv2d(2, 3), input_shape=(1, 5, 5))
    with pytest.raises(ValueError, match=r"\(N, 1, 5, 5\).*got \(3, 25\)"):
        net.predict(np.ones((3, 25)))


POOLS = [
    (fb.MaxPool1d(2), (3, 7), (3, 3)),
    (fb.MaxPool1d(2, ceil=True), (3, 7), (3, 4)),
    (fb.MaxPool2d(3, stride=2, padding=1), (2, 8, 9), (2, 4, 5)),
    (fb.MaxPool2d([2, 3], padding="same", dilation=2), (2, 8, 9), (2, 4, 3)),
    (fb.MaxPool3d(2), (1, 4, 4, 6), (1, 2, 2, 3)),
    (fb.AvgPool1d(3, stride=1, padding=[(2, 0)]), (3, 7), (3, 7)),
    (fb.AvgPool2d(2, padding=1, count_padding=False), (2, 6, 5), (2, 4, 3)),
    (fb.AvgPool3d((1, 2, 3)), (2, 3, 4, 6), (2, 3, 2, 2)),
    (fb.GlobalAvgPool2d(), (6, 3, 5), (6,)),
]


@pytest.mark.parametrize(("layer", "shape", "expected"), POOLS, ids=[repr(row[0]) for row in POOLS])
def test_pools(layer, shape, expected, tmp_path):
    net = fb.Sequential(fresh(layer), fb.Flatten(), fb.Affine(4), input_shape=shape, dtype="float64", seed=1)
    assert net.layers[0].output_shape(shape) == expected
    x, labels = RNG.normal(size=(5, *shape)), RNG.integers(0, 4, 5)
    assert fb.check_gradients(net, x, labels, loss=fb.SoftmaxCrossEntropy()).checked > 40
    net.save(tmp_path / "net.npz")
    np.testing.assert_array_equal(fb.Sequential.load(tmp_path / "net.npz").predict(x), net.predict(x))
    assert net.predict(x[:0]).shape == (0, 4)


def test_pools_learn():
    x = RNG.normal(size=(60, 1, 6, 6)).astype(np.float32)
    labels = (x.max((1, 2, 3)) > 2.2).astype(np.int64)
    net = fb.Sequential(
        fb.MaxPool2d(3), fb.Flatten(), fb.Affine(16), fb.ReLU(), fb.Affine(2), input_shape=(1, 6, 6), seed=0
    )
    numbers = {"loss": fb.SoftmaxCrossEntropy(), "optimizer": fb.SGD(0.2)}
    losses = [net.train_step(x, labels, **numbers) for _ in range(200)]
    assert losses[-1] < 0.5 * losses[0]


def test_pools_refuse():
    with pytest.raises(ValueError, match=r"^maxpool2d_1 takes samples \(C, H, W\), got \(4,\)$"):
        fb.Sequential(fb.MaxPool2d(2), input_shape=4)
    with pytest.raises(
        ValueError, match=r"^maxpool2d_1: a window that spans 3 x 3 does not fit into an image of 2 x 5"
    ):
        fb.Sequential(fb.MaxPool2d(3), input_shape=(1, 2, 5))
    with pytest.raises(ValueError, match=r"^avgpool1d_1: a window lies on padding only: image 4, size 2"):
        fb.Sequential(fb.AvgPool1d(2, padding=2), input_shape=(1, 4))
    with pytest.raises(ValueError, match=r"^globalavgpool2d_1 takes samples \(C, H, W\) .* got \(4,\)"):
        fb.Sequential(fb.GlobalAvgPool2d(), input_shape=4)
    with pytest.raises(ValueError, match=r"^MaxPool2d: size must be positive, got 0"):
        fb.MaxPool2d(0)
    with pytest.raises(ValueError, match=r"^AvgPool3d: stride must be one integer or 3 integers"):
        fb.AvgPool3d(2, stride=(1, 2))
    with pytest.raises(TypeError, match=r"^MaxPool1d: size must be an integer, got 1.5"):
        fb.MaxPool1d(1.5)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: fb.Affine(3, bias="no"), "Affine: bias must be True or False, got 'no'"),
        (lambda: fb.Conv2d(3, 3, bias=1), "Conv2d: bias must be True or False, got 1"),
        (lambda: fb.Conv2d(3, 3, stride=True), "Conv2d: stride must be one integer or 2 integers, got True"),
        (lambda: fb.MaxPool2d(2, ceil="a"), "MaxPool2d: ceil must be True or False, got 'a'"),
        (lambda: fb.AvgPool1d(2, count_padding=None), "AvgPool1d: count_padding must be True or False, got None"),
        (lambda: fb.Sequential(fb.Affine(3), input_shape=(1, 2.5)), "input_shape must be an integer, got 2.5"),
    ],
)
def test_types_of_arguments(layer, message):
    with pytest.raises(TypeError, match=f"^{message}$"):
        layer()


def test_wrong_values_name_the_layer():
    with pytest.raises(ValueError, match=r"^Conv1d: init must be a function or one of he, glorot, lecun, got 'zero'"):
        fb.Conv1d(3, 3, init="zero")
    with pytest.raises(ValueError, match=r"^input_shape must be integers of at least 1, got \(3, 0\)"):
        fb.Sequential(fb.Affine(3), input_shape=(3, 0))
