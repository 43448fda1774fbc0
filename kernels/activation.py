"""Activations y = f(u), elementwise, on arrays of any shape.

f' is written with the output y, so that the pre-activation u need not be kept:

    ReLU        max(0, u)                   0 where y <= 0, else 1 (0 at u = 0, where it is undefined)
    leaky ReLU  u if u > 0 else a u, a > 0  a where y <= 0, else 1
    sigmoid     1 / (1 + e^-u)              y (1 - y)
    tanh        tanh u                      1 - y^2
    identity    u                           1

NaN passes through all of them. Input and output may be the same array.
"""

import numpy as np

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import CHUNK, alike, check_number, factors, flat, same_or_distinct, unflat
from fastbp.kernels._entry import REFUSED, STEPS, Entry, finish
from fastbp.kernels._jit import index, inner, kernel, task, vector
from fastbp.kernels._pointers import address, constant, is_aligned, load, overlap_shifted, pointer_at, store
from fastbp.kernels._program import NotRecordable, addresses_of, recorder, submit
from fastbp.kernels._record import Record
from fastbp.kernels.epilogue import IDENTITY, LEAKY_RELU, NAMES, RELU, SIGMOID, TANH, check_activation
from fastbp.kernels.functions import sigmoid, tanh
from fastbp.kernels.partition import share

# Time of one element in multiply-adds of the matrix product, measured: memory traffic or one exponential.
WORK_PER_ELEMENT = 30


# x or dy, y, out or dx: arrays of `size` elements
ACTIVATION = Record("x y out size activation", "slope")


@task(ACTIVATION)
def _activation_forward(p, t, threads):
    """out = f(x) for share ``t`` of the elements."""
    x, out = pointer_at(p.x, p.slope), pointer_at(p.out, p.slope)
    zero = constant(x, 0)
    start, stop = share(p.size, CHUNK, t, threads)
    if p.activation == RELU:
        for i in range(start, stop):
            u = load(x, i)
            store(out, i, zero if u <= zero else u)
    elif p.activation == LEAKY_RELU:
        for i in range(start, stop):
            u = load(x, i)
            store(out, i, p.slope * u if u <= zero else u)
    elif p.activation == SIGMOID:
        for i in range(start, stop):
            store(out, i, sigmoid(load(x, i)))
    elif p.activation == TANH:
        for i in range(start, stop):
            store(out, i, tanh(load(x, i)))
    else:
        for i in range(start, stop):
            store(out, i, load(x, i))
    return 0


@inner
def sloped(delta, y, activation, slope):
    """delta * f'(y) of one element."""
    if activation == RELU:
        return delta - delta if y <= 0 else delta
    if activation == LEAKY_RELU:
        return slope * delta if y <= 0 else delta
    if activation == SIGMOID:
        return delta * (y * (1 - y))
    if activation == TANH:
        return delta * ((1 - y) * (1 + y))
    return delta


@task(ACTIVATION)
def _activation_backward(p, t, threads):
    """dx = dy * f'(y) for share ``t`` of the elements."""
    dy, y, dx = pointer_at(p.x, p.slope), pointer_at(p.y, p.slope), pointer_at(p.out, p.slope)
    zero, one = constant(dy, 0), constant(dy, 1)
    start, stop = share(p.size, CHUNK, t, threads)
    if p.activation == RELU:
        for i in range(start, stop):
            delta = load(dy, i)  # before the comparison: a choice of two numbers takes no branch
            store(dx, i, zero if load(y, i) <= zero else delta)
    elif p.activation == LEAKY_RELU:
        for i in range(start, stop):
            delta = load(dy, i)
            store(dx, i, delta * p.slope if load(y, i) <= zero else delta)
    elif p.activation == SIGMOID:
        for i in range(start, stop):
            store(dx, i, load(dy, i) * (load(y, i) * (one - load(y, i))))
    elif p.activation == TANH:
        for i in range(start, stop):
            store(dx, i, load(dy, i) * ((one - load(y, i)) * (one + load(y, i))))
    else:
        for i in range(start, stop):
            store(dx, i, load(dy, i))
    return 0


_record = ACTIVATION.at


@inner
def _describe(p, x, y, out, activation, slope):
    """Whether arrays of one size, and the numbers, fit; they are in the record ``p`` then."""
    if not IDENTITY <= activation <= TANH or (activation == LEAKY_RELU and not slope > 0):
        return False
    if overlap_shifted(x, out) or overlap_shifted(y, out):
        return False
    if not (is_aligned(x) and is_aligned(y) and is_aligned(out)):
        return False
    p.x, p.y, p.out, p.size = address(x), address(y), address(out), out.size
    p.activation, p.slope = activation, slope
    return True


@kernel(lambda real: (STEPS, index, vector(real), vector(real, out=True), index, real))
def _enter_forward(steps, threads, x, out, activation, slope):
    return _describe(_record(steps[0, 1], slope), x, x, out, activation, slope) and finish(steps, threads)


@kernel(lambda real: (STEPS, index, vector(real), vector(real), vector(real, out=True), index, real))
def _enter_backward(steps, threads, dy, y, dx, activation, slope):
    return _describe(_record(steps[0, 1], slope), dy, y, dx, activation, slope) and finish(steps, threads)


