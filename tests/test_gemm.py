"""The matrix product and its epilogues: every shape, layout and edge, against float64 and against the stand-alone
kernels."""

import itertools
import math

import numba
import numpy as np
import pytest
import reference
import strategies
from hypothesis import given
from hypothesis import strategies as st

from fastbp import kernels
from fastbp.kernels import _cpu, _runtime
from fastbp.kernels._program import run
from fastbp.kernels.activation import activation_backward, activation_forward
from fastbp.kernels.epilogue import ACTIVATE, IDENTITY, LEAKY_RELU, RELU, SIGMOID, SLOPE, TANH
from fastbp.kernels.gemm import gemm
from fastbp.kernels.partition import SLAB, UNPACKED_BYTES
from fastbp.kernels.product import RUN

ACTIVATIONS = (IDENTITY, RELU, LEAKY_RELU, SIGMOID, TANH)
DTYPES = pytest.mark.parametrize("dtype", strategies.DTYPES)
# more than one slab of rows, of columns, and of k
SLABS = pytest.mark.parametrize(("M", "N", "K"), [(SLAB + 3, 5, 1500), (7, SLAB + 3, 1500), (SLAB + 1, SLAB + 1, 3)])


def operands(M, N, K, dtype, seed=0):
    return strategies.normal(seed, (M, K), dtype), strategies.normal(seed + 1, (K, N), dtype)


def check_product(a, b, out):
    kernels.matmul(a, b, out)
    product, magnitude = reference.matmul(a, b)
    reference.assert_within(out, product, reference.product_bound(a.shape[1], out.dtype, magnitude))


@given(strategies.MNK, strategies.dtypes, strategies.seeds, strategies.orders, strategies.orders, strategies.out_orders)
def test_matmul(shape, dtype, seed, a_order, b_order, out_order):
    M, N, K = shape
    a, b = strategies.normal(seed, (M, K), dtype, a_order), strategies.normal(seed + 1, (K, N), dtype, b_order)
    check_product(a, b, strategies.blank((M, N), dtype, out_order))


@DTYPES
@pytest.mark.parametrize("a_transposed", [False, True])
@pytest.mark.parametrize("b_transposed", [False, True])
def test_transpositions(dtype, a_transposed, b_transposed):
    M, N, K = 29, 43, 400
    a = strategies.normal(0, (K, M), dtype).T if a_transposed else strategies.normal(0, (M, K), dtype)
    b = strategies.normal(1, (N, K), dtype).T if b_transposed else strategies.normal(1, (K, N), dtype)
    check_product(a, b, strategies.blank((M, N), dtype))


@DTYPES
def test_tile_edges(dtype):
    tile = _cpu.blocks(np.dtype(dtype).itemsize)
    steps = (-1, 0, 1)
    for i, j, k in itertools.product(steps, steps, steps):
        a, b = operands(2 * tile.mr + i, 2 * tile.nr + j, tile.kc + k, dtype)
        check_product(a, b, strategies.blank((len(a), b.shape[1]), dtype))


@DTYPES
@SLABS
def test_slabs(dtype, M, N, K):
    a, b = operands(M, N, K, dtype)
    check_product(a, b, strategies.blank((M, N), dtype))


@DTYPES
def test_epilogues_over_slabs_of_columns(dtype):
    M, N, K = 7, SLAB + 70, 20
    a, b = operands(M, N, K, dtype)
    bias, d = strategies.normal(2, (N,), dtype), strategies.normal(3, (M, N), dtype)
    product, magnitude = reference.matmul(a, b)
    out = strategies.blank((M, N), dtype)
    gemm(a, b, out, bias=bias, form=ACTIVATE, activation=RELU)
    bound = reference.product_bound(K, dtype, magnitude + abs(bias))
    reference.assert_within(out, np.maximum(product + bias, 0), bound)
    gemm(a, b, out, d=d, form=SLOPE, activation=RELU)
    reference.assert_within(out, np.where(d <= 0, 0, product), bound)
    gemm(a, b, out, d=d, beta=1.0)
    reference.assert_within(out, product + d, reference.product_bound(K, dtype, magnitude + abs(d)))


