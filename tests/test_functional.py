"""`fastbp.functional`: agrees with NumPy and with the kernels, converts dtypes, returns new arrays."""

import numpy as np
import pytest
import reference

import fastbp as fb
from fastbp import functional as F
from fastbp import kernels
from fastbp.kernels.windows import windows

RNG = np.random.default_rng(8)
N, I, O = 7, 5, 4
X, W, B = RNG.normal(size=(N, I)), RNG.normal(size=(O, I)), RNG.normal(size=O)
DY = RNG.normal(size=(N, O))


def sigmoid(u):
    return 1 / (1 + np.exp(-u))


ACTIVATIONS = {
    "relu": (lambda u: np.maximum(0, u), lambda h: np.where(h <= 0, 0.0, 1.0)),
    "leaky_relu": (lambda u: np.where(u > 0, u, 0.01 * u), lambda h: np.where(h <= 0, 0.01, 1.0)),
    "sigmoid": (sigmoid, lambda h: h * (1 - h)),
    "tanh": (np.tanh, lambda h: 1 - h * h),
    "identity": (lambda u: u, np.ones_like),
}


def close(actual, expected, dtype=np.float64, terms=N + I + O):
    """Sums of so many terms of size up to 4, and the 2 ulp of the activations."""
    tolerance = 4 * terms * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def test_matmul():
    close(F.matmul(X, W.T), X @ W.T)
    np.testing.assert_array_equal(F.matmul(np.ones((2, 0)), np.ones((0, 3))), np.zeros((2, 3)))
    out = np.empty((N, O))
    kernels.matmul(X, W.T, out)
    np.testing.assert_array_equal(F.matmul(X, W.T), out)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name, dtype):
    f, slope = ACTIVATIONS[name]
    x, dy = X.astype(dtype), X[::-1].astype(dtype)
    y = getattr(F, f"{name}_forward")(x)
    dx = getattr(F, f"{name}_backward")(dy, y)
    close(y, f(x.astype(np.float64)), dtype)
    close(dx, dy * slope(y.astype(np.float64)), dtype)
    assert y.dtype == dx.dtype == dtype
    out = np.empty_like(x)
    extra = (0.01,) if name == "leaky_relu" else ()
    getattr(kernels, f"{name}_forward")(x, *extra, out)
    np.testing.assert_array_equal(y, out)
    getattr(kernels, f"{name}_backward")(dy, y, *extra, out)
    np.testing.assert_array_equal(dx, out)


def test_activations_take_any_shape():
    for shape in [(), (0,), (3,), (2, 3, 4)]:
        x = np.full(shape, -2.0)
        assert F.relu_forward(x).shape == shape
        np.testing.assert_array_equal(F.relu_forward(x), np.zeros(shape))
    np.testing.assert_array_equal(F.leaky_relu_forward([-2.0, 2.0], slope=0.5), [-1, 2])
    np.testing.assert_array_equal(F.leaky_relu_backward([1.0, 1.0], [-1.0, 2.0], slope=0.5), [0.5, 1])


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name):
    e = np.exp(X)
    p = e / e.sum(1, keepdims=True)
    y = getattr(F, f"{name}_forward")(X)
    dx = getattr(F, f"{name}_backward")(X[::-1], y)
    dy = X[::-1]
    if name == "softmax":
        close(y, p)
        close(dx, p * (dy - (dy * p).sum(1, keepdims=True)))
    else:
        close(y, np.log(p))
        close(dx, dy - p * dy.sum(1, keepdims=True))
    out = np.empty_like(X)
    getattr(kernels, f"{name}_forward")(X, out)
    np.testing.assert_array_equal(y, out)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_affine(name, order, bias):
    f, _ = ACTIVATIONS[name]
    b = B if bias else None
    w = np.asarray(W, order=order)
    close(F.affine_forward(X, w, b, activation=name), f(X @ W.T + (B if bias else 0)))


