"""The gradient of a convolution by its weight and bias.

    dw[f, k] = sum_n sum_o  delta[n, f, o] grid_n[place(o) + offset(k)]        k = (channel, element of the window)
    db[f]    = sum_n sum_o  delta[n, f, o]

Images are taken in chunks whose number depends on the shapes alone. Threads share chunks, groups and parts of k, and
leave one partial result for each chunk; these are added in their order, so that no bit depends on the threads.

    sum_taps       partial results of the chunks, in tiles of MR taps by NR filters
    finish_taps    their sum, and what becomes of it: the gradient, or the step down along it
"""

import math

import numba

from fastbp.kernels import _cpu, _runtime
from fastbp.kernels._jit import inner, invoke, task
from fastbp.kernels._pointers import constant, itemsize, load, pointer_at, shift, stack_buffer, store
from fastbp.kernels._program import addresses_of, recorder, submit
from fastbp.kernels._record import Record
from fastbp.kernels.correlate import layout_of
from fastbp.kernels.grid import forward_pass
from fastbp.kernels.grid_copy import copy_to_grid
from fastbp.kernels.partition import round_up, share, tile_sizes
from fastbp.kernels.reductions import long_total
from fastbp.kernels.tap_tile import TAP_DOTS, pack_deltas, tap_dots, tap_tile

# Filters of a group below which vectors run along the rows of results. Microseconds of 16 images of 32 x 32 and 8
# channels, windows of 3 x 3, in float32 on one core (Zen 4), so / by tiles:
#     filters    1        2        4        6        8
#             118/402  169/410  283/410  391/426  415/418
FEW_FILTERS = 8
# Results that a chunk of images has at least, as the partial gradient that it leaves costs as much as 30 of them; and
# the number of shares of the work on it, as many as processors may have cores for.
_RESULTS_OF_CHUNK, _SHARES = 512, 16

# x (images, groups * channels, x_plane), delta (images, groups * filters, delta_plane), dw and w (groups * filters,
# depth); the tables of a `Pass`; how the work is laid out: chunks of images, parts of the blocks of k, pitch of a grid,
# `band`: rows of results whose deltas are packed at a time, or with one row, `stretch`: elements of it. Behind a pool,
# back and walk are those of a `Walk`, and every thread has `pooled` elements for the deltas of an image.
TAP_SUMS = Record(
    "work work_size needed x delta w dw db tile copier packer back walk copy offsets lines line_count width "
    "images groups channels filters depth x_plane delta_plane channel in_place chunks parts pitch band stretch pooled "
    "descends",
    "alpha beta gamma",
)


@inner
def _sizes(p):
    """Blocks of taps, panels of filters, and the elements of a group's partial result and of a panel of delta."""
    MR, NR, _ = tile_sizes(itemsize(pointer_at(p.work, p.alpha)))
    blocks, panels = (p.depth + MR - 1) // MR, (p.filters + NR - 1) // NR
    return blocks, panels, (blocks * MR + 1) * panels * NR, p.band * p.stretch * NR


@task(TAP_SUMS)
def sum_taps(p, t, threads):
    """Compute share ``t`` of the partial results."""
    x, delta, work = pointer_at(p.x, p.alpha), pointer_at(p.delta, p.alpha), pointer_at(p.work, p.alpha)
    MR, NR, _ = tile_sizes(itemsize(work))
    blocks, panels, partial, packed = _sizes(p)
    taps = p.depth // p.channels
    grid = shift(work, p.chunks * p.groups * partial + t * (p.pitch + packed + p.pooled))
    panel = shift(grid, p.pitch)
    pooled = shift(panel, packed)
    start, stop = share(p.chunks * p.groups * p.parts, 1, t, threads)
    if start < stop and p.in_place == 0:
        for i in range(p.pitch):
            store(grid, i, constant(grid, 0))
    while start < stop:
        chunk, group, part = start // p.parts // p.groups, start // p.parts % p.groups, start % p.parts
        part_stop = min(p.parts, part + stop - start)
        start += part_stop - part
        block, block_stop = part * blocks // p.parts, part_stop * blocks // p.parts
        image, image_stop = share(p.images, 1, chunk, p.chunks)
        result = shift(work, (chunk * p.groups + group) * partial)
        first, last = block * MR // taps, (min(p.depth, block_stop * MR) + taps - 1) // taps  # channels that it needs
        is_first = True
        while image < image_stop:
            place = (image * p.groups + group) * p.channels * p.x_plane
            origin = grid
            if p.in_place:
                origin = shift(x, place)
            else:
                invoke(
                    p.copier, shift(x, place + first * p.x_plane), p.x_plane, last - first, p.copy,
                    shift(grid, first * p.channel), p.channel,
                )  # fmt: skip
            d = deltas_of(p, delta, image * p.groups + group, p.delta_plane, pooled)
            if p.filters < FEW_FILTERS:
                _add_dots(p, origin, d, block * MR, min(p.depth, block_stop * MR), is_first, result)
            else:
                for line in range(0, p.line_count, p.band):
                    for o in range(0, p.width, p.stretch):
                        starts = is_first and line == 0 and o == 0
                        _add_band(p, origin, d, line, o, block, block_stop, starts, panel, result)
            if block == 0:
                add_bias(d, p.filters, p.delta_plane, is_first, shift(result, blocks * MR * panels * NR))
            is_first = False
            image += 1
    return 0