@DTYPES
@pytest.mark.parametrize("order", ["C", "F"])
def test_blocks_of_k(dtype, order):
    M, N = 25, 9
    K = UNPACKED_BYTES // (M * np.dtype(dtype).itemsize) + 3
    a, b = strategies.normal(0, (M, K), dtype, order), strategies.normal(1, (K, N), dtype, order)
    check_product(a, b, strategies.blank((M, N), dtype))


@DTYPES
def test_scalar_products(dtype):
    """Operands that lie along k, with few rows or columns: every block of dots.py, and every rest of a vector."""
    lines, depths = (1, 2, 3, 4, 5, 8, 9, 13), (1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 300)
    for M, N, K in itertools.product(lines, lines, depths):
        a, b = operands(M, N, K, dtype)
        out = strategies.blank((M, N), dtype)
        check_product(a, np.asfortranarray(b), out)
        gemm(a, np.asfortranarray(b), out, beta=1.0)
        product, magnitude = reference.matmul(a, b)
        reference.assert_within(out, 2 * product, 2 * reference.product_bound(K, dtype, magnitude))


@DTYPES
def test_vectors_along_k_of_a_matrix_larger_than_the_caches(dtype):
    K = UNPACKED_BYTES // 300
    a, b = operands(301, 1, K, dtype)
    out = strategies.blank((301, 1), dtype)
    check_product(a, b, out)
    row = strategies.blank((1, 301), dtype)
    check_product(b.T, a.T, row)
    np.testing.assert_array_equal(row.T, out)


@DTYPES
def test_exact_integers(dtype):
    # sums of small integers are exact in any order
    rng = np.random.default_rng(0)
    a, b = rng.integers(-9, 9, (61, 700)), rng.integers(-9, 9, (700, 75))
    out = strategies.blank((61, 75), dtype)
    kernels.matmul(a.astype(dtype), b.astype(dtype), out)
    np.testing.assert_array_equal(out, a @ b)


@DTYPES
def test_nan_and_infinity(dtype):
    a, b = operands(40, 70, 500, dtype)
    a[3, 0], a[17, 499], a[39, 250] = np.nan, np.inf, -np.inf
    b[7, 69], b[400, 5], b[499, 11] = np.nan, np.inf, 0
    out = strategies.blank((40, 70), dtype)
    kernels.matmul(a, b, out)
    with np.errstate(invalid="ignore"):
        expected = (a[:, :, None].astype(np.float64) * b).sum(1)
    np.testing.assert_array_equal(np.isnan(out), np.isnan(expected))
    infinite = np.isinf(expected)
    assert infinite.any()
    np.testing.assert_array_equal(out[infinite], expected[infinite])
    assert np.isfinite(out[np.isfinite(expected)]).all()


@given(strategies.MNK, strategies.dtypes, st.sampled_from(["linear", "beta", "activate", "slope"]))
def test_memory_around_out_is_untouched(shape, dtype, form):
    M, N, K = shape
    a, b = operands(M, N, K, dtype)
    whole, out = strategies.guarded((M, N), dtype)
    h, bias = strategies.normal(3, (M, N), dtype), strategies.normal(4, (N,), dtype)
    if form == "linear":
        gemm(a, b, out)
    elif form == "beta":
        gemm(a, b, out, d=h, beta=0.5)
    elif form == "activate":
        gemm(a, b, out, bias=bias, form=ACTIVATE, activation=SIGMOID)
    else:
        gemm(a, b, out, d=h, form=SLOPE, activation=TANH)
    assert strategies.untouched(whole, (M, N))
    assert (out != strategies.SENTINEL).all()


