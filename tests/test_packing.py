"""Copies of lines: as many elements as there are, and none where there are none or less."""

import numpy as np
import pytest
import strategies

from fastbp.kernels._jit import array, index, kernel
from fastbp.kernels._pointers import pointer, shift
from fastbp.kernels.packing import copy_line, deinterleave


@kernel(lambda real: (array(real, 1, layout="C"), array(real, 1, out=True, layout="C"), index, index))
def copied(source, target, start, count):
    copy_line(shift(pointer(source), start), count, shift(pointer(target), start))


@kernel(lambda real: (array(real, 1, layout="C"), *[array(real, 1, out=True, layout="C")] * 2, index, index))
def parted(source, even, odd, start, count):
    deinterleave(shift(pointer(source), start), count, shift(pointer(even), start), shift(pointer(odd), start))


@pytest.mark.parametrize("dtype", strategies.DTYPES)
def test_copies(dtype):
    start = 100
    source = np.arange(300.0).astype(dtype)
    for elements in range(-70, 71):
        target, even, odd = (strategies.blank((300,), dtype) for _ in range(3))
        copied.compiled(source.dtype)(source, target, start, elements)
        parted.compiled(source.dtype)(source, even, odd, start, elements)
        count = max(0, elements)
        for made, part in ((target, slice(count)), (even, slice(0, count, 2)), (odd, slice(1, count, 2))):
            wanted, expected = source[start:][part], strategies.blank((300,), dtype)
            expected[start : start + len(wanted)] = wanted
            np.testing.assert_array_equal(made, expected)
