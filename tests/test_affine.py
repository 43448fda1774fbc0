"""Affine maps, their gradients and the fused update, with the reference numbers of the mathematics."""

import itertools

import numpy as np
import pytest
import reference
import strategies
from hypothesis import given
from hypothesis import strategies as st

from fastbp import kernels
from fastbp.kernels import _runtime, affine
from fastbp.kernels.epilogue import LEAKY_RELU, RELU, SIGMOID, TANH

DTYPES = pytest.mark.parametrize("dtype", strategies.DTYPES)
FORWARD = {
    "identity": kernels.affine_forward,
    "relu": kernels.affine_relu_forward,
    "sigmoid": kernels.affine_sigmoid_forward,
    "tanh": kernels.affine_tanh_forward,
}
BACKWARD = {
    "relu": kernels.affine_relu_backward,
    "sigmoid": kernels.affine_sigmoid_backward,
    "tanh": kernels.affine_tanh_backward,
}
NUMBERS = {"relu": RELU, "leaky_relu": LEAKY_RELU, "sigmoid": SIGMOID, "tanh": TANH}


def arrays(shape, dtype, seed=0, w_order="C"):
    """x (N, I), w (O, I), b (O,) and delta (N, O)."""
    N, I, O = shape
    x = strategies.normal(seed, (N, I), dtype)
    w = strategies.normal(seed + 1, (O, I), dtype, w_order)
    b = strategies.normal(seed + 2, (O,), dtype)
    return x, w, b, strategies.normal(seed + 3, (N, O), dtype)


def product_within(actual, a, b, addend, scale=1.0):
    """actual = scale a b + addend, each element a sum of K products."""
    product, magnitude = reference.matmul(a, b)
    bound = reference.product_bound(a.shape[1], actual.dtype, abs(scale) * magnitude + abs(addend))
    reference.assert_within(actual, scale * product + addend, bound)


@given(
    st.sampled_from(sorted(FORWARD)),
    strategies.NIO,
    strategies.dtypes,
    strategies.seeds,
    strategies.orders,
    strategies.orders,
    strategies.out_orders,
    st.booleans(),
)
def test_forward(name, shape, dtype, seed, x_order, w_order, out_order, with_bias):
    x, w, b, _ = arrays(shape, dtype, seed, w_order)
    out = strategies.blank((shape[0], shape[2]), dtype, out_order)
    FORWARD[name](strategies.lay_out(x, x_order), w, b if with_bias else None, out)
    product, magnitude = reference.matmul(x, w.T)
    b = b.astype(np.float64) if with_bias else np.zeros(len(b))
    y = reference.activation(name, product + b)
    # slopes of at most 1 pass the error of u on; sigmoid and tanh add 2 ulp
    bound = reference.product_bound(shape[1], dtype, magnitude + abs(b)) + 3 * reference.eps(dtype) * abs(y)
    reference.assert_within(out, y, bound)


@given(strategies.NIO, strategies.dtypes, strategies.seeds, strategies.orders, strategies.out_orders, st.booleans())
def test_backward(shape, dtype, seed, order, out_order, decay):
    x, w, b, delta = arrays(shape, dtype, seed, order)
    l2 = 0.125 if decay else 0.0
    dx, dw, db = (strategies.blank(z.shape, dtype, out_order) for z in (x, w, b))
    db = strategies.blank(b.shape, dtype)
    kernels.affine_backward(strategies.lay_out(delta, order), x, w, dx, dw, db, l2)
    product_within(dx, delta, w, 0)
    product_within(dw, delta.T, x, 2 * l2 * w.astype(np.float64))
    sums, magnitude = delta.sum(0, dtype=np.float64), abs(delta).sum(0, dtype=np.float64)
    reference.assert_within(db, sums, reference.product_bound(shape[0], dtype, magnitude))


