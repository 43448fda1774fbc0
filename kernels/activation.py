"""Activations y = f(u), elementwise, on arrays of any shape.

f' is written with the output y, so that the pre-activation u need not be kept:

    ReLU        max(0, u)                   0 where y <= 0, else 1 (0 at u = 0, where it is undefined)
    leaky ReLU  u if u > 0 else a u, a > 0  a where y <= 0, else 1
    sigmoid     1 / (1 + e^-u)              y (1 - y)
    tanh        tanh u                      1 - y^2
    identity    u                           1

NaN passes through all of them. Input and output may be the same array.
"""

from numba import prange

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import CHUNK, alike, check_number, flat, same_or_distinct, unflat
from fastbp.kernels._jit import index, inner, kernel, vector
from fastbp.kernels.epilogue import IDENTITY, LEAKY_RELU, NAMES, RELU, SIGMOID, TANH, check_activation
from fastbp.kernels.functions import sigmoid, tanh

# Time of one element in multiply-adds of the matrix product, measured: memory traffic or one exponential.
WORK_PER_ELEMENT = 30


@kernel(lambda real: (vector(real), vector(real, out=True), index, real))
def _activation_forward(x, out, activation, slope):
    n = x.size
    if out.size != n:
        raise ValueError("x and out must have the same size")
    zero = x.dtype.type(0)
    for chunk in prange((n + CHUNK - 1) // CHUNK):
        start, stop = chunk * CHUNK, min(n, (chunk + 1) * CHUNK)
        if activation == RELU:
            for i in range(start, stop):
                out[i] = zero if x[i] <= zero else x[i]
        elif activation == LEAKY_RELU:
            for i in range(start, stop):
                out[i] = slope * x[i] if x[i] <= zero else x[i]
        elif activation == SIGMOID:
            for i in range(start, stop):
                out[i] = sigmoid(x[i])
        elif activation == TANH:
            for i in range(start, stop):
                out[i] = tanh(x[i])
        else:
            for i in range(start, stop):
                out[i] = x[i]


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


@kernel(lambda real: (vector(real), vector(real), vector(real, out=True), index, real))
def _activation_backward(dy, y, dx, activation, slope):
    n = dy.size
    if y.size != n or dx.size != n:
        raise ValueError("dy, y and dx must have the same size")
    zero, one = dy.dtype.type(0), dy.dtype.type(1)
    for chunk in prange((n + CHUNK - 1) // CHUNK):
        start, stop = chunk * CHUNK, min(n, (chunk + 1) * CHUNK)
        if activation == RELU:
            for i in range(start, stop):
                dx[i] = zero if y[i] <= zero else dy[i]
        elif activation == LEAKY_RELU:
            for i in range(start, stop):
                dx[i] = dy[i] * slope if y[i] <= zero else dy[i]
        elif activation == SIGMOID:
            for i in range(start, stop):
                dx[i] = dy[i] * (y[i] * (one - y[i]))
        elif activation == TANH:
            for i in range(start, stop):
                dx[i] = dy[i] * ((one - y[i]) * (one + y[i]))
        else:
            for i in range(start, stop):
                dx[i] = dy[i]


def _check(activation, slope, direction, **arrays):
    """Refuse arguments that do not fit; the last array is the output."""
    check_activation(activation)
    name = f"{NAMES[activation]}_{direction}"
    alike(name, **arrays)
    *inputs, out = arrays.values()
    same_or_distinct(name, out, *inputs)
    if activation == LEAKY_RELU:
        check_number(name, slope=slope)
        if not slope > 0:
            raise ValueError(f"{name}: the slope must be above 0, got {slope}")


def activation_forward(x, out, activation, slope=0.0):
    """out = f(x), with f named by an integer of ``epilogue.py``."""
    _check(activation, slope, "forward", x=x, out=out)
    x_flat, out_flat = flat(x, out)
    _activation_forward(_runtime.threads_for(x.size * WORK_PER_ELEMENT), x_flat, out_flat, activation, slope)
    unflat(out_flat, out)


def activation_backward(dy, y, dx, activation, slope=0.0):
    """dx = dy * f'(y), with f named by an integer of ``epilogue.py``."""
    _check(activation, slope, "backward", dy=dy, y=y, dx=dx)
    dy_flat, y_flat, dx_flat = flat(dy, y, dx)
    threads = _runtime.threads_for(dy.size * WORK_PER_ELEMENT)
    _activation_backward(threads, dy_flat, y_flat, dx_flat, activation, slope)
    unflat(dx_flat, dx)


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
