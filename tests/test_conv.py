"""Convolution in one, two and three dimensions, and its gradients, against matrix products with columns."""

import numba
import numpy as np
import pytest
import reference
import strategies
from hypothesis import assume, given
from hypothesis import strategies as st

from fastbp import kernels
from fastbp.kernels import _cpu, _runtime, epilogue, reductions, tap_sums
from fastbp.kernels.windows import windows

axes = st.lists(strategies.window_axis(19), min_size=1, max_size=2)
axes |= st.lists(strategies.window_axis(8, 3), min_size=3, max_size=3)
one_by_one = st.lists(st.tuples(st.integers(1, 9), *[st.just(1)] * 3, st.just((0, 0))), min_size=1, max_size=3)
# few, many, and one more than a tile or a panel has rows
counts = st.sampled_from([1, 2, 3, 5, 7, 8, 13, 33])
layers = st.tuples(axes | one_by_one, st.integers(0, 3), st.sampled_from([1, 1, 1, 2, 3]), st.integers(1, 8), counts)


def layer_of(layer):
    """Shapes of x, w and y, the keywords of the kernels, and the windows."""
    axes, N, groups, channels, filters = layer
    image, size, stride, dilation, padding = map(list, zip(*axes, strict=True))
    numbers = {"stride": stride, "padding": padding, "dilation": dilation}
    try:
        on = windows("conv", tuple(image), size, **numbers)
    except ValueError:
        assume(False)
    assume(np.prod(on.output) < 2000)
    shapes = (N, groups * channels, *image), (groups * filters, channels, *size), (N, groups * filters, *on.output)
    return *shapes, {**numbers, "groups": groups}, on


def assert_sums(actual, expected, dtype, length):
    """Sums of ``length`` products of normal numbers: none of them is beyond 36, and roundings hardly line up."""
    reference.assert_within(actual, expected, reference.eps(dtype) * 36 * max(1, length))


@given(layers, strategies.dtypes, strategies.orders, strategies.out_orders, st.booleans())
def test_forward(layer, dtype, order, out_order, has_bias):
    x_shape, w_shape, y_shape, numbers, on = layer_of(layer)
    x, w = strategies.normal(0, x_shape, dtype, order), strategies.normal(1, w_shape, dtype, order)
    b = strategies.normal(2, w_shape[:1], dtype) if has_bias else None
    y = strategies.blank(y_shape, dtype, out_order)
    kernels.conv_forward(x, w, b, y, **numbers)
    assert_sums(y, reference.convolve(x, w, b, numbers["groups"], on), dtype, np.prod(w_shape[1:]) + 1)


@given(layers, strategies.dtypes, strategies.orders, strategies.out_orders)
def test_backward(layer, dtype, order, out_order):
    x_shape, w_shape, y_shape, numbers, on = layer_of(layer)
    x, w = strategies.normal(0, x_shape, dtype, order), strategies.normal(1, w_shape, dtype, order)
    dy = strategies.normal(2, y_shape, dtype, order)
    dx, dw = strategies.blank(x_shape, dtype, out_order), strategies.blank(w_shape, dtype, out_order)
    db = strategies.blank(w_shape[:1], dtype)
    kernels.conv_backward(dy, x, w, dx, dw, db, 0.25, **numbers)
    expected = reference.convolve_backward(dy, x, w, numbers["groups"], on)
    assert_sums(dx, expected[0], dtype, w_shape[0] * np.prod(on.size))
    results = len(x) * np.prod(on.output)
    assert_sums(dw, expected[1] + 0.5 * w.astype(np.float64), dtype, results + 1)
    assert_sums(db, expected[2], dtype, results)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", epilogue.NAMES)
@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_activations(dtype, name, stride):
    code, slope = epilogue.NAMES.index(name), 0.125
    x, w = strategies.normal(0, (2, 3, 9, 11), dtype), strategies.normal(1, (7, 3, 3, 3), dtype)
    b, on = strategies.normal(2, (7,), dtype), windows("conv", (9, 11), 3, stride, 1)
    y = strategies.blank((2, 7, *on.output), dtype)
    kernels.conv_activation_forward(x, w, b, y, code, slope, stride=stride, padding=1)
    expected = reference.activation(name, reference.convolve(x, w, b, 1, on), slope)
    assert_sums(y, expected, dtype, 28)
    # the derivative of the activation below goes into dx
    h, dx = np.tanh(x), strategies.blank(x.shape, dtype)
    kernels.conv_delta(y, w, h, dx, code, slope, stride=stride, padding=1)
    expected, _, _ = reference.convolve_backward(y, x, w, 1, on)
    assert_sums(dx, expected * reference.activation_slope(name, h, slope), dtype, 7 * 9)


