"""Points without derivative, and NaN and infinity, are tracked down."""

import warnings

import numpy as np
import pytest

import fastbp as fb
from fastbp import graph
from fastbp.graph import Variable


def kinked():
    """Two rectifiers at 0, the first with a gradient of 0, the second with one of 3 at one of its two zeros."""
    x = Variable([0.0, 1.0, 0.0], "x")
    first = graph.relu(x)
    first.name = "first"
    second = graph.relu(x * 1.0)
    y = graph.sum(first * [0.0, 1.0, 0.0] + second * [3.0, 1.0, 0.0])
    return x, y


def test_report():
    _, y = kinked()
    y.backward()
    report = graph.undefined(y)
    first, second = report
    assert (first.operation, first.name, first.elements, first.mattered) == ("relu", "first", 2, 0)
    assert (second.operation, second.name, second.elements, second.mattered) == ("relu", "relu_1", 2, 1)
    assert first.rule == "u = 0, where du = 0"
    assert report.mattered == 1
    assert str(report).splitlines()[3].split() == ["relu_1", "relu", "2", "1", "u", "=", "0,", "where", "du", "=", "0"]
    assert str(graph.undefined(graph.exp(Variable(1.0)))) == "every derivative exists"


def test_the_pass_leaves_the_graph_alone():
    x, y = kinked()
    y.backward(retain=True)
    before = x.grad
    graph.undefined(y, 5.0)
    np.testing.assert_array_equal(x.grad, before)
    y.backward()


def test_what_a_backward_pass_does_about_it():
    x, y = kinked()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y.backward(retain=True)
    np.testing.assert_array_equal(x.grad, [0, 2, 0])
    text = r"relu_1: 1 of 2 elements \(u = 0, where du = 0\)"
    with pytest.warns(graph.UndefinedGradientWarning, match=text) as caught:
        y.backward(retain=True, on_undefined="warn")
    assert caught[0].filename == __file__
    x.assign(x.value)
    y.forward()
    with pytest.raises(graph.UndefinedGradientError, match=text):
        y.backward(on_undefined="raise")
    y.backward(retain=True)  # nothing was freed
    with pytest.raises(ValueError, match='on_undefined must be "ignore", "warn" or "raise"'):
        y.backward(on_undefined="no")
    harmless = graph.relu(Variable([0.0, 1.0])) * [0.0, 1.0]
    harmless.backward([1.0, 1.0], on_undefined="raise")


def test_several_outputs():
    x = Variable([[1.0, 1.0], [1.0, 2.0]], "x")
    largest, _ = graph.max_with_index(x, axis=1)
    (entry,) = graph.undefined(largest, [0.0, 1.0])
    assert (entry.name, entry.elements, entry.mattered) == ("max_1", 1, 0)
    (entry,) = graph.undefined(largest, [1.0, 1.0])
    assert entry.mattered == 1


def test_a_model():
    net = fb.Sequential(
        fb.Conv2d(2, 2), fb.ReLU(), fb.MaxPool2d(2), fb.Flatten(), fb.Affine(3), fb.LeakyReLU(0.1), fb.Affine(2),
        input_shape=(1, 5, 5), seed=0,
    )  # fmt: skip
    for parameter in net.parameters():
        parameter.value = np.zeros(parameter.value.shape)
    report = net.undefined(np.ones((3, 1, 5, 5)), [0, 1, 1], fb.SoftmaxCrossEntropy())
    found = {(entry.name, entry.operation): (entry.elements, entry.mattered) for entry in report}
    assert found == {
        ("relu_1", "relu"): (3 * 2 * 16, 0),
        ("maxpool2d_1", "max_pool"): (3 * 2 * 4, 0),
        ("leakyrelu_1", "leaky_relu"): (9, 0),
    }
    net.parameters()[-2].value = np.ones((2, 3)) * [[1], [2]]
    report = net.undefined(np.ones((3, 1, 5, 5)), [0, 1, 1], fb.SoftmaxCrossEntropy())
    assert {entry.name: entry.mattered for entry in report}["leakyrelu_1"] == 9
    smooth = fb.Sequential(fb.Affine(3), fb.Tanh(), input_shape=4)
    assert not smooth.undefined(np.ones((2, 4)), np.zeros((2, 3)), fb.MeanSquaredError())
    with pytest.raises(ValueError, match="x must have the shape"):
        net.undefined(np.ones((3, 5)), [0, 1, 1], fb.SoftmaxCrossEntropy())


