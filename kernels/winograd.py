"""Convolution with windows of 3 x 3 that move by one: Winograd's algorithm, in place of the direct sums.

    Y = A' [sum_c (G g_c G') * (B' d_c B)] A        d: a tile of 4 x 4 inputs, g: a window, Y: 2 x 2 results

16 products of numbers for four results, in place of 36. For each of the 16 points of the transformed tiles it is a
matrix product, filters by channels times channels by tiles, on the register tile of ``grid_tile.py``. (Lavin and Gray,
Fast algorithms for convolutional neural networks, arXiv 1509.09308.)

The sums are others than the direct ones, and rounded like them: a result is off by a few units in the last place of the
largest product. A number that is not finite reaches all results of the tiles that it is in, one row or column more than
its windows. The sums may also leave the range of the dtype where their result would not: a transformed input is up to 4
times the largest input, a transformed weight 9/4 times the largest weight, and a result has 9 sums of their products
over the channels. None does while 81 C |w| |x| is in the range; no fallback is worth looking at every result.

    pack_transformed        G g G', block of rows after block, point after point, channel after channel
    correlate_transformed   images, groups, chunks of tiles; for these all points, and blocks of rows
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numba
import numpy as np

from fastbp.kernels import _runtime
from fastbp.kernels._jit import inner, invoke, task
from fastbp.kernels._pointers import constant, integer, pointer_at, shift, stack_buffer, store
from fastbp.kernels._program import addresses_of, submit
from fastbp.kernels._record import Record
from fastbp.kernels.correlate import copy_image, pack_bias, pool_results, store_piece
from fastbp.kernels.grid import Line, copy_table
from fastbp.kernels.grid_copy import copy_to_grid
from fastbp.kernels.grid_tile import (
    HEIGHTS,
    UNITS,
    grid_tile,
    grid_tile_buffer,
    tile_height,
    unit_lanes,
    unit_of,
)
from fastbp.kernels.partition import round_up, share
from fastbp.kernels.winograd_tile import POINTS, transform_inputs, transform_results, transform_weight

_ROWS = HEIGHTS[0]

# Channels and filters from which the transforms cost less than they save. Microseconds of 16 images of 16 x 16 in
# float32 on one core (Zen 4), by these tiles / by direct sums:
#     as many channels as filters     8         12         16         24         32
#     forward                       98/94    142/150    200/229    339/447    526/762
#     gradient by the weight       159/140   178/196    226/248    412/595    570/782
MIN_CHANNELS = 12

# Columns of the tables.
FIRST_RUN, FIRST_PIECE = range(2)  # of `Tiles.units`
LANE, PLACE, IMAGE = range(3)  # of `Tiles.runs`
TARGET, COUNT = 1, 3  # of `Tiles.pieces`, beside LANE and IMAGE


class Tiles(NamedTuple):
    """Tables of 64-bit integers that describe the tiles of a block of images.

    Tiles are counted through the images of a block, row after row, and cut into units. A unit consists of runs that lie
    side by side on the grid, and its results of pieces that are stored together.
    """

    copy: np.ndarray  # `grid.copy_table`
    units: np.ndarray  # rows (first run, first piece), and one row behind them
    runs: np.ndarray  # rows (first lane, place on the grid of a channel, image)
    pieces: np.ndarray  # rows (place in the results of a unit, place in those of a channel, image, elements)
    offsets: np.ndarray  # of each channel of a chunk of transformed tiles
    images: int
    row: int  # elements of a row of the grid
    channel: int  # elements of the grid of one channel
    addresses: dict[str, int]

    def arrays(self) -> tuple[np.ndarray, ...]:
        """The tables."""
        return self[:5]


@lru_cache(maxsize=256)
def tiles_of(image: tuple[int, int], lead: tuple[int, int], output: tuple[int, int], channels: int, half: int) -> Tiles:
    """Tiles of ``output`` results of windows on an ``image``, the first ``lead`` before it, in units of ``half``."""
    rows, columns = (-(-n // 2) for n in output)
    images = _images_of_block(rows * columns, half)
    part = np.arange(2)
    lines = [Line(1, 0, 1, 1, part[:1], 1)]
    lines += [
        Line(n, before, 2, tiles + 1, part, 2) for n, before, tiles in zip(image, lead, (rows, columns), strict=True)
    ]
    total = images * rows * columns
    units = np.arange(0, total, half)
    first = np.union1d(units, np.arange(0, total, columns))  # tile of each run
    n, tile = np.divmod(first, rows * columns)
    i, j = np.divmod(tile, columns)
    run = np.stack([first % half, i * (columns + 1) + j, n], axis=1)
    # of a run, the results in two rows, or in one at the lower edge
    row = 2 * i[:, None] + [0, 1]
    there = row < output[0]
    piece = np.empty((*row.shape, 4), np.int64)
    piece[..., 0] = [0, 2 * half] + 2 * run[:, :1]
    piece[..., 1] = row * output[1] + 2 * j[:, None]
    piece[..., 2] = n[:, None]
    piece[..., 3] = np.minimum(2 * np.diff(first, append=total), output[1] - 2 * j)[:, None]
    runs = np.append(np.searchsorted(first, units), len(first))
    pieces = np.append(0, np.cumsum(there.sum(axis=1)))[runs]
    tables = {"copy": copy_table(lines), "units": np.stack([runs, pieces], axis=1), "runs": run, "pieces": piece[there]}
    tables["offsets"] = np.arange(channels) * chunk_lanes(half)
    addresses = {name: table.ctypes.data for name, table in tables.items()}
    return Tiles(**tables, images=images, row=columns + 1, channel=4 * (rows + 1) * (columns + 1), addresses=addresses)


@inner
def chunk_lanes(half):
    """Elements of a chunk of tiles of one channel: its units, and one that the last run may write behind them."""
    return (UNITS + 1) * half


@inner
def point_size(channels, half):
    """Elements of a chunk of tiles at one point; a line more, so that points do not fall into one set of the cache."""
    return channels * chunk_lanes(half) + 2 * half


def _images_of_block(tiles: int, half: int) -> int:
    """Images that leave few units empty where tiles are summed in chunks of `UNITS` of them."""
    chunk = UNITS * half
    most = max(1, 2 * chunk // tiles)
    waste = [-(-n * tiles // chunk) * chunk / (n * tiles) for n in range(1, most + 1)]
    return 1 + int(np.argmin(np.round(waste, 2)))


# source (images, groups * channels, source_plane), result (images, groups * rows, result_plane), w by strides; the
# tables of `Tiles`; `pitch`: elements of the grid of an image; the others as in `correlate.CORRELATION`.
TRANSFORMED = Record(
    "work work_size needed source result h w bias tile copier pool back walk copy units runs pieces offsets unit_count "
    "images groups channels rows source_plane result_plane result_pitch channel grid_row block pitch pooled "
    "w_group w_row w_channel is_turned form activation",
    "slope floor",
)


@inner
def _sizes(p):
    """Blocks of rows of a group, and the elements of its packed weights and bias."""
    blocks = (p.rows + _ROWS - 1) // _ROWS
    return blocks, blocks * _ROWS * p.channels * POINTS, blocks * _ROWS


@task(TRANSFORMED)
def pack_transformed(p, t, threads):
    """Transform and pack share ``t`` of the weights, with 0 for rows that are not there."""
    w, work = pointer_at(p.w, p.slope), pointer_at(p.work, p.slope)
    zero = constant(work, 0)
    blocks, size, bias_size = _sizes(p)
    start, stop = share(p.groups * blocks, 1, t, threads)
    for n in range(start, stop):
        group, first = n // blocks, n % blocks * _ROWS
        count = min(_ROWS, p.rows - first)
        height = tile_height(count)
        pack_bias(p, group * p.rows + first, count, shift(work, p.groups * size + group * bias_size + first))
        target = shift(work, group * size + first * p.channels * POINTS)
        point = p.channels * height
        for c in range(p.channels):
            for i in range(height):
                place = shift(target, c * height + i)
                if i < count:
                    source = shift(w, group * p.w_group + (first + i) * p.w_row + c * p.w_channel)
                    transform_weight(source, p.is_turned != 0, place, point)
                else:
                    for k in range(POINTS):
                        store(place, k * point, zero)
    return 0


@task(TRANSFORMED)
def correlate_transformed(p, t, threads):
    """Compute share ``t`` of the results."""
    source, result, h = pointer_at(p.source, p.slope), pointer_at(p.result, p.slope), pointer_at(p.h, p.slope)
    work = pointer_at(p.work, p.slope)
    blocks, size, bias_size = _sizes(p)
    tiles_size = POINTS * point_size(p.channels, unit_lanes(work))
    own = p.block * p.pitch + tiles_size + p.pooled
    grid = shift(work, round_up(p.groups * (size + bias_size), UNITS) + t * own)
    tiles = shift(grid, p.block * p.pitch)
    pooled = shift(tiles, tiles_size)
    start, stop = share((p.images + p.block - 1) // p.block * p.groups * blocks, 1, t, threads)
    if start < stop:
        for i in range(p.block * p.pitch):
            store(grid, i, constant(grid, 0))
    while start < stop:
        group, image = start // blocks % p.groups, start // blocks // p.groups * p.block
        row_start = start % blocks
        row_stop = min(blocks, row_start + stop - start)
        start += row_stop - row_start
        images = min(p.block, p.images - image)
        for n in range(images):
            copy_image(p, source, (image + n) * p.groups + group, pooled, shift(grid, n * p.pitch))
        plane = (image * p.groups + group) * p.rows
        target = shift(result, plane * p.result_plane)
        if p.pool:
            target = pooled
        for unit in range(0, p.unit_count, UNITS):
            transform_chunk(p, unit, images, 0, p.channels, grid, tiles)
            _sum_chunk(
                p, unit, images, row_start, row_stop, tiles, shift(work, group * size),
                shift(work, p.groups * size + group * bias_size), target, shift(h, plane * p.result_plane),
            )  # fmt: skip
        pool_results(p, images, row_start, row_stop, plane, pooled)
    return 0


@inner
def transform_chunk(p, first, images, channel, channel_stop, grid, tiles):
    """The transformed tiles of `UNITS` units, on channels up to ``channel_stop`` - 1, as [point, channel, tile]."""
    lanes, part = unit_lanes(grid), p.channel // 4
    chunk, point = chunk_lanes(lanes), point_size(p.channels, lanes)
    for unit in range(first, min(first + UNITS, p.unit_count)):
        for run in range(integer(p.units, unit, 2, FIRST_RUN), integer(p.units, unit + 1, 2, FIRST_RUN)):
            image = integer(p.runs, run, 3, IMAGE)
            if image < images:
                source = shift(grid, image * p.pitch + integer(p.runs, run, 3, PLACE))
                target = shift(tiles, (unit - first) * lanes + integer(p.runs, run, 3, LANE))
                for c in range(channel, channel_stop):
                    transform_inputs(shift(source, c * p.channel), p.grid_row, part, shift(target, c * chunk), point)


@inner
def _sum_chunk(p, first, images, row_start, row_stop, tiles, weights, bias, result, h):
    """The results of a chunk of tiles, for blocks of rows from ``row_start`` to ``row_stop`` - 1."""
    lanes = unit_lanes(tiles)
    row, size = UNITS * lanes, point_size(p.channels, lanes)
    offsets = pointer_at(p.offsets, 0)
    places, nothing, m = stack_buffer(offsets, 8), stack_buffer(tiles, 8), stack_buffer(tiles, 6144)
    y = grid_tile_buffer(tiles)
    for j in range(UNITS):
        store(places, j, j * lanes)
    for i in range(_ROWS):
        store(nothing, i, constant(nothing, 0))
    for block in range(row_start, row_stop):
        start = block * _ROWS
        height = min(_ROWS, p.rows - start)
        whole = tile_height(height)
        a = shift(weights, start * p.channels * POINTS)
        for point in range(POINTS):
            invoke(
                p.tile, shift(a, point * p.channels * whole), shift(tiles, point * size), places, offsets,
                p.channels, nothing, whole, shift(m, point * _ROWS * row), row, p.floor,
            )  # fmt: skip
        for unit in range(first, min(first + UNITS, p.unit_count)):
            for i in range(height):
                place = i * row + (unit - first) * lanes
                transform_results(shift(m, place), _ROWS * row, shift(bias, start + i), shift(y, i * row))
            for piece in range(integer(p.units, unit, 2, FIRST_PIECE), integer(p.units, unit + 1, 2, FIRST_PIECE)):
                image = integer(p.pieces, piece, 4, IMAGE)
                if image < images:
                    target = image * p.result_pitch + start * p.result_plane + integer(p.pieces, piece, 4, TARGET)
                    store_piece(
                        p, shift(y, integer(p.pieces, piece, 4, LANE)), row, height, integer(p.pieces, piece, 4, COUNT),
                        shift(result, target), shift(h, target),
                    )  # fmt: skip


def pays_winograd(on, channels, filters):
    """Whether the algorithm does `Windows` ``on`` for so many channels and filters of a group, and faster."""
    return (
        len(on.image) == 2
        and on.size == (3, 3)
        and on.stride == on.dilation == (1, 1)
        and max(on.before) <= 2
        and min(channels, filters) >= MIN_CHANNELS
    )


def correlate_tiles(on, c):
    """Make the sums of the `Correlation` c, as `correlate_images` does."""
    channels, height = c.sizes
    dtype, unit = c.source.dtype, unit_of(c.source.dtype)
    lead = (2 - on.before[0], 2 - on.before[1]) if c.is_gradient else on.before
    source, result = (on.output, on.image) if c.is_gradient else (on.image, on.output)
    tiles = tiles_of(source, lead, result, channels, unit)
    pitch = round_up(channels * tiles.channel, UNITS)
    blocks, images = -(-height // _ROWS), min(len(c.source), tiles.images)
    packed = round_up(c.groups * blocks * _ROWS * (channels * POINTS + 1), UNITS)
    pooled, result_pitch = c.pooled(on, images)
    values = (
        *addresses_of(c.source, c.result, c.h, c.w, c.bias),
        grid_tile.address(dtype),
        copy_to_grid.address(dtype),
        *c.walk[:3],
        *(tiles.addresses[name] for name in ("copy", "units", "runs", "pieces", "offsets")),
        *(len(tiles.units) - 1, len(c.source), c.groups, channels, height),
        *(*c.planes(on), result_pitch, tiles.channel, tiles.row, images, pitch, pooled),
        *(*c.pitches, c.is_gradient, c.form, c.activation, c.slope, -math.inf),
    )
    wide = _runtime.pays_threads(packed * 4), _runtime.pays_threads(c.multiply_adds(on) / 2)
    kept = *c.arrays, *tiles.arrays()
    own = images * pitch + POINTS * point_size(channels, unit) + pooled
    needed = packed + numba.config.NUMBA_NUM_THREADS * own
    submit(TRANSFORMED, dtype, values, (pack_transformed, correlate_transformed), wide, kept, needed)