@given(layers, strategies.dtypes)
def test_update_and_accumulation(layer, dtype):
    x_shape, w_shape, y_shape, numbers, _ = layer_of(layer)
    x, w, dy = (strategies.normal(i, shape, dtype) for i, shape in enumerate((x_shape, w_shape, y_shape)))
    b, dw, db = strategies.normal(3, w_shape[:1], dtype), np.empty_like(w), np.empty_like(w, shape=w_shape[:1])
    kernels.conv_gradient(dy, x, w, dw, db, **numbers)
    results = y_shape[0] * np.prod(y_shape[2:])
    more, more_b = w.copy(), b.copy()
    kernels.conv_gradient(dy, x, w, more, more_b, accumulate=True, **numbers)
    assert_sums(more, w + dw, dtype, results)
    assert_sums(more_b, b + db, dtype, results)
    new, new_b = w.copy(), b.copy()
    kernels.conv_sgd_update(dy, x, new, new_b, 0.5, 0.25, **numbers)
    assert_sums(new, w - 0.5 * (dw + 0.5 * w), dtype, results)
    assert_sums(new_b, b - 0.5 * db, dtype, results)
    kernels.conv_sgd_update(dy, x, w, None, 0.5, 0.25, **numbers)
    np.testing.assert_array_equal(w, new)


def test_the_textbook():
    """One window, and 5 x 5 x 3 images with two kernels, stride 2 and padding 1."""
    channel = np.array([[1, 1, -1], [0, -1, 0], [1, -1, -1]], np.float64)
    window = np.array([[0, 0, 0], [0, 0, 1], [0, 2, 0]], np.float64)
    y = np.empty((1, 1, 1, 1))
    kernels.conv_forward(window[None, None], channel[None, None], None, y)
    assert y.item() == -2
    x, w = np.stack([window] * 3)[None], np.stack([channel, np.zeros((3, 3)), window])[None]
    w[0, 2] = [[0, 0, 0], [0, 1, 0], [0, 0, 0]]  # the other channels give 0 and 1
    x[0, 2, 1, 1] = 1
    kernels.conv_forward(x, w, np.ones(1), y)
    assert y.item() == -2 + 0 + 1 + 1
    rng = np.random.default_rng(0)
    x, w, b = rng.integers(0, 3, (1, 3, 5, 5)) * 1.0, rng.integers(-1, 2, (2, 3, 3, 3)) * 1.0, np.array([1.0, 0.0])
    y, expected = np.empty((1, 2, 3, 3)), np.empty((1, 2, 3, 3))
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
    for f, i, j in np.ndindex(2, 3, 3):
        total = b[f]
        for c, p, q in np.ndindex(3, 3, 3):
            total += w[f, c, p, q] * padded[0, c, 2 * i + p, 2 * j + q]
        expected[0, f, i, j] = total
    kernels.conv_forward(x, w, b, y, stride=2, padding=1)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_one_by_one_is_the_affine_map_at_each_place(dtype):
    x, w = strategies.normal(0, (3, 20, 6, 7), dtype), strategies.normal(1, (9, 20, 1, 1), dtype)
    b, y = strategies.normal(2, (9,), dtype), np.empty((3, 9, 6, 7), dtype)
    kernels.conv_forward(x, w, b, y)
    rows, out = np.ascontiguousarray(np.moveaxis(x, 1, -1).reshape(-1, 20)), np.empty((126, 9), dtype)
    kernels.affine_forward(rows, w[:, :, 0, 0], b, out)
    assert_sums(y, np.moveaxis(out.reshape(3, 6, 7, 9), -1, 1).astype(np.float64), dtype, 21)


def test_translation():
    """An image moved by a pixel gives results moved by a pixel, and pooled over the image the same."""
    x = np.zeros((1, 1, 12, 12), np.float32)
    x[..., 3:7, 4:8] = strategies.normal(0, (4, 4), np.float32)
    w = strategies.normal(1, (5, 1, 3, 3), np.float32)
    y, moved = np.empty((1, 5, 12, 12), np.float32), np.empty((1, 5, 12, 12), np.float32)
    kernels.conv_forward(x, w, None, y, padding=1)
    kernels.conv_forward(np.roll(x, 1, axis=3), w, None, moved, padding=1)
    np.testing.assert_array_equal(np.roll(y, 1, axis=3), moved)
    largest = [np.empty((1, 5, 1, 1), np.float32) for _ in range(2)]
    for image, out in zip((y, moved), largest, strict=True):
        kernels.max_pool_forward(image, out, np.empty(out.shape, np.uint8), 12)
    np.testing.assert_array_equal(*largest)


