"""Standardising with numbers that are given."""

import numpy as np
import numpy.typing as npt

from fastbp import kernels
from fastbp._checks import Array, Real, as_real, check_finite, check_number
from fastbp.op import Context, Op


class Standardize(Op):
    """y = z = (x - mean) / std, or with a limit z / sqrt(1 + (z / limit)^2).

    dx = dy / std, or with a limit dy (1 + (z / limit)^2)^(-3/2) / std
    """

    needs_equal_dtypes = True
    returns_new = True
    overwrites = True

    def __init__(self, mean: npt.ArrayLike, std: npt.ArrayLike, limit: float | None = None) -> None:
        self.mean, self.std = (_constant(value, f"Standardize: {key}") for key, value in (("mean", mean), ("std", std)))
        if not (self.std > 0).all():
            raise ValueError(f"Standardize: std must be above 0, got {self.std.min():g}")
        self.limit = None if limit is None else check_number(limit, "Standardize: limit", above=True)
        self._last: tuple[tuple[int, ...], Real, Array, Array] | None = None

    def check_samples(self, shape: tuple[int, ...], name: str) -> None:
        """Refuse samples of another shape than mean and standard deviation broadcast to."""
        try:
            fit = np.broadcast_shapes(self.mean.shape, self.std.shape, shape) == shape
        except ValueError:
            fit = False
        if not fit:
            got = f"shapes {self.mean.shape} and {self.std.shape}"
            raise ValueError(f"{name}: mean and std of {got} do not broadcast to samples {shape}")

    def _constants(self, shape: tuple[int, ...], dtype: Real) -> tuple[Array, Array]:
        """Mean and standard deviation of every element of a sample of this ``shape``."""
        last = self._last
        if last is None or last[:2] != (shape, dtype):
            self.check_samples(shape, self.kind)
            mean, std = (np.array(np.broadcast_to(a, shape), dtype, order="C") for a in (self.mean, self.std))
            if not std.all():
                raise ValueError(f"{self.kind}: a std of {self.std.min():g} is 0 in {dtype}")
            last = self._last = (shape, dtype, mean, std)
        return last[2:]

    def forward(self, ctx: Context, x: Array) -> Array:
        y = ctx.output("y", x.shape, x.dtype)
        kernels.standardize_forward(x, *self._constants(x.shape[1:], x.dtype), y, self.limit)
        ctx.saved = (x,)
        return y

    def backward(self, ctx: Context, dy: Array) -> Array | None:
        (x,) = ctx.saved
        if not ctx.needs[0]:
            return None
        dx = dy if ctx.is_free else ctx.gradient(0, x.shape, dy)[0]
        kernels.standardize_backward(dy, x, *self._constants(x.shape[1:], x.dtype), dx, self.limit)
        return dx


def _constant(value: npt.ArrayLike, name: str) -> Array:
    """A copy of ``value`` in float64, which nobody can change."""
    array = np.array(as_real(value, np.dtype(np.float64), name), order="C")
    check_finite(array.reshape(1, -1), name)
    array.flags.writeable = False
    return array