@given(
    strategies.MNK,
    strategies.dtypes,
    st.sampled_from([1.0, -0.125, 3.0]),
    st.sampled_from([0.0, 1.0, -2.5]),
    st.sampled_from(["out", "other"]),
    strategies.orders,
    strategies.out_orders,
)
def test_linear(shape, dtype, alpha, beta, which, d_order, out_order):
    M, N, K = shape
    a, b = operands(M, N, K, dtype)
    d = strategies.normal(2, (M, N), dtype)
    product, magnitude = reference.matmul(a, b)
    expected = alpha * product + beta * d
    bound = reference.product_bound(K, dtype, abs(alpha) * magnitude + abs(beta * d))
    if which == "out":
        out = strategies.lay_out(d, out_order)
        gemm(a, b, out, alpha=alpha, beta=beta)
    else:
        out = strategies.blank((M, N), dtype, out_order)
        gemm(a, b, out, d=strategies.lay_out(d, d_order), alpha=alpha, beta=beta)
    reference.assert_within(out, expected, bound)


def test_d_is_not_read_without_beta():
    a, b = operands(20, 40, 5, np.float32)
    out = strategies.blank((20, 40), np.float32)
    gemm(a, b, out, d=np.full((20, 40), np.nan, np.float32), alpha=2.0)
    assert np.isfinite(out).all()


@given(
    strategies.MNK,
    strategies.dtypes,
    st.sampled_from(list(enumerate(reference.ACTIVATIONS))),
    strategies.out_orders,
    st.booleans(),
)
def test_activate(shape, dtype, activation, out_order, with_bias):
    (M, N, K), (number, name), slope = shape, activation, 0.1
    a, b = operands(M, N, K, dtype)
    bias = strategies.normal(2, (N,), dtype) if with_bias else None
    out = strategies.blank((M, N), dtype, out_order)
    gemm(a, b, out, bias=bias, form=ACTIVATE, activation=number, slope=slope)
    product, magnitude = reference.matmul(a, b)
    u = product if bias is None else product + bias
    h = reference.activation(name, u, slope)
    # every slope is at most 1, so the error of u does not grow; 2 ulp of a value up to 1 are 2 eps
    bound = reference.product_bound(K, dtype, magnitude + abs(u - product)) + 3 * reference.eps(dtype) * abs(h)
    reference.assert_within(out, h, bound)


@given(
    strategies.MNK,
    strategies.dtypes,
    st.sampled_from(list(enumerate(reference.ACTIVATIONS))),
    strategies.orders,
    strategies.out_orders,
)
def test_slope(shape, dtype, activation, h_order, out_order):
    (M, N, K), (number, name), slope = shape, activation, 0.25
    a, b = operands(M, N, K, dtype)
    h = np.tanh(strategies.normal(2, (M, N), dtype, h_order)).astype(dtype)
    h[: M // 2, : N // 2] = 0
    out = strategies.blank((M, N), dtype, out_order)
    gemm(a, b, out, d=strategies.lay_out(h, h_order), form=SLOPE, activation=number, slope=slope)
    product, magnitude = reference.matmul(a, b)
    factor = reference.activation_slope(name, h, slope)
    # |1 - h| may be up to 2: its rounding error is relative to 1, not to f'
    bound = reference.product_bound(K, dtype, magnitude * (abs(factor) + reference.eps(dtype)))
    reference.assert_within(out, product * factor, bound)


@DTYPES
@SLABS
@pytest.mark.parametrize("activation", [RELU, TANH])
def test_fused_equals_separate_over_slabs(dtype, M, N, K, activation):
    check_fused(*operands(M, N, K, dtype), activation)


@DTYPES
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("M", "N", "K"), [(1, 1, 1), (50, 70, 0), (50, 70, 337), (13, 33, 900), (128, 65, 16)])
def test_fused_equals_separate(dtype, M, N, K, activation):
    check_fused(*operands(M, N, K, dtype), activation)


