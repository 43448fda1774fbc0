"""The tables by which a convolution walks, interpreted step by step, against the sums that they stand for."""

import numpy as np
import reference
from hypothesis import assume, given
from hypothesis import strategies as st

from fastbp.kernels import grid
from fastbp.kernels.windows import windows

axis = st.tuples(*[st.integers(1, high) for high in (8, 4, 4, 3)], st.tuples(st.integers(0, 3), st.integers(0, 3)))
axes = st.lists(axis, min_size=1, max_size=3)
layouts = st.builds(grid.Layout, st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 4, 8]), st.integers(0, 2000))


LAYOUT = grid.Layout(8, 8, 10_000)


def windows_of(axes):
    image, size, stride, dilation, padding = map(list, zip(*axes, strict=True))
    try:
        return windows("grid", tuple(image), size, stride, padding, dilation)
    except ValueError:
        assume(False)


def copied(images, copy):
    """Images (channels, axes) on the grid, which as many elements as a unit has may be read behind."""
    extents, leads, steps, places = copy.T
    whole = np.zeros((len(images), *steps, *places))
    for i in np.ndindex(*extents):
        part, place = (i + leads) % steps, (i + leads) // steps
        if (place < places).all():
            whole[(slice(None), *part, *place)] = images[(slice(None), *i)]
    return np.append(whole, np.full(8, np.nan))


def walk(tables, layout, images, w, size):
    """Every sum that the tables describe, each of them stored once; w (channels, elements of the window).

    All images of the block are the same one.
    """
    on_grid, results = copied(images, tables.copy), np.full((tables.images, size), np.nan)
    for phase, (depth, taps, first_tap, first_offset, first_tile, tiles) in enumerate(tables.phases):
        a = w[:, tables.taps[first_tap : first_tap + taps]].reshape(-1)
        offsets = tables.offsets[first_offset : first_offset + depth]
        units = tables.units[(first_tile - phase) * layout.tile :].reshape(-1, layout.tile, 2)[:tiles]
        for n, unit in enumerate(units):
            lanes = np.repeat(unit, layout.unit, axis=0)
            for lane, target, count, image in tables.pieces[slice(*tables.tiles[first_tile + n : first_tile + n + 2])]:
                for i in range(count):
                    place, of_image = lanes[lane + i]
                    assert of_image == image
                    assert np.isnan(results[image, target + i * tables.step])
                    sum_of = a @ on_grid[place + (lane + i) % layout.unit + offsets]
                    results[image, target + i * tables.step] = sum_of
    np.testing.assert_array_equal(results, results[:1].repeat(tables.images, axis=0))
    return results[0]


@given(axes, st.integers(1, 2), layouts)
def test_forward(axes, channels, layout):
    on, rng = windows_of(axes), np.random.default_rng(0)
    x, w = rng.integers(-9, 10, (channels, *on.image)), rng.integers(-9, 10, (1, channels, *on.size))
    tables = grid.forward_pass(on, channels, layout)
    y = walk(tables, layout, x.reshape(channels, *tables.copy[:, 0]), w.reshape(channels, -1), np.prod(on.output))
    np.testing.assert_array_equal(y, reference.convolve(x[None], w, None, 1, on).reshape(-1))


@given(axes, st.integers(1, 2), layouts)
def test_delta(axes, filters, layout):
    on, rng = windows_of(axes), np.random.default_rng(0)
    dy, w = rng.integers(-9, 10, (filters, *on.output)), rng.integers(-9, 10, (filters, 1, *on.size))
    tables = grid.delta_pass(on, filters, layout)
    dx = walk(tables, layout, dy.reshape(filters, *tables.copy[:, 0]), w.reshape(filters, -1), np.prod(on.image))
    expected, _, _ = reference.convolve_backward(dy[None], np.zeros((1, 1, *on.image)), w, 1, on)
    np.testing.assert_array_equal(dx, expected.reshape(-1))


@given(axes)
def test_lines_are_where_rows_of_results_start(axes):
    on = windows_of(axes)
    tables = grid.forward_pass(on, 1, LAYOUT)
    assert len(tables.lines) * tables.width == np.prod(on.output)
    flat = np.arange(float(np.prod(on.image))).reshape(1, *tables.copy[:, 0])
    on_grid = copied(flat, tables.copy)
    first = reference.im2col(flat.reshape(1, 1, *on.image), on)[0, 0]
    at = (tables.lines[:, None] + np.arange(tables.width)).reshape(-1) + tables.offsets[0]
    np.testing.assert_array_equal(on_grid[at], first)


def test_windows_of_one_element_are_walked_in_one_line():
    on = windows("grid", (5, 6, 7), 1)
    tables = grid.forward_pass(on, 3, LAYOUT)
    assert len(tables.lines) == 1
    assert tables.width == 210
    assert tables.is_image
    on = windows("grid", (6, 7), (3, 1), padding=(1, 0))
    np.testing.assert_array_equal(grid.merged(on)[2], [42, 3, 1, 7, 7, 42])


def test_units_leave_few_lanes_empty():
    """4 x 4 results in lines of 6 places: 22 in a row take three units of 8, single lines would take four."""
    tables = grid.forward_pass(windows("grid", (4, 4), 3, padding=1), 1, LAYOUT)
    assert tables.phases[0, grid.TILES] == -(-tables.images * 3 // 8)


def test_pieces_of_a_tile_are_joined():
    """Two rows of 32 results are a tile of 8 units of 8, and follow each other where they are stored."""
    tables = grid.forward_pass(windows("grid", (32, 32), 3, padding=1), 1, LAYOUT)
    np.testing.assert_array_equal(tables.pieces[:2], [[0, 0, 64, 0], [0, 64, 64, 0]])
    assert len(tables.pieces) == tables.phases[0, grid.TILES]
