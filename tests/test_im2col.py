"""im2col against counting, and its adjoint."""

import numpy as np
import pytest
import reference
import strategies
from hypothesis import assume, given
from hypothesis import strategies as st

from fastbp import kernels
from fastbp.kernels import _runtime
from fastbp.kernels.windows import windows

axes = st.lists(strategies.window_axis(9), min_size=1, max_size=3)
batches = st.tuples(st.integers(0, 3), st.integers(0, 3))


def numbers_of(axes):
    image, size, stride, dilation, padding = map(list, zip(*axes, strict=True))
    fits = all(n + sum(sides) >= d * (k - 1) + 1 for n, k, d, sides in zip(image, size, dilation, padding, strict=True))
    assume(fits)
    assume(np.prod(windows("im2col", tuple(image), size, stride, padding, dilation).output) < 2000)
    return image, {"size": size, "stride": stride, "padding": padding, "dilation": dilation}


@given(batches, axes, strategies.dtypes, strategies.orders, strategies.out_orders)
def test_im2col(batch, axes, dtype, order, out_order):
    image, numbers = numbers_of(axes)
    on = windows("im2col", tuple(image), **numbers)
    x = strategies.normal(0, (*batch, *image), dtype, order)
    expected = reference.im2col(x, on) if x.size else np.zeros(columns(batch, on))
    cols = strategies.blank(columns(batch, on), dtype, out_order)
    kernels.im2col(x, cols, **numbers)
    np.testing.assert_array_equal(cols, expected)


def columns(batch, on):
    return batch[0], batch[1] * int(np.prod(on.size)), int(np.prod(on.output))


@given(batches, axes, strategies.dtypes, strategies.orders, strategies.out_orders)
def test_col2im_is_the_adjoint(batch, axes, dtype, order, out_order):
    image, numbers = numbers_of(axes)
    on = windows("im2col", tuple(image), **numbers)
    rng = np.random.default_rng(0)
    # small integers: their sums are exact
    x = rng.integers(-9, 9, (*batch, *image)).astype(dtype)
    cols = rng.integers(-9, 9, columns(batch, on)).astype(dtype)
    there, back = np.empty_like(cols), strategies.blank(x.shape, dtype, out_order)
    kernels.im2col(x, there, **numbers)
    kernels.col2im(strategies.lay_out(cols, order), back, **numbers)
    assert (there * cols).sum(dtype=np.float64) == (x * back).sum(dtype=np.float64)


@pytest.mark.parametrize("name", ["im2col", "col2im"])
def test_wrong_arrays_are_refused(name):
    def call(x, cols):
        arrays = (x, cols) if name == "im2col" else (cols, x)
        getattr(kernels, name)(*arrays, 2)

    x, cols = np.zeros((2, 3, 5)), np.zeros((2, 6, 4))
    call(x, cols)
    with pytest.raises(ValueError, match=rf"^{name}: cols must be an array of the shape \(2, 6, 4\) for x \(2, 3, 5\)"):
        call(x, np.zeros((2, 6, 5)))
    with pytest.raises(ValueError, match=rf"^{name}: x must be an array \(N, C, W\)"):
        call(np.zeros((3, 5)), cols)
    with pytest.raises(ValueError, match=rf"^{name}: a window that spans 2 does not fit into an image of 1 "):
        call(np.zeros((2, 3, 1)), cols)
    with pytest.raises(TypeError, match=rf"^{name}: cols must be float64 as x is, got float32"):
        call(x, cols.astype(np.float32))
    with pytest.raises(TypeError, match=rf"^{name}: x must be float32 or float64"):
        call(x.astype(int), cols)
    whole = np.zeros(60)
    with pytest.raises(ValueError, match=rf"^{name}: the output must not overlap"):
        call(whole[:30].reshape(x.shape), whole[12:].reshape(cols.shape))
    for array in (x, cols):
        array.flags.writeable = False
    with pytest.raises(TypeError, match=rf"^{name}: (x|cols) is an output and must be writable"):
        call(x, cols)


def test_threads_do_not_change_a_bit(check_both_variants):
    x = strategies.normal(0, (16, 8, 40, 40), np.float32)
    assert x.size * 9 // 4 >= _runtime.PARALLEL_WORK

    def run():
        cols, back = strategies.blank((16, 72, 400), np.float32), strategies.blank(x.shape, np.float32)
        kernels.im2col(x, cols, 3, stride=2, padding=1)
        kernels.col2im(cols, back, 3, stride=2, padding=1)
        return cols, back

    check_both_variants(run)