def test_backward_computes_only_what_is_asked():
    x, w, b, delta = arrays((5, 6, 7), np.float32)
    full = [np.empty_like(z) for z in (x, w, b)]
    kernels.affine_backward(delta, x, w, *full)
    for i in range(3):
        outputs = [None, None, None]
        outputs[i] = np.empty_like(full[i])
        kernels.affine_backward(delta, x, w, *outputs)
        reference.assert_bitwise(outputs[i], full[i])


@DTYPES
@pytest.mark.parametrize("name", list(BACKWARD))
@pytest.mark.parametrize("l2", [0.0, 0.25])
def test_activated_backward(dtype, name, l2):
    """The same bits as the activation's backward followed by the affine one."""
    x, w, b, dy = arrays((33, 13, 67), dtype)
    y = np.empty_like(dy)
    FORWARD[name](x, w, b, y)
    delta, *gradients = (np.empty_like(z) for z in (dy, x, w, b))
    BACKWARD[name](dy, y, x, w, delta, *gradients, l2)
    other, *expected = (np.empty_like(z) for z in (dy, x, w, b))
    getattr(kernels, f"{name}_backward")(dy, y, other)
    kernels.affine_backward(other, x, w, *expected, l2)
    for actual, wanted in zip((delta, *gradients), (other, *expected), strict=True):
        reference.assert_bitwise(actual, wanted)


@pytest.mark.parametrize("name", list(BACKWARD))
def test_gradients_by_differences(name):
    x, w, b, dy = arrays((3, 4, 5), np.float64, seed=7)
    l2 = 0.01
    y = np.empty_like(dy)
    FORWARD[name](x, w, b, y)
    assert abs(reference.matmul(x, w.T)[0] + b).min() > 100 * reference.STEP  # no kink within a step
    delta, *gradients = (np.empty_like(z) for z in (dy, x, w, b))
    BACKWARD[name](dy, y, x, w, delta, *gradients, l2)

    def cost(x, w, b):
        out = np.empty_like(dy)
        FORWARD[name](x, w, b, out)
        return (dy * out).sum() + l2 * (w**2).sum()

    # values and third derivatives: at most |dy| (|x| |w| + |b|), times the cube of an input up to 3
    bound = reference.difference_bound(27 * (abs(dy) * (abs(x) @ abs(w.T) + abs(b) + 1)).sum())
    for actual, numerical in zip(
        gradients,
        (
            reference.numerical_gradient(lambda z: cost(z, w, b), x),
            reference.numerical_gradient(lambda z: cost(x, z, b), w),
            reference.numerical_gradient(lambda z: cost(x, w, z), b),
        ),
        strict=True,
    ):
        reference.assert_within(actual, numerical, bound)


@given(strategies.NIO, strategies.dtypes, st.sampled_from([0.0, 0.125]), strategies.orders, strategies.out_orders)
def test_accumulate(shape, dtype, l2, w_order, out_order):
    x, w, b, delta = arrays(shape, dtype, 0, w_order)
    dw, db = strategies.normal(8, w.shape, dtype, out_order), strategies.normal(9, b.shape, dtype)
    dw_before, db_before = dw.astype(np.float64), db.astype(np.float64)
    kernels.affine_weight_gradient(delta, x, w, dw, l2, accumulate=True)
    decay = 2 * l2 * w.astype(np.float64)
    product, magnitude = reference.matmul(delta.T, x)
    bound = reference.product_bound(shape[0], dtype, magnitude + abs(dw_before) + abs(decay))
    reference.assert_within(dw, product + dw_before + decay, bound)
    kernels.affine_bias_gradient(delta, db, accumulate=True)
    sums, magnitude = delta.sum(0, dtype=np.float64), abs(delta).sum(0, dtype=np.float64)
    bound = reference.product_bound(shape[0], dtype, magnitude + abs(db_before))
    reference.assert_within(db, sums + db_before, bound)


