"""The networks that the command line trains, and their default settings."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fastbp._checks import Array
from fastbp.layers import (
    Activation,
    Affine,
    Conv2d,
    Flatten,
    Layer,
    LeakyReLU,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Standardize,
    Tanh,
)
from fastbp.op import Context

ACTIVATIONS: dict[str, type[Activation]] = {"relu": ReLU, "leaky-relu": LeakyReLU, "sigmoid": Sigmoid, "tanh": Tanh}


class Recipe(NamedTuple):
    """Defaults of one kind of network, for data of any kind; `benchmarks/defaults.py` shows what they reach.

    On the embedded digits they give at least 97 % test accuracy (mlp) and 98 % (cnn) for every seed from 0 to 9.
    """

    filters: Sequence[int]
    hidden: Sequence[int]
    rate: float  # at most, of the first step
    epochs: int  # at least
    steps: int  # at least

    def epochs_for(self, batches: int) -> int:
        """Passes over so many batches: few are seen more often."""
        return max(self.epochs, math.ceil(self.steps / batches))


RECIPES = {"mlp": Recipe([], [256, 256], 0.3, 10, 3000), "cnn": Recipe([64, 128], [256], 0.05, 5, 1500)}
BATCH = 32

# Inputs are standardised, and none is further from 0.
LIMIT = 5.0

_STEEPEST = 30.0  # rate times the largest eigenvalue of the inputs, at most
_SAMPLES = 256  # which tell that eigenvalue


def dtype_for(x: Array) -> str:
    """float32, or float64 for what float32 cannot hold.

    That is values, or standard deviations, beyond its range, and what rounding would move by a thousandth of those.
    """
    if x.dtype == np.float32:
        return "float32"
    scale, narrow = Standardize.of(x), np.finfo(np.float32)
    rounding = float(narrow.eps) * abs(scale.mean)
    loses = ((rounding > scale.std / 1000) | (scale.std < float(narrow.tiny))) & (x != x[:1]).any(axis=0)
    is_beyond = max(-float(x.min()), float(x.max())) > float(narrow.max)
    return "float64" if is_beyond or loses.any() else "float32"


def rate_for(recipe: Recipe, hidden: Sequence[int], scale: Standardize, x: Array) -> float:
    """A learning rate for samples ``x``: that of the recipe, or less for more hidden layers or inputs that are alike.

    A step changes the first pre-activations of N samples by the rate times x x' / N times their gradients. Where all
    features move together, the largest eigenvalue of that matrix is their number, and steps would overshoot.
    """
    most = recipe.rate * len(recipe.hidden) / max(len(recipe.hidden), len(hidden))
    z = scale.forward(Context(), x[:_SAMPLES]).reshape(min(len(x), _SAMPLES), -1)
    rate = min(most, _STEEPEST / max(1.0, _largest_eigenvalue(z @ z.T / len(z))))
    return float(f"{rate:.2g}")  # NumPy's product may differ in its last digits from one machine to the next


def _largest_eigenvalue(a: Array) -> float:
    """Of a symmetric matrix without negative ones, to a few per cent, by powers of it.

    Without BLAS: where its threads wait for a busy machine, NumPy's eigenvalues take a second.
    """
    v, length = np.random.default_rng(0).standard_normal(len(a)), 0.0
    for _ in range(30):
        v = (a * v).sum(axis=1)
        length = math.sqrt(np.square(v).sum())
        v /= max(length, 1e-30)
    return length


def falling(rate: float, steps: int) -> Callable[[int], float]:
    """A rate that falls from ``rate`` to 0 along a line within so many steps."""
    return lambda step: rate * max(0.0, 1 - step / steps)


def weight_decay_for(samples: int) -> float:
    """l2 for so many samples: what they say outweighs it the more, the more there are."""
    return 1 / samples


def as_images(x: Array) -> Array:
    """Samples as images (N, C, H, W): channels are added to (N, H, W), rows of a square image to (N, H W).

    Raises
    ------
    ValueError
        When they are neither.
    """
    if x.ndim == 4:
        return x
    if x.ndim == 3:
        return x[:, None]
    side = math.isqrt(x.shape[1]) if x.ndim == 2 else 0
    if x.ndim != 2 or side * side != x.shape[1]:
        raise ValueError(f"x must hold images, (N, H, W) or (N, C, H, W), or rows of square ones, got {x.shape}")
    return x.reshape(len(x), 1, side, side)


def perceptron(shape: Sequence[int], hidden: Sequence[int], activation: str, classes: int) -> list[Layer]:
    """Layers of a multilayer perceptron on samples of a ``shape``."""
    layers: list[Layer] = [Flatten()] if len(shape) > 1 else []
    for units in hidden:
        layers += [Affine(units), ACTIVATIONS[activation]()]
    return [*layers, Affine(classes)]


def convolutional(
    shape: Sequence[int], filters: Sequence[int], hidden: Sequence[int], activation: str, classes: int
) -> list[Layer]:
    """Layers of a convolutional network on images of a ``shape`` (C, H, W).

    For every number of filters a convolution of 3 x 3 with its activation, and the maximum over windows of 2 x 2 where
    the image has as many rows and columns; then a perceptron.
    """
    layers: list[Layer] = []
    _, height, width = shape
    for number in filters:
        window = min(2, height), min(2, width)
        layers += [Conv2d(number, 3, padding="same"), ACTIVATIONS[activation](), MaxPool2d(window)]
        height, width = height // window[0], width // window[1]
    return [*layers, *perceptron((1, height, width), hidden, activation, classes)]
