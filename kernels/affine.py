"""Affine map of a batch, alone or with an activation, and its gradients.

    u = x w' + b, y = f(u)       x (N, I)   w (O, I)   b (O,)   u, y (N, O)

    delta = dy * f'(y)           (N, O)     gradient by u
    dw = delta' x + 2 l2 w       (O, I)
    db = sum_n delta[n]          (O,)
    dx = delta w                 (N, I)

Each is one matrix product with an epilogue; dx of one layer times f'(h) of the layer below is the delta of that layer.
Weights may be C- or Fortran-ordered.
"""

import numpy as np

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import check_number, check_output, distinct, factors, plain, require_real, rows
from fastbp.kernels._entry import REFUSED, STEPS, Entry, finish
from fastbp.kernels._jit import array, index, kernel, task, vector
from fastbp.kernels._pointers import (
    address,
    constant,
    is_aligned,
    load,
    overlap,
    pointer_at,
    shift,
    stack_buffer,
    store,
)
from fastbp.kernels._program import NotRecordable, address_of, recorder, submit
from fastbp.kernels._record import Record
from fastbp.kernels.activation import activation_backward
from fastbp.kernels.epilogue import (
    ACTIVATE,
    DESCENT,
    IDENTITY,
    NAMES,
    RELU,
    SIGMOID,
    SLOPE,
    TANH,
    check_activation,
)
from fastbp.kernels.gemm import gemm, multiply, renamed
from fastbp.kernels.partition import share

# Columns that one task of the bias gradient sums: one cache line is not shared by two tasks. And rows that it sums in
# the dtype; their sums are added up in float64, for to 2^24 in float32 a one adds nothing any more.
_COLUMNS, _ROWS = 64, 1024


