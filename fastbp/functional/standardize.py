"""Standardising with numbers that are given."""

import numpy as np
import numpy.typing as npt

from fastbp import kernels
from fastbp._checks import Array, as_real, check_number, common_real


def _constants(name: str, x: Array, mean: npt.ArrayLike, std: npt.ArrayLike) -> tuple[Array, Array]:
    """Mean and standard deviation of every element of a sample of ``x``, in its dtype."""

    def constant(key: str, value: npt.ArrayLike) -> Array:
        array = as_real(value, x.dtype, key)
        try:
            return np.array(np.broadcast_to(array, x.shape[1:]), order="C")
        except ValueError:
            text = f"{key} must broadcast to the shape of a sample, {x.shape[1:]}, got {array.shape}"
            raise ValueError(f"{name}: {text}") from None

    return constant("mean", mean), constant("std", std)


def _limit(limit: float | None) -> float | None:
    return None if limit is None else check_number(limit, "limit", above=True)


def standardize_forward(x: npt.ArrayLike, mean: npt.ArrayLike, std: npt.ArrayLike, limit: float | None = None) -> Array:
    """z = (x - mean) / std of samples x (N, ...), with a limit z / sqrt(1 + (z / limit)^2).

    ``mean`` and ``std`` broadcast to the shape of one sample.

    Examples
    --------
    >>> from fastbp import functional as F
    >>> F.standardize_forward([[3, 300], [5, 500]], [4, 200], [1, 100])
    array([[-1.,  1.],
           [ 1.,  3.]])
    """
    (samples,) = common_real(x, names=["x"])
    y = np.empty_like(samples)
    kernels.standardize_forward(samples, *_constants("standardize_forward", samples, mean, std), y, _limit(limit))
    return y


def standardize_backward(
    dy: npt.ArrayLike, x: npt.ArrayLike, mean: npt.ArrayLike, std: npt.ArrayLike, limit: float | None = None
) -> Array:
    """dy / std, with a limit times (1 + (z / limit)^2)^(-3/2)."""
    gradient, samples = common_real(dy, x, names=["dy", "x"])
    dx = np.empty_like(gradient)
    constants = _constants("standardize_backward", samples, mean, std)
    kernels.standardize_backward(gradient, samples, *constants, dx, _limit(limit))
    return dx
