"""Elementary functions, element by element."""

from typing import Any

import numpy as np

from fastbp._checks import Array, as_number
from fastbp.op import Context, Op
from fastbp.ops.arithmetic import quotient
from fastbp.ops.broadcasting import unbroadcast
from fastbp.ops.quiet import quiet


class Exp(Op):
    """y = e^x:   dx = dy y."""

    needs_equal_dtypes = True
    returns_new = True

    def forward(self, ctx: Context, x: Array) -> Any:
        y = quiet.run(np.exp, x)
        ctx.saved = (y,)
        return y

    def backward(self, ctx: Context, dy: Array) -> Any:
        return dy * ctx.saved[0]


class Log(Op):
    """y = log x:   dx = dy / x."""

    needs_equal_dtypes = True
    returns_new = True
    undefined = "x = 0, where dx = dy / 0, and 0 where dy is 0"

    def forward(self, ctx: Context, x: Array) -> Any:
        ctx.saved = (x,)
        return quiet.run(np.log, x)

    def backward(self, ctx: Context, dy: Array) -> Any:
        return quotient(dy, ctx.saved[0])

    def kinks(self, ctx: Context, x: Array) -> tuple[Array, Array]:
        return x == 0, x > 0


class Sqrt(Op):
    """y = sqrt x:   dx = dy / (2 y)."""

    needs_equal_dtypes = True
    returns_new = True
    undefined = "x = 0, where dx = dy / 0, and 0 where dy is 0"

    def forward(self, ctx: Context, x: Array) -> Any:
        y = quiet.run(np.sqrt, x)
        ctx.saved = (y,)
        return y

    def backward(self, ctx: Context, dy: Array) -> Any:
        return quotient(dy, 2 * ctx.saved[0] + 0.0)  # the root of -0 is -0

    def kinks(self, ctx: Context, x: Array) -> tuple[Array, Array]:
        return x == 0, x > 0


class Abs(Op):
    """y = |x|:   dx = dy sign x."""

    returns_new = True
    undefined = "x = 0, where dx = 0"

    def forward(self, ctx: Context, x: Array) -> Any:
        ctx.saved = (x,)
        return np.abs(x)

    def backward(self, ctx: Context, dy: Array) -> Any:
        return dy * np.sign(ctx.saved[0])

    def kinks(self, ctx: Context, x: Array) -> tuple[Array, Array]:
        return x == 0, x > 0


class Clip(Op):
    """y = min(max(x, low), high):   dx = dy where low <= x <= high, else 0."""

    returns_new = True
    undefined = "x = low and x = high, where dx = dy"

    def __init__(self, low: float | None, high: float | None) -> None:
        self.low = -np.inf if low is None else as_number(low, "clip: low")
        self.high = np.inf if high is None else as_number(high, "clip: high")
        if not self.low <= self.high:
            raise ValueError(f"clip: low must be at most high, got {low} and {high}")

    def forward(self, ctx: Context, x: Array) -> Any:
        ctx.saved = (x,)
        with np.errstate(over="ignore"):  # a bound beyond what the dtype of x holds is none
            return np.clip(x, self.low, self.high)

    def backward(self, ctx: Context, dy: Array) -> Any:
        (x,) = ctx.saved
        return dy * ((x >= self.low) & (x <= self.high))

    def kinks(self, ctx: Context, x: Array) -> tuple[Array, Array]:
        return np.isfinite(x) & ((x == self.low) | (x == self.high)), (x > self.low) + 2 * (x > self.high)


class Maximum(Op):
    """z = max(x, y):   dx = dz where x is chosen, else 0; dy the other way round. NaN is chosen."""

    broadcasts = True
    undefined = "x = y, where dx = dz and dy = 0"

    def forward(self, ctx: Context, x: Array, y: Array) -> Any:
        ctx.saved = (self._first(x, y) | (x != x), x.shape, y.shape)
        return self._choose(x, y)

    def backward(self, ctx: Context, dz: Array) -> tuple[Array | None, Array | None]:
        first, x, y = ctx.saved
        needs_x, needs_y = ctx.needs
        return unbroadcast(dz * first, x) if needs_x else None, unbroadcast(dz * ~first, y) if needs_y else None

    def kinks(self, ctx: Context, x: Array, y: Array) -> tuple[Array, Array]:
        return x == y, x > y

    _first: np.ufunc = np.greater_equal
    _choose: np.ufunc = np.maximum


class Minimum(Maximum):
    """z = min(x, y):   dx = dz where x is chosen, else 0; dy the other way round. NaN is chosen."""

    _first: np.ufunc = np.less_equal
    _choose: np.ufunc = np.minimum


class Where(Op):
    """z = x where the condition holds, else y:   dx = dz there, else 0; dy the other way round."""

    broadcasts = True

    def forward(self, ctx: Context, condition: Array, x: Array, y: Array) -> Any:
        if condition.dtype != bool:
            condition = condition != 0
        ctx.saved = (condition, x.shape, y.shape)
        return np.where(condition, x, y)

    def backward(self, ctx: Context, dz: Array) -> tuple[None, Array | None, Array | None]:
        condition, x, y = ctx.saved
        _, needs_x, needs_y = ctx.needs
        dx = unbroadcast(np.where(condition, dz, 0), x) if needs_x else None
        return None, dx, unbroadcast(np.where(condition, 0, dz), y) if needs_y else None


class Compare(Op):
    """A comparison, true or false element by element: it has no gradient."""

    is_differentiable = False
    broadcasts = True

    def __init__(self, compare: np.ufunc) -> None:
        self.compare, self.kind = compare, compare.__name__

    def forward(self, ctx: Context, x: Array, y: Array) -> Any:
        return self.compare(x, y)

    def kinks(self, ctx: Context, x: Array, y: Array) -> tuple[Array, Array]:
        made = self.compare(x, y)
        return np.zeros(made.shape, bool), made  # what is made of it may jump where it changes
