"""Operations of the user's: black boxes whose results are checked."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp._checks import Array, as_array
from fastbp.graph.node import Node, describe
from fastbp.op import Context, Op


class Checked(Op):
    """An operation of the user's: it gets read-only arrays, and what it returns is checked."""

    def __init__(self, op: Op) -> None:
        self.op, self.kind, self.undefined = op, op.kind, op.undefined
        self.is_differentiable, self.needs_equal_dtypes = op.is_differentiable, op.needs_equal_dtypes
        self.accumulates = op.accumulates

    def forward(self, ctx: Context, *inputs: Array) -> Any:
        made = self.op.forward(ctx, *map(_read_only, inputs))
        ctx.saved = (ctx.saved, [(x.shape, x.dtype) for x in inputs])
        results = made if isinstance(made, tuple) else (made,)
        if isinstance(made, list):
            raise TypeError("forward must return an array, or a tuple of arrays, got a list")
        if not results:
            raise TypeError("forward must return an array, or a tuple of arrays, got an empty tuple")
        arrays = tuple(_as_output(y) for y in results)
        return arrays if isinstance(made, tuple) else arrays[0]

    def backward(self, ctx: Context, *dys: Array | None) -> tuple[Array | None, ...]:
        saved = ctx.saved
        ctx.saved, given = saved
        try:
            made = self.op.backward(ctx, *(None if dy is None else _read_only(dy) for dy in dys))
        finally:
            ctx.saved = saved
        name = describe(ctx) if isinstance(ctx, Node) else self.kind
        if isinstance(made, list):
            raise TypeError(f"{name}: backward must return an array, or a tuple of them, got a list")
        gradients = made if isinstance(made, tuple) else (made,)
        if len(gradients) != len(given):
            raise ValueError(
                f"{name}: backward must return {len(given)} gradients, one by each input, got {len(gradients)}"
            )
        of_outputs = {dy.dtype for dy in dys if dy is not None}
        for i, (gradient, (shape, dtype)) in enumerate(zip(gradients, given, strict=True)):
            if gradient is None or not ctx.needs[i]:
                continue
            if np.shape(gradient) != shape:
                raise ValueError(
                    f"{name}: the gradient by input {i} must have its shape {shape}, got {np.shape(gradient)}"
                )
            got = np.asarray(gradient).dtype
            if got not in {dtype, *of_outputs}:
                raise TypeError(f"{name}: the gradient by input {i} must be {dtype} as it is, got {got}")
        return gradients

    def kinks(self, ctx: Context, *inputs: Array) -> tuple[Array, Array] | None:
        return self.op.kinks(ctx, *inputs)


def _read_only(x: Array) -> Array:
    view = x.view()
    view.flags.writeable = False
    return view


def _as_output(y: Any) -> Array:
    if y is None:
        raise TypeError("forward must return an array, or a tuple of arrays, got None")
    array = as_array(y, "the output")
    if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8)):
        raise TypeError(f"forward must return real numbers in single or double precision, got dtype {array.dtype}")
    return array


class Functions(Op):
    """An operation made of two functions."""

    def __init__(self, forward: Callable[..., Any], backward: Callable[..., Any], name: str) -> None:
        self._forward, self._backward = forward, backward
        self.kind = name

    def forward(self, ctx: Context, *inputs: Array) -> Any:
        return self._forward(ctx, *inputs)

    def backward(self, ctx: Context, *dys: Array | None) -> Any:
        return self._backward(ctx, *dys)
