"""Every function of `fastbp.functional` with arguments that it takes, against float64, and with any others."""

import numpy as np
import reference

from fastbp import functional as F
from fuzz import calls_of_images
from fuzz.arrays import bent, normal, odd, pick, size
from fuzz.calls import Call, arrays
from fuzz.finding import Unchanged, attempt, check_close, require


def any_shape(rng):
    return tuple(
        size(rng, 20 if dimensions > 1 else 70) for dimensions in [int(rng.integers(0, 4))] for _ in range(dimensions)
    )


def magnitude(a, b):
    return np.abs(a, dtype=np.float64) @ np.abs(b, dtype=np.float64)


def product(a, b):
    """a b in float64, and the error of it for an eps of 1: K roundings and a few of the epilogue."""
    return np.matmul(*reference.double(a, b)), (a.shape[1] + 8) * magnitude(a, b)


# --- elementwise ------------------------------------------------------------------------------------------------------


def activation_forward(name):
    def make(rng):
        (x,), (u,) = arrays(rng, any_shape(rng))
        slope = {"slope": float(pick(rng, 0.01, 0.25, 3))} if name == "leaky_relu" and rng.integers(2) else {}
        y = reference.activation(name, u, slope.get("slope", 0.01))
        return Call([x], lambda eps: [(y, 3 * eps * np.abs(y))], slope, [u])

    return make


def activation_backward(name):
    def make(rng):
        shape = any_shape(rng)
        given, (dy, h) = arrays(rng, shape, shape)
        y = reference.activation_slope(name, h, 0.01)
        # 1 - h and 1 + h round, and so do their product and that with dy
        scale = np.abs(dy, dtype=np.float64) * (1 + np.abs(h, dtype=np.float64)) ** 2
        return Call(given, lambda eps: [(dy * y, 4 * eps * scale)], {}, [dy, h])

    return make


def rows_forward(name):
    def make(rng):
        (x,), (u,) = arrays(rng, (size(rng), size(rng)))
        y = getattr(reference, name)(u)
        spread = np.abs(np.asarray(u, np.float64)).max(1, keepdims=True, initial=0)
        relative = 4 * spread + u.shape[1] + 8
        return Call([x], lambda eps: [(y, eps * relative * (np.abs(y) if name == "softmax" else 1))], {}, [u])

    return make


def rows_backward(name):
    def make(rng):
        shape = (size(rng), size(rng))
        given, (dy, h) = arrays(rng, shape, shape, of=lambda rng, *rest: np.tanh(normal(rng, *rest)))
        dx = getattr(reference, f"{name}_backward")(dy, h)
        total = np.abs(dy, dtype=np.float64).sum(1, keepdims=True)
        return Call(given, lambda eps: [(dx, (shape[1] + 12) * eps * 3 * (total + 1))], {}, [dy, h])

    return make


def standardize(rng, *more):
    """Arguments, exact arrays, z, its error for an eps of 1, and 1 + (z / limit)^2; with arrays (N, S) in front."""
    N, S, dtype = size(rng), size(rng), pick(rng, np.float32, np.float64)
    shapes = *((N, S) for _ in more), (N, S), (S,), (S,)
    exact = [(1.25 + np.tanh(normal(rng, shape))).astype(dtype) for shape in shapes]  # all above 0
    given = list(exact)
    limit = pick(rng, {}, {"limit": float(pick(rng, 0.5, 3, 100))})
    x, mean, std = reference.double(*exact[-3:])
    z = (x - mean) / std
    return given, exact, limit, z, 8 * ((x + mean) / std + np.abs(z)), 1 + (z / limit.get("limit", np.inf)) ** 2


def standardize_forward(rng):
    given, exact, limit, z, error, square = standardize(rng)
    return Call(given, lambda eps: [(z / np.sqrt(square), 2 * eps * error)], limit, exact)


def standardize_backward(rng):
    given, exact, limit, z, error, square = standardize(rng, "dy")
    slope = reference.double(exact[0])[0] / reference.double(exact[-1])[0]
    bound = np.abs(slope) * (16 + 3 * np.abs(z) / limit.get("limit", np.inf) ** 2 * error)
    return Call(given, lambda eps: [(slope * square**-1.5, eps * bound)], limit, exact)


