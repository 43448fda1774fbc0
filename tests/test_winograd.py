"""Winograd's algorithm for windows of 3 x 3, against matrix products with columns, and its transforms."""

import numpy as np
import pytest
import reference
import strategies
from hypothesis import assume, given
from hypothesis import strategies as st

from fastbp import kernels
from fastbp.kernels import _runtime
from fastbp.kernels.windows import windows
from fastbp.kernels.winograd import MIN_CHANNELS, pays_winograd, tiles_of

many = st.integers(MIN_CHANNELS, MIN_CHANNELS + 9)
sides = st.tuples(st.integers(1, 21), st.tuples(st.integers(0, 3), st.integers(0, 3)))
layers = st.tuples(sides, sides, st.integers(0, 9), st.integers(1, 2), many, many)


def layer_of(layer):
    """Shapes of x, w and y, the keywords of the kernels, and the windows."""
    rows, columns, N, groups, channels, filters = layer
    numbers = {"padding": [rows[1], columns[1]], "groups": groups}
    try:
        on = windows("conv", (rows[0], columns[0]), 3, padding=numbers["padding"])
    except ValueError:
        assume(False)
    shapes = (N, groups * channels, *on.image), (groups * filters, channels, 3, 3), (N, groups * filters, *on.output)
    return *shapes, numbers, on


def assert_sums(actual, expected, dtype, channels):
    """A result is a sum of 9 numbers at most, these of ``channels`` products of a transformed input, which is a sum of
    4 normal numbers, and a transformed weight, of 9 / 4 of them; none of the products of normal numbers is beyond 36.
    """
    reference.assert_within(actual, expected, reference.eps(dtype) * 36 * 81 * channels)


@given(layers, strategies.dtypes, strategies.orders, strategies.out_orders)
def test_all_sums(layer, dtype, order, out_order):
    x_shape, w_shape, y_shape, numbers, on = layer_of(layer)
    assert pays_winograd(on, w_shape[1], w_shape[0] // numbers["groups"]) == (max(on.before) <= 2)
    x, w = strategies.normal(0, x_shape, dtype, order), strategies.normal(1, w_shape, dtype, order)
    b, dy = strategies.normal(2, w_shape[:1], dtype), strategies.normal(3, y_shape, dtype, order)
    y, dx = strategies.blank(y_shape, dtype, out_order), strategies.blank(x_shape, dtype, out_order)
    kernels.conv_forward(x, w, b, y, **numbers)
    assert_sums(y, reference.convolve(x, w, b, numbers["groups"], on), dtype, w_shape[1])
    dw, db = strategies.blank(w_shape, dtype, out_order), strategies.blank(w_shape[:1], dtype)
    kernels.conv_backward(dy, x, w, dx, dw, db, 0.25, **numbers)
    expected = reference.convolve_backward(dy, x, w, numbers["groups"], on)
    assert_sums(dx, expected[0], dtype, w_shape[0] // numbers["groups"])
    results = len(x) * np.prod(on.output)
    assert_sums(dw, expected[1] + 0.5 * w.astype(np.float64), dtype, results + 1)
    assert_sums(db, expected[2], dtype, results)


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("name", ["identity", "relu", "leaky_relu", "sigmoid", "tanh"])
def test_activations(name, dtype):
    from fastbp.kernels import epilogue

    code, slope = epilogue.NAMES.index(name), 0.125
    x, w = strategies.normal(0, (2, 13, 9, 11), dtype), strategies.normal(1, (14, 13, 3, 3), dtype)
    b, on = strategies.normal(2, (14,), dtype), windows("conv", (9, 11), 3, padding=1)
    y = strategies.blank((2, 14, 9, 11), dtype)
    kernels.conv_activation_forward(x, w, b, y, code, slope, padding=1)
    assert_sums(y, reference.activation(name, reference.convolve(x, w, b, 1, on), slope), dtype, 13)
    h, dx = np.tanh(x), strategies.blank(x.shape, dtype)
    kernels.conv_delta(y, w, h, dx, code, slope, padding=1)
    expected, _, _ = reference.convolve_backward(y, x, w, 1, on)
    assert_sums(dx, expected * reference.activation_slope(name, h, slope), dtype, 14)


def test_integers_are_exact():
    """The transforms only add, and halve: what is no rounding of the direct sums is none here."""
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-9, 10, shape).astype(np.float32) for shape in ((3, 16, 12, 10), (16, 16, 3, 3)))
    y = np.empty((3, 16, 10, 8), np.float32)
    kernels.conv_forward(x, w, None, y)
    np.testing.assert_array_equal(y, reference.convolve(x, w, None, 1, windows("conv", (12, 10), 3)))


@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_nan_reaches_its_windows_and_no_other_image(dtype):
    x, w = strategies.normal(0, (3, 13, 8, 8), dtype), strategies.normal(1, (12, 13, 3, 3), dtype)
    x[1, 0, 3, 4] = np.nan
    y = np.empty((3, 12, 8, 8), dtype)
    kernels.conv_forward(x, w, None, y, padding=1)
    assert np.isnan(y[1, :, 2:5, 3:6]).all()
    around = np.isnan(y)
    around[1, :, 1:6, 2:7] = False
    assert not around.any()


@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_threads_change_no_bit(dtype, monkeypatch):
    monkeypatch.setattr(_runtime, "PARALLEL_WORK", 0)
    x, w = strategies.normal(0, (7, 12, 13, 13), dtype), strategies.normal(1, (20, 12, 3, 3), dtype)
    dy, results = strategies.normal(2, (7, 20, 13, 13), dtype), []
    for threads in (1, 2):
        monkeypatch.setitem(_runtime._state, "team", threads)
        y, dx, dw, db = (np.empty(shape, dtype) for shape in (dy.shape, x.shape, w.shape, (20,)))
        kernels.conv_forward(x, w, None, y, padding=1)
        kernels.conv_backward(dy, x, w, dx, dw, db, padding=1)
        results.append([y, dx, dw, db])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("side", "images"), [(32, 1), (16, 1), (8, 4), (4, 16), (14, 4)])
def test_blocks_of_images_fill_chunks(side, images):
    """64 tiles are a chunk of vectors of 16; 49 of an image of 14 x 14 leave the fewest empty in blocks of four."""
    lanes = 8
    tiles = tiles_of((side, side), (1, 1), (side, side), 16, lanes)
    if side != 14:
        assert tiles.images <= images
    assert len(tiles.units) - 1 == -(-tiles.images * (side // 2) ** 2 // lanes)
