"""Sums over a grid of images: the convolution, and its gradient by the input.

    result[n, i, o] = f(b[i] + sum_k A[i, k] grid_n[place(o) + offset(k)])        k = (channel, element of the window)

One image after the other is copied onto the grid of ``grid.py``, whose tables say where the sums start and what they
step over; the tiles of ``grid_tile.py`` do the rest. Threads share the images, and the rows of A where these are few.
Every sum is made in the order of k, whoever makes it.

    clear       where some results have no sum, as the gradient by inputs that no window reaches
    pack        A into blocks of rows, k after k, beside the bias; both for each group and phase
    correlate   images, groups, blocks of rows
"""

import math
from typing import NamedTuple

import numba
import numpy as np

from fastbp.kernels import _cpu, _runtime
from fastbp.kernels._jit import inner, invoke, task
from fastbp.kernels._pointers import constant, integer, load, pointer_at, shift, stack_buffer, store
from fastbp.kernels._program import addresses_of, submit
from fastbp.kernels._record import Record
from fastbp.kernels.epilogue import ACTIVATE, RELU, SIGMOID
from fastbp.kernels.functions import sigmoid, tanh
from fastbp.kernels.grid import (
    COUNT,
    DEPTH,
    FIRST_OFFSET,
    FIRST_TAP,
    FIRST_TILE,
    IMAGE_OF,
    LANE,
    PLACE,
    TAPS,
    TARGET,
    TILES,
    UNIT_IMAGE,
    Layout,
    delta_pass,
    forward_pass,
)
from fastbp.kernels.grid_copy import copy_to_grid
from fastbp.kernels.grid_tile import (
    HEIGHTS,
    finish_piece,
    grid_tile,
    grid_tile_buffer,
    tile_height,
    unit_lanes,
    unit_of,
)
from fastbp.kernels.grid_tile import UNITS as TILE_UNITS
from fastbp.kernels.partition import round_up, share
from fastbp.kernels.pooled import Walk

_ROWS = HEIGHTS[0]

# source (images, groups * channels, plane), result (images, groups * rows, plane), w by strides, bias or 0; the tables
# of a `Pass`, by their addresses; and how the work is laid out: blocks of images, whose grids have `pitch` elements.
# With a pool behind the convolution, pool or back and walk are those of a `Walk`, and `pooled` elements for every
# thread hold the results of a block, or the deltas of an image; images of results lie `result_pitch` elements apart.
# floor: 0 where f is the rectifier, else minus infinity.
CORRELATION = Record(
    "work work_size needed source result h w bias tile copier pool back walk copy phases taps offsets units tiles "
    "pieces phase_count depth images groups channels rows source_plane result_plane result_pitch channel step in_place "
    "block pitch pooled w_group w_row w_channel form activation",
    "slope floor",
)


class Correlation(NamedTuple):
    """What is to be summed: C-ordered arrays, checked."""

    source: np.ndarray  # (N, channels, image), or for the gradient (N, filters, windows)
    w: np.ndarray  # (filters, channels / groups, window)
    bias: np.ndarray | None
    h: np.ndarray | None  # as ``result``
    result: np.ndarray
    groups: int
    is_gradient: bool
    form: int
    activation: int
    slope: float
    walk: Walk = Walk()  # between the convolution, and source or result

    @property
    def sizes(self):
        """Channels of the source and of the result in a group."""
        return self.source.shape[1] // self.groups, self.result.shape[1] // self.groups

    @property
    def pitches(self):
        """Elements of w from one group, channel of the result and channel of the source to the next."""
        window = math.prod(self.w.shape[2:])
        in_filter = self.w.shape[1] * window
        of_result, of_source = (window, in_filter) if self.is_gradient else (in_filter, window)
        return len(self.w) // self.groups * in_filter, of_result, of_source

    def planes(self, on):
        """Elements of a channel of the source and of the result, for `Windows` ``on``."""
        image, output = math.prod(on.image), math.prod(on.output)
        return (output, image) if self.is_gradient else (image, output)

    def pooled(self, on, images):
        """Elements that a thread has for what is between the convolution and a pool, and from image to image."""
        (channels, height), (source_plane, result_plane) = self.sizes, self.planes(on)
        if self.walk.forward:
            return round_up(images * height * result_plane, TILE_UNITS), height * result_plane
        return round_up(channels * source_plane, TILE_UNITS) if self.walk.back else 0, self.result[0].size

    def multiply_adds(self, on):
        """Of the direct sums."""
        return len(self.source) * math.prod(on.output) * self.w.size

    @property
    def floor(self):
        """What no result is below."""
        return 0.0 if self.form == ACTIVATE and self.activation == RELU else -math.inf

    @property
    def arrays(self):
        """All arrays that there are."""
        arrays = self.source, self.result, self.h, self.w, self.bias, *self.walk.kept
        return [x for x in arrays if x is not None]


