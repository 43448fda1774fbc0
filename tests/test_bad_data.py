"""Samples and targets that make no sense are refused by name; odd but meaningful ones work."""

import numpy as np
import pytest
from bad_input import INF, NAN, ONE_OF_K, Table, X, Y, assert_same_weights, fit, make_net, weights, with_value

import fastbp as fb

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
