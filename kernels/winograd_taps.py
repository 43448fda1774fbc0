"""The gradient of a convolution by its weight, for windows of 3 x 3 that move by one, by Winograd's algorithm.

    dw = G' [sum over tiles (A dY A') * (B' d B)] G        dY: 2 x 2 deltas of a tile, d: its 4 x 4 inputs

the adjoint of ``winograd.py`` in g: 16 products for four deltas and nine taps, in place of 36. For each point of the
transformed tiles it is a matrix product, channels by tiles times tiles by filters, on the register tile of
``tap_tile.py``. Threads share it as they do the direct sums in ``tap_sums.py``.

    sum_tiles       partial results of the chunks of images, in tiles of MR channels by NR filters for every point
    finish_tiles    their sum, transformed, and what becomes of it
"""

import math

import numba

from fastbp.kernels import _runtime
from fastbp.kernels._jit import inner, invoke, task
from fastbp.kernels._pointers import constant, itemsize, load, pointer_at, shift, stack_buffer, store
from fastbp.kernels._program import addresses_of, recorder, submit
from fastbp.kernels._record import Record
from fastbp.kernels.grid_copy import copy_to_grid
from fastbp.kernels.grid_tile import UNITS, unit_lanes, unit_of
from fastbp.kernels.partition import round_up, share, tile_sizes
from fastbp.kernels.tap_sums import add_bias, add_chunks, deltas_of, finish_bias, finished, shares_of
from fastbp.kernels.tap_tile import pack_deltas, tap_tile
from fastbp.kernels.winograd import point_size, tiles_of, transform_chunk
from fastbp.kernels.winograd_tile import POINTS, transform_delta, weight_gradient

# x (images, groups * channels, x_plane), delta (images, groups * filters, rows, columns); dw, w (groups * filters,
# channels, 9); the tables of `Tiles`; `spread`: elements of the deltas of one filter with the zeros behind them; the
# others as in `tap_sums.TAP_SUMS`.
TRANSFORMED_TAPS = Record(
    "work work_size needed x delta w dw db tile copier packer back walk copy units runs offsets unit_count images "
    "groups channels filters x_plane rows columns spread channel grid_row block pitch chunks parts pooled descends",
    "alpha beta gamma",
)


@inner
def _sizes(p):
    """Blocks of channels, panels of filters, and the elements of a group's partial result, of which one point."""
    MR, NR, _ = tile_sizes(itemsize(pointer_at(p.work, p.alpha)))
    blocks, panels = (p.channels + MR - 1) // MR, (p.filters + NR - 1) // NR
    point = panels * blocks * MR * NR
    return blocks, panels, POINTS * point + panels * NR, point


@inner
def _delta_point(lanes, NR):
    """Elements of a chunk of transformed deltas at one point; a row more, as in `point_size`."""
    return (UNITS * lanes + 1) * NR


@task(TRANSFORMED_TAPS)
def sum_tiles(p, t, threads):
    """Compute share ``t`` of the partial results."""
    x, delta, work = pointer_at(p.x, p.alpha), pointer_at(p.delta, p.alpha), pointer_at(p.work, p.alpha)
    MR, NR, _ = tile_sizes(itemsize(work))
    blocks, panels, partial, _ = _sizes(p)
    tiles_size = POINTS * point_size(p.channels, unit_lanes(work))
    spread = panels * NR * p.spread
    transformed = POINTS * _delta_point(unit_lanes(work), NR)
    own = p.block * p.pitch + tiles_size + p.block * spread + transformed + p.pooled
    grid = shift(work, p.chunks * p.groups * partial + t * own)
    tiles = shift(grid, p.block * p.pitch)
    deltas = shift(tiles, tiles_size)
    pooled = shift(deltas, p.block * spread + transformed)
    start, stop = share(p.chunks * p.groups * p.parts, 1, t, threads)
    if start < stop:
        for i in range(p.block * p.pitch):
            store(grid, i, constant(grid, 0))
        for i in range(p.block * spread):
            store(deltas, i, constant(grid, 0))
    while start < stop:
        chunk, group, part = start // p.parts // p.groups, start // p.parts % p.groups, start % p.parts
        part_stop = min(p.parts, part + stop - start)
        start += part_stop - part
        block, block_stop = part * blocks // p.parts, part_stop * blocks // p.parts
        first_image, image_stop = share(p.images, 1, chunk, p.chunks)
        result = shift(work, (chunk * p.groups + group) * partial)
        first, last = block * MR, min(p.channels, block_stop * MR)
        image = first_image
        while image < image_stop:
            images = min(p.block, image_stop - image)
            for n in range(images):
                place = (((image + n) * p.groups + group) * p.channels + first) * p.x_plane
                target = shift(grid, n * p.pitch + first * p.channel)
                invoke(p.copier, shift(x, place), p.x_plane, last - first, p.copy, target, p.channel)
                d = deltas_of(p, delta, (image + n) * p.groups + group, p.rows * p.columns, pooled)
                _spread(p, d, NR, shift(deltas, n * spread))
                if block == 0:
                    is_first = image + n == first_image
                    add_bias(d, p.filters, p.rows * p.columns, is_first, shift(result, partial - panels * NR))
            _add_tiles(p, images, image == first_image, block, block_stop, grid, tiles, deltas, result)
            image += images
    return 0


@inner
def _spread(p, delta, NR, target):
    """Panels of filters, transposed, with as many rows and columns as the tiles have."""
    wide = p.grid_row * 2 - 2
    for f in range(0, p.filters, NR):
        count = min(NR, p.filters - f)
        for row in range(p.rows):
            source = shift(delta, (f * p.rows + row) * p.columns)
            place = f * p.spread + row * wide * NR
            invoke(p.packer, source, p.rows * p.columns, count, p.columns, shift(target, place))


