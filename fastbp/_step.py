"""A training step as a recorded program: forward, loss, backward and update in one call of compiled code.

The first step on a batch of a new size runs the layers' own forward and backward once, under recording: the kernels
that they call are written down with all their arrays, checked, and not run. From then on a step only puts the addresses
of the batch in place and runs the program.
"""

import math
from typing import Any

import numpy as np

from fastbp._checks import Array
from fastbp._plan import Plan
from fastbp.kernels._arrays import factors
from fastbp.kernels._program import OVERLAPS, NotRecordable, record
from fastbp.kernels.loss import WRONG_LABEL
from fastbp.layers import BY_NAME
from fastbp.losses import Loss, SoftmaxCrossEntropy, UserLoss

# Shapes of batches for which a plan keeps its steps: whole batches, the last of an epoch, and a few more.
_KEPT = 8


class NotFiniteError(FloatingPointError):
    """Training has left the finite numbers."""


class LabelError(ValueError):
    """A label is out of range; nothing has changed."""


def check_loss(value: float, loss: Loss, delta: Array) -> None:
    """Refuse to go on from a loss, or the gradient of a user's loss, that is not finite."""
    if not math.isfinite(value):
        raise NotFiniteError(f"the loss is {value}")
    if isinstance(loss, UserLoss) and not np.isfinite(delta).all():
        raise NotFiniteError("the gradient of the loss is not finite")


class Step:
    """One training step for batches of one shape.

    With class indices and the softmax cross-entropy it is a single program; any other loss is computed between two.
    With ``updates`` the step ends in gradient descent, else in the gradients.
    """

    def __init__(self, plan: Plan, x: Array, t: Array, loss: Loss, l2: float, updates: bool) -> None:
        self._key = (x.shape, t.shape, t.dtype, type(loss), l2, updates)
        self.is_whole = type(loss) is SoftmaxCrossEntropy and t.ndim == 1
        self._rate = 1.0
        rate = self._rate if updates else None
        x, t = np.empty_like(x), np.empty_like(t)  # stand-ins, which share no memory with anything else

        def run_forward() -> None:
            self._u = plan.forward(x)
            self._delta = plan.loss_context.output("delta", self._u.shape, self._u.dtype)
            if self.is_whole:
                loss.compute(self._u, t, self._delta)
                run_backward()

        def run_backward() -> None:
            plan.backward(self._delta, l2=l2, rate=rate)

        forward = record(run_forward)
        backward = forward if self.is_whole else record(run_backward)
        parameters = [parameter for layer in plan.layers for parameter in layer.parameters]
        self._values = [p.value for p in parameters]
        written = self._values if updates else [p.grad for p in parameters]
        for program in {forward, backward}:
            program.close(x, t, written)
        self._forward, self._backward = forward, backward
        for context in plan.contexts:
            context.saved = ()  # the stand-ins

    def is_for(self, x: Array, t: Array, loss: Loss, l2: float, updates: bool) -> bool:
        """Whether this is the step for checked arrays ``x`` and ``t``."""
        return self._key == (x.shape, t.shape, t.dtype, type(loss), l2, updates)

    def takes(self, x: Any, t: Any, loss: Any, l2: Any, updates: bool) -> bool:
        """Whether ``x`` and ``t``, not checked by anyone, can go into the program as they are."""
        return (
            self.is_whole  # the program checks the labels
            and type(l2) is float
            and type(x) is type(t) is np.ndarray
            and x.dtype is self._u.dtype
            and self.is_for(x, t, loss, l2, updates)
            and x.flags.c_contiguous
            and t.flags.c_contiguous
            and x.flags.aligned
            and t.flags.aligned
            and all([value.flags.writeable for value in self._values])  # or they are not to be trained any more
        )

    def run(self, x: Array, t: Array, loss: Loss, rate: float | None = None, count: Array | None = None) -> float:
        """The loss of the batch, before parameters or gradients are written; they are not if it is not finite.

        ``count[0]`` is one more as soon as they are: no Ctrl-C comes between.
        """
        if rate is not None and rate != self._rate:
            self._rate = math.nan  # an interrupt may leave some of the program at the old rate
            self._backward.set_rate(*factors(self._u.dtype, rate))
            self._rate = rate
        of_forward = count if self.is_whole else None
        status = self._forward.run(x, t, of_forward)
        if status == OVERLAPS:
            x, t = x.copy(), t.copy()
            status = self._forward.run(x, t, of_forward)
        if self.is_whole:
            if status == WRONG_LABEL:
                raise LabelError("a label is out of range")
            value: float = self._forward.value.item()
        else:
            value = loss.compute(self._u, t, self._delta)
        check_loss(value, loss, self._delta)
        if not self.is_whole:
            self._backward.run(x, t, count)
        return value


class Steps:
    """The recorded steps of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._steps: list[Step] = []
        # a layer of the user's may compute without kernels, which a program would not see
        known = all(BY_NAME.get(type(layer).__name__) is type(layer) for layer in plan.layers)
        self._recordable = known and any(layer.parameters for layer in plan.layers)
        self._largest = 0
        self.last: Step | None = None

    def step(self, x: Array, t: Array, loss: Loss, l2: float, updates: bool) -> Step | None:
        """The step for checked, C-ordered arrays; None where the layers or the loss cannot be recorded."""
        for step in self._steps:
            if step.is_for(x, t, loss, l2, updates):
                self.last = step
                return step
        if not self._recordable:
            return None
        if len(x) > self._largest:  # the buffers of the steps before are too small now, and not kept for them alone
            self._steps, self._largest = [], len(x)
        try:
            self.last = Step(self._plan, x, t, loss, l2, updates)
        except NotRecordable:
            self._recordable = False
            return None
        self._steps = [*self._steps[-_KEPT + 1 :], self.last]
        return self.last
