"""The matrix product that every other kernel calls: C = epilogue(A B), with A (M, K), B (K, N), C (M, N).

Transposition is absorbed by strides: A and B may be any views. Five loops, named as in BLIS, surround the register tile
of ``microkernel.py``:

    slabs   (i0, j0, k0)   so much of A and B as is packed at once, at most SLAB_BYTES
    pc      blocks of k, KC deep
    jc      blocks of columns, NC wide: a KC x NC block of packed B stays in L2
    ir      micro-panels of A, MR rows: one stays in L1 while
    jr      micro-panels of B, NR columns, stream past it

Every slab is two parallel regions: one packs, one multiplies. The second splits the tiles of C over the threads in two
dimensions and never splits k, so each element of C is summed in the same order for every number of threads.
"""

from functools import lru_cache

import numpy as np
from numba import prange

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import rows
from fastbp.kernels._jit import array, call, index, inner, kernel, pointer_to, routine, vector
from fastbp.kernels._pointers import address, constant, itemsize, load, overlap, pointer, shift, store
from fastbp.kernels.epilogue import ACTIVATE, DESCENT, IDENTITY, LINEAR, SIGMOID, SLOPE, TANH, check_activation
from fastbp.kernels.functions import sigmoid, tanh
from fastbp.kernels.microkernel import multiply_tile
from fastbp.kernels.packing import pack_panel
from fastbp.kernels.partition import (
    SLAB_COLUMNS,
    SLAB_ROWS,
    panel_elements,
    slabs,
    threads_over_rows,
    tile_sizes,
)


