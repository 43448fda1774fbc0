"""How a convolution walks over its images: where each sum starts, and what it steps over.

Images are copied onto a *grid* first, with the zeros of the padding around them. Where windows move by ``stride``,
elements that lie that far apart come to lie side by side: an axis is cut into ``stride`` parts,

    element i  ->  part (i + lead) % stride, place (i + lead) // stride

so that neighbouring windows are neighbours on the grid, and the sums of several of them are made in one vector:

    result[o] = sum_k  A[k] grid[place(o) + offset(k)]        k = (channel, element of the window)

This is the form of the convolution itself and of its gradient by the input; the tables that bring them into it are made
here. Results come in *units* of half a vector, which are contiguous on the grid.

However far windows move, and however far apart their elements lie, a grid takes no more than its sums can use: of the
parts of an axis only those that some element of a window is in, and for all elements that are never on the image one
part of zeros.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from fastbp.kernels._arrays import check_memory
from fastbp.kernels.windows import AXES, IMAGE, OUTPUT, SIZE, STRIDE, Windows

# Columns of the tables, as compiled code reads them.
DEPTH, TAPS, FIRST_TAP, FIRST_OFFSET, FIRST_TILE, TILES = range(6)
PLACE, UNIT_IMAGE = range(2)
LANE, TARGET, COUNT, IMAGE_OF = range(4)


class Pass(NamedTuple):
    """Tables of 64-bit integers that describe all sums of a block of images.

    Results that use the same elements of the window form a phase: there is one, or for the gradient by the input one
    for each place within a stride that some window reaches. The units of a phase are summed tile by tile. A tile has a
    piece for each stretch of its lanes that is stored together; the others are sums that nobody wants.
    """

    copy: np.ndarray  # `copy_table`
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
    is_complete: bool  # whether all results are among the pieces; the others are 0
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
    """sum_a pitches[a] per_axis[a][i_a], for all i in row-major order; 0 for no axes."""
    axes = np.meshgrid(*per_axis, indexing="ij")
    products = (pitch * axis.reshape(-1) for pitch, axis in zip(pitches, axes, strict=True))
    return sum(products, start=np.zeros(1, np.int64))


def _pitches(extents: Sequence[int] | np.ndarray) -> np.ndarray:
    """Elements from one index to the next, on every axis of a C-ordered array."""
    return np.array([prod(extents[axis + 1 :]) for axis in range(len(extents))], np.int64)


class Line(NamedTuple):
    """One axis of the grid: element i of the image lies at place (i + lead) // step, in part (i + lead) % step.

    With a negative ``lead``, the first elements are not on the grid; the step is 1 then.
    """

    elements: int
    lead: int
    step: int
    places: int
    used: np.ndarray  # the parts that there are, ascending; others are left out
    parts: int  # as many, or one more, which is 0

    @property
    def is_image(self) -> bool:
        """Whether it has the elements of the image and nothing else."""
        return self.lead == 0 and self.step == self.parts == 1 and self.places == self.elements


# Columns in front of `copy_table`, as compiled code reads them: elements of each axis; of the last one, the step, the
# elements that are skipped, the places in front of the others, how many these are, and elements from one part to the
# next; where the offsets of each axis start.
OF_D, OF_H, OF_W, STEP, SKIP, LEAD, ON_GRID, NEXT_PART, AT_D, AT_H, AT_W = range(11)


def copy_table(lines: Sequence[Line]) -> np.ndarray:
    """What `grid_copy.copy_to_grid` reads: the columns above, and of every element of an axis its offset on the grid.

    That of an element of the image is the sum over the axes. It is -1 where an element is on no part that there is, or
    before or behind all places; on the last axis, parts by 1 or 2 are copied without offsets.
    """
    by_part = _pitches([line.parts for line in lines]) * prod(line.places for line in lines)
    by_place = _pitches([line.places for line in lines])
    offsets = []
    for axis, line in enumerate(lines):
        is_plain = axis == AXES - 1 and line.step <= 2
        place, part = np.divmod(np.arange(0 if is_plain else line.elements) + line.lead, line.step)
        number = np.searchsorted(line.used, part)
        is_there = (place >= 0) & (place < line.places) & np.isin(part, line.used)
        offsets.append(np.where(is_there, number * by_part[axis] + place * by_place[axis], -1))
    last = lines[-1]
    skip, lead = max(0, -last.lead), max(0, last.lead)
    count = max(0, min(last.elements - skip, last.places * last.step - lead))
    starts = [AT_W + 1 + sum(map(len, offsets[:axis])) for axis in range(AXES)]
    head = *(line.elements for line in lines), last.step, skip, lead, count, by_part[-1], *starts
    return np.concatenate([head, *offsets]).astype(np.int64)


# Bytes that making the tables takes, for every unit and every row of results.
_TABLES_OF_UNIT, _TABLES_OF_ROW = 64, 128


class Layout(NamedTuple):
    """What a pass is made for: elements of a unit, units of a tile, and elements of the grid that caches hold."""

    unit: int
    tile: int
    cached: int


def _units(
    counts: np.ndarray, places: Sequence[int], start: int, targets: np.ndarray, half: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of the units for ``counts`` results per axis on a grid of ``places``; the first lane of every row of them,
    counted through all units, and where its first result is stored.

    Result i is stored at start + sum_a targets[a] i_a. A line of units is a row; or whole planes or volumes with what
    lies between their rows, if that takes fewer units.
    """
    if 0 in counts:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64)
    pitches = _pitches(places)
    lengths = [int((counts[outer:] - 1) @ pitches[outer:]) + 1 for outer in range(AXES)]
    totals = [prod(map(int, counts[:outer])) * -(-length // half) for outer, length in enumerate(lengths)]
    outer = AXES - 1 - int(np.argmin(totals[::-1]))
    size = _TABLES_OF_UNIT * totals[outer] + _TABLES_OF_ROW * prod(map(int, counts[:-1]))
    check_memory(size, "the tables of its windows")
    ranges = [np.arange(n) for n in counts]
    lines, rows = _flat(pitches[:outer], ranges[:outer]), _flat(pitches[outer:-1], ranges[outer:-1])
    units = -(-lengths[outer] // half)
    place = lines[:, None] + half * np.arange(units)
    lane = units * half * np.arange(len(lines))[:, None] + rows
    return place.reshape(-1), lane.reshape(-1), start + _flat(targets[:-1], ranges[:-1])


def _tiles(
    place: np.ndarray, lane: np.ndarray, target: np.ndarray, width: int, images: int, step: int, layout: Layout
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Units of ``images`` in whole tiles; the first pieces of these; and the pieces: rows, cut where tiles end, and
    joined where they follow each other.
    """
    count, size = images * len(place), layout.tile * layout.unit
    if not count:
        return np.empty((0, 2), np.int64), np.zeros(1, np.int64), np.empty((0, 4), np.int64)
    tiles = -(-count // layout.tile)
    number = np.minimum(np.arange(tiles * layout.tile), count - 1)
    units = np.stack([place[number % len(place)], number // len(place)], axis=1)
    first = (len(place) * layout.unit * np.arange(images)[:, None] + lane).reshape(-1)
    cuts = (first + width - 1) // size - first // size + 1
    row = np.repeat(np.arange(len(first)), cuts)
    tile = first[row] // size + np.arange(len(row)) - np.repeat(np.cumsum(cuts) - cuts, cuts)
    start = np.maximum(first[row], tile * size)
    length = np.minimum(first[row] + width, (tile + 1) * size) - start
    image, of_image = np.divmod(row, len(lane))
    to = target[of_image] + (start - first[row]) * step
    joins = np.zeros(len(row), bool)
    joins[1:] = (np.diff(tile) == 0) & (np.diff(image) == 0) & (np.diff(start) == length[:-1])
    joins[1:] &= np.diff(to) == length[:-1] * step
    begin = np.flatnonzero(~joins)
    joined = np.stack([(start - tile * size)[begin], to[begin], np.add.reduceat(length, begin), image[begin]], axis=1)
    return units, np.searchsorted(tile[begin], np.arange(tiles + 1)), joined


def _grid(lines: Sequence[Line], channels: int) -> int:
    """Elements of the grid of one channel; refuses grids that memory cannot hold."""
    channel = prod(line.places * line.parts for line in lines)
    check_memory(4 * channels * channel, "the grid of an image")  # elements have 4 bytes or 8
    return channel


def _pass(lines: Sequence[Line], phases, channels: int, step: int, layout: Layout, *, is_complete=True) -> Pass:
    """The tables; each of ``phases`` is (taps, their offsets, counts, start of the result, its pitches)."""
    places, channel = [line.places for line in lines], _grid(lines, channels)
    walks = [_units(counts, places, start, targets, layout.unit) for _, _, counts, start, targets in phases]
    # as many images as leave few tiles partly empty
    fewest = min(len(place) for place, _, _ in walks)
    images = max(1, min(-(-4 * layout.tile // max(1, fewest)), layout.cached // (channels * channel)))
    rows: list[list[int]] = []
    columns: list[list[np.ndarray]] = [[], [], [], [], []]
    firsts = np.zeros(5, np.int64)
    for (taps, offsets, counts, *_), walk in zip(phases, walks, strict=True):
        units, tiles, pieces = _tiles(*walk, int(counts[-1]), images, step, layout)
        rows.append([channels * len(taps), len(taps), firsts[0], firsts[1], firsts[3], len(tiles) - 1])
        of_all = (np.arange(channels)[:, None] * channel + offsets).reshape(-1)
        for column, part in zip(columns, (taps, of_all, units, tiles + firsts[4], pieces), strict=True):
            column.append(part)
        firsts += [len(column[-1]) for column in columns]
    counts = phases[0][2]
    names = "taps", "offsets", "units", "tiles", "pieces"
    tables = {
        "copy": copy_table(lines),
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
        is_image=all(line.is_image for line in lines),
        is_whole=all(len(walk[0]) * layout.unit == prod(phase[2]) for walk, phase in zip(walks, phases, strict=True)),
        is_complete=is_complete,
        addresses={name: table.ctypes.data for name, table in tables.items()},
    )


def _taps(row: np.ndarray) -> tuple[Line, np.ndarray, np.ndarray]:
    """One axis of the grid of images, and of every element of a window the part and the place in it."""
    image, size, stride, dilation, before, output = map(int, row)
    at = np.arange(size) * dilation
    # the windows that have the element on the image
    first, last = -((at - before) // stride), (image - 1 + before - at) // stride
    is_real = np.maximum(first, 0) <= np.minimum(last, output - 1)
    start = min(before, at[is_real].min(initial=before))
    place, part = np.divmod(at - start, stride)
    used = np.arange(stride) if stride <= 2 else np.unique(part[is_real])
    part, place = np.where(is_real, np.searchsorted(used, part), len(used)), np.where(is_real, place, 0)
    parts = len(used) + (not is_real.all())
    return Line(image, before - int(start), stride, output + int(place.max()), used, parts), part, place


@lru_cache(maxsize=256)
def forward_pass(on: Windows, channels: int, layout: Layout) -> Pass:
    """y[o] = sum_{c, k} w[c, k] x[c, o stride - before + k dilation]."""
    table = merged(on)
    lines, parts, places = zip(*map(_taps, table), strict=True)
    _grid(lines, channels)
    extents = [line.places for line in lines]
    part = _flat(_pitches([line.parts for line in lines]), parts)
    offsets = part * prod(extents) + _flat(_pitches(extents), places)
    phase = np.arange(len(offsets)), offsets, table[:, OUTPUT], 0, _pitches(table[:, OUTPUT])
    return _pass(lines, [phase], channels, 1, layout)


class _Axis(NamedTuple):
    """Inputs of one axis that lie at the same place within a stride: i = first + stride m for m < elements.

    They are reached by the taps k with i = o stride - before + k dilation, so o = m + shift.
    """

    first: int
    elements: int
    taps: np.ndarray
    shifts: np.ndarray


def _axes(row: np.ndarray) -> list[_Axis]:
    """The inputs of one axis that windows reach, for every place within a stride where there are some."""
    image, size, stride, dilation, before, output = map(int, row)
    at = np.arange(size) * dilation - before
    first = at % stride
    elements, shift = -((first - image) // stride), (first - at) // stride
    taps = np.flatnonzero((elements > 0) & (shift < output) & (shift + elements > 0))
    taps = taps[np.argsort(first[taps], kind="stable")]
    of_places = np.split(taps, np.flatnonzero(np.diff(first[taps])) + 1) if len(taps) else []
    return [_reached(_Axis(int(first[k[0]]), int(elements[k[0]]), k, shift[k]), stride, output) for k in of_places]


def _reached(axis: _Axis, stride: int, output: int) -> _Axis:
    """The axis without the inputs at its ends that no window reaches, where these are most of it.

    Fewer are not worth it: all others of dx would have to be cleared.
    """
    start = max(0, -int(axis.shifts.max()))
    stop = min(axis.elements, output - int(axis.shifts.min()))
    if 2 * (stop - start) > axis.elements:
        return axis
    return _Axis(axis.first + start * stride, stop - start, axis.taps, axis.shifts + start)


@lru_cache(maxsize=256)
def delta_pass(on: Windows, filters: int, layout: Layout) -> Pass:
    """dx[i] = sum_{f, k} w[f, k] dy[f, o], over all o and k with i = o stride - before + k dilation."""
    table = merged(on)
    axes = [_axes(row) for row in table]
    lines = []
    for output, parts in zip(table[:, OUTPUT], axes, strict=True):
        lead = max([-int(part.shifts.min()) for part in parts], default=0)
        places = max([part.elements + int(part.shifts.max()) + lead for part in parts], default=1)
        lines.append(Line(int(output), lead, 1, places, np.zeros(1, np.int64), 1))
    _grid(lines, filters)
    pitches, inputs, strides = _pitches([line.places for line in lines]), _pitches(table[:, IMAGE]), table[:, STRIDE]
    phases = []
    for of_axes in product(*axes):
        taps = _flat(_pitches(table[:, SIZE]), [part.taps for part in of_axes])
        offsets = _flat(pitches, [part.shifts + line.lead for part, line in zip(of_axes, lines, strict=True)])
        counts = np.array([part.elements for part in of_axes])
        start = int(inputs @ [part.first for part in of_axes])
        phases.append((taps, offsets, counts, start, inputs * strides))
    reached = [sum(part.elements for part in parts) for parts in axes]
    nothing = np.empty(0, np.int64), np.empty(0, np.int64), np.zeros(AXES, np.int64), 0, inputs
    is_complete = reached == list(table[:, IMAGE])
    return _pass(lines, phases or [nothing], filters, int(strides[-1]), layout, is_complete=is_complete)
