"""Random networks: recorded, fused steps against float64 layer by layer; threads, copies and files change no bit."""

import copy
import math
import os
import pickle
import tempfile

import numpy as np
import reference

import fastbp as fb
from fastbp.kernels import _runtime
from fuzz import naive
from fuzz.arrays import laid_out, pick, size
from fuzz.finding import Unchanged, check_close, check_same, require
from fuzz.naive_network import NaiveNetwork

USUAL = _runtime.PARALLEL_WORK
NEAR = 8  # bounds of the rounding from a point without derivative, within which gradients say nothing


class Plain(fb.SGD):
    """Gradient descent that is not fused into the gradients."""


def random_network(rng, most=8):
    """A network with outputs of one dimension."""
    dimensions = int(rng.integers(0, 4))
    shape = (
        (size(rng, 40) or 1,)
        if not dimensions
        else (
            int(pick(rng, 1, 2, 3, 12)),
            *rng.integers(1, (0, 40, 13, 7)[dimensions], dimensions).tolist(),
        )
    )
    start, layers = shape, []
    for _ in range(int(rng.integers(1, most))):
        layer = random_layer(rng, shape)
        try:
            shape = fb.Sequential(copy.deepcopy(layer), input_shape=shape).output_shape
        except ValueError:  # too small an image for this window
            continue
        layers.append(layer)
    if len(shape) > 1:
        layers.append(fb.GlobalAvgPool2d() if len(shape) == 3 and rng.integers(4) == 0 else fb.Flatten())
    if rng.integers(4) or not any(isinstance(layer, fb.Affine) for layer in layers):
        layers.append(fb.Affine(int(rng.integers(1, 12)), bias=bool(rng.integers(4))))
    dtype = pick(rng, "float32", "float32", "float64")
    return fb.Sequential(*layers, input_shape=start, dtype=dtype, seed=int(rng.integers(2**31)))


