"""What a matrix product needs to know, in a record, and how it is decided.

Two entry points write the arrays into the record: `matmul` for three of them, `gemm` for a product with its epilogue.
`describe` checks them, brings the product into the form that the loops of ``gemm.py`` expect, and says what is left to
do. A product that is too small for threads runs at once: then one call from Python is all.
"""

from fastbp.kernels import _runtime
from fastbp.kernels._cpu import L2_BYTES
from fastbp.kernels._jit import array, call, index, inner, kernel, task
from fastbp.kernels._pointers import address, constant, itemsize, load, pointer, pointer_at
from fastbp.kernels._record import Record
from fastbp.kernels.dots import pays_dots
from fastbp.kernels.epilogue import ACTIVATE, DESCENT, IDENTITY, LINEAR, SLOPE, TANH
from fastbp.kernels.partition import SLAB, UNPACKED_BYTES, pays_packing, round_up, tile_sizes

# Bits of ``part``: whether k starts and ends with this part of a product, and whether it is part of a large one.
FIRST, LAST, LARGE = 1, 2, 4
WHOLE = FIRST | LAST
# Status of a described product: nothing is left to do, or these bits, or what is wrong.
DONE, RUN, WIDE, PACKED, ENLARGE, COPY, CUT, BUSY = 0, 8, 16, 32, 64, 128, 256, 512
_SHAPES, _SHAPE_OF_D, _SHAPE_OF_BIAS, _FORM, _ACTIVATION, _ALIGNMENT, _STRIDES, _OVERLAP, _OVERLAP_OF_D = range(-9, 0)
WRONG = {
    _SHAPES: "a must be (M, K), b (K, N) and out (M, N)",
    _SHAPE_OF_D: "d must have the shape of out",
    _SHAPE_OF_BIAS: "bias must be (N,) for out (M, N)",
    _FORM: "form must be one of the constants of epilogue.py",
    _ACTIVATION: "activation must be one of the constants of epilogue.py",
    _ALIGNMENT: "arrays must be aligned to their dtype",
    _STRIDES: "strides must be multiples of the element size",
    _OVERLAP: "the output must not overlap an input",
    _OVERLAP_OF_D: "the output must not overlap its second operand without being it",
}

# A (rows, depth), B (depth, columns) and C by address and strides: in bytes until `_count_elements`.
PRODUCT = Record(
    "describe pack multiply team pool busy work work_size needed "
    "a a_row a_k b b_k b_column c c_row c_column d d_row d_column bias bias_step "
    "rows columns depth mc pack_a pack_b dots far_c plain carry form activation part",
    "alpha beta slope",
)
_product = PRODUCT.at


@kernel(lambda real: (array(real, 2), array(real, 2), array(real, 2, out=True), index))
def matmul(a, b, out, record):
    """out = a b."""
    p, one = _product(record, pointer(out)), constant(pointer(out), 1)
    if p.busy:
        return BUSY
    p.form, p.activation, p.alpha, p.beta, p.part = LINEAR, IDENTITY, one, one - one, WHOLE
    return _start(p, record, _enter(p, a, b, out))


@kernel(
    lambda real: (
        *(array(real, 2), array(real, 2), array(real, 2, out=True), array(real, 2), array(real, 1)),
        *(index, index, real, real, real, index, index),
    )
)
def gemm(a, b, out, d, bias, form, activation, alpha, beta, slope, part, record):
    """out = epilogue(a b)."""
    p = _product(record, alpha)
    if p.busy:
        return BUSY
    status = _enter(p, a, b, out)
    p.form, p.activation, p.alpha, p.beta, p.slope, p.part = form, activation, alpha, beta, slope, part
    p.d, p.d_row, p.d_column = address(d), d.strides[0], d.strides[1]
    p.bias, p.bias_step = address(bias), bias.strides[0]
    if _reads_d(p) and d.shape != out.shape:
        status = _SHAPE_OF_D
    elif form == ACTIVATE and bias.size != p.columns:
        status = _SHAPE_OF_BIAS
    return _start(p, record, status)


@inner
def _enter(p, a, b, out):
    """Enter the matrices; the status of their shapes."""
    p.rows, p.columns, p.depth = out.shape[0], out.shape[1], a.shape[1]
    p.a, p.a_row, p.a_k = address(a), a.strides[0], a.strides[1]
    p.b, p.b_k, p.b_column = address(b), b.strides[0], b.strides[1]
    p.c, p.c_row, p.c_column = address(out), out.strides[0], out.strides[1]
    fits = a.shape[0] == p.rows and b.shape[0] == p.depth and b.shape[1] == p.columns
    return DONE if fits else _SHAPES


@inner
def _reads_d(p):
    return p.form == SLOPE or (p.form == LINEAR and p.beta != 0)


@inner
def _start(p, record, status):
    """Describe the product if nothing is wrong so far, and run it if it is too small for threads.

    The record says where the number of threads is found; with 0 of them the product is only described. It is busy from
    then until the product has run, so that a signal handler in between does not write into it.
    """
    if status != DONE:
        return status
    status = call(p.describe, record, 0, 1)
    team = load(pointer_at(p.team, 0), 0)
    if status < 0 or status & RUN == 0:
        return status
    if team == 0 or (team > 1 and status & WIDE):
        p.busy = 1
        return status
    if p.pack_b:
        call(p.pack, record, 0, 1)
    return call(p.multiply, record, 0, 1)


