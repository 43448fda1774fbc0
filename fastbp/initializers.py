"""Initial weights: functions of (shape, rng), with shape (O, I, ...) as weights have it.

    he       normal, variance 2 / fan_in                      K. He et al., Delving Deep into Rectifiers, 2015
    glorot   uniform, variance 2 / (fan_in + fan_out)         X. Glorot and Y. Bengio, Understanding the difficulty of
                                                              training deep feedforward neural networks, 2010
    lecun    normal, variance 1 / fan_in                      Y. LeCun et al., Efficient BackProp, 1998

A unit has fan_in inputs; each input feeds fan_out units.
"""

import math
from collections.abc import Callable

import numpy as np

from fastbp._checks import Array
from fastbp.kernels._arrays import shown

Initializer = Callable[[tuple[int, ...], np.random.Generator], Array]


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    window = math.prod(shape[2:])
    return max(1, shape[1] * window), max(1, shape[0] * window)


def he(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Normal with standard deviation sqrt(2 / fan_in): keeps the variance of activations through ReLU layers."""
    fan_in, _ = _fans(shape)
    return rng.standard_normal(shape) * math.sqrt(2 / fan_in)


def glorot(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Uniform within sqrt(6 / (fan_in + fan_out)): a compromise between activations and gradients."""
    limit = math.sqrt(6 / sum(_fans(shape)))
    return rng.uniform(-limit, limit, shape)


def lecun(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Normal with standard deviation sqrt(1 / fan_in): keeps the variance of a linear layer's input."""
    fan_in, _ = _fans(shape)
    return rng.standard_normal(shape) * math.sqrt(1 / fan_in)


BY_NAME: dict[str, Initializer] = {"he": he, "glorot": glorot, "lecun": lecun}


def get(init: str | Initializer, layer: str) -> Initializer:
    """The initializer of that name, or ``init`` itself if it is a function; ``layer`` is who asks, for the error."""
    if callable(init):
        return init
    if not isinstance(init, str) or init not in BY_NAME:
        raise ValueError(f"{layer}: init must be a function or one of {', '.join(BY_NAME)}, got {shown(init)}")
    return BY_NAME[init]
