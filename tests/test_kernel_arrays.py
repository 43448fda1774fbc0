"""Every public kernel on every kind of array: plain ones in native byte order, whatever Numba has seen before."""

import inspect
import re
from typing import NamedTuple

import numpy as np
import pytest
import reference
import strategies

from fastbp import kernels
from fastbp.kernels.epilogue import LEAKY_RELU, RELU, TANH

ONE_LINE = r"^[^\n]+$"
LABELS, INDEX = np.dtype(np.int64), np.dtype(np.uint8)


class Case(NamedTuple):
    """A call: shapes of the arrays by name, those that are written, and what else the kernel is given."""

    shapes: dict
    outputs: tuple
    rest: dict


def case(outputs, rest=(), **shapes):
    return Case(shapes, tuple(outputs.split()), dict(rest))


NI, NO, OI, O = (3, 4), (3, 5), (5, 4), (5,)
X, W, B, Y = (2, 2, 6, 7), (3, 2, 3, 3), (3,), (2, 3, 4, 5)
POOLED, HALVED, COLUMNS = (2, 3, 2, 2), (2, 2, 3, 3), (2, 18, 20)
ELEMENTWISE = {"x": NI, "out": NI}
GRADIENTS = {"dy": NI, "y": NI, "dx": NI}
FORWARD = {"x": NI, "w": OI, "b": O, "out": NO}
BACKWARD = {"x": NI, "w": OI, "delta": NO, "dx": NI, "dw": OI, "db": O}