@given(strategies.NIO, strategies.dtypes, st.sampled_from([0.0, 0.125]), strategies.out_orders, st.booleans())
def test_sgd_update_is_the_gradient_and_a_step(shape, dtype, l2, order, with_bias):
    x, w, b, delta = arrays(shape, dtype, 0, order)
    lr = 0.25
    dw, db, stepped, stepped_b = (np.empty_like(z) for z in (w, b, w, b))
    stepped[...], stepped_b[...] = w, b
    kernels.affine_weight_gradient(delta, x, w, dw)
    kernels.affine_bias_gradient(delta, db)
    kernels.sgd_update(dw, stepped, lr, l2)
    kernels.sgd_update(db, stepped_b, lr)
    before = abs(w).astype(np.float64)
    w, b = strategies.lay_out(w, order), b.copy()
    if order == "read-only":
        w.flags.writeable = True
    kernels.affine_sgd_update(delta, x, w, b if with_bias else None, lr, l2)
    # both are sums of N products, scaled: twice the bound of one
    bound = 2 * reference.product_bound(shape[0], dtype, lr * reference.matmul(delta.T, x)[1] + 2 * before)
    reference.assert_within(w, stepped, bound)
    if with_bias:
        sums = lr * abs(delta).sum(0, dtype=np.float64)
        reference.assert_within(b, stepped_b, 2 * reference.product_bound(shape[0], dtype, sums + 2 * abs(stepped_b)))


@DTYPES
@pytest.mark.parametrize("name", list(NUMBERS))
def test_delta_recursion(dtype, name):
    """dx = (delta w) * f'(h), the same bits as the product followed by the activation's backward."""
    slope = 0.25
    _, w, _, delta = arrays((33, 40, 13), dtype)
    h = reference.activation(name, strategies.normal(5, (33, 40), dtype), slope).astype(dtype)
    dx, product = np.empty_like(h), np.empty_like(h)
    kernels.affine_delta(delta, w, h, dx, NUMBERS[name], slope)
    kernels.affine_delta(delta, w, None, product)
    factor = reference.activation_slope(name, h, slope)
    # after the product at most 4 roundings, one of them of 1 - h or 1 + h
    reference.assert_within(dx, product * factor, 5 * reference.eps(dtype) * abs(product * factor))


@DTYPES
def test_threads_do_not_change_a_bit(dtype, monkeypatch):
    shape = (4000, 70, 130)
    results = []
    for work in (_runtime.PARALLEL_WORK, np.inf):
        monkeypatch.setattr(_runtime, "PARALLEL_WORK", work)
        x, w, b, delta = arrays(shape, dtype)
        y = np.empty_like(delta)
        kernels.affine_tanh_forward(x, w, b, y)
        outputs = [np.empty_like(z) for z in (delta, x, w, b)]
        kernels.affine_tanh_backward(delta, y, x, w, *outputs, 0.125)
        kernels.affine_sgd_update(delta, x, w, b, 0.125)
        results.append((y, *outputs, w, b))
    for parallel, serial in zip(*results, strict=True):
        reference.assert_bitwise(parallel, serial)


# The reference numbers.

X, W1, W2 = np.array([[2.0, 3.0, 1.0]]), np.array([[3.0, 1.0, 2.0], [-2.0, -3.0, -1.0]]), np.array([[3.0, 2.0]])
T = np.array([[20.0]])


@DTYPES
def test_three_layer_net_with_relu(dtype):
    x, w1, w2, t = (z.astype(dtype) for z in (X, W1, W2, T))
    u, h, y, delta, delta_below = (np.empty((1, n), dtype) for n in (2, 2, 1, 1, 2))
    kernels.affine_forward(x, w1, None, u)
    np.testing.assert_array_equal(u, [[11, -14]])
    kernels.affine_relu_forward(x, w1, None, h)
    np.testing.assert_array_equal(h, [[11, 0]])
    kernels.affine_forward(h, w2, None, y)
    assert y[0, 0] == 33
    assert kernels.squared_error(y, t, 1.0, delta) == 169
    dw1, dw2 = np.empty_like(w1), np.empty_like(w2)
    kernels.affine_backward(delta, h, w2, None, dw2, None)
    kernels.affine_delta(delta, w2, h, delta_below, RELU)
    kernels.affine_backward(delta_below, x, w1, None, dw1, None)
    np.testing.assert_array_equal(dw2, [[286, 0]])
    np.testing.assert_array_equal(dw1, [[156, 234, 78], [0, 0, 0]])