@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("order", ["C", "F"])
def test_affine_backward(order, l2):
    w = np.asarray(W, order=order)
    dx, dw, db = F.affine_backward(DY, X, w, l2=l2)
    close(dx, DY @ W)
    close(dw, DY.T @ X + 2 * l2 * W)
    close(db, DY.sum(0))


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh"])
def test_affine_with_activation(name):
    f, slope = ACTIVATIONS[name]
    y = getattr(F, f"affine_{name}_forward")(X, W, B)
    close(y, f(X @ W.T + B))
    dx, dw, db = getattr(F, f"affine_{name}_backward")(DY, y, X, W, l2=0.1)
    delta = DY * slope(y)
    close(dx, delta @ W)
    close(dw, delta.T @ X + 0.2 * W)
    close(db, delta.sum(0))
    outputs = np.empty_like(DY), np.empty_like(X), np.empty_like(W), np.empty_like(B)
    getattr(kernels, f"affine_{name}_backward")(DY, y, X, W, *outputs, 0.1)
    for mine, kernel in zip((dx, dw, db), outputs[1:], strict=True):
        np.testing.assert_array_equal(mine, kernel)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_recursion_of_backpropagation(name):
    f, slope = ACTIVATIONS[name]
    h = f(X)
    close(F.affine_delta(DY, W, h, activation=name), (DY @ W) * slope(h))


def test_augmented_matrix_and_back():
    augmented = F.to_augmented(W, B)
    assert augmented.shape == (O, I + 1)
    np.testing.assert_array_equal(augmented[:, 0], B)
    ones = np.column_stack([np.ones(N), X])
    close(ones @ augmented.T, F.affine_forward(X, W, B))
    w, b = F.from_augmented(augmented)
    np.testing.assert_array_equal(w, W)
    np.testing.assert_array_equal(b, B)
    augmented[:] = 0
    np.testing.assert_array_equal(w, W)
    for wrong in (np.zeros(3), np.zeros((2, 0)), np.zeros((2, 2, 2))):
        with pytest.raises(ValueError, match=r"must have the shape \(O, I \+ 1\)"):
            F.from_augmented(wrong)
    with pytest.raises(ValueError, match="to_augmented"):
        F.to_augmented(W, B[:2])


def test_losses_are_those_of_the_package():
    u, t = RNG.normal(size=(6, 3)), np.eye(3)[RNG.integers(0, 3, 6)]
    pairs = [
        (F.softmax_cross_entropy(u, t), fb.SoftmaxCrossEntropy()),
        (F.mean_squared_error(u, t), fb.MeanSquaredError()),
        (F.squared_error(u, t), fb.SquaredError()),
        (F.squared_error(u, t, half=True), fb.SquaredError(half=True)),
        (F.sigmoid_cross_entropy(u, t), fb.SigmoidCrossEntropy()),
    ]
    for (value, delta), loss in pairs:
        assert value == loss(u, t)[0]
        np.testing.assert_array_equal(delta, loss(u, t)[1])


def test_sgd_update():
    g = RNG.normal(size=W.shape)
    for order in "CF":
        w = np.asarray(W, order=order)
        close(F.sgd_update(g, w, 0.1, 0.5), W - 0.1 * (g + 2 * 0.5 * W))
        np.testing.assert_array_equal(w, W)
    with pytest.raises(ValueError, match="lr must be finite"):
        F.sgd_update(g, W, -1)


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (("float32", "float32"), "float32"),
        (("float32", "float64"), "float64"),
        (("float16", "float16"), "float32"),
        (("float16", "int8"), "float32"),
        (("bool", "uint16"), "float32"),
        (("int32", "float32"), "float64"),
        (("int64", "int64"), "float64"),
        (("longdouble", "float32"), "float64"),
        ((">f4", "<f4"), "float32"),
        ((">f8", "float32"), "float64"),
    ],
)
def test_dtypes_are_promoted_as_numpy_does(dtypes, expected):
    a, b = np.ones((2, 3), dtypes[0]), np.ones((3, 2), dtypes[1])
    result = F.matmul(a, b)
    assert result.dtype == np.dtype(expected)
    assert result.dtype.isnative
    np.testing.assert_array_equal(result, 3 * np.ones((2, 2)) if dtypes[0] != "bool" else 3)


