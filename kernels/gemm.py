"""The matrix product that every other kernel calls: C = epilogue(A B), with A (M, K), B (K, N), C (M, N).

Transposition is absorbed by strides: A and B may be any views. Loops named as in BLIS surround the register tile of
``microkernel.py``:

    parts   blocks of k, KC deep, if A and B are large
    ic      blocks of rows, MC high: a packed MC x KC block of A stays in L2
    jr      micro-panels of B, NR columns
    ir      micro-panels of A, MR rows

Operands that the caches hold are read where they are. Others are copied into panels first: B by all threads in a task
of its own, A block by block by the thread that needs it. The tiles of C are split over the threads in two dimensions,
and k never is, so each element of C is summed in the same order for every number of threads.

Few rows or columns that lie along k go to the scalar products of ``dots.py`` in place of the register tile.
"""

from functools import lru_cache

import numba
import numpy as np

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import check_number, check_output, plain, require_real
from fastbp.kernels._cpu import LINE_BYTES
from fastbp.kernels._jit import inner, task
from fastbp.kernels._pointers import itemsize, load, pointer_at, prefetch, shift, store
from fastbp.kernels._program import Call, NotRecordable, recorder, run
from fastbp.kernels.dots import dot_tile
from fastbp.kernels.epilogue import ACTIVATE, DESCENT, IDENTITY, LINEAR, SIGMOID, TANH
from fastbp.kernels.functions import sigmoid, tanh
from fastbp.kernels.microkernel import finish_tile, multiply_tile, tile_buffer, wide_columns
from fastbp.kernels.packing import pack_panels
from fastbp.kernels.partition import SLAB, block_depth, round_up, share, threads_over_rows, tile_sizes
from fastbp.kernels.product import (
    BUSY,
    COPY,
    CUT,
    ENLARGE,
    FIRST,
    LARGE,
    LAST,
    PACKED,
    PRODUCT,
    RUN,
    WHOLE,
    WIDE,
    WRONG,
    describe,
)
from fastbp.kernels.product import gemm as gemm_entry
from fastbp.kernels.product import matmul as matmul_entry


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
    a, b, c = pointer_at(p.a, p.alpha), pointer_at(p.b, p.alpha), pointer_at(p.c, p.alpha)
    MR, NR, _ = tile_sizes(itemsize(c))
    rows, columns, depth, c_row = p.rows, p.columns, p.depth, p.c_row
    row_start, row_stop, column_start, column_stop = 0, rows, 0, columns
    if threads > 1:
        unit = MR if p.pack_a else MR // 3
        over_rows = threads_over_rows(threads, rows, unit, columns, NR)
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
                _finish_tile(p, tile, tile_row, i, j, tile_rows, tile_columns)
            j += tile_columns
    return 0


