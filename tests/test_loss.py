"""Losses: value and delta against float64, against each other and against differences."""

import numpy as np
import pytest
import reference
import strategies
from hypothesis import assume, given
from hypothesis import strategies as st

from fastbp import kernels
from fastbp.kernels import _program, _runtime
from fastbp.kernels._arrays import CHUNK
from fastbp.kernels.loss import _SOFTMAX_CROSS_ENTROPY, _check_labels, _mean_loss, _softmax_cross_entropy

DTYPES = pytest.mark.parametrize("dtype", strategies.DTYPES)
NO = st.one_of(strategies.MN, st.sampled_from([(1, 20_000), (20_001, 2), (3000, 10)]))
ELEMENTWISE = {
    "squared_error": (kernels.squared_error, reference.squared_error),
    "sigmoid_cross_entropy": (kernels.sigmoid_cross_entropy, reference.sigmoid_cross_entropy),
}
EVERY = pytest.mark.parametrize("name", list(ELEMENTWISE))


def softmax_error(u, dtype):
    """Relative error of a softmax, as in test_softmax.py: eps times twice the spread of a row, O and a few."""
    spread = (u.max() - u.min()) if u.size else 0
    return float(2 * spread + u.shape[1] + 8) * reference.eps(dtype)


def check_softmax_cross_entropy(u, targets, t, delta):
    value = kernels.softmax_cross_entropy(u, targets, delta)
    expected, gradient = reference.softmax_cross_entropy(u, t)
    error = softmax_error(u, u.dtype)
    # a logarithm turns the relative error of the sum into an absolute one; the largest term is the spread itself
    assert abs(value - expected) <= 2 * error * (1 + abs(expected))
    reference.assert_within(delta, gradient, error * (reference.softmax(u) + t) / len(u) + np.finfo(u.dtype).tiny)
    return value


@given(NO, strategies.dtypes, strategies.seeds, strategies.orders, strategies.out_orders)
def test_softmax_cross_entropy(shape, dtype, seed, order, out_order):
    assume(0 not in shape)
    u = strategies.normal(seed, shape, dtype, order)
    labels = np.random.default_rng(seed).integers(0, shape[1], shape[0])
    delta, other = strategies.blank(shape, dtype, out_order), strategies.blank(shape, dtype, out_order)
    t = reference.one_of_k(labels, shape[1], dtype)
    by_index = check_softmax_cross_entropy(u, labels, t, delta)
    by_row = check_softmax_cross_entropy(u, strategies.lay_out(t, order), t, other)
    error = softmax_error(u, dtype)
    assert abs(by_index - by_row) <= error * (1 + abs(by_row))
    reference.assert_within(delta, other, 2 * error * (abs(other) + t / len(u)) + np.finfo(dtype).tiny)


@DTYPES
def test_soft_targets(dtype):
    u = strategies.normal(0, (50, 7), dtype)
    t = reference.softmax(strategies.normal(1, (50, 7), np.float64)).astype(dtype)
    check_softmax_cross_entropy(u, t, t, strategies.blank(u.shape, dtype))


@DTYPES
def test_two_classes_are_binary(dtype):
    # binary cross-entropy on the difference of two logits equals two-class softmax cross-entropy
    u = strategies.normal(0, (200, 2), dtype)
    labels = np.random.default_rng(0).integers(0, 2, 200)
    delta, binary = strategies.blank((200, 2), dtype), strategies.blank((200,), dtype)
    value = kernels.softmax_cross_entropy(u, labels, delta)
    other = kernels.sigmoid_cross_entropy(u[:, 1] - u[:, 0], labels.astype(dtype), 1 / 200, binary)
    error = softmax_error(u, dtype)
    assert abs(value - other) <= 2 * error * (1 + value)
    reference.assert_within(delta[:, 1], binary, 2 * error / 200)
    reference.assert_within(delta[:, 0], -binary.astype(np.float64), 2 * error / 200)


def test_softmax_cross_entropy_gradient_by_differences():
    u, labels = strategies.normal(0, (4, 5), np.float64), np.array([0, 4, 2, 2])
    delta, unused = np.empty_like(u), np.empty_like(u)
    value = kernels.softmax_cross_entropy(u, labels, delta)
    numerical = reference.numerical_gradient(lambda u: kernels.softmax_cross_entropy(u, labels, unused), u)
    reference.assert_within(delta, numerical, reference.difference_bound(1 + value))


