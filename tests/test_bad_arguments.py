"""Arguments that make no sense are refused before anything changes."""

import re

import numpy as np
import pytest
from bad_input import INF, NAN, ONE_OF_K, X, Y, assert_same_weights, fit, make_net, with_value

import fastbp as fb

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


@pytest.mark.parametrize("changes", [{"optimizer": fb.SGD(1e308)}, {"l2": 1e300}], ids=["rate", "decay"])
@pytest.mark.parametrize("optimizer", [fb.SGD, type("Other", (fb.SGD,), {})])
def test_numbers_beyond_the_dtype_are_a_divergence_too(changes, optimizer):
    """They are infinite in float32."""
    changes = {"optimizer": optimizer(0.1), **changes}
    changes["optimizer"] = optimizer(changes["optimizer"].lr)
    convolutional = fb.Sequential(
        *(fb.Conv2d(3, 3), fb.LeakyReLU(1e300), fb.MaxPool2d(2), fb.Conv2d(3, 2), fb.Flatten(), fb.Affine(10)),
        input_shape=(1, 8, 8), seed=0,
    )  # fmt: skip
    for net, x in ((make_net(), X), (convolutional, X.reshape(-1, 1, 8, 8))):
        with pytest.raises(FloatingPointError, match="try a lower rate"):
            fit(x, net=net, epochs=3, **changes)


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
