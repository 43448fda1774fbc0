"""Ctrl-C at thousands of moments, and handlers of signals that compute.

After it a network is that of a whole number of steps, everything goes on, and kernels compute what they did before.
"""

import copy
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import fastbp as fb
from fastbp import functional as F
from fastbp import graph, kernels
from fastbp.kernels import _runtime
from fuzz.alarm import Alarm
from fuzz.arrays import pick
from fuzz.finding import Finding, check_same, require

USUAL = _runtime.PARALLEL_WORK
INTERRUPTS = 60  # of a case
STEPS = 150  # whose weights are known beforehand
LOSS = fb.SoftmaxCrossEntropy()
ALARM = Alarm()


class Plain(fb.SGD):
    """Not fused into the gradients."""


class Own(fb.SGD):
    """An optimizer of the user's own, parameter by parameter."""

    def step(self, parameters):
        for parameter in parameters:
            parameter.for_update()[...] -= self.rate() * parameter.grad
        self.steps += 1


def network(rng, seed=0):
    dtype = pick(rng, "float32", "float64")
    layers = pick(
        rng,
        lambda: (fb.Affine(30), fb.ReLU(), fb.Affine(20), fb.Tanh(), fb.Affine(5)),
        lambda: (fb.Affine(12), fb.Softmax(), fb.Affine(5)),  # is run layer by layer
        lambda: (fb.Conv2d(4, 3, padding=1), fb.ReLU(), fb.MaxPool2d(2), fb.Flatten(), fb.Affine(5)),
    )()
    shape = (1, 6, 6) if len(layers[0].config()) > 3 else (36,)
    return fb.Sequential(*layers, input_shape=shape, dtype=dtype, seed=seed)


def batch(net, n):
    rng = np.random.default_rng(n)
    return rng.standard_normal((n, *net.input_shape)).astype(net.dtype), rng.integers(0, 5, n)


def state(net):
    return b"".join(parameter.value.tobytes() for parameter in net.parameters())


def sane():
    """A few kernels, whose results are known."""
    a = np.arange(12.0).reshape(3, 4)
    require((F.matmul(a, a.T) == a @ a.T).all(), "matmul is wrong after an interrupt")
    require((F.relu_forward(a - 5) == np.maximum(a - 5, 0)).all(), "relu is wrong after an interrupt")
    x, w = a.reshape(1, 1, 3, 4), np.ones((1, 1, 2, 2))
    sums = a[:-1, :-1] + a[:-1, 1:] + a[1:, :-1] + a[1:, 1:]
    require((F.conv2d_forward(x, w)[0, 0] == sums).all(), "conv2d is wrong after an interrupt")


def moments(rng, seconds, times=INTERRUPTS):
    """Delays within what takes so many seconds, most of them short, and whether to keep the traceback."""
    for _ in range(times):
        yield pick(rng, seconds * rng.random() * 3, seconds * 10 ** (-4 * rng.random())), bool(rng.integers(2))


def duration(action):
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


class Training:
    """A network of which the weights after 0, 1, 2, ... steps are known."""

    def __init__(self, rng, optimizer, sizes):
        self.start = network(rng)
        self.batches = [batch(self.start, n) for n in sizes]
        self.new_optimizer = lambda: optimizer(0.05)
        self.restart()
        self.states = {state(self.net): 0}
        for k in range(1, STEPS + 1):
            self.step()
            self.states[state(self.net)] = k
        require(len(self.states) == STEPS + 1, "a step that changes nothing")
        self.restart()
        self.seconds = duration(self.step)
        self.restart()

    def restart(self):
        self.net, self.optimizer, self.k = copy.deepcopy(self.start), self.new_optimizer(), 0

    def step(self):
        x, y = self.batches[self.k % len(self.batches)]
        self.net.train_step(x, y, loss=LOSS, optimizer=self.optimizer)
        self.k += 1

    def steps(self):
        """Until the alarm."""
        while not ALARM.rang:
            if self.k == STEPS:
                self.restart()
            self.step()

    def check(self):
        """A whole number of steps; goes on from there."""
        k, what = self.states.get(state(self.net)), f"{type(self.optimizer).__name__} on {self.net!r}"
        require(k is not None, f"the weights are those of no whole number of steps, {what}", "interrupt")
        require(k in (self.k, self.k + 1), f"{k} steps are done after {self.k}, {what}", "interrupt")
        if type(self.optimizer).step is fb.SGD.step:
            count = self.optimizer.steps
            require(count == k, f"optimizer.steps is {count} after {k} steps, {what}", "interrupt")
        self.optimizer.steps = self.k = k
        sane()
        if k < STEPS:
            self.step()
            require(self.states.get(state(self.net)) == k + 1, "the step after an interrupt is wrong", "interrupt")


