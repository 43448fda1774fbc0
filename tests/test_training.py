"""fit, evaluate, mini-batches, history and progress."""

import io
import math
import sys
from itertools import chain

import numpy as np
import pytest

import fastbp as fb

RNG = np.random.default_rng(10)
X = RNG.normal(size=(53, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 53)
LOSS = fb.SoftmaxCrossEntropy()


def network(**options):
    return fb.Sequential(fb.Affine(8), fb.ReLU(), fb.Affine(3), **{"input_shape": 6, "seed": 1, **options})


def values(net):
    return [p.value.copy() for p in net.parameters()]


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


class Recorder:
    """A loss of one's own that notes the targets of every batch."""

    def __init__(self):
        self.batches = []

    def __call__(self, u, t):
        self.batches.append(t.tolist())
        return 0.0, np.zeros_like(u)


def test_every_sample_once_per_epoch_in_a_new_order():
    record = Recorder()
    network().fit(X, np.arange(53), loss=record, optimizer=fb.SGD(0.1), batch_size=10, epochs=3)
    assert [len(batch) for batch in record.batches] == [10, 10, 10, 10, 10, 3] * 3
    orders = [list(chain(*record.batches[i : i + 6])) for i in (0, 6, 12)]
    assert all(sorted(order) == list(range(53)) for order in orders)
    assert orders[0] != list(range(53))
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_samples_and_targets_stay_together():
    def paired(u, t):
        np.testing.assert_array_equal(u[:, 0], t)
        return 0.0, np.zeros_like(u)

    x = np.arange(53.0)[:, None]
    net = fb.Sequential(fb.Identity(), input_shape=1, dtype="float64", seed=0)
    net.fit(x, np.arange(53), loss=paired, optimizer=fb.SGD(0.1), batch_size=8, epochs=2)


@pytest.mark.parametrize("batch_size", [1, 53, 54, 10**9])
def test_batch_sizes(batch_size):
    record = Recorder()
    network().fit(X, Y, loss=record, optimizer=fb.SGD(0.1), batch_size=batch_size)
    assert [len(batch) for batch in record.batches] == ([1] * 53 if batch_size == 1 else [53])


def test_fit_is_train_step_over_shuffled_minibatches():
    fitted, by_hand = network(), network()
    history = fitted.fit(X, Y, loss=LOSS, optimizer=fb.SGD(0.2), l2=0.01, batch_size=10, epochs=2)
    optimizer, means = fb.SGD(0.2), []
    for _ in range(2):
        total = 0.0
        for x, y in fb.minibatches(X, Y, 10, by_hand.rng):
            total += by_hand.train_step(x, y, loss=LOSS, optimizer=optimizer, l2=0.01) * len(x)
        means.append(total / 53)
    assert_same(values(fitted), values(by_hand))
    assert history["loss"] == means


@pytest.mark.parametrize("through_file", [False, True])
def test_ten_and_ten_epochs_are_twenty(through_file, tmp_path):
    def rate(step):
        return 0.5 / (1 + 0.01 * step)

    straight, parted = network(), network()
    whole = straight.fit(X, Y, loss=LOSS, optimizer=fb.SGD(rate), l2=1e-3, epochs=20)
    optimizer = fb.SGD(rate)
    first = parted.fit(X, Y, loss=LOSS, optimizer=optimizer, l2=1e-3, epochs=10)
    if through_file:
        parted.save(tmp_path / "net.npz")
        parted = fb.Sequential.load(tmp_path / "net.npz")
    second = parted.fit(X, Y, loss=LOSS, optimizer=optimizer, l2=1e-3, epochs=10)
    assert_same(values(straight), values(parted))
    assert first["loss"] + second["loss"] == whole["loss"]
    assert first["cost"] + second["cost"] == whole["cost"]


def test_history():
    net = network()
    history = net.fit(X, Y, loss=LOSS, optimizer=fb.SGD(0.1), epochs=3)
    assert isinstance(history, fb.History)
    assert list(history) == ["loss"]
    assert len(history["loss"]) == 3
    history = net.fit(X, Y, loss=LOSS, optimizer=fb.SGD(0.1), l2=0.1, epochs=2, validation_data=(X[:9], Y[:9]))
    assert list(history) == ["loss", "cost", "val_loss", "val_accuracy"]
    assert {len(column) for column in history.values()} == {2}
    assert history["cost"][-1] == history["loss"][-1] + 0.1 * net.penalty()
    result = net.evaluate(X[:9], Y[:9], loss=LOSS)
    assert (history["val_loss"][-1], history["val_accuracy"][-1]) == (result.loss, result.accuracy)
    history = network().fit(
        X, X[:, :3], loss=fb.MeanSquaredError(), optimizer=fb.SGD(0.1), validation_data=(X, X[:, :3])
    )
    assert list(history) == ["loss", "val_loss"]
    assert network().fit(X, Y, loss=LOSS, optimizer=fb.SGD(0.1), epochs=0) == {}


def test_loss_is_that_before_each_update():
    net = network()
    before = net.evaluate(X, Y, loss=LOSS).loss
    history = net.fit(X, Y, loss=LOSS, optimizer=fb.SGD(0.3), batch_size=53)
    assert history["loss"][0] == pytest.approx(before, rel=16 * float(np.finfo(np.float32).eps))
    assert net.evaluate(X, Y, loss=LOSS).loss < before


def test_validation_changes_nothing():
    plain, validated = network(), network()
    plain.fit(X, Y, loss=LOSS, optimizer=fb.SGD(0.1), epochs=2)
    validated.fit(X, Y, loss=LOSS, optimizer=fb.SGD(0.1), epochs=2, validation_data=(X, Y))
    assert_same(values(plain), values(validated))
    assert plain.rng.bit_generator.state == validated.rng.bit_generator.state


def test_penalty_shrinks_weights_and_leaves_biases():
    net = network(dtype="float64")
    net.parameters()[1].value = np.ones(8)
    before = values(net)
    zero = Recorder()
    net.fit(X[:10], Y[:10], loss=zero, optimizer=fb.SGD(0.1), l2=0.5, batch_size=10)
    for old, p in zip(before, net.parameters(), strict=True):
        expected = old * (1 - 2 * 0.1 * 0.5) if p.decays else old
        np.testing.assert_allclose(p.value, expected, rtol=4 * float(np.finfo(float).eps))


# --- when it goes wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_loss_that_is_not_finite_names_epoch_and_batch(bad):
    """53 samples in batches of 20: the fifth batch is the second of epoch 2."""
    seen, net = [], network()

    def loss(u, t):
        seen.append(values(net))
        return (bad if len(seen) == 5 else 1.0), np.ones_like(u)

    with pytest.raises(FloatingPointError, match=r"epoch 2, batch 2: the loss is .*lower rate"):
        net.fit(X, Y, loss=loss, optimizer=fb.SGD(0.01), batch_size=20, epochs=4)
    assert_same(values(net), seen[-1])
    assert all(np.isfinite(value).all() for value in values(net))
    net.fit(X, Y, loss=LOSS, optimizer=fb.SGD(0.01))  # goes on


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_divergence_leaves_finite_parameters(dtype):
    net = fb.Sequential(fb.Affine(4), fb.ReLU(), fb.Affine(3), input_shape=6, dtype=dtype, seed=1)
    with pytest.raises(FloatingPointError, match="epoch"):
        net.fit(X, X[:, :3], loss=fb.MeanSquaredError(), optimizer=fb.SGD(20.0), epochs=200)
    assert all(np.isfinite(value).all() for value in values(net))


def test_train_step_with_a_loss_that_is_not_finite():
    net = network()
    before, optimizer = values(net), fb.SGD(0.1)
    x = X.copy()
    x[3, 2] = np.nan
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        net.train_step(x, Y, loss=LOSS, optimizer=optimizer)
    assert_same(values(net), before)
    assert optimizer.steps == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_input_that_is_not_finite_names_the_row(bad):
    x = X.copy()
    x[41, 2] = bad
    net = network()
    before = values(net)
    with pytest.raises(ValueError, match=f"x must be finite, but row 41 holds {bad}"):
        net.fit(x, Y, loss=LOSS, optimizer=fb.SGD(0.1))
    assert_same(values(net), before)


def test_arguments_are_checked_before_anything_changes():
    net = network()
    before, state = values(net), net.rng.bit_generator.state
    good = {"loss": LOSS, "optimizer": fb.SGD(0.1)}
    for error, match, x, y, options in [
        (ValueError, r"x must have the shape \(N, 6\), got \(53, 5\)", X[:, :5], Y, good),
        (ValueError, r"one sample is x\[None\]", X[0], Y[:1], good),
        (ValueError, "same length, got 53 samples and 52", X, Y[:52], good),
        (ValueError, "no samples", X[:0], Y[:0], good),
        (ValueError, "labels must be from 0 to 2", X, Y + 1, good),
        (TypeError, "labels must be integers", X, Y * 1.0, good),
        (TypeError, "optimizer must be an optimizer", X, Y, {**good, "optimizer": 0.1}),
        (TypeError, "optimizer must be an optimizer", X, Y, {**good, "optimizer": fb.SGD}),
        (TypeError, "pass an instance", X, Y, {**good, "loss": fb.SoftmaxCrossEntropy}),
        (ValueError, "batch_size must be at least 1", X, Y, {**good, "batch_size": 0}),
        (TypeError, "batch_size must be an integer", X, Y, {**good, "batch_size": 2.5}),
        (ValueError, "epochs must be at least 0", X, Y, {**good, "epochs": -1}),
        (ValueError, "l2 must be finite and at least 0", X, Y, {**good, "l2": -0.1}),
        (ValueError, "validation x must have the shape", X, Y, {**good, "validation_data": (X[:, :2], Y)}),
        (ValueError, "same length", X, Y, {**good, "validation_data": (X, Y[:2])}),
        (ValueError, "labels must be from 0 to 2", X, Y, {**good, "validation_data": (X, Y + 5)}),
        (TypeError, "real numbers", X.astype(complex), Y, good),
    ]:
        with pytest.raises(error, match=match):
            net.fit(x, y, **options)
    assert_same(values(net), before)
    assert net.rng.bit_generator.state == state


# --- evaluate ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 10, 53, 1000])
def test_evaluate_is_a_mean_over_samples(batch_size):
    net = network(dtype="float64")
    before = values(net)
    result = net.evaluate(X, Y, loss=LOSS, batch_size=batch_size)
    value, _ = LOSS(net.predict(X), Y)
    assert result.loss == pytest.approx(value, rel=4 * 53 * float(np.finfo(float).eps))
    assert result.accuracy == fb.metrics.accuracy(Y, net.predict(X).argmax(1))
    one_of_k = net.evaluate(X, np.eye(3)[Y], loss=LOSS, batch_size=batch_size)
    assert one_of_k.accuracy == result.accuracy
    assert one_of_k.loss == pytest.approx(result.loss, rel=4 * 53 * float(np.finfo(float).eps))
    assert_same(values(net), before)


def test_evaluate_where_nothing_is_classified():
    result = network().evaluate(X, X[:, :3], loss=fb.MeanSquaredError())
    assert result.accuracy is None
    assert network().evaluate(X, Y, loss=lambda u, t: (2.0, u)) == fb.Evaluation(2.0, None)


def test_evaluate_refuses():
    net = network()
    with pytest.raises(ValueError, match="no samples"):
        net.evaluate(X[:0], Y[:0], loss=LOSS)
    with pytest.raises(ValueError, match="same length"):
        net.evaluate(X, Y[:-1], loss=LOSS)
    with pytest.raises(ValueError, match="batch_size"):
        net.evaluate(X, Y, loss=LOSS, batch_size=0)


# --- mini-batches -----------------------------------------------------------------------------------------------------


def test_minibatches():
    batches = list(fb.minibatches(X, Y, 20))
    assert [len(x) for x, _ in batches] == [20, 20, 13]
    np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), X)
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), Y)
    assert not np.shares_memory(batches[0][0], X)
    first = [y for _, y in fb.minibatches(np.arange(53), np.arange(53), 20, np.random.default_rng(0))]
    again = [y for _, y in fb.minibatches(np.arange(53), np.arange(53), 20, np.random.default_rng(0))]
    assert_same(first, again)
    assert np.concatenate(first).tolist() != list(range(53))
    assert sorted(np.concatenate(first).tolist()) == list(range(53))


