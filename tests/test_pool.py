"""Pooling in one, two and three dimensions against windows taken one by one."""

import numpy as np
import pytest
import reference
import strategies
from hypothesis import assume, given
from hypothesis import strategies as st

from fastbp import kernels
from fastbp.kernels import _runtime, epilogue
from fastbp.kernels.pool import _all_are_real, pool_windows
from fastbp.kernels.windows import windows

axes = st.lists(strategies.window_axis(9), min_size=1, max_size=3)
batches = st.tuples(st.integers(0, 3), st.integers(0, 3))


def numbers_of(axes, ceil):
    """The image, the numbers of the windows, and for every window the places of its elements; none is all padding."""
    image, size, stride, dilation, padding = map(list, zip(*axes, strict=True))
    numbers = {"size": size, "stride": stride, "padding": padding, "dilation": dilation, "ceil": ceil}
    try:
        on = windows("pool", tuple(image), **numbers)
    except ValueError:
        assume(False)
    cells = {
        o: [
            tuple(i * s + k * d - b for i, s, k, d, b in zip(o, stride, element, dilation, on.before, strict=True))
            for element in np.ndindex(*size)
        ]
        for o in np.ndindex(on.output)
    }
    assume(all(any(is_real(cell, image) for cell in window) for window in cells.values()))
    return tuple(image), numbers, on, cells


def is_real(cell, image):
    return all(0 <= i < n for i, n in zip(cell, image, strict=True))


def random_images(batch, image, dtype, order="C"):
    """Few different numbers, so that there are ties."""
    return strategies.lay_out(np.random.default_rng(0).integers(-3, 4, (*batch, *image)).astype(dtype), order)


@given(batches, axes, st.booleans(), strategies.dtypes, strategies.orders, strategies.out_orders)
def test_max(batch, axes, ceil, dtype, order, out_order):
    image, numbers, on, cells = numbers_of(axes, ceil)
    x = random_images(batch, image, dtype, order)
    y, index = strategies.blank((*batch, *on.output), dtype, out_order), np.empty((*batch, *on.output), np.uint8)
    kernels.max_pool_forward(x, y, index, **numbers)
    dy = random_images(batch, on.output, dtype)
    dx = strategies.blank(x.shape, dtype, out_order)
    kernels.max_pool_backward(strategies.lay_out(dy, order), index, dx, **numbers)
    expected = np.zeros(x.shape)
    for o, window in cells.items():
        real = [cell for cell in window if is_real(cell, image)]
        for n, c in np.ndindex(*batch):
            best = max(real, key=lambda cell, n=n, c=c: x[(n, c, *cell)])  # the first one
            assert y[(n, c, *o)] == x[(n, c, *best)]
            assert window[index[(n, c, *o)]] == best
            expected[(n, c, *best)] += dy[(n, c, *o)]
    np.testing.assert_array_equal(dx, expected)


@given(batches, axes, st.booleans(), st.booleans(), strategies.dtypes, strategies.orders, strategies.out_orders)
def test_mean(batch, axes, ceil, count_padding, dtype, order, out_order):
    image, numbers, on, cells = numbers_of(axes, ceil)
    numbers["count_padding"] = count_padding
    x = random_images(batch, image, dtype, order)
    y = strategies.blank((*batch, *on.output), dtype, out_order)
    kernels.avg_pool_forward(x, y, **numbers)
    dy = random_images(batch, on.output, dtype)
    dx = strategies.blank(x.shape, dtype, out_order)
    kernels.avg_pool_backward(strategies.lay_out(dy, order), dx, **numbers)
    expected_y, expected_dx = np.zeros(y.shape), np.zeros(x.shape)
    for o, window in cells.items():
        real = [cell for cell in window if is_real(cell, image)]
        padded = [n + b for n, b in zip(image, on.behind, strict=True)]
        counted = [cell for cell in window if all(i < n for i, n in zip(cell, padded, strict=True))]
        count = len(counted if count_padding else real)
        for cell in real:
            expected_y[(..., *o)] += x[(..., *cell)].astype(np.float64) / count
            expected_dx[(..., *cell)] += dy[(..., *o)].astype(np.float64) / count
    eps = reference.eps(dtype)
    # sums of at most 64 small integers are exact; one division. Backward: a division and an addition for every window
    reference.assert_within(y, expected_y, 4 * eps * 3)
    reference.assert_within(dx, expected_dx, (64 + 2) * eps * 3 * 64)


