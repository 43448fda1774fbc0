"""Naive references of the kernels in float64, and the rounding errors that the kernels may add."""

import numpy as np

ACTIVATIONS = ("identity", "relu", "leaky_relu", "sigmoid", "tanh")


def eps(dtype):
    return float(np.finfo(dtype).eps)


def double(*arrays):
    return tuple(np.asarray(x, np.float64) for x in arrays)


def assert_within(actual, expected, bound):
    """|actual - expected| <= bound, element by element; NaN and infinity where they are expected, and only there."""
    actual, expected = double(actual, expected)
    bound = np.broadcast_to(bound, expected.shape)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite])
    excess = np.abs(actual[finite] - expected[finite]) - bound[finite]
    assert (excess <= 0).all(), f"error exceeds the bound by {excess.max()}"


def assert_bitwise(actual, expected):
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert np.ascontiguousarray(actual).tobytes() == np.ascontiguousarray(expected).tobytes()


def matmul(a, b):
    """a b, and the sum of |a| |b| to which its error is proportional."""
    a, b = double(a, b)
    with np.errstate(invalid="ignore"):
        return a @ b, np.abs(a) @ np.abs(b)


def product_bound(K, dtype, magnitude):
    """Error of a sum of K products, its epilogue of at most 4 roundings and that of the float64 reference.

    |fl(sum a b) - sum a b| <= K eps sum |a| |b|
    """
    return ((K + 4) * eps(dtype) + (K + 4) * eps(np.float64)) * magnitude


def activation(name, u, slope=0.0):
    (u,) = double(u)
    with np.errstate(over="ignore", invalid="ignore"):
        return {
            "identity": lambda: u.copy(),
            "relu": lambda: np.where(u <= 0, 0, u),
            "leaky_relu": lambda: np.where(u <= 0, slope * u, u),
            "sigmoid": lambda: np.where(u < 0, np.exp(u) / (1 + np.exp(u)), 1 / (1 + np.exp(-u))),
            "tanh": lambda: np.tanh(u),
        }[name]()


def activation_slope(name, y, slope=0.0):
    """f'(u) written with y = f(u)."""
    (y,) = double(y)
    return {
        "identity": lambda: np.ones_like(y),
        "relu": lambda: np.where(y <= 0, 0.0, 1.0),
        "leaky_relu": lambda: np.where(y <= 0, slope, 1.0),
        "sigmoid": lambda: y * (1 - y),
        "tanh": lambda: (1 - y) * (1 + y),
    }[name]()


