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

import numpy as np

from fastbp.kernels._arrays import check_number, check_output, check_shape, factors, plain, require_real, shown, unflat
from fastbp.kernels._program import in_order
from fastbp.kernels.activation import activation_backward
from fastbp.kernels.correlate import Correlation, correlate_images
from fastbp.kernels.epilogue import ACTIVATE, IDENTITY, NAMES, SLOPE, check_activation
from fastbp.kernels.pooled import Pooled, walk_back, walk_forward
from fastbp.kernels.tap_sums import sum_taps_of
from fastbp.kernels.windows import check_images, windows
from fastbp.kernels.winograd import correlate_tiles, pays_winograd
from fastbp.kernels.winograd_taps import sum_tiles_of


def conv_windows(name, x, w, stride, padding, dilation, groups, key="x"):
    """`Windows` of filters w (F, C / groups, window) on images x (N, C, image), which the caller calls ``key``.

    Raises
    ------
    ValueError, TypeError
        When shapes, ``groups`` or the numbers do not fit.
    """
    check_images(name, key, x)
    if not isinstance(w, np.ndarray) or w.ndim != x.ndim:
        letters = {3: "(F, C, KW)", 4: "(F, C, KH, KW)", 5: "(F, C, KD, KH, KW)"}[x.ndim]
        got = f"the shape {w.shape}" if isinstance(w, np.ndarray) else type(w).__name__
        raise ValueError(f"{name}: w must be an array {letters} for {key} {x.shape}, got {got}")
    if x.shape[1] == 0 or len(w) == 0:
        raise ValueError(f"{name}: there must be channels and filters, got {key} {x.shape}, w {w.shape}")
    check_groups(name, x.shape[1], len(w), groups)
    if w.shape[1] != x.shape[1] // groups:
        raise ValueError(
            f"{name}: w must have {x.shape[1] // groups} channels, those of {key} / groups: "
            f"got w {w.shape}, {key} {x.shape}, groups {groups}"
        )
    return windows(name, x.shape[2:], w.shape[2:], stride, padding, dilation)


def check_groups(name, channels, filters, groups):
    """Refuse ``groups`` that do not divide both numbers."""
    if not isinstance(groups, int | np.integer) or isinstance(groups, bool) or groups < 1:
        raise ValueError(f"{name}: groups must be a positive integer, got {shown(groups)}")
    if channels % groups or filters % groups:
        raise ValueError(
            f"{name}: groups must divide the channels and the filters, got {channels} channels, "
            f"{filters} filters, {shown(groups)} groups"
        )


def _check(name, on, optional, pool=None, **arrays):
    """Refuse arrays that do not fit to the images, which come first, and the weight w; the windows of the pool.

    Those named in the text ``optional`` may be None.
    """
    (key, x), w = next(iter(arrays.items())), arrays["w"]
    require_real(name, key, x.dtype)
    if not isinstance(pool, Pooled | None):
        raise TypeError(f"{name}: pool must be a Pooled or None, got {shown(pool)}")
    of_pool = None if pool is None else pool.windows(name, on.output)
    output = len(x), len(w), *(on if of_pool is None else of_pool).output
    shapes = {
        **dict.fromkeys(("x", "h", "dx"), x.shape),
        **dict.fromkeys(("w", "dw"), w.shape),
        **dict.fromkeys(("b", "db"), (len(w),)),
        **dict.fromkeys(("dy", "y", "delta", "out"), output),
    }
    for other, value in arrays.items():
        if value is None and other in optional.split():
            continue
        check_shape(name, other, value, shapes[other], key, x)
        if value.dtype != x.dtype:
            raise TypeError(f"{name}: {other} must be {x.dtype} as {key} is, got {value.dtype}")
    if pool is not None:
        other = next(other for other in ("out", "delta") if other in arrays)
        pool.check(name, of_pool, other, arrays[other])
    return of_pool


def _check_outputs(name, inputs, **outputs):
    """Refuse outputs that cannot be written, or overlap an input or each other."""
    given = {key: out for key, out in outputs.items() if out is not None}
    for key, out in given.items():
        check_output(name, key, out)
        for other, x in (inputs | given).items():
            if other != key and x is not None and np.may_share_memory(x, out):
                raise ValueError(f"{name}: {key} must not overlap {other}")


def _correlate(name, on, correlation):
    """The sums by the faster algorithm."""
    if correlation.result.size:
        pays = pays_winograd(on, *correlation.sizes)
        try:
            (correlate_tiles if pays else correlate_images)(on, correlation)
        except MemoryError as error:
            raise MemoryError(f"{name}: {error}") from None