@task(PRODUCT)
def describe(p, t, threads):
    """Check the operands and decide how the product is computed; the status says what is left to do."""
    size = itemsize(pointer_at(p.c, p.alpha))
    status = _check(p, size)
    if status != DONE or p.rows == 0 or p.columns == 0:
        return status
    _count_elements(p, size)
    if not _turn(p):
        return COPY
    _, _, KC = tile_sizes(size)
    longest = max(p.rows, p.columns)
    is_along_k = p.a_k == 1 and p.b_k == 1 and (p.columns == 1 or p.b_column != 1)
    p.dots = int(is_along_k and pays_dots(p.rows, p.columns, p.depth, size))
    # which blocks k is cut into, and so the bits of the result, depend on the shapes alone
    is_large = p.part & LARGE != 0 or longest * p.depth * size > UNPACKED_BYTES
    if not p.dots and is_large and (p.depth > KC or longest > SLAB):
        return CUT
    _describe_form(p)
    _describe_packing(p, is_large, size)
    if p.work_size < p.needed:
        return ENLARGE
    is_wide = p.rows * p.columns * p.depth >= _runtime.PARALLEL_WORK
    return RUN | (WIDE if is_wide else 0) | (PACKED if p.pack_b else 0)


@inner
def _check(p, size):
    """DONE, or what is wrong with operands whose shapes fit."""
    if not LINEAR <= p.form <= SLOPE:
        return _FORM
    if not IDENTITY <= p.activation <= TANH:
        return _ACTIVATION
    reads_d = _reads_d(p)
    addresses = p.c | (p.a | p.b if p.depth > 0 else 0)
    strides = p.a_row | p.a_k | p.b_k | p.b_column | p.c_row | p.c_column
    if reads_d:
        addresses, strides = addresses | p.d, strides | p.d_row | p.d_column
    if p.form == ACTIVATE:
        addresses, strides = addresses | p.bias, strides | p.bias_step
    if addresses % size != 0 and p.rows > 0 and p.columns > 0:  # of nothing, addresses do not matter
        return _ALIGNMENT
    if strides % size != 0:
        return _STRIDES
    c = _range(p.c, p.rows, p.c_row, p.columns, p.c_column, size)
    if _meet(c, _range(p.a, p.rows, p.a_row, p.depth, p.a_k, size)):
        return _OVERLAP
    if _meet(c, _range(p.b, p.depth, p.b_k, p.columns, p.b_column, size)):
        return _OVERLAP
    if p.form == ACTIVATE and _meet(c, _range(p.bias, 1, 0, p.columns, p.bias_step, size)):
        return _OVERLAP
    is_c = p.d == p.c and p.d_row == p.c_row and p.d_column == p.c_column
    if reads_d and not is_c and _meet(c, _range(p.d, p.rows, p.d_row, p.columns, p.d_column, size)):
        return _OVERLAP_OF_D
    return DONE


@inner
def _range(start, rows, row, columns, column, size):
    """Lowest address of a matrix with strides ``row`` and ``column``, and the address behind its highest element."""
    if rows == 0 or columns == 0:
        return start, start
    down, along = (rows - 1) * row, (columns - 1) * column
    return start + min(0, down) + min(0, along), start + max(0, down) + max(0, along) + size


@inner
def _meet(x, y):
    return x[0] < y[1] and y[0] < x[1]


@inner
def _count_elements(p, size):
    """Strides in elements."""
    p.a_row, p.a_k, p.b_k, p.b_column = p.a_row // size, p.a_k // size, p.b_k // size, p.b_column // size
    p.c_row, p.c_column, p.d_row, p.d_column = p.c_row // size, p.c_column // size, p.d_row // size, p.d_column // size
    p.bias_step //= size


@inner
def _turn(p):
    """Have the rows of C contiguous, by C' = B' A' if need be; False where operands must be copied for that."""
    M, N = p.rows, p.columns
    if p.form == ACTIVATE or p.form == SLOPE:
        if N > 1 and (p.c_column != 1 or (p.form == ACTIVATE and p.bias_step != 1)):
            return False
    elif (N == 1 and M > 1 and p.c_row == 1) or (N > 1 and p.c_column != 1):  # a vector is better a row than a column
        if M > 1 and p.c_row != 1:
            return False
        p.rows, p.columns = N, M
        p.a, p.a_row, p.a_k, p.b, p.b_k, p.b_column = p.b, p.b_column, p.b_k, p.a, p.a_k, p.a_row
        p.c_row, p.d_row, p.d_column = p.c_column, p.d_column, p.d_row
    return not _reads_d(p) or p.columns == 1 or p.d_column == 1


@inner
def _describe_form(p):
    """The epilogue of one part of k.

    LINEAR and DESCENT apply on the first one and the later ones add; ACTIVATE and SLOPE apply on the last.
    """
    first, last = p.part & FIRST != 0, p.part & LAST != 0
    zero, one = constant(pointer_at(p.c, p.alpha), 0), constant(pointer_at(p.c, p.alpha), 1)
    if p.form in (LINEAR, DESCENT):
        if not first:
            p.form, p.beta, p.d, p.d_row = LINEAR, one, p.c, p.c_row
    elif not last:
        p.form, p.alpha, p.beta, p.d, p.d_row = LINEAR, one, zero if first else one, p.c, p.c_row
    p.carry = int(p.form in (ACTIVATE, SLOPE) and not first)
    p.plain = int(p.form == LINEAR and p.alpha == 1 and p.beta == 0)


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
