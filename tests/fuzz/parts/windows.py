"""Convolutions and pools with numbers of any size, under a limit of memory: right, or refused by one line.

A number that a 3 KB file can hold must neither crash nor take the memory of a machine.
"""

import math
import signal

import numpy as np

import fastbp as fb
from fastbp import functional as F
from fuzz import naive, sparse
from fuzz.arrays import integers, pick
from fuzz.finding import attempt, check_close, memory_within, require

MEMORY = 4 * 2**30
SECONDS = 200  # for a case; then the signal ends the process
NUMBERS = (1, 1, 2, 2, 3, 3, 4, 5, 7, 10, 100, 10**3, 10**6, 10**8, 2**31 - 2, 2**31 - 1)
PADDINGS = (0, 0, 0, *NUMBERS)
IMAGES = (1, 2, 3, 5, 10, 30, 100, 1000, 10**5)
ELEMENTS = 10**5  # of images, and of weights
RESULTS = 10**6  # that are computed; of so many more that no memory has room for them, the refusal counts
NO_ROOM = 2**31  # results
WORK = 6 * 10**7  # products; where windows lie apart, the copy of an image takes as many elements per channel
REFUSALS = (ValueError, MemoryError)


def number(rng, *others):
    """Most numbers are small, so that some windows fit."""
    return int(pick(rng, 1, 2, 3, *others, pick(rng, *NUMBERS)))


def axis(rng, ceil, is_pool):
    image = int(pick(rng, *IMAGES))
    size = number(rng, image)
    before, behind = (int(pick(rng, 0, 1, pick(rng, *PADDINGS), size, image)) for _ in range(2))
    if is_pool and before > size and rng.integers(4):
        before = int(rng.integers(0, size))
    return naive.Axis(image, size, number(rng, size, image), before, behind, number(rng), ceil)


def draw(rng, is_pool):
    """Axes whose results can be computed, or no machine has room for."""
    ceil = is_pool and bool(rng.integers(2))
    while True:
        axes = [axis(rng, ceil, is_pool) for _ in range(int(rng.integers(1, 4)))]
        elements, results, window = (math.prod(getattr(a, key) for a in axes) for key in ("image", "count", "size"))
        touched = math.prod(min(a.size, a.image) for a in axes)
        if elements > ELEMENTS or (not is_pool and window > ELEMENTS):
            continue
        if results > NO_ROOM or (results <= RESULTS and results * (touched if is_pool else window) <= WORK):
            return axes


def keywords(axes):
    return {
        "stride": [a.stride for a in axes],
        "padding": [(a.before, a.behind) for a in axes],
        "dilation": [a.dilation for a in axes],
    }


def some(rng, sizes, most=30):
    """Places by chance, and the first and the last one."""
    corners = [(0,) * len(sizes), tuple(n - 1 for n in sizes)]
    return corners + [tuple(int(rng.integers(n)) for n in sizes) for _ in range(most)]


def every(rng, sizes):
    return list(np.ndindex(*sizes)) if math.prod(sizes) <= 300 else some(rng, sizes)


def refuse(call, *arguments, **numbers):
    """The result of a call, or the name of its refusal."""
    try:
        return call(*arguments, **numbers)
    except REFUSALS as error:
        attempt(_raise, error, refusals=REFUSALS)
        return type(error).__name__


def _raise(error):
    raise error


def case(rng):
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)
    made = pick(rng, convolution, convolution, pool, layers)
    # a grid has room for a window beside an image; no table is longer than what the arrays hold
    with memory_within(1500, made.__name__):
        outcome = made(rng)
    signal.alarm(0)
    return {f"{made.__name__} {outcome}": 1}


def described(axes):
    fields = ("image", "size", "stride", "before", "behind", "dilation")
    return "; ".join(", ".join(f"{field} {getattr(a, field)}" for field in fields) for a in axes)


def convolution(rng):
    axes, dtype = draw(rng, False), pick(rng, np.float32, np.float64)
    N, C, filters = (int(n) for n in rng.integers(1, 3, 3))
    x = integers(rng, (N, C, *(a.image for a in axes)), dtype)
    w = integers(rng, (filters, C, *(a.size for a in axes)), dtype)
    y = refuse(getattr(F, f"conv{len(axes)}d_forward"), x, w, **keywords(axes))
    if isinstance(y, str):
        return f"refused by {y}"
    output, what = tuple(a.count for a in axes), described(axes)
    require(y.shape == (N, filters, *output), f"conv_forward gives {y.shape}: {what}")
    for o in every(rng, output):
        check_close(y[:, :, *o], sparse.convolved(x, w, axes, o), 0, f"conv_forward at {o} of {what}: ")
    dy = integers(rng, y.shape, dtype)
    gradients = refuse(getattr(F, f"conv{len(axes)}d_backward"), dy, x, w, **keywords(axes))
    if isinstance(gradients, str):
        return f"refused by {gradients}"
    dx, dw, db = gradients
    check_close(db, dy.sum((0, *range(2, dy.ndim)), dtype=np.float64), 0, f"db of {what}: ")
    for k in some(rng, w.shape[2:]):
        check_close(dw[:, :, *k], sparse.tap_sum(dy, x, axes, k), 0, f"dw at {k} of {what}: ")
    if math.prod(output) <= 2000:
        for i in every(rng, x.shape[2:]):
            check_close(dx[:, :, *i], sparse.delta_at(dy, w, axes, i), 0, f"dx at {i} of {what}: ")
    return "right"