@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_nan_reaches_its_windows_only(dtype):
    x, w = strategies.normal(0, (2, 3, 9, 9), dtype), strategies.normal(1, (4, 3, 3, 3), dtype)
    x[1, 0, 4, 4] = np.nan
    y = np.empty((2, 4, 9, 9), dtype)
    kernels.conv_forward(x, w, None, y, padding=1)
    expected = np.zeros(y.shape, bool)
    expected[1, :, 3:6, 3:6] = True
    np.testing.assert_array_equal(np.isnan(y), expected)
    x[1, 0, 4, 4] = 1
    dy, dx, dw = np.zeros_like(y), np.empty_like(x), np.empty_like(w)
    dy[0, 2, 0, 0] = np.inf
    kernels.conv_backward(dy, x, w, dx, dw, None, padding=1)
    assert np.isfinite(dw[[0, 1, 3]]).all()
    assert not np.isfinite(dw[2, :, 1:, 1:]).any()
    assert np.isfinite(dx[1]).all()


@given(layers, strategies.dtypes, st.data())
def test_gradients_are_adjoint(layer, dtype, data):
    """<conv(x, w), dy> = <x, dx> = <w, dw>, for the map is linear in each of x and w."""
    x_shape, w_shape, y_shape, numbers, _ = layer_of(layer)
    arrays = (strategies.normal(i, shape, np.float64) for i, shape in enumerate((x_shape, w_shape, y_shape)))
    x, w, dy = arrays
    y, dx, dw = np.empty(y_shape), np.empty(x_shape), np.empty(w_shape)
    kernels.conv_forward(x, w, None, y, **numbers)
    kernels.conv_backward(dy, x, w, dx, dw, None, **numbers)
    products = [(y * dy).sum(), (x * dx).sum(), (w * dw).sum()]
    size = 36 * np.finfo(np.float64).eps * max(1, y.size) * np.prod(w_shape[1:])
    np.testing.assert_allclose(products, products[0], rtol=0, atol=size)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_threads_change_no_bit(dtype, groups, monkeypatch):
    monkeypatch.setattr(_runtime, "PARALLEL_WORK", 0)
    x, w = strategies.normal(0, (7, 12, 13, 13), dtype), strategies.normal(1, (20, 12 // groups, 3, 3), dtype)
    numbers = {"padding": 1, "stride": 2, "groups": groups}
    dy, results = strategies.normal(2, (7, 20, 7, 7), dtype), []
    for threads in (1, 2):
        monkeypatch.setitem(_runtime._state, "team", threads)
        y, dx, dw, db = (np.empty(shape, dtype) for shape in (dy.shape, x.shape, w.shape, (20,)))
        kernels.conv_forward(x, w, db * 0 + 1, y, **numbers)
        kernels.conv_backward(dy, x, w, dx, dw, db, **numbers)
        results.append([y, dx, dw, db])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("image", [(500,), (31, 20), (9, 8, 10)], ids=len)
@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_large_images_are_taken_in_bands(dtype, image, monkeypatch):
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-3, 4, shape).astype(dtype) for shape in ((2, 3, *image), (9, 3, *[3] * len(image))))
    dy = rng.integers(-3, 4, (2, 9, *image)).astype(dtype)
    results = []
    for cache in (_cpu.L2_BYTES, 2**15):
        monkeypatch.setattr(_cpu, "L2_BYTES", cache)
        y, dx, dw, db = np.empty_like(dy), np.empty_like(x), np.empty_like(w), np.empty(9, dtype)
        kernels.conv_forward(x, w, None, y, padding=1)
        kernels.conv_backward(dy, x, w, dx, dw, db, padding=1)
        results.append((y, dx, dw, db))
    for one, other in zip(*results, strict=True):  # exact: all of them are integers
        np.testing.assert_array_equal(one, other)


def test_stretches_of_rows_change_no_bit(monkeypatch):
    """A sum over a row that is taken in stretches goes on where it was."""
    x, w = strategies.normal(0, (2, 3, 4, 700), np.float32), strategies.normal(1, (19, 3, 3, 3), np.float32)
    dy, results = strategies.normal(2, (2, 19, 2, 698), np.float32), []
    for cache in (_cpu.L2_BYTES, 2**15, 2**13):
        monkeypatch.setattr(_cpu, "L2_BYTES", cache)
        dw, db = np.empty_like(w), np.empty(19, np.float32)
        kernels.conv_gradient(dy, x, w, dw, db)
        results.append(np.append(dw, db))
    for other in results[1:]:
        reference.assert_bitwise(other, results[0])


