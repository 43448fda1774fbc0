"""Single results of convolutions and pools whose windows are far too large, or too many, to be looked at one by one.

A window o of an axis has its elements k on the image from ``first`` to ``last`` only, and an image has few elements.
"""

import itertools
import math

import numpy as np


def _parts(axes, o):
    """For window o: slices of the image, slices of the window."""
    on_image, on_window = [], []
    for axis, i in zip(axes, o, strict=True):
        first, last = axis.range(i)
        start = i * axis.stride - axis.before + first * axis.dilation
        count = max(0, last - first + 1)
        on_image.append(slice(start, start + (count - 1) * axis.dilation + 1, axis.dilation) if count else slice(0, 0))
        on_window.append(slice(first, first + count))
    return tuple(on_image), tuple(on_window)


def convolved(x, w, axes, o):
    """(N, F): one window of the convolution, with one group."""
    on_image, on_window = _parts(axes, o)
    N, F = len(x), len(w)
    return x[:, :, *on_image].reshape(N, -1) @ w[:, :, *on_window].reshape(F, -1).T


def largest(x, axes, o):
    """(N, C): the largest element of one window; and the place of the first one on the image, (N, C, axes)."""
    on_image, _ = _parts(axes, o)
    window = x[:, :, *on_image]
    flat = window.reshape(*x.shape[:2], math.prod(window.shape[2:]))
    places = np.unravel_index(flat.argmax(-1), window.shape[2:])
    ways = zip(places, on_image, strict=True)
    return flat.max(-1), np.stack([part.start + place * part.step for place, part in ways], -1)


def mean(x, axes, o, count_padding):
    """(N, C): the mean of one window."""
    on_image, on_window = _parts(axes, o)
    counts = [part.stop - part.start for part in on_window]
    if count_padding:
        ends = (axis.image + axis.behind - 1 - (i * axis.stride - axis.before) for axis, i in zip(axes, o, strict=True))
        counts = [min(axis.size - 1, end // axis.dilation) + 1 for axis, end in zip(axes, ends, strict=True)]
    return x[:, :, *on_image].sum(tuple(range(2, x.ndim))) / math.prod(counts)


def tap_sum(dy, x, axes, k):
    """(F, C): the gradient by the elements k of the weights."""
    on_y, on_x = [], []
    for axis, tap in zip(axes, k, strict=True):
        o = np.arange(axis.count)
        place = o * axis.stride - axis.before + tap * axis.dilation
        on = (place >= 0) & (place < axis.image)
        on_y.append(o[on])
        on_x.append(place[on])
    deltas = dy[np.ix_(*map(np.arange, dy.shape[:2]), *on_y)].reshape(*dy.shape[:2], -1)
    images = x[np.ix_(*map(np.arange, x.shape[:2]), *on_x)].reshape(*x.shape[:2], -1)
    return np.einsum("nfo,nco->fc", deltas, images)


def _windows_at(axis, i):
    """The windows o with place i in them, and which element it is of each."""
    o = np.arange(axis.count)
    way = i + axis.before - o * axis.stride
    k, rest = way // axis.dilation, way % axis.dilation
    has = (way >= 0) & (rest == 0) & (k < axis.size)
    return o[has], k[has]


def delta_at(dy, w, axes, i):
    """(N, C): the gradient of a convolution by the places i of the image."""
    pairs = [_windows_at(axis, place) for axis, place in zip(axes, i, strict=True)]
    total = np.zeros((len(dy), w.shape[1]))
    for way in itertools.product(*(zip(*pair, strict=True) for pair in pairs)):
        o, k = zip(*way, strict=True)
        total += dy[:, :, *o] @ w[:, :, *k]
    return total