@inner
def _add_band(p, grid, delta, line, o, block, block_stop, is_first, panel, result):
    """The sums over a band of rows of results from ``line`` on, or over a stretch of one row from its element ``o`` on.

    For blocks of taps from ``block`` to ``block_stop`` - 1.
    """
    MR, NR, _ = tile_sizes(itemsize(grid))
    blocks, _, _, _ = _sizes(p)
    lines, width = min(p.band, p.line_count - line), min(p.stretch, p.width - o)
    for f in range(0, p.filters, NR):
        count = min(NR, p.filters - f)
        first = f * p.delta_plane + line * p.width + o
        invoke(p.packer, shift(delta, first), p.delta_plane, count, lines * width, panel)
        for b in range(block, block_stop):
            invoke(
                p.tile, shift(grid, o), shift(pointer_at(p.offsets, 0), b * MR), min(MR, p.depth - b * MR),
                shift(pointer_at(p.lines, 0), line), lines, width, panel, count, int(is_first),
                shift(result, (f * blocks + b * NR) * MR),
            )  # fmt: skip


@inner
def deltas_of(p, delta, number, plane, pooled):
    """The deltas of a group of an image, the ``number``-th of all, back from behind the pool if there is one."""
    first = number * p.filters
    deltas = shift(delta, first * plane)
    if p.back:
        invoke(p.back, p.walk, pooled, first, first + p.filters)
        deltas = pooled
    return deltas