@inner
def _packed_sizes(p):
    """Blocks of rows of a group, and the elements of its packed A and bias."""
    blocks = (p.rows + _ROWS - 1) // _ROWS
    return blocks, blocks * _ROWS * p.depth, blocks * _ROWS


@inner
def pack_bias(p, first, count, target):
    """The biases of a block of ``count`` rows, 0 for rows that are not there and where there is no bias."""
    bias = pointer_at(p.bias, p.slope)
    for i in range(_ROWS):
        store(target, i, load(bias, first + i) if p.bias != 0 and i < count else constant(target, 0))


@task(CORRELATION)
def clear(p, t, threads):
    """Overwrite share ``t`` of the results with 0."""
    result = pointer_at(p.result, p.slope)
    start, stop = share(p.images * p.groups * p.rows * p.result_plane, 1, t, threads)
    for i in range(start, stop):
        store(result, i, constant(result, 0))
    return 0


@task(CORRELATION)
def pack_rows(p, t, threads):
    """Pack share ``t`` of A: block after block of rows, k after k, with 0 for rows that are not there."""
    w, work = pointer_at(p.w, p.slope), pointer_at(p.work, p.slope)
    taps = pointer_at(p.taps, 0)
    zero = constant(work, 0)
    blocks, size, bias_size = _packed_sizes(p)
    start, stop = share(p.groups * blocks, 1, t, threads)
    for n in range(start, stop):
        group, first = n // blocks, n % blocks * _ROWS
        count = min(_ROWS, p.rows - first)
        height = tile_height(count)
        pack_bias(p, group * p.rows + first, count, shift(work, p.groups * size + group * bias_size + first))
        for phase in range(p.phase_count):
            depth, used = integer(p.phases, phase, 6, DEPTH), integer(p.phases, phase, 6, TAPS)
            first_tap = integer(p.phases, phase, 6, FIRST_TAP)
            before = integer(p.phases, phase, 6, FIRST_OFFSET) * blocks * _ROWS
            target = shift(work, group * size + before + first * depth)
            for channel in range(p.channels):
                source = shift(w, group * p.w_group + first * p.w_row + channel * p.w_channel)
                for tap in range(used):
                    at = load(taps, first_tap + tap)
                    row = (channel * used + tap) * height
                    for i in range(height):
                        store(target, row + i, load(source, i * p.w_row + at) if i < count else zero)
    return 0


