"""How a matrix product is cut up: into slabs that are packed at once, and into shares for the threads.

A slab is a part of A and B of at most SLAB_ROWS rows, SLAB_COLUMNS columns, and so many k that its panels take at most
SLAB_BYTES: few enough to stay in the last cache, many enough that the regions which pack and multiply it are rare.
"""

from functools import lru_cache

from fastbp.kernels import _cpu
from fastbp.kernels._jit import inner

SLAB_ROWS = 4080
SLAB_COLUMNS = 4096
SLAB_BYTES = 16 * 2**20

_F4, _F8 = _cpu.blocks(4), _cpu.blocks(8)


@inner
def tile_sizes(itemsize):
    """MR, NR, NC for elements of ``itemsize`` bytes."""
    if itemsize == 4:
        return _F4.mr, _F4.nr, _F4.nc
    return _F8.mr, _F8.nr, _F8.nc


def _round_up(n, unit):
    return -(-n // unit) * unit


@lru_cache(maxsize=4096)
def slabs(M, N, K, itemsize):
    """Depth of a slab, depth of its blocks, and the elements of workspace that its panels take."""
    _, MR, NR, KC, _ = _cpu.blocks(itemsize)
    rows, columns = _round_up(max(1, min(M, SLAB_ROWS)), MR), _round_up(max(1, min(N, SLAB_COLUMNS)), NR)
    depth = max(1, min(K, KC * max(1, SLAB_BYTES // ((rows + columns) * KC * itemsize))))
    kc = _round_up(-(-depth // -(-depth // KC)), 8)
    return depth, kc, (rows + columns) * depth


@inner
def panel_elements(M, N, itemsize):
    """Elements of all panels of a slab for one k."""
    MR, NR, _ = tile_sizes(itemsize)
    return (min(M, SLAB_ROWS) + MR - 1) // MR * MR + (min(N, SLAB_COLUMNS) + NR - 1) // NR * NR


@inner
def threads_over_rows(threads, row_panels, column_panels):
    """Threads that share the rows of C; the others share its columns: the split with the smallest largest share."""
    best, best_cost = 1, 2**62
    for over_rows in range(1, threads + 1):
        if threads % over_rows == 0:
            over_columns = threads // over_rows
            rows = (row_panels + over_rows - 1) // over_rows
            columns = (column_panels + over_columns - 1) // over_columns
            cost = rows * columns * 64 + rows + columns  # the second term prefers square shares
            if cost < best_cost:
                best, best_cost = over_rows, cost
    return best
