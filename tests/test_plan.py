"""The plan: fused and unfused passes agree, and from the second batch on a step allocates no array."""

import copy
import tracemalloc

import numpy as np
import pytest

import fastbp as fb
from fastbp._plan import Deltas, Plan

RNG = np.random.default_rng(4)
N, WIDTH = 256, 128
SMALLEST = N * WIDTH * 4  # bytes of the smallest array of a batch


class Unfused(fb.SGD):
    """The same optimizer; only SGD itself is fused into the weight gradients."""


@pytest.fixture
def memory():
    """Bytes by which the peak exceeds what is held when ``start`` is called."""

    class Memory:
        def start(self):
            tracemalloc.reset_peak()
            self.held = tracemalloc.get_traced_memory()[0]

        def rise(self):
            return tracemalloc.get_traced_memory()[1] - self.held

    tracemalloc.start()
    yield Memory()
    tracemalloc.stop()


class OwnLeakyReLU(fb.LeakyReLU):
    """A layer of the user's: networks with it are not recorded, but run layer by layer."""


def network(*last, dtype="float32"):
    layers = [fb.Affine(WIDTH), fb.ReLU(), fb.Affine(WIDTH), fb.Tanh(), OwnLeakyReLU(), fb.Affine(WIDTH), *last]
    return fb.Sequential(*layers, input_shape=WIDTH, dtype=dtype, seed=0)


def batch(n=N, dtype="float32"):
    rng = np.random.default_rng(n)
    return rng.normal(size=(n, WIDTH)).astype(dtype), rng.integers(0, WIDTH, n)


def test_memory_is_seen(memory):
    memory.start()
    kept = np.empty(SMALLEST, np.uint8)
    assert memory.rise() >= kept.nbytes


@pytest.mark.parametrize("optimizer", [fb.SGD(0.01), Unfused(0.01)], ids=["fused", "unfused"])
@pytest.mark.parametrize("loss", [fb.SoftmaxCrossEntropy(), fb.MeanSquaredError(), fb.SigmoidCrossEntropy()], ids=repr)
def test_train_step_allocates_no_array(loss, optimizer, memory):
    net = network()
    x, y = batch()
    if not isinstance(loss, fb.SoftmaxCrossEntropy):
        y = np.random.default_rng(0).random((N, WIDTH)).astype(np.float32)
    for rows in (N, N - 1):
        net.train_step(x[:rows], y[:rows], loss=loss, optimizer=optimizer, l2=1e-4)
    before = net.parameters()[0].value.copy()
    memory.start()
    for step in range(20):
        rows = N - step % 3  # the last batch of an epoch is smaller
        if isinstance(loss, fb.SoftmaxCrossEntropy):
            net.train_step(x[:rows], y[:rows], loss=loss, optimizer=optimizer, l2=1e-4)
        else:  # what fit runs; train_step checks the targets first, which takes booleans
            net._step(x[:rows], y[:rows], loss, optimizer, 1e-4)
    assert memory.rise() < SMALLEST / 4
    assert (net.parameters()[0].value != before).any()


