"""Optimizers: updates of a parameter in place."""

import numpy as np
from numba import prange

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import CHUNK, alike, check_number, flat, same_or_distinct, unflat, vectors
from fastbp.kernels._entry import REFUSED
from fastbp.kernels._jit import inner, kernel, vector
from fastbp.kernels._pointers import is_aligned, overlap_shifted

# Time of one element in multiply-adds of the matrix product: three streams of memory.
_WORK_PER_ELEMENT = 20


@inner
def _update(g, w, lr, decay):
    for i in range(w.size):
        w[i] -= lr * (g[i] + decay * w[i])


@kernel(lambda real: (vector(real), vector(real, out=True), real, real))
def _sgd_update(g, w, lr, l2):
    n = w.size
    if g.size != n:
        raise ValueError("g and w must have the same size")
    if not (is_aligned(g) and is_aligned(w)):
        raise ValueError("g and w must be aligned")
    if overlap_shifted(g, w):
        raise ValueError("the output overlaps an input that is another array")
    for chunk in prange((n + CHUNK - 1) // CHUNK):
        start, stop = chunk * CHUNK, min(n, (chunk + 1) * CHUNK)
        _update(g[start:stop], w[start:stop], lr, l2 + l2)  # a loop from 0 to the size is done in vectors


def sgd_update(g, w, lr, l2=0.0):
    """One step of gradient descent in place: w <- w - lr (g + 2 l2 w).

    Parameters
    ----------
    g : ndarray, float32 or float64, any shape
        Gradient of the loss by w, without the decay term.
    w : ndarray, same shape and dtype
        Parameter, updated in place.
    lr, l2 : float
        Learning rate and weight decay: the penalty is l2 times the sum of w squared.

    Raises
    ------
    ValueError
        When the shapes differ.
    TypeError
        When the dtypes differ or are neither float32 nor float64.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import kernels
    >>> w = np.array([3.0])
    >>> kernels.sgd_update(np.array([3.0]), w, 0.5)
    >>> w
    array([1.5])
    """
    if type(lr) is not float or type(l2) is not float:
        check_number("sgd_update", lr=lr, l2=l2)
    try:
        if type(g) is type(w) is np.ndarray and g.dtype == w.dtype and w.dtype.isnative and g.shape == w.shape:
            _run(*vectors(g, w), lr, l2)
            return
    except REFUSED:
        pass  # what follows says why, or makes copies
    g, w = alike("sgd_update", g=g, w=w)
    same_or_distinct("sgd_update", w, g)
    g_flat, w_flat = flat(g, w)
    _run(g_flat, w_flat, lr, l2)
    unflat(w_flat, w)


def _run(g, w, lr, l2):
    _sgd_update(_runtime.threads_for(w.size * _WORK_PER_ELEMENT), g, w, lr, l2)
