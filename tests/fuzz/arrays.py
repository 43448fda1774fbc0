"""Random sizes, arrays in every memory layout, and values that no function expects."""

import numpy as np

REALS = (np.dtype(np.float32), np.dtype(np.float64))
INF, NAN = float("inf"), float("nan")

# sizes at the edges of tiles of all machines, beside anything small
_EDGES = (8, 12, 14, 16, 24, 28, 32, 48, 64, 96)


def pick(rng, *choices):
    """One of ``choices``, which may be of any kind."""
    return choices[int(rng.integers(len(choices)))]


def size(rng, most=70):
    """Nothing, one, few, the edge of a tile, or any number up to ``most``."""
    edge = int(pick(rng, *_EDGES) + rng.integers(-1, 2))
    return min(most, pick(rng, int(rng.integers(0, 4)), int(rng.integers(0, most + 1)), edge))


def normal(rng, shape, dtype=np.float64):
    """Normal numbers, now and then of another magnitude."""
    scale = pick(rng, 1, 1, 1, 1e-3, 100)
    return np.asarray(scale * rng.standard_normal(shape), dtype)


def integers(rng, shape, dtype=np.float64, most=4):
    """Small integers, with which sums of products are exact."""
    return rng.integers(-most, most + 1, shape).astype(dtype)


def laid_out(rng, x):
    """An array that equals ``x``, in a memory layout by chance."""
    kind = pick(rng, "C", "F", "axes", "steps", "reversed", "unaligned", "read-only", "as it is")
    if kind == "as it is" or x.ndim == 0 or x.dtype == object:
        return x
    if kind in "CF":
        return np.array(x, order=kind)
    if kind == "read-only":
        result = x.copy()
        result.flags.writeable = False
        return result
    if kind == "unaligned":
        place = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    elif kind == "axes":
        axes = rng.permutation(x.ndim)
        place = np.empty([x.shape[axis] for axis in axes], x.dtype).transpose(np.argsort(axes))
    else:
        steps = [-1 if kind == "reversed" else pick(rng, 1, 2, -1, -2, 3) for _ in x.shape]
        whole = np.zeros([n * abs(step) for n, step in zip(x.shape, steps, strict=True)], x.dtype)
        place = whole[tuple(slice(None, None, step) for step in steps)]
    place[...] = x
    return place


def disguised(rng, x):
    """What functions convert to the real numbers of ``x``, and the array they make of it."""
    kind = pick(rng, "", "", "", "", "list", "swapped", "half", "integers", "bool", "long double")
    if kind == "list" and x.size <= 500 and x.size:
        return x.tolist(), x.astype(np.float64)
    if kind == "swapped":
        return x.astype(x.dtype.newbyteorder("S")), x
    if kind in ("half", "long double"):
        other = x.astype(np.float16 if kind == "half" else np.longdouble)
        return other, other.astype(np.float32 if kind == "half" else np.float64)
    if kind in ("integers", "bool"):
        other = np.rint(x).astype(pick(rng, np.int8, np.int16, np.int32, np.int64) if kind == "integers" else bool)
        return other, other.astype(np.result_type(other.dtype, np.float32))
    return laid_out(rng, x), x


class Strange:
    """An object that is no array and refuses to become one."""

    def __array__(self, dtype=None, copy=None):
        raise TypeError("no array today")


def odd(rng):
    """A value that few arguments may have."""
    huge = int(pick(rng, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64, 10**30, 10**400))
    return pick(
        rng,
        *(None, "", "text", "same", b"bytes", True, False, 1j, NAN, INF, -INF, 0, -1, 0.5, -0.0, 1e308, 5e-324),
        *(
            huge,
            -huge,
            [],
            (),
            {},
            {1, 2},
            [[1.0], [1.0, 2.0]],
            [None],
            ["a"],
            [[]],
            [huge],
            [NAN],
            object(),
            Strange(),
        ),
        *(int, np.float32, np.array(1.0), np.array(3), np.array("x"), np.array([None, 1.0], object), range(3)),
        *(np.empty((0,)), np.empty((0, 0)), np.empty((3, 0, 2)), np.full((2, 3), NAN), np.full((2, 2), INF)),
        *(
            np.zeros((2, 3), complex),
            np.zeros(3, "M8[s]"),
            np.zeros(3, "V8"),
            np.zeros(2, [("a", "f4")]),
            np.zeros(3, "S4"),
        ),
        *(np.ma.masked_less([1.0, -1.0], 0), np.broadcast_to(1.0, (2**40,)), np.broadcast_to(1.0, (2**20, 2**20))),
        *(
            np.zeros((1,) * 8),
            np.arange(-3, 3),
            np.array([2**63], np.uint64),
            np.float16(2),
            np.bool_(True),
            np.str_("u"),
        ),
        *((1, 2), [1, 2, 3], [(1, 0), (0, 1)], [(0, 1)], [-1, 2], [2**40, 1], (1.5, 2), [[1, 2], 3], slice(None)),
    )


def bent(rng, x):
    """An array like ``x`` that does not fit any more."""
    x = np.asarray(x)
    kind = pick(rng, "axis", "flat", "longer", "shorter", "turned", "dtype", "value", "odd")
    if kind == "axis":
        return x[None]
    if kind == "flat":
        return x.reshape(-1)
    if kind == "longer" and x.ndim:
        return np.concatenate([x, x[:1]])
    if kind == "shorter" and x.ndim:
        return x[..., :-1]
    if kind == "turned":
        return x.T
    if kind == "dtype":
        small = x.dtype.kind in "biuf" and bool((np.abs(x) < 1e4).all())
        return x.astype(pick(rng, complex, str, "M8[s]", np.float16, np.int64, bool) if small else object)
    if kind == "value" and x.size and x.dtype.kind == "f":
        other = x.copy()
        other.flat[int(rng.integers(x.size))] = pick(rng, NAN, INF, -INF, np.finfo(x.dtype).max, 0)
        return other
    return odd(rng)