def sgd_update(rng):
    shape = any_shape(rng)
    given, (g, w) = arrays(rng, shape, shape)
    lr, l2 = float(rng.random()), float(pick(rng, 0, 0.5))
    bound = 8 * (np.abs(g, dtype=np.float64) + 2 * np.abs(w, dtype=np.float64))
    return Call([*given, lr, l2], lambda eps: [(reference.sgd(g, w, lr, l2), eps * bound)], {}, [g, w])


# --- products ---------------------------------------------------------------------------------------------------------


def matmul(rng):
    M, K, N = size(rng), size(rng, 300), size(rng)
    given, (a, b) = arrays(rng, (M, K), (K, N))
    y, bound = product(a, b)
    return Call(given, lambda eps: [(y, eps * bound)], {}, [a, b])


def affine_forward(name=None):
    def make(rng):
        N, I, O = size(rng), size(rng, 200), size(rng)
        activation = name or pick(rng, *reference.ACTIVATIONS)
        given, exact = arrays(rng, (N, I), (O, I), (O,))
        x, w, b = exact
        if rng.integers(3) == 0:
            given[2], exact, b = None, exact[:2], np.zeros(O)
        u, bound = product(x, w.T)
        y = reference.activation(activation, u + b, 0.01)
        numbers = {} if name else {"activation": activation}
        return Call(given, lambda eps: [(y, eps * (bound + 8 * np.abs(b) + 8 * np.abs(u)) + 4 * eps)], numbers, exact)

    return make


def affine_backward(name=None):
    def make(rng):
        N, I, O = size(rng), size(rng), size(rng)
        shapes = [(N, O), *([(N, O)] if name else []), (N, I), (O, I)]
        given, exact = arrays(rng, *shapes, of=lambda rng, *rest: np.tanh(normal(rng, *rest)))
        dy, *h, x, w = exact
        l2 = float(pick(rng, 0, 0.25))
        delta = dy * reference.activation_slope(name, h[0]) if name else np.asarray(dy, np.float64)
        dx, dx_bound = product(delta, w)
        dw, dw_bound = product(delta.T, x)
        db = delta.sum(0)

        def expected(eps):
            return [
                (dx, eps * (4 * O + dx_bound)),
                (dw + 2 * l2 * w.astype(np.float64), eps * (4 * N + 4 + dw_bound)),
                (db, eps * (N + 8) * (np.abs(delta).sum(0) + N)),
            ]

        return Call(given, expected, {"l2": l2} if l2 else {}, exact)

    return make


def affine_delta(rng):
    N, I, O = size(rng), size(rng), size(rng)
    activation = pick(rng, *reference.ACTIVATIONS)
    given, exact = arrays(rng, (N, O), (O, I), (N, I), of=lambda rng, *rest: np.tanh(normal(rng, *rest)))
    delta, w, h = exact
    through, bound = product(delta, w)
    slope = reference.activation_slope(activation, h, 0.01)
    return Call(
        given,
        lambda eps: [(through * slope, eps * (2 * bound + 8 * np.abs(through)))],
        {"activation": activation},
        exact,
    )


def to_augmented(rng):
    I, O = size(rng), size(rng)
    given, (w, b) = arrays(rng, (O, I), (O,))
    return Call(given, lambda eps: [(np.column_stack([b, w]) if O else np.empty((0, I + 1)), 0)], {}, [w, b])


def from_augmented(rng):
    (given,), (both,) = arrays(rng, (size(rng), 1 + size(rng)))
    return Call([given], lambda eps: [(both[:, 1:], 0), (both[:, 0], 0)], {}, [both])


# --- losses -----------------------------------------------------------------------------------------------------------


def softmax_cross_entropy(rng):
    N, O = 1 + size(rng), 1 + size(rng)
    (given,), (u,) = arrays(rng, (N, O))
    labels = rng.integers(0, O, N)
    one_of_k = np.eye(O)[labels]
    t = pick(rng, labels, labels.astype(np.int8), labels.tolist(), one_of_k, one_of_k.astype(np.float32))
    value, delta = reference.softmax_cross_entropy(u, one_of_k)
    scale = 4 * float(np.abs(u).max()) + O + 16
    return Call([given, t], lambda eps: [(value, eps * scale * 4), (delta, eps * scale * 4)], {}, [u])


