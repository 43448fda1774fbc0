"""How a convolution walks over its images: where each sum starts, and what it steps over.

Images are copied onto a *grid* first, with the zeros of the padding around them. Where windows move by ``stride``,
elements that lie that far apart come to lie side by side: an axis is cut into ``stride`` parts,

    element i  ->  part (i + lead) % stride, place (i + lead) // stride

so that neighbouring windows are neighbours on the grid, and the sums of several of them are made in one vector:

    result[o] = sum_k  A[k] grid[place(o) + offset(k)]        k = (channel, element of the window)

This is the form of the convolution itself and of its gradient by the input; the tables that bring them into it are made
here. Results come in *units* of half a vector, which are contiguous on the grid.
"""

from functools import lru_cache
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from fastbp.kernels.windows import AXES, BEFORE, DILATION, IMAGE, OUTPUT, SIZE, STRIDE, Windows

# Columns of the tables, as compiled code reads them.
EXTENT, LEAD, STEP, PLACES = range(4)
DEPTH, TAPS, FIRST_TAP, FIRST_OFFSET, FIRST_TILE, TILES = range(6)
PLACE, UNIT_IMAGE = range(2)
LANE, TARGET, COUNT, IMAGE_OF = range(4)


class Pass(NamedTuple):
    """Tables of 64-bit integers that describe all sums of a block of images.

    Results that use the same elements of the window form a phase: there is one, or for the gradient by the input one
    for each place within a stride. The units of a phase are summed tile by tile. A tile has a piece for each stretch of
    its lanes that is stored together; the others are sums that nobody wants.
    """

    copy: np.ndarray  # a row for each axis: elements, lead, stride and places on the grid
    phases: np.ndarray  # a row for each phase: DEPTH to TILES
    taps: np.ndarray  # the elements of the window that a phase uses
    offsets: np.ndarray  # of every channel and tap of a phase
    units: np.ndarray  # rows (place on the grid, image); as many for each tile, the last ones of a phase in vain
    tiles: np.ndarray  # number of the first piece, and one row behind those of a phase
    pieces: np.ndarray  # rows (first lane, place in the result, number of elements, image)
    lines: np.ndarray  # places of the first results of all rows
    width: int  # results in a row
    step: int  # from one element of a piece to the next in the result
    channel: int  # elements of the grid of one channel
    images: int  # in a block
    is_image: bool  # whether the grid is the image itself
    is_whole: bool  # whether every lane of a unit is wanted
    addresses: dict[str, int]  # of the tables

    def arrays(self) -> tuple[np.ndarray, ...]:
        """The tables."""
        return self[:8]


def merged(on: Windows) -> np.ndarray:
    """`Windows.table`, with axes over which windows do not extend joined to those in front of them.

    A window of one element that moves by one leaves rows as they are: to a 1 x 1 convolution images have one axis.
    """
    axes = list(on.table())
    inner = AXES - 1
    while inner > 0:
        image, size, stride, _, before, output = axes[inner]
        outer = axes[inner - 1]
        if size == stride == outer[STRIDE] == 1 and before == 0 and output == image:
            axes[inner - 1 : inner + 1] = [outer * [image, 1, 1, image, image, image]]
        inner -= 1
    return np.array([[1, 1, 1, 1, 0, 1]] * (AXES - len(axes)) + axes)


def _flat(pitches: np.ndarray, per_axis: list[np.ndarray]) -> np.ndarray:
    """sum_a pitches[a] per_axis[a][i_a], for all i in row-major order."""
    axes = np.meshgrid(*per_axis, indexing="ij")
    return sum(pitch * axis.reshape(-1) for pitch, axis in zip(pitches, axes, strict=True))


def _pitches(extents: np.ndarray) -> np.ndarray:
    """Elements from one index to the next, on every axis of a C-ordered array."""
    return np.array([prod(extents[axis + 1 :]) for axis in range(len(extents))], np.int64)


class Layout(NamedTuple):
    """What a pass is made for: elements of a unit, units of a tile, and elements of the grid that caches hold."""

    unit: int
    tile: int
    cached: int


