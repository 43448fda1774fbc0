"""Losses: values and gradients against the formulas in float64, equalities between them, and what they refuse."""

import numpy as np
import pytest

import fastbp as fb
from fastbp import losses

RNG = np.random.default_rng(4)


def reference(name, u, t):
    """Value and gradient in float64 from the textbook formulas."""
    n, size = len(u), u.size
    if name == "SoftmaxCrossEntropy":
        m = u.max(1, keepdims=True)
        log_p = u - m - np.log(np.exp(u - m).sum(1, keepdims=True))
        return -(t * log_p).sum() / n, (np.exp(log_p) - t) / n
    if name == "MeanSquaredError":
        return ((t - u) ** 2).sum() / size, -2 * (t - u) / size
    if name == "SquaredError(half=False)":
        return ((t - u) ** 2).sum() / n, -2 * (t - u) / n
    if name == "SquaredError(half=True)":
        return ((t - u) ** 2).sum() / (2 * n), -(t - u) / n
    return (np.logaddexp(0, u) - t * u).sum() / size, (1 / (1 + np.exp(-u)) - t) / size


LOSSES = [
    fb.SoftmaxCrossEntropy(),
    fb.MeanSquaredError(),
    fb.SquaredError(),
    fb.SquaredError(half=True),
    fb.SigmoidCrossEntropy(),
]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (7, 3), (40, 10), (3000, 12)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_value_and_gradient(loss, dtype, shape, order):
    u = np.asarray(RNG.normal(scale=2, size=shape).astype(dtype), order=order)
    t = RNG.random(shape).astype(dtype)
    if isinstance(loss, fb.SoftmaxCrossEntropy):
        t = np.eye(shape[1], dtype=dtype)[RNG.integers(0, shape[1], shape[0])]
    value, delta = loss(u, t)
    expected, gradient = reference(repr(loss).removesuffix("()"), u.astype(np.float64), t.astype(np.float64))
    # every term is rounded a few times in dtype, the exponent of softmax by |u| eps; sums are in float64 or over a row
    tolerance = (16 + shape[1]) * float(np.finfo(dtype).eps)
    assert isinstance(value, float)
    assert value == pytest.approx(expected, rel=tolerance, abs=tolerance)
    np.testing.assert_allclose(delta, gradient, rtol=tolerance, atol=tolerance * 4 / shape[0])
    assert delta.dtype == dtype
    assert delta.shape == shape


def test_class_indices_equal_one_of_k():
    u, labels = RNG.normal(size=(9, 4)), RNG.integers(0, 4, 9)
    value, delta = fb.SoftmaxCrossEntropy()(u, labels)
    value_k, delta_k = fb.SoftmaxCrossEntropy()(u, np.eye(4, dtype=int)[labels])
    eps = float(np.finfo(np.float64).eps)
    assert value == pytest.approx(value_k, rel=8 * eps)
    np.testing.assert_allclose(delta, delta_k, rtol=0, atol=2 * eps)
    for kind in (np.int8, np.uint8, np.uint64, ">i4"):
        again, delta_again = fb.SoftmaxCrossEntropy()(u, labels.astype(kind))
        assert again == value
        np.testing.assert_array_equal(delta_again, delta)