def check_shapes(name, **arrays):
    """Refuse masked arrays, and those whose shapes do not fit x (N, I), w (O, I), b (O,), dy, y, delta (N, O)."""
    plain(name, **arrays)
    letters = {
        **dict.fromkeys(("x", "h", "dx"), "NI"),
        **dict.fromkeys(("w", "dw"), "OI"),
        **dict.fromkeys(("b", "db"), "O"),
        **dict.fromkeys(("dy", "y", "delta", "out"), "NO"),
    }
    sizes = {}
    for key, value in arrays.items():
        if value is None and key in ("b", "h"):
            continue
        dimensions = letters[key]
        shape = getattr(value, "shape", None)
        if shape is None or len(shape) != len(dimensions):
            got = type(value).__name__ if shape is None else f"shape {shape}"
            wanted = f"({', '.join(dimensions)})".replace("(O)", "(O,)")
            raise ValueError(f"{name}: {key} must be an array of the shape {wanted}, got {got}")
        for letter, size in zip(dimensions, shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                wanted = ", ".join(f"{k} ({', '.join(letters[k])})" for k, v in arrays.items() if v is not None)
                got = ", ".join(f"{k} {v.shape}" for k, v in arrays.items() if v is not None)
                raise ValueError(f"{name}: shapes do not fit, needs {wanted}, got {got}")
    (first, model), *others = ((key, value) for key, value in arrays.items() if value is not None)
    require_real(name, first, model.dtype)
    for key, value in others:
        if value.dtype != model.dtype:
            raise TypeError(f"{name}: {key} must be {model.dtype} as {first} is, got {value.dtype}")


def _refused(error, name, names, **arrays):
    """The ``error`` of a product, in the words of its caller; raises at once if it is one of the shapes.

    The checks of the product cost nothing; only when they fail is it worth looking at every shape to name the argument.
    """
    check_shapes(name, **arrays)
    return renamed(error, name, names, **arrays)


def _check_outputs(name, inputs, **outputs):
    """Refuse outputs that cannot be written, or overlap an input or each other, before anything is written."""
    outputs = {key: out for key, out in outputs.items() if out is not None}
    check_shapes(name, **inputs, **outputs)
    for key, x in inputs.items():
        if not x.flags.aligned:
            raise TypeError(f"{name}: {key} is not aligned to its dtype; copy it first")
    for key, out in outputs.items():
        check_output(name, key, out)
        for other, x in (inputs | outputs).items():
            if other != key and np.may_share_memory(x, out):
                raise ValueError(f"{name}: {key} must not overlap {other}")


def affine_activation_forward(x, w, b, out, activation, slope=0.0):
    """out = f(x w' + b), with f named by an integer of ``epilogue.py``; b may be None."""
    try:
        gemm(x, w.T, out, bias=b, form=ACTIVATE, activation=activation, slope=slope)
    except REFUSED as error:
        check_activation("affine_forward", activation)
        name = "affine_forward" if activation == IDENTITY else f"affine_{NAMES[activation]}_forward"
        raise _refused(error, name, {"a": "x", "b": "w", "bias": "b"}, x=x, w=w, b=b, out=out) from None


def affine_forward(x, w, b, out):
    """Affine map: out = x w' + b.

    Parameters
    ----------
    x : ndarray, float32 or float64, shape (N, I)
    w : ndarray, shape (O, I), any order
    b : ndarray, shape (O,), or None
    out : ndarray, shape (N, O)
        Overwritten.

    Raises
    ------
    ValueError
        When shapes do not fit or ``out`` overlaps ``x``, ``w`` or ``b``.
    TypeError
        When the dtypes differ or are neither float32 nor float64.

    Examples
    --------
    The three-layer network of Neural-network fundamentals, first layer:

    >>> import numpy as np
    >>> from fastbp import kernels
    >>> x, w = np.array([[2.0, 3.0, 1.0]]), np.array([[3.0, 1.0, 2.0], [-2.0, -3.0, -1.0]])
    >>> u = np.empty((1, 2))
    >>> kernels.affine_forward(x, w, None, u)
    >>> u
    array([[ 11., -14.]])
    """
    affine_activation_forward(x, w, b, out, IDENTITY)


def affine_backward(dy, x, w, dx, dw, db, l2=0.0):
    """Gradients of an affine map from delta = dy.

    Parameters
    ----------
    dy : ndarray, shape (N, O)
    x, w : ndarrays as given to `affine_forward`
    dx, dw, db : ndarrays, shapes of x, w and b, or None
        Overwritten with dy w, dy' x + 2 l2 w and sum_n dy[n]; what is None is not computed.
    l2 : float
        Weight decay: the penalty is l2 times the sum of w squared.

    Raises
    ------
    ValueError
        When shapes do not fit or an output overlaps an input.
    TypeError
        When the dtypes differ or are neither float32 nor float64.
    """
    _check_outputs("affine_backward", {"dy": dy, "x": x, "w": w}, dx=dx, dw=dw, db=db)
    _gradients(dy, x, w, dx, dw, db, l2)


def _gradients(delta, x, w, dx, dw, db, l2):
    """`affine_backward` on checked arrays."""
    if dw is not None:
        affine_weight_gradient(delta, x, w, dw, l2)
    if db is not None:
        affine_bias_gradient(delta, db)
    if dx is not None:
        affine_delta(delta, w, None, dx)


def affine_relu_forward(x, w, b, out):
    """out = max(0, x w' + b) in one pass. Arrays and errors as in `affine_forward`."""
    affine_activation_forward(x, w, b, out, RELU)


def affine_relu_backward(dy, y, x, w, delta, dx, dw, db, l2=0.0):
    """delta = dy where y > 0, else 0; then `affine_backward` of delta. ``delta`` is an output of the shape of y."""
    _activated_backward(RELU, dy, y, x, w, delta, dx, dw, db, l2)


def affine_sigmoid_forward(x, w, b, out):
    """out = sigmoid(x w' + b) in one pass. Arrays and errors as in `affine_forward`."""
    affine_activation_forward(x, w, b, out, SIGMOID)


def affine_sigmoid_backward(dy, y, x, w, delta, dx, dw, db, l2=0.0):
    """delta = dy y (1 - y); then `affine_backward` of delta. ``delta`` is an output of the shape of y."""
    _activated_backward(SIGMOID, dy, y, x, w, delta, dx, dw, db, l2)


def affine_tanh_forward(x, w, b, out):
    """out = tanh(x w' + b) in one pass. Arrays and errors as in `affine_forward`."""
    affine_activation_forward(x, w, b, out, TANH)


def affine_tanh_backward(dy, y, x, w, delta, dx, dw, db, l2=0.0):
    """delta = dy (1 - y^2); then `affine_backward` of delta. ``delta`` is an output of the shape of y."""
    _activated_backward(TANH, dy, y, x, w, delta, dx, dw, db, l2)


def _activated_backward(activation, dy, y, x, w, delta, dx, dw, db, l2):
    name = f"affine_{NAMES[activation]}_backward"
    check_number(name, l2=l2)
    check_shapes(name, dy=dy, delta=delta)
    _check_outputs(name, {"x": x, "w": w}, delta=delta)
    _check_outputs(name, {"y": y, "x": x, "w": w, "delta": delta}, dx=dx, dw=dw, db=db)
    activation_backward(dy, y, delta, activation)
    _gradients(delta, x, w, dx, dw, db, l2)


def affine_delta(delta, w, h, dx, activation=IDENTITY, slope=0.0):
    """The recursion of backpropagation: dx = (delta w) * f'(h), the delta of the layer whose output h is.

    Parameters
    ----------
    delta : ndarray, shape (N, O)
    w : ndarray, shape (O, I)
    h : ndarray, shape (N, I), or None for the identity
        Output of the activation below.
    dx : ndarray, shape (N, I)
        Overwritten.
    activation, slope
        f, named by an integer of ``epilogue.py``, and the slope of the leaky rectifier.
    """
    if h is None and activation != IDENTITY:
        check_activation("affine_delta", activation)
        raise ValueError(f"affine_delta: h must be given, the derivative of {NAMES[activation]} is taken from it")
    try:
        if activation == IDENTITY:
            multiply(delta, w, dx)
        else:
            gemm(delta, w, dx, d=h, form=SLOPE, activation=activation, slope=slope)
    except REFUSED as error:
        names = {"a": "delta", "b": "w", "out": "dx", "d": "h"}
        raise _refused(error, "affine_delta", names, delta=delta, w=w, h=h, dx=dx) from None


def affine_weight_gradient(delta, x, w, dw, l2=0.0, *, accumulate=False):
    """dw = delta' x + 2 l2 w, or that added to dw; w is read only when l2 is not 0."""
    name = "affine_weight_gradient"
    if type(l2) is not float:
        check_number(name, l2=l2)
    try:
        if l2 if w is None else w.shape != dw.shape or w.dtype != dw.dtype:
            raise ValueError
        if accumulate:
            if l2:
                if recorder():
                    raise NotRecordable
                _check_outputs(name, {"delta": delta, "x": x, "w": w}, dw=dw)
            gemm(delta.T, x, dw, beta=1.0)
            if l2:
                with np.errstate(over="ignore", invalid="ignore"):
                    dw += 2 * l2 * w
        elif l2:
            gemm(delta.T, x, dw, d=w, beta=2 * l2)
        else:
            multiply(delta.T, x, dw)
    except REFUSED as error:
        if l2 and w is None:
            raise ValueError(f"{name}: w must be given when l2 is not 0") from None
        weight = {} if w is None else {"w": w}
        names = {"a": "delta", "b": "x", "out": "dw", "d": "w"}
        raise _refused(error, name, names, delta=delta, x=x, dw=dw, **weight) from None


_COLUMN_SUMS = Record("delta out rows columns", "alpha beta")


@task(_COLUMN_SUMS)
def _column_sums(p, t, threads):
    """out = alpha sum_n delta[n] + beta out, for share ``t`` of the columns."""
    delta, out = pointer_at(p.delta, p.alpha), pointer_at(p.out, p.alpha)
    alpha, beta, columns = p.alpha, p.beta, p.columns
    total, sums = stack_buffer(out, _COLUMNS), stack_buffer(pointer_at(p.out, 0.0), _COLUMNS)
    start, stop = share(columns, _COLUMNS, t, threads)
    for block in range(start, stop, _COLUMNS):
        width = min(_COLUMNS, stop - block)
        for j in range(width):
            store(sums, j, 0.0)
        for first in range(0, p.rows, _ROWS):
            for j in range(width):
                store(total, j, constant(out, 0))
            for n in range(first, min(p.rows, first + _ROWS)):
                row = shift(delta, n * columns + block)
                for j in range(width):
                    store(total, j, load(total, j) + load(row, j))
            for j in range(width):
                store(sums, j, load(sums, j) + load(total, j))
        for j in range(width):
            old = constant(out, 0) if beta == 0 else beta * load(out, block + j)
            store(total, 0, load(sums, j))
            store(out, block + j, old + alpha * load(total, 0))
    return 0


_record = _COLUMN_SUMS.at


@kernel(lambda real: (STEPS, index, array(real, 2, layout="C"), vector(real, out=True), real, real))
def _enter(steps, threads, delta, out, alpha, beta):
    """delta (N, O), out (O,)."""
    if delta.shape[1] != out.size or overlap(delta, out) or not (is_aligned(delta) and is_aligned(out)):
        return False
    p = _record(steps[0, 1], alpha)
    p.delta, p.out, p.rows, p.columns = address(delta), address(out), delta.shape[0], out.size
    p.alpha, p.beta = alpha, beta
    return finish(steps, threads)


_column_sums_entry = Entry(_COLUMN_SUMS, _enter, _column_sums)


def _enters(delta, b, alpha, beta):
    """Add the columns if the arrays are just as the task wants them; False, and nothing done, if not."""
    try:
        if not (type(delta) is type(b) is np.ndarray and delta.dtype == b.dtype):
            return False
        return _column_sums_entry.run(b.dtype, delta.size, delta, b, alpha, beta)
    except REFUSED:
        return False


def _add_columns(name, key, delta, b, alpha, beta, *, is_rate=False):
    """b = alpha sum_n delta[n] + beta b; is_rate: alpha is the negative learning rate."""
    if _enters(delta, b, alpha, beta):
        return
    delta, b = plain(name, **{"delta": delta, key: b})
    if getattr(delta, "ndim", 0) != 2 or delta.shape[1:] != getattr(b, "shape", None) or b.dtype != delta.dtype:
        if b is None:
            raise ValueError(f"{name}: {key} must be an array of the shape (O,), got None")
        check_shapes(name, delta=delta, **{key: b})
    require_real(name, "delta", delta.dtype)
    check_output(name, key, b)
    distinct(name, b, delta)
    source, result = rows(delta), rows(b)
    program = recorder()
    if program and (source is not delta or result is not b):
        raise NotRecordable
    record, _ = submit(
        _COLUMN_SUMS,
        delta.dtype,
        (address_of(source), address_of(result), *source.shape, *factors(b.dtype, alpha, beta)),
        (_column_sums,),
        _runtime.pays_threads(delta.size),
        (source, result),
    )
    if program and is_rate:
        program.follows_rate(record)
    if result is not b:
        b[...] = result


def affine_bias_gradient(delta, db, *, accumulate=False):
    """db = sum_n delta[n], or that added to db; delta (N, O), db (O,)."""
    _add_columns("affine_bias_gradient", "db", delta, db, 1.0, 1.0 if accumulate else 0.0)


def affine_sgd_update(delta, x, w, b, lr, l2=0.0):
    """Gradient descent as the epilogue of the weight gradient, which is not stored itself; ``b`` may be None.

    w <- w - lr (delta' x + 2 l2 w),   b <- b - lr sum_n delta[n]
    """
    name = "affine_sgd_update"
    try:
        if b is not None:
            _check_outputs(name, {"delta": delta, "x": x, "w": w}, b=b)
        gemm(delta.T, x, w, form=DESCENT, alpha=-lr, beta=2 * l2)
    except REFUSED as error:
        check_number(name, lr=lr, l2=l2)
        raise _refused(error, name, {"a": "delta", "b": "x", "out": "w"}, delta=delta, x=x, w=w, b=b) from None
    if b is not None:
        _add_columns(name, "b", delta, b, -lr, 1.0, is_rate=True)
