"""Kernels on arrays in odd layouts that lie flush against pages which may not be touched; results are exact integers.

Every output must be written in full, nothing around it, and no input: `Arena` sees to that.
"""

import numpy as np
import reference

from fastbp import kernels
from fastbp.kernels import epilogue
from fuzz.arena import SLOPE, Arena, Refused, activation, double, exact, run
from fuzz.arrays import integers, pick, size
from fuzz.finding import Finding, check_close
from fuzz.kernels_of_images import columns, convolutions, pools

# --- products ---------------------------------------------------------------------------------------------------------


def products(rng, arena):
    M, N, K = size(rng), size(rng), size(rng)
    if rng.integers(12) == 0:
        K = 4096 // arena.dtype.itemsize  # rows that start in one set of a cache are packed
    if rng.integers(30) == 0:
        M, N, K = rng.permutation([int(rng.integers(1000, 9000)), size(rng, 30), size(rng, 30)]).tolist()
    code, name = activation(rng)
    kind = pick(rng, "matmul", "forward", "delta", "weight", "bias", "update", "backward")
    a, b = arena.integers(M, K), arena.integers(K, N)
    product = np.matmul(*double(a, b))
    if kind == "matmul":
        out = arena.output(M, N)
        run(arena, kernels.matmul, a, b, out)
        return exact(out, product, "matmul")
    if kind == "forward":
        bias, out = pick(rng, None, arena.integers(N)), arena.output(M, N)
        run(arena, kernels.affine_activation_forward, a, b.T, bias, out, code, SLOPE)
        u = product if bias is None else product + double(bias)[0]
        return exact(out, reference.activation(name, u, SLOPE), "affine_forward")
    if kind == "delta":
        h, out = pick(rng, None, arena.integers(M, N)), arena.output(M, N)
        run(arena, kernels.affine_delta, a, b, h, out, epilogue.IDENTITY if h is None else code, SLOPE)
        slope = 1 if h is None else reference.activation_slope(name, h, SLOPE)
        return exact(out, product * slope, "affine_delta")
    if kind == "backward":
        dy, x, w = arena.integers(M, N), a, arena.integers(N, K)
        dx, dw, db = arena.output(M, K), arena.output(N, K), arena.output(N)
        run(arena, kernels.affine_backward, dy, x, w, dx, dw, db, 0.5)
        delta, x, w = double(dy, x, w)
        exact(dx, delta @ w, "dx")
        exact(dw, delta.T @ x + w, "dw")
        return exact(db, delta.sum(0), "db")
    if kind == "bias":
        accumulate, before = bool(rng.integers(2)), integers(rng, (N,))
        delta, db = arena.integers(M, N), arena.changing(before)
        run(arena, kernels.affine_bias_gradient, delta, db, accumulate=accumulate)
        return exact(db, double(delta)[0].sum(0) + before * accumulate, "affine_bias_gradient")
    before = integers(rng, (M, N))
    w = arena.changing(before)
    if kind == "weight":
        accumulate, l2, decayed = bool(rng.integers(2)), pick(rng, 0.0, 0.5), arena.integers(M, N)
        run(arena, kernels.affine_weight_gradient, a.T, b, decayed, w, l2, accumulate=accumulate)
        return exact(w, product + 2 * l2 * double(decayed)[0] + before * accumulate, "affine_weight_gradient")
    start = integers(rng, (M,))
    bias, l2 = arena.changing(start), pick(rng, 0.0, 0.5)
    run(arena, kernels.affine_sgd_update, a.T, b, w, bias, 0.5, l2)
    exact(w, before - 0.5 * (product + 2 * l2 * before), "affine_sgd_update")
    return exact(bias, start - 0.5 * double(a)[0].sum(1), "affine_sgd_update")


# --- element by element and row by row --------------------------------------------------------------------------------


def elements(rng, arena):
    shape = [size(rng, 30) for _ in range(int(rng.integers(0, 4)))]
    if rng.integers(20) == 0:
        shape = [int(rng.integers(16_000, 50_000))]
    name, eps = pick(rng, *reference.ACTIVATIONS), reference.eps(arena.dtype)
    code = epilogue.NAMES.index(name)
    x = arena.integers(*shape)
    if rng.integers(4) == 0:
        before = integers(rng, shape)
        w, l2 = arena.changing(before), pick(rng, 0.0, 0.5)
        run(arena, kernels.sgd_update, x, w, 0.5, l2)
        return exact(w, before - 0.5 * (x + 2 * l2 * before), "sgd_update")
    if rng.integers(2):
        out = arena.output(*shape)
        run(arena, kernels.activation_forward, x, out, code, SLOPE)
        y = reference.activation(name, x, SLOPE)
        return check_close(out, y, 3 * eps * np.abs(y), f"{name}_forward")
    h, dx = arena.integers(*shape), arena.output(*shape)
    run(arena, kernels.activation_backward, x, h, dx, code, SLOPE)
    expected = double(x)[0] * reference.activation_slope(name, h, SLOPE)
    return check_close(dx, expected, 4 * eps * np.abs(expected), f"{name}_backward")


def rows(rng, arena):
    N, O = 1 + size(rng), 1 + size(rng)
    eps, u = reference.eps(arena.dtype), arena.integers(N, O)
    name = pick(rng, "softmax", "log_softmax", "labels", "one of k", "squares", "shares")
    if "softmax" in name:
        out = arena.output(N, O)
        if rng.integers(2):
            run(arena, getattr(kernels, f"{name}_forward"), u, out)
            return check_close(out, getattr(reference, name)(u), (O + 32) * eps * 4, f"{name}_forward")
        y = arena.given(np.tanh(integers(rng, (N, O))))
        run(arena, getattr(kernels, f"{name}_backward"), u, y, out)
        return check_close(
            out, getattr(reference, f"{name}_backward")(u, y), (O + 32) ** 2 * eps * 16, f"{name}_backward"
        )
    delta = arena.output(N, O)
    labels = rng.integers(0, O, N)
    if name in ("labels", "one of k"):
        is_labels = name == "labels"
        t = arena.given(labels, np.int64, plain=True) if is_labels else arena.given(np.eye(O)[labels])
        value = _value(arena, kernels.softmax_cross_entropy, u, t, delta)
        expected = reference.softmax_cross_entropy(u, np.eye(O)[labels])
    elif name == "squares":
        t = arena.integers(N, O)
        value = _value(arena, kernels.squared_error, u, t, 0.5, delta)
        expected = reference.squared_error(u, t, 0.5)
    else:
        t = arena.given(rng.integers(0, 2, (N, O)))
        value = _value(arena, kernels.sigmoid_cross_entropy, u, t, 0.5, delta)
        expected = reference.sigmoid_cross_entropy(u, t, 0.5)
    check_close(value, expected[0], (O + 32) * eps * (4 + abs(expected[0])), name)
    return check_close(delta, expected[1], (O + 32) * eps * 16, name)


def _value(arena, function, *arguments):
    values = []

    def loss(*arguments):
        values.append(function(*arguments))

    loss.__name__ = function.__name__
    run(arena, loss, *arguments)
    return values[0]


def case(rng):
    kind = pick(rng, products, products, elements, rows, convolutions, convolutions, convolutions, pools, columns)
    arena = Arena(rng)
    try:
        kind(rng, arena)
    except Refused:
        return "refused"
    except Finding as finding:
        raise Finding(finding.kind, f"{finding}; {arena.dtype} {arena.label}") from finding
    return kind.__name__
