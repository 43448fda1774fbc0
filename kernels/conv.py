"""Convolution of images of one, two or three dimensions, alone or with an activation, and its gradients.

    u[n, f, o]  = b[f] + sum_{c, k} w[f, c, k] x[n, c, place(o, k)]       place(o, k) = o stride - before + k dilation
    delta       = dy * f'(y)                                              gradient by u, as in ``affine.py``
    dw[f, c, k] = sum_{n, o} delta[n, f, o] x[n, c, place(o, k)] + 2 l2 w[f, c, k]
    db[f]       = sum_{n, o} delta[n, f, o]
    dx[n, c, i] = sum_{f, k} w[f, c, k] delta[n, f, o], over all o and k with place(o, k) = i

x, dx (N, C, image), w, dw (F, C / groups, window), b, db (F,), u, y, delta (N, F, windows). What lies outside of an
image is 0. With groups, filters and channels fall into as many parts, and a filter sees the channels of its own part
only. It is the cross-correlation of the textbooks of neural networks: the window is not turned round.

All three sums are matrix products whose operand, the matrix of patches of ``im2col.py``, is never made: ``grid.py``
explains how it is read off the images.
"""

import math

import numba
import numpy as np

from fastbp.kernels import _cpu, _runtime
from fastbp.kernels._arrays import check_number, check_output, check_shape, require_real, rows, unflat
from fastbp.kernels._program import NotRecordable, address_of, recorder, submit
from fastbp.kernels.activation import activation_backward
from fastbp.kernels.correlate import CORRELATION, correlate, pack_rows
from fastbp.kernels.epilogue import ACTIVATE, IDENTITY, SLOPE, check_activation
from fastbp.kernels.grid import delta_pass, forward_pass
from fastbp.kernels.grid_tile import HEIGHTS, UNITS
from fastbp.kernels.partition import round_up, tile_sizes
from fastbp.kernels.tap_sums import TAP_SUMS, finish_taps, sum_taps
from fastbp.kernels.windows import check_images, windows

# Units of results that a block of images has at least, so that few tiles are left partly empty.
_UNITS_OF_BLOCK = 4 * UNITS
# Results that a chunk of images has at least, as the partial gradient that it leaves costs as much as 30 of them; and
# the number of shares of the work on it, as many as processors may have cores for.
_RESULTS_OF_CHUNK, _SHARES = 512, 16


def conv_windows(name, x, w, stride, padding, dilation, groups):
    """`Windows` of filters w (F, C / groups, window) on images x (N, C, image).

    Raises
    ------
    ValueError, TypeError
        When shapes, ``groups`` or the numbers do not fit.
    """
    check_images(name, "x", x)
    if not isinstance(w, np.ndarray) or w.ndim != x.ndim:
        letters = {3: "(F, C, KW)", 4: "(F, C, KH, KW)", 5: "(F, C, KD, KH, KW)"}[x.ndim]
        got = f"the shape {w.shape}" if isinstance(w, np.ndarray) else type(w).__name__
        raise ValueError(f"{name}: w must be an array {letters} for x {x.shape}, got {got}")
    if x.shape[1] == 0 or len(w) == 0:
        raise ValueError(f"{name}: there must be channels and filters, got x {x.shape}, w {w.shape}")
    check_groups(name, x.shape[1], len(w), groups)
    if w.shape[1] != x.shape[1] // groups:
        raise ValueError(
            f"{name}: w must have {x.shape[1] // groups} channels, those of x / groups: "
            f"got w {w.shape}, x {x.shape}, groups {groups}"
        )
    return windows(name, x.shape[2:], w.shape[2:], stride, padding, dilation)


def check_groups(name, channels, filters, groups):
    """Refuse ``groups`` that do not divide both numbers."""
    if not isinstance(groups, int | np.integer) or isinstance(groups, bool) or groups < 1:
        raise ValueError(f"{name}: groups must be a positive integer, got {groups!r}")
    if channels % groups or filters % groups:
        raise ValueError(
            f"{name}: groups must divide the channels and the filters, got {channels} channels, "
            f"{filters} filters, {groups} groups"
        )