def test_three_layer_net_with_sigmoid():
    h, y, dy, delta, delta_below = (np.empty((1, n)) for n in (2, 1, 1, 1, 2))
    kernels.affine_sigmoid_forward(X, W1, None, h)
    kernels.affine_sigmoid_forward(h, W2, None, y)
    kernels.squared_error(y, T, 1.0, dy)
    dw1, dw2 = np.empty_like(W1), np.empty_like(W2)
    kernels.affine_sigmoid_backward(dy, y, h, W2, delta, None, dw2, None)
    kernels.affine_delta(delta, W2, h, delta_below, SIGMOID)
    kernels.affine_backward(delta_below, X, W1, None, dw1, None)
    # the digits shown: half a unit of the last of 8 or 9
    np.testing.assert_allclose(y, [[0.95257194]], rtol=0, atol=5e-9)
    np.testing.assert_allclose(dw2, [[-1.72104507e00, -1.43112111e-06]], rtol=5e-9)
    expected = [
        [-1.72463398e-04, -2.58695098e-04, -8.62316992e-05],
        [-5.72447970e-06, -8.58671954e-06, -2.86223985e-06],
    ]
    np.testing.assert_allclose(dw1, expected, rtol=5e-9)


@pytest.mark.parametrize("order", ["C", "F"])
def test_outer_product(order):
    delta, x = np.array([[1.0, 2.0, 3.0]]), np.array([[4.0, 5.0, 6.0, 7.0]])
    dw = np.empty((3, 4), order=order)
    kernels.affine_weight_gradient(delta, x, None, dw)
    np.testing.assert_array_equal(dw, [[4, 5, 6, 7], [8, 10, 12, 14], [12, 15, 18, 21]])
    if order == "F":
        flat = dw.ravel(order="K")
        assert all(flat[i + 3 * j] == dw[i, j] for i in range(3) for j in range(4))


def test_weight_decay():
    # J = tr(W'W): dJ/dW = 2 W, which is the gradient of no samples with l2 = 1
    w = strategies.normal(0, (3, 4), np.float64)
    dw = np.empty_like(w)
    kernels.affine_weight_gradient(np.empty((0, 3)), np.empty((0, 4)), w, dw, 1.0)
    np.testing.assert_array_equal(dw, 2 * w)


# What is refused.

SHAPES = {"x": (2, 3), "w": (4, 3), "b": (4,), "out": (2, 4)}


@pytest.mark.parametrize(
    ("name", "shape"),
    [("x", (2, 4)), ("x", (3,)), ("w", (3, 4)), ("b", (3,)), ("b", (4, 1)), ("b", (1,)), ("out", (4, 2))],
)
def test_forward_refuses_shapes(name, shape):
    given_arrays = {key: np.zeros(size) for key, size in (SHAPES | {name: shape}).items()}
    with pytest.raises(ValueError, match="affine_forward") as caught:
        kernels.affine_forward(**given_arrays)
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize("name", ["w", "b", "out"])
def test_forward_refuses_mixed_dtypes_by_name(name):
    given_arrays = {key: np.zeros(size) for key, size in SHAPES.items()}
    given_arrays[name] = given_arrays[name].astype(np.float32)
    meaning = {"b": "(b|bias)"}.get(name, name)
    with pytest.raises(TypeError, match=rf": {meaning} must be .* got .*float32"):
        kernels.affine_forward(**given_arrays)


def test_forward_takes_a_strided_bias():
    x, w, b, out = (np.ones(shape) for shape in SHAPES.values())
    expected = np.empty_like(out)
    kernels.affine_forward(x, w, b, expected)
    kernels.affine_forward(x, w, strategies.lay_out(b, "every other"), out)
    reference.assert_bitwise(out, expected)


