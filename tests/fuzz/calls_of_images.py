"""Calls of convolutions and pools; see ``calls.py``."""

import numpy as np
import reference

from fuzz import naive
from fuzz.arrays import normal, pick, size
from fuzz.calls import Call, arrays


def images(rng, dimensions, ceil=False, pads_only=True):
    """Axes that are smaller where there are more of them."""
    return naive.draw(rng, dimensions, (30, 10, 6)[dimensions - 1], (5, 4, 3)[dimensions - 1], ceil, pads_only)


def shapes_of(rng, axes):
    """N, C, F, groups; now and then enough channels for Winograd's algorithm."""
    groups = pick(rng, 1, 1, 2, 3)
    many = 12 if len(axes) == 2 and rng.integers(8) == 0 else 0
    return (
        int(rng.integers(0, 4)),
        groups * int(rng.integers(1, 4) + many),
        groups * int(rng.integers(1, 5) + many),
        groups,
    )


def convolution(dimensions):
    def make(rng):
        axes = images(rng, dimensions)
        N, C, F_, groups = shapes_of(rng, axes)
        if C >= 12 and rng.integers(2):
            axes = [naive.Axis(int(rng.integers(3, 14)), 3, 1, *rng.integers(0, 3, 2).tolist()) for _ in axes]
        image, window = [axis.image for axis in axes], [axis.size for axis in axes]
        numbers = {**naive.keywords(rng, axes), "groups": groups}
        output = [axis.count for axis in axes]
        return axes, (N, C, *image), (F_, C // groups, *window), (N, F_, *output), groups, numbers

    return make


# Winograd's transforms add up to 4 numbers of x and 9 / 4 of w before they multiply
TRANSFORMED = 16


def conv_forward(dimensions):
    def make(rng):
        axes, x_shape, w_shape, _, groups, numbers = convolution(dimensions)(rng)
        activation = pick(rng, *reference.ACTIVATIONS)
        given, exact = arrays(rng, x_shape, w_shape, w_shape[:1])
        x, w, b = exact
        if rng.integers(3) == 0:
            given, exact, b = given[:2], exact[:2], None
        y = reference.activation(activation, naive.convolve(x, w, b, groups, axes), 0.01)
        # with its largest numbers everywhere: the transforms mix neighbours
        most = float(np.abs(x).max(initial=0)) * float(np.abs(w).max(initial=0)) * np.prod(w_shape[1:])
        bound = TRANSFORMED * (np.prod(w_shape[1:]) + 8) * (most + (0 if b is None else np.abs(b).max()) + 1)
        return Call(given, lambda eps: [(y, eps * bound)], {**numbers, "activation": activation}, exact)

    return make


def conv_backward(dimensions):
    def make(rng):
        axes, x_shape, w_shape, y_shape, groups, numbers = convolution(dimensions)(rng)
        given, exact = arrays(rng, y_shape, x_shape, w_shape, of=lambda rng, *rest: np.tanh(normal(rng, *rest)))
        dy, x, w = exact
        l2 = float(pick(rng, 0, 0.25))
        dx, dw, db = naive.convolve_backward(dy, x, w, groups, axes)
        terms = np.prod(w_shape) * np.prod(y_shape[2:]) * max(1, y_shape[0])  # of any of these sums, at most

        def expected(eps):
            bound = eps * TRANSFORMED * (terms + 8)
            return [(dx, bound), (dw + 2 * l2 * np.asarray(w, np.float64), bound), (db, bound)]

        return Call(given, expected, {**numbers, "l2": l2}, exact)

    return make


def pool(dimensions, kind, is_forward):
    def make(rng):
        ceil = bool(rng.integers(2))
        axes = images(rng, dimensions, ceil, pads_only=False)
        numbers = naive.keywords(rng, axes)
        numbers["ceil"] = ceil
        counted = bool(rng.integers(2))
        if kind == "avg":
            numbers["count_padding"] = counted
        window = [axis.size for axis in axes]
        if numbers["stride"] == window and rng.integers(2):
            numbers["stride"] = None
        x_shape = (int(rng.integers(0, 4)), int(rng.integers(0, 4)), *(axis.image for axis in axes))
        y_shape = (*x_shape[:2], *(axis.count for axis in axes))
        if is_forward:
            given, exact = arrays(rng, x_shape)
            y = naive.max_pool(exact[0], axes)[0] if kind == "max" else naive.avg_pool(exact[0], axes, counted)
            scale = np.abs(exact[0]).max(initial=0)
        else:
            given, exact = arrays(rng, y_shape, x_shape)
            dy, x = exact
            if kind == "max":
                y = naive.max_pool_backward(dy, naive.max_pool(x, axes)[1], x_shape, axes)
            else:
                y = naive.avg_pool_backward(dy, x_shape, axes, counted)
            scale = np.abs(dy).max(initial=0) * max(1, np.prod(y_shape[2:]))
        bound = 0 if kind == "max" and is_forward else (np.prod(window) * 8 + 8) * float(scale)
        return Call([*given, window], lambda eps: [(y, eps * bound)], numbers, exact)

    return make


def global_avg_pool_forward(rng):
    (given,), (x,) = arrays(rng, (size(rng, 5), size(rng, 5), 1 + size(rng, 20), 1 + size(rng, 20)))
    y, n = np.asarray(x, np.float64).mean((2, 3)), x.shape[2] * x.shape[3]
    scale = np.abs(x).max(initial=0)
    return Call([given], lambda eps: [(y, eps * (n + 4) * float(scale))], {}, [x])


def global_avg_pool_backward(rng):
    shape = (size(rng, 5), size(rng, 5), 1 + size(rng, 20), 1 + size(rng, 20))
    given, (dy, x) = arrays(rng, shape[:2], shape)
    dx = np.broadcast_to(np.asarray(dy, np.float64)[..., None, None] / (shape[2] * shape[3]), shape)
    return Call(given, lambda eps: [(dx, eps * 2 * np.abs(dx))], {}, [dy, x])


MADE = {
    **{f"conv{d}d_forward": conv_forward(d) for d in (1, 2, 3)},
    **{f"conv{d}d_backward": conv_backward(d) for d in (1, 2, 3)},
    **{f"{kind}_pool{d}d_forward": pool(d, kind, True) for d in (1, 2, 3) for kind in ("max", "avg")},
    **{f"{kind}_pool{d}d_backward": pool(d, kind, False) for d in (1, 2, 3) for kind in ("max", "avg")},
    "global_avg_pool2d_forward": global_avg_pool_forward,
    "global_avg_pool2d_backward": global_avg_pool_backward,
}
