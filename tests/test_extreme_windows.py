"""Windows of billions of elements, paddings and strides on images of a few: computed, or refused in one line that says
what memory cannot hold; with 2 GiB beyond what the process has at its start.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

import fastbp as fb
from fastbp import functional as F
from fastbp import kernels
from fastbp.kernels import _arrays, _cpu, _runtime

LIMITED = """
import itertools, resource, sys
import numpy as np
import fastbp as fb
from fastbp import functional as F
from fastbp import kernels
from fastbp.kernels.windows import windows

pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 2**31
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
MOST = 2**31 - 1
"""

RANDOM = (
    LIMITED
    + """
rng = np.random.default_rng(0)


def number():
    '''Half of them are small, the others anything up to the largest.'''
    large = rng.choice([2 ** rng.integers(0, 31) - rng.integers(2), 10 ** rng.integers(0, 10)])
    return max(1, int(rng.choice([rng.integers(1, 5), large])))


def drawn(is_pool):
    '''Image, size and the other numbers, with padding as far as a pool may have it, or as a convolution reaches.'''
    axes = int(rng.choice([1, 1, 1, 2, 3]))
    image = rng.integers(1, 6, axes).tolist()
    size = [number() if is_pool else int(rng.integers(1, 5)) for _ in range(axes)]
    stride, dilation = [[number() for _ in range(axes)] for _ in range(2)]
    padding = []
    for n, k, s, d in zip(image, size, stride, dilation):
        reach = (k - 1) * d
        before, behind = int(rng.integers(0, min(reach, MOST) + 1)), max(0, reach - n)
        if not is_pool:
            before, behind = before + s * int(rng.integers(0, 4)), reach
        padding.append((min(before, MOST), min(behind, MOST)))
    return tuple(image), size, {"stride": stride, "padding": padding, "dilation": dilation}