def _check(name, on, **arrays):
    """Refuse arrays that do not fit to the images, which come first, and the weight w."""
    (key, x), w = next(iter(arrays.items())), arrays["w"]
    require_real(name, key, x.dtype)
    output = len(x), len(w), *on.output
    shapes = {
        **dict.fromkeys(("x", "h", "dx"), x.shape),
        **dict.fromkeys(("w", "dw"), w.shape),
        **dict.fromkeys(("b", "db"), (len(w),)),
        **dict.fromkeys(("dy", "y", "delta", "out"), output),
    }
    for other, value in arrays.items():
        if value is None:
            continue
        check_shape(name, other, value, shapes[other], key, x)
        if value.dtype != x.dtype:
            raise TypeError(f"{name}: {other} must be {x.dtype} as {key} is, got {value.dtype}")


def _check_outputs(name, inputs, **outputs):
    """Refuse outputs that cannot be written, or overlap an input or each other."""
    given = {key: out for key, out in outputs.items() if out is not None}
    for key, out in given.items():
        check_output(name, key, out)
        for other, x in (inputs | given).items():
            if other != key and x is not None and np.may_share_memory(x, out):
                raise ValueError(f"{name}: {key} must not overlap {other}")


def _in_order(*arrays):
    """The arrays in C order; while a program is recorded they must be so already."""
    ordered = [None if x is None else rows(x) for x in arrays]
    if recorder() and any(x is not y for x, y in zip(arrays, ordered, strict=True)):
        raise NotRecordable
    return ordered


def _address(x):
    return 0 if x is None else address_of(x)


def _half(dtype):
    return _cpu.VECTOR_BYTES // 2 // dtype.itemsize


