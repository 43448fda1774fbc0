"""Bad input gives an error that says what is wrong, and loses nothing; odd but meaningful input works.

Through the Python API, and where it can be reached through the command line: one line, exit status 2, no traceback.
"""

import errno
import os
import re
import shutil
import warnings

import numpy as np
import pytest

import fastbp as fb
from fastbp.cli import main

X, Y = (array[:60] for array in fb.datasets.load_digits())
ONE_OF_K = np.eye(10)[Y]
NAN, INF = float("nan"), float("inf")


def with_value(array, row, value):
    changed = np.array(array, np.result_type(array, np.asarray(value)))
    changed[row, 1] = value
    return changed


def make_net(**changes):
    return fb.Sequential(fb.Affine(8), fb.ReLU(), fb.Affine(10), **{"input_shape": 64, "seed": 0, **changes})


def fit(x=X, y=Y, *, net=None, **changes):
    """The trained network."""
    net = net or make_net()
    net.fit(x, y, **{"loss": fb.SoftmaxCrossEntropy(), "optimizer": fb.SGD(0.1), **changes})
    return net


def weights(net):
    return [parameter.value.copy() for parameter in net.parameters()]


def assert_same_weights(net, other):
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(a.value, b.value)


class Table:
    """Like a data frame: no array, but knows how to become one."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


# --- samples ----------------------------------------------------------------------------------------------------------

BAD_SAMPLES = {
    "rank too low": (X[0], ValueError, r"shape \(N, 64\), got \(64,\); one sample is x\[None\]"),
    "rank too high": (X[None], ValueError, r"shape \(N, 64\), got \(1, 60, 64\)"),
    "features": (X[:, :63], ValueError, r"shape \(N, 64\), got \(60, 63\)"),
    "number": (3.0, ValueError, r"shape \(N, 64\), got \(\)"),
    "empty list": ([], ValueError, r"shape \(N, 64\), got \(0,\)"),
    "ragged": ([[1.0, 2.0], [3.0]], ValueError, "x is no rectangular array"),
    "None": (None, TypeError, "x must hold real numbers, got dtype object"),
    "objects": (X.astype(object), TypeError, "x must hold real numbers, got dtype object"),
    "complex": (X + 0j, TypeError, "x must hold real numbers, got dtype complex64"),
    "text": (X.astype(str), TypeError, "x must hold real numbers, got dtype <U"),
    "dates": (np.zeros((60, 64), "M8[s]"), TypeError, "x must hold real numbers, got dtype datetime64"),
    "records": (np.zeros(60, "f4,f4"), TypeError, "x must hold real numbers"),
    "generator": ((row for row in X), TypeError, "x must hold real numbers, got dtype object"),
    "masked": (np.ma.masked_less(X, 0.1), TypeError, "x is a masked array; fill it first"),
}


@pytest.mark.parametrize("what", ["fit", "train_step", "evaluate", "forward", "predict", "predict_proba"])
@pytest.mark.parametrize(("x", "error", "message"), BAD_SAMPLES.values(), ids=BAD_SAMPLES)
def test_samples_that_do_not_fit(x, error, message, what):
    net = make_net()
    before = weights(net)
    arguments = {"fit": 2, "train_step": 2, "evaluate": 1}.get(what, 0)
    options = {"loss": fb.SoftmaxCrossEntropy(), "optimizer": fb.SGD(0.1)}
    with pytest.raises(error, match=message):
        getattr(net, what)(x, *([Y] if arguments else []), **dict([*options.items()][:arguments]))
    for value, old in zip(net.parameters(), before, strict=True):
        np.testing.assert_array_equal(value.value, old)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_fit_refuses_samples_that_are_not_finite_and_names_the_first_row(value):
    x = with_value(with_value(X, 41, value), 7, value)
    with pytest.raises(ValueError, match=rf"x must be finite, but row 7 holds {value}"):
        fit(x)


def test_a_row_far_down_is_found():
    x = np.zeros((200_000, 8), np.float32)
    x[199_999, 7] = NAN
    with pytest.raises(ValueError, match="row 199999 holds nan"):
        fit(x, np.zeros(200_000, int), net=make_net(input_shape=8))


def test_predict_propagates_what_is_not_finite():
    net = make_net()
    u = net.predict(with_value(X, 7, NAN))
    np.testing.assert_array_equal(np.isnan(u).all(axis=1), np.arange(60) == 7)
    np.testing.assert_array_equal(np.delete(u, 7, 0), np.delete(net.predict(X), 7, 0))
    assert np.isnan(net.predict_proba(with_value(X, 7, NAN))[7]).all()


@pytest.mark.parametrize("x", [with_value(X.astype(np.float64), 7, 1e300), with_value(X.astype("g"), 7, 1e300)])
def test_values_too_large_for_float32_are_named_as_such(x):
    """They are finite to the user: the message must not say just that they are infinite, nor must NumPy warn."""
    with pytest.raises(ValueError, match=r"row 7 .*(1e\+300.*float32|float32.*1e\+300)"):
        fit(x)


@pytest.mark.parametrize("x", [X[:0], np.empty((0, 64), int)])
def test_nothing_to_train_on(x):
    net, loss, sgd = make_net(), fb.SoftmaxCrossEntropy(), fb.SGD(0.1)
    with pytest.raises(ValueError, match="x has no samples"):
        net.fit(x, Y[:0], loss=loss, optimizer=sgd)
    with pytest.raises(ValueError, match="x has no samples"):
        net.evaluate(x, Y[:0], loss=loss)
    assert net.predict(x).shape == (0, 10)
    assert net.forward(x).shape == (0, 10)


@pytest.mark.parametrize("x", [X[:59], X[:1]])
def test_lengths_must_agree(x):
    with pytest.raises(ValueError, match=f"same length, got {len(x)} samples and 60 targets"):
        fit(x)


# --- what looks odd and works -----------------------------------------------------------------------------------------


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def unaligned(array):
    buffer = np.zeros(array.nbytes + 1, np.uint8)
    result = buffer[1:].view(array.dtype).reshape(array.shape)
    result[...] = array
    return result


SAME = {
    "every second column": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "backwards": lambda a: a[::-1].copy()[::-1],
    "Fortran": np.asfortranarray,
    "read-only": read_only,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "unaligned": unaligned,
    "list": lambda a: a.tolist(),
    "table": Table,
    "matrix subclass": lambda a: a.view(type("Sub", (np.ndarray,), {})),
    "longer float or shorter integer": lambda a: a.astype(np.longdouble if a.dtype.kind == "f" else np.uint8),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_odd_arrays_train_the_same_network(change):
    assert_same_weights(fit(change(X), change(Y)), fit())
    np.testing.assert_array_equal(make_net().predict(change(X)), make_net().predict(X))
    assert_same_weights(fit(X, change(ONE_OF_K)), fit(X, ONE_OF_K))


def test_memory_mapped_arrays_train_the_same_network(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    x, y = np.load(tmp_path / "x.npy", mmap_mode="r"), np.load(tmp_path / "y.npy", mmap_mode="r")
    assert_same_weights(fit(x, y), fit())


@pytest.mark.parametrize("dtype", ["u1", "i1", "i8", "u8", "f2", "f8", "?"])
def test_other_numbers_are_converted(dtype):
    x = (X > 0.5).astype(dtype)
    assert_same_weights(fit(x), fit(x.astype(np.float32)))


def test_what_the_user_passes_is_not_written_to():
    x, y = read_only(X), read_only(Y)
    fit(x, y, validation_data=(x, y), epochs=2)
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize("size", [60, 61, 10**9, 10**30])
def test_a_batch_may_be_larger_than_the_data(size):
    assert_same_weights(fit(batch_size=size), fit(batch_size=60))


def test_no_epochs_change_nothing():
    net = make_net()
    assert net.fit(X, Y, loss=fb.SoftmaxCrossEntropy(), optimizer=fb.SGD(0.1), epochs=0) == {}
    assert_same_weights(net, make_net())


# --- targets ----------------------------------------------------------------------------------------------------------

BAD_LABELS = {
    "too large": (np.where(np.arange(60) == 5, 10, Y), ValueError, "labels must be from 0 to 9, but row 5 has 10"),
    "negative": (np.where(np.arange(60) == 5, -1, Y), ValueError, "labels must be from 0 to 9, but row 5 has -1"),
    "uint64": (np.full(60, 2**64 - 1, np.uint64), ValueError, "but row 0 has 18446744073709551615"),
    "float": (Y.astype(float), TypeError, "labels must be integers .*float64"),
    "bool": (Y > 4, TypeError, "labels must be integers .*bool"),
    "complex": (Y + 0j, TypeError, "labels must be integers .*complex128"),
    "text": (Y.astype(str), TypeError, "labels must be integers .*<U"),
    "objects": (Y.astype(object), TypeError, "labels must be integers .*object"),
    "masked": (np.ma.masked_greater(Y, 5), TypeError, "masked"),
    "None": (None, ValueError, "same length"),
    "number": (3, ValueError, "got 60 samples and a single number"),
    "short": (Y[:59], ValueError, "got 60 samples and 59 targets"),
    "ragged": ([[1], [2, 3]] * 30, ValueError, "^(y|targets) "),
    "three dimensions": (
        ONE_OF_K[:, None],
        ValueError,
        r"class indices \(N,\) or 1-of-K rows \(N, 10\), got \(60, 1, 10\)",
    ),
    "column": (Y[:, None], ValueError, r"1-of-K targets must have the shape \(N, 10\), got \(60, 1\)"),
    "1-of-9": (ONE_OF_K[:, :9], ValueError, r"\(N, 10\), got \(60, 9\)"),
    "sum": (
        with_value(ONE_OF_K, 5, 0.5),
        ValueError,
        "1-of-K rows must be non-negative and sum to 1, but row 5 sums to 1.5",
    ),
    "zeros": (ONE_OF_K * 0, ValueError, "row 0 sums to 0"),
    "negative share": (with_value(with_value(ONE_OF_K, 4, -1), 4, -1), ValueError, "row 4"),
    "NaN share": (with_value(ONE_OF_K, 3, NAN), ValueError, "row 3 sums to nan"),
    "complex rows": (ONE_OF_K + 0j, TypeError, "must hold real numbers, got dtype complex128"),
    "text rows": (ONE_OF_K.astype(str), TypeError, "must hold real numbers, got dtype <U"),
    "masked rows": (np.ma.masked_equal(ONE_OF_K, 1), TypeError, "masked"),
}


@pytest.mark.parametrize(("y", "error", "message"), BAD_LABELS.values(), ids=BAD_LABELS)
def test_targets_that_make_no_sense(y, error, message):
    net = make_net()
    with pytest.raises(error, match=message):
        fit(y=y, net=net)
    assert_same_weights(net, make_net())
    with pytest.raises(error, match=message):
        fit(validation_data=(X, y))


@pytest.mark.parametrize(
    ("loss", "y", "error", "message"),
    [
        (fb.MeanSquaredError(), Y, ValueError, r"targets must have the shape \(N, 10\), got \(60,\)"),
        (
            fb.MeanSquaredError(),
            with_value(ONE_OF_K, 3, NAN),
            ValueError,
            "targets must be finite, but row 3 holds nan",
        ),
        (fb.SquaredError(), with_value(ONE_OF_K, 3, INF), ValueError, "targets must be finite, but row 3 holds inf"),
        (fb.SigmoidCrossEntropy(), with_value(ONE_OF_K, 3, 1.5), ValueError, "from 0 to 1, but row 3"),
        (fb.SigmoidCrossEntropy(), ONE_OF_K.astype(object), TypeError, "must hold real numbers, got dtype object"),
        (fb.MeanSquaredError(), np.ma.masked_equal(ONE_OF_K, 1), TypeError, "masked"),
    ],
)
def test_targets_of_the_other_losses(loss, y, error, message):
    with pytest.raises(error, match=message):
        fit(y=y, loss=loss)


# --- arguments of fit -------------------------------------------------------------------------------------------------

BAD_ARGUMENTS = {
    "optimizer name": ({"optimizer": "sgd"}, TypeError, r"must be an optimizer such as SGD\(0.1\), got 'sgd'"),
    "optimizer class": ({"optimizer": fb.SGD}, TypeError, "must be an optimizer such as"),
    "no optimizer": ({"optimizer": None}, TypeError, "must be an optimizer such as"),
    "loss class": ({"loss": fb.SoftmaxCrossEntropy}, TypeError, r"pass an instance, SoftmaxCrossEntropy\(\)"),
    "loss name": ({"loss": "mse"}, TypeError, r"must be a Loss or a function of \(u, t\), got 'mse'"),
    "no loss": ({"loss": None}, TypeError, "must be a Loss"),
    "epochs -1": ({"epochs": -1}, ValueError, "epochs must be at least 0, got -1"),
    "epochs 1.5": ({"epochs": 1.5}, TypeError, "epochs must be an integer, got 1.5"),
    "epochs '3'": ({"epochs": "3"}, TypeError, "epochs must be an integer, got '3'"),
    "epochs True": ({"epochs": True}, TypeError, "epochs must be an integer, got True"),
    "batch 0": ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
    "batch -1": ({"batch_size": -1}, ValueError, "batch_size must be at least 1, got -1"),
    "batch 1.5": ({"batch_size": 1.5}, TypeError, "batch_size must be an integer, got 1.5"),
    "batch True": ({"batch_size": True}, TypeError, "batch_size must be an integer, got True"),
    "l2 negative": ({"l2": -1e-9}, ValueError, "l2 must be finite and at least 0"),
    "l2 NaN": ({"l2": NAN}, ValueError, "l2 must be finite and at least 0, got nan"),
    "l2 text": ({"l2": "0.1"}, TypeError, "l2 must be a number, got '0.1'"),
    "l2 None": ({"l2": None}, TypeError, "l2 must be a number, got None"),
    "l2 huge": ({"l2": 10**400}, ValueError, "l2 must be finite"),
    "validation: an array": ({"validation_data": X}, (TypeError, ValueError), "validation"),
    "validation: a number": ({"validation_data": 3}, (TypeError, ValueError), "validation"),
    "validation: x alone": ({"validation_data": (X,)}, (TypeError, ValueError), "validation"),
    "validation: three": ({"validation_data": (X, Y, Y)}, (TypeError, ValueError), "validation"),
    "validation: features": ({"validation_data": (X[:, :3], Y)}, ValueError, r"validation x .*\(N, 64\)"),
    "validation: length": ({"validation_data": (X, Y[:3])}, ValueError, "60 samples and 3 targets"),
    "validation: empty": ({"validation_data": (X[:0], Y[:0])}, ValueError, "no samples"),
    "validation: NaN": ({"validation_data": (with_value(X, 7, NAN), Y)}, ValueError, "validation x .* row 7 holds nan"),
}


@pytest.mark.parametrize(("changes", "error", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_arguments_of_fit(changes, error, message):
    net = make_net()
    with pytest.raises(error, match=message):
        fit(net=net, **changes)
    assert_same_weights(net, make_net())


@pytest.mark.parametrize("optimizer", ["sgd", fb.SGD, None])
def test_train_step_checks_its_optimizer_too(optimizer):
    with pytest.raises(TypeError, match="must be an optimizer such as SGD"):
        make_net().train_step(X, Y, loss=fb.SoftmaxCrossEntropy(), optimizer=optimizer)


@pytest.mark.parametrize(
    ("lr", "error"),
    [
        pytest.param(-1, ValueError, id="negative"),
        pytest.param(NAN, ValueError, id="NaN"),
        pytest.param(INF, ValueError, id="infinite"),
        pytest.param(10**400, ValueError, id="huge"),
        pytest.param("0.1", TypeError, id="text"),
        pytest.param(None, TypeError, id="None"),
        pytest.param([0.1], TypeError, id="list"),
    ],
)
def test_learning_rates(lr, error):
    with pytest.raises(error, match="SGD: lr must be"):
        fb.SGD(lr)


@pytest.mark.parametrize(
    ("junk", "error"), [(-1.0, ValueError), (NAN, ValueError), (None, TypeError), ("fast", TypeError), ([1], TypeError)]
)
def test_a_learning_rate_function_that_returns_junk_is_named_with_its_step(junk, error):
    with pytest.raises(error, match=f"SGD: lr at step 1 must be .*got {re.escape(repr(junk))}"):
        fit(optimizer=fb.SGD(lambda step: 0.1 if step < 1 else junk))


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (lambda u, t: None, TypeError, r"a loss must return \(value, gradient by u\)"),
        (lambda u, t: (1.0, u, u), TypeError, r"a loss must return \(value, gradient by u\)"),
        (lambda u, t: ("small", u), TypeError, r"a loss must return \(value, gradient by u\)"),
        (lambda u, t: (1j, u), TypeError, r"a loss must return \(value, gradient by u\)"),
        (lambda u, t: (1.0, u[0]), ValueError, r"gradient of the loss must have the shape \(32, 10\), got \(10,\)"),
        (lambda u, t: (1.0, u * 1j), TypeError, "gradient .*complex"),
        (lambda u, t: (1.0, u.astype(str)), TypeError, "gradient .*<U"),
        (lambda u, t: (NAN, u), FloatingPointError, "epoch 1, batch 1: the loss is nan"),
        (lambda u, t: (INF, u), FloatingPointError, "epoch 1, batch 1: the loss is inf"),
    ],
)
def test_a_loss_of_the_user_that_returns_junk(loss, error, message):
    net = make_net()
    with pytest.raises(error, match=message):
        fit(loss=loss, net=net)
    assert_same_weights(net, make_net())


def test_an_error_within_a_loss_of_the_user_is_not_reworded():
    def loss(u, t):
        return float(u.sum()), u + t.no_such_attribute

    with pytest.raises(AttributeError, match="no_such_attribute"):
        fit(loss=loss)


def test_a_loss_that_stops_being_finite_names_epoch_and_batch():
    with pytest.raises(FloatingPointError, match=r"epoch 1, batch 2: the loss is (nan|inf); try a lower rate"):
        fit(optimizer=fb.SGD(1e30))
    calls = []

    def loss(u, t):
        calls.append(len(u))
        return (1.0 if len(calls) < 4 else NAN), np.zeros_like(u)

    with pytest.raises(FloatingPointError, match="epoch 2, batch 2: the loss is nan"):
        fit(loss=loss, epochs=3)


def test_divergence_warns_of_nothing_else():
    """Warnings are errors here."""
    with pytest.raises(FloatingPointError, match="try a lower rate"):
        fit(optimizer=fb.SGD(1e30), l2=1.0, epochs=3)


@pytest.mark.parametrize(
    ("layer", "loss"), [(fb.Softmax, fb.SoftmaxCrossEntropy), (fb.Sigmoid, fb.SigmoidCrossEntropy)]
)
def test_an_activation_that_the_loss_contains(layer, loss):
    net = fb.Sequential(fb.Affine(10), layer(), input_shape=64)
    with pytest.raises(ValueError, match=rf"remove the last layer, {layer.__name__}\(\)"):
        net.fit(X, ONE_OF_K, loss=loss(), optimizer=fb.SGD(0.1))


# --- backward ---------------------------------------------------------------------------------------------------------


def test_backward_needs_forward():
    with pytest.raises(RuntimeError, match="backward needs a forward pass before it"):
        make_net().backward(np.zeros((60, 10)))


def test_backward_after_a_training_step_needs_forward_again():
    net = make_net()
    net.forward(X)
    net.train_step(X, Y, loss=fb.SoftmaxCrossEntropy(), optimizer=fb.SGD(0.1))
    with pytest.raises(RuntimeError, match="backward needs a forward pass before it"):
        net.backward(np.zeros((60, 10)))


@pytest.mark.parametrize(
    ("delta", "options", "error", "message"),
    [
        (np.zeros((3, 10)), {}, ValueError, r"shape of the output, \(60, 10\), got \(3, 10\)"),
        (np.zeros(10), {}, ValueError, r"shape of the output, \(60, 10\), got \(10,\)"),
        (np.zeros((60, 10)) * 1j, {}, TypeError, "delta must hold real numbers"),
        (np.zeros((60, 10)), {"l2": -1}, ValueError, "l2 must be"),
    ],
)
def test_backward_refuses(delta, options, error, message):
    net = make_net()
    net.forward(X)
    with pytest.raises(error, match=message):
        net.backward(delta, **options)


# --- building a network -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "error"), [(0, ValueError), (-1, ValueError)] + [(n, TypeError) for n in (1.5, 3.0, "3", True, None, [3])]
)
def test_numbers_of_units(n, error):
    with pytest.raises(
        error, match=re.escape(f"Affine: n must be {'at least 1' if error is ValueError else 'an integer'}")
    ):
        fb.Affine(n)


@pytest.mark.parametrize("n", [10**12, 10**18, 10**30])
@pytest.mark.parametrize("layers", [lambda n: (fb.Affine(n),), lambda n: (fb.Affine(3), fb.ReLU(), fb.Affine(n))])
def test_huge_layers_are_named(n, layers):
    with pytest.raises((MemoryError, ValueError), match="affine_"):
        fb.Sequential(*layers(n), input_shape=4)


def test_a_layer_that_could_not_be_built_can_be_used_again():
    layer = fb.Affine(3)
    with pytest.raises(ValueError, match="Flatten"):
        fb.Sequential(layer, input_shape=(8, 8))
    assert fb.Sequential(layer, input_shape=8).output_shape == (3,)


@pytest.mark.parametrize("init", ["xavier", "", 3, False, ["he"], {"he": 1}])
def test_unknown_initializers(init):
    with pytest.raises((ValueError, TypeError), match="init must be a function or one of he, glorot, lecun, got"):
        fb.Affine(3, init=init)


@pytest.mark.parametrize(
    ("init", "message"),
    [
        (lambda shape, rng: np.zeros(2), r"affine_1.*\(3, 4\)"),
        (lambda shape, rng: np.zeros(shape[::-1]), r"affine_1.*\(3, 4\)"),
        (lambda shape, rng: None, "affine_1: init must hold real numbers"),
        (lambda shape, rng: np.zeros(shape) * 1j, "affine_1: init must hold real numbers"),
    ],
)
def test_initializers_that_return_junk(init, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fb.Sequential(fb.Affine(3, init=init), input_shape=4)


@pytest.mark.parametrize("dtype", ["float16", "int32", "complex64", ">f4", "foo", int, None, 3, [1]])
def test_dtypes(dtype):
    with pytest.raises((ValueError, TypeError), match=re.escape(f"dtype must be float32 or float64, got {dtype!r}")):
        make_net(dtype=dtype)


@pytest.mark.parametrize("dtype", ["float16", "foo", None])
def test_astype_refuses_the_same(dtype):
    with pytest.raises((ValueError, TypeError), match="dtype must be float32 or float64"):
        make_net().astype(dtype)


@pytest.mark.parametrize("shape", [0, -1, 1.5, "64", None, True, (3, 0), (3, "a"), (3, 1.5), ((3,),), np.array(3.5)])
def test_input_shapes(shape):
    with pytest.raises((ValueError, TypeError), match="input_shape must be"):
        fb.Sequential(fb.Flatten(), fb.Affine(3), input_shape=shape)


def test_an_empty_input_shape_is_a_single_number_per_sample():
    with pytest.raises(
        ValueError, match=r"affine_1 takes samples of one dimension, got \(\); put a Flatten\(\) before"
    ):
        fb.Sequential(fb.Affine(3), input_shape=())
    assert fb.Sequential(fb.Flatten(), fb.Affine(3), input_shape=()).predict([1.0, 2.0]).shape == (2, 3)


@pytest.mark.parametrize("seed", [-1, 1.5, "a"])
def test_seeds(seed):
    with pytest.raises((ValueError, TypeError), match="seed"):
        make_net(seed=seed)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((), "a network needs at least one layer"),
        ((fb.Affine(3), "relu"), "layers must be fastbp layers, got 'relu'"),
        ((fb.Affine(3), fb.ReLU), r"layers must be fastbp layers, got .*; write ReLU\(\)"),
        (([fb.Affine(3)],), "layers must be fastbp layers, got .*Affine"),
        ((fb.Affine(3), None), "layers must be fastbp layers, got None"),
        ((fb.Affine(3),) * 2, "already part of a network"),
    ],
)
def test_layers(layers, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fb.Sequential(*layers, input_shape=4)


@pytest.mark.parametrize("slope", [0, -1, NAN, "a"])
def test_slopes(slope):
    with pytest.raises((ValueError, TypeError), match="LeakyReLU: slope must be"):
        fb.LeakyReLU(slope)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "x", True, None, NAN, INF, 10**6])
def test_numbers_of_threads(threads):
    before = fb.get_num_threads()
    with pytest.raises((ValueError, TypeError), match="threads must be an integer from 1 to"):
        fb.set_num_threads(threads)
    assert fb.get_num_threads() == before


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "net.npz"
    make_net().save(path)
    return path


@pytest.mark.parametrize("keep", [0, 1, 4, 100, 0.5, 0.9, -1])
def test_truncated_networks(keep, saved):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match=r"net.npz is not a network saved by fastbp, or is damaged"):
        fb.Sequential.load(saved)


def test_every_flipped_byte_is_noticed_or_harmless(tmp_path):
    """Zip keeps a checksum of the contents; of its own headers it does not, and they make zipfile raise all sorts."""
    path, damaged = tmp_path / "net.npz", tmp_path / "damaged.npz"
    net = fb.Sequential(fb.Affine(1), input_shape=1, seed=0)
    net.save(path)
    whole = path.read_bytes()
    for i in range(len(whole)):
        damaged.write_bytes(whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :])
        try:
            loaded = fb.Sequential.load(damaged)
        except ValueError as error:
            assert "damaged.npz is not a network saved by fastbp" in str(error)  # noqa: PT017
        else:
            assert_same_weights(loaded, net)


def foreign(path, **changes):
    """The file with some of its arrays changed, or taken out with None."""
    with np.load(path) as archive:
        arrays = {**archive, **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": None}, "config is missing"),
        ({"config": np.array("{")}, "damaged"),
        ({"config": np.array("[]")}, "no fastbp configuration"),
        ({"config": np.array("[" * 100_000)}, "damaged"),
        ({"config": np.zeros(3)}, "damaged"),
        ({"config": np.array([{}])}, "damaged"),
        ({"affine_1.w": None}, "affine_1.w is missing"),
        ({"affine_1.w": np.zeros((3, 3))}, r"affine_1.w must have the shape \(8, 64\), got \(3, 3\)"),
        ({"affine_1.w": np.zeros((8, 64), complex)}, "damaged: .*(real|complex)"),
        ({"affine_1.w": np.full((8, 64), "1")}, "damaged"),
        ({"more": np.zeros(3)}, "unknown arrays more"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_foreign_archives(changes, message, saved):
    foreign(saved, **changes)
    with pytest.raises(ValueError, match=message):
        fb.Sequential.load(saved)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"version": 1', '"version": 99'),
        ('"float32"', '"int8"'),
        ('"float32"', '"foo"'),
        ('"float32"', "null"),
        ('"ReLU"', '"NoSuchLayer"'),
        ('"n": 8', '"n": -8'),
        ('"n": 8', '"n": 1000000000000'),
        ('"n": 8', '"m": 8'),
        ("[64]", "null"),
        ('"PCG64"', '"MT19937"'),
    ],
)
def test_foreign_configurations(old, new, saved):
    with np.load(saved) as archive:
        config = str(archive["config"])
    assert old in config
    foreign(saved, config=np.array(config.replace(old, new)))
    with pytest.raises(ValueError, match="not a network saved by fastbp, or is damaged"):
        fb.Sequential.load(saved)


@pytest.mark.parametrize("content", [b"", b"hello\n", b"PK\x03\x04", b"\x93NUMPY", b"\x80\x04]."])
def test_files_that_are_no_archive(content, tmp_path):
    path = tmp_path / "file.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"file.npz is not a network saved by fastbp") as caught:
        fb.Sequential.load(path)
    assert "allow_pickle" not in str(caught.value)  # no advice to load a foreign file unsafely
    with pytest.raises(ValueError, match=r"file.npz is no readable .npz file") as caught:
        fb.datasets.read_npz(path)
    assert "allow_pickle" not in str(caught.value)


def test_loading_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        fb.Sequential.load(tmp_path / "none.npz")
    with pytest.raises(IsADirectoryError):
        fb.Sequential.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("none/net.npz", FileNotFoundError),
        ("file/net.npz", NotADirectoryError),
        (".", IsADirectoryError),
        pytest.param("n" * 300, OSError, id="long name"),
    ],
)
def test_saving_where_no_file_can_be(name, error, tmp_path):
    (tmp_path / "file").write_text("whole")
    with pytest.raises(error) as caught:
        make_net().save(tmp_path / name)
    assert caught.value.filename == str(tmp_path / name)
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "whole"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc, the folder that not even root can write to")
def test_saving_into_a_folder_that_cannot_be_written():
    with pytest.raises(OSError, match=r"/proc/net.npz"):
        make_net().save("/proc/net.npz")


def test_the_old_file_stays_whole_in_a_read_only_folder(saved):
    whole = saved.read_bytes()
    saved.parent.chmod(0o500)
    try:
        if os.access(saved.parent, os.W_OK):
            pytest.skip("this user, such as root, writes into read-only folders")
        with pytest.raises(PermissionError):
            make_net(seed=1).save(saved)
    finally:
        saved.parent.chmod(0o700)
    assert saved.read_bytes() == whole
    assert os.listdir(saved.parent) == ["net.npz"]


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_the_old_file_stays_whole_when_the_disk_is_full(function, saved, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    whole = saved.read_bytes()
    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match=r"No space left on device.*net.npz"):
        make_net(seed=1).save(saved)
    monkeypatch.undo()
    assert saved.read_bytes() == whole
    assert os.listdir(saved.parent) == ["net.npz"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_what_is_no_regular_file_is_not_replaced(tmp_path):
    """Saving to a named pipe, or to /dev/null, must not put a regular file in its place."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe"):
        make_net().save(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


# --- through the command line -----------------------------------------------------------------------------------------

COLUMN_4 = np.arange(60) == 4
BAD_DATA = {
    "nothing": ({"x": X[:0], "y": Y[:0]}, "no samples"),
    "one sample": ({"x": X[:1], "y": Y[:1]}, "at least 2 samples"),
    "no y": ({"x": X}, "has no array 'y'; it holds x"),
    "no x": ({"y": Y}, "has no array 'x'; it holds y"),
    "no arrays": ({}, "has no array 'x'; it holds none"),
    "lengths": ({"x": X[:50], "y": Y}, "same length"),
    "x number": ({"x": 3.0, "y": Y}, "x must have samples"),
    "no features": ({"x": X[:, :0], "y": Y}, "x "),
    "NaN": ({"x": with_value(X, 4, NAN), "y": Y}, "x must be finite, but row 4 holds nan"),
    "NaN in the test set": ({"x": with_value(X, 16, NAN), "y": Y}, "x must be finite, but row 16 holds nan"),
    "too large": ({"x": with_value(X.astype(float), 4, 1e300), "y": Y}, "row 4 "),
    "complex": ({"x": X + 0j, "y": Y}, "x must hold real numbers, got dtype complex64"),
    "objects": ({"x": X.astype(object), "y": Y}, "Object arrays cannot be loaded"),
    "text": ({"x": X.astype(str), "y": Y}, "x must hold real numbers, got dtype <U"),
    "float labels": ({"x": X, "y": Y * 1.0}, "y must hold class indices (integers) or 1-of-K rows, got float64"),
    "negative label": ({"x": X, "y": np.where(COLUMN_4, -1, Y)}, "labels must be from 0 to 9, but row 4 has -1"),
    "huge label": ({"x": X, "y": np.where(COLUMN_4, 10**12, Y)}, "1000000000000"),
    "unsigned label": ({"x": X, "y": np.where(COLUMN_4, 2**64 - 1, Y.astype("u8"))}, "18446744073709551615"),
    "column of labels": ({"x": X, "y": Y[:, None]}, "(60, 1)"),
    "1-of-K sum": ({"x": X, "y": with_value(ONE_OF_K, 4, 0.5)}, "sum to 1, but row 4 sums to 1.5"),
    "rank of y": ({"x": X, "y": ONE_OF_K[:, None]}, "(60, 1, 10)"),
}


@pytest.fixture
def failing(capfd):
    """Run a command line that must fail; gives its one line on standard error."""

    def run(*arguments):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            status = main([*map(str, arguments)])
        err = capfd.readouterr().err
        assert not caught  # each would be further lines on standard error
        assert status == 2, err
        assert len(err.splitlines()) == 1, err
        assert err.startswith(f"fastbp {arguments[0]}: ")
        return err

    return run


@pytest.mark.parametrize(("arrays", "message"), BAD_DATA.values(), ids=BAD_DATA)
def test_train_refuses_data(arrays, message, failing, tmp_path):
    np.savez(tmp_path / "data.npz", **arrays)
    assert message in failing("train", "--data", tmp_path / "data.npz", "--hidden", 4, "--epochs", 1)


BAD_SAMPLES_TO_PREDICT = {
    "features": ({"x": X[:, :63]}, "x must have the shape (N, 64), got (60, 63)"),
    "rank": ({"x": X.reshape(60, 8, 8)}, "x must have the shape (N, 64), got (60, 8, 8)"),
    "no x": ({"y": Y}, "has no array 'x'; it holds y"),
    "complex": ({"x": X + 0j}, "x must hold real numbers"),
    "objects": ({"x": X.astype(object)}, "Object arrays cannot be loaded"),
}


@pytest.mark.parametrize(("arrays", "message"), BAD_SAMPLES_TO_PREDICT.values(), ids=BAD_SAMPLES_TO_PREDICT)
def test_predict_refuses_data(arrays, message, failing, saved, tmp_path):
    np.savez(tmp_path / "data.npz", **arrays)
    assert message in failing("predict", saved, "--data", tmp_path / "data.npz")


@pytest.fixture
def good(tmp_path):
    np.savez(tmp_path / "good.npz", x=X, y=Y)
    return tmp_path / "good.npz"


def test_files_that_are_not_there_are_named_as_such(failing, saved, good, tmp_path):
    missing = tmp_path / "missing.npz"
    for arguments in (
        ("train", "--data", missing),
        ("train", "--data", missing, missing),
        ("predict", missing, "--data", good),
        ("predict", saved, "--data", missing),
    ):
        assert f"{missing}: No such file or directory" in failing(*arguments)
    assert "Is a directory" in failing("train", "--data", tmp_path)


@pytest.mark.parametrize("keep", [0, 10, 0.5, -1])
def test_truncated_files(keep, failing, saved, good, tmp_path):
    broken = tmp_path / "broken.npz"
    for source in (good, saved):
        whole = source.read_bytes()
        broken.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
        command = ("train", "--data", broken) if source is good else ("predict", broken, "--data", good)
        assert "broken.npz" in failing(*command)


def test_foreign_files(failing, saved, good):
    assert "is not a network saved by fastbp" in failing("predict", good, "--data", good)
    assert "has no array 'x'" in failing("train", "--data", saved)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0\0\x08", id="three bytes"),
        pytest.param(b"\0\0\x07\1\0\0\0\1x", id="unknown type"),
        pytest.param(b"\0\0\x08\1\0\0\0\2x", id="too short"),
        pytest.param(b"\0\0\x08\1\0\0\0\1xx", id="too long"),
        pytest.param(b"\0\0\x08\2\0\0\0\1", id="header cut off"),
        pytest.param(b"\0\0\x08\xff" + 255 * b"\0\0\0\1" + b"x", id="255 dimensions"),
        pytest.param(b"\0\0\x08\3" + 2 * b"\xff\xff\xff\xff" + b"\0\0\0\0", id="huge and empty"),
        pytest.param(b"\x1f\x8b", id="gzip cut off"),
        pytest.param(b"\x1f\x8b" + 30 * b"x", id="gzip damaged"),
    ],
)
def test_damaged_idx_files(content, failing, tmp_path):
    (tmp_path / "images").write_bytes(content)
    (tmp_path / "labels").write_bytes(b"\0\0\x08\1\0\0\0\1\0")
    assert str(tmp_path / "images") in failing("train", "--data", tmp_path / "images", tmp_path / "labels")


