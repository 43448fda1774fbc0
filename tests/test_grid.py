"""The tables by which a convolution walks, interpreted step by step, against the sums that they stand for."""

from itertools import product

import numpy as np
import pytest
import reference
import strategies
from hypothesis import assume, given
from hypothesis import strategies as st

from fastbp.kernels import grid
from fastbp.kernels.windows import windows

axes = st.lists(strategies.window_axis(8), min_size=1, max_size=3)
layouts = st.builds(grid.Layout, st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 4, 8]), st.integers(0, 2000))


LAYOUT = grid.Layout(8, 8, 10_000)


def windows_of(axes):
    image, size, stride, dilation, padding = map(list, zip(*axes, strict=True))
    try:
        on = windows("grid", tuple(image), size, stride, padding, dilation)
    except ValueError:
        assume(False)
    assume(np.prod(on.output) < 1000)
    return on


def copied(images, tables):
    """Images (channels, elements) on the grid, which as many elements as a unit has may be read behind."""
    copy = tables.copy
    d_offsets, h_offsets, w_offsets = (copy[copy[at] :][: copy[of]] for at, of in zip(STARTS, EXTENTS, strict=True))
    step, skip, lead, count = copy[[grid.STEP, grid.SKIP, grid.LEAD, grid.ON_GRID]]
    if step <= 2:  # elements follow each other, in one part or in two by turns
        i = np.arange(copy[grid.OF_W]) - skip
        at = i + lead
        w_offsets = np.where((i >= 0) & (i < count), at // step + at % step * copy[grid.NEXT_PART], -1)
    whole = np.zeros((len(images), tables.channel))
    for number, offsets in enumerate(product(d_offsets, h_offsets, w_offsets)):
        if min(offsets) >= 0:
            whole[:, sum(offsets)] = images[:, number]
    return np.append(whole, np.full(8, np.nan))


STARTS, EXTENTS = (grid.AT_D, grid.AT_H, grid.AT_W), (grid.OF_D, grid.OF_H, grid.OF_W)


def walk(tables, layout, images, w, size):
    """Every sum that the tables describe, each of them stored once; w (channels, elements of the window).

    All images of the block are the same one. What has no sum is 0.
    """
    on_grid, results = copied(images, tables), np.full((tables.images, size), np.nan)
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
    assert tables.is_complete == (not np.isnan(results).any())
    return np.nan_to_num(results[0], nan=0)


@given(axes, st.integers(1, 2), layouts)
def test_forward(axes, channels, layout):
    on, rng = windows_of(axes), np.random.default_rng(0)
    x, w = rng.integers(-9, 10, (channels, *on.image)), rng.integers(-9, 10, (1, channels, *on.size))
    tables = grid.forward_pass(on, channels, layout)
    y = walk(tables, layout, x.reshape(channels, -1), w.reshape(channels, -1), np.prod(on.output))
    np.testing.assert_array_equal(y, reference.convolve(x[None], w, None, 1, on).reshape(-1))


@given(axes, st.integers(1, 2), layouts)
def test_delta(axes, filters, layout):
    on, rng = windows_of(axes), np.random.default_rng(0)
    dy, w = rng.integers(-9, 10, (filters, *on.output)), rng.integers(-9, 10, (filters, 1, *on.size))
    tables = grid.delta_pass(on, filters, layout)
    dx = walk(tables, layout, dy.reshape(filters, -1), w.reshape(filters, -1), np.prod(on.image))
    expected, _, _ = reference.convolve_backward(dy[None], np.zeros((1, 1, *on.image)), w, 1, on)
    np.testing.assert_array_equal(dx, expected.reshape(-1))


@given(axes)
def test_lines_are_where_rows_of_results_start(axes):
    on = windows_of(axes)
    tables = grid.forward_pass(on, 1, LAYOUT)
    assert len(tables.lines) * tables.width == np.prod(on.output)
    flat = np.arange(float(np.prod(on.image))).reshape(1, -1)
    on_grid = copied(flat, tables)
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


@pytest.mark.parametrize(
    ("image", "size", "numbers"),
    [
        (5, 2, {"stride": 2**31 - 1, "padding": 2**31 - 1}),
        (5, 3, {"dilation": 10**8, "padding": 10**8}),
        (5, 2, {"dilation": 10**8, "stride": 10**8, "padding": 10**8}),
        (5, 4, {"dilation": 10**8 + 3, "stride": 10**8, "padding": [(2 * 10**8, 4 * 10**8)]}),
        (1000, 7, {"dilation": 10**7, "stride": 3 * 10**7, "padding": 5 * 10**7}),
    ],
)
def test_grids_hold_no_more_than_sums_use(image, size, numbers):
    """However far apart windows and their elements are: a few places for each element of a window and each window."""
    on = windows("grid", (image,), size, **numbers)
    tables = grid.forward_pass(on, 1, LAYOUT)
    assert tables.channel <= (size + 1) * (2 * on.output[0] + image)
    rng = np.random.default_rng(0)
    x, w = rng.integers(-9, 10, (1, image)), rng.integers(-9, 10, (1, size))
    (places,) = reference.places_of(on)[2:]
    y = walk(tables, LAYOUT, x, w, on.output[0])
    np.testing.assert_array_equal(y, np.einsum("oki,k,i->o", places, w[0], x[0]))
    tables = grid.delta_pass(on, 1, LAYOUT)
    assert tables.channel <= on.output[0] + 2 * image
    dy = rng.integers(-9, 10, (1, *on.output))
    dx = walk(tables, LAYOUT, dy, w, image)
    np.testing.assert_array_equal(dx, np.einsum("oki,k,o->i", places, w[0], dy[0]))


def test_gradients_by_the_input_hold_only_what_windows_reach():
    """Windows that lie far before the image, and one window on a long image: it was a grid of 5 * 10**8 places."""
    on = windows("grid", (1000, 10), (7, 2), stride=(1000, 2), padding=[(0, 0), (10**6, 2)], dilation=(1, 2))
    assert grid.delta_pass(on, 1, LAYOUT).channel <= (7 + 6) * (5 + 1)


def test_inputs_that_no_window_reaches_have_no_sums():
    tables = grid.delta_pass(windows("grid", (10**6,), 3, stride=400_000), 1, LAYOUT)
    assert len(tables.phases) == 3
    assert not tables.is_complete
    tables = grid.delta_pass(windows("grid", (5,), 1, stride=100, padding=[(2, 0)]), 1, LAYOUT)
    assert len(tables.pieces) == 0
    assert not tables.is_complete
    assert grid.delta_pass(windows("grid", (6, 7), 3, stride=2, padding=1), 1, LAYOUT).is_complete
