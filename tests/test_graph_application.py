"""Layers, networks, losses, and operations of the user's as nodes."""

import numpy as np
import pytest

import fastbp as fb
from fastbp import graph
from fastbp.graph import Variable
from fastbp.graph.chain import Chain

EPS = float(np.finfo(np.float64).eps)
RNG = np.random.default_rng(26)


def perceptron():
    return fb.Sequential(fb.Affine(7), fb.ReLU(), fb.Affine(4), input_shape=5, dtype="float64", seed=1)


def convolutional():
    layers = fb.Conv2d(4, 3, padding=1), fb.ReLU(), fb.MaxPool2d(2), fb.Conv2d(3, 2), fb.Tanh(), fb.AvgPool2d(2)
    return fb.Sequential(*layers, fb.Flatten(), fb.Affine(4), input_shape=(2, 6, 6), dtype="float64", seed=1)


@pytest.mark.parametrize("make", [perceptron, convolutional])
@pytest.mark.parametrize("as_one", [True, False])
def test_a_network_as_one_node_and_layer_by_layer(make, as_one):
    """The same numbers as the chain itself gives, which fuses layers."""
    net, twin = make(), make()
    x, t = RNG.normal(size=(6, *net.input_shape)), np.array([0, 3, 1, 1, 2, 0])
    images = Variable(x, "x")
    u = images
    for op in [net] if as_one else net.layers:
        u = graph.apply(op, u)
    cost = graph.softmax_cross_entropy(u, t)
    cost.backward()
    value, delta = fb.SoftmaxCrossEntropy()(twin.forward(x), t)
    dx = twin.backward(delta, input_grad=True)
    # sums of at most 6 * 36 products, rounded in another order by fused layers
    tolerance = 6 * 36 * EPS
    assert float(cost) == pytest.approx(value, rel=tolerance)
    np.testing.assert_allclose(images.grad, dx, rtol=tolerance, atol=tolerance)
    for mine, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(mine.grad, theirs.grad, rtol=tolerance, atol=tolerance, err_msg=mine.name)


def test_parameters_train_through_a_graph():
    net, twin = perceptron(), perceptron()
    optimizer = fb.SGD(0.1)
    x, t = RNG.normal(size=(6, 5)), np.array([0, 3, 1, 1, 2, 0])
    for _ in range(5):
        cost = graph.softmax_cross_entropy(graph.apply(net, x), t)
        cost.backward()
        optimizer.step(net.parameters())
        twin.train_step(x, t, loss=fb.SoftmaxCrossEntropy(), optimizer=fb.SGD(0.1))
    for mine, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(mine.value, theirs.value, rtol=0, atol=5 * 42 * EPS)
    y = graph.apply(net, x)
    optimizer.step(net.parameters())
    with pytest.raises(RuntimeError, match=r"affine_1\.w was changed after sequential"):
        graph.sum(y).backward()


def test_a_layer_used_twice_gets_the_sum_of_its_gradients():
    net = fb.Sequential(fb.Affine(5), input_shape=5, dtype="float64", seed=2)
    (layer,), (w, b) = net.layers, net.parameters()
    x = RNG.normal(size=(3, 5))
    y = graph.apply(layer, graph.tanh(graph.apply(layer, x)))
    graph.sum(y).backward()
    v, c = Variable(w.value), Variable(b.value)
    graph.sum(graph.affine(graph.tanh(graph.affine(x, v, c)), v, c)).backward()
    np.testing.assert_allclose(w.grad, v.grad, rtol=16 * EPS, atol=16 * EPS)
    np.testing.assert_allclose(b.grad, c.grad, rtol=16 * EPS, atol=16 * EPS)
    graph.sum(graph.apply(layer, x)).backward(accumulate=True)
    np.testing.assert_allclose(w.grad, v.grad + x.sum(0), rtol=0, atol=32 * EPS)


def test_gradients_of_a_network_are_checked():
    x = Variable(RNG.normal(size=(3, 2, 6, 6)), "x")
    report = fb.check_gradients(graph.mean(graph.apply(convolutional(), x) ** 2))
    assert report.checked > 300
    assert report.skipped < 10


def test_a_wrong_gradient_of_a_network_is_found(monkeypatch):
    """The network as one node is what is checked, and not its layers."""
    backward = Chain.backward
    monkeypatch.setattr(Chain, "backward", lambda self, ctx, dy: backward(self, ctx, 1.001 * dy))
    with pytest.raises(fb.GradientError):
        fb.check_gradients(graph.sum(graph.apply(perceptron(), Variable(np.ones((2, 5)), "x"))))


