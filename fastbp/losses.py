"""Losses: the value E and its gradient delta = dE/du by the outputs u of a network, (N, O).

    SoftmaxCrossEntropy   -1/N sum_n sum_j t_nj log softmax(u_n)_j
    MeanSquaredError      1/(N O) sum (t - y)^2
    SquaredError          1/N sum (t - y)^2, or half of it
    SigmoidCrossEntropy   1/(N O) sum (log(1 + e^u) - t u), binary cross-entropy on logits

Any function of (u, t) that returns (value, gradient by u) can be given in place of one of them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import kernels
from fastbp._checks import Array, Real, as_labels, as_one_of_k, as_real, check_finite, check_lengths, common_real

LossFunction = Callable[[Array, Array], tuple[float, Array]]


class Loss:
    """A loss; calling it with outputs and targets gives (value, gradient).

    Attributes
    ----------
    contains : str
        Name of the activation that is part of the loss, so that a network must not end with it; "" for none.
    """

    contains = ""

    def __call__(self, u: npt.ArrayLike, t: npt.ArrayLike) -> tuple[float, Array]:
        (outputs,) = common_real(u, names=["u"])
        if outputs.ndim != 2:
            raise ValueError(f"u must have the shape (N, O), got {outputs.shape}")
        target = np.asarray(t)
        check_lengths(outputs, target)
        delta = np.empty_like(outputs, order="C")
        value = self.compute(outputs, self.targets(target, outputs.shape[1], outputs.dtype), delta)
        return value, delta

    def targets(self, t: Array, outputs: int, dtype: Real) -> Array:
        """Targets checked and converted to what `compute` takes, for a network of that many outputs."""
        raise NotImplementedError

    def compute(self, u: Array, t: Array, delta: Array) -> float:
        """The value, and the gradient written into ``delta``."""
        raise NotImplementedError

    def correct(self, u: Array, t: Array) -> int | None:
        """How many samples are classified right; None where the loss is not one of classification."""
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class SoftmaxCrossEntropy(Loss):
    """Cross-entropy of the softmax of the logits u, averaged over the batch, by log-sum-exp.

    E = -1/N sum_n sum_j t_nj log softmax(u_n)_j, with the gradient (softmax(u) - t) / N. Targets are integer class
    indices (N,), or 1-of-K rows (N, O) that sum to 1. Calling raises TypeError for labels that are no integers and
    ValueError for labels out of range, rows that do not sum to 1, other lengths, and no samples.

    Examples
    --------
    >>> import fastbp as fb
    >>> value, delta = fb.SoftmaxCrossEntropy()([[0.0, 0.0]], [1])
    >>> round(value, 4), delta
    (0.6931, array([[ 0.5, -0.5]]))
    """

    contains = "Softmax"

    def targets(self, t: Array, outputs: int, dtype: Real) -> Array:
        if t.ndim == 2:
            return as_one_of_k(t, outputs, dtype)
        if t.ndim != 1:
            raise ValueError(f"targets must be class indices (N,) or 1-of-K rows (N, {outputs}), got {t.shape}")
        return as_labels(t, outputs)

    def compute(self, u: Array, t: Array, delta: Array) -> float:
        return float(kernels.softmax_cross_entropy(u, t, delta))

    def correct(self, u: Array, t: Array) -> int | None:
        classes = t if t.ndim == 1 else t.argmax(axis=1)
        return int((u.argmax(axis=1) == classes).sum())


class _Regression(Loss):
    """A loss against targets of the shape of the outputs."""

    def targets(self, t: Array, outputs: int, dtype: Real) -> Array:
        if outputs == 1 and t.ndim == 1:
            t = t[:, None]
        if t.ndim != 2 or t.shape[1] != outputs:
            also = ", or (N,)" if outputs == 1 else ""
            raise ValueError(f"targets must have the shape (N, {outputs}){also}, got {t.shape}")
        converted = np.ascontiguousarray(as_real(t, dtype, "targets"))
        check_finite(converted, "targets")
        return converted


class SquaredError(_Regression):
    """Squared error summed over the outputs and averaged over the batch, 1/N sum_nj (t_nj - y_nj)^2.

    Parameters
    ----------
    half : bool
        Whether to take half of it, the lecture's 1/2 ||t - y||^2.

    Examples
    --------
    >>> import fastbp as fb
    >>> value, delta = fb.SquaredError()([[33.0]], [20.0])
    >>> value, delta
    (169.0, array([[26.]]))
    """

    def __init__(self, half: bool = False) -> None:
        self.half = bool(half)

    def compute(self, u: Array, t: Array, delta: Array) -> float:
        return float(kernels.squared_error(u, t, (0.5 if self.half else 1.0) / len(u), delta))

    def __repr__(self) -> str:
        return f"SquaredError(half={self.half})"


class MeanSquaredError(_Regression):
    """Squared error averaged over all elements, 1/(N O) sum (t - y)^2, with the gradient -2 (t - y) / (N O)."""

    def compute(self, u: Array, t: Array, delta: Array) -> float:
        return float(kernels.squared_error(u, t, 1 / max(1, u.size), delta))


class SigmoidCrossEntropy(_Regression):
    """Binary cross-entropy on logits, averaged over all elements: log(1 + e^u) - t u, gradient (sigmoid(u) - t) / size.

    Targets are from 0 to 1, of the shape of the outputs. A sample counts as classified right when every output has
    the sign that its target asks for.
    """

    contains = "Sigmoid"

    def targets(self, t: Array, outputs: int, dtype: Real) -> Array:
        converted = super().targets(t, outputs, dtype)
        wrong = ((converted < 0) | (converted > 1)).any(axis=1)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(f"targets must be from 0 to 1, but row {row} is {converted[row].tolist()}")
        return converted

    def compute(self, u: Array, t: Array, delta: Array) -> float:
        return float(kernels.sigmoid_cross_entropy(u, t, 1 / max(1, u.size), delta))

    def correct(self, u: Array, t: Array) -> int | None:
        return int(((u > 0) == (t > 0.5)).all(axis=1).sum())


class UserLoss(Loss):
    """A loss given as a function of (u, t) that returns (value, gradient by u).

    The function gets its own copy of the outputs and the targets just as the user passed them.
    """

    def __init__(self, function: LossFunction) -> None:
        self.function = function

    def targets(self, t: Array, outputs: int, dtype: Real) -> Array:
        return t

    def compute(self, u: Array, t: Array, delta: Array) -> float:
        result: Any = self.function(u.copy(), t)
        try:
            value, gradient = result
            number = float(value)
        except (TypeError, ValueError) as error:
            raise TypeError(f"a loss must return (value, gradient by u): {error}") from error
        if np.shape(gradient) != u.shape:
            raise ValueError(f"the gradient of the loss must have the shape {u.shape}, got {np.shape(gradient)}")
        delta[...] = gradient
        return number

    def __repr__(self) -> str:
        return repr(self.function)


def get(loss: Any) -> Loss:
    """``loss`` itself, or the function that it is as a `UserLoss`; TypeError for anything else."""
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, type) and issubclass(loss, Loss):
        raise TypeError(f"loss is the class {loss.__name__}; pass an instance, {loss.__name__}()")
    if callable(loss):
        return UserLoss(loss)
    raise TypeError(f"loss must be a Loss or a function of (u, t), got {loss!r}")
