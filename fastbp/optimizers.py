"""Optimizers: what happens to the parameters once their gradients are known."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

from fastbp import kernels
from fastbp._checks import Array, check_number
from fastbp.kernels._arrays import shown
from fastbp.kernels._interrupts import uninterrupted


class Trainable(Protocol):
    """What optimizers update: a `Parameter` of a layer, or a `fastbp.graph.Variable`."""

    @property
    def grad(self) -> Array:
        """The gradient."""

    def for_update(self) -> Array:
        """The value, to be changed in place."""


class SGD:
    """Stochastic gradient descent, w <- w - lr g.

    Parameters
    ----------
    lr : float or function of the step
        Learning rate, at least 0; a function is called with 0, 1, 2, ..., the number of steps taken before.

    Attributes
    ----------
    steps : int
        Steps taken so far: the number of updates of all parameters, after a Ctrl-C, too.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.SGD(lambda step: 0.5 / (1 + step)).rate()
    0.5
    """

    def __init__(self, lr: float | Callable[[int], float]) -> None:
        self.lr = lr
        self.count = np.zeros(1, np.int64)  # of the steps: compiled code counts it up with the update

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        return int(self.count[0])

    @steps.setter
    def steps(self, steps: int) -> None:
        self.count[0] = steps

    @property
    def lr(self) -> float | Callable[[int], float]:
        """The rate, or the function that gives it."""
        return self._lr

    @lr.setter
    def lr(self, lr: float | Callable[[int], float]) -> None:
        self._lr = lr if callable(lr) else check_number(lr, "SGD: lr")

    def rate(self) -> float:
        """Learning rate of the next step."""
        if callable(self._lr):
            return check_number(self._lr(self.steps), f"SGD: lr at step {self.steps}")
        return self._lr

    def step(self, parameters: Iterable[Trainable]) -> None:
        """Update every parameter in place from its ``grad``; Ctrl-C waits until all of them are."""
        uninterrupted(self._step, parameters)

    def _step(self, parameters: Iterable[Trainable]) -> None:
        lr = self.rate()
        # all of them first: one that has no gradient, or is read-only, keeps the others from a change, too
        arrays = [(parameter.grad, parameter.for_update()) for parameter in parameters]
        for gradient, value in arrays:
            kernels.sgd_update(gradient, value, lr)
        self.steps += 1

    def __repr__(self) -> str:
        return f"SGD({self.lr!r})"


def check_optimizer(optimizer: Any) -> None:
    """TypeError unless ``optimizer`` is an object with a method ``step``."""
    if isinstance(optimizer, type) or not callable(getattr(optimizer, "step", None)):
        raise TypeError(f"optimizer must be an optimizer such as SGD(0.1), got {shown(optimizer)}")


BY_NAME: dict[str, Callable[..., Any]] = {"sgd": SGD}