CASES = {
    "activation_forward": case("out", {"activation": TANH}, **ELEMENTWISE),
    "activation_backward": case("dx", {"activation": RELU}, **GRADIENTS),
    **{f"{name}_forward": case("out", **ELEMENTWISE) for name in ("identity", "relu", "sigmoid", "tanh")},
    **{f"{name}_backward": case("dx", **GRADIENTS) for name in ("identity", "relu", "sigmoid", "tanh")},
    "leaky_relu_forward": case("out", {"slope": 0.1}, **ELEMENTWISE),
    "leaky_relu_backward": case("dx", {"slope": 0.1}, **GRADIENTS),
    "softmax_forward": case("out", **ELEMENTWISE),
    "softmax_backward": case("dx", **GRADIENTS),
    "log_softmax_forward": case("out", **ELEMENTWISE),
    "log_softmax_backward": case("dx", **GRADIENTS),
    "standardize_forward": case("out", x=NI, mean=NI[1:], std=NI[1:], out=NI),
    "standardize_backward": case("dx", dy=NI, x=NI, mean=NI[1:], std=NI[1:], dx=NI),
    "matmul": case("out", a=NI, b=(4, 5), out=NO),
    "affine_activation_forward": case("out", {"activation": LEAKY_RELU, "slope": 0.1}, **FORWARD),
    **{f"affine_{name}forward": case("out", **FORWARD) for name in ("", "relu_", "sigmoid_", "tanh_")},
    "affine_backward": case("dx dw db", {"l2": 0.1}, dy=NO, x=NI, w=OI, dx=NI, dw=OI, db=O),
    **{
        f"affine_{name}_backward": case("delta dx dw db", {"l2": 0.1}, dy=NO, y=NO, **BACKWARD)
        for name in ("relu", "sigmoid", "tanh")
    },
    "affine_delta": case("dx", delta=NO, w=OI, h=None, dx=NI),
    "affine_delta, sloped": case("dx", {"activation": RELU}, delta=NO, w=OI, h=NI, dx=NI),
    "affine_weight_gradient": case("dw", {"l2": 0.1}, delta=NO, x=NI, w=OI, dw=OI),
    "affine_weight_gradient, added": case(
        "dw", {"l2": 0.1, "accumulate": True}, delta=NO, x=NI, w=OI, dw=OI
    ),
    "affine_weight_gradient, without decay": case("dw", delta=NO, x=NI, w=None, dw=OI),
    "affine_bias_gradient": case("db", delta=NO, db=O),
    "affine_sgd_update": case("w b", {"lr": 0.5, "l2": 0.1}, delta=NO, x=NI, w=OI, b=O),
    "conv_activation_forward": case("out", {"activation": TANH}, x=X, w=W, b=B, out=Y),
    "conv_activation_forward, pooled": case("out index", {"activation": RELU}, x=X, w=W, b=B, out=POOLED, index=POOLED),
    "conv_forward": case("out", x=X, w=W, b=B, out=Y),
    "conv_backward": case("dx dw db", {"l2": 0.1}, dy=Y, x=X, w=W, dx=X, dw=W, db=B),
    "conv_delta": case("dx", {"activation": RELU}, delta=Y, w=W, h=X, dx=X),
    "conv_delta, pooled": case("dx", delta=POOLED, w=W, h=None, dx=X, index=POOLED, y=POOLED),
    "conv_gradient": case("dw db", {"l2": 0.1}, delta=Y, x=X, w=W, dw=W, db=B),
    "conv_sgd_update": case("w b", {"lr": 0.5, "l2": 0.1}, delta=Y, x=X, w=W, b=B),
    "im2col": case("cols", {"size": 3}, x=X, cols=COLUMNS),
    "col2im": case("x", {"size": 3}, cols=COLUMNS, x=X),
    "max_pool_forward": case("out index", {"size": 2}, x=X, out=HALVED, index=HALVED),
    "max_pool_backward": case("dx", {"size": 2}, dy=HALVED, index=HALVED, dx=X),
    "max_pool_delta": case(
        "dx", {"activation": RELU, "slope": 0.0, "size": 2}, dy=HALVED, index=HALVED, y=HALVED, dx=X
    ),
    "avg_pool_forward": case("out", {"size": 2}, x=X, out=HALVED),
    "avg_pool_backward": case("dx", {"size": 2}, dy=HALVED, dx=X),
    "global_avg_pool_forward": case("out", x=X, out=X[:2]),
    "global_avg_pool_backward": case("dx", dy=X[:2], dx=X),
    "softmax_cross_entropy": case("delta", u=NO, t=(3,), delta=NO),
    "softmax_cross_entropy, rows": case("delta", u=NO, t=NO, delta=NO),
    "squared_error": case("delta", {"scale": 0.5}, y=NO, t=NO, delta=NO),
    "sigmoid_cross_entropy": case("delta", {"scale": 0.5}, u=NO, t=NO, delta=NO),
    "sgd_update": case("w", {"lr": 0.5, "l2": 0.1}, g=NI, w=NI),
}  # fmt: skip
ARGUMENTS = [(name, key) for name, case in CASES.items() for key, shape in case.shapes.items() if shape is not None]
INPUTS = [(name, key) for name, key in ARGUMENTS if key not in CASES[name].outputs]
OUTPUTS = [(name, key) for name, key in ARGUMENTS if key in CASES[name].outputs]

DTYPES = pytest.mark.parametrize("dtype", strategies.DTYPES)


def of(pairs):
    return pytest.mark.parametrize(("name", "key"), pairs, ids=lambda text: text)


def arrays_for(name, dtype):
    rng = np.random.default_rng(0)
    arrays = {}
    for key, shape in CASES[name].shapes.items():
        if key == "index":
            arrays[key] = rng.integers(0, 4, shape).astype(INDEX)
        elif shape == (3,) and key == "t":
            arrays[key] = rng.integers(0, 5, shape).astype(LABELS)
        else:
            arrays[key] = None if shape is None else rng.uniform(0.1, 1, shape).astype(dtype)
    return arrays


def call(name, arrays, **changes):
    """What the kernel returns and writes."""
    given = dict(arrays)
    if name.endswith("pooled"):
        given["pool"] = kernels.Pooled(given.pop("index"), 2, y=given.pop("y", None))
    value = getattr(kernels, name.partition(",")[0])(**given, **CASES[name].rest | changes)
    return [np.float64(value or 0), *(np.array(arrays[key], copy=True, subok=False) for key in CASES[name].outputs)]


