"""Vector-Jacobian products, Jacobians and per-sample gradients."""

import numpy as np
import pytest

import fastbp as fb
from fastbp import graph
from fastbp.graph import Variable

EPS = float(np.finfo(np.float64).eps)
RNG = np.random.default_rng(36)


def test_vector_jacobian_products():
    x, w = Variable(RNG.normal(size=(3, 4)), "x"), Variable(RNG.normal(size=(2, 4)), "w")
    u = graph.affine(x, w)
    y = graph.tanh(u)
    v = RNG.normal(size=(3, 2))
    du = v * (1 - y.value**2)
    by_w, by_x = graph.vjp(y, [w, x], v)
    np.testing.assert_allclose(by_w, du.T @ x.value, rtol=0, atol=16 * EPS)
    np.testing.assert_allclose(by_x, du @ w.value, rtol=0, atol=16 * EPS)
    np.testing.assert_allclose(graph.vjp(y, u, v), du, rtol=0, atol=4 * EPS)  # by a result
    np.testing.assert_array_equal(graph.vjp(y, y, v), v)
    other = Variable(np.ones(5), "other")
    np.testing.assert_array_equal(graph.vjp(y, other, v), np.zeros(5))
    with pytest.raises(RuntimeError, match="x has no gradient"):
        _ = x.grad
    y.backward(v)  # the graph is still there


def test_jacobian():
    x = Variable(RNG.normal(size=3), "x")
    y = graph.softmax(x)
    p = y.value
    np.testing.assert_allclose(graph.jacobian(y, x), np.diag(p) - np.outer(p, p), rtol=0, atol=4 * EPS)
    m = Variable(RNG.normal(size=(2, 3)), "m")
    made = graph.jacobian(m @ m.T, m)
    assert made.shape == (2, 2, 2, 3)
    h = 1e-6
    for i, j in np.ndindex(2, 3):
        step = np.zeros((2, 3))
        step[i, j] = h
        high, low = ((m.value + s) @ (m.value + s).T for s in (step, -step))
        np.testing.assert_allclose(made[..., i, j], (high - low) / (2 * h), rtol=0, atol=1e-8)
    assert graph.jacobian(graph.sum(x), x).shape == (3,)
    assert graph.jacobian(x[:0], x).shape == (0, 3)


def test_per_sample_gradients_of_a_network():
    net = fb.Sequential(fb.Affine(6), fb.ReLU(), fb.Affine(3), input_shape=5, dtype="float64", seed=0)
    x, t = RNG.normal(size=(7, 5)), RNG.integers(0, 3, 7)
    loss = fb.SoftmaxCrossEntropy()
    made = graph.per_sample_gradients(lambda x, t: graph.apply(loss, graph.apply(net, x), t), net.parameters(), x, t)
    for n in range(7):
        _, delta = loss(net.forward(x[n : n + 1]), t[n : n + 1])
        net.backward(delta)
        for rows, parameter in zip(made, net.parameters(), strict=True):
            np.testing.assert_allclose(rows[n], parameter.grad, rtol=0, atol=30 * EPS)
    _, delta = loss(net.forward(x), t)
    net.backward(delta)
    for rows, parameter in zip(made, net.parameters(), strict=True):
        np.testing.assert_allclose(rows.mean(0), parameter.grad, rtol=0, atol=60 * EPS)


def test_one_variable_or_several():
    w = Variable([1.0, 2.0], "w")
    x = np.arange(6.0).reshape(3, 2)
    made = graph.per_sample_gradients(lambda x: graph.sum(w * x), w, x)
    np.testing.assert_array_equal(made, x)
    (several,) = graph.per_sample_gradients(lambda x: graph.sum(w * x), [w], x)
    np.testing.assert_array_equal(several, x)


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        (lambda x: graph.vjp(3, x), TypeError, "a graph is given by a Variable, its result, got 3"),
        (lambda x: graph.jacobian(3, x), TypeError, "a graph is given by a Variable, its result, got 3"),
        (lambda x: graph.undefined(3), TypeError, "a graph is given by a Variable, its result, got 3"),
        (lambda x: graph.trace(3), TypeError, "a graph is given by a Variable, its result, got 3"),
        (lambda x: graph.to_dot(3), TypeError, "a graph is given by a Variable, its result, got 3"),
        (lambda x: fb.check_gradients(3), TypeError, "takes a network or a Variable, the result of a graph, got 3"),
        (lambda x: graph.vjp(x * 2, x), ValueError, "backward needs a gradient of this shape"),
        (lambda x: graph.vjp(x * 2, [x, 3], [1.0, 1.0]), TypeError, "is taken by a Variable or a Parameter, got 3"),
        (lambda x: graph.vjp(x * 2, Variable(3, "n"), [1.0, 1.0]), TypeError, "n holds int64 and has no gradient"),
        (lambda x: graph.jacobian(x > 1, x), TypeError, "holds bool and has no gradient"),
        (lambda x: graph.per_sample_gradients(lambda a: x * a, [x], [1.0]), ValueError, r"got the shape \(2,\)"),
        (lambda x: graph.per_sample_gradients(lambda a: 1.0, [x], [1.0]), ValueError, r"single number, got 1\.0"),
        (lambda x: graph.per_sample_gradients(lambda a, b: x, [x], [1.0], [1.0, 2.0]), ValueError, "the same length"),
        (lambda x: graph.per_sample_gradients(lambda: x, [x]), ValueError, "the same length, got"),
    ],
)
def test_arguments_that_do_not_fit(wrong, kind, message):
    with pytest.raises(kind, match=message):
        wrong(Variable([1.0, 2.0], "x"))
