"""Where windows lie, convolutions and pools in float64, straight from their definitions.

``x`` (N, C, image), ``w`` (F, C / groups, window), ``y`` (N, F, windows), in one, two or three dimensions; ``axes``
has one `Axis` for each of them.
"""

from dataclasses import dataclass

import numpy as np

from fuzz.arrays import pick


@dataclass(frozen=True)
class Axis:
    """Windows along one axis: element k of window o lies at o stride - before + k dilation."""

    image: int
    size: int
    stride: int = 1
    before: int = 0
    behind: int = 0
    dilation: int = 1
    ceil: bool = False

    @property
    def count(self):
        """How many windows there are; 0 where none fits."""
        room = self.image + self.before + self.behind - self.dilation * (self.size - 1) - 1
        if room < 0:
            return 0
        whole, rest = divmod(room, self.stride)
        return whole + 1 + (self.ceil and rest > 0 and (whole + 1) * self.stride < self.image + self.before)

    def range(self, o):
        """The first and the last element of window ``o`` on the image; the last is the smaller one if there is none."""
        start = o * self.stride - self.before
        return max(0, -(start // self.dilation)), min(self.size - 1, (self.image - 1 - start) // self.dilation)

    def places(self):
        """(count, size): where all elements lie."""
        return (
            self.stride * np.arange(self.count)[:, None] - self.before + self.dilation * np.arange(self.size)[None, :]
        )


def same(axis):
    """The axis with the padding that "same" stands for."""
    reach = axis.dilation * (axis.size - 1) + 1
    total = max(0, (-(-axis.image // axis.stride) - 1) * axis.stride + reach - axis.image)
    return Axis(axis.image, axis.size, axis.stride, total // 2, total - total // 2, axis.dilation, axis.ceil)


def keywords(rng, axes):
    """stride, padding and dilation of the axes as functions take them, in any form that says the same."""

    def shortest(numbers):
        alike = len(set(numbers)) == 1 and rng.integers(2)
        return numbers[0] if alike else pick(rng, list, tuple)(numbers)

    sides = [(axis.before, axis.behind) for axis in axes]
    if all(before == behind for before, behind in sides) and rng.integers(2):
        padding = shortest([before for before, _ in sides])
    else:
        padding = [pick(rng, list, tuple)(side) for side in sides]
    if not any(map(sum, sides)) and rng.integers(2):
        padding = "valid"
    if all(axis == same(axis) for axis in axes) and rng.integers(2):
        padding = "same"
    return {
        "stride": shortest([axis.stride for axis in axes]),
        "padding": padding,
        "dilation": shortest([axis.dilation for axis in axes]),
    }


def draw(rng, dimensions, image=12, window=4, ceil=False, pads_only=True):
    """Axes by chance: paddings beyond the reach of the window and strides beyond the image among them.

    Without ``pads_only`` no window lies on padding alone, which pools refuse.
    """
    while True:
        axes = []
        for _ in range(dimensions):
            far = rng.integers(6) == 0
            numbers = rng.integers(1, (image, window, 4, 4), endpoint=True).tolist()
            before, behind = rng.integers(0, 9 if far else 3, 2).tolist()
            stride = int(rng.integers(1, 2 * image)) if far else numbers[2]
            axis = Axis(numbers[0], numbers[1], stride, before, behind, numbers[3] if far else 1, bool(ceil))
            axes.append(same(axis) if rng.integers(8) == 0 else axis)
        if all(axis.count for axis in axes) and (pads_only or all(map(meets_image, axes))):
            return axes


def meets_image(axis):
    """Whether every window has an element on the image."""
    places = axis.places()
    return bool(((places >= 0) & (places < axis.image)).any(1).all())


def _over(axes, function):
    """(windows, elements) of all axes together, from those of each, which are multiplied."""
    result = np.ones((1, 1), int)
    for axis in axes:
        result = (result[:, None, :, None] * function(axis)[None, :, None, :]).reshape(
            len(result) * axis.count, result.shape[1] * axis.size
        )
    return result


def index(axes):
    """(windows, elements): the places in the flat image, and whether they are on it."""
    real = _over(axes, lambda axis: ((axis.places() >= 0) & (axis.places() < axis.image)).astype(int)) > 0
    flat = np.zeros((1, 1), int)
    for axis in axes:
        flat = (flat[:, None, :, None] * axis.image + axis.places()[None, :, None, :]).reshape(
            len(flat) * axis.count, flat.shape[1] * axis.size
        )
    return np.where(real, flat, 0), real


def columns(x, axes, outside=0.0):
    """(N, C, windows, elements), with ``outside`` on padding."""
    flat, real = index(axes)
    return np.where(real, _flat(x)[:, :, flat], outside)


def _flat(x):
    """Images, or results, of one axis."""
    return np.asarray(x, np.float64).reshape(*x.shape[:2], np.prod(x.shape[2:]))


def scattered(cols, shape, axes):
    """The adjoint of `columns`: elements added up where they come from."""
    flat, real = index(axes)
    x = np.zeros((*shape[:2], int(np.prod(shape[2:]))))
    np.add.at(x, (slice(None), slice(None), flat), np.where(real, cols, 0))
    return x.reshape(shape)


def _grouped(x, w, groups, axes):
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    cols = columns(x, axes)
    cols = cols.reshape(len(x), groups, x.shape[1] // groups, *cols.shape[2:])
    return cols, w.reshape(groups, len(w) // groups, w.shape[1], np.prod(w.shape[2:]))


def convolve(x, w, b, groups, axes):
    cols, filters = _grouped(x, w, groups, axes)
    y = np.einsum("gfck,ngcok->ngfo", filters, cols).reshape(len(x), len(w), *(axis.count for axis in axes))
    return y if b is None else y + np.asarray(b, np.float64).reshape(-1, *[1] * len(axes))


def convolve_backward(dy, x, w, groups, axes):
    """dx, dw, db."""
    cols, filters = _grouped(x, w, groups, axes)
    delta = np.asarray(dy, np.float64).reshape(len(x), groups, len(w) // groups, np.prod(dy.shape[2:]))
    dw = np.einsum("ngfo,ngcok->gfck", delta, cols).reshape(w.shape)
    dcols = np.einsum("gfck,ngfo->ngcok", filters, delta)
    dx = scattered(dcols.reshape(*x.shape[:2], *dcols.shape[3:]), x.shape, axes)
    return dx, dw, np.asarray(dy, np.float64).sum((0, *range(2, dy.ndim)))


def max_pool(x, axes):
    """The largest elements, and which of the window's elements each is: the first one of several."""
    cols = columns(x, axes, -np.inf)
    shape = *x.shape[:2], *(axis.count for axis in axes)
    return cols.max(-1, initial=-np.inf).reshape(shape), cols.argmax(-1).reshape(shape)


def max_pool_backward(dy, place, shape, axes):
    elements = int(np.prod([axis.size for axis in axes]))
    chosen = _flat(place)[..., None] == np.arange(elements)
    return scattered(np.where(chosen, _flat(dy)[..., None], 0), shape, axes)


def _counts(axes, count_padding):
    def counted(axis):
        before, behind = (axis.before, axis.behind) if count_padding else (0, 0)
        return ((axis.places() >= -before) & (axis.places() < axis.image + behind)).astype(int)

    return _over(axes, counted).sum(1)


def avg_pool(x, axes, count_padding):
    y = columns(x, axes).sum(-1) / _counts(axes, count_padding)
    return y.reshape(*x.shape[:2], *(axis.count for axis in axes))


def avg_pool_backward(dy, shape, axes, count_padding):
    share = _flat(dy) / _counts(axes, count_padding)
    elements = int(np.prod([axis.size for axis in axes]))
    return scattered(np.broadcast_to(share[..., None], (*share.shape, elements)), shape, axes)