def test_the_textbook():
    x = np.array([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]], np.float32)[None, None]
    y, index = np.empty((1, 1, 2, 2), np.float32), np.empty((1, 1, 2, 2), np.uint8)
    kernels.max_pool_forward(x, y, index, 2)
    np.testing.assert_array_equal(y[0, 0], [[6, 8], [3, 4]])
    x = strategies.normal(0, (1, 64, 224, 224), np.float32)
    y, index = np.empty((1, 64, 112, 112), np.float32), np.empty((1, 64, 112, 112), np.uint8)
    kernels.max_pool_forward(x, y, index, 2, stride=2)
    np.testing.assert_array_equal(y, x.reshape(1, 64, 112, 2, 112, 2).max((3, 5)))


@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_nan_and_infinity(dtype):
    nan, inf = np.nan, np.inf
    x = np.array([[[1, nan, 3, 4, nan, 6, nan, nan, -inf, -inf]]], dtype)
    y, index = np.empty((1, 1, 5), dtype), np.empty((1, 1, 5), np.uint8)
    kernels.max_pool_forward(x, y, index, 2)
    np.testing.assert_array_equal(y[0, 0], [nan, 4, nan, nan, -inf])
    np.testing.assert_array_equal(index[0, 0], [1, 1, 0, 0, 0])
    # -infinity beside padding: never the padding
    y, index = np.empty((1, 1, 3), dtype), np.empty((1, 1, 3), np.uint8)
    kernels.max_pool_forward(np.full((1, 1, 4), -inf, dtype), y, index, 2, padding=1)
    np.testing.assert_array_equal(index[0, 0], [1, 0, 0])


def test_wide_windows_have_wide_indices():
    for size, dtype in ((16, np.uint8), (17, np.uint16), (257, np.int64)):
        assert kernels.index_dtype((size, size)) == dtype
        x = np.zeros((1, 1, size, size))
        x[0, 0, -1, -1] = 1
        y, index, dx = np.empty((1, 1, 1, 1)), np.empty((1, 1, 1, 1), dtype), np.empty_like(x)
        kernels.max_pool_forward(x, y, index, size)
        assert (y.item(), index.item()) == (1, size * size - 1)
        kernels.max_pool_backward(y, index, dx, size)
        np.testing.assert_array_equal(dx, x)


def test_gradients_are_adjoint_to_the_forward_mean():
    x, dy = strategies.normal(0, (2, 3, 7, 6), np.float64), strategies.normal(1, (2, 3, 4, 3), np.float64)
    y, dx = np.empty_like(dy), np.empty_like(x)
    kernels.avg_pool_forward(x, y, 3, stride=2, padding=1)
    kernels.avg_pool_backward(dy, dx, 3, stride=2, padding=1)
    np.testing.assert_allclose((y * dy).sum(), (x * dx).sum(), rtol=1e-12)


def test_a_foreign_index_does_no_harm():
    dy, dx = np.ones((1, 1, 3, 3)), np.empty((1, 1, 4, 4))
    for value in (4, 200, 255):
        kernels.max_pool_backward(dy, np.full(dy.shape, value, np.uint8), dx, 2, stride=1)
        assert (dx == 0).all()


def call(name, x, y, index, **numbers):
    if name == "max_pool_forward":
        kernels.max_pool_forward(x, y, index, **numbers)
    elif name == "max_pool_backward":
        kernels.max_pool_backward(y, index, x, **numbers)
    else:
        getattr(kernels, name)(*((x, y) if name.endswith("forward") else (y, x)), **numbers)


NAMES = [f"{kind}_pool_{direction}" for kind in ("max", "avg") for direction in ("forward", "backward")]