def check_fused(a, b, activation, slope=0.3):
    """The fused forms give the bits of the plain product followed by the stand-alone activation kernel."""
    shape, dtype = (len(a), b.shape[1]), a.dtype
    bias = strategies.normal(5, shape[1:], dtype)
    u, h, separate = (strategies.blank(shape, dtype) for _ in range(3))
    gemm(a, b, u, bias=bias, form=ACTIVATE, activation=IDENTITY)
    activation_forward(u, separate, activation, slope)
    gemm(a, b, h, bias=bias, form=ACTIVATE, activation=activation, slope=slope)
    reference.assert_bitwise(h, separate)

    delta = strategies.blank(shape, dtype)
    kernels.matmul(a, b, u)
    activation_backward(u, h, separate, activation, slope)
    gemm(a, b, delta, d=h, form=SLOPE, activation=activation, slope=slope)
    reference.assert_bitwise(delta, separate)


@DTYPES
def test_k_of_zero_gives_the_epilogue_of_zero(dtype):
    a, b = np.empty((20, 0), dtype), np.empty((0, 50), dtype)
    bias, d = strategies.normal(0, (50,), dtype), strategies.normal(1, (20, 50), dtype)
    out = strategies.blank((20, 50), dtype)
    kernels.matmul(a, b, out)
    np.testing.assert_array_equal(out, 0)
    gemm(a, b, out, d=d, beta=2.0)
    np.testing.assert_array_equal(out, 2 * d)
    gemm(a, b, out, bias=bias, form=ACTIVATE, activation=RELU)
    np.testing.assert_array_equal(out, np.broadcast_to(np.maximum(bias, 0), out.shape))
    gemm(a, b, out, d=d, form=SLOPE, activation=TANH)
    np.testing.assert_array_equal(out, 0)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
@DTYPES
@pytest.mark.parametrize(("M", "N", "K"), [(100, 300, 1000), (4090, 3, 400), (2, 4100, 400), (80, 80, 80)])
@pytest.mark.usefixtures("restore_threads")
def test_threads_do_not_change_a_bit(dtype, M, N, K):
    assert M * N * K >= _runtime.PARALLEL_WORK
    a, b = operands(M, N, K, dtype)
    for b_in_order in (b, np.asfortranarray(b)):
        results = []
        for threads in (1, 2, 2):
            _runtime.set_num_threads(threads)
            out = strategies.blank((M, N), dtype)
            gemm(a, b_in_order, out, bias=strategies.normal(3, (N,), dtype), form=ACTIVATE, activation=SIGMOID)
            results.append(out)
        reference.assert_bitwise(results[1], results[0])
        reference.assert_bitwise(results[2], results[0])


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
@pytest.mark.usefixtures("restore_threads")
def test_a_product_inside_another_one():
    """A signal handler may compute between the description of a product and its run."""
    _runtime.set_num_threads(2)
    (a, b), (c, d) = operands(90, 80, 70, np.float64), operands(75, 95, 85, np.float64, 7)
    outer, inner = np.empty((90, 80)), np.empty((75, 95))
    kernels.matmul(a, b, outer)
    described = _runtime.own.calls[outer.dtype]
    outer[:] = 0
    status = described.matmul(a, b, outer, described.address)
    assert status & RUN
    check_product(c, d, inner)
    assert (outer == 0).all()
    run(described.steps_for(status), 2)
    expected = np.empty_like(outer)
    kernels.matmul(a, b, expected)
    reference.assert_bitwise(outer, expected)