def test_minibatches_refuse_at_the_call():
    with pytest.raises(ValueError, match="same length"):
        fb.minibatches(X, Y[:3], 10)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        fb.minibatches(X, Y, 0)
    with pytest.raises(ValueError, match="no samples"):
        fb.minibatches([], [], 1)
    with pytest.raises(ValueError, match="first dimension"):
        fb.minibatches(1.0, [1], 1)
    with pytest.raises(TypeError, match=r"numpy\.random\.Generator"):
        fb.minibatches(X, Y, 10, 0)


# --- progress ---------------------------------------------------------------------------------------------------------


def test_no_output_by_default(capfd):
    network().fit(X, Y, loss=LOSS, optimizer=fb.SGD(0.1), epochs=2, validation_data=(X, Y))
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_one_line_per_epoch_where_there_is_no_terminal(capsys):
    options = {"loss": LOSS, "optimizer": fb.SGD(0.1), "epochs": 10, "validation_data": (X, Y)}
    history = network().fit(X, Y, progress=True, **options)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 10
    for i, line in enumerate(lines):
        numbers = "  ".join(f"{name} {column[i]:.4f}" for name, column in history.items())
        assert line == f"epoch {i + 1:2d}/10  {numbers}"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_bar_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    options = {"loss": LOSS, "optimizer": fb.SGD(0.1), "batch_size": 10, "epochs": 2}
    history = network().fit(X, Y, progress=True, **options)
    text = terminal.getvalue()
    assert "12/12 [" in text
    for epoch, loss in enumerate(history["loss"], 1):
        assert f"epoch {epoch}/2  loss {loss:.4f}\n" in text
    assert text.endswith("\r")  # the bar is taken away


def test_bar_is_taken_away_after_an_error(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with pytest.raises(FloatingPointError):
        network().fit(X, Y, loss=lambda u, t: (math.nan, u), optimizer=fb.SGD(0.1), progress=True)
    assert "0/2 [" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")


def test_a_validation_loss_that_is_not_finite_stops():
    """The weights may still be finite when the outputs overflow already: the last update of a fit is not overlooked."""
    x, y = fb.datasets.load_digits()
    net = fb.Sequential(fb.Affine(8), fb.ReLU(), fb.Affine(10), input_shape=64, seed=0)
    with pytest.raises(FloatingPointError, match="epoch 1: the validation loss is"), np.errstate(all="ignore"):
        net.fit(x, y, loss=fb.SoftmaxCrossEntropy(), optimizer=fb.SGD(1e38), batch_size=len(x), validation_data=(x, y))
