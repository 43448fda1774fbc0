"""Copies images onto the grid of ``grid.py``: lines of them, cut into as many parts as windows move at a time."""

from numba import types

from fastbp.kernels._jit import index, routine
from fastbp.kernels._pointers import integer, load, shift, store
from fastbp.kernels.grid import EXTENT, LEAD, PLACES, STEP
from fastbp.kernels.packing import copy_line, deinterleave


@routine(lambda real: (types.CPointer(real), index, index, index, types.CPointer(real), index))
def copy_to_grid(source, plane, channels, table, grid, channel):
    """Copy images of ``channels`` onto the grid, where zeros are around them already; table: `Pass.copy`."""
    D, H, W = integer(table, 0, 4, EXTENT), integer(table, 1, 4, EXTENT), integer(table, 2, 4, EXTENT)
    d_step, h_step, w_step = integer(table, 0, 4, STEP), integer(table, 1, 4, STEP), integer(table, 2, 4, STEP)
    d_places, h_places = integer(table, 0, 4, PLACES), integer(table, 1, 4, PLACES)
    w_places = integer(table, 2, 4, PLACES)
    d_lead, h_lead, w_lead = integer(table, 0, 4, LEAD), integer(table, 1, 4, LEAD), integer(table, 2, 4, LEAD)
    part_size = d_places * h_places * w_places
    for c in range(channels):
        for d in range(D):
            d_place, d_part = (d + d_lead) // d_step, (d + d_lead) % d_step
            if d_place >= d_places:
                continue
            for h in range(H):
                h_place, h_part = (h + h_lead) // h_step, (h + h_lead) % h_step
                if h_place >= h_places:
                    continue
                part = (d_part * h_step + h_part) * w_step
                row = shift(source, c * plane + (d * H + h) * W)
                line = shift(grid, c * channel + part * part_size + (d_place * h_places + h_place) * w_places)
                count = min(W, w_places * w_step - w_lead)  # elements that have a place
                if w_step == 1:
                    copy_line(row, count, shift(line, w_lead))
                elif w_step == 2:
                    even, odd = shift(line, w_lead // 2), shift(line, (w_lead + 1) // 2)
                    if w_lead % 2 == 0:
                        deinterleave(row, count, even, shift(odd, part_size))
                    else:
                        deinterleave(row, count, shift(even, part_size), odd)
                else:
                    for w in range(count):
                        place = w + w_lead
                        store(line, place % w_step * part_size + place // w_step, load(row, w))
    return 0