@pytest.mark.parametrize("filters", [1, 9])
def test_wide_rows_take_room_for_a_stretch(filters, monkeypatch):
    """Beside the grid, with as many elements as the image, a thread has the deltas of a stretch of a row."""
    needed = []
    submit = tap_sums.submit
    monkeypatch.setattr(tap_sums, "submit", lambda *arguments: needed.append(arguments[-1]) or submit(*arguments))
    x, w = np.ones((1, 1, 300_000), np.float32), np.ones((filters, 1, 3), np.float32)
    dw = np.empty_like(w)
    kernels.conv_gradient(np.ones((1, filters, 299_998), np.float32), x, w, dw, None)
    assert (dw == 299_998).all()
    partial = 2 * 16 * 32 * 16  # of 16 chunks, a tile that is larger than any
    threads = numba.config.NUMBA_NUM_THREADS
    assert needed[0] <= partial + threads * (2 * x.size + _cpu.L2_BYTES // 4 // x.itemsize)


def test_sums_of_large_planes():
    """Roundings of a bias gradient and of a mean grow with the elements that are summed at once, not with all."""
    plane, lanes = 2**22, _cpu.blocks(4).lanes
    x, w = np.full((1, 1, plane), 0.1, np.float32), np.zeros((1, 1, 1), np.float32)
    db, mean = np.empty(1, np.float32), np.empty((1, 1), np.float32)
    kernels.conv_gradient(x, x, w, w.copy(), db)
    kernels.global_avg_pool_forward(x, mean)
    expected = np.array([plane * float(x[0, 0, 0])])
    # of a lane, of the lanes, and of the sums
    roundings = reductions._LONGEST / lanes + lanes + plane / reductions._LONGEST + 1
    reference.assert_within(db, expected, roundings * reference.eps(np.float32) / 2 * expected)
    reference.assert_within(mean[0] * plane, expected, (roundings + 1) * reference.eps(np.float32) / 2 * expected)


def test_an_empty_batch_gives_empty_results():
    x, w, y = np.empty((0, 3, 8, 8)), np.ones((4, 3, 3, 3)), np.empty((0, 4, 6, 6))
    kernels.conv_forward(x, w, None, y)
    dw, db = np.full(w.shape, 7.0), np.full(4, 7.0)
    kernels.conv_backward(y, x, w, np.empty_like(x), dw, db, 0.5)
    np.testing.assert_array_equal(dw, w)
    np.testing.assert_array_equal(db, 0)


X, W, B, OUT = np.ones((2, 4, 5, 5)), np.ones((6, 4, 3, 3)), np.ones(6), np.ones((2, 6, 3, 3))
BAD = {
    "rank of x": ((X[0, 0], W, B, OUT), {}, ValueError, r"x must be an array \(N, C, W\)"),
    "rank of w": ((X, W[0], B, OUT), {}, ValueError, r"w must be an array \(F, C, KH, KW\) for x \(2, 4, 5, 5\)"),
    "list": ((X, [1.0], B, OUT), {}, ValueError, "w must be an array .* got list"),
    "channels": ((X, W[:, :3], B, OUT), {}, ValueError, r"w must have 4 channels.* w \(6, 3, 3, 3\), x \(2, 4, 5, 5\)"),
    "bias": ((X, W, B[:5], OUT), {}, ValueError, r"b must be an array of the shape \(6,\)"),
    "out": ((X, W, B, OUT[:1]), {}, ValueError, r"out must be an array of the shape \(2, 6, 3, 3\)"),
    "window": (
        (X, W, B, OUT),
        {"dilation": 3},
        ValueError,
        "a window that spans 7 x 7 does not fit into an image of 5 x 5",
    ),
    "stride": ((X, W, B, OUT), {"stride": 0}, ValueError, "stride must be positive"),
    "negative stride": ((X, W, B, OUT), {"stride": (1, -1)}, ValueError, "stride must be positive"),
    "groups": ((X, W, B, OUT), {"groups": 3}, ValueError, "4 channels, 6 filters, 3 groups"),
    "no groups": ((X, W, B, OUT), {"groups": 0}, ValueError, "groups must be a positive integer"),
    "dtype": ((X, W.astype(np.float32), B, OUT), {}, TypeError, "w must be float64 as x is, got float32"),
    "integers": ((X.astype(int), W, B, OUT), {}, TypeError, "x must be float32 or float64"),
    "no channels": ((X[:, :0], W[:, :0], B, OUT), {}, ValueError, "there must be channels and filters"),
    "no image": ((X[..., :0], W, B, OUT), {}, ValueError, "does not fit into an image of 5 x 0"),
    "overlap": ((X, W, B, X[:, :, :3, :3]), {}, ValueError, "out must"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case):
    arguments, numbers, error, message = BAD[case]
    with pytest.raises(error, match=message) as info:
        kernels.conv_forward(*arguments, **numbers)
    assert str(info.value).startswith("conv_forward: ")


def test_outputs_must_not_overlap():
    dy, dx = np.ones((2, 6, 3, 3)), np.empty_like(X)
    with pytest.raises(ValueError, match="conv_backward: dw must not overlap w"):
        kernels.conv_backward(dy, X, W, dx, W, None)
    with pytest.raises(ValueError, match="conv_backward: db comes with dw"):
        kernels.conv_backward(dy, X, W, dx, None, B)
    with pytest.raises(TypeError, match="conv_delta: dx is an output and must be writable"):
        kernels.conv_delta(dy, W, None, strategies.lay_out(dx, "read-only"))
    with pytest.raises(ValueError, match="activation must be "):
        kernels.conv_delta(dy, W, X, dx, 9)


DY, DX, DW = np.ones((2, 6, 3, 3)), np.empty_like(X), np.empty_like(W)
MISSING = {
    "conv_forward: out": lambda: kernels.conv_forward(X, W, B, None),
    "conv_backward: dy": lambda: kernels.conv_backward(None, X, W, None, DW, None),
    "conv_backward: x": lambda: kernels.conv_backward(DY, None, W, DX, DW, None),
    "conv_gradient: delta": lambda: kernels.conv_gradient(None, X, W, DW, None),
    "conv_gradient: dw": lambda: kernels.conv_gradient(DY, X, W, None, None),
    "conv_sgd_update: delta": lambda: kernels.conv_sgd_update(None, X, W, None, 0.1),
    "conv_delta: delta": lambda: kernels.conv_delta(None, W, None, DX),
    "conv_delta: dx": lambda: kernels.conv_delta(DY, W, None, None),
    "conv_delta: w": lambda: kernels.conv_delta(DY, None, None, DX),
}


@pytest.mark.parametrize("case", MISSING)
def test_what_is_missing_is_named(case):
    with pytest.raises(ValueError, match=rf"^{case} must be an array .* got NoneType$"):
        MISSING[case]()


def test_errors_call_arguments_by_their_names():
    with pytest.raises(ValueError, match=r"^conv_delta: dx must be an array \(N, C, W\), .* got the shape \(3, 3\)"):
        kernels.conv_delta(DY, W, None, DX[0, 0, :3, :3])
    with pytest.raises(ValueError, match=r"^conv_forward: activation must be an integer from 0 to 4, got 99"):
        kernels.conv_activation_forward(X, W, B, OUT, 99)
    with pytest.raises(TypeError, match=r"^conv_forward: pool must be a Pooled or None, got \(2,\)"):
        kernels.conv_activation_forward(X, W, B, OUT, 1, pool=(2,))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_pytorch_agrees(axes, groups):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: convolutions are not compared with it")
    image, numbers = (11, 9, 8)[:axes], {"stride": 2, "padding": 1, "dilation": 2, "groups": groups}
    x, w = (
        strategies.normal(0, (3, 4, *image), np.float64),
        strategies.normal(1, (6, 4 // groups, *[3] * axes), np.float64),
    )
    b = strategies.normal(2, (6,), np.float64)
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
    u = getattr(torch.nn.functional, f"conv{axes}d")(*tensors, **numbers)
    dy = strategies.normal(3, tuple(u.shape), np.float64)
    u.backward(torch.tensor(dy))
    y, dx, dw, db = np.empty_like(dy), np.empty_like(x), np.empty_like(w), np.empty_like(b)
    kernels.conv_forward(x, w, b, y, **numbers)
    kernels.conv_backward(dy, x, w, dx, dw, db, **numbers)
    assert_sums(y, u.detach().numpy(), np.float64, 4 * 27)
    for mine, tensor in zip((dx, dw, db), tensors, strict=True):
        assert_sums(mine, tensor.grad.numpy(), np.float64, dy.size)
