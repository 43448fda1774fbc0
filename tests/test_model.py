"""Networks: the public interface, whose arrays are whose, dtypes, threads, copies, and refused constructions."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastbp as fb
from fastbp import functional as F

RNG = np.random.default_rng(12)
X = RNG.normal(size=(20, 6))
Y = RNG.integers(0, 3, 20)
LOSS = fb.SoftmaxCrossEntropy()


def network(dtype="float64", **options):
    layers = [fb.Affine(8), fb.ReLU(), fb.Affine(5, bias=False), fb.Tanh(), fb.Affine(3)]
    return fb.Sequential(*layers, **{"input_shape": 6, "dtype": dtype, "seed": 1, **options})


def close(actual, expected, dtype="float64", terms=32):
    """Sums of at most 20 terms of size one, in a chain of three layers."""
    tolerance = 4 * terms * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def same_parameters(a, b):
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert p.name == q.name
        assert p.value.dtype == q.value.dtype
        np.testing.assert_array_equal(p.value, q.value)


# --- the contract -----------------------------------------------------------------------------------------------------


def test_public_interface(tmp_path, capsys):
    """The example of the design, but for convolutions."""
    x, y = fb.datasets.load_digits()
    (x_train, y_train), (x_test, y_test) = fb.datasets.split(x, y, test=0.2, seed=0)
    net = fb.Sequential(fb.Affine(100), fb.ReLU(), fb.Affine(10), input_shape=(64,), dtype="float32", seed=0)
    history = net.fit(
        x_train, y_train, loss=fb.SoftmaxCrossEntropy(), optimizer=fb.SGD(0.1), l2=1e-4,
        batch_size=32, epochs=2, validation_data=(x_test, y_test), progress=True,
    )  # fmt: skip
    assert len(history["loss"]) == len(history["val_accuracy"]) == 2
    result = net.evaluate(x_test, y_test, loss=fb.SoftmaxCrossEntropy())
    assert (result.loss, result.accuracy) == (history["val_loss"][-1], history["val_accuracy"][-1])
    u = net.predict(x_test)
    p = net.predict_proba(x_test)
    close(p, F.softmax_forward(u), "float32")
    assert fb.metrics.confusion_matrix(y_test, u.argmax(1)).sum() == len(y_test)
    assert fb.metrics.accuracy(y_test, u.argmax(1)) == result.accuracy

    loss, optimizer, rng = fb.SoftmaxCrossEntropy(), fb.SGD(0.1), np.random.default_rng(0)
    costs = []
    for xb, yb in fb.minibatches(x_train, y_train, 32, rng):
        cost, delta = loss(net.forward(xb), yb)
        net.backward(delta)
        optimizer.step(net.parameters())
        costs.append(cost)
    assert np.mean(costs) < history["loss"][-1]
    cost = net.train_step(xb, yb, loss=loss, optimizer=optimizer, l2=1e-4)
    assert isinstance(cost, float)

    assert fb.check_gradients(net, x[:8], y[:8], loss=loss, samples=20).checked > 50
    print(net.summary())  # noqa: T201
    assert "Affine(100)" in capsys.readouterr().out
    assert net.cost(batch_size=32).forward == 32 * (64 * 100 + 100 * 10)
    net.save(tmp_path / "net.npz")
    same_parameters(fb.Sequential.load(tmp_path / "net.npz"), net)
    threads = fb.get_num_threads()
    fb.set_num_threads(1)
    assert fb.get_num_threads() == 1
    fb.set_num_threads(threads)

    w, b = net.parameters()[0].value, net.parameters()[1].value
    h = F.affine_relu_forward(x, w, b)
    dx, dw, db = F.affine_relu_backward(h, h, x, w)
    assert (dx.shape, dw.shape, db.shape) == (x.shape, w.shape, b.shape)
    out = np.empty((3, 100), np.float32)
    fb.kernels.matmul(x[:3], w.T, out)
    np.testing.assert_array_equal(out, F.matmul(x[:3], w.T))


def test_parameters_order_and_names():
    net = network()
    assert [p.name for p in net.parameters()] == ["affine_1.w", "affine_1.b", "affine_2.w", "affine_3.w", "affine_3.b"]
    assert [p.value.shape for p in net.parameters()] == [(8, 6), (8,), (5, 8), (3, 5), (3,)]
    assert [p.decays for p in net.parameters()] == [True, False, True, True, False]
    assert isinstance(net.parameters(), list)
    assert net.parameters()[0] is net.parameters()[0]
    assert net.output_shape == (3,)


def test_repr_shows_the_layers():
    assert repr(network("float32")) == (
        "Sequential(\n    Affine(8),\n    ReLU(),\n    Affine(5, bias=False),\n    Tanh(),\n    Affine(3),\n"
        "    input_shape=(6,), dtype='float32',\n)"
    )
    again = eval(repr(network("float32")), vars(fb))
    assert repr(again) == repr(network("float32"))


def test_forward_and_backward_by_formula():
    net = network()
    w1, b1, w2, w3, b3 = (p.value for p in net.parameters())
    b1[:], b3[:] = RNG.normal(size=8), RNG.normal(size=3)
    h1 = np.maximum(0, X @ w1.T + b1)
    h2 = np.tanh(h1 @ w2.T)
    close(net.forward(X), h2 @ w3.T + b3)
    delta = RNG.normal(size=(20, 3))
    dx = net.backward(delta, input_grad=True, l2=0.1)
    d2 = (delta @ w3) * (1 - h2**2)
    d1 = (d2 @ w2) * (h1 > 0)
    expected = [d1.T @ X + 0.2 * w1, d1.sum(0), d2.T @ h1 + 0.2 * w2, delta.T @ h2 + 0.2 * w3, delta.sum(0)]
    for p, gradient in zip(net.parameters(), expected, strict=True):
        close(p.grad, gradient)
    close(dx, d1 @ w1)


# --- whose array is whose ---------------------------------------------------------------------------------------------


def test_results_are_never_overwritten():
    for net in (network(), fb.Sequential(fb.Flatten(), input_shape=6, dtype="float64")):
        x = X.copy()
        outputs = [net.forward(x), net.predict(x), net.predict_proba(x)]
        outputs.append(net.backward(outputs[0], input_grad=True))
        kept = [array.copy() for array in outputs]
        y = net.forward(x + 1)
        net.backward(y, input_grad=True)
        net.predict(x - 1)
        if net.parameters():
            net.train_step(x + 2, Y, loss=LOSS, optimizer=fb.SGD(0.1))
        x[:] = 0
        for array, copied in zip(outputs, kept, strict=True):
            np.testing.assert_array_equal(array, copied)
            assert array.flags.writeable
            assert not np.shares_memory(array, x)


def test_inputs_are_never_written():
    net, x, delta = network(), X.copy(), np.ones((20, 3))
    for array in (x, delta):
        array.flags.writeable = False
    net.forward(x)
    net.backward(delta, input_grad=True)
    net.predict(x)
    net.train_step(x, Y, loss=LOSS, optimizer=fb.SGD(0.1), l2=0.1)
    net.fit(x, Y, loss=LOSS, optimizer=fb.SGD(0.1))
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(delta, 1)


def test_backward_needs_forward():
    net = network()
    with pytest.raises(RuntimeError, match="backward needs a forward pass"):
        net.backward(np.zeros((20, 3)))
    net.predict(X)
    with pytest.raises(RuntimeError, match="backward needs a forward pass"):
        net.backward(np.zeros((20, 3)))
    net.forward(X)
    with pytest.raises(ValueError, match=r"delta must have the shape of the output, \(20, 3\), got \(19, 3\)"):
        net.backward(np.zeros((19, 3)))
    net.backward(np.zeros((20, 3)))
    net.train_step(X, Y, loss=LOSS, optimizer=fb.SGD(0.1))  # its buffers are not those of that forward pass
    with pytest.raises(RuntimeError, match="backward needs a forward pass"):
        net.backward(np.zeros((20, 3)))


@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_accumulate(dtype, l2):
    net = network(dtype)
    y = net.forward(X)
    net.backward(y, l2=l2)
    first = [p.grad.copy() for p in net.parameters()]
    arrays = [p.grad for p in net.parameters()]
    net.backward(2 * y, l2=l2, accumulate=True)
    for p, grad, array in zip(net.parameters(), first, arrays, strict=True):
        decay = 2 * l2 * p.value if p.decays else 0
        close(p.grad, 3 * grad - decay, dtype)
        assert p.grad is array
    net.backward(y, l2=l2)
    for p, grad in zip(net.parameters(), first, strict=True):
        np.testing.assert_array_equal(p.grad, grad)


def test_batches_may_change_in_size():
    net = network()
    for n in (3, 20, 1, 7):
        y = net.forward(X[:n])
        close(y, net.predict(X)[:n])
        assert net.backward(y, input_grad=True).shape == (n, 6)


def test_no_samples():
    net = network()
    net.forward(X)
    net.backward(np.ones((20, 3)))
    assert net.predict(np.empty((0, 6))).shape == (0, 3)
    assert net.predict_proba(np.empty((0, 6))).shape == (0, 3)
    y = net.forward(np.empty((0, 6)))
    assert (y.shape, y.dtype) == ((0, 3), np.float64)
    assert net.backward(y, input_grad=True).shape == (0, 6)
    assert not any(p.grad.any() for p in net.parameters())


class Unfused(fb.SGD):
    """Only SGD itself is fused into the weight gradients."""


@pytest.mark.parametrize("optimizer", [fb.SGD, Unfused])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_train_step_is_the_loop_by_hand(dtype, optimizer):
    one, by_hand = network(dtype), network(dtype)
    optimizers = optimizer(0.1), optimizer(0.1)
    for _ in range(5):
        value = one.train_step(X, Y, loss=LOSS, optimizer=optimizers[0], l2=0.01)
        expected, delta = LOSS(by_hand.forward(X), Y)
        by_hand.backward(delta, l2=0.01)
        optimizers[1].step(by_hand.parameters())
        assert value == pytest.approx(expected, rel=5 * 128 * float(np.finfo(dtype).eps))
    for p, q in zip(one.parameters(), by_hand.parameters(), strict=True):
        close(p.value, q.value, dtype, terms=5 * 32)


@pytest.mark.parametrize("batch_size", [1, 7, 20, 1000])
def test_predict_is_forward(batch_size):
    net = network()
    close(net.predict(X, batch_size=batch_size), net.forward(X))
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        net.predict(X, batch_size=0)


def test_weights_in_c_or_fortran_order_agree():
    def ordered(order):
        net = network()
        for layer in net.layers:
            if layer.parameters:
                layer.w = fb.Parameter(layer.w.name, np.array(layer.w.value, order=order), decays=True)
                layer.parameters = (layer.w, *layer.parameters[1:])
        return net

    c, f = ordered("C"), ordered("F")
    assert c.parameters()[0].value.flags.c_contiguous
    assert f.parameters()[0].value.flags.f_contiguous
    for optimizer in (fb.SGD, Unfused):
        for net in (c, f):
            net.train_step(X, Y, loss=LOSS, optimizer=optimizer(0.1), l2=0.1)
    close(c.predict(X), f.predict(X))
    for net in (c, f):
        net.backward(net.forward(X), l2=0.1)
    for p, q in zip(c.parameters(), f.parameters(), strict=True):
        close(p.value, q.value)
        close(p.grad, q.grad)


# --- probabilities ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [None, fb.Softmax(), fb.LogSoftmax()], ids=repr)
def test_probabilities(layer):
    net = fb.Sequential(fb.Affine(4), *([layer] if layer else []), input_shape=6, dtype="float64", seed=0)
    u = X @ net.parameters()[0].value.T
    e = np.exp(u)
    close(net.predict_proba(X), e / e.sum(1, keepdims=True))


def test_binary_probabilities():
    for layers in ([fb.Affine(1)], [fb.Affine(1), fb.Sigmoid()]):
        net = fb.Sequential(*layers, input_shape=6, dtype="float64", seed=0)
        with pytest.raises(ValueError, match="binary=True"):
            net.predict_proba(X)
        u = X @ net.parameters()[0].value.T
        close(net.predict_proba(X, binary=True), 1 / (1 + np.exp(-u)))


def test_probabilities_need_vectors():
    with pytest.raises(ValueError, match="one-dimensional outputs"):
        fb.Sequential(fb.ReLU(), input_shape=(2, 3)).predict_proba(np.zeros((1, 2, 3)))


def test_losses_that_contain_the_last_layer_are_refused():
    x = np.zeros((2, 6))
    for layer, loss, match in [
        (fb.Softmax(), fb.SoftmaxCrossEntropy(), "contains the softmax: remove the last layer, Softmax"),
        (fb.LogSoftmax(), fb.SoftmaxCrossEntropy(), "remove the last layer, LogSoftmax"),
        (fb.Sigmoid(), fb.SigmoidCrossEntropy(), "contains the sigmoid: remove the last layer, Sigmoid"),
    ]:
        net = fb.Sequential(fb.Affine(3), layer, input_shape=6)
        options = {"loss": loss, "optimizer": fb.SGD(0.1)}
        with pytest.raises(ValueError, match=match):
            net.train_step(x, np.eye(3)[[0, 1]], **options)
        with pytest.raises(ValueError, match=match):
            net.fit(x, np.eye(3)[[0, 1]], **options)
        with pytest.raises(ValueError, match=match):
            net.evaluate(x, np.eye(3)[[0, 1]], loss=loss)


def test_loss_on_images_is_refused():
    net = fb.Sequential(fb.ReLU(), input_shape=(2, 3))
    with pytest.raises(ValueError, match="needs one-dimensional outputs"):
        net.train_step(np.zeros((1, 2, 3)), [0], loss=LOSS, optimizer=fb.SGD(0.1))


# --- dtypes and layouts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("given", ["i1", "u8", ">i4", "?", "f2", ">f4", "f4", "f8", ">f8", "longdouble"])
def test_inputs_are_converted(given, dtype):
    net, x = network(dtype), RNG.integers(0, 2, (4, 6))
    expected = net.predict(x.astype(dtype))
    for y in (net.predict(x.astype(given)), net.forward(x.astype(given))):
        assert y.dtype == dtype
        assert y.dtype.isnative
        np.testing.assert_array_equal(y, expected)
    dx = net.backward(np.ones((4, 3), "f2"), input_grad=True)
    assert dx.dtype == dtype
    net.train_step(x.astype(given), Y[:4].astype(np.int8), loss=LOSS, optimizer=fb.SGD(0.1))
    assert all(p.value.dtype == dtype for p in net.parameters())


def test_layouts_agree(tmp_path):
    net = network("float32")
    x = X.astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    wide = np.zeros((40, 12), np.float32)
    wide[::2, ::2] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    layouts = [np.load(tmp_path / "x.npy", mmap_mode="r"), wide[::2, ::2], np.asfortranarray(x), x[::-1][::-1], frozen]
    layouts += [x.tolist(), x.astype(object).astype(np.float32), np.array(x, order="K")[:, ::-1][:, ::-1]]
    expected = net.predict(x)
    for value in layouts:
        np.testing.assert_array_equal(net.predict(value), expected)
        other = network("float32")
        other.fit(value, Y, loss=LOSS, optimizer=fb.SGD(0.1), epochs=2)
        reference = network("float32")
        reference.fit(x, Y, loss=LOSS, optimizer=fb.SGD(0.1), epochs=2)
        same_parameters(other, reference)


@pytest.mark.parametrize("wrong", [X.astype(complex), X.astype(object), X.astype(str), X.astype("M8[s]")])
def test_what_is_not_real_is_refused(wrong):
    net = network()
    with pytest.raises(TypeError, match="x must hold real numbers"):
        net.forward(wrong)
    with pytest.raises(TypeError, match="x must hold real numbers"):
        net.predict(wrong)


def test_input_shapes_are_checked():
    net = network()
    for call in (net.forward, net.predict, net.predict_proba):
        with pytest.raises(ValueError, match=r"x must have the shape \(N, 6\), got \(20, 5\)"):
            call(X[:, :5])
        with pytest.raises(ValueError, match=r"got \(6,\); one sample is x\[None\]"):
            call(X[0])
        with pytest.raises(ValueError, match=r"got \(20, 6, 1\)"):
            call(X[:, :, None])


def test_dtypes_of_networks():
    assert fb.Sequential(fb.Affine(1), input_shape=1).dtype == np.float32
    for dtype in ("float16", "int32", "complex64", "nonsense", object):
        with pytest.raises(ValueError, match="dtype must be float32 or float64"):
            fb.Sequential(fb.Affine(1), input_shape=1, dtype=dtype)


def test_astype_is_a_copy_in_another_dtype():
    for before in ("float32", "float64"):
        net = network(before)
        for after in ("float32", "float64"):
            other = net.astype(after)
            assert other.dtype == after
            assert other.rng.bit_generator.state == net.rng.bit_generator.state
            for p, q in zip(net.parameters(), other.parameters(), strict=True):
                np.testing.assert_array_equal(p.value.astype(after), q.value)
                assert not np.shares_memory(p.value, q.value)
            kept = [p.value.copy() for p in net.parameters()]
            other.train_step(X, Y, loss=LOSS, optimizer=fb.SGD(0.1))
            for p, value in zip(net.parameters(), kept, strict=True):
                np.testing.assert_array_equal(p.value, value)


# --- copies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"])
def test_copies_are_independent_and_whole(copied):
    net = network()
    net.fit(X, Y, loss=LOSS, optimizer=fb.SGD(0.1))
    net.backward(net.forward(X))
    other = copied(net)
    same_parameters(net, other)
    assert repr(other) == repr(net)
    np.testing.assert_array_equal(other.predict(X), net.predict(X))
    with pytest.raises(RuntimeError, match="backward needs a forward pass"):
        other.backward(np.zeros((20, 3)))
    before = [p.value.copy() for p in net.parameters()]
    history = other.fit(X, Y, loss=LOSS, optimizer=fb.SGD(0.1), batch_size=3)
    for p, value in zip(net.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.value, value)
    assert net.fit(X, Y, loss=LOSS, optimizer=fb.SGD(0.1), batch_size=3) == history  # the generator was copied too
    same_parameters(net, other)


# --- threads ----------------------------------------------------------------------------------------------------------


def test_predict_in_eight_threads_at_once():
    net = fb.Sequential(fb.Affine(64), fb.ReLU(), fb.Affine(10), fb.Softmax(), input_shape=64, seed=0)
    inputs = [RNG.normal(size=(100 + 37 * i, 64)).astype(np.float32) for i in range(8)]
    expected = [net.predict(x) for x in inputs]
    start = threading.Barrier(8, timeout=60)

    def work(i):
        start.wait()
        return [net.predict(inputs[i], batch_size=50 + i) for _ in range(10)]

    with ThreadPoolExecutor(8) as pool:
        for results, right in zip(pool.map(work, range(8)), expected, strict=True):
            for result in results:
                np.testing.assert_array_equal(result, right)


def test_training_from_two_threads_is_refused():
    """A loss holds one thread inside its training step while the other tries."""
    net, inside, go_on = network(), threading.Event(), threading.Event()

    def slow(u, t):
        inside.set()
        assert go_on.wait(60)
        return 1.0, np.zeros_like(u)

    options = {"loss": LOSS, "optimizer": fb.SGD(0.1)}
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(net.train_step, X, Y, loss=slow, optimizer=fb.SGD(0.1))
        try:
            assert inside.wait(60)
            for call in (
                lambda: net.train_step(X, Y, **options),
                lambda: net.fit(X, Y, **options),
                lambda: net.forward(X),
                lambda: net.backward(np.zeros((20, 3))),
            ):
                with pytest.raises(RuntimeError, match="being trained by another thread"):
                    call()
            assert net.predict(X).shape == (20, 3)
            copy.deepcopy(net).train_step(X, Y, **options)
        finally:
            go_on.set()
        assert first.result(60) == 1.0
    net.train_step(X, Y, **options)


def test_an_error_in_a_loss_leaves_the_network_usable():
    net = network()

    def broken(u, t):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        net.train_step(X, Y, loss=broken, optimizer=fb.SGD(0.1))
    net.train_step(X, Y, loss=LOSS, optimizer=fb.SGD(0.1))


# --- constructions that are refused -----------------------------------------------------------------------------------


def test_shape_errors_name_the_layer():
    with pytest.raises(ValueError, match=r"affine_1 takes samples of one dimension, got \(2, 3\).*Flatten"):
        fb.Sequential(fb.ReLU(), fb.Affine(3), input_shape=(2, 3))
    with pytest.raises(ValueError, match="softmax_1 takes samples of one dimension"):
        fb.Sequential(fb.ReLU(), fb.Softmax(), input_shape=(2, 3))


def test_wrong_layers_and_shapes():
    with pytest.raises(ValueError, match="at least one layer"):
        fb.Sequential(input_shape=3)
    with pytest.raises(TypeError, match=r"layers must be fastbp layers.*write ReLU\(\)"):
        fb.Sequential(fb.ReLU, input_shape=3)
    with pytest.raises(TypeError, match="layers must be fastbp layers, got 'relu'"):
        fb.Sequential("relu", input_shape=3)
    with pytest.raises(ValueError, match="input_shape must be integers of at least 1"):
        fb.Sequential(fb.ReLU(), input_shape=(3, 0))
    with pytest.raises(TypeError, match="input_shape must be an integer"):
        fb.Sequential(fb.ReLU(), input_shape=(3, 2.5))


def test_a_layer_belongs_to_one_network():
    layer = fb.Affine(3)
    with pytest.raises(ValueError, match=r"Affine\(3\) is already part of a network; make a new one"):
        fb.Sequential(layer, layer, input_shape=3)
    fb.Sequential(layer, input_shape=3)
    other = fb.Affine(2)
    with pytest.raises(ValueError, match="already part of a network"):
        fb.Sequential(layer, other, input_shape=3)
    fb.Sequential(other, input_shape=3)


def test_layers_of_a_failed_construction_can_be_used():
    layers = [fb.Affine(4), fb.ReLU(), fb.Affine(3)]
    with pytest.raises(ValueError, match="affine_1"):
        fb.Sequential(*layers, input_shape=(2, 2))
    with pytest.raises(TypeError, match="layers must be"):
        fb.Sequential(*layers, None, input_shape=4)

    def broken(shape, rng):
        raise ZeroDivisionError

    failing = fb.Affine(2, init=broken)
    with pytest.raises(ZeroDivisionError):
        fb.Sequential(*layers, failing, input_shape=4)
    net = fb.Sequential(*layers, input_shape=4, seed=0)
    assert [p.name for p in net.parameters()] == ["affine_1.w", "affine_1.b", "affine_2.w", "affine_2.b"]