@inner
def _add_dots(p, grid, delta, start, stop, is_first, result):
    """The sums of taps from ``start`` to ``stop`` - 1, for few filters."""
    MR, NR, _ = tile_sizes(itemsize(grid))
    blocks, _, _, _ = _sizes(p)
    sums = stack_buffer(grid, 8)
    for f in range(p.filters):
        column = shift(result, f // NR * blocks * MR * NR + f % NR)  # of its panel: MR rows of NR after MR rows of NR
        for k in range(start, stop, TAP_DOTS):
            count = min(TAP_DOTS, stop - k)
            tap_dots(
                grid, shift(pointer_at(p.offsets, 0), k), count, pointer_at(p.lines, 0), p.line_count, p.width,
                shift(delta, f * p.delta_plane), sums,
            )  # fmt: skip
            for i in range(count):
                place = (k + i) * NR
                store(column, place, load(sums, i) if is_first else load(column, place) + load(sums, i))


@inner
def add_bias(delta, filters, plane, is_first, sums):
    for f in range(filters):
        value = long_total(shift(delta, f * plane), plane)
        store(sums, f, value if is_first else load(sums, f) + value)


@task(TAP_SUMS)
def finish_taps(p, t, threads):
    """Add up share ``t`` of the partial results.

    dw = sum + beta w + gamma dw, or with ``descends`` dw = dw + alpha (sum + beta dw), where dw is the weight; likewise
    db, without beta.
    """
    work, w, dw = pointer_at(p.work, p.alpha), pointer_at(p.w, p.alpha), pointer_at(p.dw, p.alpha)
    MR, NR, _ = tile_sizes(itemsize(work))
    blocks, panels, partial, _ = _sizes(p)
    tile = stack_buffer(work, 1024)
    start, stop = share(p.groups * panels * blocks, 1, t, threads)
    for n in range(start, stop):
        group, panel, block = n // blocks // panels, n // blocks % panels, n % blocks
        place = group * partial + (panel * blocks + block) * MR * NR
        add_chunks(p, place, MR * NR, partial, tile)
        k = block * MR
        for j in range(min(NR, p.filters - panel * NR)):
            row = (group * p.filters + panel * NR + j) * p.depth + k
            for i in range(min(MR, p.depth - k)):
                store(dw, row + i, finished(p, load(tile, i * NR + j), shift(w, row + i), shift(dw, row + i), p.beta))
    if t == 0 and p.db != 0:
        finish_bias(p, blocks * MR * panels * NR, partial)
    return 0


@inner
def finish_bias(p, place, partial):
    """db, or the bias, from the sums that every partial result has at ``place``."""
    db = pointer_at(p.db, p.alpha)
    sums = stack_buffer(db, 16)
    for group in range(p.groups):
        for f in range(0, p.filters, 16):
            count = min(16, p.filters - f)
            add_chunks(p, group * partial + place + f, count, partial, sums)
            for j in range(count):
                b = shift(db, group * p.filters + f + j)
                store(b, 0, finished(p, load(sums, j), b, b, constant(b, 0)))


@inner
def add_chunks(p, place, count, partial, tile):
    """tile[i] = the sum over the chunks of their partial results [place + i], for i < count."""
    work = pointer_at(p.work, p.alpha)
    for i in range(count):
        store(tile, i, constant(tile, 0))
    for chunk in range(p.chunks):
        source = shift(work, chunk * p.groups * partial + place)
        for i in range(count):
            store(tile, i, load(tile, i) + load(source, i))


@inner
def finished(p, value, w, target, beta):
    if p.descends:
        old = load(target, 0)
        return old + p.alpha * (value + beta * old)
    if beta != 0:
        value += beta * load(w, 0)
    if p.gamma != 0:
        value += p.gamma * load(target, 0)
    return value


def shares_of(images, results, groups, blocks):
    """Chunks of images, and parts of the ``blocks`` of rows."""
    chunks = max(min(1, images), min(images, images * results // _RESULTS_OF_CHUNK, -(-_SHARES // groups)))
    return chunks, min(blocks, -(-_SHARES // max(1, chunks * groups)))


def sum_taps_of(on, groups, delta, x, w, dw, db, factors, walk, *, descends=False):
    """Gradients by the weight and bias of C-ordered, checked arrays, with alpha, beta, gamma of `finish_taps`.

    ``walk``: from ``delta`` back to the convolution; ``descends``: dw and db are the parameters, alpha the negative
    learning rate.
    """
    N, dtype = len(x), x.dtype
    channels, filters, window = x.shape[1] // groups, len(dw) // groups, math.prod(on.size)
    depth, results = channels * window, math.prod(on.output)
    tables = forward_pass(on, channels, layout_of(dtype))
    MR, NR, _ = tile_sizes(dtype.itemsize)
    blocks, panels = -(-depth // MR), -(-filters // NR)
    chunks, parts = shares_of(N, results, groups, blocks)
    pitch = 0 if tables.is_image else round_up(channels * tables.channel, NR)
    partial = (blocks * MR + 1) * panels * NR
    packed = max(1, _cpu.L2_BYTES // 4 // (NR * dtype.itemsize))
    stretch = min(tables.width, packed)
    band = min(len(tables.lines), packed // stretch)
    pooled = round_up(filters * results, NR) if walk.back else 0
    values = (
        *addresses_of(x, delta, w, dw, db),
        tap_tile.address(dtype),
        copy_to_grid.address(dtype),
        pack_deltas.address(dtype),
        *walk[1:3],
        *(tables.addresses[name] for name in ("copy", "offsets", "lines")),
        *(len(tables.lines), tables.width, N, groups, channels, filters, depth, math.prod(on.image), results),
        *(tables.channel, tables.is_image, chunks, parts, pitch, band, stretch, pooled, descends, *factors),
    )
    wide = _runtime.pays_threads(N * results * dw.size), _runtime.pays_threads(chunks * groups * partial * 4)
    kept = [a for a in (x, delta, w, dw, db, *tables.arrays(), *walk.kept) if a is not None]
    needed = chunks * groups * partial + numba.config.NUMBA_NUM_THREADS * (pitch + band * stretch * NR + pooled)
    record, _ = submit(TAP_SUMS, dtype, values, (sum_taps, finish_taps), wide, kept, needed)
    if recorder() and descends:
        recorder().follows_rate(record)
