"""How a matrix product is cut up: when its operands are packed, into blocks of k, and into shares for the threads."""

from fastbp.kernels import _cpu
from fastbp.kernels._jit import inner

SLAB = 4032  # rows and columns of a part of a large product; a multiple of every MR and NR

_F4, _F8 = _cpu.blocks(4), _cpu.blocks(8)


@inner
def tile_sizes(itemsize):
    """MR, NR, KC for elements of ``itemsize`` bytes."""
    if itemsize == 4:
        return _F4.mr, _F4.nr, _F4.kc
    return _F8.mr, _F8.nr, _F8.kc


@inner
def round_up(n, unit):
    return (n + unit - 1) // unit * unit


# Bytes of a matrix up to which the product reads it in place, if it is used more than twice.
#
# Measured on square products of float32, GFLOP/s on one core (Zen 4, L2 1 MB), in place / packed:
#     12 x 32 tiles (AVX-512)    256  113/108    384  115/108    512  114/103    768  109/104    1000  110/104
#     6 x 16 tiles (AVX2)        256  112/108    512  65/107     640  73/103
# 1000 takes 4 MB a matrix; beyond it packing wins: 1500 runs at 105/109, and at 85 in place if A is transposed. The
# lower tile needs twice as much of B for as many multiply-adds. Matrices of which every row starts in the same set of a
# cache are packed always: 1024^2 in place runs at 81.
UNPACKED_BYTES = 4 * _cpu.L2_BYTES if _cpu.REGISTERS == 32 else _cpu.L2_BYTES // 2
_SAME_SET = 4096


@inner
def pays_packing(size, stride):
    """Whether to copy a matrix of ``size`` bytes into panels, ``stride`` bytes lying between its rows."""
    return size > UNPACKED_BYTES or stride % _SAME_SET == 0


@inner
def block_depth(K, itemsize):
    """Depth of the blocks of k of a large product: at most KC, and all about the same."""
    _, _, KC = tile_sizes(itemsize)
    blocks = max(1, (K + KC - 1) // KC)
    return round_up((K + blocks - 1) // blocks, 8)


@inner
def share(n, unit, t, threads):
    """Where the share ``t`` of ``n`` elements starts and stops, in whole units."""
    units = (n + unit - 1) // unit
    return min(n, t * units // threads * unit), min(n, (t + 1) * units // threads * unit)


@inner
def _largest_share(n, unit, threads):
    units = (n + unit - 1) // unit
    return min(n, (units + threads - 1) // threads * unit)


@inner
def threads_over_rows(threads, rows, row_unit, columns, column_unit):
    """Threads that share the rows of C; the others share its columns: the split with the smallest largest share."""
    best, best_cost = 1, 2**62
    for over_rows in range(1, threads + 1):
        if threads % over_rows == 0:
            height = _largest_share(rows, row_unit, over_rows)
            width = _largest_share(columns, column_unit, threads // over_rows)
            cost = height * width * 64 + height // row_unit + width // column_unit  # at best as square as the tiles
            if cost < best_cost:
                best, best_cost = over_rows, cost
    return best
