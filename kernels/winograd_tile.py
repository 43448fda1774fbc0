"""The transforms of Winograd's convolution, on vectors of tiles that lie beside each other.

    V = B' d B      d: 4 x 4 inputs of a tile        B' = [1  0 -1  0]     U = G g G'     G = [ 1    0    0 ]
    Y = A' M A      Y: its 2 x 2 results                  [0  1  1  0]                        [1/2  1/2  1/2]
                                                          [0 -1  1  0]     A' = [1 1  1  0]   [1/2 -1/2  1/2]
                                                          [0  1  0 -1]          [0 1 -1 -1]   [ 0    0    1 ]

All of them are a few additions of rows, and then of columns.
"""

from numba import types
from numba.extending import intrinsic

from fastbp.kernels import _cpu
from fastbp.kernels._jit import inner
from fastbp.kernels._pointers import constant, load, stack_buffer, store
from fastbp.kernels._vector import INDEX, Vectors

POINTS = 16  # elements of a transformed tile


def _columns(x):
    """The columns of a matrix given as a list of rows, as rows."""
    return [list(column) for column in zip(*x, strict=True)]


@intrinsic
def transform_inputs(typing_context, grid, row, part, result, point):
    """result[t point + l] = V[t] of the tile whose first input lies at grid + l, for each lane l of a unit.

    ``grid`` has four parts, as tiles lie 2 apart: elements of even and odd rows, and of even and odd columns; ``row``,
    ``part``: elements from one row, and one part, to the next.
    """
    real, index = grid.dtype, types.int64
    lanes = _cpu.blocks(real.bitwidth // 8).lanes // 2

    def generate(context, builder, signature, arguments):
        grid, row, part, result, point = arguments
        v = Vectors(builder, real, lanes)
        parts = [v.offset(grid, builder.mul(INDEX(n), part)) for n in range(4)]

        def element(i, j):
            below = v.offset(parts[i % 2 * 2 + j % 2], row) if i >= 2 else parts[i % 2 * 2 + j % 2]
            return v.load(v.offset(below, j // 2))

        def along(d):
            return [v.subtract(d[0], d[2]), v.add(d[1], d[2]), v.subtract(d[2], d[1]), v.subtract(d[1], d[3])]

        d = [[element(i, j) for j in range(4)] for i in range(4)]
        by_rows = _columns([along(column) for column in _columns(d)])
        for i, line in enumerate(by_rows):
            for j, x in enumerate(along(line)):
                v.store(x, v.offset(result, builder.mul(INDEX(4 * i + j), point)))
        return context.get_dummy_value()

    p = types.CPointer(real)
    return types.void(p, index, index, p, index), generate


@intrinsic
def transform_results(typing_context, m, point, bias, result):
    """Y + bias of a unit of tiles from M[t] at m + t point: first rows of all tiles, behind them second rows."""
    real, index = m.dtype, types.int64
    lanes = _cpu.blocks(real.bitwidth // 8).lanes // 2

    def generate(context, builder, signature, arguments):
        m, point, bias, result = arguments
        v = Vectors(builder, real, lanes)
        bias = v.splat(v.load_scalar(bias))

        def along(x):
            return [v.add(v.add(x[0], x[1]), x[2]), v.subtract(v.subtract(x[1], x[2]), x[3])]

        m = [[v.load(v.offset(m, builder.mul(INDEX(4 * i + j), point))) for j in range(4)] for i in range(4)]
        by_rows = _columns([along(column) for column in _columns(m)])
        for i, line in enumerate(by_rows):
            even, odd = (v.add(x, bias) for x in along(line))
            mixed = [n for lane in range(lanes) for n in (lane, lanes + lane)]
            for j, half in enumerate((mixed[:lanes], mixed[lanes:])):
                v.store(v.pick(even, odd, half), v.offset(result, (2 * i + j) * lanes))
        return context.get_dummy_value()

    p = types.CPointer(real)
    return types.void(p, index, p, p), generate


@inner
def transform_weight(w, is_turned, result, point):
    """result[t point] = U[t] of the 3 x 3 window at w; is_turned: of the window turned round."""
    half, rows = constant(w, 1) / constant(w, 2), stack_buffer(w, 12)
    first, step = (8, -1) if is_turned else (0, 1)
    for j in range(3):
        x, y = load(w, first + step * j), load(w, first + step * (3 + j))
        z = load(w, first + step * (6 + j))
        store(rows, j, x)
        store(rows, 3 + j, half * (x + z) + half * y)
        store(rows, 6 + j, half * (x + z) - half * y)
        store(rows, 9 + j, z)
    for i in range(4):
        x, y, z = load(rows, 3 * i), load(rows, 3 * i + 1), load(rows, 3 * i + 2)
        store(result, 4 * i * point, x)
        store(result, (4 * i + 1) * point, half * (x + z) + half * y)
        store(result, (4 * i + 2) * point, half * (x + z) - half * y)
        store(result, (4 * i + 3) * point, z)


@intrinsic
def transform_delta(typing_context, delta, row, result, point):
    """result[t point + j] = (A Y A')[t] of the 2 x 2 deltas Y[:, :, j] at delta, for NR filters j.

    ``delta`` has the filters of a panel side by side, and behind them those of the next column; ``row``: elements from
    one row to the next.
    """
    real, index = delta.dtype, types.int64
    sizes = _cpu.blocks(real.bitwidth // 8)

    def generate(context, builder, signature, arguments):
        delta, row, result, point = arguments
        v = Vectors(builder, real, sizes.lanes)
        below = v.offset(delta, row)

        def along(y):
            return [y[0], v.add(y[0], y[1]), v.subtract(y[0], y[1]), v.subtract(v.zero, y[1])]

        for first in range(0, sizes.nr, sizes.lanes):
            y = [[v.load(v.offset(line, j * sizes.nr + first)) for j in range(2)] for line in (delta, below)]
            by_rows = _columns([along(column) for column in _columns(y)])
            for i, line in enumerate(by_rows):
                for j, x in enumerate(along(line)):
                    v.store(x, v.offset(result, builder.add(builder.mul(INDEX(4 * i + j), point), INDEX(first))))
        return context.get_dummy_value()

    p = types.CPointer(real)
    return types.void(p, index, p, index), generate


@inner
def weight_gradient(u, point, result):
    """result[k] = (G' U G)[k] for the 3 x 3 elements k of a window, U[t] at u + t point."""
    half, rows = constant(u, 1) / constant(u, 2), stack_buffer(u, 12)
    for j in range(4):
        above, below = load(u, (4 + j) * point), load(u, (8 + j) * point)
        store(rows, j, load(u, j * point) + half * (above + below))
        store(rows, 4 + j, half * (above - below))
        store(rows, 8 + j, load(u, (12 + j) * point) + half * (above + below))
    for i in range(3):
        above, below = load(rows, 4 * i + 1), load(rows, 4 * i + 2)
        store(result, 3 * i, load(rows, 4 * i) + half * (above + below))
        store(result, 3 * i + 1, half * (above - below))
        store(result, 3 * i + 2, load(rows, 4 * i + 3) + half * (above + below))
