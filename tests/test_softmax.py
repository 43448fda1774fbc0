"""Softmax and log-softmax over rows, and their gradients."""

import numpy as np
import pytest
import reference
import strategies
from hypothesis import given
from hypothesis import strategies as st

from fastbp import kernels

DTYPES = pytest.mark.parametrize("dtype", strategies.DTYPES)
FORWARD = {"softmax": kernels.softmax_forward, "log_softmax": kernels.log_softmax_forward}
BACKWARD = {"softmax": kernels.softmax_backward, "log_softmax": kernels.log_softmax_backward}
REFERENCE = {"softmax": reference.softmax, "log_softmax": reference.log_softmax}
EVERY = pytest.mark.parametrize("name", list(FORWARD))
names = st.sampled_from(sorted(FORWARD))
NO = st.one_of(strategies.MN, st.sampled_from([(1, 20_000), (20_001, 1), (5000, 10)]))


def relative_error(u, dtype):
    """u - m rounds to eps |u - m|, which exp makes a relative error; the sum adds O eps, exp and / at most 5 eps."""
    O = u.shape[1]
    if O == 0:
        return np.zeros_like(u)
    spread = (u.max(1, keepdims=True) - u.min(1, keepdims=True)).astype(np.float64)
    return (2 * spread + O + 5) * reference.eps(dtype)


def forward_bound(name, u, y, dtype):
    if name == "softmax":
        return relative_error(u, dtype) * y + np.finfo(dtype).smallest_subnormal
    return relative_error(u, dtype) + 4 * reference.eps(dtype) * abs(y)


@given(names, NO, strategies.dtypes, strategies.seeds, strategies.orders, strategies.out_orders)
def test_forward(name, shape, dtype, seed, order, out_order):
    u = strategies.normal(seed, shape, dtype, order)
    out = strategies.blank(shape, dtype, out_order)
    FORWARD[name](u, out)
    y = REFERENCE[name](u)
    reference.assert_within(out, y, forward_bound(name, u, y, dtype))


@given(names, NO, strategies.dtypes, strategies.seeds, strategies.orders, strategies.orders, strategies.out_orders)
def test_backward(name, shape, dtype, seed, dy_order, y_order, out_order):
    dy = strategies.normal(seed, shape, dtype, dy_order)
    y = REFERENCE[name](strategies.normal(seed + 1, shape, np.float64)).astype(dtype)
    dx = strategies.blank(shape, dtype, out_order)
    BACKWARD[name](dy, strategies.lay_out(y, y_order), dx)
    # a sum of O terms, and at most 6 roundings after it
    n = (shape[1] + 6) * reference.eps(dtype)
    if name == "softmax":
        bound = n * y * (abs(dy) + abs(dy * y).sum(1, keepdims=True))
        expected = reference.softmax_backward(dy, y)
    else:
        bound = n * (abs(dy) + np.exp(y) * abs(dy).sum(1, keepdims=True))
        expected = reference.log_softmax_backward(dy, y)
    reference.assert_within(dx, expected, bound)


@EVERY
def test_gradient_by_differences(name):
    u, dy = strategies.normal(0, (4, 5), np.float64), strategies.normal(1, (4, 5), np.float64)
    y, dx = np.empty_like(u), np.empty_like(u)
    FORWARD[name](u, y)
    BACKWARD[name](dy, y, dx)

    def projected(u):
        out = np.empty_like(u)
        FORWARD[name](u, out)
        return (dy * out).sum()

    magnitude = (abs(dy) * np.maximum(abs(y), 1)).sum()
    reference.assert_within(dx, reference.numerical_gradient(projected, u), reference.difference_bound(magnitude))


@DTYPES
def test_large_logits(dtype):
    u = np.array([[0, -1e4, 1e4], [-1e4, -1e4, -1e4], [-1e4, 1e4, 1e4]], dtype)
    y = strategies.blank(u.shape, dtype)
    kernels.softmax_forward(u, y)
    third = dtype(1) / dtype(3)
    np.testing.assert_array_equal(y, np.array([[0, 0, 1], [third] * 3, [0, 0.5, 0.5]], dtype))
    kernels.log_softmax_forward(u, y)
    expected = reference.log_softmax(u)
    reference.assert_within(y, expected, 4 * reference.eps(dtype) * abs(expected))


@EVERY
@DTYPES
def test_rows_with_nan_or_infinity(name, dtype):
    inf, nan = np.inf, np.nan
    u = np.array([[0, 1, 2], [nan, 1, 2], [0, nan, 2], [0, 1, nan], [inf, 0, 1], [0, -inf, 1], [-inf] * 3], dtype)
    out = strategies.blank(u.shape, dtype)
    FORWARD[name](u, out)
    with np.errstate(all="ignore"):
        expected = REFERENCE[name](u)
    np.testing.assert_array_equal(np.isnan(out), np.isnan(expected))
    good = ~np.isnan(expected)
    assert good.sum() == 6
    reference.assert_within(out[good], expected[good], 16 * reference.eps(dtype) * np.maximum(1, abs(expected[good])))


@EVERY
@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_empty(name, shape):
    out = np.empty(shape)
    FORWARD[name](np.empty(shape), out)
    BACKWARD[name](np.empty(shape), np.empty(shape), out)


@DTYPES
def test_rows_sum_to_one_and_logarithms_agree(dtype):
    u = strategies.normal(0, (300, 77), dtype)
    y, log_y = strategies.blank(u.shape, dtype), strategies.blank(u.shape, dtype)
    kernels.softmax_forward(u, y)
    kernels.log_softmax_forward(u, log_y)
    eps = reference.eps(dtype)
    assert abs(y.sum(1, dtype=np.float64) - 1).max() <= (77 + 2) * eps
    reference.assert_within(np.exp(log_y.astype(np.float64)), y, 2 * relative_error(u, dtype) * y + 30 * eps * y)


def test_softmax_in_place():
    u = strategies.normal(0, (30, 20), np.float32)
    y = np.empty_like(u)
    kernels.softmax_forward(u, y)
    kernels.softmax_forward(u, u)
    reference.assert_bitwise(u, y)


def test_log_softmax_in_place_is_refused():
    u = np.zeros((2, 3))
    with pytest.raises(ValueError, match="overlap"):
        kernels.log_softmax_forward(u, u)


@EVERY
@DTYPES
def test_threads_do_not_change_a_bit(name, dtype, check_both_variants):
    u, dy = strategies.normal(0, (9001, 10), dtype), strategies.normal(1, (9001, 10), dtype)

    def run():
        y, dx = strategies.blank(u.shape, dtype), strategies.blank(u.shape, dtype)
        FORWARD[name](u, y)
        BACKWARD[name](dy, y, dx)
        return y, dx

    check_both_variants(run)


@EVERY
def test_wrong_arrays_are_refused(name):
    x = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 4\)"):
        FORWARD[name](x, np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 3\)"):
        BACKWARD[name](x, np.zeros((3, 3)), np.zeros((2, 3)))
    with pytest.raises(TypeError, match=r"out must be .* got .*float32"):
        FORWARD[name](x, np.zeros((2, 3), np.float32))
    with pytest.raises(TypeError, match="2-dimensional"):
        FORWARD[name](np.zeros(3), np.zeros(3))
