"""Every small convolution and pool once, in one, two and three dimensions: paddings beyond the reach of the windows,
strides beyond the image, elements far apart. Images lie between NaN, and all sums are of small integers, so exact.
"""

import copy
from contextlib import suppress
from itertools import product

import numpy as np
import pytest
import reference
from test_step import step_by_hand

import fastbp as fb
from fastbp import kernels
from fastbp.kernels.pool import pool_windows
from fastbp.kernels.windows import windows

IMAGES, STRIDES, DILATIONS, BEFORE, BEHIND = (1, 2, 5, 10), (1, 2, 3, 100), (1, 2, 12), (0, 1, 3, 6, 14), (0, 3, 14)
RNG = np.random.default_rng(0)


def numbers_of(layer):
    """The image, the size of the windows, and the other numbers as keywords, of a list of axes."""
    image, size, stride, dilation, padding = map(list, zip(*layer, strict=True))
    return tuple(image), size, {"stride": stride, "padding": padding, "dilation": dilation}


def layers(find, sizes, count, **options):
    """The axes that ``find`` accepts one by one, each alone; then ``count`` pairs of them, and as many triples."""
    axes = []
    for *numbers, before, behind in product(IMAGES, sizes, STRIDES, DILATIONS, BEFORE, BEHIND):
        axis = *numbers, (before, behind)
        image, size, others = numbers_of([axis])
        with suppress(ValueError):
            find("small", image, size, *others.values(), **options)
            axes.append(axis)
    picks = [[i] for i in range(len(axes))]
    for number in (2, 3):
        picks += np.random.default_rng(number).integers(len(axes), size=(count, number)).tolist()
    for pick in picks:
        image, size, others = numbers_of([axes[i] for i in pick])
        on = find("small", image, size, *others.values(), **options)
        if np.prod(on.output) * np.prod(size) <= 3000:
            yield on, size, others


def between_nan(shape, dtype):
    """Small integers in memory with NaN on both sides."""
    size = int(np.prod(shape))
    whole = np.full(size + 128, np.nan, dtype)
    whole[64 : size + 64] = RNG.integers(-4, 5, size)
    return whole[64 : size + 64].reshape(shape)


def check_convolution(on, size, numbers, dtype, batch, groups, channels, filters):
    x = between_nan((batch, groups * channels, *on.image), dtype)
    w, b = between_nan((groups * filters, channels, *size), dtype), between_nan((groups * filters,), dtype)
    dy = between_nan((batch, groups * filters, *on.output), dtype)
    y, dx, dw, db = (np.full_like(like, np.nan) for like in (dy, x, w, b))
    kernels.conv_forward(x, w, b, y, **numbers, groups=groups)
    kernels.conv_backward(dy, x, w, dx, dw, db, **numbers, groups=groups)
    places = reference.places_of(on)
    cells = reference.patches(x.astype(float), places)
    cells = cells.reshape(batch, groups, channels, *cells.shape[2:])
    of_window = [matrix.shape[1] for matrix in places]
    weight = w.astype(float).reshape(groups, filters, channels, *of_window)
    delta = dy.astype(float).reshape(batch, groups, filters, *cells.shape[3:6])
    letters = "ngcopqijk,gfcijk,ngfopq"
    patches_of, weight_of, delta_of = letters.split(",")
    expected = np.einsum(f"{patches_of},{weight_of}->{delta_of}", cells, weight, optimize=True)
    np.testing.assert_array_equal(y, expected.reshape(y.shape) + b.reshape(-1, *[1] * len(on.image)))
    expected = np.einsum(f"{patches_of},{delta_of}->{weight_of}", cells, delta, optimize=True)
    np.testing.assert_array_equal(dw, expected.reshape(w.shape))
    expected = np.einsum(f"{weight_of},{delta_of}->{patches_of}", weight, delta, optimize=True)
    expected = reference.patches_backward(expected.reshape(batch, groups * channels, *expected.shape[3:]), places)
    np.testing.assert_array_equal(dx, expected.reshape(x.shape))
    np.testing.assert_array_equal(db, dy.sum((0, *range(2, dy.ndim)), dtype=float))


