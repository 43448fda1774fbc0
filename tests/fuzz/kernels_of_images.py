"""Convolutions and pools in an `Arena`: see ``parts/kernels.py``."""

import numpy as np
import reference

from fastbp import kernels
from fastbp.kernels.epilogue import IDENTITY
from fuzz import naive
from fuzz.arena import SLOPE, activation, double, exact, run
from fuzz.arrays import integers, pick
from fuzz.finding import check_close


def images(rng, **options):
    dimensions = int(rng.integers(1, 4))
    image = (40, 12, 7)[dimensions - 1]
    axes = naive.draw(rng, dimensions, image, (6, 4, 3)[dimensions - 1], **options)
    if rng.integers(10) == 0:  # rows as wide as a cache
        last = axes[-1]
        wide = naive.Axis(
            int(rng.integers(100, 5000)), last.size, last.stride, last.before, last.behind, last.dilation, last.ceil
        )
        if wide.count and (options.get("pads_only", True) or naive.meets_image(wide)):
            axes = [naive.Axis(1, 1) for _ in axes[1:]] + [wide]
    return axes


def convolutions(rng, arena):
    axes, groups = images(rng), pick(rng, 1, 1, 2, 3)
    N, C, F = int(rng.integers(0, 4)), groups * int(rng.integers(1, 4)), groups * int(pick(rng, 1, 3, 8, 17, 33))
    if rng.integers(6) == 0:  # by Winograd's algorithm
        axes = [naive.Axis(int(rng.integers(3, 15)), 3, 1, *rng.integers(0, 3, 2).tolist()) for _ in range(2)]
        C, F = C * 12, groups * int(rng.integers(12, 20))
    image, window, output = zip(*((axis.image, axis.size, axis.count) for axis in axes), strict=True)
    if max(C * np.prod(image), F * np.prod(output)) * max(1, N) > 60_000:
        N, C, F = min(N, 1), groups, groups
    numbers = {**naive.keywords(rng, axes), "groups": groups}
    arena.label = f"N {N}, C {C}, F {F}, groups {groups}, {axes}"
    code, name = activation(rng)
    kind = pick(rng, "forward", "delta", "gradient", "update", "pool")
    w, x_shape, y_shape = arena.integers(F, C // groups, *window), (N, C, *image), (N, F, *output)
    if kind == "pool":
        return pooled(rng, arena, axes, groups, numbers, w, x_shape, y_shape)
    if kind == "forward":
        x, b, out = arena.integers(*x_shape), pick(rng, None, arena.integers(F)), arena.output(*y_shape)
        run(arena, kernels.conv_activation_forward, x, w, b, out, code, SLOPE, **numbers)
        return exact(out, reference.activation(name, naive.convolve(x, w, b, groups, axes), SLOPE), "conv_forward")
    delta = arena.integers(*y_shape)
    if kind == "delta":
        h, dx = pick(rng, None, arena.integers(*x_shape)), arena.output(*x_shape)
        run(arena, kernels.conv_delta, delta, w, h, dx, IDENTITY if h is None else code, SLOPE, **numbers)
        slope = 1 if h is None else reference.activation_slope(name, h, SLOPE)
        expected, _, _ = naive.convolve_backward(delta, np.zeros(x_shape), w, groups, axes)
        return exact(dx, expected * slope, "conv_delta")
    x, l2 = arena.integers(*x_shape), pick(rng, 0.0, 0.5)
    _, dw, db = naive.convolve_backward(delta, x, w, groups, axes)
    bias = integers(rng, (F,))
    if kind == "gradient":
        accumulate, before = bool(rng.integers(2)), integers(rng, w.shape)
        made, made_b = arena.changing(before), arena.changing(bias)
        run(arena, kernels.conv_gradient, delta, x, w, made, made_b, l2, accumulate=accumulate, **numbers)
        exact(made, dw + 2 * l2 * w + before * accumulate, "dw")
        return exact(made_b, db + bias * accumulate, "db")
    before = double(w)[0]
    updated, made_b = arena.changing(before), arena.changing(bias)
    run(arena, kernels.conv_sgd_update, delta, x, updated, made_b, 0.5, l2, **numbers)
    exact(updated, before - 0.5 * (dw + 2 * l2 * before), "conv_sgd_update")
    return exact(made_b, bias - 0.5 * db, "conv_sgd_update")


def pooled(rng, arena, axes, groups, numbers, w, x_shape, y_shape):
    """A maximum pool behind the convolution, forward and back."""
    sizes = [int(rng.integers(1, min(axis.count, 4) + 1)) for axis in axes]
    pools = [naive.Axis(axis.count, k, int(rng.integers(1, 4))) for axis, k in zip(axes, sizes, strict=True)]
    of_pool = {"size": sizes, "stride": [pool.stride for pool in pools]}
    code, name = activation(rng)
    x, out_shape = arena.integers(*x_shape), (*y_shape[:2], *(pool.count for pool in pools))
    index_dtype = kernels.index_dtype(tuple(sizes))
    u = reference.activation(name, naive.convolve(x, w, None, groups, axes), SLOPE)
    y, place = naive.max_pool(u, pools)
    if rng.integers(2):
        out, index = arena.output(*out_shape), arena.output(*out_shape, dtype=index_dtype, plain=True)
        pool = kernels.Pooled(index, **of_pool)
        run(arena, kernels.conv_activation_forward, x, w, None, out, code, SLOPE, **numbers, pool=pool)
        exact(out, y, "pooled conv_forward")
        return exact(index, place, "index of pooled conv_forward")
    index, largest = arena.given(place, index_dtype, plain=True), arena.given(y, plain=True)
    pool = kernels.Pooled(index, **of_pool, y=largest, activation=code, slope=SLOPE)
    dy, dx, dw, db = arena.integers(*out_shape), arena.output(*x_shape), arena.output(*w.shape), arena.output(len(w))
    delta = naive.max_pool_backward(dy * reference.activation_slope(name, y, SLOPE), place, y_shape, pools)
    expected = naive.convolve_backward(delta, x, w, groups, axes)
    if rng.integers(2):
        dw[...], db[...] = 0, 0
        run(arena, kernels.conv_delta, dy, w, None, dx, **numbers, pool=pool)
        return exact(dx, expected[0], "pooled conv_delta")
    dx[...] = 0
    run(arena, kernels.conv_gradient, dy, x, w, dw, db, **numbers, pool=pool)
    exact(dw, expected[1], "pooled dw")
    return exact(db, expected[2], "pooled db")


def pools(rng, arena):
    ceil = bool(rng.integers(2))
    axes = images(rng, ceil=ceil, pads_only=False)
    window, arena.label = [axis.size for axis in axes], str(axes)
    shape = int(rng.integers(0, 4)), int(rng.integers(0, 4))
    x_shape, y_shape = (*shape, *(axis.image for axis in axes)), (*shape, *(axis.count for axis in axes))
    numbers, eps = {"size": window, **naive.keywords(rng, axes), "ceil": ceil}, reference.eps(arena.dtype)
    kind = pick(rng, "max", "delta", "avg", "spread", "global", "global back")
    counted = bool(rng.integers(2))
    if kind == "max":
        x, out = arena.integers(*x_shape), arena.output(*y_shape)
        index = arena.output(*y_shape, dtype=kernels.index_dtype(tuple(window)))
        run(arena, kernels.max_pool_forward, x, out, index, **numbers)
        y, place = naive.max_pool(x, axes)
        exact(out, y, "max_pool_forward")
        return exact(index, place, "index of max_pool_forward")
    if kind == "delta":
        code, name = activation(rng)
        largest, place = naive.max_pool(integers(rng, x_shape), axes)
        dy, y, dx = arena.integers(*y_shape), arena.given(largest), arena.output(*x_shape)
        index = arena.given(place, kernels.index_dtype(tuple(window)))
        run(arena, kernels.max_pool_delta, dy, index, y, dx, code, SLOPE, **numbers)
        delta = dy * reference.activation_slope(name, y, SLOPE)
        return exact(dx, naive.max_pool_backward(delta, place, x_shape, axes), "max_pool_delta")
    if kind == "avg":
        x, out = arena.integers(*x_shape), arena.output(*y_shape)
        run(arena, kernels.avg_pool_forward, x, out, **numbers, count_padding=counted)
        return check_close(out, naive.avg_pool(x, axes, counted), 16 * eps, "avg_pool_forward")
    if kind == "spread":
        dy, dx = arena.integers(*y_shape), arena.output(*x_shape)
        run(arena, kernels.avg_pool_backward, dy, dx, **numbers, count_padding=counted)
        expected = naive.avg_pool_backward(dy, x_shape, axes, counted)
        return check_close(dx, expected, eps * 16 * (np.prod(window) + 2), "avg_pool_backward")
    n = np.prod(x_shape[2:])
    if kind == "global":
        x, out = arena.integers(*x_shape), arena.output(*shape)
        run(arena, kernels.global_avg_pool_forward, x, out)
        return check_close(out, double(x)[0].reshape(*shape, n).mean(2), 16 * eps, "global_avg_pool_forward")
    dy, dx = arena.integers(*shape), arena.output(*x_shape)
    run(arena, kernels.global_avg_pool_backward, dy, dx)
    expected = np.broadcast_to(double(dy)[0].reshape(*shape, *[1] * len(axes)) / n, x_shape)
    return check_close(dx, expected, 8 * eps, "global_avg_pool_backward")


def columns(rng, arena):
    axes = images(rng)
    arena.label = str(axes)
    shape = int(rng.integers(0, 3)), int(rng.integers(1, 4))
    x_shape, numbers = (*shape, *(axis.image for axis in axes)), naive.keywords(rng, axes)
    numbers["size"] = [axis.size for axis in axes]
    elements, windows = (int(np.prod([getattr(axis, key) for axis in axes])) for key in ("size", "count"))
    cols_shape = shape[0], shape[1] * elements, windows
    if rng.integers(2):
        x, out = arena.integers(*x_shape), arena.output(*cols_shape)
        run(arena, kernels.im2col, x, out, **numbers)
        expected = naive.columns(x, axes).swapaxes(2, 3).reshape(cols_shape)
        return exact(out, expected, "im2col")
    cols, out = arena.integers(*cols_shape), arena.output(*x_shape)
    run(arena, kernels.col2im, cols, out, **numbers)
    each = double(cols)[0].reshape(*shape, elements, windows).swapaxes(2, 3)
    return exact(out, naive.scattered(each, x_shape, axes), "col2im")
