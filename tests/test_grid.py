"""The tables by which a convolution walks, interpreted step by step, against the sums that they stand for."""

import numpy as np
import reference
from hypothesis import assume, given
from hypothesis import strategies as st

from fastbp.kernels import grid
from fastbp.kernels.windows import windows

axis = st.tuples(*[st.integers(1, high) for high in (8, 4, 4, 3)], st.tuples(st.integers(0, 3), st.integers(0, 3)))
axes = st.lists(axis, min_size=1, max_size=3)
halves = st.sampled_from([1, 2, 4, 8])


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


def walk(tables, images, w, size):
    """Every sum that the tables describe, each of them stored once; w (channels, elements of the window)."""
    on_grid, results = copied(images, tables.copy), np.full(size, np.nan)
    for depth, taps, first_tap, first_offset, first_unit, units in tables.phases:
        a = w[:, tables.taps[first_tap : first_tap + taps]].reshape(-1)
        offsets = tables.offsets[first_offset : first_offset + depth]
        for place, first, stop in zip(
            tables.units[first_unit : first_unit + units, 0],
            tables.units[first_unit : first_unit + units, 1],
            tables.units[first_unit + 1 : first_unit + units + 1, 1],
            strict=True,
        ):
            for lane, target, count in tables.pieces[first:stop]:
                for i in range(count):
                    assert np.isnan(results[target + i * tables.step])
                    results[target + i * tables.step] = a @ on_grid[place + lane + i + offsets]
    return results


@given(axes, st.integers(1, 2), halves)
def test_forward(axes, channels, half):
    on, rng = windows_of(axes), np.random.default_rng(0)
    x, w = rng.integers(-9, 10, (channels, *on.image)), rng.integers(-9, 10, (1, channels, *on.size))
    tables = grid.forward_pass(on, channels, half)
    y = walk(tables, x.reshape(channels, *tables.copy[:, 0]), w.reshape(channels, -1), np.prod(on.output))
    np.testing.assert_array_equal(y, reference.convolve(x[None], w, None, 1, on).reshape(-1))


@given(axes, st.integers(1, 2), halves)
def test_delta(axes, filters, half):
    on, rng = windows_of(axes), np.random.default_rng(0)
    dy, w = rng.integers(-9, 10, (filters, *on.output)), rng.integers(-9, 10, (filters, 1, *on.size))
    tables = grid.delta_pass(on, filters, half)
    dx = walk(tables, dy.reshape(filters, *tables.copy[:, 0]), w.reshape(filters, -1), np.prod(on.image))
    expected, _, _ = reference.convolve_backward(dy[None], np.zeros((1, 1, *on.image)), w, 1, on)
    np.testing.assert_array_equal(dx, expected.reshape(-1))


@given(axes)
def test_lines_are_where_rows_of_results_start(axes):
    on = windows_of(axes)
    tables = grid.forward_pass(on, 1, 8)
    assert len(tables.lines) * tables.width == np.prod(on.output)
    flat = np.arange(float(np.prod(on.image))).reshape(1, *tables.copy[:, 0])
    on_grid = copied(flat, tables.copy)
    first = reference.im2col(flat.reshape(1, 1, *on.image), on)[0, 0]
    at = (tables.lines[:, None] + np.arange(tables.width)).reshape(-1) + tables.offsets[0]
    np.testing.assert_array_equal(on_grid[at], first)


def test_windows_of_one_element_are_walked_in_one_line():
    on = windows("grid", (5, 6, 7), 1)
    tables = grid.forward_pass(on, 3, 8)
    assert len(tables.lines) == 1
    assert tables.width == 210
    assert tables.is_image
    on = windows("grid", (6, 7), (3, 1), padding=(1, 0))
    np.testing.assert_array_equal(grid.merged(on)[2], [42, 3, 1, 7, 7, 42])


def test_units_leave_few_lanes_empty():
    """4 x 4 results in lines of 6 places: 22 in a row take three units of 8, single lines would take four."""
    tables = grid.forward_pass(windows("grid", (4, 4), 3, padding=1), 1, 8)
    assert tables.phases[0, grid.UNITS] == 3