def log_softmax(u):
    (u,) = double(u)
    if u.shape[1] == 0:
        return u.copy()
    with np.errstate(invalid="ignore", divide="ignore"):
        shifted = u - u.max(1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def softmax(u):
    return np.exp(log_softmax(u))


def softmax_backward(dy, y):
    dy, y = double(dy, y)
    return y * (dy - (dy * y).sum(1, keepdims=True))


def log_softmax_backward(dy, y):
    dy, y = double(dy, y)
    return dy - np.exp(y) * dy.sum(1, keepdims=True)


def one_of_k(labels, classes, dtype=np.float64):
    t = np.zeros((len(labels), classes), dtype)
    t[np.arange(len(labels)), labels] = 1
    return t


def softmax_cross_entropy(u, t):
    """Value and delta for 1-of-K targets."""
    u, t = double(u, t)
    return -(t * log_softmax(u)).sum() / len(u), (softmax(u) - t) / len(u)


def squared_error(y, t, scale):
    y, t = double(y, t)
    return scale * ((t - y) ** 2).sum(), 2 * scale * (y - t)


def sigmoid_cross_entropy(u, t, scale):
    u, t = double(u, t)
    return scale * (np.logaddexp(0, u) - t * u).sum(), scale * (activation("sigmoid", u) - t)


def sgd(g, w, lr, l2=0.0):
    g, w = double(g, w)
    return w - lr * (g + 2 * l2 * w)


# Central differences of step h err by h^2 f''' / 6 from the series and by eps f / h from rounding; h = eps^(1/3)
# makes both about eps^(2/3) = 4e-11 in float64.
STEP = np.finfo(np.float64).eps ** (1 / 3)


def numerical_gradient(f, x):
    """Gradient of the scalar f at x (float64) by central differences."""
    gradient = np.empty_like(x)
    for i in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[i] += STEP
        below[i] -= STEP
        gradient[i] = (f(above) - f(below)) / (above[i] - below[i])
    return gradient


def difference_bound(magnitude):
    """Error of `numerical_gradient` for values and third derivatives up to ``magnitude``."""
    return 8 * STEP**2 * magnitude


def im2col(x, on):
    """The columns of `kernels.im2col` for `Windows` ``on``, window by window."""
    sides = [(0, 0), (0, 0), *zip(on.before, on.behind, strict=True)]
    # as much padding more as the last window of ceil mode may reach over
    spare = [(0, 0), (0, 0), *((0, s + k * d) for s, k, d in zip(on.stride, on.size, on.dilation, strict=True))]
    padded = np.pad(np.pad(*double(x), sides), spare)
    columns = []
    for o in np.ndindex(on.output):
        steps = zip(o, on.size, on.stride, on.dilation, strict=True)
        window = padded[(..., *(slice(i * s, i * s + k * d, d) for i, k, s, d in steps))]
        columns.append(window.reshape(len(x), x.shape[1] * np.prod(on.size)))
    return np.stack(columns, -1)


def convolve(x, w, b, groups, on):
    """The convolution, as a product of every group's filters with its columns."""
    w, columns = double(w, im2col(x, on))
    filters = w.reshape(groups, len(w) // groups, -1)
    columns = columns.reshape(len(x), groups, filters.shape[2], columns.shape[2])
    y = np.einsum("gfk,ngko->ngfo", filters, columns).reshape(len(x), len(w), *on.output)
    return y if b is None else y + double(b)[0].reshape(-1, *[1] * len(on.output))


def convolve_backward(dy, x, w, groups, on):
    """dx, dw, db: the adjoint of `convolve`, which is linear in each of x, w and b."""
    dy, w, columns = double(dy, w, im2col(x, on))
    filters = w.reshape(groups, len(w) // groups, -1)
    columns = columns.reshape(len(x), groups, filters.shape[2], columns.shape[2])
    delta = dy.reshape(len(x), groups, filters.shape[1], columns.shape[3])
    dw = np.einsum("ngfo,ngko->gfk", delta, columns).reshape(w.shape)
    places = im2col(1 + np.arange(float(np.prod(on.image))).reshape(1, 1, *on.image), on)[0].astype(int)
    dcolumns = np.einsum("gfk,ngfo->ngko", filters, delta).reshape(*x.shape[:2], *places.shape)
    dx = np.zeros((*x.shape[:2], 1 + int(np.prod(on.image))))  # what falls on the padding goes to place 0
    np.add.at(dx, (slice(None), slice(None), places), dcolumns)
    return dx[..., 1:].reshape(x.shape), dw, dy.sum((0, *range(2, dy.ndim)))


def places_of(on):
    """For each of three axes a matrix: whether element k of window o is element i of the image, rows (o, k), columns i.

    With them, everything that takes small `Windows` one by one is a few products, and so are its adjoints.
    """
    matrices = [np.ones((1, 1, 1))] * (3 - len(on.image))
    axes = zip(on.image, on.size, on.stride, on.dilation, on.before, on.output, strict=True)
    for n, k, s, d, before, count in axes:
        at = np.arange(count)[:, None] * s + np.arange(k) * d - before
        matrices.append((at[..., None] == np.arange(n)).astype(float))
    return matrices


def patches(x, places):
    """x (N, C, image) as (N, C, windows, elements of a window), three axes of each, 0 in the padding."""
    cells = x.reshape(*x.shape[:2], *(matrix.shape[2] for matrix in places))
    for matrix in places:  # the axis in front goes, those of its windows and elements come behind all others
        cells = np.tensordot(cells, matrix, (2, 2))
    return cells.transpose(0, 1, 2, 4, 6, 3, 5, 7)


def patches_backward(cells, places):
    """The adjoint of `patches`: every element of an image is the sum of all patches that it is in."""
    cells = cells.transpose(0, 1, 2, 5, 3, 6, 4, 7)
    for matrix in places:
        cells = np.tensordot(cells, matrix, ((2, 3), (0, 1)))
    return cells
