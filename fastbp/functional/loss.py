"""Losses as pairs (value, gradient by the first input)."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import kernels
from fastbp._checks import (
    Array,
    as_array,
    check_flag,
    check_outputs,
    class_targets,
    common_real,
    real_targets,
    share_targets,
)


def _loss(u: npt.ArrayLike, t: npt.ArrayLike, targets: Any) -> tuple[Array, Array, Array]:
    """Outputs (N, O) and their targets as the kernels take them, and room for the gradient."""
    (outputs,) = common_real(u, names=["u"])
    given = as_array(t, "targets")
    check_outputs(outputs, given)
    return outputs, targets(given, outputs.shape[1], outputs.dtype), np.empty_like(outputs, order="C")


def softmax_cross_entropy(u: npt.ArrayLike, t: npt.ArrayLike) -> tuple[float, Array]:
    """Cross-entropy of softmax(u) against class indices (N,) or 1-of-K rows; see `fastbp.SoftmaxCrossEntropy`."""
    outputs, targets, delta = _loss(u, t, class_targets)
    return float(kernels.softmax_cross_entropy(outputs, targets, delta)), delta


def mean_squared_error(y: npt.ArrayLike, t: npt.ArrayLike) -> tuple[float, Array]:
    """1/(N O) sum (t - y)^2; see `fastbp.MeanSquaredError`."""
    outputs, targets, delta = _loss(y, t, real_targets)
    return float(kernels.squared_error(outputs, targets, 1 / max(1, outputs.size), delta)), delta


def squared_error(y: npt.ArrayLike, t: npt.ArrayLike, *, half: bool = False) -> tuple[float, Array]:
    """1/N sum (t - y)^2, or half of it; see `fastbp.SquaredError`."""
    scale = 0.5 if check_flag(half, "squared_error: half") else 1.0
    outputs, targets, delta = _loss(y, t, real_targets)
    return float(kernels.squared_error(outputs, targets, scale / len(outputs), delta)), delta


def sigmoid_cross_entropy(u: npt.ArrayLike, t: npt.ArrayLike) -> tuple[float, Array]:
    """1/(N O) sum (log(1 + e^u) - t u); see `fastbp.SigmoidCrossEntropy`."""
    outputs, targets, delta = _loss(u, t, share_targets)
    return float(kernels.sigmoid_cross_entropy(outputs, targets, 1 / max(1, outputs.size), delta)), delta