@inner
def _add_tiles(p, images, is_first, block, block_stop, grid, tiles, deltas, result):
    """Add the products of all tiles of a block of images, for blocks of channels up to ``block_stop`` - 1."""
    MR, NR, _ = tile_sizes(itemsize(grid))
    blocks, panels, _, point = _sizes(p)
    lanes, wide = unit_lanes(grid), p.grid_row * 2 - 2
    tiles_of_image = p.spread // 4
    size = point_size(p.channels, lanes)
    m_point = _delta_point(lanes, NR)
    m = shift(deltas, p.block * panels * NR * p.spread)
    line = stack_buffer(pointer_at(p.offsets, 0), 1)
    store(line, 0, 0)
    for unit in range(0, p.unit_count, UNITS):
        first_tile = unit * lanes
        count = min(UNITS * lanes, images * tiles_of_image - first_tile)
        if count <= 0:
            break
        transform_chunk(p, unit, images, block * MR, min(p.channels, block_stop * MR), grid, tiles)
        for panel in range(panels):
            for n in range(count):
                image, tile = (first_tile + n) // tiles_of_image, (first_tile + n) % tiles_of_image
                i, j = tile // (p.grid_row - 1), tile % (p.grid_row - 1)
                place = (image * panels + panel) * NR * p.spread + (2 * i * wide + 2 * j) * NR
                transform_delta(shift(deltas, place), wide * NR, shift(m, n * NR), m_point)
            for t in range(POINTS):
                for b in range(block, block_stop):
                    invoke(
                        p.tile, shift(tiles, t * size), shift(pointer_at(p.offsets, 0), b * MR),
                        min(MR, p.channels - b * MR), line, 1, count, shift(m, t * m_point),
                        min(NR, p.filters - panel * NR), int(is_first and unit == 0),
                        shift(result, t * point + (panel * blocks + b) * MR * NR),
                    )  # fmt: skip


@task(TRANSFORMED_TAPS)
def finish_tiles(p, t, threads):
    """Add up share ``t`` of the partial results, as `tap_sums.finish_taps` does."""
    work, w, dw = pointer_at(p.work, p.alpha), pointer_at(p.w, p.alpha), pointer_at(p.dw, p.alpha)
    MR, NR, _ = tile_sizes(itemsize(work))
    blocks, panels, partial, point = _sizes(p)
    sums, taps = stack_buffer(work, 6144), stack_buffer(work, 9)
    start, stop = share(p.groups * panels * blocks, 1, t, threads)
    for n in range(start, stop):
        group, panel, block = n // blocks // panels, n // blocks % panels, n % blocks
        place = group * partial + (panel * blocks + block) * MR * NR
        for k in range(POINTS):
            add_chunks(p, place + k * point, MR * NR, partial, shift(sums, k * MR * NR))
        for j in range(min(NR, p.filters - panel * NR)):
            for i in range(min(MR, p.channels - block * MR)):
                weight_gradient(shift(sums, i * NR + j), MR * NR, taps)
                window = ((group * p.filters + panel * NR + j) * p.channels + block * MR + i) * 9
                for k in range(9):
                    new = finished(p, load(taps, k), shift(w, window + k), shift(dw, window + k), p.beta)
                    store(dw, window + k, new)
    if t == 0 and p.db != 0:
        finish_bias(p, partial - panels * NR, partial)
    return 0


def sum_tiles_of(on, groups, delta, x, w, dw, db, factors, walk, *, descends=False):
    """As `tap_sums.sum_taps_of`, for windows that `winograd.pays_winograd` says it for."""
    N, dtype = len(x), x.dtype
    channels, filters = x.shape[1] // groups, len(dw) // groups
    unit = unit_of(dtype)
    tiles = tiles_of(on.image, on.before, on.output, channels, unit)
    MR, NR, _ = tile_sizes(dtype.itemsize)
    blocks, panels = -(-channels // MR), -(-filters // NR)
    chunks, parts = shares_of(N, math.prod(on.output), groups, blocks)
    images = min(N, tiles.images)
    pitch = round_up(channels * tiles.channel, NR)
    spread = 4 * -(-on.output[0] // 2) * -(-on.output[1] // 2)
    partial = (POINTS * blocks * MR + 1) * panels * NR
    pooled = round_up(filters * math.prod(on.output), NR) if walk.back else 0
    values = (
        *addresses_of(x, delta, w, dw, db),
        tap_tile.address(dtype),
        copy_to_grid.address(dtype),
        pack_deltas.address(dtype),
        *walk[1:3],
        *(tiles.addresses[name] for name in ("copy", "units", "runs", "offsets")),
        *(len(tiles.units) - 1, N, groups, channels, filters, math.prod(on.image), *on.output, spread),
        *(tiles.channel, tiles.row, images, pitch, chunks, parts, pooled, descends, *factors),
    )
    wide = (
        _runtime.pays_threads(N * math.prod(on.output) * dw.size / 2),
        _runtime.pays_threads(chunks * groups * partial * 4),
    )
    kept = [a for a in (x, delta, w, dw, db, *tiles.arrays(), *walk.kept) if a is not None]
    transformed = POINTS * (point_size(channels, unit) + (UNITS * unit + 1) * NR)
    own = images * (pitch + panels * NR * spread) + transformed + pooled
    needed = chunks * groups * partial + numba.config.NUMBA_NUM_THREADS * own
    tasks = sum_tiles, finish_tiles
    record, _ = submit(TRANSFORMED_TAPS, dtype, values, tasks, wide, kept, needed)
    if recorder() and descends:
        recorder().follows_rate(record)
