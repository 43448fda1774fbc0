"""Hypothesis strategies, named by the dimensions of the arrays they make, and arrays in every memory layout."""

import numpy as np
from hypothesis import strategies as st

from fastbp.kernels import _cpu

DTYPES = (np.float32, np.float64)
SENTINEL = -7.25


def _around(sizes):
    return {size + step for size in sizes for step in (-1, 0, 1)}


_TILES = [_cpu.blocks(4), _cpu.blocks(8)]
# nothing, one, small primes, and one less and more than a tile
SIZES = sorted({0, 1, 2, 3, 5, 7, 13, 31, 67} | _around(b.mr for b in _TILES) | _around(b.nr for b in _TILES))
# the same for k, and one less and more than one and two panels
DEPTHS = sorted({0, 1, 2, 3, 7, 31, 97} | _around(b.kc for b in _TILES) | {2 * b.kc + 1 for b in _TILES})

ORDERS = ("C", "F", "transposed", "every other", "every other row", "reversed", "read-only")
OUT_ORDERS = ORDERS[:-1]

dtypes = st.sampled_from(DTYPES)
orders = st.sampled_from(ORDERS)
out_orders = st.sampled_from(OUT_ORDERS)
seeds = st.integers(0, 2**16)
sizes = st.sampled_from(SIZES)
MN = st.tuples(sizes, sizes)
MNK = st.tuples(sizes, sizes, st.sampled_from(DEPTHS))
NIO = st.tuples(sizes, sizes, sizes)


def window_axis(image, size=4):
    """(image, size, stride, dilation, (before, behind)) of an axis: often what is usual, and sometimes padding beyond
    the reach of a window, windows farther apart than images are long, and elements farther apart than that.
    """
    side = st.sampled_from([0, 0, 1, 1, 2, 3, 13])
    strides, dilations = st.sampled_from([1, 1, 2, 2, 3, 5, 30]), st.sampled_from([1, 1, 1, 2, 3, 11])
    return st.tuples(st.integers(1, image), st.integers(1, size), strides, dilations, st.tuples(side, side))


# 0 to 3 dimensions; the larger ones take several chunks of an elementwise kernel
any_shape = st.one_of(
    st.just(()),
    st.tuples(st.sampled_from([0, 1, 7, 31, 16_383, 16_384, 16_385, 50_000])),
    MN,
    st.tuples(*[st.sampled_from([0, 1, 2, 3, 5, 13])] * 3),
)


def lay_out(x, order):
    """``x`` in another memory layout."""
    if x.ndim == 0:
        order = {"read-only": order}.get(order, "C")
    if order == "C":
        return np.array(x, order="C")
    if order == "F":
        return np.array(x, order="F")
    if order == "transposed":
        return np.ascontiguousarray(x.T).T
    if order == "read-only":
        result = np.array(x)
        result.flags.writeable = False
        return result
    if order == "reversed":
        return np.array(x[::-1])[::-1]
    if order == "every other row":
        whole = np.full((2 * x.shape[0] + 1, *x.shape[1:]), SENTINEL, x.dtype)
        view = whole[1::2]
    else:
        whole = np.full((*x.shape[:-1], 2 * x.shape[-1] + 1), SENTINEL, x.dtype)
        view = whole[..., 1::2]
    view[...] = x
    return view


def normal(seed, shape, dtype, order="C"):
    """Normal numbers from a seed, in a memory layout."""
    return lay_out(np.asarray(np.random.default_rng(seed).standard_normal(shape), dtype), order)


def blank(shape, dtype, order="C"):
    """An output full of NaN, which no result may depend on."""
    return lay_out(np.full(shape, np.nan, dtype), order)


def guarded(shape, dtype, margin=37):
    """A matrix of sentinels and a view inside it that a kernel may write."""
    whole = np.full((shape[0] + 2 * margin, shape[1] + 2 * margin), SENTINEL, dtype)
    return whole, whole[margin : margin + shape[0], margin : margin + shape[1]]


def untouched(whole, shape, margin=37):
    """Whether everything around the view of `guarded` is as it was."""
    around = np.ones(whole.shape, bool)
    around[margin : margin + shape[0], margin : margin + shape[1]] = False
    return bool((whole[around] == SENTINEL).all())