def assert_refused(name, arrays, key, pattern, errors=TypeError):
    """One line that names the kernel and the argument, and nothing is written."""
    before = {other: None if x is None else np.array(x, subok=False) for other, x in arrays.items()}
    with pytest.raises(errors) as caught:
        call(name, arrays)
    text = str(caught.value)
    assert type(caught.value) in (TypeError, ValueError), repr(caught.value)
    assert "\n" not in text
    assert re.search(rf"\b{key}\b", text), text
    assert re.search(pattern, text), text
    for other in CASES[name].outputs:
        if other != key:
            np.testing.assert_array_equal(arrays[other], before[other])


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


@pytest.fixture(scope="module", autouse=True)
def primed():
    """Numba has seen read-only arrays of every kind, and remembers them."""
    for dtype in strategies.DTYPES:
        for name, given in CASES.items():
            arrays = arrays_for(name, dtype)
            call(name, {k: x if x is None or k in given.outputs else read_only(x) for k, x in arrays.items()})


def test_every_public_kernel_has_a_case():
    public = {name for name, value in vars(kernels).items() if inspect.isfunction(value) and name[0] != "_"}
    assert {name.partition(",")[0] for name in CASES} == public - {"index_dtype"}


@DTYPES
@of(ARGUMENTS)
def test_byte_swapped_arrays_are_refused(name, key, dtype):
    arrays = arrays_for(name, dtype)
    if arrays[key].itemsize == 1:
        pytest.skip("one byte has no order")
    swapped = arrays[key].astype(arrays[key].dtype.newbyteorder("S"))
    assert_refused(name, arrays | {key: swapped}, key, swapped.dtype.str)
    if key not in CASES[name].outputs:
        assert_refused(name, arrays | {key: read_only(swapped)}, key, swapped.dtype.str)


@DTYPES
@pytest.mark.parametrize("name", CASES)
def test_arrays_that_are_all_byte_swapped_are_refused(name, dtype):
    arrays = {
        key: x if x is None or x.itemsize == 1 or key == "t" else read_only(x.astype(x.dtype.newbyteorder("S")))
        for key, x in arrays_for(name, dtype).items()
    }
    with pytest.raises(TypeError, match=r"must be float32 or float64 in native byte order, got >f\d"):
        call(name, arrays)


@of(ARGUMENTS)
def test_masked_arrays_are_refused(name, key):
    arrays = arrays_for(name, np.float64)
    masked = np.ma.array(arrays[key], mask=arrays[key] > 0.5)
    assert_refused(name, arrays | {key: masked}, key, "is a masked array; fill it first")
    if key not in CASES[name].outputs:
        masked.flags.writeable = False
        assert_refused(name, arrays | {key: masked}, key, "is a masked array; fill it first")


class Own(np.ndarray):
    """A subclass that shows other elements than it has in memory."""

    def __getitem__(self, key):
        return -np.asarray(self)[key]


def memory_map(x):
    made = np.memmap(memory_map.folder / "array", x.dtype, "w+", shape=x.shape)
    made[...] = x
    return made


SUBCLASSES = {
    "memmap": memory_map,
    "own": lambda x: x.view(Own),
    "matrix": lambda x: x.view(np.matrix) if x.ndim == 2 else x,
    "read-only matrix": lambda x: read_only(x.view(np.matrix)) if x.ndim == 2 else x,
}


@DTYPES
@pytest.mark.parametrize("kind", SUBCLASSES)
@pytest.mark.parametrize("name", CASES)
def test_of_subclasses_only_the_memory_counts(name, kind, dtype, tmp_path):
    memory_map.folder = tmp_path
    expected = call(name, arrays_for(name, dtype))
    for key, x in arrays_for(name, dtype).items():
        if x is None or (kind.startswith("read-only") and key in CASES[name].outputs):
            continue
        actual = call(name, arrays_for(name, dtype) | {key: SUBCLASSES[kind](x)})
        for a, b in zip(actual, expected, strict=True):
            reference.assert_bitwise(a, b)


@DTYPES
@pytest.mark.parametrize("name", CASES)
def test_inputs_may_be_read_only(name, dtype):
    expected, arrays = call(name, arrays_for(name, dtype)), arrays_for(name, dtype)
    given = {k: x if x is None or k in CASES[name].outputs else read_only(x) for k, x in arrays.items()}
    for a, b in zip(call(name, given), expected, strict=True):
        reference.assert_bitwise(a, b)


