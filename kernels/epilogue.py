"""What happens to a finished register tile of the matrix product before it is stored.

    acc   the tile of op(A) op(B), shape (MR, NR), in registers or L1
    C     where it goes, D a second operand of the same shape, b a vector over the columns

LINEAR     C = alpha acc + beta D    plain product; accumulation: D = C, beta = 1; weight decay: D = W, beta = 2 l2
DESCENT    C = C + alpha (acc + beta C)    gradient descent, C = W, alpha = -lr, beta = 2 l2. The gradient is formed
                                     before it is added: 1 + alpha beta would round a small decay away.
ACTIVATE   C = f(acc + b)            affine map and activation
SLOPE      C = acc * f'(D)           delta of the layer below; D is the output h = f(u), f' is written with h

The integers below travel as arguments, so that one compiled product serves all of them: a function argument could not
be cached by Numba. They are branched on once per tile.
"""

import numpy as np

from fastbp.kernels._arrays import shown

LINEAR, DESCENT, ACTIVATE, SLOPE = 0, 1, 2, 3

IDENTITY, RELU, LEAKY_RELU, SIGMOID, TANH = 0, 1, 2, 3, 4
NAMES = ("identity", "relu", "leaky_relu", "sigmoid", "tanh")


def check_activation(name, activation):
    """Refuse a number that names no activation."""
    if not isinstance(activation, int | np.integer) or not IDENTITY <= activation <= TANH:
        raise ValueError(f"{name}: activation must be an integer from {IDENTITY} to {TANH}, got {shown(activation)}")


def emit_linear(v, acc, addend, alpha, beta):
    """alpha acc + beta D."""
    return v.multiply_add(acc, alpha, v.multiply(addend, beta))


def emit_descent(v, acc, c, alpha, beta):
    """C + alpha (acc + beta C)."""
    return v.multiply_add(alpha, v.multiply_add(beta, c, acc), c)


def emit_activation(activation, v, u, slope):
    """f(u), for the activations that need no exponential."""
    if activation == RELU:
        return v.where_positive(u, u, v.zero)
    if activation == LEAKY_RELU:
        return v.where_positive(u, u, v.multiply(u, slope))
    return u


def emit_slope(activation, v, acc, h, slope):
    """acc f'(h)."""
    if activation == RELU:
        return v.where_positive(h, acc, v.zero)
    if activation == LEAKY_RELU:
        return v.where_positive(h, acc, v.multiply(acc, slope))
    if activation == SIGMOID:
        return v.multiply(acc, v.multiply(h, v.subtract(v.one, h)))
    if activation == TANH:
        return v.multiply(acc, v.multiply(v.subtract(v.one, h), v.add(v.one, h)))
    return acc
