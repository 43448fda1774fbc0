"""A network in float64, layer by layer from the definitions: outputs, gradients, and how exact they can be."""

import math

import numpy as np
import reference

from fastbp.layers import Conv
from fuzz import naive


def axes_of(layer, image):
    """The axes of a convolution or a pool on an image."""
    dimensions = len(image)

    def each(value):
        return [value] * dimensions if isinstance(value, int) else list(value)

    size = each(layer.size)
    stride = size if layer.stride is None else each(layer.stride)
    sides = [(0, 0)] * dimensions
    if not isinstance(layer.padding, str):
        sides = [(side, side) if isinstance(side, int) else tuple(side) for side in each(layer.padding)]
    ceil = getattr(layer, "ceil", False)
    numbers = zip(image, size, stride, sides, each(layer.dilation), strict=True)
    axes = [naive.Axis(n, k, s, *side, d, ceil) for n, k, s, side, d in numbers]
    return [naive.same(axis) for axis in axes] if layer.padding == "same" else axes


class NaiveNetwork:
    """What `net` does with its present weights.

    ``kink``: how near the nearest point without derivative was in the last pass, relative to the numbers around it.
    ``terms``: the roundings that any result has behind it.
    """

    def __init__(self, net):
        self.net = net
        self.dtype = net.dtype

    def forward(self, x):
        self.kink, self.terms, self.saved, self.largest = math.inf, 8.0, [], 1.0
        for layer in self.net.layers:
            before, x = x, self._forward(layer, x)
            self.saved.append((layer, before, x))
            self.largest = max(self.largest, float(np.abs(x).max(initial=0)))
        return x

    def _near(self, gaps):
        gaps = np.abs(gaps[gaps != 0])
        self.kink = min(self.kink, float(gaps.min(initial=math.inf)) / self.largest)

    def _forward(self, layer, x):
        kind, w = type(layer).__name__, [p.value.astype(np.float64) for p in layer.parameters]
        if kind == "Affine":
            self.terms += 2 * x.shape[1] + 2 * len(x) + 2 * layer.n
            return x @ w[0].T + (w[1] if layer.bias else 0)
        if isinstance(layer, Conv):
            axes = axes_of(layer, x.shape[2:])
            # twice, and more where Winograd's algorithm transforms
            self.terms += 8 * (w[0][0].size + len(w[0]) + len(x) * math.prod(axis.count for axis in axes))
            return naive.convolve(x, w[0], w[1] if layer.bias else None, layer.groups, axes)
        if "MaxPool" in kind:
            axes = axes_of(layer, x.shape[2:])
            two = np.sort(naive.columns(x, axes, -np.inf), -1)[..., -2:]
            if two.shape[-1] == 2:
                with np.errstate(invalid="ignore"):
                    self._near(np.nan_to_num(two[..., 1] - two[..., 0], posinf=np.inf))
            return naive.max_pool(x, axes)[0]
        if "Pool" in kind:
            self.terms += 16 + math.prod(x.shape[2:])
            if kind == "GlobalAvgPool2d":
                return x.mean((2, 3))
            return naive.avg_pool(x, axes_of(layer, x.shape[2:]), layer.count_padding)
        if kind in ("Softmax", "LogSoftmax"):
            self.terms += 4 * x.shape[1] + 16 + 8 * self.largest
            return (reference.softmax if kind == "Softmax" else reference.log_softmax)(x)
        if kind == "Flatten":
            return x.reshape(len(x), math.prod(x.shape[1:]))
        self.terms += 8
        if kind in ("ReLU", "LeakyReLU"):
            self._near(x)
        return reference.activation(NAMES[kind], x, getattr(layer, "slope", 0.0))

    def backward(self, delta):
        """Gradients by all parameters, in order, and the largest that the error of each can be for an eps of 1."""
        gradients, bounds = [], []
        for layer, x, y in reversed(self.saved):
            delta, *own = self._backward(layer, delta, x, y)
            gradients[:0] = own
            if own:
                most = max(float(np.abs(x).max(initial=0)), 1.0)
                bounds[:0] = [self.terms * most * (1 + self._reaching)] * len(own)
        return gradients, bounds

    def _backward(self, layer, delta, x, y):
        kind, w = type(layer).__name__, [p.value.astype(np.float64) for p in layer.parameters]
        if w:
            places = (0, *range(2, delta.ndim))
            self._reaching = float(np.abs(delta).sum(places).max(initial=0))
        if kind == "Affine":
            return delta @ w[0], delta.T @ x, *([delta.sum(0)] if layer.bias else [])
        if isinstance(layer, Conv):
            dx, dw, db = naive.convolve_backward(delta, x, w[0], layer.groups, axes_of(layer, x.shape[2:]))
            return dx, dw, *([db] if layer.bias else [])
        if "MaxPool" in kind:
            axes = axes_of(layer, x.shape[2:])
            return [naive.max_pool_backward(delta, naive.max_pool(x, axes)[1], x.shape, axes)]
        if kind == "GlobalAvgPool2d":
            return [np.broadcast_to(delta[..., None, None] / math.prod(x.shape[2:]), x.shape)]
        if "AvgPool" in kind:
            return [naive.avg_pool_backward(delta, x.shape, axes_of(layer, x.shape[2:]), layer.count_padding)]
        if kind in ("Softmax", "LogSoftmax"):
            return [(reference.softmax_backward if kind == "Softmax" else reference.log_softmax_backward)(delta, y)]
        if kind == "Flatten":
            return [delta.reshape(x.shape)]
        return [delta * reference.activation_slope(NAMES[kind], y, getattr(layer, "slope", 0.0))]


NAMES = {"Identity": "identity", "ReLU": "relu", "LeakyReLU": "leaky_relu", "Sigmoid": "sigmoid", "Tanh": "tanh"}
