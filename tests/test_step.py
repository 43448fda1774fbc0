"""The recorded training step does what the layers do one by one, whatever changes between two steps."""

import copy
import gc
import itertools
import pickle
import weakref

import numpy as np
import pytest

import fastbp as fb
from fastbp.kernels import _runtime

CROSS_ENTROPY = fb.SoftmaxCrossEntropy()
INPUTS, CLASSES = 40, 7


def network(dtype="float32", seed=0):
    layers = fb.Affine(50), fb.ReLU(), fb.Affine(33, bias=False), fb.Tanh(), fb.Affine(CLASSES)
    return fb.Sequential(*layers, input_shape=INPUTS, dtype=dtype, seed=seed)


def batch(n, dtype="float32", seed=0):
    rng = np.random.default_rng([n, seed])
    return rng.standard_normal((n, INPUTS)).astype(dtype), rng.integers(0, CLASSES, n)


def step_by_hand(net, x, y, loss, rate, l2):
    value, delta = loss(net.forward(x), y)
    net.backward(delta, l2=l2)
    for parameter in net.parameters():
        parameter.value = parameter.value - rate * parameter.grad
    return value


def assert_close(net, other, steps):
    """To the rounding of sums of at most 100 terms, none of which is far above 1, carried through some steps."""
    for parameter, expected in zip(net.parameters(), other.parameters(), strict=True):
        bound = steps * 100 * np.finfo(net.dtype).eps
        np.testing.assert_allclose(parameter.value, expected.value, rtol=0, atol=bound, err_msg=parameter.name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_everything_may_change_between_two_steps(dtype):
    net, other = network(dtype), network(dtype)
    changes = itertools.product([0.1, 0.02], [0.0, 0.01], [CROSS_ENTROPY, fb.MeanSquaredError()], [30, 31, 64])
    cases = [case for case in changes for _ in range(2)]
    for number, (rate, l2, loss, n) in enumerate(cases):
        x, y = batch(n, dtype, number)
        t = y if loss is CROSS_ENTROPY else np.eye(CLASSES, dtype=dtype)[y]
        value = net.train_step(x, t, loss=loss, optimizer=fb.SGD(rate), l2=l2)
        expected = step_by_hand(other, x, t, loss, rate, l2)
        assert value == pytest.approx(expected, rel=1e3 * float(np.finfo(dtype).eps))
    assert_close(net, other, len(cases))


def test_a_rate_that_changes_with_every_step():
    net, other = network(), network()
    optimizer = fb.SGD(lambda step: 0.1 / (1 + step))
    x, y = batch(20)
    for step in range(10):
        net.train_step(x, y, loss=CROSS_ENTROPY, optimizer=optimizer)
        step_by_hand(other, x, y, CROSS_ENTROPY, 0.1 / (1 + step), 0.0)
    assert_close(net, other, 10)


class Plain(fb.SGD):
    """Not fused: the step ends in the gradients."""


def test_optimizers_may_take_turns():
    net, other = network(), network()
    x, y = batch(20)
    for step in range(10):
        optimizer = (fb.SGD, Plain)[step % 2](0.1)
        net.train_step(x, y, loss=CROSS_ENTROPY, optimizer=optimizer)
        step_by_hand(other, x, y, CROSS_ENTROPY, 0.1, 0.0)
        assert optimizer.steps == 1
    assert_close(net, other, 10)


GIVEN = {
    "the same": lambda x, y: (x, y),
    "another array": lambda x, y: (x.copy(), y.copy()),
    "F order": lambda x, y: (np.asfortranarray(x), y),
    "strided": lambda x, y: (np.repeat(x, 2, axis=1)[:, ::2], np.repeat(y, 2)[::2]),
    "reversed": lambda x, y: (x[::-1].copy()[::-1], y[::-1].copy()[::-1]),
    "float64": lambda x, y: (x.astype(np.float64), y.astype(np.int32)),
    "lists": lambda x, y: (x.tolist(), y.tolist()),
    "read-only": lambda x, y: (np.broadcast_to(x, x.shape), np.broadcast_to(y, y.shape)),
    "unaligned": lambda x, y: (unaligned(x), unaligned(y)),
    "1-of-K": lambda x, y: (x, np.eye(CLASSES)[y]),
}


def unaligned(x):
    place = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    place[...] = x
    return place


@pytest.mark.parametrize("given", list(GIVEN))
def test_batches_in_any_form(given):
    net, other = network(), network()
    for n in range(4):
        x, y = batch(25, seed=n)
        net.train_step(*(x, y) if n == 0 else GIVEN[given](x, y), loss=CROSS_ENTROPY, optimizer=fb.SGD(0.1))
        step_by_hand(other, x, y, CROSS_ENTROPY, 0.1, 0.0)
    assert_close(net, other, 4)


@pytest.mark.parametrize("label", [-1, CLASSES, 2**40, -(2**62)])
def test_a_wrong_label_is_named_and_changes_nothing(label):
    net = network()
    x, y = batch(25)
    optimizer = fb.SGD(0.1)
    net.train_step(x, y, loss=CROSS_ENTROPY, optimizer=optimizer)
    before = [parameter.value.copy() for parameter in net.parameters()]
    wrong = y.copy()
    wrong[11] = label
    with pytest.raises(ValueError, match=rf"labels must be from 0 to {CLASSES - 1}.*{label}"):
        net.train_step(x, wrong, loss=CROSS_ENTROPY, optimizer=optimizer)
    for parameter, value in zip(net.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.value, value)
    assert optimizer.steps == 1
    net.train_step(x, y, loss=CROSS_ENTROPY, optimizer=optimizer)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("steps_before", [0, 1])
def test_a_loss_that_is_not_finite_changes_nothing(value, steps_before):
    net, optimizer = network(), fb.SGD(0.1)
    x, y = batch(25)
    for _ in range(steps_before):
        net.train_step(x, y, loss=CROSS_ENTROPY, optimizer=optimizer)
    before = [parameter.value.copy() for parameter in net.parameters()]
    wrong = x.copy()
    wrong[3, 4] = value
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        net.train_step(wrong, y, loss=CROSS_ENTROPY, optimizer=optimizer)
    for parameter, expected in zip(net.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.value, expected)
    assert optimizer.steps == steps_before
    assert np.isfinite(net.train_step(x, y, loss=CROSS_ENTROPY, optimizer=optimizer))


def test_parameters_may_be_set_and_networks_copied():
    net, other = network(), network()
    x, y = batch(25)
    for change in (
        lambda net: net,
        copy.deepcopy,
        lambda net: pickle.loads(pickle.dumps(net)),
        lambda net: net.astype("float32"),
    ):
        net, other = change(net), change(other)
        net.parameters()[0].value = other.parameters()[0].value = np.full((50, INPUTS), 0.01)
        for _ in range(2):
            net.train_step(x, y, loss=CROSS_ENTROPY, optimizer=fb.SGD(0.1))
            step_by_hand(other, x, y, CROSS_ENTROPY, 0.1, 0.0)
    assert_close(net, other, 8)


def test_networks_take_turns():
    nets, others = [network(seed=s) for s in (1, 2)], [network(seed=s) for s in (1, 2)]
    for n in range(6):
        x, y = batch(20 + n % 2, seed=n)
        nets[n % 2].train_step(x, y, loss=CROSS_ENTROPY, optimizer=fb.SGD(0.1))
        step_by_hand(others[n % 2], x, y, CROSS_ENTROPY, 0.1, 0.0)
    for net, other in zip(nets, others, strict=True):
        assert_close(net, other, 6)


class Double(fb.Identity):
    """A layer of the user's own, which computes without kernels."""

    def forward(self, ctx, x):
        return 2 * x

    def backward(self, ctx, dy):
        return 2 * dy


def test_layers_of_the_users_own():
    net = fb.Sequential(fb.Affine(20), Double(), fb.Affine(CLASSES), input_shape=INPUTS, seed=0)
    other = copy.deepcopy(net)
    x, y = batch(25)
    for _ in range(3):
        net.train_step(x, y, loss=CROSS_ENTROPY, optimizer=fb.SGD(0.1))
        step_by_hand(other, x, y, CROSS_ENTROPY, 0.1, 0.0)
    assert_close(net, other, 3)


def test_layers_without_a_task_are_run_one_by_one():
    layers = fb.Affine(20), fb.Softmax(), fb.Affine(CLASSES), fb.LogSoftmax()
    net = fb.Sequential(*layers, input_shape=INPUTS, seed=0)
    other = copy.deepcopy(net)
    x, y = batch(25)
    t, loss = np.eye(CLASSES, dtype=np.float32)[y], fb.SquaredError()
    for _ in range(3):
        net.train_step(x, t, loss=loss, optimizer=fb.SGD(0.01))
        step_by_hand(other, x, t, loss, 0.01, 0.0)
    assert _runtime.own.program is None
    assert_close(net, other, 3)


@pytest.mark.parametrize(
    "pools",
    [
        (fb.MaxPool2d(2), fb.Flatten()),
        (fb.MaxPool2d(3, stride=1, padding=1), fb.AvgPool2d(2, stride=1), fb.Flatten()),
        (fb.AvgPool2d(3, stride=2, padding=1, ceil=True, count_padding=False), fb.Flatten()),
        (fb.GlobalAvgPool2d(),),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_networks_with_pools_are_recorded(pools, dtype):
    layers = fb.Conv2d(6, 3, padding=1), fb.ReLU(), *copy.deepcopy(pools), fb.Affine(CLASSES)
    net = fb.Sequential(*layers, input_shape=(1, 5, 8), dtype=dtype, seed=0)
    other = copy.deepcopy(net)
    for n in (20, 7, 20):
        x, y = batch(n, dtype)
        net.train_step(x.reshape(n, 1, 5, 8), y, loss=CROSS_ENTROPY, optimizer=fb.SGD(0.1))
        step_by_hand(other, x.reshape(n, 1, 5, 8), y, CROSS_ENTROPY, 0.1, 0.0)
    assert net._steps.last is not None
    for parameter, expected in zip(net.parameters(), other.parameters(), strict=True):
        # sums of 20 images of 40 places, in three steps
        bound = 3 * 800 * np.finfo(dtype).eps
        np.testing.assert_allclose(parameter.value, expected.value, rtol=0, atol=bound, err_msg=parameter.name)


def test_an_error_ends_the_recording(monkeypatch):
    net = network()
    x, y = batch(25)

    def fails(*_, **__):
        raise ArithmeticError("no gradient today")

    monkeypatch.setattr(fb.Affine, "backward", fails)
    with pytest.raises(ArithmeticError):
        net.train_step(x, y, loss=CROSS_ENTROPY, optimizer=fb.SGD(0.1))
    monkeypatch.undo()
    assert _runtime.own.program is None
    other = copy.deepcopy(net)
    net.train_step(x, y, loss=CROSS_ENTROPY, optimizer=fb.SGD(0.1))
    step_by_hand(other, x, y, CROSS_ENTROPY, 0.1, 0.0)
    assert_close(net, other, 1)


def test_the_first_batch_is_not_kept():
    net = network()
    x, y = batch(25)
    for _ in range(2):
        net.train_step(x, y, loss=CROSS_ENTROPY, optimizer=fb.SGD(0.1))
    held = weakref.ref(x)
    del x
    gc.collect()
    assert held() is None


@pytest.mark.usefixtures("restore_threads")
def test_training_changes_nothing_with_the_threads():
    before = fb.get_num_threads()
    x, y = batch(300)
    results = []
    for first, second in itertools.product([1, before], repeat=2):
        net = network()
        for threads in (first, second):
            fb.set_num_threads(threads)
            net.train_step(x, y, loss=CROSS_ENTROPY, optimizer=fb.SGD(0.1))
        results.append(np.concatenate([parameter.value.ravel() for parameter in net.parameters()]))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize(
    ("n", "inputs", "outputs", "dtype"),
    [
        (16, 1024, 128, "float32"),  # A is packed: its rows start in one set of a cache
        (16, 512, 128, "float64"),
        (64, 1024, 1024, "float32"),  # A and B
        (30, 50, 10, "float32"),  # B, which is transposed
        (40, 1030, 1100, "float32"),  # k is cut into blocks
        (3, 2000, 1500, "float32"),
    ],
)
def test_products_of_every_kind_are_recorded(n, inputs, outputs, dtype):
    layers = [fb.Affine(outputs), fb.ReLU(), fb.Affine(CLASSES)]
    net = fb.Sequential(*layers, input_shape=inputs, dtype=dtype, seed=0)
    other = copy.deepcopy(net)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x, y = rng.random((n, inputs)).astype(dtype), rng.integers(0, CLASSES, n)
        value = net.train_step(x, y, loss=CROSS_ENTROPY, optimizer=fb.SGD(0.01))
        assert value == pytest.approx(step_by_hand(other, x, y, CROSS_ENTROPY, 0.01, 0.0), rel=1e-4)
    for parameter, expected in zip(net.parameters(), other.parameters(), strict=True):
        bound = 3 * max(inputs, outputs) * np.finfo(dtype).eps
        np.testing.assert_allclose(parameter.value, expected.value, rtol=0, atol=bound)


@pytest.mark.parametrize("optimizer", [fb.SGD, Plain])
@pytest.mark.parametrize("when", [0, 1])
def test_a_batch_in_the_memory_of_a_parameter(optimizer, when):
    net = fb.Sequential(fb.Affine(CLASSES), input_shape=CLASSES, seed=0)
    other = copy.deepcopy(net)
    w = net.parameters()[0].value
    inside = w if w.flags.c_contiguous else w.T
    y = np.arange(CLASSES)
    for step in range(3):
        x = inside if step == when else batch(CLASSES, seed=step)[0][:, :CLASSES].copy()
        step_by_hand(other, x.copy(), y, CROSS_ENTROPY, 0.1, 0.0)
        net.train_step(x, y, loss=CROSS_ENTROPY, optimizer=optimizer(0.1))
    assert_close(net, other, 3)


def test_targets_in_the_memory_of_the_batch():
    x = np.zeros((2, 1))
    net = fb.Sequential(fb.Affine(CLASSES), input_shape=1, dtype="float64", seed=0)
    other = copy.deepcopy(net)
    for samples, labels in ((x, x.view(np.int64).ravel()), (np.ones((2, 1)), np.array([1, 2]))):
        net.train_step(samples, labels, loss=CROSS_ENTROPY, optimizer=fb.SGD(0.1))
        step_by_hand(other, samples, labels, CROSS_ENTROPY, 0.1, 0.0)
    assert_close(net, other, 2)


def test_a_network_without_parameters():
    net = fb.Sequential(fb.Flatten(), input_shape=(2, 3))
    for value in (0.0, 1.0):
        x = np.full((1, 2, 3), value, np.float32)
        assert net.train_step(x, np.zeros((1, 6)), loss=fb.SquaredError(), optimizer=fb.SGD(0.1)) == 6 * value


def test_decay_is_checked_in_every_step():
    net = network()
    x, y = batch(25)
    net.train_step(x, y, loss=CROSS_ENTROPY, optimizer=fb.SGD(0.1))
    for wrong in (True, np.array([0.0, 1.0]), -1.0, float("nan")):
        with pytest.raises((TypeError, ValueError), match="l2 must be"):
            net.train_step(x, y, loss=CROSS_ENTROPY, optimizer=fb.SGD(0.1), l2=wrong)


def test_steps_of_outgrown_buffers_are_dropped():
    net = network()
    for n in (10, 20, 30, 20):
        net.train_step(*batch(n), loss=CROSS_ENTROPY, optimizer=fb.SGD(0.1))
    assert len(net._steps._steps) == 2


# --- parameters that are read-only ------------------------------------------------------------------------------------


def freeze(parameter, *, frozen=True):
    parameter.value.flags.writeable = not frozen


@pytest.mark.parametrize("optimizer", [fb.SGD, type("Other", (fb.SGD,), {})])
def test_parameters_that_have_become_read_only_are_left_alone(optimizer):
    net, (x, y), sgd = network(), batch(8), optimizer(0.1)
    last = net.parameters()[-1]
    freeze(last)
    with pytest.raises(ValueError, match=r"^affine_3.b is read-only: a copy.deepcopy of the network can be trained$"):
        net.train_step(x, y, loss=CROSS_ENTROPY, optimizer=sgd)
    freeze(last, frozen=False)
    for _ in range(3):
        net.train_step(x, y, loss=CROSS_ENTROPY, optimizer=sgd)
    before = [p.value.copy() for p in net.parameters()]
    freeze(last)
    for train in (net.train_step, net.fit):
        with pytest.raises(ValueError, match=r"^affine_3.b is read-only"):
            train(x, y, loss=CROSS_ENTROPY, optimizer=sgd)
    with pytest.raises(ValueError, match=r"^affine_3.b is read-only"):
        last.value = np.zeros(CLASSES)
    net.forward(x)
    net.backward(np.ones((8, CLASSES)))
    with pytest.raises(ValueError, match=r"^affine_3.b is read-only"):
        sgd.step(net.parameters())
    for parameter, value in zip(net.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.value, value)
    assert sgd.steps == 3
    freeze(last, frozen=False)
    net.train_step(x, y, loss=CROSS_ENTROPY, optimizer=sgd)
    assert not np.array_equal(last.value, before[-1])


def test_networks_that_lie_in_files_predict_and_are_copied(tmp_path):
    """joblib maps large arrays of what it sends to other processes into memory, read-only."""
    layers = fb.Conv2d(3, 3), fb.ReLU(), fb.MaxPool2d(2), fb.Flatten(), fb.Affine(CLASSES), fb.Tanh()
    net = fb.Sequential(*layers, input_shape=(2, 8, 8), seed=0)
    x, y = np.random.default_rng(0).standard_normal((9, 2, 8, 8)).astype("f4"), np.arange(9) % CLASSES
    net.forward(x)
    net.backward(np.ones((9, CLASSES)))
    mapped = copy.deepcopy(net)
    for parameter in mapped.parameters():
        state = vars(parameter)
        for key in ("_value", "_grad"):
            np.save(tmp_path / f"{parameter.name}{key}.npy", state[key])
            state[key] = np.load(tmp_path / f"{parameter.name}{key}.npy", mmap_mode="r")
        parameter.__setstate__(state)
    np.testing.assert_array_equal(mapped.predict(x), net.predict(x))
    with pytest.raises(ValueError, match=r"^conv2d_1.w is read-only: a copy.deepcopy of the network can be trained$"):
        mapped.fit(x, y, loss=CROSS_ENTROPY, optimizer=fb.SGD(0.1))
    mapped.forward(x)
    mapped.backward(np.ones((9, CLASSES)))  # gradients are nobody's to protect
    trained = copy.deepcopy(mapped)
    for each in (net, trained):
        each.fit(x, y, loss=CROSS_ENTROPY, optimizer=fb.SGD(0.1), epochs=2)
    for parameter, expected in zip(trained.parameters(), net.parameters(), strict=True):
        np.testing.assert_array_equal(parameter.value, expected.value)