def test_convolutions():
    kinds = [(1, 1, 1, 1), (2, 1, 2, 9), (3, 2, 1, 3), (1, 3, 2, 1)]  # batch, groups, channels and filters of one
    done = 0
    for on, size, numbers in layers(windows, (1, 2, 3), 1500):
        check_convolution(on, size, numbers, (np.float32, np.float64)[done % 2], *kinds[done // 2 % 4])
        done += 1
    assert done > 4000


def check_pools(on, size, numbers, dtype, batch, channels):
    x = between_nan((batch, channels, *on.image), dtype)
    places = reference.places_of(on)
    cells = reference.patches(x.astype(float), places)
    is_real = reference.patches(np.ones((1, 1, *on.image)), places) > 0
    flat = (*cells.shape[:5], int(np.prod(cells.shape[5:])))
    y, dx = np.full((batch, channels, *on.output), np.nan, dtype), np.full_like(x, np.nan)
    index, dy = np.zeros(y.shape, kernels.index_dtype(size)), between_nan(y.shape, dtype)
    kernels.max_pool_forward(x, y, index, size, **numbers)
    kernels.max_pool_backward(dy, index, dx, size, **numbers)
    largest = np.where(is_real, cells, -np.inf).reshape(flat)
    which = largest.argmax(-1)  # the first one
    np.testing.assert_array_equal(y, largest.max(-1).reshape(y.shape))
    np.testing.assert_array_equal(index, which.reshape(index.shape))
    is_largest = (which[..., None] == np.arange(largest.shape[-1])).reshape(cells.shape)
    delta = dy.astype(float).reshape(*cells.shape[:5], 1, 1, 1)
    np.testing.assert_array_equal(dx, reference.patches_backward(is_largest * delta, places).reshape(x.shape))

    for count_padding in (False,) if numbers["ceil"] else (False, True):
        of_window = np.prod(size) if count_padding else is_real.sum((5, 6, 7), keepdims=True)
        kernels.avg_pool_forward(x, y, size, **numbers, count_padding=count_padding)
        kernels.avg_pool_backward(dy, dx, size, **numbers, count_padding=count_padding)
        expected = (cells.sum((5, 6, 7), keepdims=True) / of_window).reshape(y.shape)
        # the sum is exact: one division; on the way back one division and one addition for every window
        eps = 2 * reference.eps(dtype)
        reference.assert_within(y, expected, eps * np.abs(expected))
        shares, size_of = np.broadcast_to(delta / of_window, cells.shape), np.broadcast_to(abs(delta), cells.shape)
        expected = reference.patches_backward(shares, places).reshape(x.shape)
        windows_of = reference.patches_backward(np.ones_like(cells), places).reshape(x.shape)
        bound = reference.patches_backward(size_of / of_window, places).reshape(x.shape)
        reference.assert_within(dx, expected, (windows_of + 1) * eps * bound)


@pytest.mark.parametrize("ceil", [False, True])
def test_pools(ceil):
    done = 0
    for on, size, numbers in layers(pool_windows, (1, 2, 3, 7, 20), 800, ceil=ceil):
        check_pools(on, size, {**numbers, "ceil": ceil}, (np.float32, np.float64)[done % 2], 1 + done // 2 % 2, 2)
        done += 1
    assert done > 1500


def test_recorded_steps():
    """Training takes the same numbers through tasks that were written down."""
    loss, done = fb.SoftmaxCrossEntropy(), 0
    for on, size, numbers in list(layers(windows, (1, 2, 3), 400))[::40]:
        kind = (fb.Conv1d, fb.Conv2d, fb.Conv3d)[len(size) - 1]
        pool = (fb.MaxPool1d, fb.MaxPool2d, fb.MaxPool3d)[len(size) - 1]
        net = fb.Sequential(
            kind(3, size, **numbers),
            fb.ReLU(),
            pool(2, 1, padding=1),
            kind(2, 1, padding=2, stride=7),
            fb.Flatten(),
            fb.Affine(3),
            input_shape=(2, *on.image),
            dtype="float64",
            seed=done,
        )
        other = copy.deepcopy(net)
        x, t = RNG.standard_normal((3, 2, *on.image)), RNG.integers(0, 3, 3)
        for _ in range(2):
            value = net.train_step(x, t, loss=loss, optimizer=fb.SGD(0.1))
            assert value == pytest.approx(step_by_hand(other, x, t, loss, 0.1, 0.0), rel=1e-12)
        for parameter, expected in zip(net.parameters(), other.parameters(), strict=True):
            np.testing.assert_allclose(parameter.value, expected.value, rtol=1e-12, atol=1e-12)
        done += 1
    assert done > 40
