"""How a chain of layers is run: which layer writes where, and what is fused.

Three fusions keep the passes over memory few:

    forward     activation behind Affine or Conv           one product with the activation in its epilogue
    backward    activation before Affine, Conv or MaxPool  dx times f'(h) on the way, nothing left for the activation
    both        Conv, activation or none, MaxPool          results are pooled image by image, and never stored

Between the activation and what takes its derivative there may be a Flatten, which leaves every number in its place.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeGuard

import numpy as np

from fastbp._checks import Array, Real
from fastbp.layers import Activation, Conv, Flatten, Layer, MaxPool
from fastbp.op import Context


class Deltas:
    """Two arrays in which gradients by the inputs of a chain of operations take turns.

    Going back, an operation reads the gradient by its output and writes the one by its input; none before is needed
    any more. So a chain takes no more memory for them than the two largest.
    """

    def __init__(self) -> None:
        self._arrays: list[Array] = [np.empty(0), np.empty(0)]

    def reserve(self, sizes: Sequence[int], dtype: Real) -> None:
        """Have room for gradients of as many elements."""
        for turn, size in enumerate(sizes):
            if self._arrays[turn].size < size or self._arrays[turn].dtype != dtype:
                self._arrays[turn] = np.empty(0)  # freed before the new one is made
                self._arrays[turn] = np.empty(size, dtype)

    def beside(self, dy: Array, shape: tuple[int, ...]) -> Array:
        """Room for a gradient of this shape that ``dy`` is not in."""
        turn = 1 if np.may_share_memory(self._arrays[0], dy) else 0
        size = math.prod(shape)
        if self._arrays[turn].size < size or self._arrays[turn].dtype != dy.dtype:
            self._arrays[turn] = np.empty(size, dy.dtype)
        return self._arrays[turn][:size].reshape(shape)


class LayerContext(Context):
    """The context of a layer in a chain.

    Gradients by parameters go to where the parameters keep them, or for no ``layer`` to new arrays; those by inputs
    and, with ``keep_buffers``, outputs to arrays that are used again.
    """

    def __init__(self, layer: Layer | None = None, *, keep_buffers: bool = False, deltas: Deltas | None = None) -> None:
        super().__init__()
        self._parameters = () if layer is None else layer.parameters
        self._buffers: dict[str, Array] | None = {} if keep_buffers else None
        self._deltas = deltas
        self.accumulate = False
        self.by_parameters: tuple[Array | None, ...] = ()  # the last gradients

    def output(self, name: str, shape: tuple[int, ...], dtype: Real, label: str = "") -> Array:
        if self._buffers is None:
            return super().output(name, shape, dtype, label)
        buffer = self._buffers.get(name)
        if buffer is None or len(buffer) < shape[0]:
            buffer = self._buffers[name] = super().output(name, shape, dtype, label)
        return buffer if len(buffer) == shape[0] else buffer[: shape[0]]

    def gradient(self, i: int, shape: tuple[int, ...], dy: Array) -> tuple[Array, bool]:
        if i > len(self._parameters):
            return np.empty(shape, dy.dtype), False
        if i > 0:
            return self._parameters[i - 1].grad, self.accumulate
        return (np.empty(shape, dy.dtype) if self._deltas is None else self._deltas.beside(dy, shape)), False

    def receive(self, gradients: Sequence[Array | None]) -> None:
        """Store gradients by the parameters that a layer did not write to where they belong."""
        self.by_parameters = tuple(gradients)
        for parameter, gradient in zip(self._parameters, gradients, strict=False):
            if gradient is not None and gradient is not parameter.grad:
                parameter.receive(gradient, accumulate=self.accumulate)


def _is_elementwise(layer: Layer) -> TypeGuard[Activation]:
    """Whether the kernels' f and f' are what the layer computes."""
    return _is_plain(layer, Activation)


def _heeds(layer: Layer, flag: str) -> bool:
    """Whether the layer says so, and no class below the one that says it has another forward or backward."""
    kinds = type(layer).__mro__
    said, forward, backward = (
        next(i for i, kind in enumerate(kinds) if name in vars(kind)) for name in (flag, "forward", "backward")
    )
    return bool(getattr(layer, flag)) and said <= min(forward, backward)


def _is_plain(layer: Layer, kind: type[Layer]) -> bool:
    """Whether the layer does what its ``kind`` does: a subclass may have overridden it."""
    of_layer = type(layer)
    return isinstance(layer, kind) and of_layer.forward is kind.forward and of_layer.backward is kind.backward


class Plan:
    """One context per layer. With kept buffers, a pass over a batch not larger than any before allocates no array.

    Gradients by parameters are stored in these; without ``stores_gradients`` they stay in the contexts.
    """

    def __init__(self, layers: Sequence[Layer], *, keep_buffers: bool, stores_gradients: bool = True) -> None:
        self.layers = list(layers)
        self._deltas = Deltas() if keep_buffers else None
        self.contexts = [
            LayerContext(layer if stores_gradients else None, keep_buffers=keep_buffers, deltas=self._deltas)
            for layer in layers
        ]
        self._sizes = [0] * len(layers)  # of the inputs in the last pass
        self.loss_context = LayerContext(keep_buffers=keep_buffers)
        self._fused = [False] * len(layers)  # done by a layer before, on the way forward
        self._folded = [False] * len(layers)  # done by another layer, on the way backward
        for i, layer in enumerate(layers):
            if not _is_elementwise(layer):
                continue
            if i and _heeds(layers[i - 1], "is_fusible"):
                self.contexts[i - 1].activation, self.contexts[i - 1].slope = layer.code, layer.slope
                self._fused[i] = True
            behind = i + 1
            while behind < len(layers) and type(layers[behind]) is Flatten:
                behind += 1
            if behind < len(layers) and _heeds(layers[behind], "takes_derivative"):
                self.contexts[behind].below, self.contexts[behind].below_slope = layer.code, layer.slope
                self._folded[i] = True
        for i, layer in enumerate(layers):
            behind = i + 2 if i + 1 < len(layers) and self._fused[i + 1] else i + 1
            if behind == len(layers) or not _is_plain(layer, Conv) or not _is_plain(layers[behind], MaxPool):
                continue
            if _heeds(layers[behind], "takes_derivative"):
                self.contexts[i].pool = layers[behind]
                self._fused[behind] = self._folded[behind] = True
        with_parameters = [i for i, layer in enumerate(layers) if layer.parameters]
        self._first = with_parameters[0] if with_parameters else len(layers)

    def kept_outputs(self) -> list[int]:
        """Layers whose outputs take memory of their own: the last ones of fused ones, and not `Flatten`, a view."""
        fused = [*self._fused[1:], False]
        kept = [i for i, behind in enumerate(fused) if not behind]
        return [i for i in kept if not isinstance(self.layers[i], Flatten)]

    def delta_sizes(self, sizes: Sequence[int]) -> list[int]:
        """Elements of the two arrays of `Deltas`, for layers with inputs of ``sizes``."""
        needed, turn = [0, 0], 1
        for i in range(len(self.layers) - 1, self._first, -1):
            if not self._folded[i] and type(self.layers[i]) is not Flatten:
                turn = 1 - turn
                needed[turn] = max(needed[turn], sizes[i])
        return needed

    def forward(self, x: Array, parameters: Iterable[Array] | None = None) -> Array:
        """The output for ``x``, with these values of all parameters if they are given.

        It may be a kept buffer, or ``x`` itself.
        """
        values = iter(self._values() if parameters is None else parameters)
        for i, (layer, ctx, fused) in enumerate(zip(self.layers, self.contexts, self._fused, strict=True)):
            self._sizes[i] = x.size
            if fused:
                ctx.saved = (x,)
            else:
                x = layer.forward(ctx, x, *islice(values, len(layer.parameters)))
        return x

    def _values(self) -> Iterator[Array]:
        return (parameter.value for layer in self.layers for parameter in layer.parameters)

    def backward(
        self,
        delta: Array,
        *,
        input_grad: bool = False,
        l2: float = 0.0,
        accumulate: bool = False,
        rate: float | None = None,
    ) -> Array | None:
        """Parameter gradients, or with ``rate`` updates, from ``delta``; the gradient by the input if asked for."""
        last = 0 if input_grad else self._first
        if self._deltas is not None:
            self._deltas.reserve(self.delta_sizes(self._sizes), delta.dtype)
        gradient: Array | None = delta
        for i in range(len(self.layers) - 1, last - 1, -1):
            ctx = self.contexts[i]
            ctx.needs = (input_grad or i > last, *(True for _ in self.layers[i].parameters))
            if self._folded[i]:
                continue
            ctx.l2, ctx.accumulate, ctx.rate = l2, accumulate, rate
            assert gradient is not None
            gradients = self.layers[i].backward(ctx, gradient)
            if isinstance(gradients, tuple):
                gradient, *by_parameters = gradients
                ctx.receive(by_parameters)
            else:
                gradient = gradients
        return gradient if input_grad else None