def test_layers_that_are_not_fused_allocate_no_array(memory):
    layers = [fb.Sigmoid(), fb.ReLU(), fb.Softmax(), fb.Identity(), fb.LogSoftmax()]
    net = fb.Sequential(fb.Tanh(), fb.Flatten(), fb.Affine(WIDTH), *layers, input_shape=(2, WIDTH // 2), seed=0)
    x = batch()[0].reshape(N, 2, -1)
    t, loss, optimizer = np.zeros((N, WIDTH), np.float32), fb.MeanSquaredError(), fb.SGD(0.1)
    net.train_step(x, t, loss=loss, optimizer=optimizer)
    memory.start()
    for _ in range(10):
        net.train_step(x, t, loss=loss, optimizer=optimizer)
    # converting targets is a view: they have the dtype and order of the network; finding NaN takes booleans
    assert memory.rise() < SMALLEST / 2


class Watch(fb.SoftmaxCrossEntropy):
    """Notes how far memory rises between the second batch of an epoch and the last."""

    def __init__(self, memory):
        self.memory, self.batches, self.rise = memory, 0, 0

    def compute(self, u, t, delta):
        self.batches += 1
        if self.batches == 2:
            self.memory.start()
        if self.batches > 2:
            self.rise = self.memory.rise()
        return super().compute(u, t, delta)


@pytest.mark.parametrize("layout", ["C", "F", "reversed", "float64", "strided"])
def test_inner_loop_of_fit_allocates_no_array(layout, memory):
    x, y = batch(8 * N + 10)
    x = {
        "C": x,
        "F": np.asfortranarray(x),
        "reversed": x[::-1],
        "float64": x.astype(np.float64),
        "strided": np.repeat(x, 2, axis=1)[:, ::2],
    }[layout]
    network().fit(x, y, loss=fb.SoftmaxCrossEntropy(), optimizer=fb.SGD(0.01), batch_size=N)  # loads the kernels
    watch = Watch(memory)
    network().fit(x, y, loss=watch, optimizer=fb.SGD(0.01), batch_size=N)
    assert watch.batches == 9
    assert 0 < watch.rise < SMALLEST / 4


def test_smaller_batches_reuse_the_buffers_of_larger_ones(memory):
    net, (x, y) = network(), batch()
    loss, optimizer = fb.SoftmaxCrossEntropy(), fb.SGD(0.01)
    net.train_step(x, y, loss=loss, optimizer=optimizer)
    memory.start()
    for rows in (1, N // 2, N - 1, N):
        net.train_step(x[:rows], y[:rows], loss=loss, optimizer=optimizer)
    assert memory.rise() < SMALLEST / 4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("l2", [0.0, 0.01])
@pytest.mark.parametrize("bias", [True, False])
def test_fused_update_equals_gradient_and_update(dtype, l2, bias):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(50, 12)).astype(dtype), rng.integers(0, 5, 50)

    def trained(optimizer):
        net = fb.Sequential(
            fb.Affine(20, bias=bias), fb.ReLU(), fb.Affine(5, bias=bias), input_shape=12, dtype=dtype, seed=2
        )
        for _ in range(10):
            net.train_step(x, y, loss=fb.SoftmaxCrossEntropy(), optimizer=optimizer, l2=l2)
        return net

    fused, unfused = trained(fb.SGD(0.1)), trained(Unfused(0.1))
    # ten steps, each rounding sums of 50 terms of size one
    tolerance = 10 * 50 * float(np.finfo(dtype).eps)
    for a, b in zip(fused.parameters(), unfused.parameters(), strict=True):
        np.testing.assert_allclose(a.value, b.value, rtol=0, atol=tolerance, err_msg=a.name)
        assert not a.grad.any()
        assert b.grad.any()


@pytest.mark.parametrize("activation", [fb.ReLU, fb.LeakyReLU, fb.Sigmoid, fb.Tanh, fb.Identity])
def test_fused_activation_equals_the_activation_alone(activation):
    """An Identity between them keeps the affine layers and the activation apart."""
    rng = np.random.default_rng(3)
    x, dy = rng.normal(size=(9, 6)), rng.normal(size=(9, 4))
    together = fb.Sequential(fb.Affine(7), activation(), fb.Affine(4), input_shape=6, dtype="float64", seed=4)
    layers = [fb.Affine(7), fb.Identity(), activation(), fb.Identity(), fb.Affine(4)]
    apart = fb.Sequential(*layers, input_shape=6, dtype="float64", seed=4)
    for a, b in zip(apart.parameters(), together.parameters(), strict=True):
        a.value = b.value
    tolerance = 4 * 9 * float(np.finfo(np.float64).eps)  # sums of at most 9 terms
    np.testing.assert_allclose(together.forward(x), apart.forward(x), rtol=tolerance, atol=tolerance)
    first, second = together.backward(dy, input_grad=True), apart.backward(dy, input_grad=True)
    np.testing.assert_allclose(first, second, rtol=tolerance, atol=tolerance)
    for a, b in zip(together.parameters(), apart.parameters(), strict=True):
        np.testing.assert_allclose(a.grad, b.grad, rtol=tolerance, atol=tolerance, err_msg=a.name)


def test_gradient_of_the_input_is_skipped_unless_asked_for(monkeypatch):
    asked = []
    backward = fb.Affine.backward
    monkeypatch.setattr(
        fb.Affine, "backward", lambda self, ctx, dy: asked.append(ctx.needs[0]) or backward(self, ctx, dy)
    )
    net = fb.Sequential(fb.Tanh(), fb.Affine(3), fb.ReLU(), fb.Affine(2), input_shape=4)
    y = net.forward(np.ones((2, 4)))
    assert net.backward(y) is None
    assert asked == [True, False]
    assert net.backward(y, input_grad=True).shape == (2, 4)
    assert asked[2:] == [True, True]
    net.backward(y)
    assert asked[4:] == [True, False]


def test_a_step_whose_operands_are_packed():
    # rows of 4096 bytes start in one set of a cache: such a matrix is packed into the workspace of the recorded step
    rng = np.random.default_rng(0)
    x, y = rng.random((64, 1024), np.float32), rng.integers(0, 96, 64)
    loss, rate = fb.SoftmaxCrossEntropy(), 0.1
    net = fb.Sequential(fb.Affine(1024), fb.ReLU(), fb.Affine(96), input_shape=1024, seed=0)
    by_hand = fb.Sequential(fb.Affine(1024), fb.ReLU(), fb.Affine(96), input_shape=1024, seed=0)
    for _ in range(3):
        value = net.train_step(x, y, loss=loss, optimizer=fb.SGD(rate))
        expected, delta = loss(by_hand.forward(x), y)
        by_hand.backward(delta)
        fb.SGD(rate).step(by_hand.parameters())
        assert value == pytest.approx(expected, rel=1e-5)
    for parameter, other in zip(net.parameters(), by_hand.parameters(), strict=True):
        # sums of at most 1024 terms, in three steps
        np.testing.assert_allclose(parameter.value, other.value, rtol=0, atol=3 * 1024 * np.finfo(np.float32).eps)


def cnn(dtype="float64", activation=fb.ReLU):
    layers = fb.Conv2d(4, 3, padding=1), activation(), fb.MaxPool2d(2), fb.Conv2d(5, 2), activation(), fb.Flatten()
    return fb.Sequential(*layers, fb.Affine(6), input_shape=(2, 8, 8), dtype=dtype, seed=3)


@pytest.mark.parametrize("activation", [fb.ReLU, fb.LeakyReLU, fb.Sigmoid, fb.Tanh])
def test_activations_around_convolutions_and_pools_leave_no_pass(activation):
    """Fused into the convolution before them; their derivative taken by what follows, through a Flatten, too."""
    net = cnn(activation=activation)
    plan = Plan(net.layers, keep_buffers=True)
    assert plan._fused == plan._folded == [False, True, True, False, True, False, False]
    x, labels = RNG.normal(size=(6, 2, 8, 8)), RNG.integers(0, 6, 6)
    fb.check_gradients(net, x, labels, loss=fb.SoftmaxCrossEntropy())
    single = [Plan([layer], keep_buffers=False) for layer in net.layers]
    y, z = plan.forward(x), x
    for alone in single:
        z = alone.forward(z)
    np.testing.assert_allclose(y, z, rtol=0, atol=1e-13)
    delta = RNG.normal(size=y.shape)
    dx = plan.backward(delta, input_grad=True)
    gradients = [parameter.grad.copy() for parameter in net.parameters()]
    for alone in reversed(single):
        delta = alone.backward(delta, input_grad=True)
    np.testing.assert_allclose(dx, delta, rtol=0, atol=1e-13)
    for one, other in zip(gradients, net.parameters(), strict=True):
        np.testing.assert_allclose(one, other.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("optimizer", [fb.SGD(0.01), Unfused(0.01)], ids=["fused", "unfused"])
def test_a_step_takes_the_memory_that_cost_predicts(optimizer, memory):
    """Activations, two deltas and gradients, which descent does not store, and what kernels have for copies."""
    layers = []
    for filters in (16, 16, 32):
        layers += [fb.Conv2d(filters, 3, padding=1), fb.ReLU(), fb.Conv2d(filters, 3, padding=1), fb.ReLU()]
        layers.append(fb.MaxPool2d(2))
    net = fb.Sequential(*layers, fb.Flatten(), fb.Affine(10), input_shape=(3, 32, 32), seed=0)
    x, labels = RNG.normal(size=(64, 3, 32, 32)).astype(np.float32), RNG.integers(0, 10, 64)
    for array in (x, labels):
        array.flags.writeable = False
    loss, cost = fb.SoftmaxCrossEntropy(), net.cost(64)
    copy.deepcopy(net).train_step(x, labels, loss=loss, optimizer=optimizer)  # compiles
    memory.start()
    net.train_step(x, labels, loss=loss, optimizer=optimizer)
    net.train_step(x, labels, loss=loss, optimizer=optimizer)
    size = 4 * cost.parameters
    predicted = cost.training_bytes - size - (size if type(optimizer) is fb.SGD else 0)
    copies = 4 * max(record["needed"].item() for record in net._steps.last._forward._workspaces)
    assert predicted / 1.1 < memory.rise() < 1.1 * (predicted + copies)


def test_gradients_by_the_inputs_take_turns_in_two_arrays():
    net = cnn()
    plan = net._training_plan()
    x = RNG.normal(size=(6, 2, 8, 8))
    owners = set()
    original = Deltas.beside

    def beside(self, dy, shape):
        result = original(self, dy, shape)
        assert not np.may_share_memory(result, dy)
        owners.add(id(result.base))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Deltas, "beside", beside)
        for _ in range(2):
            owners.clear()
            plan.backward(RNG.normal(size=plan.forward(x).shape), input_grad=True)
    assert len(owners) == 2


class TanhOfConv(fb.Conv2d):
    """A layer of the user's that needs its own output on the way back, which a pool behind it must leave alone."""

    def forward(self, ctx, x, *parameters):
        y = super().forward(ctx, x, *parameters)
        np.tanh(y, out=y)
        ctx.saved = (*ctx.saved, y)
        return y

    def backward(self, ctx, dy):
        *saved, y = ctx.saved
        ctx.saved = tuple(saved)
        gradients = super().backward(ctx, dy * (1 - y * y))
        ctx.saved = *saved, y
        return gradients


class NoDerivative(fb.MaxPool2d):
    takes_derivative = False


class Labelled(fb.MaxPool2d):
    """A pool whose configuration holds something that no kernel knows."""

    def config(self):
        return {**super().config(), "label": "first"}


@pytest.mark.parametrize("pool", [NoDerivative, Labelled])
@pytest.mark.parametrize("activation", [fb.ReLU, fb.Sigmoid])
def test_subclasses_of_pools(pool, activation):
    layers = fb.Conv2d(4, 3), activation(), pool(2), fb.Flatten(), fb.Affine(3)
    net = fb.Sequential(*layers, input_shape=(2, 6, 6), dtype="float64", seed=0)
    x, labels = RNG.normal(size=(5, 2, 6, 6)), RNG.integers(0, 3, 5)
    fb.check_gradients(net, x, labels, loss=fb.SoftmaxCrossEntropy())


@pytest.mark.parametrize("between", [(), (fb.ReLU,), (fb.LeakyReLU,)], ids=len)
def test_subclasses_are_not_fused(between):
    layers = TanhOfConv(4, 3), *(kind() for kind in between), fb.MaxPool2d(2), fb.Flatten(), fb.Affine(3)
    net = fb.Sequential(*layers, input_shape=(2, 6, 6), dtype="float64", seed=0)
    x, labels = RNG.normal(size=(5, 2, 6, 6)), RNG.integers(0, 3, 5)
    plan = net._training_plan()
    assert not any(plan._fused)
    assert not any(ctx.pool for ctx in plan.contexts)
    fb.check_gradients(net, x, labels, loss=fb.SoftmaxCrossEntropy())