def test_a_parameter_that_no_gradient_reaches_has_none():
    net = perceptron()
    graph.sum(graph.apply(net, np.ones((2, 5)))).backward()
    stop = graph.custom(lambda ctx, x: x + 0, lambda ctx, dy: None)
    graph.sum(stop(graph.apply(net, np.ones((2, 5))))).backward()
    assert not any(parameter.grad.any() for parameter in net.parameters())


def test_arrays_are_computed_in_the_dtype_of_the_network():
    net = fb.Sequential(fb.Affine(3), input_shape=2, seed=0)
    assert graph.apply(net, [[1, 2]]).dtype == np.float32
    assert graph.apply(net.layers[0], np.ones((1, 2))).dtype == np.float32
    assert graph.apply(net, Variable(np.ones((1, 2)))).dtype == np.float64


def test_losses_as_nodes():
    u = Variable(RNG.normal(size=(3, 2)), "u")
    t = RNG.normal(size=(3, 2))
    for loss in (fb.MeanSquaredError(), fb.SquaredError(), fb.SquaredError(half=True)):
        (3 * graph.apply(loss, u, t)).backward()
        np.testing.assert_allclose(u.grad, 3 * loss(u.value, t)[1], rtol=4 * EPS)

    def own(y, t):
        return float((y**4).sum()), 4 * y**3

    cost = graph.apply(fb.losses.get(own), u, t)
    cost.backward()
    np.testing.assert_allclose(u.grad, 4 * u.value**3, rtol=4 * EPS)


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        (lambda: graph.apply(fb.Affine(3), np.ones((2, 5))), ValueError, r"Affine\(3\) has no parameters yet"),
        (lambda: graph.apply(fb.ReLU, np.ones(2)), TypeError, r"must be an instance: write ReLU\(\)"),
        (lambda: graph.apply(np.exp, np.ones(2)), TypeError, "an operation must be an Op, a layer or a network"),
        (lambda: graph.apply(perceptron(), np.ones((2, 4))), ValueError, r"^sequential: x must have the shape"),
        (lambda: graph.apply(perceptron(), np.ones((2, 5)), 1), ValueError, "sequential takes one input, got 2"),
        (lambda: graph.apply(perceptron().layers[0], 1.0), ValueError, r"takes samples .* a single number"),
        (lambda: graph.apply(fb.MaxPool2d(2), np.ones((3, 3))), ValueError, r"^max_pool: takes samples \(C, H, W\)"),
        (lambda: graph.apply(graph.Op(),), ValueError, "needs at least one input"),
    ],
)  # fmt: skip
def test_what_cannot_be_applied(wrong, kind, message):
    with pytest.raises(kind, match=message):
        wrong()


# --- operations of the user's -----------------------------------------------------------------------------------------


class Rotation(graph.Op):
    """Two inputs, two outputs; in its own words."""

    def __init__(self, angle):
        self.c, self.s = np.cos(angle), np.sin(angle)

    def forward(self, ctx, x, y):
        return self.c * x - self.s * y, self.s * x + self.c * y

    def backward(self, ctx, du, dv):
        du, dv = (0.0 if d is None else d for d in (du, dv))
        return self.c * du + self.s * dv, self.c * dv - self.s * du


def test_an_operation_with_several_inputs_and_outputs():
    x, y = Variable(RNG.normal(size=4), "x"), Variable(RNG.normal(size=4), "y")
    u, v = graph.apply(Rotation(0.3), x, y)
    report = fb.check_gradients(u * graph.exp(v))
    assert (report.checked, report.skipped) == (8, 0)
    fb.check_gradients(v * 2)
    back = graph.apply(Rotation(-0.3), u, v)
    np.testing.assert_allclose(back[0].value, x.value, rtol=0, atol=4 * EPS)
    assert u.source.inputs[0].op.kind == "rotation"


def test_a_wrong_gradient_of_a_black_box_is_found():
    cube = graph.custom(lambda ctx, x: x**3, lambda ctx, dy: dy * 2)
    x = Variable([1.0, 2.0], "x")
    with pytest.raises(fb.GradientError, match=r"x\[1\]: gradient 2, numerical slope 12"):
        fb.check_gradients(graph.sum(cube(x)))


def test_nan_as_a_gradient_is_found():
    x = Variable([1.0, 2.0], "x")
    square = graph.custom(lambda ctx, x: x * x, lambda ctx, dy: np.array([np.nan, 4.0]))
    with pytest.raises(fb.GradientError, match=r"x\[0\]: gradient nan, numerical slope 2"):
        fb.check_gradients(graph.sum(square(x)))


