"""Copies images onto the grid of ``grid.py``: lines of them, cut into as many parts as windows move at a time."""

from numba import types

from fastbp.kernels._jit import index, routine
from fastbp.kernels._pointers import integer, load, shift, store
from fastbp.kernels.grid import AT_D, AT_H, AT_W, LEAD, NEXT_PART, OF_D, OF_H, OF_W, ON_GRID, SKIP, STEP
from fastbp.kernels.packing import copy_line, deinterleave


@routine(lambda real: (types.CPointer(real), index, index, index, types.CPointer(real), index))
def copy_to_grid(source, plane, channels, table, grid, channel):
    """Copy images of ``channels`` onto the grid, where zeros are around them already; table: `grid.copy_table`."""
    D, H, W = integer(table, OF_D, 1, 0), integer(table, OF_H, 1, 0), integer(table, OF_W, 1, 0)
    at_d, at_h, at_w = integer(table, AT_D, 1, 0), integer(table, AT_H, 1, 0), integer(table, AT_W, 1, 0)
    step, lead, count = integer(table, STEP, 1, 0), integer(table, LEAD, 1, 0), integer(table, ON_GRID, 1, 0)
    skip, part = integer(table, SKIP, 1, 0), integer(table, NEXT_PART, 1, 0)
    for c in range(channels):
        for d in range(D):
            of_d = integer(table, at_d + d, 1, 0)
            if of_d < 0:
                continue
            for h in range(H):
                of_h = integer(table, at_h + h, 1, 0)
                if of_h < 0:
                    continue
                row = shift(source, c * plane + (d * H + h) * W + skip)
                line = shift(grid, c * channel + of_d + of_h)
                if step == 1:
                    copy_line(row, count, shift(line, lead))
                elif step == 2:
                    even, odd = shift(line, lead // 2), shift(line, (lead + 1) // 2)
                    if lead % 2 == 0:
                        deinterleave(row, count, even, shift(odd, part))
                    else:
                        deinterleave(row, count, shift(even, part), odd)
                else:
                    for w in range(W):
                        of_w = integer(table, at_w + w, 1, 0)
                        if of_w >= 0:
                            store(line, of_w, load(row, w))
    return 0
