"""Gradient descent in place."""

import numpy as np
import pytest
import reference
import strategies
from hypothesis import given
from hypothesis import strategies as st

from fastbp import kernels
from fastbp.kernels import _runtime
from fastbp.kernels._arrays import CHUNK


@given(
    strategies.any_shape,
    strategies.dtypes,
    strategies.seeds,
    strategies.orders,
    strategies.out_orders,
    st.sampled_from([0.0, 0.01]),
)
def test_sgd(shape, dtype, seed, g_order, w_order, l2):
    g = strategies.normal(seed, shape, dtype, g_order)
    w = strategies.normal(seed + 1, shape, dtype, w_order)
    before, lr = w.astype(np.float64), 0.1
    kernels.sgd_update(g, w, lr, l2)
    # lr, l2, two products and two sums round
    bound = 6 * reference.eps(dtype) * (abs(before) + lr * (abs(g) + 2 * l2 * abs(before)))
    reference.assert_within(w, reference.sgd(g, before, lr, l2), bound)


def test_reference_numbers():
    w = np.array([3.0])
    kernels.sgd_update(np.array([3.0]), w, 0.5)
    assert w == 1.5
    kernels.sgd_update(np.array([-1.0]), w, 0.5)
    assert w == 2.0


def test_decay_alone_shrinks():
    w = np.array([[4.0, -8.0]], np.float32)
    kernels.sgd_update(np.zeros_like(w), w, 0.5, 0.25)
    np.testing.assert_array_equal(w, [[3, -6]])


def test_only_the_view_is_updated():
    whole = np.ones((6, 8), np.float32)
    kernels.sgd_update(np.ones((3, 4), np.float32), whole[::2, 1::2], 0.5)
    np.testing.assert_array_equal(whole[::2, 1::2], 0.5)
    whole[::2, 1::2] = 1
    np.testing.assert_array_equal(whole, 1)


def test_nan_and_infinity_pass_through():
    w = np.array([1.0, 1.0, np.nan])
    kernels.sgd_update(np.array([np.nan, np.inf, 0.0]), w, 0.5)
    np.testing.assert_array_equal(w, [np.nan, -np.inf, np.nan])


@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_threads_do_not_change_a_bit(dtype, monkeypatch):
    n = 3 * CHUNK + 1
    g, results = strategies.normal(0, n, dtype), []
    for work in (_runtime.PARALLEL_WORK, np.inf):
        monkeypatch.setattr(_runtime, "PARALLEL_WORK", work)
        w = strategies.normal(1, n, dtype)
        kernels.sgd_update(g, w, 0.1, 0.01)
        results.append(w)
    reference.assert_bitwise(*results)


def test_wrong_arrays_are_refused():
    w = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"sgd_update.*\(3, 2\).*\(2, 3\)"):
        kernels.sgd_update(np.zeros((3, 2)), w, 0.1)
    with pytest.raises(TypeError, match=r": w must be .* got .*float64"):
        kernels.sgd_update(np.zeros((2, 3), np.float32), w, 0.1)
    with pytest.raises(TypeError, match=r": g must be .* got int64"):
        kernels.sgd_update(np.zeros((2, 3), np.int64), w, 0.1)
    w.flags.writeable = False
    with pytest.raises(TypeError, match=r": w .* writable"):
        kernels.sgd_update(np.ones((2, 3)), w, 0.1)