def test_inputs_may_be_of_any_layout():
    base = RNG.normal(size=(2 * N, 2 * I))
    views = [base[::2, ::2], base[::-2, ::-2], np.asfortranarray(base[:N, :I]), base[:N, :I]]
    views.append(np.broadcast_to(base[0, :I], (N, I)))
    packed = np.zeros(N, [("skip", "i1"), ("x", "f8", (I,))])  # unaligned
    packed["x"] = base[:N, :I]
    views.append(packed["x"])
    frozen = base[:N, :I].copy()
    frozen.flags.writeable = False
    views.append(frozen)
    for x in views:
        before = x.copy()
        close(F.affine_forward(x, W, B), x @ W.T + B)
        np.testing.assert_array_equal(F.relu_forward(x), np.maximum(0, x))
        np.testing.assert_array_equal(F.softmax_forward(x), F.softmax_forward(before))
        close(F.matmul(x.T, x), x.T @ x)
        np.testing.assert_array_equal(x, before)


def test_results_are_new_arrays():
    x = np.abs(X)
    for function in (F.identity_forward, F.relu_forward, F.leaky_relu_forward, F.softmax_forward):
        first = function(x)
        kept = first.copy()
        second = function(x + 1)
        assert not np.shares_memory(first, x)
        assert not np.shares_memory(first, second)
        np.testing.assert_array_equal(first, kept)
    dy = np.ones_like(x)
    assert not np.shares_memory(F.identity_backward(dy, x), dy)
    first, second = F.matmul(X, W.T), F.matmul(X, W.T)
    assert not np.shares_memory(first, second)


@pytest.mark.parametrize(("m", "k", "n"), [(0, 3, 2), (3, 2, 0), (2, 0, 3), (0, 0, 2), (0, 3, 0), (0, 0, 0)])
def test_products_of_size_zero(m, k, n):
    np.testing.assert_array_equal(F.matmul(np.ones((m, k)), np.ones((k, n))), np.zeros((m, n)))


def test_no_samples():
    empty = np.empty((0, I))
    assert F.affine_forward(empty, W, B).shape == (0, O)
    assert F.softmax_forward(empty).shape == (0, I)
    dx, dw, db = F.affine_backward(np.empty((0, O)), empty, W, l2=1)
    assert dx.shape == (0, I)
    np.testing.assert_array_equal(dw, 2 * W)
    np.testing.assert_array_equal(db, 0)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"matmul: a must be \(M, K\) and b \(K, N\), got \(7, 5\) and \(4, 5\)"):
        F.matmul(X, W)
    with pytest.raises(ValueError, match="affine_forward"):
        F.affine_forward(X, W.T, B)
    with pytest.raises(ValueError, match="affine_forward"):
        F.affine_forward(X[0], W, B)
    with pytest.raises(ValueError, match="affine_backward"):
        F.affine_backward(DY[:3], X, W)
    with pytest.raises(ValueError, match="affine_backward"):
        F.affine_relu_backward(DY, DY[:, :2], X, W)
    with pytest.raises(ValueError, match="affine_delta"):
        F.affine_delta(DY, W, X[:2], activation="relu")
    with pytest.raises(ValueError, match="shapes must be equal"):
        F.relu_backward(DY, DY[:2])
    with pytest.raises(ValueError, match=r"must have the shape \(N, O\)"):
        F.softmax_forward(B)
    with pytest.raises(ValueError, match=r"must have the shape \(N, O\)"):
        F.softmax_backward(DY, DY[:2])
    with pytest.raises(ValueError, match=r"^affine_forward: activation must be one of identity, .* got 'swish'"):
        F.affine_forward(X, W, activation="swish")
    with pytest.raises(ValueError, match="slope must be finite and above 0"):
        F.leaky_relu_forward(X, slope=0)


@pytest.mark.parametrize("wrong", [[[1j]], [["1"]], [[None]], np.zeros((1, 1), "M8[s]"), [[object()]]])
def test_what_is_not_real_is_refused(wrong):
    with pytest.raises(TypeError, match="a must hold real numbers"):
        F.matmul(wrong, [[1.0]])


