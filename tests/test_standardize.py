"""Standardising inputs: the kernel, the numbers that samples give, and networks that begin with it."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import reference

import fastbp as fb
from fastbp import functional as F
from fastbp import graph, kernels, ops

RNG = np.random.default_rng(3)
LIMITS = [None, 3.0]
CROSS_ENTROPY = fb.SoftmaxCrossEntropy()


def standardized(x, mean, std, limit):
    """y and dy/dx in float64."""
    x, mean, std = reference.double(x, mean, std)
    z = (x - mean) / std
    if limit is None:
        return z, np.broadcast_to(1 / std, z.shape)
    root = np.sqrt(1 + (z / limit) ** 2)
    return z / root, root**-3 / std


@pytest.fixture(scope="module")
def table():
    """80 samples of features of very different scale, of which the fourth is constant, and labels from 0 to 2."""
    x = RNG.normal(size=(80, 5)) * [1e-9, 1, 1e6, 1, 10] + [0, 100, -1e6, 0, 1]
    x[:, 3] = 0.1
    return x, RNG.integers(0, 3, 80)


def network(x, dtype="float64", limit=3.0):
    layers = fb.Standardize.of(x, limit=limit), fb.Affine(6), fb.Tanh(), fb.Affine(3)
    return fb.Sequential(*layers, input_shape=x.shape[1:], dtype=dtype, seed=0)


# --- kernel -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (7, 33), (5, 3, 4), (4, 2, 3, 5), (6, 0), (9,)])
def test_kernel(shape, dtype, order, limit):
    x, dy = (np.asarray(3 * RNG.normal(size=shape), dtype, order=order) for _ in range(2))
    mean, std = (RNG.uniform(0.5, 2, shape[1:]).astype(dtype) for _ in range(2))
    wanted, slope = standardized(x, mean, std, limit)
    y, dx = np.full_like(x, np.nan), np.full_like(x, np.nan)
    kernels.standardize_forward(x, mean, std, y, limit)
    kernels.standardize_backward(dy, x, mean, std, dx, limit)
    # at most ten roundings of numbers of the size of z, and of its square in the slope
    size = np.abs(x) + mean
    reference.assert_within(y, wanted, 10 * reference.eps(dtype) * size / std)
    reference.assert_within(dx, dy * slope, 20 * reference.eps(dtype) * np.abs(dy) * (1 + size / std) / std)
    kernels.standardize_backward(dy, x, mean, std, dy, limit)
    reference.assert_bitwise(dy, dx)
    kernels.standardize_forward(x, mean, std, x, limit)
    reference.assert_bitwise(x, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite_and_what_is_far(dtype):
    largest = float(np.finfo(dtype).max)
    x = np.array([[np.nan, np.inf, -np.inf, largest, -largest, 1e9, 0]], dtype)
    mean, std = np.zeros(7, dtype), np.full(7, 1e-3, dtype)
    y, dx = np.empty_like(x), np.empty_like(x)
    kernels.standardize_forward(x, mean, std, y, 5)
    np.testing.assert_allclose(y, [[np.nan, 5, -5, 5, -5, 5, 0]], rtol=4 * reference.eps(dtype))
    kernels.standardize_backward(np.ones_like(x), x, mean, std, dx, 5)
    assert np.isnan(dx[0, 0])
    assert (dx[0, 1:6] >= 0).all()
    assert (dx[0, 1:6] < 1e-6).all()
    kernels.standardize_forward(x, mean, np.ones(7, dtype), y)
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("limit", LIMITS)
def test_the_number_of_threads_changes_no_bit(limit, check_both_variants):
    x, dy = (RNG.normal(size=(37, 30, 20)).astype(np.float32) for _ in range(2))
    mean, std = (RNG.uniform(0.5, 2, (30, 20)).astype(np.float32) for _ in range(2))
    check_both_variants(
        lambda: (F.standardize_forward(x, mean, std, limit), F.standardize_backward(dy, x, mean, std, limit))
    )


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "mean must be an array of the shape (3,) for x (4, 3), got the shape (4,)", {"mean": np.ones(4)}),
        (ValueError, "std must be an array of the shape (3,) for x (4, 3), got float", {"std": 1.0}),
        (TypeError, "std must be float64 as x is, got float32", {"std": np.ones(3, np.float32)}),
        (ValueError, "shapes must be equal, got x (4, 3), out (3, 3)", {"out": np.ones((3, 3))}),
        (ValueError, "the limit must be above 0, got 0", {"limit": 0}),
        (TypeError, "limit must be a number, got 'far'", {"limit": "far"}),
        (ValueError, "x must have samples along its first dimension", {"x": np.ones(()), "out": np.ones(())}),
    ],
)
def test_the_kernel_refuses(error, message, arguments):
    good = {"x": np.ones((4, 3)), "mean": np.ones(3), "std": np.ones(3), "out": np.ones((4, 3))}
    with pytest.raises(error) as caught:
        kernels.standardize_forward(**{**good, **arguments})
    assert str(caught.value) == f"standardize_forward: {message}"


def test_outputs_in_the_memory_of_inputs():
    base = np.ones((5, 3))
    with pytest.raises(ValueError, match="the output overlaps an input that is another array"):
        kernels.standardize_forward(base[1:], np.ones(3), np.ones(3), base[:-1])
    with pytest.raises(ValueError, match="the output must not overlap an input"):
        kernels.standardize_forward(np.ones((1, 3)), base[0], np.ones(3), base[:1])


def test_functional():
    y = F.standardize_forward([[3, 300], [5, 500]], [4, 200], 2)
    np.testing.assert_array_equal(y, [[-0.5, 50], [0.5, 150]])
    np.testing.assert_array_equal(F.standardize_backward(np.ones((2, 2)), y, 0, [2, 4]), [[0.5, 0.25]] * 2)
    assert F.standardize_forward(np.ones((2, 3), np.float32), [0.0] * 3, 1.0).dtype == np.float32
    with pytest.raises(ValueError, match=r"^standardize_forward: mean must broadcast .* sample, \(2,\), got \(3,\)$"):
        F.standardize_forward(y, [1, 2, 3], 1)
    with pytest.raises(ValueError, match=r"^limit must be finite and above 0, got -1"):
        F.standardize_backward(y, y, 0, 1, limit=-1)


# --- the numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_features_of_any_scale_get_mean_0_and_standard_deviation_1(table, dtype):
    x = table[0].astype(dtype)
    y = fb.Sequential(fb.Standardize.of(x), input_shape=5, dtype=dtype).predict(x)
    eps = reference.eps(dtype)
    spread = [0, 1, 2, 4]
    # the values of the second feature are a hundred times their standard deviation, and rounded
    np.testing.assert_allclose(y[:, spread].mean(0, dtype=float), 0, rtol=0, atol=200 * eps)
    np.testing.assert_allclose(y[:, spread].std(0, dtype=float), 1, rtol=200 * eps)
    np.testing.assert_array_equal(y[:, 3], 0)


def test_spread_within_rounding_is_none():
    x = np.full((9, 3), [0.1, 1e7, 0.0], np.float32)
    x[4] = np.nextafter(x[4], np.float32(np.inf))
    layer = fb.Standardize.of(x)
    np.testing.assert_array_equal(layer.std, 1)
    assert np.abs(fb.Sequential(layer, input_shape=3).predict(x)).max() <= 1
    # the same numbers in float64 are exact, and of integers every difference counts
    assert fb.Standardize.of([[2**53], [2**53 + 2]]).std == 1
    assert fb.Standardize.of([[1_700_000_000], [1_700_000_001]]).std == 0.5


@pytest.mark.parametrize(
    ("shape", "axis", "axes", "of_sample"),
    [
        ((6, 4), None, (0,), (4,)),
        ((6, 4), (0, 1), (0, 1), (1,)),
        ((6, 4, 5), None, (0, 1, 2), (1, 1)),
        ((6, 4, 5), (0, 2), (0, 2), (4, 1)),
        ((6, 4, 5), 0, (0,), (4, 5)),
        ((6, 3, 4, 5), None, (0, 2, 3), (3, 1, 1)),
        ((6, 3, 2, 4, 5), None, (0, 2, 3, 4), (3, 1, 1, 1)),
        ((6, 3, 4, 5), (-1, 0), (0, 3), (3, 4, 1)),
    ],
)
def test_axes_with_one_mean(shape, axis, axes, of_sample, monkeypatch):
    monkeypatch.setattr("fastbp.layers.standardize._CHUNK", 40)  # a few samples at a time
    x = RNG.normal(size=shape)
    layer = fb.Standardize.of(x, axis=axis)
    assert layer.mean.shape == layer.std.shape == of_sample
    eps = reference.eps(np.float64)
    np.testing.assert_allclose(layer.mean, x.mean(axes, keepdims=True)[0], rtol=0, atol=x.size * eps)
    np.testing.assert_allclose(layer.std, x.std(axes, keepdims=True)[0], rtol=x.size * eps)
    assert fb.Sequential(layer, input_shape=shape[1:]).predict(x).shape == shape


def test_far_values_do_not_hide_the_others():
    """A hundredth of the values a million times too large: the others keep their scale, where there is a limit."""
    x = RNG.normal(size=(1000, 2))
    x[::100] *= 1e6
    near = np.arange(1000) % 100 > 0
    y = fb.Sequential(fb.Standardize.of(x, limit=5), input_shape=2, dtype="float64").predict(x)
    assert np.abs(y).max() <= 5
    assert (y[near].std(0) > 0.3).all()
    y = fb.Sequential(fb.Standardize.of(x), input_shape=2, dtype="float64").predict(x)
    assert (y[near].std(0) < 1e-4).all()
    # a feature of which most values are the same has no quartiles to go by
    rare = (np.arange(1000) % 50 == 0).astype(float)[:, None]
    assert fb.Standardize.of(rare, limit=5).std == pytest.approx(rare.std(), rel=1e-12)


def test_far_values_of_normal_numbers_are_none():
    x = RNG.normal(size=(2000, 3))
    plain, limited = fb.Standardize.of(x), fb.Standardize.of(x, limit=5)
    np.testing.assert_array_equal(plain.mean, limited.mean)
    np.testing.assert_array_equal(plain.std, limited.std)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "bool", "float16"])
def test_samples_of_other_dtypes(dtype):
    x = RNG.integers(0, 2, (50, 4)).astype(dtype)
    layer = fb.Standardize.of(x)
    np.testing.assert_allclose(layer.mean, x.mean(0, dtype=float), rtol=1e-14)
    np.testing.assert_allclose(layer.std, x.std(0, dtype=float), rtol=1e-14)


def test_no_warning_for_numbers_at_the_edge_of_the_range():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for largest in (1e-300, 1e308):
            layer = fb.Standardize.of([[0.0], [largest]])
            assert layer.mean == layer.std == largest / 2
        with pytest.raises(ValueError, match=r"^Standardize\.of: values of x lie farther apart than float64 can hold"):
            fb.Standardize.of([[1e308], [-1e308]])


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (np.ones(5), {}, r"^Standardize.of: x must have the shape \(N, features\) or \(N, ...\), got \(5,\)"),
        (np.ones((0, 5)), {}, r"^Standardize.of: x must .*, got \(0, 5\)"),
        ([[1.0], [np.nan]], {}, "^x must be finite, but row 1 holds nan"),
        (np.ones((2, 5)), {"axis": 1}, "^Standardize.of: axis must have 0, the samples, among them, got 1"),
        (np.ones((2, 5)), {"axis": 2}, "axis 2 is out of bounds"),
        (np.ones((2, 5)), {"limit": 0}, "^Standardize: limit must be finite and above 0, got 0"),
    ],
)
def test_samples_that_give_no_numbers(x, options, message):
    with pytest.raises(ValueError, match=message):
        fb.Standardize.of(x, **options)


# --- the layer --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", LIMITS)
def test_gradients(table, limit):
    x, y = table
    net = network(x, limit=limit)
    assert fb.check_gradients(net, x[:8], y[:8], loss=CROSS_ENTROPY).skipped == 0
    _, delta = CROSS_ENTROPY(net.forward(x[:8]), y[:8])
    dx = net.backward(delta, input_grad=True)
    v = graph.Variable(x[:8], "x")
    graph.apply(CROSS_ENTROPY, graph.apply(net, v), y[:8]).backward()
    np.testing.assert_array_equal(v.grad, dx)


def test_it_may_stand_anywhere():
    """Behind a layer with weights its gradient is needed, in place too."""
    layers = fb.Affine(4), fb.Standardize([0.1, 0.2, 0.3, 0.4], 0.5, limit=2), fb.Affine(3)
    net = fb.Sequential(*layers, input_shape=3, dtype="float64", seed=1)
    x, y = RNG.normal(size=(6, 3)), RNG.integers(0, 3, 6)
    assert fb.check_gradients(net, x, y, loss=CROSS_ENTROPY).skipped == 0
    by_channel = fb.Standardize(np.ones((2, 1, 1)), 2)
    images = fb.Sequential(by_channel, fb.Conv2d(3, 3), fb.Flatten(), fb.Affine(3), input_shape=(2, 5, 5), seed=1)
    assert images.predict(RNG.normal(size=(4, 2, 5, 5))).shape == (4, 3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("limit", LIMITS)
def test_steps_are_recorded(table, limit, dtype):
    """A recorded step does what forward, backward and the update do one by one."""
    x, y = table[0].astype(dtype), table[1]
    net = network(x, dtype, limit)
    other = copy.deepcopy(net)
    for n in (50, 30, 50):
        net.train_step(x[:n], y[:n], loss=CROSS_ENTROPY, optimizer=fb.SGD(0.1))
        _, delta = CROSS_ENTROPY(other.forward(x[:n]), y[:n])
        other.backward(delta)
        fb.SGD(0.1).step(other.parameters())
    assert net._steps.last is not None
    for ours, theirs in zip(net.parameters(), other.parameters(), strict=True):
        # sums of 50 products, in three steps
        np.testing.assert_allclose(ours.value, theirs.value, rtol=0, atol=3 * 64 * reference.eps(dtype))


def test_training_leaves_the_numbers_alone(table):
    x, y = table
    net = network(x)
    before = net.layers[0].mean.copy(), net.layers[0].std.copy()
    assert [p.name for p in net.parameters()] == ["affine_1.w", "affine_1.b", "affine_2.w", "affine_2.b"]
    net.fit(x, y, loss=CROSS_ENTROPY, optimizer=fb.SGD(0.1), l2=0.1)
    np.testing.assert_array_equal(net.layers[0].mean, before[0])
    np.testing.assert_array_equal(net.layers[0].std, before[1])
    with pytest.raises(ValueError, match="read-only"):
        net.layers[0].mean[0] = 1


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_copies_and_files_hold_the_same_numbers(table, dtype, limit, tmp_path):
    x, _ = table
    net = network(x, dtype, limit)
    expected = net.predict(x)
    net.save(tmp_path / "net.npz")
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), fb.Sequential.load(tmp_path / "net.npz")):
        np.testing.assert_array_equal(other.predict(x), expected)
        np.testing.assert_array_equal(other.layers[0].mean, net.layers[0].mean)
        np.testing.assert_array_equal(other.layers[0].std, net.layers[0].std)
        assert other.layers[0].limit == limit
    single = net.astype("float32").predict(x.astype("float32"))
    # rounding of x by eps / 2, a hundred times its standard deviation, through weights that sum to a few
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e4 * reference.eps(np.float32))


def test_one_layer_in_graphs_of_several_shapes_and_dtypes():
    layer = fb.Standardize(1, 2)
    for shape, dtype in (((3, 2), "float32"), ((3, 2), "float64"), ((2, 4, 5), "float64"), ((3, 2), "float32")):
        y = graph.apply(layer, np.zeros(shape, dtype))
        assert y.dtype == dtype
        np.testing.assert_array_equal(y.value, np.full(shape, -0.5))


def test_summary_and_repr(table):
    net = network(table[0])
    assert "Standardize(<5 numbers>, <5 numbers>, limit=3)" in str(net.summary())
    assert repr(fb.Standardize(0.25, [[[2.0]]])) == "Standardize(0.25, 2)"
    assert net.cost().forward == 5 * 6 + 6 * 3


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "Standardize: std must be above 0, got 0", ([1, 2], [1, 0])),
        (ValueError, "Standardize: std must be above 0, got -1", (0, -1)),
        (ValueError, "Standardize: mean must be finite, but row 0 holds nan", (float("nan"), 1)),
        (TypeError, "Standardize: mean must hold real numbers", ("a", 1)),
        (ValueError, "Standardize: limit must be finite and above 0, got inf", (0, 1, float("inf"))),
    ],
)
def test_the_layer_refuses(error, message, arguments):
    with pytest.raises(error, match=f"^{message}"):
        fb.Standardize(*arguments)


def test_samples_that_do_not_fit():
    text = r"mean and std of shapes \(3,\) and \(\) do not broadcast to samples \(4,\)$"
    with pytest.raises(ValueError, match=f"^standardize_1: {text}"):
        fb.Sequential(fb.Standardize([1, 2, 3], 1), input_shape=4)
    with pytest.raises(ValueError, match=f"^standardize: {text}"):
        ops.Standardize([1, 2, 3], 1).forward(fb.op.Context(), np.ones((2, 4)))
    with pytest.raises(ValueError, match="do not broadcast"):
        fb.Sequential(fb.Standardize(np.ones((3, 1)), 1), input_shape=4)
    net = fb.Sequential(fb.Standardize(0, 1e-60), input_shape=1)
    with pytest.raises(ValueError, match="a std of 1e-60 is 0 in float32"):
        net.predict([[1.0]])