def test_bias_gradient_is_added_once_when_threads_change_meanwhile(monkeypatch):
    delta, db = np.ones((2000, 400), np.float32), np.zeros(400, np.float32)
    assert delta.size >= _runtime.PARALLEL_WORK
    kernels.affine_bias_gradient(delta, db)
    teams = itertools.chain([2], itertools.repeat(1))  # as another Python thread may set it
    monkeypatch.setattr(_runtime, "team", lambda: next(teams))
    kernels.affine_bias_gradient(delta, db, accumulate=True)
    np.testing.assert_array_equal(db, 4000)


def test_bias_gradient_takes_a_strided_output():
    db = strategies.blank((4,), np.float64, "every other")
    kernels.affine_bias_gradient(np.ones((3, 4)), db)
    np.testing.assert_array_equal(db, 3)


BAD_GRADIENTS = [("dx", (2, 4)), ("dw", (3, 4)), ("db", (3,)), ("x", (5, 3)), ("w", (4, 2)), ("dy", (2, 5))]


@pytest.mark.parametrize(("name", "shape"), BAD_GRADIENTS)
@pytest.mark.parametrize("l2", [0.0, 1.0])
def test_backward_refuses_shapes(name, shape, l2):
    shapes = {"dy": (2, 4), "x": (2, 3), "w": (4, 3), "dx": (2, 3), "dw": (4, 3), "db": (4,)}
    with pytest.raises(ValueError, match="affine"):
        kernels.affine_backward(**{key: np.zeros(size) for key, size in (shapes | {name: shape}).items()}, l2=l2)


def test_a_derivative_needs_the_output_that_it_is_taken_from():
    delta, w, dx = np.ones((4, 3)), np.ones((3, 5)), np.zeros((4, 5))
    with pytest.raises(ValueError, match="affine_delta: h must be given, the derivative of relu is taken from it"):
        kernels.affine_delta(delta, w, None, dx, RELU)
    images, filters = np.ones((1, 2, 6)), np.ones((2, 3, 1))
    with pytest.raises(ValueError, match="conv_delta: h must be given, the derivative of tanh is taken from it"):
        kernels.conv_delta(images, filters, None, np.zeros((1, 3, 6)), TANH)
    assert not dx.any()


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("shape", [(1, 3), (4, 1), (1, 1), (3, 4)])
def test_weight_gradient_refuses_w_of_another_shape(accumulate, shape):
    dw = np.zeros((4, 3))
    with pytest.raises(ValueError, match="affine_weight_gradient"):
        kernels.affine_weight_gradient(np.ones((2, 4)), np.ones((2, 3)), np.ones(shape), dw, 0.5, accumulate=accumulate)
    with pytest.raises(ValueError, match="affine_weight_gradient"):
        kernels.affine_weight_gradient(np.ones((2, 4)), np.ones((2, 3)), np.ones(shape, np.float32), dw)


def test_update_with_a_wrong_bias_changes_nothing():
    w = np.ones((4, 3))
    with pytest.raises(ValueError, match="affine_sgd_update"):
        kernels.affine_sgd_update(np.ones((2, 4)), np.ones((2, 3)), w, np.ones(5), 0.5)
    np.testing.assert_array_equal(w, 1)


def test_outputs_that_overlap_inputs_are_refused():
    x, w, delta = np.ones((3, 3)), np.ones((3, 3)), np.ones((3, 3))
    with pytest.raises(ValueError, match="overlap"):
        kernels.affine_forward(x, w, None, x)
    with pytest.raises(ValueError, match="overlap"):
        kernels.affine_backward(delta, x, w, delta, None, None)
    with pytest.raises(ValueError, match="overlap"):
        kernels.affine_backward(delta, x, w, None, x, None)