def test_a_black_box_cannot_change_what_it_gets():
    def forward(ctx, x):
        x[0] = 5
        return x

    with pytest.raises(ValueError, match="read-only"):
        graph.custom(forward, lambda ctx, dy: dy)(Variable([1.0]))

    def backward(ctx, dy):
        dy[0] = 5
        return dy

    y = graph.custom(lambda ctx, x: 2 * x, backward)(Variable([1.0]))
    with pytest.raises(ValueError, match="read-only"):
        y.backward()


def test_a_black_box_may_keep_what_it_returns():
    """The walk adds to no array that somebody else has."""
    kept = np.array([1.0, 1.0])
    node = graph.custom(lambda ctx, x: 2 * x, lambda ctx, dy: kept)
    x = Variable([1.0, 2.0], "x")
    (node(x) + node(x) + node(x)).backward([1.0, 1.0])
    np.testing.assert_array_equal(x.grad, [3, 3])
    np.testing.assert_array_equal(kept, [1, 1])


@pytest.mark.parametrize(
    ("gradient", "kind", "message"),
    [
        ((1.0, 2.0), ValueError, r"box: backward must return 1 gradients, one by each input, got 2"),
        ((), ValueError, "box: backward must return 1 gradients, one by each input, got 0"),
        (np.ones(3), ValueError, r"box: the gradient by input 0 must have its shape \(2,\), got \(3,\)"),
        (np.ones((1, 2)), ValueError, r"must have its shape \(2,\), got \(1, 2\)"),
        (np.ones(2, int), TypeError, "box: the gradient by input 0 must be float64 as it is, got int64"),
        (np.ones(2, np.float32), TypeError, "must be float64 as it is, got float32"),
        (np.ones(2, complex), TypeError, "must be float64 as it is, got complex128"),
        ([1.0, 2.0], TypeError, "box: backward must return an array, or a tuple of them, got a list"),
        (np.array(["a", "b"]), TypeError, "must be float64 as it is, got <U1"),
    ],
)
def test_gradients_of_a_black_box_that_do_not_fit(gradient, kind, message):
    x = Variable([1.0, 2.0], "x")
    y = graph.custom(lambda ctx, x: x + 0, lambda ctx, dy: gradient, name="op")(x)
    y.name = "box"
    with pytest.raises(kind, match=message):
        (y * 2).backward([1.0, 1.0])
    with pytest.raises(RuntimeError, match="x has no gradient"):
        _ = x.grad


@pytest.mark.parametrize("output", [None, "text", np.array([1j]), (), (1.0, "text"), [[1.0], [2.0, 3.0]], [1.0]])
def test_outputs_of_a_black_box_that_do_not_fit(output):
    with pytest.raises((TypeError, ValueError), match="box"):
        graph.custom(lambda ctx, x: output, lambda ctx, dy: dy, name="box")(Variable([1.0], "x"))


def test_errors_of_a_black_box_name_the_node():
    def fail(ctx, x):
        raise ZeroDivisionError("by hand")

    x = Variable([1.0], "x")
    with pytest.raises(ZeroDivisionError, match="by hand") as caught:
        graph.custom(fail, fail)(x)
    assert caught.value.__notes__ == ["in the forward pass of fail(x), inputs: x (1,)"]
    y = graph.custom(lambda ctx, x: x * 1, fail)(x)
    with pytest.raises(ZeroDivisionError) as caught:
        y.backward()
    assert caught.value.__notes__ == ["in the backward pass of custom(x)"]


def test_operations_without_forward_or_backward_say_so():
    class Half(graph.Op):
        def forward(self, ctx, x):
            return x / 2

    with pytest.raises(NotImplementedError, match=r"^Op defines no forward"):
        graph.apply(graph.Op(), [1.0])
    with pytest.raises(NotImplementedError, match=r"^Half defines no backward"):
        graph.apply(Half(), Variable(1.0)).backward()


def test_black_boxes_need_functions_and_inputs():
    with pytest.raises(TypeError, match="custom needs two functions, got 3"):
        graph.custom(lambda ctx, x: x, 3)
    with pytest.raises(ValueError, match="custom needs at least one input"):
        graph.custom(lambda ctx: 1.0, lambda ctx, dy: ())()


def test_none_stands_for_no_gradient():
    x, y = Variable(2.0, "x"), Variable(3.0, "y")
    stop = graph.custom(lambda ctx, x: x + 0, lambda ctx, dy: None)
    z = stop(x) * y + stop(y)
    z.backward()
    assert float(y.grad) == 2
    with pytest.raises(RuntimeError, match="x has no gradient"):
        _ = x.grad