def test_a_layer_of_the_users_can_tell():
    class Step(fb.Identity):
        undefined = "u = 1, where du = du"

        def kinks(self, ctx, x):
            return x == 1, x > 1

    net = fb.Sequential(fb.Affine(2, bias=False), Step(), input_shape=2)
    net.parameters()[0].value = np.eye(2)
    (entry,) = net.undefined([[1.0, 2.0]], [[0.0, 0.0]], fb.MeanSquaredError())
    assert (entry.name, entry.elements, entry.mattered, entry.rule) == ("step_1", 1, 1, "u = 1, where du = du")


# --- NaN and infinity -------------------------------------------------------------------------------------------------


def test_the_first_node_with_nan_or_infinity_is_named():
    x = Variable([1.0, -4.0], "x")
    with graph.detect_anomaly():
        u = x * 2
        with pytest.raises(
            FloatingPointError, match=r"^sqrt\(multiply\(x, 2\)\) is the first to give nan in the forward"
        ):
            graph.exp(graph.sqrt(u))
        with pytest.raises(FloatingPointError, match=r"divide\(1, subtract\(.*\)\) is the first to give inf"):
            1 / (x - [1.0, 0.0])
    v = graph.sqrt(u)
    assert np.isnan(v.value[1])
    with graph.detect_anomaly(), pytest.raises(FloatingPointError, match=r"^sqrt\(.*\) holds nan$"):
        2 * v  # it was there before
    y = graph.sum(graph.log(x + 10) * 2)
    x.assign([-20.0, 1.0])
    with graph.detect_anomaly(), pytest.raises(FloatingPointError, match=r"^log\(.*\) is the first to give nan"):
        y.forward()


def test_the_first_gradient_with_nan_or_infinity_is_named():
    x = Variable([0.0, 4.0], "x")
    y = graph.sum(graph.sqrt(x) * 2)
    y.backward(retain=True)
    assert np.isinf(x.grad[0])
    with (
        graph.detect_anomaly(),
        pytest.raises(FloatingPointError, match=r"sqrt\(x\) is the first to give inf in the backward pass.* by x"),
    ):
        y.backward()


def test_infinity_that_sums_make_and_nan_to_start_from():
    a = Variable([[1e300]], "a")
    y = graph.sum(a @ [[1e8]]) + graph.sum(a @ [[1e308]]) * 1.0 + graph.sum(a * 1e-3) + graph.sum(a @ [[1e308]]) * 1.0
    with graph.detect_anomaly(), pytest.raises(FloatingPointError, match="is the first to give inf in the backward"):
        y.backward()
    w = Variable([1.0], "w")
    with graph.detect_anomaly(), pytest.raises(FloatingPointError, match=r"the gradient by multiply\(w, w\) holds nan"):
        (w * w).backward([np.nan])


def test_nan_in_a_leaf_and_on_the_way_forward_again():
    x = Variable([1.0, np.nan], "x")
    with graph.detect_anomaly(), pytest.raises(FloatingPointError, match="x holds nan"):
        graph.exp(x)
    with graph.detect_anomaly(), pytest.raises(FloatingPointError, match="x holds nan"):
        graph.split(x, 2)
    w = Variable(1.0, "w")
    y = graph.log(w)
    largest, _ = graph.max_with_index(y * [1.0, 1.0])
    w.assign(0.0)
    with graph.detect_anomaly(), pytest.raises(FloatingPointError, match=r"log\(w\) is the first to give -inf"):
        largest.forward()


def test_anomalies_are_ignored_outside():
    with graph.detect_anomaly():
        pass
    assert np.isinf(graph.log(Variable(0.0)).value)