@pytest.mark.parametrize("units", [10**12, 10**30])
def test_huge_networks(units, failing, good):
    assert str(units) in failing("train", "--data", good, "--hidden", units, "--epochs", 1)


@pytest.mark.parametrize("place", ["none/net.npz", "good.npz/net.npz", "."])
@pytest.mark.parametrize("command", ["train", "predict"])
def test_places_that_cannot_be_written_are_refused_before_the_work(command, place, failing, good, saved, tmp_path):
    whole = good.read_bytes()
    place = tmp_path / place
    if command == "train":
        err = failing("train", "--data", good, "--epochs", 10**9, "--save", place)
    else:
        err = failing("predict", saved, "--data", good, "--out", place)
    assert str(place) in err
    assert good.read_bytes() == whole


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc, the folder that not even root can write to")
def test_a_folder_that_only_seems_writable_is_refused_before_the_work(failing, good):
    """To root every folder seems writable; a file system may still refuse, and then the training must not be lost."""
    assert "/proc/net.npz" in failing("train", "--data", good, "--hidden", 4, "--epochs", 1, "--save", "/proc/net.npz")


@pytest.mark.parametrize("option", ["--save", "--out"])
def test_an_empty_file_name_is_not_ignored(option, failing, good, saved, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    if option == "--save":
        failing("train", "--data", good, "--hidden", 4, "--epochs", 1, "--save", "")
    else:
        failing("predict", saved, "--data", good, "--out", "")


def test_a_failed_out_leaves_the_old_file_whole(failing, good, saved, tmp_path, monkeypatch):
    shutil.copy(good, tmp_path / "out.npz")
    whole = good.read_bytes()

    def savez(file, **arrays):
        file.write(b"PK")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez", savez)
    assert "out.npz: No space left on device" in failing(
        "predict", saved, "--data", good, "--out", tmp_path / "out.npz"
    )
    assert (tmp_path / "out.npz").read_bytes() == whole


def test_an_impossible_number_of_threads_in_the_environment(failing, good, monkeypatch):
    from fastbp.kernels import _runtime

    monkeypatch.setitem(_runtime._state, "team", 0)
    monkeypatch.setenv("FASTBP_NUM_THREADS", "many")
    assert "FASTBP_NUM_THREADS must be an integer from 1 to" in failing("info")
