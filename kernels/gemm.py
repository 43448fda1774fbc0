"""The matrix product that every other kernel calls: C = epilogue(A B), with A (M, K), B (K, N), C (M, N).

Transposition is absorbed by strides: A and B may be any views. Loops named as in BLIS surround the register tile of
``microkernel.py``:

    parts   blocks of k, KC deep, if A and B are large
    ic      blocks of rows, MC high: a packed MC x KC block of A stays in L2
    jr      micro-panels of B, NR columns
    ir      micro-panels of A, MR rows

Operands that the caches hold are read where they are. Others are copied into panels first: B by all threads in a
parallel region of its own, A block by block by the thread that needs it. The tiles of C are split over the threads in
two dimensions, and k never is, so each element of C is summed in the same order for every number of threads.

Few rows or columns that lie along k go to the scalar products of ``dots.py`` in place of the register tile.
"""

from functools import lru_cache

import numba
import numpy as np

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import require_real
from fastbp.kernels._cpu import L2_BYTES, LINE_BYTES
from fastbp.kernels._jit import array, call, index, inner, kernel, task
from fastbp.kernels._pointers import address, constant, itemsize, load, overlap, pointer_at, prefetch, shift, store
from fastbp.kernels._program import Call, NotRecordable, OwnCalls, recorder, run
from fastbp.kernels._record import Record
from fastbp.kernels.dots import dot_tile, pays_dots
from fastbp.kernels.epilogue import ACTIVATE, DESCENT, IDENTITY, LINEAR, SIGMOID, SLOPE, TANH
from fastbp.kernels.functions import sigmoid, tanh
from fastbp.kernels.microkernel import finish_tile, multiply_tile, tile_buffer, wide_columns
from fastbp.kernels.packing import pack_panels
from fastbp.kernels.partition import (
    SLAB,
    UNPACKED_BYTES,
    block_depth,
    pays_packing,
    round_up,
    share,
    threads_over_rows,
    tile_sizes,
)

# Bits of ``part``: whether k starts and ends with this part of a product, and whether it is part of a large one.
FIRST, LAST, LARGE = 1, 2, 4
WHOLE = FIRST | LAST
# Bits of what `_gemm` returns: what is left to do. 0: nothing, the product is computed.
RUN, WIDE, PACKED, ENLARGE, COPY, CUT = 8, 16, 32, 64, 128, 256

# A (rows, depth), B (depth, columns) and C by address and strides in elements.
PRODUCT = Record(
    "pack multiply team pool work work_size needed "
    "a a_row a_k b b_k b_column c c_row d d_row bias "
    "rows columns depth mc pack_a pack_b dots far_c plain carry form activation",
    "alpha beta slope",
)
_product = PRODUCT.at


@task(PRODUCT)
def _pack(p, t, threads):
    """Pack share ``t`` of B into the workspace, panel after panel."""
    b, work = pointer_at(p.b, p.alpha), pointer_at(p.work, p.alpha)
    _, NR, _ = tile_sizes(itemsize(work))
    start, stop = share(p.columns, NR, t, threads)
    pack_panels(
        shift(b, start * p.b_column), p.b_column, p.b_k, stop - start, NR, p.depth, shift(work, start * p.depth)
    )
    return 0


