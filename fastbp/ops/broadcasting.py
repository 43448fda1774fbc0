"""NumPy's broadcasting, and its adjoint."""

import numpy as np

from fastbp._checks import Array
from fastbp.op import Context, Op


def unbroadcast(dy: Array, shape: tuple[int, ...]) -> Array:
    """Adjoint of broadcasting ``shape`` to that of dy: the sum over the axes that were added or stretched."""
    if dy.shape == shape:
        return dy
    added = dy.ndim - len(shape)
    stretched = tuple(i + added for i, n in enumerate(shape) if n == 1 and dy.shape[i + added] != 1)
    dx: Array = np.add.reduce(dy, axis=(*range(added), *stretched)).reshape(shape)
    return dx


class BroadcastTo(Op):
    """x repeated along the axes that ``shape`` adds or stretches; dx is the sum of dy over them."""

    kind = "broadcast_to"

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, ctx: Context, x: Array) -> Array:
        ctx.saved = (x.shape,)
        try:
            return np.broadcast_to(x, self.shape)
        except ValueError:
            raise ValueError(f"the shape {x.shape} cannot be broadcast to {self.shape}") from None

    def backward(self, ctx: Context, dy: Array) -> Array:
        return unbroadcast(dy, ctx.saved[0])
