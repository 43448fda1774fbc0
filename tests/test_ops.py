"""Every operation of graphs: values against NumPy, gradients against numerical differentiation, and kinks."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastbp as fb
from fastbp import graph, ops
from fastbp.graph import Variable

EPS = {dtype: float(np.finfo(dtype).eps) for dtype in (np.float32, np.float64)}
RNG = np.random.default_rng(16)
A, B, C = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4)), RNG.normal(size=(4, 5))
POSITIVE = RNG.uniform(0.5, 2, size=(3, 4))
IMAGES, FILTERS = RNG.normal(size=(2, 4, 6, 5)), RNG.normal(size=(6, 2, 3, 3))
ROW, COLUMN, NUMBER = RNG.normal(size=4), RNG.normal(size=(3, 1)), np.array(0.7)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


# name: function of variables, the same of arrays, inputs
OPERATIONS = {
    "add": (lambda x, y: x + y, np.add, [A, B]),
    "add row": (lambda x, y: x + y, np.add, [A, ROW]),
    "add column": (lambda x, y: x + y, np.add, [COLUMN, ROW]),
    "add number": (lambda x, y: x + y, np.add, [NUMBER, A]),
    "subtract": (lambda x, y: x - y, np.subtract, [A, ROW]),
    "multiply": (lambda x, y: x * y, np.multiply, [A, COLUMN]),
    "multiply numbers": (lambda x, y: x * y, np.multiply, [NUMBER, NUMBER]),
    "divide": (lambda x, y: x / y, np.divide, [ROW, POSITIVE]),
    "negative": (lambda x: -x, np.negative, [A]),
    "power": (lambda x, y: x**y, np.power, [POSITIVE, ROW]),
    "square": (lambda x: x**2, np.square, [A]),
    "cube": (lambda x: x**3.0, lambda x: x**3, [A]),
    "inverse": (lambda x: x**-1, lambda x: 1 / x, [POSITIVE]),
    "to the power of 0": (lambda x: x**0 + x, lambda x: 1 + x, [A]),
    "power of a number": (lambda x: 2**x, lambda x: 2**x, [A]),
    "exp": (graph.exp, np.exp, [A]),
    "log": (graph.log, np.log, [POSITIVE]),
    "sqrt": (graph.sqrt, np.sqrt, [POSITIVE]),
    "abs": (graph.abs, np.abs, [A]),
    "clip": (lambda x: graph.clip(x, -0.5, 0.9), lambda x: np.clip(x, -0.5, 0.9), [A]),
    "clip below": (lambda x: graph.clip(x, low=0.1), lambda x: np.maximum(x, 0.1), [A]),
    "maximum": (graph.maximum, np.maximum, [A, ROW]),
    "minimum": (graph.minimum, np.minimum, [A, NUMBER]),
    "where": (lambda x, y: graph.where(A > 0, x, y), lambda x, y: np.where(A > 0, x, y), [COLUMN, B]),
    "sum": (graph.sum, np.sum, [A]),
    "sum over an axis": (lambda x: graph.sum(x, 0), lambda x: x.sum(0), [A]),
    "sum over listed axes": (lambda x: graph.sum(x, [1, 2]), lambda x: x.sum((1, 2)), [IMAGES]),
    "sum over axes": (lambda x: graph.sum(x, (0, -1)), lambda x: x.sum((0, -1)), [IMAGES]),
    "sum, axes kept": (lambda x: graph.sum(x, (1, 2), keepdims=True), lambda x: x.sum((1, 2), keepdims=True), [IMAGES]),
    "mean": (graph.mean, np.mean, [A]),
    "mean over an axis": (lambda x: graph.mean(x, 1, keepdims=True), lambda x: x.mean(1, keepdims=True), [A]),
    "moments": (lambda x: graph.moments(x, 1)[0], lambda x: x.mean(1), [A]),
    "variance": (lambda x: graph.moments(x, (0, 2, 3))[1], lambda x: x.var((0, 2, 3)), [IMAGES]),
    "both moments": (lambda x: graph.add(*graph.moments(x, 0)), lambda x: x.mean(0) + x.var(0), [A]),
    "max": (graph.max, np.max, [A]),
    "max over an axis": (lambda x: graph.max(x, 1), lambda x: x.max(1), [A]),
    "max over axes": (lambda x: graph.max(x, (-1, 1), keepdims=True), lambda x: x.max((1, 3), keepdims=True), [IMAGES]),
    "min": (lambda x: graph.min(x, 0), lambda x: x.min(0), [A]),
    "reshape": (lambda x: graph.reshape(x, (2, -1)), lambda x: x.reshape(2, -1), [A]),
    "reshape to a vector": (lambda x: graph.reshape(x, -1), np.ravel, [A]),
    "flatten": (graph.flatten, lambda x: x.reshape(2, -1), [IMAGES]),
    "transpose": (lambda x: x.T, np.transpose, [A]),
    "transpose axes": (lambda x: graph.transpose(x, (2, 0, -1, 1)), lambda x: x.transpose(2, 0, 3, 1), [IMAGES]),
    "broadcast_to": (lambda x: graph.broadcast_to(x, (2, 3, 4)), lambda x: np.broadcast_to(x, (2, 3, 4)), [COLUMN]),
    "element": (lambda x: x[1, -2], lambda x: x[1, -2], [A]),
    "row": (lambda x: x[1], lambda x: x[1], [A]),
    "slice": (lambda x: x[::-2, 1:3], lambda x: x[::-2, 1:3], [A]),
    "ellipsis and new axis": (lambda x: x[..., None, 1], lambda x: x[..., None, 1], [A]),
    "repeated rows": (lambda x: x[[0, 2, 0, 0]], lambda x: x[[0, 2, 0, 0]], [A]),
    "mask": (lambda x: x[A > 0], lambda x: x[A > 0], [A]),
    "places": (lambda x: x[np.arange(3), [3, 0, 0]], lambda x: x[np.arange(3), [3, 0, 0]], [A]),
    "concatenate": (lambda x, y: graph.concatenate([x, y, x], 1), lambda x, y: np.concatenate([x, y, x], 1), [A, B]),
    "stack": (lambda x, y: graph.stack([x, y], -1), lambda x, y: np.stack([x, y], -1), [A, B]),
    "split": (lambda x: graph.split(x, (1,), axis=1)[1], lambda x: x[:, 1:], [A]),
    "equal parts": (lambda x: graph.multiply(*graph.split(x, 2, axis=-1)), lambda x: x[:, :2] * x[:, 2:], [A]),
    "one part": (lambda x: graph.split(x, 1)[0], lambda x: x, [A]),
    "matmul": (graph.matmul, np.matmul, [A, C]),
    "matmul of a vector": (graph.matmul, np.matmul, [ROW, C]),
    "matmul with a vector": (graph.matmul, np.matmul, [A, ROW]),
    "matmul of vectors": (graph.matmul, np.matmul, [ROW, ROW]),
    "matmul of stacks": (graph.matmul, np.matmul, [RNG.normal(size=(2, 1, 3, 4)), RNG.normal(size=(3, 4, 2))]),
    "relu": (graph.relu, lambda x: np.maximum(x, 0), [A]),
    "relu of a number": (graph.relu, lambda x: np.maximum(x, 0), [NUMBER]),
    "leaky_relu": (lambda x: graph.leaky_relu(x, 0.2), lambda x: np.where(x > 0, x, 0.2 * x), [A]),
    "sigmoid": (graph.sigmoid, lambda x: 1 / (1 + np.exp(-x)), [A]),
    "tanh": (graph.tanh, np.tanh, [A]),
    "softmax": (graph.softmax, softmax, [A]),
    "softmax of a vector": (graph.softmax, softmax, [ROW]),
    "log_softmax": (graph.log_softmax, lambda x: np.log(softmax(x)), [IMAGES]),
    "affine": (graph.affine, lambda x, w, b: x @ w.T + b, [A, B, RNG.normal(size=3)]),
    "affine without bias": (graph.affine, lambda x, w: x @ w.T, [A, B]),
    "affine and relu": (
        lambda x, w: graph.affine(x, w, activation="relu"),
        lambda x, w: np.maximum(x @ w.T, 0),
        [A, B],
    ),
    "affine and sigmoid": (
        lambda x, w, b: graph.affine(x, w, b, activation="sigmoid"),
        lambda x, w, b: 1 / (1 + np.exp(-x @ w.T - b)),
        [A, B, RNG.normal(size=3)],
    ),
    "affine and leaky_relu": (
        lambda x, w: graph.affine(x, w, activation="leaky_relu", slope=0.3),
        lambda x, w: np.where(x @ w.T > 0, 1, 0.3) * (x @ w.T),
        [A, B],
    ),
    "standardize": (
        lambda x: graph.apply(ops.Standardize(B[0], [0.5, 2, 3, 0.25]), x),
        lambda x: (x - B[0]) / [0.5, 2, 3, 0.25],
        [A],
    ),
    "standardize with a limit": (
        lambda x: graph.apply(ops.Standardize(0.25, 0.5, limit=2), x),
        lambda x: (x - 0.25) / 0.5 / np.sqrt(1 + ((x - 0.25) / 0.5 / 2) ** 2),
        [IMAGES],
    ),
    "global_avg_pool": (graph.global_avg_pool, lambda x: x.mean((2, 3)), [IMAGES]),
    "squared_error": (lambda u: graph.squared_error(u, B), lambda u: ((u - B) ** 2).sum() / 3, [A]),
    "half squared_error": (lambda u: graph.squared_error(u, B, half=True), lambda u: ((u - B) ** 2).sum() / 6, [A]),
    "mean_squared_error": (lambda u: graph.mean_squared_error(u, B), lambda u: ((u - B) ** 2).mean(), [A]),
    "softmax_cross_entropy": (
        *(
            lambda u: graph.softmax_cross_entropy(u, [0, 3, 3]),
            lambda u: -np.log(softmax(u)[range(3), [0, 3, 3]]).mean(),
        ),
        [A],
    ),
    "sigmoid_cross_entropy": (
        *(lambda u: graph.sigmoid_cross_entropy(u, B > 0), lambda u: (np.log1p(np.exp(u)) - (B > 0) * u).mean()),
        [A],
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", EPS)
def test_values(name, dtype):
    function, expected, inputs = OPERATIONS[name]
    made = function(*(Variable(x.astype(dtype)) for x in inputs))
    wanted = expected(*inputs)
    assert made.dtype == dtype
    assert made.shape == np.shape(wanted)
    # every operation sums at most all elements of its inputs, rounded to dtype before
    tolerance = 4 * sum(x.size for x in inputs) * EPS[dtype]
    np.testing.assert_allclose(made.value, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients(name):
    function, _, inputs = OPERATIONS[name]
    variables = [Variable(x, f"x{i}") for i, x in enumerate(inputs)]
    report = fb.check_gradients(function(*variables), samples=300)
    assert report.skipped == 0
    assert report.checked == sum(x.size for x in inputs)


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients_in_single_precision(name):
    """As in double precision, in the dtype and with the shape of the variable."""
    function, _, inputs = OPERATIONS[name]
    single, double = ([Variable(x.astype(dtype)) for x in inputs] for dtype in EPS)
    y = function(*double)
    seed = np.random.default_rng(0).normal(size=y.shape)
    y.backward(seed)
    function(*single).backward(seed.astype(np.float32))
    tolerance = 16 * sum(x.size for x in inputs) * EPS[np.float32]
    for a, b in zip(single, double, strict=True):
        assert a.grad.dtype == np.float32
        assert a.grad.shape == a.shape
        np.testing.assert_allclose(a.grad, b.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_second_use_adds_to_the_gradient(name):
    """Contributions that an operation adds by itself, and those that the walk adds, in any order."""
    function, _, inputs = OPERATIONS[name]
    variables = [Variable(x) for x in inputs]
    y = function(*variables)
    seed = np.random.default_rng(0).normal(size=y.shape)
    y.backward(seed)
    once = [x.grad for x in variables]
    extra = sum((graph.sum(x * x) for x in variables), start=Variable(0.0))
    for terms in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        made = [graph.sum(function(*variables) * seed), extra, graph.sum(function(*variables) * seed)]
        total = made[terms[0]] + made[terms[1]] + made[terms[2]]
        total.backward(retain=True)
        for x, dx in zip(variables, once, strict=True):
            np.testing.assert_allclose(x.grad, 2 * dx + 2 * x.value, rtol=1e-12, atol=1e-12)


IMAGE_OPERATIONS = {
    "conv1d": (lambda x, w: graph.conv(x, w, stride=2, padding=1), [(2, 3, 8), (4, 3, 3)]),
    "conv2d": (lambda x, w, b: graph.conv(x, w, b, padding="same", dilation=2), [(2, 3, 6, 5), (4, 3, 3, 2), (4,)]),
    "conv2d, groups": (lambda x, w, b: graph.conv(x, w, b, groups=2), [(2, 4, 5, 5), (6, 2, 3, 3), (6,)]),
    "conv2d and tanh": (lambda x, w, b: graph.conv(x, w, b, activation="tanh"), [(2, 3, 5, 5), (4, 3, 3, 3), (4,)]),
    "conv3d": (lambda x, w: graph.conv(x, w), [(2, 2, 4, 3, 3), (3, 2, 2, 2, 2)]),
    "max_pool": (lambda x: graph.max_pool(x, 2), [(2, 3, 6, 4)]),
    "max_pool, overlapping": (lambda x: graph.max_pool(x, 3, 2, padding=1, ceil=True), [(2, 3, 6, 7)]),
    "max_pool1d": (lambda x: graph.max_pool(x, 3, dilation=2, stride=1), [(2, 3, 9)]),
    "max_pool3d": (lambda x: graph.max_pool(x, 2), [(2, 3, 4, 4, 2)]),
    "avg_pool": (lambda x: graph.avg_pool(x, 3, 2, padding=1, count_padding=False), [(2, 3, 6, 5)]),
}


@pytest.mark.parametrize("name", IMAGE_OPERATIONS)
def test_gradients_of_images(name):
    function, shapes = IMAGE_OPERATIONS[name]
    variables = [Variable(RNG.normal(size=shape), f"x{i}") for i, shape in enumerate(shapes)]
    report = fb.check_gradients(function(*variables))
    assert report.checked > 0.9 * min(200, math.prod(shapes[0]))
    assert report.skipped == 0


def test_images_are_computed_as_by_functional():
    x, w = Variable(IMAGES), Variable(FILTERS)
    made = graph.conv(x, w, padding=1, groups=2)
    np.testing.assert_array_equal(made.value, fb.functional.conv2d_forward(IMAGES, FILTERS, padding=1, groups=2))
    np.testing.assert_array_equal(graph.max_pool(x, 2).value, fb.functional.max_pool2d_forward(IMAGES, 2))
    np.testing.assert_array_equal(graph.avg_pool(x, 2).value, fb.functional.avg_pool2d_forward(IMAGES, 2))


# --- kinks ------------------------------------------------------------------------------------------------------------

INF = math.inf
# name: function, inputs, undefined elements, gradients by the inputs for a gradient of 1
KINKS = {
    "relu": (graph.relu, [[-1.0, 0.0, 2.0]], 1, [[0, 0, 1]]),
    "affine_relu": (
        lambda x, w: graph.affine(x, w, activation="relu"),
        *([[[1.0, 2.0]], [[2.0, -1.0], [1.0, 1.0]]], 1, [[[1, 1]], [[0, 0], [1, 2]]]),
    ),
    "leaky_relu": (lambda x: graph.leaky_relu(x, 0.5), [[-1.0, 0.0, 2.0]], 1, [[0.5, 0.5, 1]]),
    "abs": (graph.abs, [[-1.0, 0.0, -0.0, 2.0]], 2, [[-1, 0, 0, 1]]),
    "sqrt": (graph.sqrt, [[0.0, 4.0]], 1, [[INF, 0.25]]),
    "log": (graph.log, [[0.0, 4.0]], 1, [[INF, 0.25]]),
    "divide": (lambda x, y: x / y, [[1.0, 2.0], [0.0, 4.0]], 1, [[INF, 0.25], [-INF, -0.125]]),
    "power": (lambda x: x**0.5, [[0.0, 4.0]], 1, [[INF, 0.25]]),
    "negative power": (lambda x: x**-1, [[0.0, 2.0]], 1, [[-INF, -0.25]]),
    "power of 2 is smooth": (lambda x: x**2, [[0.0, 2.0]], 0, [[0, 4]]),
    "exponent of 0": (lambda x, p: x**p, [[0.0, 1.0], [2.0, 3.0]], 0, [[0, 3], [0, 0]]),
    "clip": (lambda x: graph.clip(x, -1.0, 1.0), [[-2.0, -1.0, 0.0, 1.0, 2.0]], 2, [[0, 1, 1, 1, 0]]),
    "maximum": (graph.maximum, [[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]], 1, [[0, 1, 1], [1, 0, 0]]),
    "minimum": (graph.minimum, [[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]], 1, [[1, 1, 0], [0, 0, 1]]),
    "max": (lambda x: graph.max(x, 1), [[[1.0, 3.0, 3.0], [2.0, 1.0, 0.0]]], 1, [[[0, 1, 0], [1, 0, 0]]]),
    "max of all": (graph.max, [[[3.0, 1.0], [3.0, 3.0]]], 1, [[[1, 0], [0, 0]]]),
    "min": (lambda x: graph.min(x, 0), [[[1.0, 5.0], [1.0, 4.0]]], 1, [[[1, 0], [0, 1]]]),
    "max_pool": (lambda x: graph.max_pool(x, 2), [[[[1.0, 1.0, 0.0, 5.0]]]], 1, [[[[1, 0, 0, 1]]]]),
    "max_pool, padded": (lambda x: graph.max_pool(x, 2, 2, padding=1), [[[[0.0, -1.0, -1.0, 3.0]]]], 1, None),
    "softmax is smooth": (graph.softmax, [[0.0, 0.0]], 0, None),
}


@pytest.mark.parametrize("name", KINKS)
def test_points_without_derivative(name):
    function, inputs, count, gradients = KINKS[name]
    variables = [Variable(x) for x in inputs]
    y = function(*variables)
    report = graph.undefined(y, np.ones(y.shape))
    assert sum(entry.elements for entry in report) == count == report.mattered
    if count:
        (entry,) = report
        assert entry.operation == name.split(",")[0].split(" ")[-1 if name.startswith("negative") else 0]
        assert entry.rule
    quiet = graph.undefined(y, np.zeros(y.shape))
    assert [entry.elements for entry in quiet] == [entry.elements for entry in report]
    assert quiet.mattered == 0
    y.backward(np.zeros(y.shape), retain=True)
    for x in variables:
        np.testing.assert_array_equal(x.grad, 0)  # no gradient comes of none, whatever the slope
    if gradients is not None:
        y.backward(np.ones(y.shape))
        for x, expected in zip(variables, gradients, strict=True):
            np.testing.assert_array_equal(x.grad, expected)


@pytest.mark.parametrize("name", [name for name, row in KINKS.items() if row[2]])
def test_gradients_are_not_checked_within_reach_of_a_kink(name):
    function, inputs, _, _ = KINKS[name]
    y = graph.sum(function(*map(Variable, inputs)) * 2.0)
    if not np.isfinite(y.value):
        with pytest.raises(ValueError, match="is not finite there: its gradients cannot be checked"):
            fb.check_gradients(y)
        return
    report = fb.check_gradients(y)
    assert report.skipped >= 1
    assert report.checked + report.skipped == sum(np.size(x) for x in inputs)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: graph.sum(graph.where(x > 0, x, 0.1 * x)),
        lambda x: graph.sum(x[x > 0]),
        lambda x: x[x >= 0] * 2,
        lambda x: graph.sum((x > 0) * x * 3.0),
        lambda x: graph.clip(x, 0.0, 0.0) + x,
        lambda x: graph.clip(x, 0.0, 1e-5) + x,
    ],
)
def test_jumps_of_what_is_made_from_comparisons_are_kinks(function):
    report = fb.check_gradients(function(Variable([-1.0, 0.0, 2.0], "x")))
    assert (report.checked, report.skipped) == (2, 1)


def test_power_by_base_and_by_exponent():
    """What counts is by which of them a gradient is wanted."""
    numbers = [-2.0, 0.0, 0.0, 0.0, 3.0], [2.0, 2.0, 0.0, -1.0, 0.5]
    for constant_base, constant_exponent, undefined in [(False, True, 1), (True, False, 3), (False, False, 3)]:
        x, p = Variable(numbers[0], constant=constant_base), Variable(numbers[1], constant=constant_exponent)
        report = graph.undefined(x**p, np.ones(5))
        assert sum(entry.elements for entry in report) == undefined
    report = fb.check_gradients(Variable([-2.0, 3.0]) ** Variable([2.0, 2.0], "p"))
    assert (report.checked, report.skipped) == (3, 1)


def test_root_of_minus_zero():
    x = Variable(-0.0)
    graph.sqrt(x).backward()
    assert float(x.grad) == INF


def test_every_operation_with_kinks_says_where():
    def all_of(kind):
        for below in kind.__subclasses__():
            yield below
            yield from all_of(below)

    for op in set(all_of(ops.Op)):
        if op.__module__.startswith("fastbp.ops") and op not in (ops.Activated, ops.Compare):
            assert bool(op.undefined) == (op.kinks is not ops.Op.kinks), op


def test_ties_in_a_window_count_when_padding_and_steps_are_odd():
    """Against windows that are cut out one by one."""
    rng = np.random.default_rng(3)
    x = rng.integers(0, 3, size=(2, 3, 7, 6)).astype(float)
    for numbers in [
        {"size": 3, "stride": 2, "padding": 1, "ceil": True},
        {"size": (2, 3), "stride": (3, 1), "dilation": 2},
    ]:
        op = ops.MaxPool(**numbers)
        mask, _ = op.kinks(graph.Context(), x)
        on = op.windows_on(x.shape)
        for place in np.ndindex(mask.shape):
            n, c, *o = place
            rows, columns = (
                [i * s - before + k * d for k in range(size)]
                for i, s, before, d, size in zip(o, on.stride, on.before, on.dilation, on.size, strict=True)
            )
            window = [x[n, c, i, j] for i in rows for j in columns if 0 <= i < 7 and 0 <= j < 6]
            assert mask[place] == (window.count(max(window)) > 1)


def test_nan_counts_as_largest():
    x = Variable([[1.0, np.nan, 2.0]])
    for function in (graph.max, graph.min):
        y = function(x, 1)
        assert np.isnan(y.value[0])
        y.backward([1.0])
        np.testing.assert_array_equal(x.grad, [[0, 1, 0]])
    y = graph.maximum(x, 1.5)
    assert np.isnan(y.value[0, 1])
    y.backward([[1.0, 1.0, 1.0]])
    np.testing.assert_array_equal(x.grad, [[0, 1, 1]])


# --- shapes -----------------------------------------------------------------------------------------------------------


@st.composite
def broadcast_shapes(draw):
    """A shape, and one that broadcasts to it."""
    full = draw(st.lists(st.integers(0, 3), max_size=4))
    part = [draw(st.sampled_from([n, 1])) for n in full[draw(st.integers(0, len(full))) :]]
    return tuple(full), tuple(part)


@given(broadcast_shapes(), st.sampled_from(["add", "subtract", "multiply", "maximum", "where"]), st.booleans())
def test_broadcasting_and_its_adjoint(shapes, name, is_swapped):
    """<dy, broadcast(dx)> is the same as <unbroadcast(dy), dx>: seen by a product with one element at a time."""
    full, part = shapes
    rng = np.random.default_rng(1)
    x, y = Variable(rng.normal(size=full)), Variable(rng.normal(size=part))
    function = {"where": lambda a, b: graph.where(a > b, a, b)}.get(name) or getattr(graph, name)
    z = function(y, x) if is_swapped else function(x, y)
    seed = rng.normal(size=z.shape)
    z.backward(seed)
    assert x.grad.shape == full
    assert y.grad.shape == part
    h = 1e-6
    for moved in (x, y):
        direction = rng.normal(size=moved.shape)
        before = moved.value.copy()
        moved.assign(before + h * direction)
        high = float((z.forward().value * seed).sum())
        moved.assign(before - h * direction)
        low = float((z.forward().value * seed).sum())
        moved.assign(before)
        scale = 1 + np.abs(seed).sum() * (1 + np.abs(direction).max(initial=0))
        assert (high - low) / (2 * h) == pytest.approx(float((moved.grad * direction).sum()), abs=1e-7 * scale)


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        *[(graph.sum, (0, 3)), (lambda x: graph.sum(x, 0), (0, 3)), (lambda x: graph.max(x, 1), (0, 3))],
        *[(lambda x: x + 1, (0,)), (graph.relu, (2, 0)), (graph.softmax, (0, 3)), (lambda x: x[:0], (3,))],
        *[(lambda x: x @ np.ones((0, 2)), (3, 0)), (lambda x: graph.affine(x, np.ones((2, 3))), (0, 3))],
        *[(lambda x: graph.concatenate([x, np.ones((1, 3))]), (0, 3)), (lambda x: graph.split(x, 2)[0], (0, 3))],
        *[
            (lambda x: graph.max_pool(x, 2), (0, 1, 4, 4)),
            (lambda x: graph.conv(x, np.ones((1, 1, 2, 2))), (0, 1, 4, 4)),
        ],
    ],
)
def test_no_elements(function, shape):
    x = Variable(np.ones(shape), "x")
    y = function(x)
    y.backward(np.ones(y.shape))
    assert x.grad.shape == shape
    assert not x.grad.any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: graph.max(x[:, :0], 1), r"max: there is no max of no elements, got the shape \(3, 0\)"),
        (lambda x: graph.sum(x, 2**70), r"sum: .*too large.*inputs: x \(3, 4\)"),
        (
            lambda x: graph.transpose(x, 1),
            r"transpose: axes must be the 2 axes of x in another order, got .*; inputs: x \(3, 4\)",
        ),
        (lambda x: graph.sum(x, 2), r"sum: axis 2 is out of bounds.*inputs: x \(3, 4\)"),
        (lambda x: graph.max(x, -3), r"max: axis -3 is out of bounds.*inputs: x \(3, 4\)"),
        *(
            (
                lambda x, axes=axes: graph.transpose(x, axes),
                r"transpose: axes must be the 2 axes of x in another order, got .*inputs: x \(3, 4\)",
            )
            for axes in [(0, 2), (0, -3), (0, 1, 3)]
        ),
        (
            lambda x: graph.transpose(x, (0, 0)),
            r"transpose: axes must be the 2 axes of x in another order, got .*inputs: x \(3, 4\)",
        ),
        (lambda x: graph.split(x, 2), r"split: an axis of 3 cannot be split into 2 equal parts; inputs: x \(3, 4\)"),
        (lambda x: graph.split(x, (2, 1)), r"split: the places to split at must rise, got \(2, 1\)"),
        (lambda x: graph.broadcast_to(x, (2, 4)), r"broadcast_to: .*inputs: x \(3, 4\)"),
        (lambda x: graph.concatenate([]), "concatenate needs at least one array"),
        (lambda x: graph.stack([x, x[0]]), r"stack: all input arrays must have the same shape; inputs: x \(3, 4\)"),
        (lambda x: graph.conv(x, x), r"conv: .*inputs: x \(3, 4\), x \(3, 4\)"),
        (lambda x: graph.clip(x, 2, 1), "clip: low must be at most high, got 2 and 1"),
        (lambda x: graph.clip(x, np.nan), "clip: low must be at most high"),
        (lambda x: graph.split(x, 2, 3), r"split: axis 3 is out of bounds.*inputs: x \(3, 4\)"),
        (lambda x: graph.concatenate([x, x], 2), r"concatenate: axis 2 is out of bounds.*inputs: x \(3, 4\)"),
        (lambda x: graph.affine(x, x, activation="step"), "affine: activation must be one of identity, relu, sigmoid"),
        (lambda x: graph.max_pool(x, 2), r"max_pool: .*inputs: x \(3, 4\)"),
        (lambda x: graph.softmax_cross_entropy(x, [0, 1]), r"softmax_cross_entropy: u and t must have the same length"),
        (lambda x: graph.softmax_cross_entropy(x, [0, 1, 4]), "labels must be from 0 to 3, but row 2 has 4"),
        (lambda x: graph.softmax(x[0, 0]), "softmax needs an array of at least one axis, got a single number"),
        (lambda x: x @ 2.0, r"a matrix product takes arrays of at least one axis, got \(3, 4\) and \(\)"),
    ],
)
def test_arguments_that_do_not_fit(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong(Variable(np.ones((3, 4)), "x"))


def test_integers_of_numpy_and_wrong_axes():
    x = Variable(np.ones(4), "x")
    assert graph.reshape(x, np.int64(4)).shape == graph.broadcast_to(x, np.int64(4)).shape == (4,)
    assert len(graph.split(x, np.int64(2))) == 2
    assert graph.sum(x, np.array([0])).shape == graph.sum(x, np.int64(0)).shape == ()
    with pytest.raises(TypeError, match="concatenate: axis must be an integer, got None"):
        graph.concatenate([x, x], None)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min"])
def test_axes_are_integers_whatever_was_asked_for_before(name):
    """1.0 and True equal 1, and operations are kept by their axes."""
    x, function = Variable(np.arange(6.0).reshape(2, 3), "x"), getattr(graph, name)
    for known, wrong in ((1, 1.0), (1, True), ((1, 0), (1.0, 0)), ((1, 0), (True, 0)), (None, x)):
        for _ in range(2):
            with pytest.raises(TypeError, match=f"^{name}: axis must be an integer, several, or None for all, got"):
                function(x, wrong)
            function(x, known)
    with pytest.raises(TypeError, match=f"^{name}: keepdims must be True or False, got 'no'"):
        function(x, keepdims="no")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x, s: graph.clip(x, s), "clip: low must be a number, got Variable"),
        (lambda x, s: graph.clip(x, 0.0, "a"), "clip: high must be a number, got 'a'"),
        (lambda x, s: graph.clip(x, np.ones(2)), "clip: low must be a number, got array"),
        (lambda x, s: graph.leaky_relu(x, s), "slope must be a number, got Variable"),
        (lambda x, s: graph.affine(x, x, activation="leaky_relu", slope=s), "slope must be a number, got Variable"),
        (lambda x, s: graph.split(x, s), "split: parts must be an integer or several places, got Variable"),
        (lambda x, s: graph.split(x, 1.5), "split: parts must be an integer or several places, got 1.5"),
        (lambda x, s: graph.concatenate(s), "concatenate takes a sequence of arrays, got|is a single number"),
        (lambda x, s: graph.stack(3), "stack takes a sequence of arrays, got 3"),
    ],
)
def test_what_would_be_no_number_or_lose_a_gradient(wrong, message):
    with pytest.raises(TypeError, match=message):
        wrong(Variable(np.ones((2, 2)), "x"), Variable(2.0, "s"))


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int16, np.int32, np.int64])
def test_no_result_is_of_half_precision(dtype):
    """NumPy makes half precision of integers of 8 bits."""
    x = Variable(np.array([1, 0], dtype), "x")
    wide = np.result_type(np.float32, dtype)
    for function in (np.exp, np.sqrt):
        made = getattr(graph, function.__name__)(x)
        assert made.dtype == wide
        np.testing.assert_array_equal(made.value, function(x.value.astype(wide)))
    assert graph.log(x[:1]).dtype == (x / x[:1]).dtype == wide
    large = graph.exp(Variable(np.array([12], np.uint8)))
    assert abs(float(large) - np.exp(12.0)) < 1


def test_targets_have_no_gradient():
    u, t = Variable(A, "u"), Variable(B, "t")
    with pytest.raises(TypeError, match="there is no gradient by the targets"):
        graph.squared_error(u, t)
    graph.squared_error(u, Variable(B, constant=True)).backward()


def test_results_do_not_depend_on_the_number_of_threads(check_both_variants):
    x, w = RNG.normal(size=(300, 200)), RNG.normal(size=(250, 200))

    def run():
        a, b = Variable(x), Variable(w)
        y = graph.relu(graph.affine(a, b)) @ graph.sigmoid(b)
        graph.sum(graph.log_softmax(y)).backward()
        return y.value, a.grad, b.grad

    check_both_variants(run)


def test_peers_agree_on_random_graphs():
    """Values and gradients of graphs of random operations, as PyTorch computes them."""
    torch = pytest.importorskip("torch")
    unary = {
        "tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": torch.relu, "exp": torch.exp, "abs": torch.abs,
        "softmax": lambda x: torch.softmax(x, -1), "log_softmax": lambda x: torch.log_softmax(x, -1),
        "T": lambda x: x.T, "mean": lambda x: x.mean(1, keepdim=True), "sum": lambda x: x.sum(0),
        "max": lambda x: x.max(1, keepdim=True)[0], "var": lambda x: x.var(1, unbiased=False, keepdim=True),
        "slice": lambda x: x[1:], "rows": lambda x: x[[0, 0, 2, 1, 3]],
    }  # fmt: skip
    ours = {
        "T": lambda x: x.T, "mean": lambda x: graph.mean(x, 1, keepdims=True), "sum": lambda x: graph.sum(x, 0),
        "max": lambda x: graph.max(x, 1, keepdims=True), "var": lambda x: graph.moments(x, 1, keepdims=True)[1],
        "slice": lambda x: x[1:], "rows": lambda x: x[[0, 0, 2, 1, 3]],
    }  # fmt: skip
    binary = {"+": lambda x, y: x + y, "-": lambda x, y: x - y, "*": lambda x, y: x * y, "@": lambda x, y: x @ y}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        leaves = [rng.normal(size=(5, 5)) * 0.5 for _ in range(3)]
        mine, theirs = [Variable(x) for x in leaves], [torch.tensor(x, requires_grad=True) for x in leaves]
        nodes, others = list(mine), list(theirs)
        for _ in range(12):
            name = str(rng.choice([*unary, *binary]))
            i, j = rng.integers(0, len(nodes), 2)
            if name in binary:
                step, other = binary[name](nodes[i], nodes[j]), binary[name](others[i], others[j])
            else:
                step = (ours.get(name) or getattr(graph, name))(nodes[i])
                other = unary[name](others[i])
            # a square again, whatever the operation has made of it, of moderate size
            if step.shape == (4, 5):
                step, other = step.T @ step, other.T @ other
            nodes.append(graph.tanh(step) + mine[0])
            others.append(torch.tanh(other) + theirs[0])
        y, z = graph.mean(nodes[-1] * nodes[-2]), (others[-1] * others[-2]).mean()
        y.backward()
        z.backward()
        # a dozen operations with sums of at most five terms, whose factors are of size one
        assert float(y) == pytest.approx(z.item(), rel=1e-11, abs=1e-11)
        for x, other in zip(mine, theirs, strict=True):
            expected = np.zeros((5, 5)) if other.grad is None else other.grad.numpy()
            got = x.grad if x.source.grad is not None else np.zeros((5, 5))
            scale = 1 + np.abs(expected).max()
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10 * scale)
