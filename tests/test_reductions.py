"""Maximum, sums and scalar product of every length around the vectors, exactly."""

import numpy as np
import pytest
from numba import njit

from fastbp.kernels import reductions

maximum, total, dot = reductions.maximum, reductions.total, reductions.dot
total_in_double, squares_in_double = reductions.total_in_double, reductions.squares_in_double
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@njit
def apply(x):
    return maximum(x), total(x)


@DTYPES
@pytest.mark.parametrize("n", [*range(1, 70), 1000])
def test_integers(dtype, n):
    # sums of small integers are exact in any order
    x = np.random.default_rng(n).integers(-99, 99, n).astype(dtype)
    largest, s = apply(x)
    assert (largest, s) == (x.max(), x.sum())


@njit
def apply_others(x, y):
    return dot(x, y), total_in_double(x), squares_in_double(x)


@DTYPES
@pytest.mark.parametrize("n", [*range(70), 1000])
def test_products_of_integers(dtype, n):
    x, y = np.random.default_rng(n).integers(-99, 99, (2, n)).astype(dtype)
    assert apply_others(x, y) == (x @ y, x.sum(), x @ x)


def test_sums_in_double():
    """2^24 and a hundred ones: in float32 each of them would be lost beside it."""
    x = np.ones(101, np.float32)
    x[0] = 2**24
    _, s, squares = apply_others(x, x)
    assert (s, squares) == (2**24 + 100, 2**48 + 100)


@DTYPES
def test_every_place_counts(dtype):
    for n in (1, 7, 16, 33):
        for place in range(n):
            x = np.full(n, -np.inf, dtype)
            x[place] = -3
            assert apply(x)[0] == -3
            x[place] = np.nan
            assert np.isnan(apply(x)[1])


@DTYPES
def test_nothing(dtype):
    assert apply(np.empty(0, dtype)) == (-np.inf, 0)
