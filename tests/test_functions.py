"""exp, log(1 + e^x), sigmoid and tanh: within 2 ulp over the whole range of both formats, 4 without multiply-add."""

import numpy as np
import pytest
import reference
from numba import njit

from fastbp.kernels import _cpu, functions

NAMES = ("exp", "sigmoid", "tanh", "log1p_exp")
EVERY = pytest.mark.parametrize("name", NAMES)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
ULP = 2 if _cpu.FEATURES & {"fma", "neon"} else 4
STEP = 1009  # a prime number of bit patterns from one float32 to the next that is tried

exp, sigmoid, tanh, log1p_exp = functions.exp, functions.sigmoid, functions.tanh, functions.log1p_exp


@njit(error_model="numpy")
def _apply(x, exps, sigmoids, tanhs, logarithms):
    for i in range(x.size):
        exps[i] = exp(x[i])
    for i in range(x.size):
        sigmoids[i] = sigmoid(x[i])
    for i in range(x.size):
        tanhs[i] = tanh(x[i])
    for i in range(x.size):
        logarithms[i] = log1p_exp(-abs(x[i]))


def apply(name, x):
    results = {key: np.empty_like(x) for key in NAMES}
    _apply(np.ascontiguousarray(x), *results.values())
    return results[name]


def wide_reference(name, x):
    """The function in the widest format there is, which is better than float64 on x86 and enough for float32."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if name == "tanh":
            return np.tanh(x)
        if name == "log1p_exp":
            return np.log1p(np.exp(-abs(x)))
        e = np.exp(x if name == "exp" else -abs(x))
        return e if name == "exp" else np.where(x < 0, e, 1) / (1 + e)


def assert_within_ulp(name, x, wide):
    y = apply(name, x)
    expected = wide_reference(name, x.astype(wide))
    with np.errstate(over="ignore", under="ignore"):
        rounded = expected.astype(x.dtype)
    finite = np.isfinite(rounded)
    error = abs(y[finite] - expected[finite]) / np.spacing(abs(rounded[finite]))
    worst = np.argmax(error)
    assert error[worst] <= ULP, f"{name}({x[finite][worst]!r}) is {error[worst]} ulp off"
    np.testing.assert_array_equal(y[~finite], np.inf)


@EVERY
def test_float32_over_all_bit_patterns(name):
    x = np.arange(0, 2**32, STEP, dtype=np.uint32).view(np.float32)
    assert_within_ulp(name, x[np.isfinite(x)], np.float64)


@EVERY
def test_float32_where_it_bends(name):
    x = np.linspace(-110, 110, 1_000_003, dtype=np.float32)
    assert_within_ulp(name, x, np.float64)


@EVERY
@pytest.mark.skipif(np.finfo(np.longdouble).eps >= 2**-60, reason="no wider format than float64")
def test_float64(name):
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [
            rng.uniform(-750, 750, 300_000),  # exp from subnormal to infinite
            rng.uniform(-746, -708, 100_000),  # subnormal results
            rng.uniform(-1, 1, 200_000),
            rng.choice([-1, 1], 100_000) * 2.0 ** rng.uniform(-1074, 1000, 100_000),
        ]
    )
    assert_within_ulp(name, x, np.longdouble)


@DTYPES
def test_special_values(dtype):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e4, -1e4, np.finfo(dtype).max, np.finfo(dtype).min], dtype)
    np.testing.assert_array_equal(apply("exp", x), [np.nan, np.inf, 0, 1, 1, np.inf, 0, np.inf, 0])
    np.testing.assert_array_equal(apply("sigmoid", x), [np.nan, 1, 0, 0.5, 0.5, 1, 0, 1, 0])
    ln2 = np.log(dtype(2))
    np.testing.assert_array_equal(apply("log1p_exp", x), [np.nan, 0, 0, ln2, ln2, 0, 0, 0, 0])
    y = apply("tanh", x)
    np.testing.assert_array_equal(y, [np.nan, 1, -1, 0, 0, 1, -1, 1, -1])
    np.testing.assert_array_equal(np.signbit(y[3:5]), [False, True])


@DTYPES
def test_underflow_is_gradual(dtype):
    tiny, least = np.finfo(dtype).tiny, np.finfo(dtype).smallest_subnormal
    x = np.log(np.array([0.5, 0.25, 2.0**-10]) * float(tiny)).astype(dtype)
    for name in ("exp", "sigmoid"):
        y = apply(name, x)
        assert (y > 0).all()
        assert (y < tiny).all()
    subnormal = np.array([least, -least, 3 * least, tiny / 2], dtype)
    np.testing.assert_array_equal(apply("tanh", subnormal), subnormal)


@DTYPES
@EVERY
def test_ranges_and_symmetry(dtype, name):
    x = np.linspace(-40, 40, 100_003, dtype=dtype)
    y = apply(name, x)
    low, high = {"exp": (0, np.inf), "sigmoid": (0, 1), "tanh": (-1, 1), "log1p_exp": (0, np.log(dtype(2)))}[name]
    assert (y >= low).all()
    assert (y <= high).all()
    if name == "tanh":
        reference.assert_bitwise(apply(name, -x), -y)


@DTYPES
@EVERY
def test_remainder_rounds_like_vectors(dtype, name):
    x = np.random.default_rng(0).normal(0, 5, 1003).astype(dtype)
    whole = apply(name, x)
    for start, stop in [(0, 1), (1, 1003), (5, 20), (1000, 1003)]:
        reference.assert_bitwise(apply(name, x[start:stop]), whole[start:stop])