def training(rng):
    """Steps on one shape, or on so many that each is recorded anew."""
    sizes = pick(rng, [8], [8, 5], range(4, 16))
    train, count = Training(rng, pick(rng, fb.SGD, fb.SGD, Plain, Own), sizes), 0
    for delay, keeps in moments(rng, train.seconds):
        count += ALARM.during(train.steps, delay, keeps)
        train.check()
    return {"interrupts": count}


def first_steps(rng):
    """Networks that are new, so that every step is a first one."""
    train, count = Training(rng, pick(rng, fb.SGD, Plain), [int(rng.integers(1, 30))]), 0
    for delay, keeps in moments(rng, train.seconds):
        train.restart()
        count += ALARM.during(train.steps, delay, keeps)
        train.check()
    return {"interrupts": count}


def handlers(rng):
    """The signal does not end a step but computes in the middle of it, another step among others."""
    train, other = Training(rng, pick(rng, fb.SGD, Plain), pick(rng, [8], range(4, 16))), Training(rng, fb.SGD, [7])

    def nested():
        if other.k == STEPS:
            other.restart()
        other.step()
        require(other.states.get(state(other.net)) == other.k, "a step in a handler is wrong", "handler")

    count = 0
    for delay, _ in moments(rng, train.seconds):
        ALARM.work = pick(rng, sane, nested, lambda: other.net.predict(other.batches[0][0]))
        try:
            count += ALARM.during(train.steps, delay)
        finally:
            ALARM.work = None
        require(train.states.get(state(train.net)) == train.k, "a step with a handler in it is wrong", "handler")
        sane()
    return {"handlers": count}