def elements(on, axis):
    '''For every window of an axis, the elements k that it has on the image, at the places i.'''
    n, size, s, d, before = (getattr(on, key)[axis] for key in ("image", "size", "stride", "dilation", "before"))
    at = [[(i + before - o * s, i) for i in range(n)] for o in range(on.output[axis])]
    return [[(k // d, i) for k, i in window if k % d == 0 and 0 <= k // d < size] for window in at]


def of_windows(on):
    '''All windows o, with the elements k that they have on the image, at the places i.'''
    axes = [elements(on, axis) for axis in range(len(on.image))]
    for o in np.ndindex(on.output):
        cells = itertools.product(*(axis[j] for axis, j in zip(axes, o)))
        yield o, [tuple(zip(*cell)) for cell in cells]


def check_convolution(axes, x, on, numbers):
    w = rng.integers(-4, 5, (2, 1, *on.size)).astype(float)
    y = getattr(F, f"conv{axes}d_forward")(x, w, **numbers)
    dy = rng.integers(-4, 5, y.shape).astype(float)
    dx, dw, db = getattr(F, f"conv{axes}d_backward")(dy, x, w, **numbers)
    expected, expected_dx, expected_dw = np.zeros_like(y), np.zeros_like(x), np.zeros_like(w)
    for o, cells in of_windows(on):
        delta = dy[(0, slice(None), *o)]
        for k, i in cells:
            of_w = slice(None), 0, *k
            expected[(0, slice(None), *o)] += w[of_w] * x[(0, 0, *i)]
            expected_dx[(0, 0, *i)] += w[of_w] @ delta
            expected_dw[of_w] += x[(0, 0, *i)] * delta
    for actual, wanted in ((y, expected), (dx, expected_dx), (dw, expected_dw), (db, dy.sum((0, *range(2, y.ndim))))):
        np.testing.assert_array_equal(actual, wanted)


def check_pools(axes, x, on, numbers):
    y = getattr(F, f"max_pool{axes}d_forward")(x, **numbers)
    index = np.empty(y.shape, kernels.index_dtype(on.size))
    kernels.max_pool_forward(x, np.empty_like(y), index, **numbers)
    dy = rng.integers(-4, 5, y.shape).astype(float)
    dx = getattr(F, f"max_pool{axes}d_backward")(dy, x, **numbers)
    mean = getattr(F, f"avg_pool{axes}d_forward")(x, **numbers, count_padding=False)
    shares = getattr(F, f"avg_pool{axes}d_backward")(dy, x, **numbers, count_padding=False)
    expected_dx, expected_shares = np.zeros_like(x), np.zeros_like(x)
    for o, cells in of_windows(on):
        values = [x[(0, 0, *i)] for _, i in cells]
        k, i = cells[int(np.argmax(values))]
        place = 0
        for element, size in zip(k, on.size):
            place = place * size + element
        assert (y[(0, 0, *o)], int(index[(0, 0, *o)])) == (max(values), place)
        np.testing.assert_allclose(mean[(0, 0, *o)], np.mean(values), rtol=1e-14, atol=1e-14)
        expected_dx[(0, 0, *i)] += dy[(0, 0, *o)]
        for _, i in cells:
            expected_shares[(0, 0, *i)] += dy[(0, 0, *o)] / len(cells)
    np.testing.assert_array_equal(dx, expected_dx)
    np.testing.assert_allclose(shares, expected_shares, rtol=1e-14 * y.size, atol=1e-14 * y.size)


def attempt(image, size, numbers, is_pool):
    '''The name of the error, "right", or "skipped" for results that take a while and not all memory.'''
    axes, x = len(image), rng.integers(-4, 5, (1, 1, *image)).astype(float)
    try:
        results = np.prod(windows("windows", image, size, *numbers.values()).output, dtype=float)
        if results > 2**28:  # of 8 bytes: more than there is
            if is_pool:
                getattr(F, f"avg_pool{axes}d_forward")(x, size, **numbers)
            else:
                getattr(F, f"conv{axes}d_forward")(x, np.ones((1, 1, *size)), **numbers)
            raise AssertionError
        if results > 5000:
            return "skipped"
        on = windows("windows", image, size, *numbers.values())
        if is_pool:
            check_pools(axes, x, on, {"size": size, **numbers})
        else:
            check_convolution(axes, x, on, numbers)
        return "right"
    except (ValueError, MemoryError) as error:
        assert str(error).startswith(("windows: ", "conv", "max_pool", "avg_pool", "an index has 64 bits")), error
        return type(error).__name__


counts = dict.fromkeys(("right", "MemoryError", "ValueError", "skipped"), 0)
for case in range(600):
    is_pool = case % 2 == 0
    image, size, numbers = drawn(is_pool)
    try:
        counts[attempt(image, size, numbers, is_pool)] += 1
    except BaseException:
        print(image, size, numbers, is_pool, file=sys.stderr)
        raise
assert counts["right"] > 200 and counts["MemoryError"] > 10, counts
print("ok")
"""
)

CHOSEN = (
    LIMITED
    + """
x = np.array([[[1.0, 2.0, 3.0, 4.0]]], np.float32)


def net(*layers):
    '''A network for samples (1, 4), with weights of 1.'''
    network = fb.Sequential(*layers, input_shape=(1, 4))
    for parameter in network.parameters():
        if parameter.decays:
            parameter.value = np.ones(parameter.value.shape)
    return network


def refused(function, *words):
    try:
        function()
    except MemoryError as error:
        assert all(word in str(error) for word in words), error
    else:
        raise AssertionError(words)


# three windows, of which one meets the image: no grid with all that lies between them
np.testing.assert_array_equal(net(fb.Conv1d(1, 2, stride=MOST, padding=MOST)).predict(x), [[[0, 3, 0]]])
far = {"dilation": 10**8, "padding": 10**8}
np.testing.assert_array_equal(net(fb.Conv1d(1, 3, **far)).predict(x), x)
np.testing.assert_array_equal(net(fb.Conv1d(1, 3, **far, stride=10**8)).predict(x), [[[1]]])
# windows of hundreds of millions of elements, four of them on the image
wide = {"size": 3 * 10**8, "padding": 2 * 10**8}
np.testing.assert_array_equal(net(fb.MaxPool1d(**wide)).predict(x), [[[4]]])
np.testing.assert_allclose(net(fb.AvgPool1d(**wide)).predict(x), [[[10 / 3e8]]], rtol=1e-6)
square = x.reshape(1, 1, 2, 2)
dx = F.max_pool2d_backward([[[[1.0]]]], square, MOST, padding=2**30)
np.testing.assert_array_equal(dx, [[[[0, 0], [0, 1]]]])
# what no step needs is not made: only running this network takes memory
network = net(fb.Conv1d(1, 3, padding=2 * 10**8), fb.MaxPool1d(2))
network.save(sys.argv[1])
network = fb.Sequential.load(sys.argv[1])
refused(lambda: network.forward(x), "conv1d_1: the grid of an image would take 1,600,000,016")
refused(lambda: net(fb.Conv1d(1, 3, padding=10**9)).predict(x), "conv1d_1: the output would take 8,000,000,008 bytes")
refused(lambda: net(fb.Conv1d(1, 3, padding=MOST), fb.ReLU()).forward(x), "conv1d_1: the output would take 17,")
refused(lambda: net(fb.AvgPool1d(MOST, stride=1, padding=MOST - 1)).predict(x), "avgpool1d_1: the output", "bytes")
refused(lambda: F.conv1d_forward(x, np.ones((1, 1, 3)), padding=MOST), "conv1d_forward: the output would take")
refused(lambda: net(fb.Conv1d(1, MOST, padding=MOST)), "conv1d_1", "memory")
print("ok")
"""
)


@pytest.fixture
def no_memory(monkeypatch):
    """Nothing is free any more, not for the smallest of arrays."""
    monkeypatch.setattr(_arrays, "_SMALL", 0)
    monkeypatch.setattr(_cpu, "free_memory", lambda: 1)
    monkeypatch.setattr(_runtime.own, "calls", {})  # with the room that calls before have taken


@pytest.mark.parametrize("channels", [1, 12])  # by direct sums, and by Winograd's algorithm
def test_convolutions_say_what_takes_memory(channels, no_memory):
    # other windows than those of other tests, whose tables may be there
    x, w, y = np.ones((1, channels, 5, 7)), np.ones((channels, channels, 3, 3)), np.ones((1, channels, 3, 5))
    what = r"would take [\d,]+ bytes, and 1 are free"
    with pytest.raises(MemoryError, match=f"conv_forward: .* {what}"):
        kernels.conv_forward(x, w, None, y)
    with pytest.raises(MemoryError, match=f"conv_delta: .* {what}"):
        kernels.conv_delta(y, w, None, x.copy())
    with pytest.raises(MemoryError, match=f"conv_gradient: .* {what}"):
        kernels.conv_gradient(y, x, w, w.copy(), None)
    with pytest.raises(MemoryError, match=f"conv_sgd_update: .* {what}"):
        kernels.conv_sgd_update(y, x, w, None, 0.1)
    with pytest.raises(MemoryError, match=f"conv2d_forward: the output {what}"):
        F.conv2d_forward(x, w)


def test_pools_say_what_takes_memory(no_memory):
    x, y, index = np.ones((1, 1, 4)), np.ones((1, 1, 2)), np.zeros((1, 1, 2), np.uint8)
    what = r"would take [\d,]+ bytes, and 1 are free"
    with pytest.raises(MemoryError, match=f"max_pool_forward: the tables of its windows {what}"):
        kernels.max_pool_forward(x, y, index, 2)
    with pytest.raises(MemoryError, match=f"avg_pool_forward: the tables of its windows {what}"):
        kernels.avg_pool_forward(x, y, 2)
    with pytest.raises(MemoryError, match=f"max_pool1d_forward: the output {what}"):
        F.max_pool1d_forward(x, 2)


@pytest.mark.parametrize("channels", [1, 12])
def test_what_is_kept_is_not_asked_for_again(channels, monkeypatch):
    """Room that the first call took, and kept, is missing among what is free for the second one."""
    x, w = np.ones((2, channels, 11, 9), np.float32), np.ones((channels, channels, 3, 3), np.float32)
    layers = fb.Conv2d(12, 3), fb.MaxPool2d(2), fb.AvgPool2d(2), fb.Flatten(), fb.Affine(2)
    net = fb.Sequential(*layers, input_shape=x.shape[1:], seed=0)
    optimizer, rest = fb.SGD(0.1), {"loss": fb.SoftmaxCrossEntropy()}
    y = np.empty((2, channels, 9, 7), np.float32)

    def work():
        kernels.conv_forward(x, w, None, y)
        kernels.conv_gradient(y, x, w, w.copy(), None)
        net.backward(np.ones_like(net.forward(x)))
        net.train_step(x, [0, 1], optimizer=optimizer, **rest)

    work()
    monkeypatch.setattr(_arrays, "_SMALL", 8 * 32 * 8)  # of tables of small windows, which are not kept
    monkeypatch.setattr(_cpu, "free_memory", lambda: 1)
    work()


def test_layers_are_named(monkeypatch):
    net = fb.Sequential(fb.Conv1d(2, 3, padding=1), fb.AvgPool1d(2), fb.Conv1d(2, 3), input_shape=(1, 9))
    x = np.ones((1, 1, 9), np.float32)
    delta = np.ones_like(net.forward(x))
    monkeypatch.setattr(_runtime.own, "calls", {})
    monkeypatch.setattr(_arrays, "_SMALL", 0)
    monkeypatch.setattr(_cpu, "free_memory", lambda: 1)
    with pytest.raises(MemoryError, match=r"^conv1d_2: "):
        net.backward(delta)
    with pytest.raises(MemoryError, match=r"^conv1d_1: "):
        net.forward(x)
    with pytest.raises(MemoryError, match=r"^conv1d_2: the output"):
        net.predict(x)


def test_windows_of_more_elements_than_an_index_can_tell_apart():
    assert kernels.index_dtype((2**31 - 1,) * 2) == np.int64
    with pytest.raises(ValueError, match="an index has 64 bits, too few for windows of 99035203"):
        kernels.index_dtype((2**31 - 1,) * 3)


def run(program, *arguments):
    command = [sys.executable, "-c", program, *map(str, arguments)]
    environment = {**os.environ, "FASTBP_NUM_THREADS": "2" if (os.cpu_count() or 1) > 1 else "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert (result.returncode, result.stdout) == (0, "ok\n"), result.stderr


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux")


@linux
def test_hundreds_of_extreme_windows():
    run(RANDOM)


@linux
def test_no_more_memory_than_images_and_results_need(tmp_path):
    run(CHOSEN, tmp_path / "net.npz")
