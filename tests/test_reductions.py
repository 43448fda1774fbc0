"""Maximum and sum of every length around the vectors, exactly."""

import numpy as np
import pytest
from numba import njit

from fastbp.kernels import reductions

maximum, total = reductions.maximum, reductions.total
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
