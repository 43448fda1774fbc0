"""Entry points: one compilation per dtype, and errors of one line that name the argument."""

import importlib

import numpy as np
import pytest
import strategies
from numba import types

from fastbp import kernels
from fastbp.kernels import _jit

MODULES = ("activation", "affine", "gemm", "loss", "optim", "softmax")


def entry_points():
    for name in MODULES:
        module = importlib.import_module(f"fastbp.kernels.{name}")
        for value in vars(module).values():
            if isinstance(value, _jit.Kernel):
                yield pytest.param(value, id=f"{name}.{value.function.__name__}")


EVERY = pytest.mark.parametrize("entry", list(entry_points()))


@EVERY
def test_only_arrays_pointers_and_numbers_are_passed(entry):
    # functions, closures and ctypes pointers could not be cached
    for real in (types.float32, types.float64):
        for argument in entry.signature(real):
            assert isinstance(argument, types.Array | types.Integer | types.Float)


@EVERY
def test_inputs_are_read_only_and_of_the_dtype(entry):
    arrays = [argument for argument in entry.signature(types.float32) if isinstance(argument, types.Array)]
    assert all(argument.dtype in (types.float32, types.float64, types.int64) for argument in arrays)
    assert not arrays[0].mutable
    assert any(argument.mutable for argument in arrays)


@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_layouts_share_one_compilation(dtype, monkeypatch):
    def run(a, b, out):
        kernels.matmul(a, b, out)
        kernels.relu_forward(a, out)
        kernels.softmax_forward(a, out)
        kernels.squared_error(a, b, 1.0, out)
        kernels.sgd_update(a, out, 0.1)

    x = np.ones((5, 5), dtype)
    run(x, x, np.empty_like(x))

    def fail(*_):
        raise AssertionError("compiled again")

    monkeypatch.setattr(_jit.Kernel, "_compile", fail)
    monkeypatch.setattr(_jit.Task, "_compile", fail)
    for order in strategies.ORDERS:
        for out_order in strategies.OUT_ORDERS:
            run(strategies.lay_out(x, order), x, strategies.blank(x.shape, dtype, out_order))


def test_one_signature():
    @_jit.kernel(lambda real: (_jit.vector(real), _jit.vector(real, out=True), real))
    def scale(x, out, factor):
        for i in range(x.size):
            out[i] = factor * x[i]

    x, out = np.ones(3, np.float32), np.empty(3, np.float32)
    for factor in (2.0, 2, np.float32(2)):
        scale.compiled(x.dtype)(x, out, factor)
        np.testing.assert_array_equal(out, 2)
    assert list(scale._compiled) == ["f"]
    assert len(scale._compiled["f"].signatures) == 1


CALLS = {
    "x": lambda x, good: kernels.relu_forward(x, good),
    "dy": lambda x, good: kernels.relu_backward(x, good, good.copy()),
    "a": lambda x, good: kernels.matmul(x, good, good.copy()),
    "g": lambda x, good: kernels.sgd_update(x, good, 0.1),
    "u": lambda x, good: kernels.softmax_cross_entropy(x, good, good.copy()),
    "y": lambda x, good: kernels.squared_error(x, good, 1.0, good.copy()),
    "delta": lambda x, good: kernels.affine_bias_gradient(x, good[0].copy()),
}


@pytest.mark.parametrize(
    "dtype", ["float16", "int32", "int64", "bool", "complex64", "object", "longdouble", ">f4", ">f8"]
)
@pytest.mark.parametrize("name", list(CALLS))
def test_other_dtypes_are_refused(name, dtype):
    x = np.ones((3, 3), dtype)
    if x.dtype == np.float64 and x.dtype.isnative:
        pytest.skip("this dtype is float64 here")
    with pytest.raises(TypeError, match=rf": {name} must be float32 or float64 in native byte order, got") as caught:
        CALLS[name](x, np.ones((3, 3)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "field", [[("value", np.float32), ("flag", np.int8)], [("flag", np.int8), ("value", np.float64)]]
)
def test_unaligned_arrays_are_copied_or_refused(field):
    x = np.zeros(7, field)["value"]
    x[...] = np.arange(-3, 4)
    out = np.empty(7, x.dtype)
    try:
        kernels.relu_forward(x, out)
    except (TypeError, ValueError) as error:
        message = str(error)
    else:
        message = "aligned"
        np.testing.assert_array_equal(out, np.maximum(x, 0))
    assert "align" in message
    assert "\n" not in message


def test_factors_that_are_no_numbers_are_refused_in_one_line():
    with pytest.raises((TypeError, ValueError)) as caught:
        kernels.sgd_update(np.ones(3), np.ones(3), "fast")
    assert "\n" not in str(caught.value)
