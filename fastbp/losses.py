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

from fastbp import functional, kernels
from fastbp._checks import (
    Array,
    Real,
    as_real,
    check_flag,
    check_outputs,
    class_targets,
    common_real,
    real_targets,
    share_targets,
)
from fastbp.kernels._arrays import shown
from fastbp.op import Context, Op
from fastbp.ops.quiet import quiet

LossFunction = Callable[[Array, Array], tuple[float, Array]]


class Loss(Op):
    """A loss; calling it with outputs and targets gives (value, gradient).

    As an operation of a graph it takes outputs and targets, and gives the value.

    Attributes
    ----------
    contains : str
        Name of the activation that is part of the loss, so that a network must not end with it; "" for none.
    """

    contains = ""

    def __call__(self, u: npt.ArrayLike, t: npt.ArrayLike) -> tuple[float, Array]:
        """The value and the gradient by u, for outputs u (N, O) and targets t."""
        raise NotImplementedError

    def targets(self, t: Array, outputs: int, dtype: Real) -> Array:
        """Targets checked and converted to what `compute` takes, for a network of that many outputs."""
        raise NotImplementedError

    def targets_of(self, u: Array, t: Array) -> Array:
        """`targets` for outputs u (N, O), which are checked, too."""
        check_outputs(u, t)
        return self.targets(t, u.shape[1], u.dtype)

    def compute(self, u: Array, t: Array, delta: Array) -> float:
        """The value, and the gradient written into ``delta``."""
        raise NotImplementedError

    def correct(self, u: Array, t: Array) -> int | None:
        """How many samples are classified right; None where the loss is not one of classification."""
        return None

    def forward(self, ctx: Context, u: Array, t: Array) -> Array:
        if ctx.needs[1]:
            raise TypeError("there is no gradient by the targets: give an array, or Variable(..., constant=True)")
        if u.dtype.kind != "f":
            (u,) = common_real(u, names=["u"])
        targets = self.targets_of(u, t)
        delta = ctx.output("delta", u.shape, u.dtype)
        ctx.saved = (delta,)
        made: Array = quiet.run(np.array, self.compute(u, targets, delta), u.dtype)
        return made

    def backward(self, ctx: Context, dy: Array) -> tuple[Array, None]:
        (delta,) = ctx.saved
        return (delta if dy == 1 else delta * dy), None

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

    kind = "softmax_cross_entropy"
    contains = "Softmax"

    def __call__(self, u: npt.ArrayLike, t: npt.ArrayLike) -> tuple[float, Array]:
        return functional.softmax_cross_entropy(u, t)

    def targets(self, t: Array, outputs: int, dtype: Real) -> Array:
        return class_targets(t, outputs, dtype)

    def compute(self, u: Array, t: Array, delta: Array) -> float:
        return float(kernels.softmax_cross_entropy(u, t, delta))

    def correct(self, u: Array, t: Array) -> int | None:
        classes = t if t.ndim == 1 else t.argmax(axis=1)
        return int(((u.argmax(axis=1) == classes) & ~np.isnan(u).any(axis=1)).sum())


class SquaredError(Loss):
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

    kind = "squared_error"

    def __init__(self, half: bool = False) -> None:
        self.half = check_flag(half, "SquaredError: half")

    def __call__(self, u: npt.ArrayLike, t: npt.ArrayLike) -> tuple[float, Array]:
        return functional.squared_error(u, t, half=self.half)

    def targets(self, t: Array, outputs: int, dtype: Real) -> Array:
        return real_targets(t, outputs, dtype)

    def compute(self, u: Array, t: Array, delta: Array) -> float:
        return float(kernels.squared_error(u, t, (0.5 if self.half else 1.0) / len(u), delta))

    def __repr__(self) -> str:
        return f"SquaredError(half={self.half})"


class MeanSquaredError(Loss):
    """Squared error averaged over all elements, 1/(N O) sum (t - y)^2, with the gradient -2 (t - y) / (N O)."""

    kind = "mean_squared_error"

    def __call__(self, u: npt.ArrayLike, t: npt.ArrayLike) -> tuple[float, Array]:
        return functional.mean_squared_error(u, t)

    def targets(self, t: Array, outputs: int, dtype: Real) -> Array:
        return real_targets(t, outputs, dtype)

    def compute(self, u: Array, t: Array, delta: Array) -> float:
        return float(kernels.squared_error(u, t, 1 / max(1, u.size), delta))


class SigmoidCrossEntropy(Loss):
    """Binary cross-entropy on logits, averaged over all elements: log(1 + e^u) - t u, gradient (sigmoid(u) - t) / size.

    Targets are from 0 to 1, of the shape of the outputs. A sample counts as classified right when every output has
    the sign that its target asks for.
    """

    kind = "sigmoid_cross_entropy"
    contains = "Sigmoid"

    def __call__(self, u: npt.ArrayLike, t: npt.ArrayLike) -> tuple[float, Array]:
        return functional.sigmoid_cross_entropy(u, t)

    def targets(self, t: Array, outputs: int, dtype: Real) -> Array:
        return share_targets(t, outputs, dtype)

    def compute(self, u: Array, t: Array, delta: Array) -> float:
        return float(kernels.sigmoid_cross_entropy(u, t, 1 / max(1, u.size), delta))

    def correct(self, u: Array, t: Array) -> int | None:
        return int(((u > 0) == (t > 0.5)).all(axis=1).sum())


class UserLoss(Loss):
    """A loss given as a function of (u, t) that returns (value, gradient by u).

    The function gets copies of the outputs, and of the targets in the dtype in which the user passed them.
    """

    kind = "loss"

    def __init__(self, function: LossFunction) -> None:
        self.function = function

    def targets(self, t: Array, outputs: int, dtype: Real) -> Array:
        return t

    def targets_of(self, u: Array, t: Array) -> Array:
        return t

    def __call__(self, u: npt.ArrayLike, t: npt.ArrayLike) -> tuple[float, Array]:
        (outputs,) = common_real(u, names=["u"])
        delta = np.empty_like(outputs)
        return self.compute(outputs, np.asarray(t), delta), delta

    def compute(self, u: Array, t: Array, delta: Array) -> float:
        result: Any = self.function(u.copy(), t.copy())
        try:
            value, gradient = result
            number = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"a loss must return (value, gradient by u), got {shown(result)}") from None
        gradient = as_real(gradient, u.dtype, "the gradient of the loss")
        if gradient.shape != u.shape:
            raise ValueError(f"the gradient of the loss must have the shape {u.shape}, got {gradient.shape}")
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
    raise TypeError(f"loss must be a Loss or a function of (u, t), got {shown(loss)}")
