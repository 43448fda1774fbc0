"""Optimizers: updates of a parameter in place."""

import numpy as np
from numba import carray

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import CHUNK, alike, check_number, factors, flat, same_or_distinct, unflat, vectors
from fastbp.kernels._entry import REFUSED, STEPS, Entry, finish
from fastbp.kernels._jit import index, inner, kernel, task, vector
from fastbp.kernels._pointers import address, is_aligned, overlap_shifted, pointer_at
from fastbp.kernels._program import addresses_of, submit
from fastbp.kernels._record import Record
from fastbp.kernels.partition import share

# Time of one element in multiply-adds of the matrix product: three streams of memory.
_WORK_PER_ELEMENT = 20

SGD = Record("g w size", "lr decay")


@inner
def _update(g, w, lr, decay):
    for i in range(w.size):
        w[i] -= lr * (g[i] + decay * w[i])


@task(SGD)
def _sgd_update(p, t, threads):
    """Update share ``t`` of the elements."""
    g, w = carray(pointer_at(p.g, p.lr), p.size), carray(pointer_at(p.w, p.lr), p.size)
    start, stop = share(p.size, CHUNK, t, threads)
    _update(g[start:stop], w[start:stop], p.lr, p.decay)  # a loop from 0 to the size is done in vectors
    return 0


_record = SGD.at


@kernel(lambda real: (STEPS, index, vector(real), vector(real, out=True), real, real))
def _enter(steps, threads, g, w, lr, l2):
    if g.size != w.size or overlap_shifted(g, w) or not (is_aligned(g) and is_aligned(w)):
        return False
    p = _record(steps[0, 1], lr)
    p.g, p.w, p.size, p.lr, p.decay = address(g), address(w), w.size, lr, l2 + l2
    return finish(steps, threads)


_entry = Entry(SGD, _enter, _sgd_update)


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
    work = getattr(w, "size", 0) * _WORK_PER_ELEMENT
    try:
        fit = type(g) is type(w) is np.ndarray and g.dtype == w.dtype and g.shape == w.shape
        if fit and _entry.run(w.dtype, work, *vectors(g, w), lr, l2):
            return
    except REFUSED:
        pass  # what follows says why, or makes copies
    g, w = alike("sgd_update", g=g, w=w)
    same_or_distinct("sgd_update", w, g)
    gradient, weight = flat(g, w)
    values = *addresses_of(gradient, weight), w.size, *factors(w.dtype, lr, 2 * l2)
    submit(SGD, w.dtype, values, (_sgd_update,), _runtime.pays_threads(work), (gradient, weight))
    unflat(weight, w)