@of(OUTPUTS)
def test_outputs_that_are_read_only_are_refused(name, key):
    arrays = arrays_for(name, np.float64)
    for kind in (np.ndarray, np.matrix, Own):
        if kind is not np.matrix or arrays[key].ndim == 2:
            assert_refused(name, arrays | {key: read_only(arrays[key].view(kind))}, key, "must be writable")


def unaligned(x):
    made = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    made[...] = x
    return made


@DTYPES
@of(ARGUMENTS)
def test_unaligned_arrays_are_copied_or_refused(name, key, dtype):
    expected, arrays = call(name, arrays_for(name, dtype)), arrays_for(name, dtype)
    if arrays[key].itemsize == 1:
        pytest.skip("a byte is always aligned")
    arrays[key] = unaligned(arrays[key])
    if key in CASES[name].outputs:
        assert_refused(name, arrays, key, "aligned")
        return
    try:
        actual = call(name, arrays)
    except TypeError:
        assert_refused(name, arrays, key, "is not aligned to its dtype; copy it first")
    else:
        for a, b in zip(actual, expected, strict=True):
            reference.assert_bitwise(a, b)


def test_of_empty_arrays_addresses_do_not_matter():
    def empty(*shape):
        return np.ndarray(shape, np.float64, np.zeros(9, np.uint8), offset=1)

    out = np.ones((2, 3))
    kernels.matmul(empty(2, 0), empty(0, 3), out)
    assert not out.any()
    kernels.matmul(np.ones((2, 3)), empty(3, 0), empty(2, 0))
    kernels.relu_forward(empty(0), empty(0))
    kernels.softmax_forward(empty(0, 3), empty(0, 3))
    kernels.sgd_update(empty(0), empty(0), 0.1)
    db = np.ones(3)
    kernels.affine_bias_gradient(empty(0, 3), db)
    assert not db.any()


@of(ARGUMENTS)
def test_what_is_no_array_of_numbers_is_refused(name, key):
    arrays = arrays_for(name, np.float64)
    x = arrays[key]
    odd = [x.astype(object), x.astype(complex), x.astype(np.float16), x.astype(str), x.tolist(), 3.0, "x"]
    for value in [*odd, *([] if key in ("b", "db", "dw", "dx", "h", "y") else [None])]:
        assert_refused(name, arrays | {key: value}, key, "", (TypeError, ValueError))


@of(ARGUMENTS)
def test_shapes_that_do_not_fit_are_refused(name, key):
    arrays = arrays_for(name, np.float64)
    with pytest.raises((TypeError, ValueError), match=ONE_LINE):
        call(name, arrays | {key: arrays[key][None, None]})


NUMBERS = [
    (name, key)
    for name, given in CASES.items()
    for key, value in given.rest.items()
    if type(value) is float
]  # fmt: skip


@of(NUMBERS)
def test_numbers_beyond_the_dtype_become_infinite(name, key):
    """Warnings are errors here."""
    for value in (1e300, 10**50, np.float64(1e300), np.inf):
        arrays = arrays_for(name, np.float32)
        returned, *written = call(name, arrays, **{key: value})
        if key != "slope":  # that of a rectifier which is not leaky counts for nothing
            assert not np.isfinite(returned) or not all(np.isfinite(x).all() for x in written)


@of(NUMBERS)
def test_what_is_no_number_is_refused(name, key):
    for value in (None, "a", [1.0], 1j, 10**400, np.ones(3)):
        if key == "slope" and not ("leaky" in name or CASES[name].rest.get("activation") == LEAKY_RELU):
            continue
        arrays = arrays_for(name, np.float64)
        before = {k: x if x is None else x.copy() for k, x in arrays.items()}
        with pytest.raises((TypeError, ValueError), match=rf"^\w+: [^\n]*\b{key}\b[^\n]*$"):
            call(name, arrays, **{key: value})
        for k, x in arrays.items():
            np.testing.assert_array_equal(x, before[k])