def conv_activation_forward(
    x, w, b, out, activation, slope=0.0, *, stride=1, padding=0, dilation=1, groups=1, pool=None, name="conv_forward"
):
    """out = f(convolution of x with w, plus b), with f named by an integer of ``epilogue.py``; b may be None.

    With a `Pooled` ``pool``, out is the maximum pool of that, and ``pool.index`` is written, too.
    """
    x, w, b, out = plain(name, x=x, w=w, b=b, out=out)
    on = conv_windows(name, x, w, stride, padding, dilation, groups)
    of_pool = _check(name, on, "b", pool, x=x, w=w, b=b, out=out)
    check_activation(name, activation)
    check_number(name, slope=slope)
    _check_outputs(name, {"x": x, "w": w, "b": b}, out=out, **({} if pool is None else {"index": pool.index}))
    source, weight, bias, result = in_order(x, w, b, out)
    walk = walk_forward(pool, of_pool, result)
    (slope,) = factors(x.dtype, slope)
    of_tile = ACTIVATE, activation, slope
    _correlate(name, on, Correlation(source, weight, bias, None, result, groups, False, *of_tile, walk))
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
    MemoryError
        When the grid of ``grid.py`` or other room for the sums would take more memory than is free.

    Notes
    -----
    Windows of 3 x 3 go by Winograd's algorithm where that is faster. Its sums may overflow where the result would not,
    if products of x and w come near the end of the range: ``winograd.py`` has the bound.

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
        Overwritten; what is None is not computed. ``db`` needs ``dw``.
    l2, stride, padding, dilation, groups
        As in `conv_gradient`.

    Raises
    ------
    ValueError, TypeError
        As in `conv_forward`.
    """
    numbers = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    dy, x, w, dx, dw, db = plain(name, dy=dy, x=x, w=w, dx=dx, dw=dw, db=db)
    on = conv_windows(name, x, w, **numbers)
    _check(name, on, "dx dw db", x=x, w=w, dy=dy, dx=dx, dw=dw, db=db)
    _check_outputs(name, {"dy": dy, "x": x, "w": w}, dx=dx, dw=dw, db=db)
    if db is not None and dw is None:
        raise ValueError(f"{name}: db comes with dw, which is None")
    if dw is not None:
        conv_gradient(dy, x, w, dw, db, l2, **numbers, name=name)
    if dx is not None:
        conv_delta(dy, w, None, dx, **numbers, name=name)


def conv_delta(
    delta,
    w,
    h,
    dx,
    activation=IDENTITY,
    slope=0.0,
    *,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    pool=None,
    name="conv_delta",
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
    pool : Pooled, optional
        A pool behind the convolution: ``delta`` is the gradient by its output.

    Raises
    ------
    ValueError, TypeError
        As in `conv_forward`.
    """
    delta, w, h, dx = plain(name, delta=delta, w=w, h=h, dx=dx)
    on = conv_windows(name, dx, w, stride, padding, dilation, groups, "dx")
    of_pool = _check(name, on, "h", pool, dx=dx, w=w, delta=delta, h=h)
    check_activation(name, activation)
    if h is None and activation != IDENTITY:
        raise ValueError(f"{name}: h must be given, the derivative of {NAMES[activation]} is taken from it")
    check_number(name, slope=slope)
    _check_outputs(name, {"delta": delta, "w": w, "h": h}, dx=dx)
    source, weight, below, result = in_order(delta, w, h, dx)
    is_sloped = activation != IDENTITY
    form = SLOPE if is_sloped and on.stride[-1] == 1 else ACTIVATE
    (slope,) = factors(dx.dtype, slope)
    of_tile = (activation, slope) if form == SLOPE else (IDENTITY, 0.0)
    walk = walk_back(pool, of_pool, source)
    _correlate(name, on, Correlation(source, weight, None, below, result, groups, True, form, *of_tile, walk))
    if is_sloped and form != SLOPE:
        activation_backward(result, below, result, activation, slope)
    unflat(result, dx)


def _add_taps(name, on, groups, delta, x, w, dw, *rest, **options):
    """The gradients by the faster algorithm."""
    pays = pays_winograd(on, x.shape[1] // groups, len(dw) // groups)
    try:
        (sum_tiles_of if pays else sum_taps_of)(on, groups, delta, x, w, dw, *rest, **options)
    except MemoryError as error:
        raise MemoryError(f"{name}: {error}") from None


def _copy_back(results, outputs):
    for result, out in zip(results, outputs, strict=True):
        if out is not None:
            unflat(result, out)


def conv_gradient(
    delta,
    x,
    w,
    dw,
    db,
    l2=0.0,
    *,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    accumulate=False,
    pool=None,
    name="conv_gradient",
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
    pool : Pooled, optional
        A pool behind the convolution: ``delta`` is the gradient by its output.

    Raises
    ------
    ValueError, TypeError
        As in `conv_forward`.
    """
    delta, x, w, dw, db = plain(name, delta=delta, x=x, w=w, dw=dw, db=db)
    on = conv_windows(name, x, w, stride, padding, dilation, groups)
    of_pool = _check(name, on, "db", pool, x=x, w=w, delta=delta, dw=dw, db=db)
    check_number(name, l2=l2)
    _check_outputs(name, {"delta": delta, "x": x, "w": w}, dw=dw, db=db)
    ordered = in_order(delta, x, w, dw, db)
    walk = walk_back(pool, of_pool, ordered[0])
    _add_taps(name, on, groups, *ordered, factors(x.dtype, 1.0, 2 * l2, 1.0 if accumulate else 0.0), walk)
    _copy_back(ordered[3:], (dw, db))


def conv_sgd_update(
    delta, x, w, b, lr, l2=0.0, *, stride=1, padding=0, dilation=1, groups=1, pool=None, name="conv_sgd_update"
):
    """Gradient descent as the last step of the weight gradient, which is not stored itself; ``b`` may be None.

    w <- w - lr (dw + 2 l2 w),   b <- b - lr db;   arrays and errors as in `conv_gradient`.
    """
    delta, x, w, b = plain(name, delta=delta, x=x, w=w, b=b)
    on = conv_windows(name, x, w, stride, padding, dilation, groups)
    of_pool = _check(name, on, "b", pool, x=x, w=w, delta=delta, b=b)
    check_number(name, lr=lr, l2=l2)
    _check_outputs(name, {"delta": delta, "x": x}, w=w, b=b)
    source, images, weight, bias = in_order(delta, x, w, b)
    walk = walk_back(pool, of_pool, source)
    rates = factors(x.dtype, -lr, 2 * l2, 0.0)
    _add_taps(name, on, groups, source, images, None, weight, bias, rates, walk, descends=True)
    _copy_back((weight, bias), (w, b))