@task(PRODUCT)
def _multiply(p, t, threads):
    """Compute share ``t`` of C."""
    a, b, c, d, bias = (
        pointer_at(p.a, p.alpha), pointer_at(p.b, p.alpha), pointer_at(p.c, p.alpha), pointer_at(p.d, p.alpha),
        pointer_at(p.bias, p.alpha),
    )  # fmt: skip
    MR, NR, _ = tile_sizes(itemsize(c))
    rows, columns, depth, c_row, d_row = p.rows, p.columns, p.depth, p.c_row, p.d_row
    unit = MR if p.pack_a else MR // 3
    over_rows = threads_over_rows(threads, (rows + unit - 1) // unit, (columns + NR - 1) // NR)
    over_columns = threads // over_rows
    row_start, row_stop = share(rows, unit, t // over_columns, over_rows)
    column_start, column_stop = share(columns, NR, t % over_columns, over_columns)
    b_panels = pointer_at(p.work, p.alpha)
    a_panels = shift(b_panels, p.pack_b * round_up(columns, NR) * depth + t * p.mc * depth)
    tile = tile_buffer(c)
    width = NR if p.pack_b or p.dots else wide_columns(rows, MR, NR)
    for ic in range(row_start, row_stop, p.mc):
        ic_stop = min(ic + p.mc, row_stop)
        if p.pack_a:
            pack_panels(shift(a, ic * p.a_row), p.a_row, p.a_k, ic_stop - ic, MR, depth, a_panels)
        j = column_start
        while j < column_stop:
            is_wide = width > NR and j + width <= column_stop
            tile_columns, tile_row = (width, width) if is_wide else (min(NR, column_stop - j), NR)
            b_panel, b_k = (shift(b_panels, j * depth), NR) if p.pack_b else (shift(b, j * p.b_column), p.b_k)
            for i in range(ic, ic_stop, MR):
                tile_rows = min(MR, ic_stop - i)
                a_panel, a_row, a_k = shift(a, i * p.a_row), p.a_row, p.a_k
                if p.pack_a:
                    a_panel, a_row, a_k = shift(a_panels, (i - ic) * depth), 1, MR
                c_tile = shift(c, i * c_row + j)
                if p.far_c:
                    _prefetch_tile(c_tile, c_row, tile_rows, tile_columns)
                if p.dots:
                    dot_tile(a_panel, a_row, b_panel, p.b_column, depth, tile_rows, tile_columns, tile, tile_row)
                elif p.plain and tile_columns == NR and tile_rows % (MR // 3) == 0:
                    multiply_tile(a_panel, a_row, a_k, b_panel, b_k, depth, tile_rows, tile_columns, c_tile, c_row)
                    continue
                else:
                    multiply_tile(a_panel, a_row, a_k, b_panel, b_k, depth, tile_rows, tile_columns, tile, tile_row)
                for n in range(0, tile_columns, NR):
                    finish_tile(
                        shift(tile, n), tile_row, shift(c_tile, n), c_row, shift(d, i * d_row + j + n), d_row,
                        shift(bias, j + n), tile_rows, min(NR, tile_columns - n),
                        p.form, p.activation, p.carry != 0, p.alpha, p.beta, p.slope,
                    )  # fmt: skip
                if p.form == ACTIVATE and p.activation >= SIGMOID:
                    _activate_tile(c_tile, c_row, tile_rows, tile_columns, p.activation)
            j += tile_columns
    return 0


@inner
def _prefetch_tile(c, c_row, rows, columns):
    """Fetch a tile of C while its sums are made: 106 GFLOP/s became 111 in products of 1500 rows and columns."""
    for i in range(rows):
        for j in range(0, columns, LINE_BYTES // itemsize(c)):
            prefetch(c, i * c_row + j)


@inner
def _activate_tile(c, c_row, rows, columns, activation):
    """f(u) for the activations with an exponential, while the tile is still in L1."""
    for i in range(rows):
        row = shift(c, i * c_row)
        if activation == SIGMOID:
            for j in range(columns):
                store(row, j, sigmoid(load(row, j)))
        elif activation == TANH:
            for j in range(columns):
                store(row, j, tanh(load(row, j)))


@kernel(
    lambda real: (
        *(array(real, 2), array(real, 2), array(real, 2, out=True), array(real, 2), array(real, 1)),
        *(index, index, real, real, real, index, index),
    )
)
def _gemm(a, b, out, d, bias, form, activation, alpha, beta, slope, part, record):
    """Check the arrays, describe the product in ``record``, and run it if it is too small for threads.

    The record says where the number of threads is found; with 0 of them the product is only described.
    """
    M, K = a.shape
    N = b.shape[1]
    size = out.itemsize
    reads_d = form == SLOPE or (form == LINEAR and beta != 0)
    if b.shape[0] != K or out.shape[0] != M or out.shape[1] != N:
        raise ValueError("a must be (M, K), b (K, N) and out (M, N)")
    if reads_d and d.shape != out.shape:
        raise ValueError("d must have the shape of out")
    if form == ACTIVATE and bias.size != N:
        raise ValueError("bias must be (N,) for out (M, N)")
    if not LINEAR <= form <= SLOPE:
        raise ValueError("form must be one of the constants of epilogue.py")
    if not IDENTITY <= activation <= TANH:
        raise ValueError("activation must be one of the constants of epilogue.py")
    strides = a.strides[0] | a.strides[1] | b.strides[0] | b.strides[1] | out.strides[0] | out.strides[1]
    if strides % size != 0 or (reads_d and (d.strides[0] | d.strides[1]) % size != 0):
        raise ValueError("strides must be multiples of the element size")
    if overlap(out, a) or overlap(out, b) or (form == ACTIVATE and overlap(out, bias)):
        raise ValueError("the output must not overlap an input")
    if reads_d and overlap(out, d) and (address(out) != address(d) or out.strides != d.strides):
        raise ValueError("the output must not overlap its second operand without being it")
    if M == 0 or N == 0:
        return 0

    p = _product(record, alpha)
    p.rows, p.columns, p.depth = M, N, K
    p.a, p.a_row, p.a_k = address(a), a.strides[0] // size, a.strides[1] // size
    p.b, p.b_k, p.b_column = address(b), b.strides[0] // size, b.strides[1] // size
    p.c, p.c_row, c_column = address(out), out.strides[0] // size, out.strides[1] // size
    p.d, p.d_row, d_column = address(d), d.strides[0] // size, d.strides[1] // size
    p.bias = address(bias)
    if form != LINEAR and form != DESCENT:
        if N > 1 and (c_column != 1 or (form == ACTIVATE and bias.strides[0] != size)):
            return COPY
    elif (N == 1 and M > 1 and p.c_row == 1) or (N > 1 and c_column != 1):
        # C' = B' A': the rows of C must be contiguous, and a vector is better a row than a column
        if M > 1 and p.c_row != 1:
            return COPY
        p.rows, p.columns = N, M
        p.a, p.a_row, p.a_k, p.b, p.b_k, p.b_column = p.b, p.b_column, p.b_k, p.a, p.a_k, p.a_row
        p.c_row, p.d_row, d_column = c_column, d_column, p.d_row
    if reads_d and p.columns > 1 and d_column != 1:
        return COPY

    _, _, KC = tile_sizes(size)
    # which blocks k is cut into, and so the bits of the result, depend on the shapes alone
    is_along_k = p.a_k == 1 and p.b_k == 1 and (p.columns == 1 or p.b_column != 1)
    p.dots = int(is_along_k and pays_dots(p.rows, p.columns, K, size))
    is_large = part & LARGE != 0 or max(M, N) * K * size > UNPACKED_BYTES
    if not p.dots and is_large and (K > KC or max(M, N) > SLAB):
        return CUT
    _describe_form(p, form, activation, alpha, beta, slope, part)
    _describe_packing(p, is_large, size)
    status = PACKED if p.pack_b else 0
    team = load(pointer_at(p.team, 0), 0)
    if p.work_size < p.needed:
        return ENLARGE
    if M * N * K >= _runtime.PARALLEL_WORK:
        status |= WIDE
    if team == 0 or (team > 1 and status & WIDE):
        return status | RUN
    if p.pack_b:
        call(p.pack, record, 0, 1)
    call(p.multiply, record, 0, 1)
    return 0


@inner
def _describe_form(p, form, activation, alpha, beta, slope, part):
    """The epilogue of one part of k.

    LINEAR and DESCENT apply on the first one and the later ones add; ACTIVATE and SLOPE apply on the last.
    """
    first, last = part & FIRST != 0, part & LAST != 0
    zero, one = constant(pointer_at(p.c, alpha), 0), constant(pointer_at(p.c, alpha), 1)
    if form in (LINEAR, DESCENT):
        if not first:
            form, beta, p.d, p.d_row = LINEAR, one, p.c, p.c_row
    elif not last:
        form, alpha, beta, p.d, p.d_row = LINEAR, one, zero if first else one, p.c, p.c_row
    p.carry = int(form in (ACTIVATE, SLOPE) and not first)
    p.plain = int(form == LINEAR and alpha == 1 and beta == 0)
    p.form, p.activation, p.alpha, p.beta, p.slope = form, activation, alpha, beta, slope


@inner
def _describe_packing(p, is_large, size):
    """Which operands are copied into panels, how many rows a block has, and the workspace for them."""
    MR, NR, _ = tile_sizes(size)
    K, a_stride, b_stride = p.depth, max(abs(p.a_row), abs(p.a_k)) * size, abs(p.b_k) * size
    a_pays = p.columns > 2 * NR and (is_large or pays_packing(p.rows * K * size, a_stride))
    b_pays = (is_large and p.rows > MR) or (p.rows > 2 * MR and pays_packing(p.columns * K * size, b_stride))
    p.pack_a = int(K > 0 and not p.dots and a_pays)
    p.pack_b = int(K > 0 and not p.dots and (b_pays or (p.columns > 1 and p.b_column != 1)))
    p.far_c = int(p.rows * p.columns * size > L2_BYTES // 2)
    if p.pack_a:
        p.mc = min(round_up(p.rows, MR), max(MR, L2_BYTES // 2 // (K * size) // MR * MR))
    else:
        p.mc = p.rows if p.rows < p.columns else MR  # the larger matrix streams past the smaller one
    p.needed = (p.pack_b * round_up(p.columns, NR) + p.pack_a * p.mc * p.pool) * K


_TEAM, _NO_TEAM = _runtime.TEAM.ctypes.data, np.zeros(1, np.int64)


class _Product(Call):
    """The record of a product of one dtype, and the steps that pack and multiply."""

    def __init__(self, dtype):
        super().__init__(PRODUCT, dtype, _pack, _multiply)
        self.record["pack"], self.record["multiply"] = _pack.address(dtype), _multiply.address(dtype)
        self.record["pool"], self.record["team"] = numba.config.NUMBA_NUM_THREADS, _TEAM
        self.dtype = dtype
        self.describe = _gemm.serial(dtype)
        self.no_bias = np.empty(0, dtype)
        self.work = None

    def enlarge(self):
        self.work = _runtime.workspace(self.record["needed"].item(), self.dtype)
        self.record["work"], self.record["work_size"] = self.work.ctypes.data, self.work.size

    def steps_for(self, status):
        self.steps[:, 2] = status & WIDE
        return self.steps if status & PACKED else self.steps[1:]


_products = OwnCalls()  # by the character of the dtype


def gemm(a, b, out, d=None, bias=None, form=LINEAR, activation=IDENTITY, alpha=1.0, beta=0.0, slope=0.0, part=WHOLE):
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
    part : int
        WHOLE, or the bits of one part of a product that is cut up.
    """
    if _runtime.recorder.program is not None:
        _record(a, b, out, d, bias, form, activation, alpha, beta, slope, part)
        return
    product = _products.of.get(out.dtype.char) or _new_product(out.dtype)
    if bias is None:
        bias = product.no_bias if form != ACTIVATE else _zeros(out.shape[1], out.dtype)
    if d is None:
        d = out
    try:
        status = product.describe(a, b, out, d, bias, form, activation, alpha, beta, slope, part, product.address)
    except (TypeError, ValueError) as error:
        arguments = (a, b, out, d, bias, form, activation, alpha, beta, slope, part, product.address)
        raise _gemm.reworded(error, arguments) from None
    if status:
        _finish(status, product, a, b, out, d, bias, form, activation, alpha, beta, slope, part)


def _finish(status, product, a, b, out, d, bias, *rest):
    """Do what `_gemm` left to do."""
    if status & ENLARGE:
        product.enlarge()
        gemm(a, b, out, d, bias, *rest)
    elif status & RUN:
        run(product.steps_for(status), _runtime.team())
    elif status & COPY:
        result = np.array(out, order="C")
        gemm(a, b, result, result if d is out else np.array(d, order="C"), np.ascontiguousarray(bias), *rest)
        out[...] = result
    elif status & CUT:
        _cut(a, b, out, d, bias, *rest[:-1])


def _new_product(dtype):
    require_real("gemm", "out", dtype)
    _runtime.team()  # decides on the number of threads
    return _products.of.setdefault(dtype.char, _Product(dtype))


def _record(a, b, out, d, bias, form, *rest):
    """`gemm` as steps of the program that is being recorded."""
    product, program = _Product(out.dtype), recorder()
    product.record["team"] = _NO_TEAM.ctypes.data
    product.record["work_size"] = 2**62  # the program gives the workspace at its end
    if bias is None:
        bias = _zeros(out.shape[1] if form == ACTIVATE else 0, out.dtype)
    if d is None:
        d = out
    status = product.describe(a, b, out, d, bias, form, *rest, product.address)
    if status & COPY:
        raise NotRecordable
    if status & CUT:
        _cut(a, b, out, d, bias, form, *rest[:-1])
    elif status & RUN:
        program.add(product.steps_for(status), product.record, a, b, out, d, bias)
        if product.record["needed"][0]:
            program.needs_workspace(product.record)
        if form == DESCENT:
            program.follows_rate(product.record)


def _cut(a, b, out, d, bias, *rest):
    """`gemm` part by part: k in blocks, and so many columns that the packed part of B stays in the last cache."""
    (M, N), K = out.shape, a.shape[1]
    depth = block_depth(K, out.itemsize)
    for i in range(0, M, SLAB):
        for j in range(0, N, SLAB):
            rows, columns = slice(i, i + SLAB), slice(j, j + SLAB)
            c, b_part = out[rows, columns], bias[columns] if bias.size else bias
            for k in range(0, K, depth):
                part = LARGE | (FIRST if k == 0 else 0) | (LAST if k + depth >= K else 0)
                deep = slice(k, k + depth)
                gemm(a[rows, deep], b[deep, columns], c, d[rows, columns], b_part, *rest, part)


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
    try:
        gemm(a, b, out)
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        _check_matrices(a=a, b=b, out=out)
        raise renamed(error, "matmul", a=a, b=b, out=out) from None


def renamed(error, name, **arrays):
    """The ``error`` of `gemm` as one of its caller, with the arrays under the caller's names."""
    if not isinstance(error, ValueError | TypeError) or not str(error).startswith("gemm: "):
        return error
    text = str(error).removeprefix("gemm: ").partition("; got")[0]
    got = ", ".join(f"{key} {x.shape} {x.dtype}" for key, x in arrays.items() if isinstance(x, np.ndarray))
    return type(error)(f"{name}: {text}; got {got}")


def _check_matrices(**matrices):
    """Say which argument of a product that failed does not fit."""
    for name, matrix in matrices.items():
        if not isinstance(matrix, np.ndarray) or matrix.ndim != 2:
            got = f"shape {matrix.shape}" if isinstance(matrix, np.ndarray) else type(matrix).__name__
            raise TypeError(f"matmul: {name} must be a two-dimensional array, got {got}")
    a, b, out = (matrix.shape for matrix in matrices.values())
    if a[1] != b[0] or out != (a[0], b[1]):
        raise ValueError(f"matmul: a must be (M, K), b (K, N) and out (M, N), got a {a}, b {b}, out {out}")