def fits(rng):
    """`fit` from the start, each time; the rate, a function of the step, sees the weights between the steps."""
    start = network(rng)
    x, y = batch(start, 50)
    states = {}

    def fit(net, rate):
        optimizer = fb.SGD(rate)
        options = {"batch_size": 16, "epochs": 3, "l2": 0.001}
        if rng_validates:
            options["validation_data"] = (x[:10], y[:10])
        return optimizer, lambda: net.fit(x, y, loss=LOSS, optimizer=optimizer, **options)

    rng_validates, net = bool(rng.integers(2)), copy.deepcopy(start)
    optimizer, run = fit(net, lambda step: states.setdefault(state(net), step) * 0 + 0.05)
    seconds = duration(run)
    states[state(net)] = optimizer.steps
    count = 0
    for delay, keeps in moments(rng, seconds / 3, INTERRUPTS // 4):
        net = copy.deepcopy(start)
        optimizer, run = fit(net, pick(rng, 0.05, lambda step: 0.05))
        count += ALARM.during(run, delay, keeps)
        k = states.get(state(net))
        require(k is not None, "the weights after fit are those of no whole number of steps", "interrupt")
        require(optimizer.steps == k, f"optimizer.steps is {optimizer.steps} after {k} steps of fit", "interrupt")
        net.train_step(x, y, loss=LOSS, optimizer=fb.SGD(0.1))
        sane()
    return {"interrupts": count}


def repeated(rng, action, times=INTERRUPTS):
    """An action that gives arrays, always the same ones."""
    expected, count = action(), 0
    seconds = duration(action)

    def until_alarm():
        while not ALARM.rang:
            action()

    for delay, keeps in moments(rng, seconds, times):
        count += ALARM.during(until_alarm, delay, keeps)
        for one, two in zip(action(), expected, strict=True):
            check_same(one, two, "a result after an interrupt")
        sane()
    return {"interrupts": count}


def passes(rng):
    net = network(rng)
    x, y = batch(net, 9)

    def forward_and_backward():
        u = net.forward(x)
        net.backward(LOSS(u, y)[1])
        return [u, *(parameter.grad.copy() for parameter in net.parameters())]

    return repeated(rng, pick(rng, forward_and_backward, lambda: [net.predict(x, batch_size=4), net.predict_proba(x)]))


def graphs(rng):
    net = network(rng)
    x, y = batch(net, 6)
    w = graph.Variable(np.random.default_rng(0).standard_normal((3, 5)), "w")

    def backward():
        u = graph.apply(net, x)
        loss = graph.softmax_cross_entropy(u, y) + graph.sum(graph.tanh(graph.affine(u * 1.0, w)) ** 2)
        loss.backward()
        return [loss.value, w.grad.copy(), *(parameter.grad.copy() for parameter in net.parameters())]

    return repeated(rng, backward)


def functions(rng):
    data = np.random.default_rng(0)
    x, w = data.standard_normal((2, 3, 9, 8)), data.standard_normal((4, 3, 3, 3))
    a, b = data.standard_normal((40, 50)), data.standard_normal((50, 30))
    large = data.standard_normal((200, 300))

    def calls():
        y = F.conv2d_forward(x, w, padding=1, activation="relu")
        out = np.empty((200, 200))
        kernels.matmul(large, large.T, out)
        columns = F.softmax_forward(F.matmul(a, b)), F.max_pool2d_forward(y, 2), F.tanh_forward(large)
        return [y, out, *F.conv2d_backward(y, x, w, padding=1), *columns, F.max_pool2d_backward(columns[1], y, 2)]

    return repeated(rng, calls)


def saves(rng):
    """A file of one version or the next, and nothing beside it."""
    net, count, version = network(rng), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.npz"

        def save():
            nonlocal version
            while not ALARM.rang:
                version += 1
                for parameter in net.parameters():
                    parameter.value = np.full(parameter.value.shape, version)
                net.save(path)

        net.parameters()[0].for_update()[...] = 0
        for parameter in net.parameters():
            parameter.value = np.zeros(parameter.value.shape)
        seconds = duration(lambda: net.save(path))
        for delay, keeps in moments(rng, seconds, INTERRUPTS // 2):
            count += ALARM.during(save, delay, keeps)
            held = {float(n) for p in fb.Sequential.load(path).parameters() for n in p.value.flat}
            require(len(held) == 1 and held <= {version - 1.0, version + 0.0}, f"the file holds {held}, not {version}")
            require(os.listdir(folder) == [path.name], f"save left {os.listdir(folder)}", "leftovers")
            version = int(held.pop())
    return {"interrupts": count}


LOADING = """
import signal, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import fastbp as fb
from fuzz.alarm import Alarm
from fuzz.parts import interrupts

def train():
    net = interrupts.network(np.random.default_rng(int(sys.argv[2])))
    net.train_step(*interrupts.batch(net, 8), loss=interrupts.LOSS, optimizer=fb.SGD(0.05))
    interrupts.sane()
    return interrupts.state(net)

came = interrupts.ALARM.during(train, float(sys.argv[3]))
assert train() == train()
print("interrupted" if came else "over")
"""


def loading(rng):
    """A first step in a new process, which loads its kernels."""
    arguments = [str(Path(__file__).parents[2]), str(int(rng.integers(100))), str(1.5 * rng.random())]
    command = [sys.executable, "-W", "error", "-c", LOADING, *arguments]
    made = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    if made.returncode:
        last = (made.stderr.strip().splitlines() or ["nothing said"])[-1]
        raise Finding("interrupt", f"a first step in a new process: exit status {made.returncode}, {last}")
    return {"interrupts": int(made.stdout == "interrupted\n"), "processes": 1}


def case(rng):
    _runtime.PARALLEL_WORK = pick(rng, 0, USUAL, USUAL, USUAL)
    usual = [training, training, first_steps, first_steps, handlers, fits, passes, graphs, functions, saves]
    made = pick(rng, *usual) if rng.integers(40) else loading
    try:
        return {made.__name__: 1, **made(rng)}
    except Finding as finding:
        raise Finding(finding.kind, f"{made.__name__}: {finding}") from finding
    except RuntimeError as error:
        raise Finding("stuck", f"{made.__name__}: {error}") from error