@pytest.mark.parametrize("name", NAMES)
def test_wrong_arguments_are_refused(name):
    x, y, index = np.zeros((2, 3, 6)), np.zeros((2, 3, 3)), np.zeros((2, 3, 3), np.uint8)
    out = r"(out|dy)" if name.endswith("forward") else r"(dx|dy)"
    call(name, x, y, index, size=2)
    with pytest.raises(ValueError, match=rf"^{name}: {out} must be an array of the shape \(2, 3, 3\)"):
        call(name, x, np.zeros((2, 3, 4)), index, size=2)
    with pytest.raises(
        ValueError, match=rf"^{name}: a window lies on padding only: image 6, size 2, stride 2, padding"
    ):
        call(name, x, y, index, size=2, padding=2)
    with pytest.raises(ValueError, match=rf"^{name}: a window that spans 7 does not fit into an image of 6"):
        call(name, x, y, index, size=7)
    with pytest.raises(ValueError, match=rf"^{name}: a window that spans 2 does not fit into an image of 0"):
        call(name, np.zeros((2, 3, 0)), y, index, size=2)
    with pytest.raises(ValueError, match=rf"^{name}: stride must be positive"):
        call(name, x, y, index, size=2, stride=0)
    with pytest.raises(ValueError, match=rf"^{name}: d?x must be an array \(N, C, W\)"):
        call(name, x[0], y, index, size=2)
    with pytest.raises(TypeError, match=rf"^{name}: {out} must be float64, got float32"):
        call(name, x, y.astype(np.float32), index, size=2)
    if name.startswith("max"):
        with pytest.raises(TypeError, match=rf"^{name}: index must be uint8, got int64"):
            call(name, x, y, index.astype(np.int64), size=2)
    with pytest.raises(ValueError, match=rf"^{name}: the output must not overlap"):
        call(name, x, x[:, :, :3], index, size=2)
    for array in (x, y):
        array.flags.writeable = False
    with pytest.raises(TypeError, match=rf"^{name}: (out|dx) is an output and must be writable"):
        call(name, x, y, index, size=2)


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_threads_do_not_change_a_bit(kind, check_both_variants):
    x = strategies.normal(0, (16, 8, 60, 60), np.float32)
    assert x.size >= _runtime.PARALLEL_WORK

    def run():
        y, dx = strategies.blank((16, 8, 30, 30), np.float32), strategies.blank(x.shape, np.float32)
        index = np.empty(y.shape, np.uint8)
        for name in NAMES:
            if name.startswith(kind):
                is_forward = name.endswith("forward")
                call(name, x if is_forward else dx, y, index, size=3, stride=2, padding=1)
        return y, dx

    check_both_variants(run)


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("shape", [(2, 3, 1), (2, 3, 40), (1, 2, 5, 7), (3, 1, 2, 3, 4), (0, 2, 3)])
def test_global_mean(dtype, shape):
    x = random_images(shape[:2], shape[2:], dtype)
    y, dx = strategies.blank(shape[:2], dtype), strategies.blank(shape, dtype)
    kernels.global_avg_pool_forward(x, y)
    axes = tuple(range(2, len(shape)))
    # the sum is one of small integers, and so exact
    reference.assert_within(y, x.mean(axes, dtype=np.float64), 2 * reference.eps(dtype) * 3)
    kernels.global_avg_pool_backward(y, dx)
    expected = np.broadcast_to(np.expand_dims(y / np.prod(shape[2:]), axes), shape)
    reference.assert_within(dx, expected, 2 * reference.eps(dtype) * 3)


def test_global_mean_refuses():
    x, y = np.zeros((2, 3, 4, 5)), np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"^global_avg_pool_forward: out must be an array of the shape \(2, 3\)"):
        kernels.global_avg_pool_forward(x, np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"^global_avg_pool_backward: the images of dx have no elements"):
        kernels.global_avg_pool_backward(y, np.zeros((2, 3, 0)))
    with pytest.raises(TypeError, match=r"^global_avg_pool_forward: out must be float64 as x is"):
        kernels.global_avg_pool_forward(x, y.astype(np.float32))
    with pytest.raises(ValueError, match=r"^global_avg_pool_backward: the output must not overlap"):
        kernels.global_avg_pool_backward(x.reshape(-1)[:6].reshape(2, 3), x)
    y.flags.writeable = False
    with pytest.raises(TypeError, match=r"^global_avg_pool_forward: out is an output"):
        kernels.global_avg_pool_forward(x, y)


@pytest.mark.parametrize("padding", [0, [(1, 0), (0, 0)], [(1, 1), (0, 0)], [(0, 1), (0, 1)]])
@pytest.mark.parametrize("image", [(4, 6), (5, 7), (4, 40)])
@pytest.mark.parametrize("ceil", [False, True])
def test_pairs_leave_nothing_of_before(image, padding, ceil):
    """Windows of two side by side are written, not added to: what is in none of them must become 0."""
    numbers = {"size": 2, "padding": padding, "ceil": ceil}
    on = windows("pool", image, 2, 2, padding, ceil=ceil)
    x = np.random.default_rng(0).integers(-3, 4, (2, 3, *image)).astype(np.float32)
    y, index = np.empty((2, 3, *on.output), np.float32), np.empty((2, 3, *on.output), np.uint8)
    kernels.max_pool_forward(x, y, index, **numbers)
    dx = np.full(x.shape, np.nan, np.float32)
    kernels.max_pool_backward(np.ones_like(y), index, dx, **numbers)
    assert np.isin(dx, [0, 1]).all()
    assert dx.sum() == y.size
    assert (x * dx).sum() == y.sum()