def test_probabilities_as_targets():
    u, t = np.zeros((2, 4)), np.full((2, 4), 0.25)
    value, delta = fb.SoftmaxCrossEntropy()(u, t)
    assert value == pytest.approx(np.log(4), rel=8 * float(np.finfo(np.float64).eps))
    np.testing.assert_array_equal(delta, 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_binary_cross_entropy_is_two_class_softmax_of_the_difference(dtype):
    u, labels = RNG.normal(scale=3, size=(50, 2)).astype(dtype), RNG.integers(0, 2, 50)
    two, delta_two = fb.SoftmaxCrossEntropy()(u, labels)
    one, delta_one = fb.SigmoidCrossEntropy()(u[:, 1:] - u[:, :1], labels)
    tolerance = 32 * float(np.finfo(dtype).eps)  # the difference is rounded once, |u| < 16
    assert two == pytest.approx(one, rel=tolerance)
    np.testing.assert_allclose(delta_two[:, 1:], delta_one, rtol=tolerance, atol=tolerance / 50)
    np.testing.assert_allclose(delta_two[:, :1], -delta_one, rtol=tolerance, atol=tolerance / 50)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_logits_stay_finite(dtype):
    huge = float(np.finfo(dtype).max) / 4
    value, delta = fb.SoftmaxCrossEntropy()(np.array([[huge, -huge], [0, 1000]], dtype), [0, 1])
    assert value == 0
    np.testing.assert_array_equal(delta, 0)
    value, _ = fb.SoftmaxCrossEntropy()(np.array([[0, 1000]], dtype), [0])
    assert value == 1000
    value, delta = fb.SigmoidCrossEntropy()(np.array([[huge], [-1000]], dtype), [1, 1])
    assert value == 500
    np.testing.assert_array_equal(delta, [[0], [-0.5]])


def test_one_output_takes_flat_targets_and_nothing_else_broadcasts():
    u = RNG.normal(size=(4, 1))
    for loss in LOSSES[1:]:
        flat, column = loss(u, [0, 1, 1, 0]), loss(u, [[0], [1], [1], [0]])
        assert flat[0] == column[0]
        np.testing.assert_array_equal(flat[1], column[1])
        for shape in [(4,), (4, 1), (4, 3), (4, 2, 1), (1, 2)]:
            with pytest.raises(ValueError, match=r"targets must have the shape|same length"):
                loss(np.zeros((4, 2)), np.zeros(shape))


def test_targets_are_checked():
    u, loss = np.zeros((3, 4)), fb.SoftmaxCrossEntropy()
    with pytest.raises(TypeError, match="labels must be integers"):
        loss(u, [0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="labels must be from 0 to 3, but row 1 has 4"):
        loss(u, [0, 4, 2])
    with pytest.raises(ValueError, match="row 2 has -1"):
        loss(u, [0, 1, -1])
    with pytest.raises(ValueError, match="row 1 sums to 2"):
        loss(u, np.eye(4)[[0, 1, 2]] * [[1], [2], [1]])
    with pytest.raises(ValueError, match="non-negative"):
        loss(u, [[2, -1, 0, 0]] * 3)
    with pytest.raises(ValueError, match=r"must have the shape \(N, 4\)"):
        loss(u, np.eye(3))
    with pytest.raises(ValueError, match="1-of-K"):
        loss(u, np.zeros((3, 4, 1), int))
    with pytest.raises(ValueError, match="targets must be from 0 to 1, but row 1"):
        fb.SigmoidCrossEntropy()(np.zeros((2, 1)), [0, 1.5])
    with pytest.raises(ValueError, match="targets must be finite, but row 1 holds nan"):
        fb.MeanSquaredError()(np.zeros((2, 1)), [0, np.nan])
    for loss in LOSSES:
        with pytest.raises(ValueError, match="same length"):
            loss(u, np.zeros(2, int))
        with pytest.raises(ValueError, match="no samples"):
            loss(np.zeros((0, 4)), np.zeros((0, 4)))
        with pytest.raises(ValueError, match="u must have the shape"):
            loss(np.zeros(3), np.zeros(3))
        with pytest.raises(TypeError, match="real numbers"):
            loss(u.astype(complex), np.zeros((3, 4)))


def test_gradient_is_a_new_array():
    for loss in LOSSES:
        u, t = RNG.normal(size=(3, 2)), np.eye(2)[[0, 1, 1]]
        _, first = loss(u, t)
        kept = first.copy()
        _, second = loss(u + 1, t)
        assert not np.shares_memory(first, second)
        assert not np.shares_memory(first, u)
        np.testing.assert_array_equal(first, kept)


def test_correct_counts():
    u = np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0]])
    assert fb.SoftmaxCrossEntropy().correct(u, np.array([0, 1, 1])) == 2
    assert fb.SoftmaxCrossEntropy().correct(u, np.eye(2)[[0, 1, 1]]) == 2
    assert fb.SigmoidCrossEntropy().correct(np.array([[1.0], [-1.0]]), np.array([[1.0], [1.0]])) == 1
    assert fb.MeanSquaredError().correct(u, u) is None


def test_user_loss():
    def absolute(u, t):
        u_copy = u.copy()
        u[...] = np.nan  # its own copy: the network's output stays as it is
        return np.abs(u_copy - t).mean(), np.sign(u_copy - t) / u_copy.size

    u, t = np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]])
    value, delta = losses.get(absolute)(u, t)
    assert value == 1.5
    np.testing.assert_array_equal(delta, [[0.5, -0.5]])
    np.testing.assert_array_equal(u, [[1, 2]])
    seen = []
    losses.get(lambda u, t: seen.append(t) or (0.0, u))(u, ["anything"])
    assert seen[0].tolist() == ["anything"]


@pytest.mark.parametrize("result", [None, 1.0, (1.0,), (1.0, 2.0, 3.0), ("one", 1.0)])
def test_user_loss_that_returns_something_else(result):
    with pytest.raises(TypeError, match=r"a loss must return \(value, gradient by u\)"):
        losses.get(lambda u, t: result)(np.zeros((1, 2)), [0])


def test_user_loss_with_a_gradient_of_another_shape():
    with pytest.raises(ValueError, match=r"must have the shape \(1, 2\), got \(2,\)"):
        losses.get(lambda u, t: (0.0, u[0]))(np.zeros((1, 2)), [0])


def test_what_is_no_loss():
    with pytest.raises(TypeError, match=r"pass an instance, MeanSquaredError\(\)"):
        losses.get(fb.MeanSquaredError)
    with pytest.raises(TypeError, match="loss must be a Loss or a function"):
        losses.get("mse")


def test_repr():
    assert [repr(loss) for loss in LOSSES[:4]] == [
        "SoftmaxCrossEntropy()",
        "MeanSquaredError()",
        "SquaredError(half=False)",
        "SquaredError(half=True)",
    ]