_forward_entry = Entry(ACTIVATION, _enter_forward, _activation_forward)
_backward_entry = Entry(ACTIVATION, _enter_backward, _activation_backward)


def _check(activation, slope, direction, **arrays):
    """The arrays, as plain ones; refuses arguments that do not fit. The last array is the output."""
    check_activation(f"activation_{direction}", activation)
    name = f"{NAMES[activation]}_{direction}"
    *inputs, out = alike(name, **arrays)
    same_or_distinct(name, out, *inputs)
    if activation == LEAKY_RELU:
        check_number(name, slope=slope)
        if not slope > 0:
            raise ValueError(f"{name}: the slope must be above 0, got {slope}")
    return *inputs, out


def activation_forward(x, out, activation, slope=0.0):
    """out = f(x), with f named by an integer of ``epilogue.py``."""
    try:  # in as few steps as may be: a graph of small arrays waits for them
        fit = type(x) is type(out) is np.ndarray and x.dtype == out.dtype and x.shape == out.shape
        fit = fit and x.flags.c_contiguous and out.flags.c_contiguous and type(activation) is int
        work = out.size * WORK_PER_ELEMENT
        if fit and _forward_entry.run(out.dtype, work, x.ravel(), out.ravel(), activation, slope):
            return
    except REFUSED:
        pass  # what follows says why, or makes copies
    x, out = _check(activation, slope, "forward", x=x, out=out)
    _run(_activation_forward, x, None, out, activation, slope)


def activation_backward(dy, y, dx, activation, slope=0.0):
    """dx = dy * f'(y), with f named by an integer of ``epilogue.py``."""
    try:
        fit = type(dy) is type(y) is type(dx) is np.ndarray and dy.dtype == y.dtype == dx.dtype
        fit = fit and dy.shape == y.shape == dx.shape and type(activation) is int
        fit = fit and dy.flags.c_contiguous and y.flags.c_contiguous and dx.flags.c_contiguous
        work = dx.size * WORK_PER_ELEMENT
        if fit and _backward_entry.run(dx.dtype, work, dy.ravel(), y.ravel(), dx.ravel(), activation, slope):
            return
    except REFUSED:
        pass
    dy, y, dx = _check(activation, slope, "backward", dy=dy, y=y, dx=dx)
    _run(_activation_backward, dy, y, dx, activation, slope)


def _run(function, x, y, out, activation, slope):
    """Run the task ``function`` on arrays of one shape; y may be None."""
    given = [a for a in (x, y, out) if a is not None]
    if recorder() and not all(a.flags.c_contiguous for a in given):
        raise NotRecordable
    if out.size:
        arrays = flat(*given)
        addresses = addresses_of(arrays[0], None if y is None else arrays[1], arrays[-1])
        values = *addresses, out.size, activation, *factors(out.dtype, slope)
        wide = _runtime.pays_threads(out.size * WORK_PER_ELEMENT)
        submit(ACTIVATION, out.dtype, values, (function,), wide, arrays)
        unflat(arrays[-1], out)


def relu_forward(x, out):
    """Rectifier: out = max(0, x).

    Parameters
    ----------
    x : ndarray, float32 or float64, any shape and order
    out : ndarray, same shape and dtype
        Overwritten; may be ``x``.

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
    >>> x = np.array([-1.0, 0.0, 2.0])
    >>> kernels.relu_forward(x, x)
    >>> x
    array([0., 0., 2.])
    """
    activation_forward(x, out, RELU)


def relu_backward(dy, y, dx):
    """dx = dy where y > 0, else 0; y is the output of `relu_forward`. Arrays and errors as there."""
    activation_backward(dy, y, dx, RELU)


def leaky_relu_forward(x, slope, out):
    """Leaky rectifier: out = x where x > 0, else slope * x, with slope > 0. Arrays and errors as in `relu_forward`."""
    activation_forward(x, out, LEAKY_RELU, slope)


def leaky_relu_backward(dy, y, slope, dx):
    """dx = dy where y > 0, else slope * dy; y is the output of `leaky_relu_forward`."""
    activation_backward(dy, y, dx, LEAKY_RELU, slope)


def sigmoid_forward(x, out):
    """Logistic function: out = 1 / (1 + exp(-x)), within 2 ulp. Arrays and errors as in `relu_forward`."""
    activation_forward(x, out, SIGMOID)


def sigmoid_backward(dy, y, dx):
    """dx = dy y (1 - y); y is the output of `sigmoid_forward`."""
    activation_backward(dy, y, dx, SIGMOID)


def tanh_forward(x, out):
    """Hyperbolic tangent: out = tanh(x), within 2 ulp. Arrays and errors as in `relu_forward`."""
    activation_forward(x, out, TANH)


def tanh_backward(dy, y, dx):
    """dx = dy (1 - y^2); y is the output of `tanh_forward`."""
    activation_backward(dy, y, dx, TANH)


def identity_forward(x, out):
    """out = x. Arrays and errors as in `relu_forward`."""
    activation_forward(x, out, IDENTITY)


def identity_backward(dy, y, dx):
    """dx = dy."""
    activation_backward(dy, y, dx, IDENTITY)