@inner
def _prefetch_tile(c, c_row, rows, columns):
    """Fetch a tile of C while its sums are made: 106 GFLOP/s became 111 in products of 1500 rows and columns."""
    for i in range(rows):
        for j in range(0, columns, LINE_BYTES // itemsize(c)):
            prefetch(c, i * c_row + j)


@inner
def _finish_tile(p, tile, tile_row, i, j, rows, columns):
    """Take a tile through the epilogue into C[i:, j:]."""
    c, d = shift(pointer_at(p.c, p.alpha), i * p.c_row + j), shift(pointer_at(p.d, p.alpha), i * p.d_row + j)
    bias = shift(pointer_at(p.bias, p.alpha), j)
    _, NR, _ = tile_sizes(itemsize(c))
    for n in range(0, columns, NR):
        finish_tile(
            shift(tile, n), tile_row, shift(c, n), p.c_row, shift(d, n), p.d_row, shift(bias, n), rows,
            min(NR, columns - n), p.form, p.activation, p.carry != 0, p.alpha, p.beta, p.slope,
        )  # fmt: skip
    if p.form == ACTIVATE and p.activation >= SIGMOID:
        _activate_tile(c, p.c_row, rows, columns, p.activation)


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


_TEAM, _NO_TEAM = _runtime.TEAM.ctypes.data, np.zeros(1, np.int64)


class _Product(Call):
    """The record of a product of one dtype, and the steps that pack and multiply."""

    def __init__(self, dtype):
        super().__init__(PRODUCT, dtype, _pack, _multiply)
        for name, step in (("describe", describe), ("pack", _pack), ("multiply", _multiply)):
            self.record[name] = step.address(dtype)
        self.record["pool"], self.record["team"] = numba.config.NUMBA_NUM_THREADS, _TEAM
        self.dtype = dtype
        self.matmul, self.gemm = matmul_entry.compiled(dtype), gemm_entry.compiled(dtype)
        self.no_bias = np.empty(0, dtype)
        self.busy = self.record["busy"]
        self.work = None

    def enlarge(self):
        # an interrupt between any two of these lines leaves a workspace of size 0
        work = _runtime.workspace(self.record["needed"].item(), self.dtype)
        self.record["work_size"] = 0
        self.record["work"] = work.ctypes.data
        self.work = work
        self.record["work_size"] = work.size

    def steps_for(self, status):
        self.steps[:, 2] = status & WIDE
        return self.steps if status & PACKED else self.steps[1:]


def gemm(a, b, out, d=None, bias=None, form=LINEAR, activation=IDENTITY, alpha=1.0, beta=0.0, slope=0.0, part=WHOLE):
    """out = epilogue(a b), as described in ``epilogue.py``.

    Parameters
    ----------
    a, b : ndarray, shapes (M, K) and (K, N), any strides
    out : ndarray, shape (M, N), any strides
        Must not overlap ``a``, ``b`` and ``bias``.
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
    if recorder():
        _record(a, b, out, d, bias, form, activation, alpha, beta, slope, part)
        return
    dtype = out.dtype
    product = _runtime.own.calls.get(dtype) or _new_product(dtype)
    if bias is None:
        bias = product.no_bias if form != ACTIVATE else _zeros(out.shape[1], dtype)
    if d is None:
        d = out
    is_plain = type(a) is type(b) is type(out) is type(d) is type(bias) is np.ndarray
    if not (is_plain and dtype == a.dtype == b.dtype == d.dtype == bias.dtype):
        a, b, out, d, bias = _checked(a, b, out, d, bias)
    try:
        status = product.gemm(a, b, out, d, bias, form, activation, alpha, beta, slope, part, product.address)
    except TypeError:
        _checked(a, b, out, d, bias)
        check_number("gemm", form=form, activation=activation, alpha=alpha, beta=beta, slope=slope, part=part)
        raise
    if status:
        _finish(status, product, a, b, out, d, bias, form, activation, alpha, beta, slope, part)


def _checked(*operands):
    """The operands as plain arrays; TypeError that names the first one that does not fit."""
    keys = "a", "b", "out", "d", "bias"
    made = plain("gemm", **dict(zip(keys, operands, strict=True)))
    for key, x in zip(keys, made, strict=True):
        if not isinstance(x, np.ndarray):
            raise TypeError(f"gemm: {key} must be an array, got {type(x).__name__}")
        require_real("gemm", key, x.dtype)
        axes, dtype = 1 if key == "bias" else 2, made[0].dtype
        if x.ndim != axes or x.dtype != dtype:
            raise TypeError(
                f"gemm: {key} must be a {axes}-dimensional {dtype} array, got {x.ndim}-dimensional {x.dtype}"
            )
        if not x.flags.aligned:
            raise TypeError(f"gemm: {key} is not aligned to its dtype; copy it first")
    check_output("gemm", "out", made[2])
    return made


def _wrong(status, *operands):
    """The error that a negative status stands for."""
    a, b, out, d, bias = _checked(*operands)
    shapes = f"a {a.shape}, b {b.shape}, out {out.shape}, d {d.shape}, bias {bias.shape}"
    return ValueError(f"gemm: {WRONG[status]}; got {shapes}")


def multiply(a, b, out):
    """out = a b: `gemm` with nothing else, at 0.3 us less of the 1.2 that the call of one takes."""
    dtype = out.dtype
    product = _runtime.own.calls.get(dtype)
    is_plain = type(a) is type(b) is type(out) is np.ndarray and dtype == a.dtype == b.dtype
    if product is None or not is_plain:  # the first one, or a program is being recorded; or not just an array
        gemm(a, b, out)
        return
    try:
        status = product.matmul(a, b, out, product.address)
    except TypeError:
        gemm(a, b, out)  # says why
    else:
        if status:
            _finish(status, product, a, b, out, out, product.no_bias, LINEAR, IDENTITY, 1.0, 0.0, 0.0, WHOLE)


def _finish(status, product, a, b, out, d, bias, *rest):
    """Do what the entries left to do, or say what is wrong."""
    if status < 0:
        raise _wrong(status, a, b, out, d, bias)
    if status & ENLARGE:
        product.enlarge()
        gemm(a, b, out, d, bias, *rest)
    elif status & RUN:
        run(product.steps_for(status), _runtime.team())
        product.busy[0] = 0
    elif status & BUSY:
        _runtime.own.calls.pop(out.dtype, None)  # whoever uses it keeps it
        gemm(a, b, out, d, bias, *rest)
    elif status & COPY:
        result = np.array(out, order="C")
        gemm(a, b, result, result if d is out else np.array(d, order="C"), np.ascontiguousarray(bias), *rest)
        out[...] = result
    elif status & CUT:
        _cut(a, b, out, d, bias, *rest[:-1])


def _new_product(dtype):
    require_real("gemm", "out", dtype)
    _runtime.team()  # decides on the number of threads
    return _runtime.own.calls.setdefault(dtype, _Product(dtype))


def _record(a, b, out, d, bias, form, *rest):
    """`gemm` as steps of the program that is being recorded."""
    product, program = _Product(out.dtype), recorder()
    product.record["team"] = _NO_TEAM.ctypes.data
    product.record["work_size"] = 2**62  # the program gives the workspace at its end
    if bias is None:
        bias = _zeros(out.shape[1] if form == ACTIVATE else 0, out.dtype)
    a, b, out, d, bias = _checked(a, b, out, out if d is None else d, bias)
    status = product.gemm(a, b, out, d, bias, form, *rest, product.address)
    if status < 0:
        raise _wrong(status, a, b, out, d, bias)
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
        multiply(a, b, out)
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        _check_matrices(a=a, b=b, out=out)
        raise renamed(error, "matmul", {}, a=a, b=b, out=out) from None


def renamed(error, name, names, **arrays):
    """The ``error`` of `gemm` as one of its caller, which calls the arguments by other ``names``."""
    if not isinstance(error, ValueError | TypeError) or not str(error).startswith("gemm: "):
        return error
    first, _, rest = str(error).removeprefix("gemm: ").partition("; got")[0].partition(" ")
    text = f"{names.get(first, first)} {rest}"
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