def random_layer(rng, shape):
    activation = pick(rng, fb.ReLU, fb.LeakyReLU, fb.Sigmoid, fb.Tanh, fb.Identity)()
    if len(shape) == 1:
        rows = pick(rng, fb.Softmax, fb.LogSoftmax, fb.Flatten)()
        affine = fb.Affine(size(rng, 40) or 1, bias=bool(rng.integers(4)))
        return pick(rng, affine, affine, affine, activation, activation, rows)
    dimensions = len(shape) - 1
    axes = [naive.draw(rng, 1, n, min(n, 4))[0] for n in shape[1:]]
    numbers = naive.keywords(rng, [naive.Axis(n, *_numbers(axis)) for n, axis in zip(shape[1:], axes, strict=True)])
    window = [axis.size for axis in axes]
    kind = pick(rng, "Conv", "Conv", "Conv", "MaxPool", "AvgPool", "activation")
    if kind == "activation":
        return activation
    layer = getattr(fb, f"{kind}{dimensions}d")
    if kind == "Conv":
        groups = pick(rng, *(n for n in (1, 1, 2, 3, shape[0]) if shape[0] % n == 0))
        filters = groups * int(pick(rng, 1, 2, 5, 12 // groups or 1))
        if rng.integers(3) == 0:  # the common case, with Winograd's algorithm where channels are many
            window, numbers = 3, {"padding": 1}
        return layer(filters, window, **numbers, groups=groups, bias=bool(rng.integers(4)))
    if rng.integers(2):
        window, numbers = 2, {}
    counts = {"count_padding": bool(rng.integers(2))} if kind == "AvgPool" else {}
    return layer(window, **numbers, ceil=bool(rng.integers(2)), **counts)


def _numbers(axis):
    return axis.size, axis.stride, axis.before, axis.behind, axis.dilation


def random_loss(rng, outputs):
    """A loss, what gives its targets for n samples, and its (value, gradient) in float64."""
    kind = pick(rng, "labels", "labels", "labels", "one of k", "squared", "mean", "shares", "function")
    if kind in ("labels", "one of k"):

        def targets(n):
            labels = rng.integers(0, outputs, n)
            return labels if kind == "labels" else np.eye(outputs)[labels]

        def naive_loss(u, t):
            return reference.softmax_cross_entropy(u, t if t.ndim == 2 else np.eye(outputs)[t])

        return fb.SoftmaxCrossEntropy(), targets, naive_loss
    if kind == "shares":
        return (
            fb.SigmoidCrossEntropy(),
            lambda n: rng.integers(0, 2, (n, outputs)),
            lambda u, t: reference.sigmoid_cross_entropy(u, t, 1 / u.size),
        )
    scale = {"squared": lambda u: 1 / len(u), "mean": lambda u: 1 / u.size, "function": lambda u: 0.5}[kind]
    loss = {"squared": fb.SquaredError(), "mean": fb.MeanSquaredError(), "function": own_loss}[kind]
    return (
        loss,
        lambda n: rng.integers(-2, 3, (n, outputs)).astype(np.float32),
        lambda u, t: reference.squared_error(u, t, scale(u)),
    )


def own_loss(u, t):
    with np.errstate(over="ignore"):
        return 0.5 * float(np.square(u - t, dtype=np.float64).sum()), u - t


def weights(net):
    return [parameter.value.copy() for parameter in net.parameters()]


def case(rng):
    _runtime.PARALLEL_WORK = pick(rng, 0, 10_000, USUAL, USUAL, USUAL)  # multiply-adds that are worth threads
    net = random_network(rng)
    twin = copy.deepcopy(net)
    loss, targets, naive_loss = random_loss(rng, net.output_shape[0])
    if loss is not own_loss and loss.contains and isinstance(net.layers[-1], getattr(fb, loss.contains)):
        loss, naive_loss = own_loss, lambda u, t: reference.squared_error(u, t, 0.5)
        targets = lambda n: rng.integers(-2, 3, (n, net.output_shape[0]))  # noqa: E731
    optimizer, counts, results = pick(rng, fb.SGD, fb.SGD, Plain), {"networks": 1}, []
    for _ in range(int(rng.integers(1, 5))):
        n = int(rng.integers(1, 20))
        x = laid_out(rng, rng.standard_normal((n, *net.input_shape)).astype(net.dtype))
        t, rate, l2 = targets(n), float(pick(rng, 0.0, 0.01, 0.1)), float(pick(rng, 0.0, 0.0, 0.01))
        inputs = Unchanged(x, t)
        fb.set_num_threads(1)
        outcome = step(net, x, t, loss, naive_loss, optimizer(rate), l2)
        counts[outcome] = counts.get(outcome, 0) + 1
        if outcome == "diverged":
            return counts
        fb.set_num_threads(min(2, os.cpu_count() or 1))
        twin.train_step(x, t, loss=loss, optimizer=optimizer(rate), l2=l2)
        inputs.check("train_step")
        results = [*zip(weights(net), weights(twin), strict=True)]
        for one, two in results:
            check_same(one, two, f"a weight after a step with two threads and not with one, of {net!r},")
    layer_by_layer(net, x, t, naive_loss)
    copies(rng, net, x, t, loss)
    return counts


def step(net, x, t, loss, naive_loss, optimizer, l2):
    """A training step against float64: "steps", or "kinks" where a derivative may jump, and nothing can be said."""
    eps, naive_net = reference.eps(net.dtype), NaiveNetwork(net)
    u = naive_net.forward(np.asarray(x, np.float64))
    value, delta = naive_loss(u, t)
    gradients, bounds = naive_net.backward(np.asarray(delta, np.float64))
    before = [w.astype(np.float64) for w in weights(net)]
    decays = [2 * l2 * w if p.decays else 0 for w, p in zip(before, net.parameters(), strict=True)]
    if not math.isfinite(value) or naive_net.largest > 1e4:
        return "diverged"
    made = net.train_step(x, t, loss=loss, optimizer=optimizer, l2=l2)
    bound = eps * naive_net.terms * naive_net.largest * (1 + abs(value))
    check_close(made, value, 4 * bound, f"the loss of {net!r}")
    if naive_net.kink < NEAR * eps * naive_net.terms:
        return "kinks"
    for parameter, w, g, decay, most in zip(net.parameters(), before, gradients, decays, bounds, strict=True):
        expected = w - optimizer.rate() * (g + decay)
        room = eps * (4 * np.abs(w) + optimizer.rate() * (4 * np.abs(decay) + most * naive_net.largest) + 1e-3)
        check_close(parameter.value, expected, room, f"{parameter.name} after a step of {net!r}")
    return "steps"


def layer_by_layer(net, x, t, naive_loss):
    """Forward and backward without a recorded step."""
    eps, naive_net = reference.eps(net.dtype), NaiveNetwork(net)
    u = naive_net.forward(np.asarray(x, np.float64))
    room = eps * naive_net.terms * naive_net.largest
    if naive_net.largest > 1e4:
        return
    check_close(net.forward(x), u, room * naive_net.largest, f"the output of {net!r}")
    check_close(net.predict(x, batch_size=3), u, room * naive_net.largest, f"the prediction of {net!r}")
    _, delta = naive_loss(u, t)
    gradients, bounds = naive_net.backward(np.asarray(delta, np.float64))
    net.backward(np.asarray(delta, net.dtype))
    if naive_net.kink < NEAR * eps * naive_net.terms:
        return
    for parameter, g, most in zip(net.parameters(), gradients, bounds, strict=True):
        check_close(
            parameter.grad, g, eps * (most * naive_net.largest + 1e-3), f"the gradient by {parameter.name} of {net!r}"
        )


def copies(rng, net, x, t, loss):
    """Files, pickles and copies predict the same bits, and go on from there to the same bits."""
    expected = net.predict(x)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.npz")
        net.save(path)
        others = [fb.Sequential.load(path), pickle.loads(pickle.dumps(net)), copy.deepcopy(net)]
        require(os.listdir(folder) == ["net.npz"], f"save left {os.listdir(folder)}", "leftovers")
    for other in others:
        check_same(other.predict(x), expected, f"the prediction of a copy of {net!r}")
    batch = max(1, len(x) // 2)
    for other in (net, *others):
        try:
            other.fit(x, t, loss=loss, optimizer=fb.SGD(0.01), batch_size=batch)
        except FloatingPointError:
            return
    for other in others:
        for one, two in zip(weights(net), weights(other), strict=True):
            check_same(two, one, f"a weight of a copy of {net!r} after training")