@routine(lambda real: (pointer_to(real), index, index, pointer_to(real), index, index, pointer_to(real), *[index] * 6))
def _pack(a, a_row, a_k, b, b_k, b_column, work, rows, columns, depth, kc, t, threads):
    """Pack the share of thread ``t`` of one slab of A and B into ``work``.

    Block after block of k, panel after panel; the panels of A first, those of B behind them. ``a`` and ``b`` point to
    the first element of the slab.
    """
    zero = constant(work, 0)
    MR, NR, _ = tile_sizes(itemsize(work))
    row_panels, column_panels = (rows + MR - 1) // MR, (columns + NR - 1) // NR
    b_panels = shift(work, row_panels * MR * depth)
    for pc in range(0, depth, kc):
        k = min(kc, depth - pc)
        for p in range(t * row_panels // threads, (t + 1) * row_panels // threads):
            source = shift(a, pc * a_k + p * MR * a_row)
            target = shift(work, MR * (pc * row_panels + p * k))
            pack_panel(source, a_row, a_k, min(MR, rows - p * MR), MR, k, target, zero)
        for p in range(t * column_panels // threads, (t + 1) * column_panels // threads):
            source = shift(b, pc * b_k + p * NR * b_column)
            target = shift(b_panels, NR * (pc * column_panels + p * k))
            pack_panel(source, b_column, b_k, min(NR, columns - p * NR), NR, k, target, zero)


@routine(
    lambda real: (
        *(pointer_to(real), pointer_to(real), index, pointer_to(real), index, pointer_to(real)),
        *(index, index, real, real, real),
        *[index] * 8,
    )
)
def _multiply(
    work, c, ldc, d, ldd, bias, form, activation, alpha, beta, slope, rows, columns, depth, kc, first, last, t, threads
):
    """Multiply the packed slab in ``work`` into the share of C of thread ``t``.

    ``c``, ``d`` and ``bias`` point to the first element that belongs to the slab; first and last say whether this slab
    holds the first and the last of k.
    """
    MR, NR, NC = tile_sizes(itemsize(c))
    row_panels, column_panels = (rows + MR - 1) // MR, (columns + NR - 1) // NR
    over_rows = threads_over_rows(threads, row_panels, column_panels)
    over_columns = threads // over_rows
    t_row, t_column = t // over_columns, t % over_columns
    row_start, row_stop = t_row * row_panels // over_rows, (t_row + 1) * row_panels // over_rows
    column_start, column_stop = t_column * column_panels // over_columns, (t_column + 1) * column_panels // over_columns
    b_panels = shift(work, row_panels * MR * depth)
    zero, one = constant(c, 0), constant(c, 1)

    for pc in range(0, max(depth, 1), kc):
        k = min(kc, depth - pc)
        first_block = first and pc == 0
        last_block = last and pc + kc >= depth
        a_block = shift(work, MR * pc * row_panels)
        b_block = shift(b_panels, NR * pc * column_panels)
        # LINEAR and DESCENT apply on the first block of k and the later ones add; ACTIVATE and SLOPE apply on the last
        is_linear = form in (LINEAR, DESCENT)
        block_form, block_alpha, block_beta, block_d, block_ldd = form, alpha, beta, d, ldd
        if not is_linear and not last_block:
            block_form, block_alpha, block_beta = LINEAR, one, zero
        if block_form in (LINEAR, DESCENT) and not first_block:
            block_form, block_beta, block_d, block_ldd = LINEAR, one, c, ldc
        carry = not is_linear and last_block and not first_block
        for jc in range(column_start, column_stop, NC // NR):
            for ir in range(row_start, row_stop):
                for jr in range(jc, min(jc + NC // NR, column_stop)):
                    i, j = ir * MR, jr * NR
                    tile_rows, tile_columns = min(MR, rows - i), min(NR, columns - j)
                    tile = shift(c, i * ldc + j)
                    multiply_tile(
                        shift(a_block, ir * MR * k),
                        shift(b_block, jr * NR * k),
                        k,
                        tile,
                        ldc,
                        shift(block_d, i * block_ldd + j),
                        block_ldd,
                        shift(bias, j),
                        tile_rows,
                        tile_columns,
                        block_form,
                        activation,
                        carry,
                        block_alpha,
                        block_beta,
                        slope,
                    )
                    if block_form == ACTIVATE and activation >= SIGMOID:
                        _activate_tile(tile, ldc, tile_rows, tile_columns, activation)


@inner
def _activate_tile(c, ldc, rows, columns, activation):
    """f(u) for the activations with an exponential, while the tile is still in L1."""
    for i in range(rows):
        row = shift(c, i * ldc)
        if activation == SIGMOID:
            for j in range(columns):
                store(row, j, sigmoid(load(row, j)))
        elif activation == TANH:
            for j in range(columns):
                store(row, j, tanh(load(row, j)))


@kernel(
    lambda real: (
        *(array(real, 2), array(real, 2), array(real, 2, out=True), array(real, 2), vector(real)),
        *(index, index, real, real, real),
        *(vector(real, out=True), index, index, index, index, index),
    )
)
def _gemm(
    a, b, out, d, bias, form, activation, alpha, beta, slope, work, slab_depth, kc, threads, pack, multiply
):  # fmt: skip
    M, K = a.shape
    N = b.shape[1]
    size = out.itemsize
    if b.shape[0] != K or out.shape[0] != M or out.shape[1] != N:
        raise ValueError("a must be (M, K), b (K, N) and out (M, N)")
    if (form == SLOPE or (form == LINEAR and beta != 0)) and d.shape != out.shape:
        raise ValueError("d must have the shape of out")
    if form == ACTIVATE and bias.size != N:
        raise ValueError("bias must be (N,) for out (M, N)")
    if N > 1 and M > 0 and (out.strides[1] != size or d.strides[1] != size):
        raise ValueError("the rows of out must be contiguous")
    if (a.strides[0] | a.strides[1] | b.strides[0] | b.strides[1] | out.strides[0] | d.strides[0]) % size != 0:
        raise ValueError("strides must be multiples of the element size")
    if overlap(out, a) or overlap(out, b) or (form == ACTIVATE and overlap(out, bias.reshape(1, N))):
        raise ValueError("out must not overlap a, b or the bias")
    if overlap(out, d) and (address(out) != address(d) or out.strides != d.strides):
        raise ValueError("d must be out or not overlap it")
    if work.size < panel_elements(M, N, size) * slab_depth:
        raise ValueError("the workspace is too small")
    a_row, a_k = a.strides[0] // size, a.strides[1] // size
    b_k, b_column = b.strides[0] // size, b.strides[1] // size
    ldc, ldd = out.strides[0] // size, d.strides[0] // size
    for i0 in range(0, M, SLAB_ROWS):
        rows = min(SLAB_ROWS, M - i0)
        for j0 in range(0, N, SLAB_COLUMNS):
            columns = min(SLAB_COLUMNS, N - j0)
            for k0 in range(0, max(K, 1), slab_depth):
                depth = min(slab_depth, K - k0)
                first, last = int(k0 == 0), int(k0 + depth >= K)
                for t in prange(threads):
                    a_slab = shift(pointer(a), i0 * a_row + k0 * a_k)
                    b_slab = shift(pointer(b), k0 * b_k + j0 * b_column)
                    panels = pointer(work)
                    call(
                        pack, a_slab, a_row, a_k, b_slab, b_k, b_column, panels,
                        rows, columns, depth, kc, int(t), threads,
                    )  # fmt: skip
                for t in prange(threads):
                    c_slab = shift(pointer(out), i0 * ldc + j0)
                    d_slab = shift(pointer(d), i0 * ldd + j0)
                    bias_slab = shift(pointer(bias), j0)
                    call(
                        multiply, pointer(work), c_slab, ldc, d_slab, ldd, bias_slab,
                        form, activation, alpha, beta, slope,
                        rows, columns, depth, kc, first, last, int(t), threads,
                    )  # fmt: skip


def gemm(a, b, out, d=None, bias=None, form=LINEAR, activation=IDENTITY, alpha=1.0, beta=0.0, slope=0.0):
    """out = epilogue(a b), as described in ``epilogue.py``.

    Parameters
    ----------
    a, b : ndarray, shapes (M, K) and (K, N), any strides
    out : ndarray, shape (M, N), any strides
        Must not overlap ``a`` and ``b``.
    d : ndarray, shape (M, N), optional
        Second operand of the epilogue; may be ``out``.
    bias : ndarray, shape (N,), optional
    form, activation : int
        Constants of ``epilogue.py``.
    alpha, beta, slope : float
        Factors of the linear epilogue, slope of the leaky rectifier.
    """
    if d is None:
        d = out
    check_activation(activation)
    if not _has_contiguous_rows(out):
        if form in (LINEAR, DESCENT) and _has_contiguous_rows(out.T):
            a, b, out, d = b.T, a.T, out.T, d.T
        else:
            result = np.array(out, order="C")
            gemm(a, b, result, d, bias, form, activation, alpha, beta, slope)
            out[...] = result
            return
    if not _has_contiguous_rows(d):
        d = np.array(d, order="C")
    M, N, K = out.shape[0], out.shape[1], a.shape[1]
    depth, kc, elements = slabs(M, N, K, out.itemsize)
    threads = _runtime.threads_for(M * N * K)
    _gemm(
        threads,
        a,
        b,
        out,
        d,
        _zeros(N, out.dtype) if bias is None else rows(bias),
        form,
        activation,
        alpha,
        beta,
        slope,
        _runtime.workspace(elements, out.dtype),
        depth,
        kc,
        threads,
        _pack.address(out.dtype),
        _multiply.address(out.dtype),
    )


def _has_contiguous_rows(x):
    return x.strides[1] == x.itemsize or x.shape[1] <= 1 or x.size == 0


@lru_cache(maxsize=64)
def _zeros(n, dtype):
    return np.zeros(n, dtype)


def matmul(a, b, out):
    """Matrix product: out = a b.

    Any of the arrays may be transposed, sliced, C- or Fortran-ordered; ``matmul(a.T, b, out)`` copies nothing.

    Parameters
    ----------
    a : ndarray, float32 or float64, shape (M, K)
    b : ndarray, same dtype, shape (K, N)
    out : ndarray, same dtype, shape (M, N)
        Overwritten. Zeros when K is 0.

    Raises
    ------
    ValueError
        When the shapes do not fit, or ``out`` overlaps ``a`` or ``b``.
    TypeError
        When the dtypes differ, are neither float32 nor float64, or an array is not two-dimensional.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import kernels
    >>> a, b, c = np.arange(6.0).reshape(2, 3), np.ones((3, 1)), np.empty((2, 1))
    >>> kernels.matmul(a, b, c)
    >>> c
    array([[ 3.],
           [12.]])
    """
    for name, matrix in (("a", a), ("b", b), ("out", out)):
        if not isinstance(matrix, np.ndarray) or matrix.ndim != 2:
            got = f"shape {matrix.shape}" if isinstance(matrix, np.ndarray) else type(matrix).__name__
            raise TypeError(f"matmul: {name} must be a two-dimensional array, got {got}")
    if a.shape[1] != b.shape[0] or out.shape != (a.shape[0], b.shape[1]):
        raise ValueError(
            f"matmul: a must be (M, K), b (K, N) and out (M, N), got a {a.shape}, b {b.shape}, out {out.shape}"
        )
    gemm(a, b, out)