def _correlate(tables, source, w, pitches, bias, h, result, groups, form, activation, slope):
    """Fill ``result`` with sums over the images ``source``; w by its ``pitches`` of groups, rows and channels."""
    N, dtype = len(source), source.dtype
    if result.size == 0:
        return
    channels, height = source.shape[1] // groups, result.shape[1] // groups
    units, results = len(tables.units) - len(tables.phases), math.prod(result.shape[2:])
    pitch = round_up(channels * tables.channel, UNITS)
    images = max(1, min(N, -(-_UNITS_OF_BLOCK // units), _cpu.L2_BYTES // 4 // (pitch * dtype.itemsize)))
    in_place = tables.is_image and tables.is_whole
    blocks, depth = -(-height // HEIGHTS[0]), len(tables.offsets)
    packed = round_up(groups * blocks * HEIGHTS[0] * (depth + 1), UNITS)
    grids = 0 if in_place else numba.config.NUMBA_NUM_THREADS * images * pitch
    at = tables.addresses
    values = (
        *(address_of(source), address_of(result), _address(h), address_of(w), _address(bias)),
        *(at[name] for name in ("copy", "phases", "taps", "offsets", "units", "pieces")),
        *(len(tables.phases), depth, N, groups, channels, height),
        *(math.prod(source.shape[2:]), results, tables.channel, tables.step, in_place, images, pitch),
        *(*pitches, form, activation, slope),
    )
    # a unit may read as much beyond the last grid
    needed = packed + grids + UNITS
    work = result.size * channels * math.prod(w.shape[2:])
    wide = _runtime.pays_threads(packed * 16), _runtime.pays_threads(work)
    kept = [x for x in (source, result, h, w, bias) if x is not None]
    submit(CORRELATION, dtype, values, (pack_rows, correlate), wide, (*kept, *tables.arrays()), needed)


def conv_activation_forward(
    x, w, b, out, activation, slope=0.0, *, stride=1, padding=0, dilation=1, groups=1, name="conv_forward"
):
    """out = f(convolution of x with w, plus b), with f named by an integer of ``epilogue.py``; b may be None."""
    on = conv_windows(name, x, w, stride, padding, dilation, groups)
    _check(name, on, x=x, w=w, b=b, out=out)
    check_activation(activation)
    check_number(name, slope=slope)
    _check_outputs(name, {"x": x, "w": w, "b": b}, out=out)
    source, weight, bias, result = _in_order(x, w, b, out)
    taps = math.prod(on.size)
    channels, filters = x.shape[1] // groups, len(w) // groups
    tables = forward_pass(on, channels, _half(x.dtype))
    pitches = filters * channels * taps, channels * taps, taps
    _correlate(tables, source, weight, pitches, bias, None, result, groups, ACTIVATE, activation, slope)
    unflat(result, out)


def conv_forward(x, w, b, out, *, stride=1, padding=0, dilation=1, groups=1):
    """Convolution: out = w * x + b.

    Parameters
    ----------
    x : ndarray, float32 or float64, shape (N, C, W), (N, C, H, W) or (N, C, D, H, W)
    w : ndarray, same dtype, shape (F, C / groups, KW), (F, C / groups, KH, KW) or (F, C / groups, KD, KH, KW)
    b : ndarray, shape (F,), or None
    out : ndarray, shape (N, F, windows)
        Overwritten.
    stride, padding, dilation
        As in `fastbp.kernels.windows.windows`.
    groups : int
        Parts into which channels and filters fall; as many as channels make a depthwise convolution.

    Raises
    ------
    ValueError
        When windows do not fit, ``groups`` does not divide channels and filters, shapes differ, or ``out`` overlaps an
        input.
    TypeError
        When dtypes differ or are neither float32 nor float64.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import kernels
    >>> x, w = np.array([[[1.0, 2.0, 4.0]]]), np.array([[[-1.0, 1.0]]])
    >>> y = np.empty((1, 1, 3))
    >>> kernels.conv_forward(x, w, None, y, padding=[(0, 1)])
    >>> y
    array([[[ 1.,  2., -4.]]])
    """
    conv_activation_forward(x, w, b, out, IDENTITY, stride=stride, padding=padding, dilation=dilation, groups=groups)


def conv_backward(dy, x, w, dx, dw, db, l2=0.0, *, stride=1, padding=0, dilation=1, groups=1, name="conv_backward"):
    """Gradients of a convolution from delta = dy, by `conv_delta` and `conv_gradient`.

    Parameters
    ----------
    dy : ndarray, shape (N, F, windows)
    x, w : ndarrays as given to `conv_forward`
    dx, dw, db : ndarrays, shapes of x, w and (F,), or None
        Overwritten; what is None is not computed (``db`` goes with ``dw``).
    l2, stride, padding, dilation, groups
        As in `conv_gradient`.

    Raises
    ------
    ValueError, TypeError
        As in `conv_forward`.
    """
    numbers = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    on = conv_windows(name, x, w, **numbers)
    _check(name, on, x=x, w=w, dy=dy, dx=dx, dw=dw, db=db)
    _check_outputs(name, {"dy": dy, "x": x, "w": w}, dx=dx, dw=dw, db=db)
    if dw is not None:
        conv_gradient(dy, x, w, dw, db, l2, **numbers, name=name)
    if dx is not None:
        conv_delta(dy, w, None, dx, **numbers, name=name)


def conv_delta(
    delta, w, h, dx, activation=IDENTITY, slope=0.0, *, stride=1, padding=0, dilation=1, groups=1, name="conv_delta"
):
    """The recursion of backpropagation: dx = (delta through w) * f'(h), the delta of the layer whose output h is.

    Parameters
    ----------
    delta : ndarray, shape (N, F, windows)
    w : ndarray, shape (F, C / groups, window)
    h : ndarray, shape (N, C, image), or None for the identity
        Output of the activation below.
    dx : ndarray, shape (N, C, image)
        Overwritten.
    activation, slope
        f, named by an integer of ``epilogue.py``, and the slope of the leaky rectifier.
    stride, padding, dilation, groups
        As in `conv_forward`.

    Raises
    ------
    ValueError, TypeError
        As in `conv_forward`.
    """
    on = conv_windows(name, dx, w, stride, padding, dilation, groups)
    _check(name, on, dx=dx, w=w, delta=delta, h=h)
    check_activation(activation)
    check_number(name, slope=slope)
    _check_outputs(name, {"delta": delta, "w": w, "h": h}, dx=dx)
    source, weight, below, result = _in_order(delta, w, h, dx)
    taps = math.prod(on.size)
    channels, filters = dx.shape[1] // groups, len(w) // groups
    tables = delta_pass(on, filters, _half(dx.dtype))
    pitches = filters * channels * taps, taps, channels * taps
    is_sloped = h is not None and activation != IDENTITY
    form = SLOPE if is_sloped and tables.step == 1 else ACTIVATE
    of_tile = (activation, slope) if form == SLOPE else (IDENTITY, 0.0)
    _correlate(tables, source, weight, pitches, None, below, result, groups, form, *of_tile)
    if is_sloped and form != SLOPE:
        activation_backward(result, below, result, activation, slope)
    unflat(result, dx)


def _sum_taps(on, groups, delta, x, w, dw, db, descends, factors, *, is_rate=False):
    """Gradients by weight and bias on checked arrays, with the ``factors`` alpha, beta, gamma of `finish_taps`."""
    N, dtype = len(x), x.dtype
    d, source, weight, dw_rows, db_rows = _in_order(delta, x, w, dw, db)
    channels, filters, taps = x.shape[1] // groups, len(w) // groups, math.prod(on.size)
    depth, results = channels * taps, math.prod(on.output)
    tables = forward_pass(on, channels, _half(dtype))
    MR, NR, _ = tile_sizes(dtype.itemsize)
    blocks, panels = -(-depth // MR), -(-filters // NR)
    chunks = max(min(1, N), min(N, N * results // _RESULTS_OF_CHUNK, -(-_SHARES // groups)))
    parts = min(blocks, -(-_SHARES // max(1, chunks * groups)))
    pitch = 0 if tables.is_image else round_up(channels * tables.channel, UNITS)
    partial = (blocks * MR + 1) * panels * NR
    grids = numba.config.NUMBA_NUM_THREADS * (pitch + panels * NR * results)
    at = tables.addresses
    values = (
        *(address_of(source), address_of(d), _address(weight), address_of(dw_rows), _address(db_rows)),
        *(at["copy"], at["offsets"], at["lines"], len(tables.lines), tables.width),
        *(N, groups, channels, filters, depth, math.prod(x.shape[2:]), results, tables.channel, tables.is_image),
        *(chunks, parts, pitch, descends, *factors),
    )
    work = N * results * len(w) * depth
    wide = _runtime.pays_threads(work), _runtime.pays_threads(chunks * groups * partial * 4)
    kept = [a for a in (source, d, weight, dw_rows, db_rows) if a is not None]
    needed = chunks * groups * partial + grids
    record, _ = submit(TAP_SUMS, dtype, values, (sum_taps, finish_taps), wide, (*kept, *tables.arrays()), needed)
    if recorder() and is_rate:
        recorder().follows_rate(record)
    for result, out in ((dw_rows, dw), (db_rows, db)):
        if out is not None:
            unflat(result, out)


def conv_gradient(
    delta, x, w, dw, db, l2=0.0, *, stride=1, padding=0, dilation=1, groups=1, accumulate=False, name="conv_gradient"
):
    """Gradients by the weight and the bias: dw and db of the formulas above, or these added to the arrays.

    Parameters
    ----------
    delta : ndarray, shape (N, F, windows)
    x, w : ndarrays as given to `conv_forward`
    dw, db : ndarrays, shapes of w and (F,)
        Overwritten; ``db`` may be None.
    l2 : float
        Weight decay: the penalty is l2 times the sum of w squared.
    stride, padding, dilation, groups
        As in `conv_forward`.
    accumulate : bool
        Add to ``dw`` and ``db``.

    Raises
    ------
    ValueError, TypeError
        As in `conv_forward`.
    """
    on = conv_windows(name, x, w, stride, padding, dilation, groups)
    _check(name, on, x=x, w=w, delta=delta, dw=dw, db=db)
    check_number(name, l2=l2)
    _check_outputs(name, {"delta": delta, "x": x, "w": w}, dw=dw, db=db)
    _sum_taps(on, groups, delta, x, w, dw, db, False, (1.0, 2 * l2, 1.0 if accumulate else 0.0))


def conv_sgd_update(delta, x, w, b, lr, l2=0.0, *, stride=1, padding=0, dilation=1, groups=1):
    """Gradient descent as the last step of the weight gradient, which is not stored itself; ``b`` may be None.

    w <- w - lr (dw + 2 l2 w),   b <- b - lr db;   arrays and errors as in `conv_gradient`.
    """
    name = "conv_sgd_update"
    on = conv_windows(name, x, w, stride, padding, dilation, groups)
    _check(name, on, x=x, w=w, delta=delta, b=b)
    check_number(name, lr=lr, l2=l2)
    _check_outputs(name, {"delta": delta, "x": x}, w=w, b=b)
    _sum_taps(on, groups, delta, x, w, w, b, True, (-lr, 2 * l2, 0.0), is_rate=True)
