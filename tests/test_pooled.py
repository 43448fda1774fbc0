"""A maximum pool done by the convolution before it: bit for bit what both do one after the other."""

import numpy as np
import pytest
import strategies
from hypothesis import assume, given
from hypothesis import strategies as st
from test_conv import axes, counts, layer_of, one_by_one

from fastbp import kernels
from fastbp.kernels import _runtime, epilogue

three_by_three = st.lists(
    st.tuples(st.integers(2, 13), st.just(3), st.just(1), st.just(1), st.tuples(st.integers(0, 2), st.integers(0, 2))),
    min_size=2,
    max_size=2,
)
layers = st.tuples(axes | one_by_one, st.integers(0, 3), st.sampled_from([1, 2]), st.integers(1, 4), counts)
by_winograd = st.tuples(
    three_by_three, st.integers(0, 3), st.sampled_from([1, 2]), st.just(12), st.sampled_from([12, 19])
)
pools = st.fixed_dictionaries(
    {
        "size": st.integers(1, 3),
        "stride": st.sampled_from([None, 1, 2, 3]),
        "padding": st.integers(0, 1),
        "dilation": st.sampled_from([1, 1, 2]),
        "ceil": st.booleans(),
    }
)
codes = st.sampled_from(range(len(epilogue.NAMES)))
SLOPE = 0.125


def pooled_shape(pool, y_shape):
    """Shape of the output of the pool, and the type of its index."""
    try:
        on = kernels.Pooled(np.empty(0, np.uint8), **pool).windows("pool", y_shape[2:])
    except ValueError:
        assume(False)
    return (*y_shape[:2], *on.output), kernels.index_dtype(on.size)


@given(layers | by_winograd, pools, codes, strategies.dtypes, strategies.orders, strategies.out_orders)
def test_one_pass_equals_two(layer, pool, code, dtype, order, out_order):
    x_shape, w_shape, y_shape, numbers, _ = layer_of(layer)
    shape, index_dtype = pooled_shape(pool, y_shape)
    x, w = strategies.normal(0, x_shape, dtype, order), strategies.normal(1, w_shape, dtype)
    b, u = strategies.normal(2, w_shape[:1], dtype), np.empty(y_shape, dtype)
    kernels.conv_activation_forward(x, w, b, u, code, SLOPE, **numbers)
    y, index = np.empty(shape, dtype), np.empty(shape, index_dtype)
    kernels.max_pool_forward(u, y, index, **pool)
    out, best = strategies.blank(shape, dtype, out_order), np.empty(shape, index_dtype)
    kernels.conv_activation_forward(x, w, b, out, code, SLOPE, **numbers, pool=kernels.Pooled(best, **pool))
    np.testing.assert_array_equal(out, y)
    np.testing.assert_array_equal(best, index)

    dy, delta = strategies.normal(3, shape, dtype, order), np.empty(y_shape, dtype)
    kernels.max_pool_delta(dy, index, y, delta, code, SLOPE, **pool)
    numbers["pool"] = None
    results = []
    for gradient in (delta, dy):
        dx, dw, db = strategies.blank(x_shape, dtype, out_order), np.empty_like(w), np.empty_like(b)
        kernels.conv_delta(gradient, w, x, dx, 1, **numbers)
        kernels.conv_gradient(gradient, x, w, dw, db, 0.25, **numbers)
        new_w, new_b = w.copy(), b.copy()
        kernels.conv_sgd_update(gradient, x, new_w, new_b, 0.5, **numbers)
        results.append((dx, dw, db, new_w, new_b))
        numbers["pool"] = kernels.Pooled(index, **pool, y=y, activation=code, slope=SLOPE)
    for two, one in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("filters", [2, 20])
@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_threads_change_no_bit(dtype, filters, monkeypatch):
    monkeypatch.setattr(_runtime, "PARALLEL_WORK", 0)
    x, w = strategies.normal(0, (5, 12, 13, 13), dtype), strategies.normal(1, (filters, 12, 3, 3), dtype)
    dy, results = strategies.normal(2, (5, filters, 6, 6), dtype), []
    for threads in (1, 2):
        monkeypatch.setitem(_runtime._state, "team", threads)
        y, index = np.empty_like(dy), np.empty(dy.shape, np.uint8)
        dx, dw, db = np.empty_like(x), np.empty_like(w), np.empty(filters, dtype)
        kernels.conv_activation_forward(x, w, None, y, 1, padding=1, pool=kernels.Pooled(index, 2))
        pool = kernels.Pooled(index, 2, y=y, activation=1)
        kernels.conv_delta(dy, w, None, dx, padding=1, pool=pool)
        kernels.conv_gradient(dy, x, w, dw, db, padding=1, pool=pool)
        results.append((y, index, dx, dw, db))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


X, W, Y, INDEX = np.ones((2, 3, 6, 6)), np.ones((4, 3, 3, 3)), np.ones((2, 4, 2, 2)), np.zeros((2, 4, 2, 2), np.uint8)
BAD = {
    "index": ((INDEX[:1], 2), ValueError, r"pool.index must be an array of the shape \(2, 4, 2, 2\)"),
    "type of index": ((INDEX.astype(np.int64), 2), TypeError, "pool.index must be a C-ordered array of uint8, got int"),
    "order of index": ((strategies.lay_out(INDEX, "F"), 2), TypeError, "pool.index must be a C-ordered array of uint8"),
    "read-only index": ((strategies.lay_out(INDEX, "read-only"), 2), TypeError, "index is an output and must be"),
    "window": ((INDEX, 5), ValueError, "a window that spans 5 x 5 does not fit into an image of 4 x 4"),
    "padding": ((INDEX, 1, 2, 3), ValueError, "padding only"),
    "output": ((INDEX, 2, 1), ValueError, r"out must be an array of the shape \(2, 4, 3, 3\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_pools(case):
    arguments, error, message = BAD[case]
    with pytest.raises(error, match=message) as info:
        kernels.conv_activation_forward(X, W, None, np.empty_like(Y), 1, pool=kernels.Pooled(*arguments))
    assert str(info.value).startswith("conv_forward: ")


def test_bad_pools_on_the_way_back():
    with pytest.raises(ValueError, match=r"conv_delta: pool.y must be an array of the shape \(2, 4, 2, 2\)"):
        kernels.conv_delta(Y, W, None, np.empty_like(X), pool=kernels.Pooled(INDEX, 2, y=Y[:1], activation=1))
    with pytest.raises(ValueError, match=r"conv_gradient: pool.y is missing: the derivative of an activation needs it"):
        kernels.conv_gradient(Y, X, W, np.empty_like(W), None, pool=kernels.Pooled(INDEX, 2, activation=1))
    with pytest.raises(ValueError, match="activation must be "):
        kernels.conv_sgd_update(Y, X, W, None, 0.1, pool=kernels.Pooled(INDEX, 2, y=Y, activation=9))