@DTYPES
def test_large_logits_are_finite(dtype):
    u = np.array([[1e4, -1e4], [-1e4, 1e4]], dtype)
    delta = strategies.blank(u.shape, dtype)
    assert kernels.softmax_cross_entropy(u, np.array([0, 1]), delta) == 0
    np.testing.assert_array_equal(delta, 0)
    for targets in (np.array([1, 0]), np.array([[0, 1], [1, 0]], dtype)):
        assert kernels.softmax_cross_entropy(u, targets, delta) == 2e4
        np.testing.assert_array_equal(delta, [[0.5, -0.5], [-0.5, 0.5]])
    t = np.array([[1, 0], [1, 0]], dtype)
    assert kernels.sigmoid_cross_entropy(u, t, 0.25, delta) == 5e3
    np.testing.assert_array_equal(delta, [[0, 0], [-0.25, 0.25]])


@pytest.mark.parametrize("targets", [np.array([0, 0]), np.eye(2)[[0, 0]]])
def test_softmax_cross_entropy_lets_nan_through(targets):
    u, delta = np.array([[1.0, np.nan], [1.0, 2.0]]), np.empty((2, 2))
    assert np.isnan(kernels.softmax_cross_entropy(u, targets, delta))
    assert np.isnan(delta[0]).all()
    assert np.isfinite(delta[1]).all()


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0], [2**40, 0], [0, -(2**63)]])
def test_label_out_of_range(labels):
    delta = np.full((2, 3), 7.0)
    with pytest.raises(ValueError, match="label"):
        kernels.softmax_cross_entropy(np.zeros((2, 3)), np.array(labels), delta)
    np.testing.assert_array_equal(delta, 7)


@pytest.mark.parametrize(
    ("u", "t", "delta"),
    [
        ((0, 3), np.zeros(0, np.int64), (0, 3)),
        ((0, 3), np.zeros((0, 3)), (0, 3)),
        ((2, 0), np.zeros(2, np.int64), (2, 0)),
        ((2, 0), np.zeros((2, 0)), (2, 0)),
        ((2, 3), np.zeros(3, np.int64), (2, 3)),
        ((2, 3), np.zeros((2, 2)), (2, 3)),
        ((2, 3), np.zeros(2, np.int64), (3, 2)),
        ((2, 3), np.zeros((2, 3)), (2, 2)),
    ],
)
def test_softmax_cross_entropy_refuses_shapes(u, t, delta):
    with pytest.raises(ValueError, match="softmax_cross_entropy"):
        kernels.softmax_cross_entropy(np.zeros(u), t, np.zeros(delta))


def test_softmax_cross_entropy_refuses_a_delta_that_overlaps():
    u = np.zeros((4, 3))
    for delta, t in ((u, [0] * 4), (u, u), (u[1:], [0] * 3), (u[:2], u.reshape(-1)[2:4].view(np.int64))):
        with pytest.raises(ValueError, match=r"^softmax_cross_entropy: the output must not overlap"):
            kernels.softmax_cross_entropy(u[: len(delta)], np.asarray(t), delta)


@pytest.mark.parametrize("t", [np.zeros(2, np.int32), np.zeros(2), np.zeros((2, 3), np.float32), np.zeros((2, 3), int)])
def test_softmax_cross_entropy_refuses_types(t):
    with pytest.raises(TypeError, match=r"softmax_cross_entropy.*(labels|t) must be"):
        kernels.softmax_cross_entropy(np.zeros((2, 3)), t, np.zeros((2, 3)))


def error_of_value(name, u, t, scale, dtype):
    """Bounds of value and delta: a few roundings of each term, which is summed in float64."""
    u, t = reference.double(u, t)
    eps = reference.eps(dtype)
    if name == "squared_error":
        # 4 roundings: the difference, which counts twice, its square and scale
        return 4 * eps * scale * ((u - t) ** 2).sum(), 6 * eps * scale * abs(u - t)
    return 6 * eps * scale * (abs(u) + abs(t * u) + 1).sum(), 6 * eps * scale * (1 + abs(t))