@pytest.mark.parametrize("dtype", strategies.DTYPES)
@pytest.mark.parametrize("name", epilogue.NAMES)
@pytest.mark.parametrize(
    "numbers", [{"size": 2}, {"size": (3, 2)}, {"size": 2, "stride": 1}, {"size": 3, "padding": 1}]
)
def test_derivative_of_the_activation_below(numbers, name, dtype):
    code, slope = epilogue.NAMES.index(name), 0.125
    h = np.tanh(strategies.normal(0, (2, 3, 8, 50), dtype))
    on = windows("pool", (8, 50), numbers["size"], numbers.get("stride", numbers["size"]), numbers.get("padding", 0))
    y, index = np.empty((2, 3, *on.output), dtype), np.empty((2, 3, *on.output), np.uint8)
    kernels.max_pool_forward(h, y, index, **numbers)
    dy, dx, expected = strategies.normal(1, y.shape, dtype), np.empty_like(h), np.empty_like(h)
    kernels.max_pool_delta(dy, index, y, dx, code, slope, **numbers)
    kernels.max_pool_backward(dy, index, expected, **numbers)
    # sums of at most four numbers of normal size, each of them rounded three times
    sloped = expected * reference.activation_slope(name, h, slope)
    reference.assert_within(dx, sloped, 4 * 5 * 4 * reference.eps(dtype))


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_pytorch_agrees(axes, ceil):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pools are not compared with it")
    x = np.random.default_rng(0).integers(-3, 4, (2, 3, *(11, 9, 8)[:axes])).astype(np.float64)  # with ties
    tensor = torch.tensor(x, requires_grad=True)
    for size, stride, padding, dilation in [(2, 2, 0, 1), (3, 2, 1, 1), (3, 1, 1, 2), (2, 3, 1, 1)]:
        numbers = {"size": size, "stride": stride, "padding": padding, "dilation": dilation, "ceil": ceil}
        y = getattr(torch.nn.functional, f"max_pool{axes}d")(tensor, size, stride, padding, dilation, ceil_mode=ceil)
        dy = np.random.default_rng(1).integers(1, 9, tuple(y.shape)).astype(np.float64)
        (expected,) = torch.autograd.grad(y, tensor, torch.tensor(dy))
        out, index, dx = np.empty_like(dy), np.empty(dy.shape, np.uint8), np.empty_like(x)
        kernels.max_pool_forward(x, out, index, **numbers)
        kernels.max_pool_backward(dy, index, dx, **numbers)
        np.testing.assert_array_equal(out, y.detach().numpy())
        np.testing.assert_array_equal(dx, expected.numpy())
        for count_padding in (False, True) if dilation == 1 else ():
            function = getattr(torch.nn.functional, f"avg_pool{axes}d")
            y = function(tensor, size, stride, padding, ceil, count_padding)
            (expected,) = torch.autograd.grad(y, tensor, torch.tensor(dy))
            kernels.avg_pool_forward(x, out, **numbers, count_padding=count_padding)
            kernels.avg_pool_backward(dy, dx, **numbers, count_padding=count_padding)
            eps = np.finfo(np.float64).eps  # sums of at most 27 small integers are exact, their quotients are rounded
            np.testing.assert_allclose(out, y.detach().numpy(), rtol=2 * eps, atol=0)
            np.testing.assert_allclose(dx, expected.numpy(), rtol=27 * 2 * eps, atol=27 * 9 * eps)


def test_millions_of_windows_on_padding_are_refused_at_once():
    with pytest.raises(ValueError, match="a window lies on padding only"):
        pool_windows("pool", (8, 8), 2, 2, 10**9, 1, False)


@given(axes, st.booleans())
def test_windows_on_padding_only_are_found(axes, ceil):
    image, size, stride, dilation, padding = map(list, zip(*axes, strict=True))
    try:
        on = windows("pool", tuple(image), size, stride, padding, dilation, ceil=ceil)
    except ValueError:
        assume(False)
    places = [
        np.arange(n)[:, None] * s - b + np.arange(k) * d
        for n, s, b, k, d in zip(on.output, on.stride, on.before, on.size, on.dilation, strict=True)
    ]
    real = all(((p >= 0) & (p < n)).any(axis=1).all() for p, n in zip(places, image, strict=True))
    assert _all_are_real(on) == real