def test_a_workspace_that_cannot_be_had(monkeypatch):
    n = math.isqrt(UNPACKED_BYTES // 4) + 1  # so that b, of 4 n n bytes, must be packed
    a, b = operands(300, n, n, np.float32)
    out = np.empty((300, n), np.float32)
    _runtime.own.calls.pop(out.dtype, None)

    def interrupted(elements, dtype):
        raise KeyboardInterrupt

    monkeypatch.setattr(_runtime, "workspace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kernels.matmul(a, b, out)
    monkeypatch.undo()
    check_product(a, b, out)


def test_packed_record_fields():
    # fields whose strides are no multiple of the element size: refused or right, never read at wrong places
    record = np.zeros((5, 5), [("value", np.float32), ("flag", np.int8)])
    record["value"] = strategies.normal(0, (5, 5), np.float32)
    out = strategies.blank((5, 5), np.float32)
    with pytest.raises((ValueError, TypeError), match=r"stride|align"):
        kernels.matmul(record["value"], np.eye(5, dtype=np.float32), out)


@pytest.mark.parametrize(
    ("a", "b", "out"),
    [
        ((2, 3), (4, 5), (2, 5)),
        ((2, 3), (3, 5), (3, 5)),
        ((2, 3), (3, 5), (2, 4)),
        ((0, 3), (2, 5), (0, 5)),
        ((2, 0), (3, 5), (2, 5)),
        ((1, 3), (3, 5), (2, 5)),
    ],
)
def test_shapes_are_refused(a, b, out):
    with pytest.raises(ValueError, match="matmul") as caught:
        kernels.matmul(np.zeros(a), np.zeros(b), np.zeros(out))
    assert all(str(shape) in str(caught.value) for shape in (a, b, out))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (([[1.0]], np.zeros((1, 1)), np.zeros((1, 1))), "a"),
        ((np.zeros((1, 1)), np.zeros(1), np.zeros((1, 1))), "b"),
        ((np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1, 1))), "out"),
        ((np.zeros((1, 1)), np.zeros((1, 1)), None), "out"),
        ((np.zeros((1, 1)), np.zeros((1, 1), np.float32), np.zeros((1, 1))), "b"),
        ((np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1), np.float32)), "out"),
        ((np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1), int)), "out"),
        ((np.zeros((1, 1), int), np.zeros((1, 1), int), np.zeros((1, 1), int)), "(a|out)"),
        ((np.zeros((1, 1), complex), np.zeros((1, 1)), np.zeros((1, 1))), "a"),
        ((*(np.zeros((1, 1), np.float16) for _ in range(3)),), "(a|out)"),
        ((*(np.zeros((1, 1), object) for _ in range(3)),), "(a|out)"),
    ],
)
def test_wrong_types_are_refused_by_name(arguments, name):
    with pytest.raises(TypeError, match=rf": {name} must be") as caught:
        kernels.matmul(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("order", strategies.OUT_ORDERS)
def test_read_only_out_is_refused(order):
    out = strategies.lay_out(np.zeros((4, 5)), order)
    out.flags.writeable = False
    with pytest.raises((TypeError, ValueError), match=r"writable|read-only"):
        kernels.matmul(np.ones((4, 3)), np.ones((3, 5)), out)
    np.testing.assert_array_equal(out, 0)


def test_overlap_is_refused():
    x = np.ones((6, 6))
    other = np.ones((6, 6))
    for a, b, out in [(x, other, x), (other, x, x), (x.T, other, x), (x[::-1], other, x), (x[1:], other, x[:-1])]:
        with pytest.raises(ValueError, match="overlap"):
            kernels.matmul(a, b, out)
    np.testing.assert_array_equal(x, 1)


def test_out_may_lie_next_to_an_input():
    x = np.ones((8, 4))
    kernels.matmul(x[:4], x[:4], x[4:])
    np.testing.assert_array_equal(x[4:], 4)


@pytest.mark.parametrize("shape", [(0, 5), (4, 0)])
@pytest.mark.parametrize("order", strategies.OUT_ORDERS)
def test_empty_out_of_any_layout(shape, order):
    M, N = shape
    kernels.matmul(np.ones((M, 3)), np.ones((3, N)), strategies.lay_out(np.zeros(shape), order))


def test_epilogue_operands_of_wrong_shapes_are_refused():
    a, b, out = np.ones((4, 3)), np.ones((3, 5)), np.ones((4, 5))
    with pytest.raises(ValueError, match="bias"):
        gemm(a, b, out, bias=np.ones(4), form=ACTIVATE)
    with pytest.raises(ValueError, match="d must"):
        gemm(a, b, out, d=np.ones((4, 4)), beta=1.0)
    with pytest.raises(ValueError, match="d must"):
        gemm(a, b, out, d=np.ones((5, 5)), form=SLOPE, activation=RELU)
