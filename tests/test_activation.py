"""Activations and their gradients, elementwise on arrays of every shape and layout."""

import numpy as np
import pytest
import reference
import strategies
from hypothesis import given
from hypothesis import strategies as st

from fastbp import kernels
from fastbp.kernels import _runtime
from fastbp.kernels._arrays import CHUNK
from fastbp.kernels.activation import WORK_PER_ELEMENT

SLOPE = 0.25
FORWARD = {
    "identity": kernels.identity_forward,
    "relu": kernels.relu_forward,
    "leaky_relu": lambda x, out: kernels.leaky_relu_forward(x, SLOPE, out),
    "sigmoid": kernels.sigmoid_forward,
    "tanh": kernels.tanh_forward,
}
BACKWARD = {
    "identity": kernels.identity_backward,
    "relu": kernels.relu_backward,
    "leaky_relu": lambda dy, y, dx: kernels.leaky_relu_backward(dy, y, SLOPE, dx),
    "sigmoid": kernels.sigmoid_backward,
    "tanh": kernels.tanh_backward,
}
EVERY = pytest.mark.parametrize("name", reference.ACTIVATIONS)
DTYPES = pytest.mark.parametrize("dtype", strategies.DTYPES)
names = st.sampled_from(reference.ACTIVATIONS)


def forward_bound(name, y, dtype):
    """2 ulp, at most 2 eps |y|, and the rounding of the float64 reference; ReLU and identity are exact."""
    return 0 if name in ("identity", "relu") else 3 * reference.eps(dtype) * abs(y)


@given(names, strategies.any_shape, strategies.dtypes, strategies.seeds, strategies.orders, strategies.out_orders)
def test_forward(name, shape, dtype, seed, order, out_order):
    x = strategies.normal(seed, shape, dtype, order)
    out = strategies.blank(shape, dtype, out_order)
    FORWARD[name](x, out)
    y = reference.activation(name, x, SLOPE)
    reference.assert_within(out, y, forward_bound(name, y, dtype))


@given(
    names,
    strategies.any_shape,
    strategies.dtypes,
    strategies.seeds,
    strategies.orders,
    strategies.orders,
    strategies.out_orders,
)
def test_backward(name, shape, dtype, seed, dy_order, y_order, out_order):
    dy = strategies.normal(seed, shape, dtype, dy_order)
    y = strategies.lay_out(np.tanh(strategies.normal(seed + 1, shape, dtype)), y_order)
    dx = strategies.blank(shape, dtype, out_order)
    BACKWARD[name](dy, y, dx)
    factor = reference.activation_slope(name, y, SLOPE)
    # at most 4 roundings: 1 - y, 1 + y and two products
    reference.assert_within(dx, dy.astype(np.float64) * factor, 5 * reference.eps(dtype) * abs(dy * factor))


@given(names, strategies.any_shape, strategies.dtypes, strategies.out_orders)
def test_in_place(name, shape, dtype, order):
    x = strategies.normal(0, shape, dtype, order)
    expected = strategies.blank(shape, dtype)
    FORWARD[name](x, expected)
    FORWARD[name](x, x)
    reference.assert_bitwise(x, expected)
    dy = strategies.normal(1, shape, dtype, order)
    BACKWARD[name](dy, x, expected)
    BACKWARD[name](dy, x, dy)
    reference.assert_bitwise(dy, expected)


@EVERY
@DTYPES
def test_special_values(name, dtype):
    x = np.array([np.nan, np.inf, -np.inf, 1e4, -1e4, 0.0], dtype)
    y = strategies.blank(x.shape, dtype)
    FORWARD[name](x, y)
    np.testing.assert_array_equal(y, reference.activation(name, x, SLOPE))
    dx = strategies.blank(x.shape, dtype)
    # rectifiers let the gradient through where y is NaN, since y <= 0 is false there
    BACKWARD[name](np.ones_like(x), np.full_like(x, np.nan), dx)
    np.testing.assert_array_equal(dx, np.nan if name in ("sigmoid", "tanh") else 1)
    BACKWARD[name](np.full_like(x, np.nan), np.full_like(x, 0.5), dx)
    assert np.isnan(dx).all()


@EVERY
def test_gradient_by_differences(name):
    x = np.array([-3.0, -0.7, -0.01, 0.02, 0.5, 2.5])  # no kink within a step
    y, dx = np.empty_like(x), np.empty_like(x)
    FORWARD[name](x, y)
    dy = strategies.normal(0, x.shape, np.float64)
    BACKWARD[name](dy, y, dx)

    def projected(x):
        out = np.empty_like(x)
        FORWARD[name](x, out)
        return dy @ out

    # values up to 3, six terms with |dy| below 3
    reference.assert_within(dx, reference.numerical_gradient(projected, x), reference.difference_bound(6 * 3 * 3))


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_slope_at_zero(name):
    dx = np.empty(2)
    BACKWARD[name](np.ones(2), np.array([0.0, -0.0]), dx)
    np.testing.assert_array_equal(dx, 0 if name == "relu" else SLOPE)


@EVERY
@DTYPES
def test_threads_do_not_change_a_bit(name, dtype, check_both_variants):
    n = 5 * CHUNK + 3
    assert n * WORK_PER_ELEMENT >= _runtime.PARALLEL_WORK
    x, dy = strategies.normal(0, n, dtype), strategies.normal(1, n, dtype)

    def run():
        y, dx = strategies.blank((n,), dtype), strategies.blank((n,), dtype)
        FORWARD[name](x, y)
        BACKWARD[name](dy, y, dx)
        return y, dx

    check_both_variants(run)


@pytest.mark.parametrize("name", ["sigmoid", "relu"])
def test_slopes_never_amplify(name):
    # each sigmoid multiplies a gradient by at most 1/4, each ReLU by 0 or 1
    x = np.linspace(-20, 20, 4001)
    y, dx = np.empty_like(x), np.empty_like(x)
    FORWARD[name](x, y)
    BACKWARD[name](np.ones_like(x), y, dx)
    assert dx.max() == (0.25 if name == "sigmoid" else 1)
    assert dx.min() >= 0


@EVERY
def test_wrong_arrays_are_refused(name):
    x = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\)"):
        FORWARD[name](x, np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(6,\)"):
        BACKWARD[name](x, x, np.zeros(6))
    with pytest.raises(TypeError, match=r": out must be .* got .*float32"):
        FORWARD[name](x, np.zeros((2, 3), np.float32))
    with pytest.raises(TypeError, match=r": y must be .* got .*float32"):
        BACKWARD[name](x, x.astype(np.float32), x)


@EVERY
def test_an_output_that_overlaps_another_array_is_refused(name):
    x = np.zeros((8, 6))
    for x_part, out in ((x[:4], x[1:5]), (x[::2], x[:4]), (x[:, ::2], x[:, 3:])):
        for call, arrays in (
            (FORWARD, (x_part, out)),
            (BACKWARD, (x_part, x_part, out)),
            (BACKWARD, (out, x_part, out)),
        ):
            with pytest.raises(ValueError, match=f"^{name}_.*overlaps"):
                call[name](*arrays)


@pytest.mark.parametrize("order", strategies.OUT_ORDERS)
def test_read_only_out_is_refused(order):
    out = strategies.lay_out(np.zeros((4, 5)), order)
    out.flags.writeable = False
    with pytest.raises((TypeError, ValueError), match=r"writable|read-only"):
        kernels.sigmoid_forward(np.zeros((4, 5)), out)
    np.testing.assert_array_equal(out, 0)
