"""Matrix product of arrays of any number of axes, as NumPy's ``@``."""

import numpy as np

from fastbp._checks import Array
from fastbp.kernels.gemm import gemm, multiply
from fastbp.op import Context, Op
from fastbp.ops.broadcasting import unbroadcast


class MatMul(Op):
    """c = a b with a (..., M, K), b (..., K, N):   da = dc b',   db = a' dc.

    A vector counts as a row on the left and as a column on the right; axes in front are broadcast.
    """

    needs_equal_dtypes = True
    returns_new = True
    accumulates = (0, 1)

    def forward(self, ctx: Context, a: Array, b: Array) -> Array:
        ctx.saved = (a, b)
        if a.ndim == b.ndim == 2 and a.shape[1] == len(b):
            c = ctx.output("c", (len(a), b.shape[1]), a.dtype)
            multiply(a, b, c)
            return c
        _check(a, b)
        rows, columns = _matrices(a, b)
        c = _products(rows, columns)
        return c.reshape((*c.shape[:-2], *a.shape[-2:-1], *(b.shape[-1:] if b.ndim > 1 else ())))

    def backward(self, ctx: Context, dc: Array) -> tuple[Array | None, Array | None]:
        a, b = ctx.saved
        needs_a, needs_b = ctx.needs
        da = db = None
        if a.ndim == b.ndim == 2:
            if needs_a:
                da, accumulate = ctx.gradient(0, a.shape, dc)
                gemm(dc, b.T, da, beta=1.0 if accumulate else 0.0)
            if needs_b:
                db, accumulate = ctx.gradient(1, b.shape, dc)
                gemm(a.T, dc, db, beta=1.0 if accumulate else 0.0)
            return da, db
        rows, columns = _matrices(a, b)
        batch = np.broadcast_shapes(rows.shape[:-2], columns.shape[:-2])
        dc = dc.reshape(*batch, rows.shape[-2], columns.shape[-1])
        if needs_a:
            da = unbroadcast(_products(dc, columns.swapaxes(-1, -2)), rows.shape).reshape(a.shape)
        if needs_b:
            db = unbroadcast(_products(rows.swapaxes(-1, -2), dc), columns.shape).reshape(b.shape)
        return da, db


def _check(a: Array, b: Array) -> None:
    if not a.ndim or not b.ndim:
        raise ValueError(f"a matrix product takes arrays of at least one axis, got {a.shape} and {b.shape}")
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(f"the columns of a must be as many as the rows of b, got {a.shape} and {b.shape}")


def _matrices(a: Array, b: Array) -> tuple[Array, Array]:
    return (a[None] if a.ndim == 1 else a), (b[:, None] if b.ndim == 1 else b)


def _products(a: Array, b: Array) -> Array:
    """a b for all pairs of matrices, axes in front broadcast."""
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (np.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (a, b))
    c: Array = np.empty((*batch, a.shape[-2], b.shape[-1]), a.dtype)
    for place in np.ndindex(batch):
        multiply(a[place], b[place], c[place])
    return c