def pool(rng):
    axes, dtype = draw(rng, True), pick(rng, np.float32, np.float64)
    shape = tuple(int(n) for n in rng.integers(1, 3, 2))
    x, size = integers(rng, (*shape, *(a.image for a in axes)), dtype), [a.size for a in axes]
    is_max, counted, what = bool(rng.integers(2)), bool(rng.integers(2)), described(axes)
    numbers = {**keywords(axes), "ceil": axes[0].ceil}
    if not is_max:
        numbers["count_padding"] = counted
    name = f"{'max' if is_max else 'avg'}_pool{len(axes)}d"
    y = refuse(getattr(F, f"{name}_forward"), x, size, **numbers)
    if isinstance(y, str):
        return f"refused by {y}"
    output, eps = tuple(a.count for a in axes), float(np.finfo(dtype).eps)
    require(y.shape == (*shape, *output), f"{name} gives {y.shape}: {what}")
    terms = math.prod(min(a.size, a.image) for a in axes)
    for o in every(rng, output):
        expected = sparse.largest(x, axes, o)[0] if is_max else sparse.mean(x.astype(float), axes, o, counted)
        check_close(y[:, :, *o], expected, 0 if is_max else (terms + 4) * eps * 4, f"{name} at {o} of {what}: ")
    dy = integers(rng, y.shape, dtype)
    dx = refuse(getattr(F, f"{name}_backward"), dy, x, size, **numbers)
    if isinstance(dx, str):
        return f"refused by {dx}"
    if is_max:
        check_close(dx.sum(dtype=np.float64), dy.sum(dtype=np.float64), 0, f"sum of dx of {what}: ")
        if math.prod(output) <= 1000:
            expected = np.zeros(x.shape)
            for o in np.ndindex(*output):
                places = sparse.largest(x, axes, o)[1]
                for n in np.ndindex(*shape):
                    expected[(*n, *places[n])] += dy[(*n, *o)]
            check_close(dx, expected, 0, f"dx of {what}: ")
    return "right"


def layers(rng):
    """A network of one such layer, a pool behind it now and then, as a file may ask for it."""
    is_pool = bool(rng.integers(3) == 0)
    axes = draw(rng, is_pool)
    size, kind = [a.size for a in axes], pick(rng, "MaxPool", "AvgPool") if is_pool else "Conv"
    layer = getattr(fb, f"{kind}{len(axes)}d")
    arguments = (size,) if is_pool else (2, size)
    extra = {"ceil": axes[0].ceil} if is_pool else {}
    made = refuse(layer, *arguments, **keywords(axes), **extra)
    if isinstance(made, str):
        return f"refused by {made}"
    behind = [fb.ReLU(), getattr(fb, f"MaxPool{len(axes)}d")(2)] if not is_pool and rng.integers(3) == 0 else []
    shape = (1, *(a.image for a in axes))
    net = refuse(fb.Sequential, made, *behind, input_shape=shape, seed=0)
    if isinstance(net, str):
        return f"refused by {net}"
    for parameter in net.parameters():
        parameter.value = integers(rng, parameter.value.shape)
    x = integers(rng, (2, *shape), np.float32)
    y = refuse(net.predict, x)
    if isinstance(y, str):
        return f"refused by {y}"
    require(np.isfinite(y).all(), f"predict gives what is not finite: {net!r}")
    if kind == "Conv" and not behind:
        w, b = (parameter.value for parameter in net.parameters())
        for o in every(rng, y.shape[2:]):
            check_close(y[:, :, *o], sparse.convolved(x, w, axes, o) + b, 0, f"predict at {o} of {net!r}: ")
    delta = np.ones_like(y)
    before = [parameter.value.copy() for parameter in net.parameters()]
    step = refuse(net.train_step, x, delta, loss=lambda u, t: (0.0, t), optimizer=fb.SGD(1.0))
    if isinstance(step, str):
        return f"refused by {step}"
    if kind == "Conv" and not behind:
        dw = before[0] - net.parameters()[0].value
        for k in some(rng, size):
            check_close(dw[:, :, *k], sparse.tap_sum(delta, x, axes, k), 0, f"dw at {k} of {net!r}: ")
    return "right"