def test_ragged_and_masked_arrays_are_refused():
    with pytest.raises(ValueError, match="x is no rectangular array"):
        F.relu_forward([[1.0], [1.0, 2.0]])
    with pytest.raises(TypeError, match="masked"):
        F.relu_forward(np.ma.masked_less([1.0, -1.0], 0))


CONVOLUTIONS = [(F.conv1d_forward, F.conv1d_backward), (F.conv2d_forward, F.conv2d_backward)]
CONVOLUTIONS += [(F.conv3d_forward, F.conv3d_backward)]
MAXIMA = [(F.max_pool1d_forward, F.max_pool1d_backward), (F.max_pool2d_forward, F.max_pool2d_backward)]
MAXIMA += [(F.max_pool3d_forward, F.max_pool3d_backward)]
MEANS = [(F.avg_pool1d_forward, F.avg_pool1d_backward), (F.avg_pool2d_forward, F.avg_pool2d_backward)]
MEANS += [(F.avg_pool3d_forward, F.avg_pool3d_backward)]


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_convolutions(axes):
    forward, backward = CONVOLUTIONS[axes - 1]
    rng, numbers = np.random.default_rng(0), {"stride": 2, "padding": [(1, 0)] * axes, "groups": 2}
    x, w, b = (rng.standard_normal(shape) for shape in ((2, 4, *[5] * axes), (6, 2, *[3] * axes), (6,)))
    on = windows("test", x.shape[2:], w.shape[2:], stride=2, padding=[(1, 0)] * axes)
    y = forward(x, w, b, **numbers)
    expected = reference.convolve(x, w, b, 2, on)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)
    activated = forward(x.astype(np.float16), w, activation="relu", **numbers)
    u = reference.convolve(x.astype(np.float16), w, None, 2, on)
    np.testing.assert_allclose(activated, np.maximum(u, 0), rtol=0, atol=1e-12)
    dx, dw, db = backward(y, x, w, l2=0.5, **numbers)
    for actual, wanted in zip((dx, dw - w, db), reference.convolve_backward(y, x, w, 2, on), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match=rf"^conv{axes}d_forward: x must be images \(N, C, .*got the shape \(5,\)"):
        forward(x[(0, 0, *[0] * (axes - 1))], w)
    with pytest.raises(ValueError, match=rf"^conv{axes}d_backward: dy must be an array of the shape"):
        backward(y[:1], x, w, **numbers)
    with pytest.raises(ValueError, match="groups must divide"):
        forward(x, w, groups=3)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_pools(axes):
    x = np.random.default_rng(0).integers(-9, 9, (2, 3, *[4] * axes))
    windows_of_two = x.reshape(2, 3, *[2] * (2 * axes))
    inner = tuple(range(3, 3 + 2 * axes, 2))
    largest, mean = MAXIMA[axes - 1], MEANS[axes - 1]
    y = largest[0](x, 2)
    np.testing.assert_array_equal(y, windows_of_two.max(inner))
    assert y.dtype == np.float64
    dx = largest[1](np.ones_like(y), x, 2)
    assert dx.sum() == y.size
    np.testing.assert_array_equal((dx * x).sum(), y.sum())
    np.testing.assert_array_equal(mean[0](x, 2), windows_of_two.mean(inner))
    np.testing.assert_array_equal(mean[1](np.ones_like(y), x, 2), np.full(x.shape, 0.5**axes))
    alone = mean[0](np.ones((1, 1, *[2] * axes)), 2, padding=1, count_padding=False)
    np.testing.assert_array_equal(alone, np.ones((1, 1, *[2] * axes)))
    with pytest.raises(ValueError, match=rf"^max_pool{axes}d_forward: x must be images"):
        largest[0](x[0], 2)
    with pytest.raises(ValueError, match=rf"^avg_pool{axes}d_forward: a window that spans"):
        mean[0](x, 5)


def test_global_mean():
    x = np.arange(24.0).reshape(1, 2, 3, 4)
    np.testing.assert_array_equal(F.global_avg_pool2d_forward(x), [[5.5, 17.5]])
    np.testing.assert_array_equal(F.global_avg_pool2d_backward([[12.0, 24.0]], x)[0, :, 0, 0], [1, 2])
