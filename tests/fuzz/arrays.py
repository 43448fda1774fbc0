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
        small = x.dtype.kind in "biuf" and bool((np.abs(x.astype(np.float64)) < 2**31).all())
        return x.astype(pick(rng, complex, str, "M8[s]", np.float16, np.int64, bool) if small else object)
    if kind == "value" and x.size and x.dtype.kind == "f":
        other = x.copy()
        other.flat[int(rng.integers(x.size))] = pick(rng, NAN, INF, -INF, np.finfo(x.dtype).max, 0)
        return other
    return odd(rng)