@given(
    st.sampled_from(sorted(ELEMENTWISE)),
    strategies.any_shape,
    strategies.dtypes,
    strategies.seeds,
    strategies.orders,
    strategies.orders,
    strategies.out_orders,
    st.sampled_from([1.0, 0.5, 1 / 300]),
)
def test_elementwise(name, shape, dtype, seed, order, t_order, out_order, scale):
    run, expected = ELEMENTWISE[name]
    u = strategies.normal(seed, shape, dtype, order)
    t = np.random.default_rng(seed).uniform(0, 1, shape)
    t = strategies.lay_out(np.asarray(t, dtype), t_order)
    delta = strategies.blank(shape, dtype, out_order)
    value = run(u, t, scale, delta)
    wanted, gradient = expected(u, t, scale)
    value_error, delta_error = error_of_value(name, u, t, scale, dtype)
    n = u.size * reference.eps(np.float64)
    assert abs(value - wanted) <= value_error + n * abs(wanted)
    reference.assert_within(delta, gradient, delta_error)


@EVERY
def test_elementwise_gradient_by_differences(name):
    run, _ = ELEMENTWISE[name]
    u, t = strategies.normal(0, (3, 4), np.float64), np.random.default_rng(0).uniform(0, 1, (3, 4))
    delta, unused = np.empty_like(u), np.empty_like(u)
    value = run(u, t, 0.5, delta)
    numerical = reference.numerical_gradient(lambda u: run(u, t, 0.5, unused), u)
    reference.assert_within(delta, numerical, reference.difference_bound(1 + value))


@EVERY
def test_elementwise_of_nothing(name):
    assert ELEMENTWISE[name][0](np.empty((0, 3)), np.empty((0, 3)), 1.0, np.empty((0, 3))) == 0


@EVERY
def test_elementwise_refuses(name):
    run, _ = ELEMENTWISE[name]
    x = np.zeros((2, 3))
    with pytest.raises(ValueError, match=rf"{name}.*\(2, 3\).*\(3, 2\)"):
        run(x, np.zeros((3, 2)), 1.0, x)
    with pytest.raises(TypeError, match=rf"{name}: t must be .* got .*float32"):
        run(x, np.zeros((2, 3), np.float32), 1.0, np.zeros((2, 3)))


def losses(dtype):
    """Every loss on enough data for several chunks."""
    u, t = strategies.normal(0, (3 * CHUNK // 10, 10), dtype), strategies.normal(1, (3 * CHUNK // 10, 10), dtype)
    labels = np.random.default_rng(0).integers(0, 10, len(u))
    delta = np.empty_like(u)
    for run in (
        lambda: kernels.softmax_cross_entropy(u, labels, delta),
        lambda: kernels.softmax_cross_entropy(u, reference.one_of_k(labels, 10, dtype), delta),
        lambda: kernels.squared_error(u, t, 0.1, delta),
        lambda: kernels.sigmoid_cross_entropy(u, t, 0.1, delta),
    ):
        yield run(), delta.tobytes()


@DTYPES
def test_threads_do_not_change_a_bit(dtype, monkeypatch):
    parallel = list(losses(dtype))
    monkeypatch.setattr(_runtime, "PARALLEL_WORK", np.inf)
    assert list(losses(dtype)) == parallel


def test_squared_error_and_its_half():
    # R1: output 33 for target 20
    delta = np.empty((1, 1))
    assert kernels.squared_error(np.array([[33.0]]), np.array([[20.0]]), 1.0, delta) == 169
    assert delta[0, 0] == 26
    assert kernels.squared_error(np.array([[33.0]]), np.array([[20.0]]), 0.5, delta) == 84.5
    assert delta[0, 0] == 13


@DTYPES
def test_labels_are_read_once(dtype):
    """Another thread may change them between the check and the use."""
    u, labels, delta, expected = strategies.normal(0, (40, 5), dtype), np.arange(40) % 5, *np.empty((2, 40, 5), dtype)
    value, sums = kernels.softmax_cross_entropy(u, labels, expected), np.empty(41)
    call = _program.Call(_SOFTMAX_CROSS_ENTROPY, u.dtype, _check_labels, _softmax_cross_entropy, _mean_loss)
    call.record[0] = (*(x.ctypes.data for x in (u, labels, delta, sums)), *u.shape, 1.0)
    assert _program.run(call.steps[:1], 1) == 0
    labels[:] = 2**60
    assert _program.run(call.steps[1:], 1) == 0
    assert sums[-1] == value
    reference.assert_bitwise(delta, expected)
