"""Maximum pooling: every window of a channel becomes its largest element.

    y[n, c, o] = the largest real x[n, c, place(o, k)]       index[n, c, o] = its k, the first one of several
    dx[n, c, i] = sum of dy[n, c, o] f'(y[n, c, o]) over the windows o whose largest element is i

x, dx (N, C, image), y, dy (N, C, windows), for images of one, two or three dimensions. Padding never is the largest
element, and NaN is larger than any number. Work goes along the rows of y, element of the window by element, in vectors;
windows of two elements side by side, the usual ones, never leave the registers.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import types

from fastbp.kernels import _runtime
from fastbp.kernels._arrays import check_number, check_output, distinct, factors, plain, unflat, vectors
from fastbp.kernels._entry import REFUSED, STEPS, Entry, finish
from fastbp.kernels._jit import index as integer_type
from fastbp.kernels._jit import inner, invoke, kernel, routine, task, vector
from fastbp.kernels._pointers import address, constant, integer, is_aligned, load, overlap, pointer_at, shift, store
from fastbp.kernels._program import addresses_of, in_order, submit
from fastbp.kernels._record import Record
from fastbp.kernels.activation import sloped
from fastbp.kernels.epilogue import IDENTITY, TANH, check_activation
from fastbp.kernels.partition import share
from fastbp.kernels.pool import (
    ELEMENT,
    FIRST,
    OFFSET,
    STOP,
    check_pool,
    on_axes,
    place_at,
    pool_windows_of,
    tables_of,
)
from fastbp.kernels.pool_rows import largest_of_pairs, place_pairs, raise_row
from fastbp.kernels.windows import AXES, DILATION, IMAGE, OUTPUT, SIZE, STRIDE, Windows

_INDICES = tuple(np.dtype(dtype) for dtype in (np.uint8, np.uint16, np.int64))

# walk: `pool_planes` or `place_planes`; images: x or dx (planes, image); y, dy, index (planes, results).
# table to steps: those of `_Tables`. depths, rows, columns: elements of a window on each axis that are in `spans`;
# elements: of a window, all of them.
# pairs: whether windows are two elements side by side along rows, and on one image of a volume.
# tiles: whether every element is in one window. first, behind: the rows of windows that lie on the image whole.
MAX_POOL = Record(
    "walk images y dy index planes table spans ranges steps depths rows columns elements image results pairs tiles "
    "first behind activation",
    "slope",
)


def index_dtype(size: tuple[int, ...]) -> np.dtype:
    """The smallest integer type that tells apart all elements of a window of ``size``."""
    elements = math.prod(size)
    if elements >= 2**63:
        raise ValueError(f"an index has 64 bits, too few for windows of {elements} elements")
    return np.dtype(np.uint8 if elements <= 2**8 else np.uint16 if elements <= 2**16 else np.int64)


def _for_each_index(make):
    """The routine that ``make(number)`` defines, for every type of index, which that of ``number`` is.

    Its arguments are a record, a pointer to the first of some planes of images, the number of this plane and of the one
    behind the last.
    """
    routines = {}
    for dtype in _INDICES:
        function = make(dtype.type(0))
        function.__name__ = f"{make.__name__}_{dtype.name}"
        arguments = lambda real: (MAX_POOL.type(real), types.CPointer(real), integer_type, integer_type)  # noqa: E731
        routines[dtype] = routine(arguments)(function)
    return routines


@task(MAX_POOL)
def _max_pool(p, t, threads):
    """Walk over share ``t`` of the planes."""
    start, stop = share(p.planes, 1, t, threads)
    return invoke(p.walk, p, shift(pointer_at(p.images, p.slope), start * p.image), start, stop)


class _Tables(NamedTuple):
    """The windows as the tasks need them."""

    table: np.ndarray  # `Windows.table`
    spans: np.ndarray  # of `tables_of`, with what each adds to the number of an element in its last column
    ranges: np.ndarray  # of `tables_of`
    steps: np.ndarray  # places from the first element of a window to each of them; or for many, what `_wide_step` reads
    of_index: np.dtype  # `index_dtype`
    numbers: np.ndarray  # what the record says of the windows: from `table` on, without `planes`


@lru_cache(maxsize=256)
def _tables(on: Windows) -> _Tables:
    of_index, table, (of_axes, ranges) = index_dtype(on.size), on.table(), tables_of(on)
    image, size, stride, dilation, before, output = table.T
    pitches, elements = np.array([image[1] * image[2], image[2], 1]) * dilation, [size[1] * size[2], size[2], 1]
    is_wide = of_index == _INDICES[-1]
    steps = np.array([*elements, *pitches]) if is_wide else pitches @ np.indices(size).reshape(AXES, -1)
    spans, ranges = np.concatenate(of_axes), np.concatenate(ranges)
    spans[:, ELEMENT] *= np.repeat(elements, [len(rows) for rows in of_axes])
    side_by_side = size[2] == stride[2] == 2 and dilation[2] == 1 and before[2] == 0 and 2 * output[2] <= image[2]
    pairs = side_by_side and size[0] == 1 and before[0] == 0 and output[2] > 0
    alone = (before == 0) & (stride == size) & ((dilation == 1) | (size == 1)) & (output * size == image)
    # the first and the last element of every row from first to behind - 1
    first = -(-before[1] // stride[1])
    behind = min(output[1], (image[1] - 1 - (size[1] - 1) * dilation[1] + before[1]) // stride[1] + 1)
    first, behind = (first, behind) if first < behind else (0, 0)
    addresses = (array.ctypes.data for array in (table, spans, ranges, steps))
    sizes = math.prod(on.size), math.prod(on.image), math.prod(on.output)
    numbers = np.array([*addresses, *map(len, of_axes), *sizes, pairs, alone.all(), first, behind])
    return _Tables(table, spans, ranges, steps, of_index, numbers)


@inner
def _wide_step(steps, k):
    """What a table of `_Tables.steps` would say of element ``k``."""
    plane, row = integer(steps, 0, 1, 0), integer(steps, 0, 1, 1)
    d, h, w = k // plane, k % plane // row, k % row
    return d * integer(steps, 0, 1, 3) + h * integer(steps, 0, 1, 4) + w * integer(steps, 0, 1, 5)


@inner
def _raise(u, stride, y, best, k, start, stop, is_first):
    """Raise y to the elements of u where these are larger, or first, and note in ``best`` that they are element k."""
    for o in range(start, stop):
        v, largest = load(u, o * stride), load(y, o)
        wins = is_first | ((not v <= largest) & (largest == largest))
        store(y, o, v if wins else largest)
        store(best, o, k if wins else load(best, o))


@_for_each_index
def pool_planes(number):
    def pool(p, x, start, stop):
        """Pool planes of x."""
        y, index = pointer_at(p.y, p.slope), pointer_at(p.index, number)
        _, H, W = on_axes(p.table, IMAGE)
        KD, KH, KW = p.depths, p.rows, p.columns
        OD, OH, OW = on_axes(p.table, OUTPUT)
        d_stride, h_stride, stride = on_axes(p.table, STRIDE)
        h_dilation, dilation = integer(p.table, 1, 6, DILATION), integer(p.table, 2, 6, DILATION)
        for plane in range(start, stop):
            of_image = shift(x, (plane - start) * p.image)
            for row in range(OD * OH):
                od, oh = row // OH, row % OH
                target = plane * p.results + row * OW
                u, largest, best = of_image, shift(y, target), shift(index, target)
                if p.pairs and p.first <= oh < p.behind:
                    if oh == p.first:  # and all rows behind it
                        line = place_at(p.table, 0, od, 0) * H + place_at(p.table, 1, oh, 0)
                        largest_of_pairs(
                            shift(u, line * W), h_stride * W, p.behind - p.first, h_dilation * W, KH, largest, best, OW
                        )
                    continue
                is_first = True
                first_d, first_h = integer(p.ranges, od, 2, FIRST), integer(p.ranges, OD + oh, 2, FIRST)
                deep, high = integer(p.ranges, od, 2, STOP) - first_d, integer(p.ranges, OD + oh, 2, STOP) - first_h
                for line in range(deep * high):
                    kd, kh = first_d + line // high, KD + first_h + line % high
                    d, h = od * d_stride + integer(p.spans, kd, 4, OFFSET), integer(p.spans, kh, 4, OFFSET)
                    u = shift(of_image, (d * H + oh * h_stride + h) * W)
                    element = integer(p.spans, kd, 4, ELEMENT) + integer(p.spans, kh, 4, ELEMENT)
                    for k in range(KW):
                        kw = KD + KH + k
                        begin, end = integer(p.spans, kw, 4, FIRST), integer(p.spans, kw, 4, STOP)
                        if is_first and k == 0:
                            for o in range(begin):  # windows that start in the padding
                                real = (dilation - 1 - place_at(p.table, 2, o, 0)) // dilation
                                store(largest, o, load(u, place_at(p.table, 2, o, real)))
                                store(best, o, type(number)(element + real))
                        which = type(number)(element + integer(p.spans, kw, 4, ELEMENT))
                        from_u = shift(u, integer(p.spans, kw, 4, OFFSET))
                        if stride <= 2:
                            raise_row(
                                shift(from_u, begin * stride), stride, shift(largest, begin), shift(best, begin),
                                which, end - begin, is_first and k == 0,
                            )  # fmt: skip
                        else:
                            _raise(from_u, stride, largest, best, which, begin, end, is_first and k == 0)
                    is_first = False
        return 0

    return pool


@_for_each_index
def place_planes(number):
    is_wide = number.dtype == _INDICES[-1]

    def place(p, dx, start, stop):
        """The gradient by planes of x."""
        dy, y, index = pointer_at(p.dy, p.slope), pointer_at(p.y, p.slope), pointer_at(p.index, number)
        H, W, KH = integer(p.table, 1, 6, IMAGE), integer(p.table, 2, 6, IMAGE), integer(p.table, 1, 6, SIZE)
        OD, OH, OW = on_axes(p.table, OUTPUT)
        h_stride, stride = integer(p.table, 1, 6, STRIDE), integer(p.table, 2, 6, STRIDE)
        row_step = integer(p.table, 1, 6, DILATION) * W
        # pairs that do not overlap are written, and nothing is added up
        pairs = p.pairs != 0 and h_stride * W > (KH - 1) * row_step
        for plane in range(start, stop):
            gradient = shift(dx, (plane - start) * p.image)
            if not (pairs and p.tiles):
                for i in range(p.image):
                    store(gradient, i, constant(gradient, 0))
            for row in range(OD * OH):
                od, oh = row // OH, row % OH
                place = plane * p.results + row * OW
                origin = (place_at(p.table, 0, od, 0) * H + place_at(p.table, 1, oh, 0)) * W + place_at(
                    p.table, 2, 0, 0
                )
                if pairs and p.first <= oh < p.behind:
                    if oh == p.first:
                        place_pairs(
                            shift(dy, place), shift(index, place), shift(y, place), OW, p.activation, p.slope,
                            shift(gradient, origin), h_stride * W, p.behind - p.first, row_step, KH,
                        )  # fmt: skip
                    continue
                for o in range(OW):
                    k = load(index, place + o)
                    if 0 <= k < p.elements:  # an index that is not of `max_pool_forward` does no harm
                        step = _wide_step(p.steps, k) if is_wide else integer(p.steps, 0, 1, k)
                        i = origin + o * stride + step
                        if 0 <= i < p.image:
                            delta = sloped(load(dy, place + o), load(y, place + o), p.activation, p.slope)
                            store(gradient, i, load(gradient, i) + delta)
        return 0

    return place


def walk_of(routines, on, images, y, dy, index, activation=IDENTITY, slope=0.0):
    """The values of a record for arrays in C order, and the arrays that it points to; images and dy may be None."""
    tables = _tables(on)
    values = (
        *(routines[index.dtype].address(y.dtype), *addresses_of(images, y, dy), index.ctypes.data),
        *(math.prod(y.shape[:2]), *tables.numbers.tolist(), activation, *factors(y.dtype, slope)),
    )
    return values, [a for a in (images, y, dy, index, *tables) if isinstance(a, np.ndarray)]


def _run(images, values, kept):
    submit(MAX_POOL, images.dtype, values, (_max_pool,), _runtime.pays_threads(4 * images.size), kept)


_record = MAX_POOL.at


@kernel(
    lambda real: (
        *(STEPS, integer_type, integer_type, vector(types.int64)),
        *(vector(real), vector(real), vector(real), vector(types.uint8), integer_type, real),
    )
)
def _enter(steps, threads, walk, numbers, images, y, dy, index, activation, slope):
    """images (planes, image); y, dy (planes, results), and the bytes of index; ``numbers``: those of `_Tables`."""
    if y.size == 0 or dy.size != y.size:
        return False
    planes = y.size // numbers[9]
    if images.size != planes * numbers[8]:
        return False
    if overlap(images, y) or overlap(images, dy) or overlap(images, index) or overlap(index, y):
        return False
    if not (is_aligned(images) and is_aligned(y) and is_aligned(dy)):
        return False
    p = _record(steps[0, 1], slope)
    p.walk, p.images, p.y, p.dy, p.index = walk, address(images), address(y), address(dy), address(index)
    p.table, p.spans, p.ranges, p.steps = numbers[0], numbers[1], numbers[2], numbers[3]
    p.depths, p.rows, p.columns, p.elements = numbers[4], numbers[5], numbers[6], numbers[7]
    p.planes, p.image, p.results = planes, numbers[8], numbers[9]
    p.pairs, p.tiles, p.first, p.behind = numbers[10], numbers[11], numbers[12], numbers[13]
    p.activation, p.slope = activation, slope
    return finish(steps, threads)


_entry = Entry(MAX_POOL, _enter, _max_pool)


def _enters(routines, on, images, y, dy, index, outputs, activation=IDENTITY, slope=0.0):
    """Run the task if the arrays, of which ``outputs`` are written, are just as it wants them; False if not."""
    try:
        tables, shape = _tables(on), (*images.shape[:2], *on.output)
        if not type(images) is type(y) is type(dy) is type(index) is np.ndarray:
            return False
        if not images.dtype == y.dtype == dy.dtype or index.dtype != tables.of_index or not index.flags.aligned:
            return False
        if not y.shape == dy.shape == index.shape == shape:
            return False
        if not all(array.flags.carray for array in outputs):
            return False
        if type(activation) is not int or not IDENTITY <= activation <= TANH:
            return False
        walk, work = routines[tables.of_index].address(images.dtype), 4 * images.size
        *reals, best = vectors(images, y, dy, index)
        return _entry.run(images.dtype, work, walk, tables.numbers, *reals, best.view(np.uint8), activation, slope)
    except REFUSED:
        return False


def max_pool_forward(x, out, index, size, stride=None, padding=0, dilation=1, *, ceil=False):
    """The largest element of every window, and which one it is.

    Parameters
    ----------
    x : ndarray, float32 or float64, shape (N, C, W), (N, C, H, W) or (N, C, D, H, W)
    out : ndarray, same dtype, shape (N, C, windows)
        Overwritten.
    index : ndarray of `index_dtype` (uint8 for windows of up to 256 elements), shape of ``out``
        Overwritten with the place in the window, in row-major order, for `max_pool_backward`.
    size, stride, padding, dilation, ceil
        As in `fastbp.kernels.windows.windows`; the stride is ``size`` if it is None.

    Raises
    ------
    ValueError
        When windows do not fit, one holds padding only, or shapes differ.
    TypeError
        When dtypes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import kernels
    >>> x = np.array([[[[1.0, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]]]])
    >>> y, index = np.empty((1, 1, 2, 2)), np.empty((1, 1, 2, 2), np.uint8)
    >>> kernels.max_pool_forward(x, y, index, 2)
    >>> y
    array([[[[6., 8.],
             [3., 4.]]]])
    """
    name = "max_pool_forward"
    on = pool_windows_of(name, "x", x, size, stride, padding, dilation, ceil)
    if _enters(pool_planes, on, x, out, out, index, (out, index)):
        return
    x, out, index = plain(name, x=x, out=out, index=index)
    check_pool(name, on, index_dtype(on.size), x=x, out=out, index=index)
    check_output(name, "out", out)
    check_output(name, "index", index)
    distinct(name, out, x, index)
    distinct(name, index, x)
    source, y, best = in_order(x, out, index)
    if y.size:
        _run(source, *walk_of(pool_planes, on, source, y, None, best))
    unflat(y, out)
    unflat(best, index)


def max_pool_backward(dy, index, dx, size, stride=None, padding=0, dilation=1, *, ceil=False):
    """dx = dy at the largest elements of the windows, else 0; ``index`` and the numbers as of `max_pool_forward`."""
    numbers = size, stride, padding, dilation
    max_pool_delta(dy, index, dy, dx, IDENTITY, 0.0, *numbers, ceil=ceil, name="max_pool_backward")


def max_pool_delta(
    dy, index, y, dx, activation, slope, size, stride=None, padding=0, dilation=1, *, ceil=False, name="max_pool_delta"
):
    """dx = dy * f'(y) at the largest elements of the windows, else 0: the delta of the activation f before a pooling.

    The largest element of a window is an output of f, and y, the output of the pooling, is that number: so it is all
    that the derivative needs. ``activation`` names f by an integer of ``epilogue.py``, ``slope`` is that of the leaky
    rectifier; the rest as in `max_pool_forward`.
    """
    on = pool_windows_of(name, "dx", dx, size, stride, padding, dilation, ceil)
    if _enters(place_planes, on, dx, y, dy, index, (dx,), activation, slope):
        return
    dx, dy, index, y = plain(name, dx=dx, dy=dy, index=index, y=y)
    check_pool(name, on, index_dtype(on.size), dx=dx, dy=dy, index=index, y=y)
    check_activation(name, activation)
    check_number(name, slope=slope)
    check_output(name, "dx", dx)
    distinct(name, dx, dy, index, y)
    delta, best, largest, result = in_order(dy, index, y, dx)
    _run(result, *walk_of(place_planes, on, result, largest, delta, best, activation, slope))
    unflat(result, dx)