def test_a_small_decay_is_not_rounded_away():
    """w shrinks by 2 lr l2 = 2e-8 a step, less than half an ulp of 1 in float32, while noise keeps it moving.

    Rounding errs by at most half an ulp of 1 a step, at random: sqrt(steps / 12) ulp in the sum, times 6 for safety, on
    average over many weights.
    """
    lr, l2, steps, n = 1e-2, 1e-6, 2000, 4096
    rng = np.random.default_rng(0)
    w = np.ones((1, n), np.float32)
    total = np.zeros(n)
    for _ in range(steps):
        x = rng.standard_normal((1, n)).astype(np.float32)
        kernels.affine_sgd_update(np.ones((1, 1), np.float32), x, w, None, lr, l2)
        total += x[0]
    decayed = 1 - (w[0].astype(np.float64) + lr * total).mean()
    allowed = 6 * np.finfo(np.float32).eps * np.sqrt(steps / 12 / n)
    assert abs(decayed - 2 * lr * l2 * steps) < allowed


BATCH, UNITS, INPUTS = 6, 5, 8


def ones():
    shapes = {"dy": (BATCH, UNITS), "x": (BATCH, INPUTS), "w": (UNITS, INPUTS), "b": (UNITS,), "out": (BATCH, UNITS)}
    return {name: np.ones(shape, np.float32) for name, shape in shapes.items()}


def test_outputs_must_not_overlap_and_nothing_is_written_then():
    v = ones()
    dx, db = np.zeros((BATCH, INPUTS), np.float32), np.zeros(UNITS, np.float32)
    for name, outputs in {
        "dx must not overlap x": (v["x"], None, db),
        "dx must not overlap dw": (dx, dx[:UNITS], db),
        "dw must not overlap w": (dx, v["w"], None),
        "db must not overlap w": (dx, None, v["w"][0, :UNITS]),
    }.items():
        with pytest.raises(ValueError, match=f"^affine_backward: {name}$"):
            kernels.affine_backward(v["dy"], v["x"], v["w"], *outputs)
    for value in v.values():
        assert (value == 1).all()
    assert (dx == 0).all()
    assert (db == 0).all()


def test_errors_name_the_function_and_its_arguments():
    v = ones()
    v["out"].flags.writeable = False
    shown = r"got x \(6, 8\) float32, w \(5, 8\) float32, b \(5,\) float32, out \(6, 5\) float32$"
    with pytest.raises(TypeError, match="^affine_forward: out is an output and must be writable; " + shown):
        kernels.affine_forward(v["x"], v["w"], v["b"], v["out"])
    with pytest.raises(ValueError, match="^affine_forward: the output must not overlap an input; " + shown):
        kernels.affine_forward(v["x"], v["w"], v["b"], v["x"][:, :UNITS])
    with pytest.raises(ValueError, match=r"^affine_forward: w must be an array of the shape \(O, I\), got NoneType$"):
        kernels.affine_forward(v["x"], None, v["b"], v["out"])
    with pytest.raises(ValueError, match=r"^affine_backward: db must be an array of the shape \(O,\), got list$"):
        kernels.affine_backward(v["dy"], v["x"], v["w"], None, None, [0.0] * UNITS)
    with pytest.raises(TypeError, match=r"^matmul: .* must be a 2-dimensional float32 array"):
        kernels.matmul(v["x"], v["w"].T.astype(np.float64), v["dy"])


def test_an_update_that_is_refused_has_changed_nothing():
    v = ones()
    v["b"].flags.writeable = False
    with pytest.raises(TypeError, match="b is an output and must be writable"):
        kernels.affine_sgd_update(v["dy"], v["x"], v["w"], v["b"], 0.1)
    with pytest.raises(ValueError, match="must not overlap"):
        kernels.affine_sgd_update(v["dy"], v["x"], v["w"], v["w"][0, :UNITS], 0.1)
    assert (v["w"] == 1).all()


def test_a_bias_between_elements_is_refused():
    record = np.zeros(5, [("b", np.float32), ("flag", np.int16)])
    v = ones()
    with pytest.raises((ValueError, TypeError), match=r"stride|align"):
        kernels.affine_forward(v["x"], v["w"], record["b"], v["out"])