@task(CORRELATION)
def correlate(p, t, threads):
    """Compute share ``t`` of the results."""
    source, result, h = pointer_at(p.source, p.slope), pointer_at(p.result, p.slope), pointer_at(p.h, p.slope)
    work = pointer_at(p.work, p.slope)
    blocks, size, bias_size = _packed_sizes(p)
    first_grid = round_up(p.groups * (size + bias_size), TILE_UNITS)
    grid = shift(work, first_grid + t * (p.block * p.pitch + p.pooled))
    pooled = shift(grid, p.block * p.pitch)
    start, stop = share((p.images + p.block - 1) // p.block * p.groups * blocks, 1, t, threads)
    if start < stop and p.in_place == 0:
        for i in range(p.block * p.pitch):
            store(grid, i, constant(grid, 0))
    while start < stop:
        group, image = start // blocks % p.groups, start // blocks // p.groups * p.block
        row_start = start % blocks
        row_stop = min(blocks, row_start + stop - start)
        start += row_stop - row_start
        images = min(p.block, p.images - image)
        origin, pitch = grid, p.pitch
        if p.in_place:
            origin = shift(source, (image * p.groups + group) * p.channels * p.source_plane)
            pitch = p.groups * p.channels * p.source_plane
        else:
            for n in range(images):
                copy_image(p, source, (image + n) * p.groups + group, pooled, shift(grid, n * p.pitch))
        plane = (image * p.groups + group) * p.rows
        target = shift(result, plane * p.result_plane)
        if p.pool:
            target = pooled
        for phase in range(p.phase_count):
            _sum_phase(
                p, phase, images, row_start, row_stop, origin, pitch, shift(work, group * size),
                shift(work, p.groups * size + group * bias_size), target, shift(h, plane * p.result_plane), blocks,
            )  # fmt: skip
        pool_results(p, images, row_start, row_stop, plane, pooled)
    return 0


@inner
def copy_image(p, source, number, pooled, grid):
    """Copy the image of a group, the ``number``-th of all, onto the grid, back from behind the pool if there is one."""
    first = number * p.channels
    image = shift(source, first * p.source_plane)
    if p.back:
        invoke(p.back, p.walk, pooled, first, first + p.channels)
        image = pooled
    invoke(p.copier, image, p.source_plane, p.channels, p.copy, grid, p.channel)


@inner
def pool_results(p, images, row_start, row_stop, plane, pooled):
    """Pool the results of blocks of rows, of the first image into planes from ``plane`` on, if there is a pool."""
    if p.pool:
        first, stop = row_start * _ROWS, min(p.rows, row_stop * _ROWS)
        for n in range(images):
            target = plane + n * p.groups * p.rows
            results = shift(pooled, n * p.result_pitch + first * p.result_plane)
            invoke(p.pool, p.walk, results, target + first, target + stop)


@inner
def _sum_phase(p, phase, images, row_start, row_stop, grid, pitch, rows, bias, result, h, blocks):
    """The results of one phase for a block of images, and blocks of rows from ``row_start`` to ``row_stop`` - 1."""
    depth, tiles = integer(p.phases, phase, 6, DEPTH), integer(p.phases, phase, 6, TILES)
    first_offset, first_tile = integer(p.phases, phase, 6, FIRST_OFFSET), integer(p.phases, phase, 6, FIRST_TILE)
    # a phase has one row more in the table of tiles than it has tiles
    first_unit = (first_tile - phase) * TILE_UNITS
    offsets = shift(pointer_at(p.offsets, 0), first_offset)
    rows = shift(rows, first_offset * blocks * _ROWS)
    places, tile, lanes = stack_buffer(offsets, 8), grid_tile_buffer(grid), unit_lanes(grid)
    for n in range(tiles):
        first_piece, stop_piece = integer(p.tiles, first_tile + n, 1, 0), integer(p.tiles, first_tile + n + 1, 1, 0)
        if integer(p.pieces, first_piece, 4, IMAGE_OF) >= images:
            break
        for j in range(TILE_UNITS):
            unit = first_unit + n * TILE_UNITS + j
            image = integer(p.units, unit, 2, UNIT_IMAGE)
            place = image * pitch + integer(p.units, unit, 2, PLACE)
            store(places, j, place if image < images else load(places, 0))
        for block in range(row_start, row_stop):
            first = block * _ROWS
            height = min(_ROWS, p.rows - first)
            target, row, whole = tile, TILE_UNITS * lanes, tile_height(height)
            # all sums are results, side by side: they need no room in between
            is_one_piece = stop_piece == first_piece + 1 and integer(p.pieces, first_piece, 4, COUNT) == row
            is_direct = is_one_piece and p.form == ACTIVATE and p.activation <= RELU and p.step == 1 and height == whole
            if is_direct:
                place = integer(p.pieces, first_piece, 4, IMAGE_OF) * p.result_pitch + first * p.result_plane
                target, row = shift(result, place + integer(p.pieces, first_piece, 4, TARGET)), p.result_plane
            invoke(
                p.tile, shift(rows, first * depth), grid, places, offsets, depth, shift(bias, first), whole, target,
                row, p.floor,
            )  # fmt: skip
            if is_direct:
                continue
            for piece in range(first_piece, stop_piece):
                image = integer(p.pieces, piece, 4, IMAGE_OF)
                if image < images:
                    target = image * p.result_pitch + first * p.result_plane + integer(p.pieces, piece, 4, TARGET)
                    _store_piece(
                        p, shift(tile, integer(p.pieces, piece, 4, LANE)), TILE_UNITS * lanes, height,
                        integer(p.pieces, piece, 4, COUNT), shift(result, target), shift(h, target),
                    )  # fmt: skip


@inner
def _store_piece(p, tile, tile_row, height, count, result, h):
    """Store a piece of a tile of ``height`` rows."""
    if p.step == 1:
        store_piece(p, tile, tile_row, height, count, result, h)
    else:
        for i in range(height):
            for n in range(count):
                store(result, i * p.result_plane + n * p.step, load(tile, i * tile_row + n))


@inner
def store_piece(p, tile, tile_row, height, count, result, h):
    """Take a piece of a tile through the epilogue into contiguous results."""
    finish_piece(tile, tile_row, result, p.result_plane, h, height, count, p.form, p.activation, p.slope)
    if p.form == ACTIVATE and p.activation >= SIGMOID:
        _activate(result, p.result_plane, height, count, p.activation)


@inner
def _activate(u, row, rows, count, activation):
    """f(u) for the activations with an exponential, while u is still in L1."""
    for i in range(rows):
        for j in range(count):
            value = load(u, i * row + j)
            store(u, i * row + j, sigmoid(value) if activation == SIGMOID else tanh(value))


def layout_of(dtype):
    """The layout of a pass over arrays of ``dtype``."""
    return Layout(unit_of(dtype), TILE_UNITS, _cpu.L2_BYTES // 4 // dtype.itemsize)


def correlate_images(on, c):
    """Make the sums of the `Correlation` c, a convolution with `Windows` ``on`` or its gradient by the input."""
    channels, height = c.sizes
    dtype, unit = c.source.dtype, unit_of(c.source.dtype)
    tables = (delta_pass if c.is_gradient else forward_pass)(on, channels, layout_of(dtype))
    pitch = round_up(channels * tables.channel, TILE_UNITS)
    images = min(len(c.source), tables.images)
    in_place = tables.is_image and tables.is_whole and not c.walk.back
    blocks, depth = -(-height // _ROWS), len(tables.offsets)
    packed = round_up(c.groups * blocks * _ROWS * (depth + 1), TILE_UNITS)
    pitch = 0 if in_place else pitch
    pooled, result_pitch = c.pooled(on, images)
    values = (
        *addresses_of(c.source, c.result, c.h, c.w, c.bias),
        grid_tile.address(dtype),
        copy_to_grid.address(dtype),
        *c.walk[:3],
        *(tables.addresses[name] for name in ("copy", "phases", "taps", "offsets", "units", "tiles", "pieces")),
        *(len(tables.phases), depth, len(c.source), c.groups, channels, height),
        *(*c.planes(on), result_pitch, tables.channel, tables.step, in_place),
        *(images, pitch, pooled, *c.pitches, c.form, c.activation, c.slope, c.floor),
    )
    tasks = (pack_rows, correlate) if tables.is_complete else (pack_rows, clear, correlate)
    wide = _runtime.pays_threads(packed * 16), *[_runtime.pays_threads(c.multiply_adds(on))] * (len(tasks) - 1)
    kept = *c.arrays, *tables.arrays()
    # a unit may be read beyond the last grid
    needed = packed + numba.config.NUMBA_NUM_THREADS * (images * pitch + pooled) + unit
    submit(CORRELATION, dtype, values, tasks, wide, kept, needed)