def share_loss(rng):
    N, O = 1 + size(rng), 1 + size(rng)
    (given,), (u,) = arrays(rng, (N, O))
    t = rng.random((N, O)).astype(pick(rng, np.float32, np.float64))
    exact = np.asarray(t, np.float64)
    value, delta = reference.sigmoid_cross_entropy(u, exact, 1 / (N * O))
    scale = float(np.abs(u).max()) + 8
    return Call([given, t], lambda eps: [(value, 8 * eps * scale), (delta, 8 * eps)], {}, [u])


def real_loss(name):
    def make(rng):
        N, O = 1 + size(rng), 1 + size(rng)
        given, (y, t) = arrays(rng, (N, O), (N, O))
        half = name == "squared_error" and bool(rng.integers(2))
        scale = 1 / (N * O) if name == "mean_squared_error" else (0.5 if half else 1) / N
        value, delta = reference.squared_error(y, t, scale)
        most = float(np.abs(y).max() + np.abs(t).max()) + 1
        numbers = {"half": True} if half else {}
        # targets take the dtype of the outputs, which rounds them once
        return Call(
            given, lambda eps: [(value, 32 * eps * most**2 * N * O * scale), (delta, 16 * eps * most)], numbers, [y]
        )

    return make


MADE = {
    **{f"{name}_forward": activation_forward(name) for name in reference.ACTIVATIONS},
    **{f"{name}_backward": activation_backward(name) for name in reference.ACTIVATIONS},
    **{f"{name}_forward": rows_forward(name) for name in ("softmax", "log_softmax")},
    **{f"{name}_backward": rows_backward(name) for name in ("softmax", "log_softmax")},
    **{f"affine_{name}_forward": affine_forward(name) for name in ("relu", "sigmoid", "tanh")},
    **{f"affine_{name}_backward": affine_backward(name) for name in ("relu", "sigmoid", "tanh")},
    **calls_of_images.MADE,
    "affine_forward": affine_forward(),
    "affine_backward": affine_backward(),
    "affine_delta": affine_delta,
    "matmul": matmul,
    "to_augmented": to_augmented,
    "from_augmented": from_augmented,
    "standardize_forward": standardize_forward,
    "standardize_backward": standardize_backward,
    "sgd_update": sgd_update,
    "softmax_cross_entropy": softmax_cross_entropy,
    "sigmoid_cross_entropy": share_loss,
    "squared_error": real_loss("squared_error"),
    "mean_squared_error": real_loss("mean_squared_error"),
}
NAMES = [name for name in dir(F) if name.endswith(("_forward", "_backward")) or name in MADE]


def case(rng):
    name = NAMES[int(rng.integers(len(NAMES)))]
    call, function = MADE[name](rng), getattr(F, name)
    if rng.integers(2):
        return refuse(rng, name, function, call)
    inputs = Unchanged(*call.arguments)
    results = function(*call.arguments, **call.numbers)
    inputs.check(name)
    results = results if isinstance(results, tuple) else (results,)
    dtype = np.result_type(np.float32, *(array.dtype for array in call.exact))
    eps, smallest = float(np.finfo(dtype).eps), 8 * float(np.finfo(dtype).smallest_subnormal)
    expected = call.expected(eps)
    require(len(results) == len(expected), f"{name} gives {len(results)} results")
    for result, (value, bound) in zip(results, expected, strict=True):
        if isinstance(result, np.ndarray):
            require(result.dtype == dtype, f"{name} gives {result.dtype}, not {dtype}")
        check_close(result, value, bound + 1e-15 * np.abs(value) + smallest, name)
    return "valid"


def refuse(rng, name, function, call):
    """One or two arguments that may not fit: only errors of one line may come of it."""
    arguments, numbers = list(call.arguments), dict(call.numbers)
    for _ in range(int(rng.integers(1, 3))):
        place = int(rng.integers(len(arguments) + len(numbers)))
        if place < len(arguments):
            array = arguments[place]
            is_array = isinstance(array, np.ndarray) and array.size < 10**6
            arguments[place] = bent(rng, array) if is_array and rng.integers(2) else odd(rng)
        else:
            numbers[list(numbers)[place - len(arguments)]] = odd(rng)
    inputs = Unchanged(*(value for value in arguments if isinstance(value, np.ndarray) and value.size < 10**6))
    _, refused = attempt(function, *arguments, **numbers)
    inputs.check(name)
    return "refused" if refused else "taken"
