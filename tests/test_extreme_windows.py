"""Windows of billions of elements, places and paddings, on images of a few: computed, or refused in one line, with
4 GiB of memory.
"""



PROGRAM = """
import itertools, resource, sys
import numpy as np
from fastbp import functional as F
from fastbp import kernels
from fastbp.kernels.windows import windows

resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
rng = np.random.default_rng(int(sys.argv[1]))
done, refused = 0, {}


def number(least=1):
    '''Half of all numbers are small, the others anything up to the largest.'''
    small = rng.integers(least, 5)
    large = int(rng.choice([2 ** rng.integers(0, 31) - rng.integers(2), 10 ** rng.integers(0, 10)]))
    return max(least, int(rng.choice([small, large])))


def elements(on, axis):
    '''For every window of an axis, the elements that it has on the image: (number in the window, place).'''
    n, k, s, d, before = (getattr(on, key)[axis] for key in ("image", "size", "stride", "dilation", "before"))
    return [
        [((i + before - o * s) // d, i) for i in range(n) if (i + before - o * s) % d == 0 and 0 <= (i + before - o * s) // d < k]
        for o in range(on.output[axis])
    ]


def of_windows(on):
    '''All windows o, with the elements k and the places i that they have on the image.'''
    per_axis = [elements(on, axis) for axis in range(len(on.image))]
    for o in np.ndindex(on.output):
        pairs = list(itertools.product(*(axis[j] for axis, j in zip(per_axis, o))))
        yield o, [tuple(k for k, _ in pair) for pair in pairs], [tuple(i for _, i in pair) for pair in pairs]


def check_convolution(axes, x, on, numbers):
    w = rng.integers(-4, 5, (2, 1, *on.size)).astype(float)
    y = getattr(F, f"conv{axes}d_forward")(x, w, **numbers)
    dy = rng.integers(-4, 5, y.shape).astype(float)
    dx, dw, db = getattr(F, f"conv{axes}d_backward")(dy, x, w, **numbers)
    expected, expected_dx, expected_dw = np.zeros_like(y), np.zeros_like(x), np.zeros_like(w)
    for o, ks, cells in of_windows(on):
        for k, i in zip(ks, cells):
            expected[(0, slice(None), *o)] += w[(slice(None), 0, *k)] * x[(0, 0, *i)]
            expected_dx[(0, 0, *i)] += w[(slice(None), 0, *k)] @ dy[(0, slice(None), *o)]
            expected_dw[(slice(None), 0, *k)] += x[(0, 0, *i)] * dy[(0, slice(None), *o)]
    assert (y == expected).all() and (dx == expected_dx).all() and (dw == expected_dw).all()


def check_pools(axes, x, on, numbers):
    y, mean = getattr(F, f"max_pool{axes}d_forward")(x, **numbers), getattr(F, f"avg_pool{axes}d_forward")(x, **numbers, count_padding=False)
    index = np.empty(y.shape, kernels.index_dtype(on.size))
    kernels.max_pool_forward(x, y, index, **numbers)
    dy = rng.integers(-4, 5, y.shape).astype(float)
    dx, shares = getattr(F, f"max_pool{axes}d_backward")(dy, x, **numbers), getattr(F, f"avg_pool{axes}d_backward")(dy, x, **numbers, count_padding=False)
    expected, expected_shares = np.zeros_like(x), np.zeros_like(x)
    for o, ks, cells in of_windows(on):
        values = [x[(0, 0, *i)] for i in cells]
        best = int(np.argmax(values))
        place = 0
        for k, size in zip(ks[best], on.size):
            place = place * size + k
        assert (y[(0, 0, *o)], int(index[(0, 0, *o)])) == (values[best], place)
        assert abs(mean[(0, 0, *o)] - sum(values) / len(values)) <= 1e-14
        expected[(0, 0, *cells[best])] += dy[(0, 0, *o)]
        for i in cells:
            expected_shares[(0, 0, *i)] += dy[(0, 0, *o)] / len(cells)
    assert (dx == expected).all() and abs(shares - expected_shares).max() <= 1e-12


def attempt(case):
    global done
    axes = int(rng.choice([1, 1, 1, 2, 3]))
    image = tuple(rng.integers(1, 6, axes).tolist())
    is_pool = bool(rng.integers(2))
    size = [number() if is_pool else int(rng.integers(1, 5)) for _ in range(axes)]
    numbers = {
        "stride": [number() for _ in range(axes)],
        "dilation": [number() for _ in range(axes)],
        "padding": [(number(0), number(0)) for _ in range(axes)],
    }
    if is_pool:  # padding that a pool may have, as far as it goes
        reach = [d * (k - 1) for k, d in zip(size, numbers["dilation"])]
        numbers["padding"] = [(int(rng.integers(0, r + 1)) if r < 2**31 else r // 2, max(0, r - n)) for r, n in zip(reach, image)]
        numbers["padding"] = [tuple(min(side, 2**31 - 1) for side in sides) for sides in numbers["padding"]]
    else:  # about as much as windows reach, and a few strides more
        reach = [d * (k - 1) for k, d in zip(size, numbers["dilation"])]
        some = [s * int(rng.integers(0, 4)) if rng.integers(8) else int(rng.integers(2**31)) for s in numbers["stride"]]
        numbers["padding"] = [(int(rng.integers(0, min(r, 2**31) + 1)), r) for r in reach]
        numbers["padding"] = [(min(b + m, 2**31 - 1), min(e, 2**31 - 1)) for (b, e), m in zip(numbers["padding"], some)]
    x = rng.integers(-4, 5, (1, 1, *image)).astype(float)
    try:
        on = windows("extreme", image, size, *(numbers[key] for key in ("stride", "padding", "dilation")))
        if np.prod(on.output, dtype=float) <= 5000:
            if is_pool:
                check_pools(axes, x, on, {"size": size, **numbers})
            else:
                check_convolution(axes, x, on, numbers)
            done += 1
        elif is_pool:
            getattr(F, f"avg_pool{axes}d_forward")(x, size, **numbers)
        else:
            getattr(F, f"conv{axes}d_forward")(x, np.ones((1, 1, *size)), **numbers)
    except (ValueError, MemoryError) as error:
        kind = type(error).__name__
        refused[kind] = refused.get(kind, 0) + 1
        message = str(error)
        if not message.startswith(("extreme: ", "conv", "max_pool", "avg_pool", "an index has 64 bits")):
            raise
    except BaseException:
        print(case, image, size, numbers, is_pool, file=sys.stderr)
        raise


for case in range(int(sys.argv[2])):
    attempt(case)
print(done, refused)
"""