def _units(
    counts: np.ndarray, places: np.ndarray, start: int, targets: np.ndarray, step: int, half: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of the units for ``counts`` results per axis on a grid of ``places``, units of the pieces, and the pieces.

    Result i is stored at start + sum_a targets[a] i_a. A line of units is a row; or whole planes or volumes with what
    lies between their rows, if that takes fewer units.
    """
    if 0 in counts:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 3), np.int64)
    pitches = _pitches(places)
    lengths = [int((counts[outer:] - 1) @ pitches[outer:]) + 1 for outer in range(AXES)]
    totals = [prod(counts[:outer]) * -(-length // half) for outer, length in enumerate(lengths)]
    outer = AXES - 1 - int(np.argmin(totals[::-1]))
    # the first line, which all others repeat
    along = np.arange(-(-lengths[outer] // half) * half)
    index = [along // pitch % n for pitch, n in zip(pitches[outer:], places[outer:], strict=True)]
    wanted = along < lengths[outer]
    for i, n in zip(index, counts[outer:], strict=True):
        wanted = wanted & (i < n)
    target = sum(t * i for t, i in zip(targets[outer:], index, strict=True)).reshape(-1, half)
    wanted = wanted.reshape(-1, half)
    follows = wanted[:, 1:] & wanted[:, :-1] & (target[:, 1:] == target[:, :-1] + step)
    edge = np.zeros((len(target), 1), bool)
    first = np.flatnonzero(wanted & ~np.hstack([edge, follows]))
    last = np.flatnonzero(wanted & ~np.hstack([follows, edge]))
    # where the lines start on the grid and in the result
    lines = [np.arange(n) for n in counts[:outer]] or [np.zeros(1, np.int64)]
    line_places, line_targets = (_flat(p[: max(outer, 1)], lines)[:, None] for p in (pitches, targets))
    unit = np.arange(len(line_places))[:, None] * len(target) + first // half
    pieces = np.empty((*unit.shape, 3), np.int64)
    pieces[..., 0], pieces[..., 1] = first % half, start + line_targets + target.reshape(-1)[first]
    pieces[..., 2] = last - first + 1
    return (line_places + along[::half]).reshape(-1), unit.reshape(-1), pieces.reshape(-1, 3)


def _tiles(
    place: np.ndarray, unit: np.ndarray, pieces: np.ndarray, images: int, step: int, layout: Layout
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Units of ``images`` in whole tiles; the first pieces of these; and the pieces, joined where they can be."""
    count = images * len(place)
    if not count:
        return np.empty((0, 2), np.int64), np.zeros(1, np.int64), np.empty((0, 4), np.int64)
    tiles = -(-count // layout.tile)
    number = np.minimum(np.arange(tiles * layout.tile), count - 1)
    units = np.stack([place[number % len(place)], number // len(place)], axis=1)
    image = np.repeat(np.arange(images), len(pieces))
    tile, within = np.divmod(image * len(place) + np.tile(unit, images), layout.tile)
    lane, target, length = np.tile(pieces, (images, 1)).T
    lane = lane + within * layout.unit
    joins = np.zeros(len(lane), bool)
    joins[1:] = (np.diff(tile) == 0) & (np.diff(image) == 0) & (np.diff(lane) == length[:-1])
    joins[1:] &= np.diff(target) == length[:-1] * step
    first = np.flatnonzero(~joins)
    joined = np.stack([lane[first], target[first], np.add.reduceat(length, first), image[first]], axis=1)
    return units, np.searchsorted(tile[first], np.arange(tiles + 1)), joined


def _pass(copy, phases, channels: int, step: int, layout: Layout) -> Pass:
    """The tables; each of ``phases`` is (taps, their offsets, counts, start of the result, its pitches)."""
    places, parts = copy[:, PLACES], copy[:, STEP]
    channel = int(prod(places) * prod(parts))
    walks = [_units(counts, places, start, targets, step, layout.unit) for _, _, counts, start, targets in phases]
    # as many images as leave few tiles partly empty
    fewest = min(len(place) for place, _, _ in walks)
    images = max(1, min(-(-4 * layout.tile // max(1, fewest)), layout.cached // (channels * channel)))
    rows: list[list[int]] = []
    columns: list[list[np.ndarray]] = [[], [], [], [], []]
    for (taps, offsets, *_), walk in zip(phases, walks, strict=True):
        units, tiles, pieces = _tiles(*walk, images, step, layout)
        firsts = [sum(len(part) for part in column) for column in columns]
        rows.append([channels * len(taps), len(taps), firsts[0], firsts[1], firsts[3], len(tiles) - 1])
        of_all = (np.arange(channels)[:, None] * channel + offsets).reshape(-1)
        for column, part in zip(columns, (taps, of_all, units, tiles + firsts[4], pieces), strict=True):
            column.append(part)
    counts = phases[0][2]
    is_image = not copy[:, LEAD].any() and (parts == 1).all() and (places == copy[:, EXTENT]).all()
    names = "taps", "offsets", "units", "tiles", "pieces"
    tables = {
        "copy": copy,
        "phases": np.array(rows),
        **{name: np.concatenate(column) for name, column in zip(names, columns, strict=True)},
        "lines": _flat(_pitches(places), [np.arange(n) for n in (*counts[:-1], 1)]),
    }
    tables = {name: np.ascontiguousarray(table, np.int64) for name, table in tables.items()}
    return Pass(
        **tables,
        width=int(counts[-1]),
        step=step,
        channel=channel,
        images=images,
        is_image=bool(is_image),
        is_whole=all((pieces[:, 2] == layout.unit).all() for _, _, pieces in walks),
        addresses={name: table.ctypes.data for name, table in tables.items()},
    )


@lru_cache(maxsize=256)
def forward_pass(on: Windows, channels: int, layout: Layout) -> Pass:
    """y[o] = sum_{c, k} w[c, k] x[c, o stride - before + k dilation]."""
    table = merged(on)
    size, stride, dilation, output = (table[:, column] for column in (SIZE, STRIDE, DILATION, OUTPUT))
    reach = (size - 1) * dilation
    copy = np.stack([table[:, IMAGE], table[:, BEFORE], stride, reach // stride + output], axis=1)
    at = [np.arange(n) * d for n, d in zip(size, dilation, strict=True)]
    places = copy[:, PLACES]
    part = _flat(_pitches(stride), [a % s for a, s in zip(at, stride, strict=True)])
    offsets = part * prod(places) + _flat(_pitches(places), [a // s for a, s in zip(at, stride, strict=True)])
    phase = np.arange(prod(size)), offsets, output, 0, _pitches(output)
    return _pass(copy, [phase], channels, 1, layout)


class _Axis(NamedTuple):
    """Inputs of one axis that lie at the same place within a stride: i = first + stride m for m < elements.

    They are reached by the taps k with i = o stride - before + k dilation, so o = m + shift.
    """

    first: int
    elements: int
    taps: np.ndarray
    shifts: np.ndarray


def _axes(row: np.ndarray) -> list[_Axis]:
    """The inputs of one axis, for every place within a stride."""
    image, size, stride, dilation, before, _ = map(int, row)
    k = np.arange(size)
    parts = []
    for place in range(stride):
        first = (place - before) % stride
        taps = k[(k * dilation - before - first) % stride == 0]
        parts.append(_Axis(first, len(range(first, image, stride)), taps, (first + before - taps * dilation) // stride))
    return parts


@lru_cache(maxsize=256)
def delta_pass(on: Windows, filters: int, layout: Layout) -> Pass:
    """dx[i] = sum_{f, k} w[f, k] dy[f, o], over all o and k with i = o stride - before + k dilation."""
    table = merged(on)
    axes = [_axes(row) for row in table]
    copy = np.ones((AXES, 4), np.int64)
    for row, output, parts in zip(copy, table[:, OUTPUT], axes, strict=True):
        used = [part for part in parts if part.elements and len(part.taps)]
        lead = max(0, *(-part.shifts.min() for part in used)) if used else 0
        places = max(part.elements + (int(part.shifts.max()) + lead if len(part.taps) else 0) for part in parts)
        row[:] = output, lead, 1, max(1, places)
    pitches, inputs, strides = _pitches(copy[:, PLACES]), _pitches(table[:, IMAGE]), table[:, STRIDE]
    phases = []
    for of_axes in product(*axes):
        taps = _flat(_pitches(table[:, SIZE]), [part.taps for part in of_axes])
        offsets = _flat(pitches, [part.shifts + lead for part, lead in zip(of_axes, copy[:, LEAD], strict=True)])
        counts = np.array([part.elements for part in of_axes])
        start = int(inputs @ [part.first for part in of_axes])
        phases.append((taps, offsets, counts, start, inputs * strides))
    return _pass(copy, phases, filters, int(strides[-1]), layout)