@pytest.mark.parametrize("name", list(BACKWARD))
@pytest.mark.parametrize("which", ["x", "w"])
def test_delta_must_not_overlap_what_is_read_after_it(name, which):
    square = np.ones((4, 4))
    arrays = {"x": square.copy(), "w": square.copy()}
    dx, dw = np.zeros((4, 4)), np.zeros((4, 4))
    with pytest.raises(ValueError, match=rf"^affine_{name}_backward: delta must not overlap {which}$"):
        BACKWARD[name](square, square, arrays["x"], arrays["w"], arrays[which], dx, dw, None)


def test_accumulated_decay_needs_a_weight_of_its_own():
    delta, x, dw = np.ones((2, 3)), np.ones((2, 4)), np.ones((3, 4))
    with pytest.raises(ValueError, match="dw must not overlap w"):
        kernels.affine_weight_gradient(delta, x, dw, dw, 0.5, accumulate=True)
    with pytest.raises(TypeError, match="w must be float64"):
        kernels.affine_weight_gradient(delta, x, np.ones((3, 4), np.float32), dw, 0.5, accumulate=True)
    with pytest.raises(ValueError, match="w must be given when l2 is not 0"):
        kernels.affine_weight_gradient(delta, x, None, dw, 0.5)
    assert (dw == 1).all()


def test_read_only_outputs_and_numbers_are_named_as_the_caller_does():
    delta, x, w, dw = np.ones((2, 3)), np.ones((2, 4)), np.ones((3, 4)), np.ones((3, 4))
    dw.flags.writeable = False
    with pytest.raises(TypeError, match=r"^affine_weight_gradient: dw is an output"):
        kernels.affine_weight_gradient(delta, x, w, dw)
    with pytest.raises(TypeError, match=r"^affine_sgd_update: w is an output"):
        kernels.affine_sgd_update(delta, x, dw, None, 0.1)
    x.flags.writeable = False
    with pytest.raises(TypeError, match=r"^affine_delta: dx is an output"):
        kernels.affine_delta(delta, w, None, x)
    with pytest.raises(TypeError, match=r"^affine_sgd_update: lr must be a number, got 'a'"):
        kernels.affine_sgd_update(delta, x, w, None, "a")
    with pytest.raises(TypeError, match=r"^affine_weight_gradient: l2 must be a number, got 'a'"):
        kernels.affine_weight_gradient(delta, x, w, np.ones((3, 4)), "a")
    with pytest.raises(ValueError, match=r"^affine_bias_gradient: db must be an array"):
        kernels.affine_bias_gradient(delta, None)
    with pytest.raises(TypeError, match=r"^affine_tanh_forward: out is an output"):
        kernels.affine_tanh_forward(w, np.ones((4, 4)), None, dw)


def sums_of_columns(delta):
    """What becomes of the sums of the columns in every kernel that makes them; all of them are the sums themselves."""
    columns = delta.shape[1]
    db, more, b = np.empty(columns, delta.dtype), np.zeros(columns, delta.dtype), np.zeros(columns, delta.dtype)
    kernels.affine_bias_gradient(delta, db)
    kernels.affine_bias_gradient(delta, more, accumulate=True)
    kernels.affine_sgd_update(
        delta, np.ones((len(delta), 1), delta.dtype), np.empty((columns, 1), delta.dtype), b, -1.0
    )
    return db, more, b


def test_ones_of_long_columns_are_counted():
    """In float32 one more is not more, from 2^24 on."""
    rows = 2**24 + 1000
    for total in sums_of_columns(np.ones((rows, 1), np.float32)):
        np.testing.assert_array_equal(total, rows)


@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_sums_of_long_columns(dtype):
    """Roundings grow with the rows that are summed in the dtype, not with all of them."""
    delta = np.full((2**21, 3), 0.1, dtype)
    expected = np.full(3, len(delta) * float(delta[0, 0]))
    for total in sums_of_columns(delta):
        bound = (affine._ROWS + 4) * reference.eps(dtype) + len(delta) / affine._ROWS * reference.eps(np.float64)
        reference.assert_within(total, expected, bound * expected)
