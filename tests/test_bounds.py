"""No kernel reads or writes outside of its arrays: every array ends, or starts, at a page that may not be touched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastbp.kernels import _cpu

PROGRAM = """
import sys
import numpy as np
from guard_pages import PAGE, Guarded, forget_workspace, guard_workspace
from fastbp import kernels
from fastbp.kernels import _cpu

dtype, at_end, cases = np.dtype(sys.argv[1]), sys.argv[2] == "end", int(sys.argv[3])
PAGES = 96
rng = np.random.default_rng(0)
places = [Guarded(dtype, at_end) for _ in range(6)]
MR, NR = _cpu.blocks(dtype.itemsize).mr, _cpu.blocks(dtype.itemsize).nr


def size():
    edge = int(rng.choice([1, MR // 3, MR, NR // 2, NR, 2 * NR]))
    return max(0, int(rng.choice([rng.integers(0, 4), rng.integers(0, 90), edge + rng.integers(-1, 2)])))


def sides(axes):
    '''Padding, often none or little, and sometimes beyond all that windows reach.'''
    return rng.choice([0, 1, 2, 9, 30] if rng.integers(4) == 0 else [0, 1, 2], (axes, 2)).tolist()


def filled(place, *shape, order="C"):
    array = places[place].array(*shape, order=order)
    array[...] = rng.integers(-4, 5, shape)
    return array


for case in range(cases):
    M, N, K = size(), size(), size()
    if case % 20 == 0:
        K = 4096 // dtype.itemsize  # rows that start in one set of a cache are packed
    a_order, b_order, c_order = rng.choice(["C", "F"], 3)
    a, b = filled(0, M, K, order=a_order), filled(1, K, N, order=b_order)
    c, d, bias = filled(2, M, N, order=c_order), filled(3, M, N, order=c_order), filled(4, N)
    product = a.astype(np.float64) @ b
    kernels.matmul(a, b, c)
    assert (c == product).all(), (M, N, K)
    h = d.copy()
    kernels.affine_delta(a, b, d, c, 1)
    assert (c == np.where(h > 0, product, 0)).all(), (M, N, K)
    kernels.affine_relu_forward(a, b.T, bias, c)
    assert (c == np.maximum(product + bias, 0)).all(), (M, N, K)
    before = c.copy()
    kernels.affine_weight_gradient(a.T, b, None, c, accumulate=True)
    assert (c == before + product).all(), (M, N, K)
    w = filled(2, M, N, order=c_order)
    before = w.copy()
    kernels.affine_sgd_update(a.T, b, w, None, 0.5)
    assert (w == before - 0.5 * product).all(), (M, N, K)
    kernels.affine_bias_gradient(np.ascontiguousarray(c) if c_order == "F" else c, bias)
    assert (bias == c.sum(0)).all()
    if M and N:
        u, delta = filled(5, M, N), places[2].array(M, N)
        kernels.softmax_cross_entropy(u, rng.integers(0, N, M), delta)
        kernels.tanh_forward(u, delta)
print("ok", cases)
"""

WINDOWS = (
    PROGRAM.partition("for case in range(cases):")[0]
    + """
from fastbp.kernels.windows import windows

done = 0
for case in range(cases):
    axes = int(rng.integers(1, 4))
    image, size, dilation = (rng.integers(1, high, axes).tolist() for high in (11, 5, 4))
    stride = rng.choice([1, 1, 2, 2, 3, 40], axes).tolist()
    numbers = {"size": size, "stride": stride, "dilation": dilation, "padding": sides(axes)}
    ceil = bool(rng.integers(2))
    N, C = rng.integers(1, 3, 2)
    try:
        on = windows("fuzz", tuple(image), **numbers)
    except ValueError:
        continue
    if N * C * np.prod(size) * np.prod(on.output) * dtype.itemsize > PAGES * PAGE:
        continue
    x, dx = filled(0, N, C, *image), places[1].array(N, C, *image)
    cols = places[2].array(N, C * int(np.prod(size)), int(np.prod(on.output)))
    kernels.im2col(x, cols, **numbers)
    kernels.col2im(cols, dx, **numbers)
    output = windows("fuzz", tuple(image), **numbers, ceil=ceil).output
    y, index = places[3].array(N, C, *output), places[4].array(N, C, *output, dtype=kernels.index_dtype(size))
    try:
        kernels.max_pool_forward(x, y, index, **numbers, ceil=ceil)
    except ValueError as error:
        assert "padding only" in str(error)
        continue
    assert y.max() <= x.max()
    kernels.max_pool_backward(y, index, dx, **numbers, ceil=ceil)
    assert dx.sum() == y.sum()
    index[...] = rng.integers(0, 256, index.shape)
    kernels.max_pool_backward(y, index, dx, **numbers, ceil=ceil)
    kernels.avg_pool_forward(x, y, **numbers, ceil=ceil)
    kernels.avg_pool_backward(y, dx, **numbers, ceil=ceil)
    means = places[5].array(N, C)
    kernels.global_avg_pool_forward(x, means)
    kernels.global_avg_pool_backward(means, dx)
    done += 1
assert done > cases // 4, done
print("ok", cases)
"""
)


CONVOLUTIONS = (
    PROGRAM.partition("for case in range(cases):")[0].replace("range(6)]", "range(7)]")
    + """
from fastbp.kernels.windows import windows

guard_workspace(Guarded(dtype, at_end, 16384))
done = 0
for case in range(cases):
    axes = int(rng.integers(1, 4))
    image, size = (rng.integers(1, high, axes).tolist() for high in (15, 4))
    stride, dilation = rng.choice([1, 1, 2, 2, 3, 40], axes).tolist(), rng.choice([1, 1, 1, 2, 2, 25], axes).tolist()
    padding = sides(axes)
    if case % 5 == 0:
        size, stride, padding = [1] * axes, [1] * axes, [[0, 0]] * axes
    groups = int(rng.integers(1, 4))
    N, C, F = int(rng.integers(0, 4)), groups * int(rng.integers(1, 4)), groups * int(rng.choice([1, 3, 8, 17, 33]))
    if case % 5 == 1:  # by Winograd's algorithm
        image, size, stride, dilation = image[:1] * 2, [3, 3], [1, 1], [1, 1]
        padding = [[int(rng.integers(0, 3)), behind] for _, behind in sides(2)]
        C, F = C * 12, groups * int(rng.integers(12, 20))
    numbers = {"stride": stride, "dilation": dilation, "padding": padding}
    try:
        on = windows("fuzz", tuple(image), size, **numbers)
    except ValueError:
        continue
    numbers["groups"] = groups
    if N * max(C * np.prod(image), F * np.prod(on.output)) * dtype.itemsize > PAGES * PAGE:
        continue
    x, w, b = filled(0, N, C, *image), filled(1, F, C // groups, *size), filled(2, F)
    y, dx = places[3].array(N, F, *on.output), places[4].array(N, C, *image)
    dw, db = places[5].array(*w.shape), places[6].array(F)
    forget_workspace()  # a workspace of the size that is needed, next to the page
    kernels.conv_activation_forward(x, w, b, y, 1, **numbers)
    forget_workspace()
    kernels.conv_delta(y, w, None, dx, **numbers)
    forget_workspace()
    kernels.conv_gradient(y, x, w, dw, db, **numbers)
    assert (y >= 0).all() and db.sum(dtype=float) == y.sum(dtype=float)
    assert (w.astype(float) * dw).sum() == (x.astype(float) * dx).sum()  # exact, for all of them are integers
    kernels.conv_delta(y, w, x, dx, 1, **numbers)
    kernels.conv_sgd_update(y, x, w, b, 0.0, **numbers)
    done += 1
    if min(on.output) < 2:
        continue
    output = [n // 2 for n in on.output]
    out, index = places[3].array(N, F, *output), places[2].array(N, F, *output, dtype=np.dtype(np.uint8))
    forget_workspace()
    kernels.conv_activation_forward(x, w, None, out, 1, **numbers, pool=kernels.Pooled(index, 2))
    pool = kernels.Pooled(index, 2, y=out, activation=1)
    forget_workspace()
    kernels.conv_delta(out, w, None, dx, **numbers, pool=pool)
    forget_workspace()
    kernels.conv_gradient(out, x, w, dw, db, **numbers, pool=pool)
    assert db.sum(dtype=float) == out.sum(dtype=float)
    assert (w.astype(float) * dw).sum() == (x.astype(float) * dx).sum()
assert done > cases // 4, done
print("ok", cases)
"""
)


# the target of most machines: 16 registers of 256 bits
AVX2 = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+avx,+avx2,+fma",
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect of Linux")
@pytest.mark.parametrize("side", ["start", "end"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("target", ["this processor", "AVX2"])
def test_thousands_of_shapes(dtype, side, target):
    if target == "AVX2" and not {"avx2", "fma"} <= _cpu.FEATURES:
        pytest.skip("this processor has no AVX2")
    run(PROGRAM, dtype, side, os.environ | (AVX2 if target == "AVX2" else {}))


def run(program, dtype, side, environment):
    command = [sys.executable, "-c", program, dtype, side, "1500"]
    environment = {**environment, "PYTHONPATH": str(Path(__file__).parent)}  # of guard_pages
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert (result.returncode, result.stdout) == (0, "ok 1500\n"), result.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect of Linux")
@pytest.mark.parametrize("side", ["start", "end"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_thousands_of_windows(dtype, side):
    run(WINDOWS, dtype, side, os.environ)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect of Linux")
@pytest.mark.parametrize("side", ["start", "end"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("target", ["this processor", "AVX2"])
def test_thousands_of_convolutions(dtype, side, target):
    if target == "AVX2" and not {"avx2", "fma"} <= _cpu.FEATURES:
        pytest.skip("this processor has no AVX2")
    run(CONVOLUTIONS, dtype, side, os.environ | (AVX2 if target == "AVX2" else {}))
